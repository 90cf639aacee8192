//! Text of a file into numbers with units, durations and names; and foreign text made fit for messages.
//!
//! Absent: reporting (see [`super::item`]).

use std::time::Duration;

use super::report::Report;
use crate::{Unit, UnitError};

/// Longest name, in characters.
const NAME_LIMIT: usize = 64;

/// Longest duration that can be written: ten years, far below what [`Duration`] holds.
const LONGEST_SECONDS: f64 = 10.0 * 366.0 * 86_400.0;

/// Units of durations in nanoseconds.
const DURATIONS: [(&str, f64); 7] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("min", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
];

/// How people write units that UCUM writes otherwise.
const ALIASES: [(&str, &str); 24] = [
    ("°C", "Cel"),
    ("degC", "Cel"),
    ("celsius", "Cel"),
    ("Celsius", "Cel"),
    ("°F", "[degF]"),
    ("degF", "[degF]"),
    ("kelvin", "K"),
    ("psi", "[psi]"),
    ("ppm", "[ppm]"),
    ("rpm", "{rev}/min"),
    ("sec", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("minute", "min"),
    ("minutes", "min"),
    ("hour", "h"),
    ("hours", "h"),
    ("ohm", "Ohm"),
    ("Ω", "Ohm"),
    ("percent", "%"),
    ("liter", "L"),
    ("litre", "L"),
    ("inch", "[in_i]"),
    ("µm", "um"),
];

/// Whether `text` is a name: a letter, then letters, digits, `_`, and `-` where `dashes`.
pub(super) fn is_name(text: &str, dashes: bool) -> bool {
    let mut chars = text.chars();
    text.len() <= NAME_LIMIT
        && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || (dashes && c == '-'))
}

/// Splits `28 cm2` into its number and the rest; `None` if it does not begin with a number.
pub(super) fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let sign = |i: usize| matches!(bytes.get(i), Some(b'+' | b'-'));
    let mut end = usize::from(sign(0));
    while digit(end) || bytes.get(end) == Some(&b'.') {
        end += 1;
    }
    // An exponent only where digits follow: `5eV` is five electronvolts.
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let from = end + 1 + usize::from(sign(end + 1));
        if digit(from) {
            end = from;
            while digit(end) {
                end += 1;
            }
        }
    }
    let number: f64 = text[..end].parse().ok()?;
    number.is_finite().then(|| (number, text[end..].trim_start()))
}

/// Reads `100ms`; on failure what is wrong.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{}` is not a duration", quoted(text));
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let (_, scale) = DURATIONS.iter().find(|(u, _)| *u == unit).ok_or_else(wrong)?;
    let nanos = number * scale;
    if nanos < 0.0 {
        return Err(format!("duration `{}` is negative", quoted(text)));
    }
    if nanos > LONGEST_SECONDS * 1e9 {
        return Err(format!("duration `{}` is longer than ten years", quoted(text)));
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// Writes a duration the way files do.
pub(super) fn show(d: Duration) -> String {
    let nanos = d.as_nanos() as f64;
    let (unit, scale) =
        DURATIONS.iter().rev().find(|(_, s)| nanos >= *s).copied().unwrap_or(("s", 1e9));
    format!("{}{unit}", nanos / scale)
}

/// What is wrong with a refused unit code.
pub(super) fn unit_message(code: &str, error: &UnitError) -> String {
    let code = quoted(code);
    match error {
        UnitError::Unknown(symbol) if symbol.is_empty() => format!("`{code}` is not a unit"),
        UnitError::Unknown(symbol) if quoted(symbol) != code => {
            format!("unknown unit `{}` in `{code}`", quoted(symbol))
        }
        other => other.to_string(),
    }
}

/// Help for a refused unit code.
pub(super) fn unit_help(report: &Report, code: &str, error: &UnitError) -> Option<String> {
    let valid = |code: &str| Unit::parse(code).is_ok();
    if let Some((_, good)) = ALIASES.iter().find(|(bad, _)| *bad == code) {
        return Some(format!("in UCUM that is `{good}`"));
    }
    let plain: String = code
        .chars()
        .take(64)
        .filter(|c| !matches!(c, '^' | ' '))
        .map(|c| match c {
            '²' => '2',
            '³' => '3',
            '·' => '.',
            'µ' | 'μ' => 'u',
            c => c,
        })
        .collect();
    if plain != code && valid(&plain) {
        return Some(format!("write `{plain}`"));
    }
    match error {
        UnitError::Unknown(symbol) => {
            if let Some((bad, good)) = ALIASES.iter().find(|(bad, _)| bad == symbol) {
                let whole = code.replacen(bad, good, 1);
                return Some(format!(
                    "write `{}`",
                    if valid(&whole) { whole.as_str() } else { good }
                ));
            }
            // Codes that differ by one letter are other units (m, s, g), so only long ones are guessed.
            let known = Unit::known_codes().filter(|c| symbol.len() > 2 && c.len() > 2);
            let near = super::suggest::nearest(report, symbol, known);
            Some(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "units are UCUM codes such as cm, L/min, kg/m3, Cel, bar, %".into(),
            })
        }
        UnitError::Syntax(_) => {
            Some("write products with `.`, quotients with `/`: `kg.m/s2`".into())
        }
        UnitError::Offset(_) => None,
    }
}

/// Foreign text fit to stand inside a message: short, one line, nothing that moves the cursor.
pub(super) fn quoted(text: &str) -> String {
    clip(text, 60)
}

/// `text` on one line of at most `limit` characters.
pub(super) fn clip(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for c in text.chars() {
        let piece = if is_unsafe(c) { c.escape_default().to_string() } else { c.to_string() };
        length += piece.chars().count();
        out.push_str(&piece);
        if length > limit {
            break;
        }
    }
    if length > limit {
        out = out.chars().take(limit - 1).collect();
        out.push('…');
    }
    out
}

/// Control characters, and format characters that turn or hide text on a terminal.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
