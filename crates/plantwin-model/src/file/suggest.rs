//! "Did you mean ...?"
//!
//! Absent: the limits on this work (see [`Report`]).

use super::report::Report;

/// Characters that a list of known names may take.
const LIST: usize = 150;

/// Help for the unknown name `got`: the nearest of `known`, or else the list of all.
pub(super) fn suggest<'k>(
    report: &Report,
    got: &str,
    what: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Option<String> {
    if let Some(near) = nearest(report, got, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    list(what, known)
}

/// The name in `known` that is nearest to `got`, if any is near.
pub(super) fn nearest<'k>(
    report: &Report,
    got: &str,
    known: impl Iterator<Item = &'k str>,
) -> Option<&'k str> {
    if !report.may_guess() {
        return None;
    }
    let got: String = got.chars().take(64).collect::<String>().to_lowercase();
    let length = got.chars().count();
    let reach = (length / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        // Cheap first: a name of another length cannot be near.
        if name.len().abs_diff(got.len()) > reach * 4 {
            continue;
        }
        if !report.may_compare() {
            break;
        }
        let distance = strsim::osa_distance(&got, &name.to_lowercase());
        if distance <= reach && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// `known WHAT: a, b, c and 7 more`.
fn list<'k>(what: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<String> {
    let mut out = format!("known {what}: ");
    let mut shown = 0;
    for name in known.clone() {
        if out.chars().count() + name.chars().count() > LIST {
            break;
        }
        if shown > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        shown += 1;
    }
    let rest = known.count() - shown;
    match (shown, rest) {
        (0, 0) => Some(format!("there are no {what}")),
        (0, _) => None,
        (_, 0) => Some(out),
        (_, rest) => Some(format!("{out} and {rest} more")),
    }
}
