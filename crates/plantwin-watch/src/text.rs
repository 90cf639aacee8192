//! Alarm texts: what is wrong, with the value.
//!
//! Absent: translation.

use plantwin_model::Compare;

use crate::{AlarmDef, Rule};

/// Six significant digits, without noise such as `18.400000000000002`.
pub(crate) fn number(value: f64) -> String {
    let rounded = format!("{value:.5e}").parse::<f64>().unwrap_or(value);
    let size = rounded.abs();
    if rounded != 0.0 && !(1e-4..1e9).contains(&size) {
        format!("{rounded:e}")
    } else {
        format!("{rounded}")
    }
}

/// A number with its unit; pure numbers (unit `1`) stand alone.
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    if unit == "1" { number(value) } else { format!("{} {unit}", number(value)) }
}

/// The text of an alarm: `value` is what raised it, `half_width` that of its band, `note` what
/// the reporter of a condition said.
pub(crate) fn describe(
    def: &AlarmDef,
    value: f64,
    half_width: Option<f64>,
    note: Option<&str>,
) -> String {
    match &def.rule {
        // An alarm of an earlier run: what was told of it is all that is known.
        Rule::Threshold(_) | Rule::Residual { .. } if note.is_some() => {
            note.unwrap_or_default().to_owned()
        }
        Rule::Threshold(t) => format!(
            "{} {} {} {}",
            t.point_name,
            quantity(value, &t.unit),
            match t.compare {
                Compare::Above => ">",
                Compare::Below => "<",
            },
            quantity(t.limit, &t.unit),
        ),
        Rule::Residual { point_name, unit, .. } => match half_width {
            Some(band) => format!(
                "{point_name} is {} off its model, band {}",
                quantity(value, unit),
                quantity(band, unit)
            ),
            None => format!("{point_name} is {} off its model", quantity(value, unit)),
        },
        Rule::Condition(_) => note.unwrap_or_default().to_owned(),
    }
}
