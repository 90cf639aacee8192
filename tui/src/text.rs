//! Text for cells: made safe, cut to width, numbers and times as people read them.
//!
//! Names and texts come from files, devices and foreign servers. A control character in one of
//! them could drive the terminal, and a bidirectional override could make it read as another
//! name, so [`safe`] replaces both everywhere. Absent: locales and time zones; all times are UTC.

use std::{borrow::Cow, time::Duration};

use plantwin_model::Timestamp;
use ratatui::text::Span;

/// `text` without characters that drive a terminal or reorder what is read.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unsafe) {
        text.chars().map(|c| if is_unsafe(c) { '?' } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

/// Control characters (C0, DEL, C1), line separators, bidirectional controls, invisible joiners.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { Span::raw(text).width() }
}

/// `text` cut to `max` columns; a cut is shown by `mark`, which takes one column.
pub(crate) fn cut<'a>(text: &'a str, max: usize, mark: &str) -> Cow<'a, str> {
    if width(text) <= max {
        return text.into();
    }
    let mut out = String::with_capacity(max + 4);
    let mut used = 0;
    for grapheme in Span::raw(text).styled_graphemes(ratatui::style::Style::new()) {
        let w = width(grapheme.symbol);
        if used + w >= max {
            break;
        }
        out.push_str(grapheme.symbol);
        used += w;
    }
    if max > 0 {
        out.push_str(mark);
    }
    out.into()
}

/// A value with about five significant digits, at most ten columns.
pub(crate) fn number(v: f64) -> String {
    let size = v.abs();
    if v.is_nan() {
        "NaN".into()
    } else if v.is_infinite() {
        if v > 0.0 { "inf".into() } else { "-inf".into() }
    } else if size != 0.0 && !(1e-3..1e7).contains(&size) {
        format!("{v:.3e}")
    } else {
        let decimals = match size {
            s if s >= 10_000.0 => 0,
            s if s >= 1_000.0 => 1,
            s if s >= 100.0 => 2,
            s if s >= 10.0 => 3,
            _ => 4,
        };
        let text = format!("{v:.decimals$}");
        // "-0.0000" reads as if the sign meant something.
        if text.strip_prefix('-').is_some_and(|t| t.bytes().all(|b| b == b'0' || b == b'.')) {
            text[1..].into()
        } else {
            text
        }
    }
}

/// A count with thousands separated.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A count of bytes in units of 1024, as plant files give bounds.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut size = n as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be written as 1024.0.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A number of hours as people plan with it: minutes, hours or days.
pub(crate) fn hours(h: f64) -> String {
    match h.max(0.0) {
        h if h < 1.0 => format!("{:.0} min", (h * 60.0).floor()),
        h if h < 10.0 => format!("{:.1} h", (h * 10.0).floor() / 10.0),
        h if h < 96.0 => format!("{:.0} h", h.floor()),
        h => format!("{:.0} d", (h / 24.0).floor().min(99_999.0)),
    }
}

/// A duration in at most six columns.
pub(crate) fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..10 => format!("{:.1}s", (d.as_millis() / 100) as f64 / 10.0),
        10..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
        _ => format!("{}d", (s / 86_400).min(99_999)),
    }
}

/// `14:02:07`, UTC.
pub(crate) fn clock(t: Timestamp) -> String {
    let s = t.0.div_euclid(1_000_000_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// `2026-11-21 14:02:07Z`.
pub(crate) fn date_clock(t: Timestamp) -> String {
    let (y, m, d) = civil(t.0.div_euclid(86_400_000_000_000));
    format!("{y:04}-{m:02}-{d:02} {}Z", clock(t))
}

/// Year, month and day of a day number since 1970-01-01 in the proleptic Gregorian calendar
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// A UCUM code as people write it.
pub(crate) fn unit(code: &str, ascii: bool) -> Cow<'_, str> {
    match code {
        "1" => "".into(),
        "Cel" if ascii => "degC".into(),
        "Cel" => "\u{b0}C".into(),
        _ => safe(code),
    }
}

/// Whether `haystack` holds `needle`, which is lowercase; the case of `haystack` is ignored.
pub(crate) fn contains(haystack: &str, needle: &str) -> bool {
    if needle.is_empty() {
        return true;
    }
    if haystack.is_ascii() {
        // Without an allocation: this runs over every twin when the filter changes.
        let n = needle.as_bytes();
        haystack.as_bytes().windows(n.len()).any(|w| w.eq_ignore_ascii_case(n))
    } else {
        haystack.to_lowercase().contains(needle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidirectional_characters_never_get_through() {
        let hostile = "a\x1b[2J\u{9b}31m\r\nb\u{202e}c\u{200b}";
        let clean = safe(hostile);
        assert_eq!(clean, "a?[2J?31m??b?c?");
        assert!(matches!(safe("Kühlung 冷却"), Cow::Borrowed(_)));
    }

    #[test]
    fn wide_text_is_cut_by_columns_and_not_by_bytes() {
        assert_eq!(cut("冷却水ポンプ", 7, "~"), "冷却水~");
        assert_eq!(cut("冷却水ポンプ", 6, "~"), "冷却~");
        assert_eq!(cut("abc", 3, "~"), "abc");
        assert_eq!(cut("abcd", 3, "~"), "ab~");
        assert_eq!(cut("abcd", 0, "~"), "");
    }

    #[test]
    fn numbers_keep_five_digits_and_no_negative_zero() {
        let all = [0.0, -0.000_01, 12.4, 182.4, 1_234.56, 98_765.4, 1e9, f64::NAN, -1e-9];
        let text: Vec<_> = all.iter().map(|v| number(*v)).collect();
        assert_eq!(
            text,
            [
                "0.0000",
                "-1.000e-5",
                "12.400",
                "182.40",
                "1234.6",
                "98765",
                "1.000e9",
                "NaN",
                "-1.000e-9"
            ]
        );
        assert_eq!(number(-0.0), "0.0000");
    }

    #[test]
    fn dates_follow_the_calendar_before_and_after_the_epoch() {
        assert_eq!(date_clock(Timestamp(0)), "1970-01-01 00:00:00Z");
        assert_eq!(date_clock(Timestamp(-1)), "1969-12-31 23:59:59Z");
        // 951782400 is 2000-02-29T00:00:00Z.
        assert_eq!(date_clock(Timestamp::from_millis(951_782_400_000)), "2000-02-29 00:00:00Z");
        assert_eq!(date_clock(Timestamp::from_millis(1_795_269_727_000)), "2026-11-21 14:02:07Z");
    }

    #[test]
    fn durations_and_counts_read_well() {
        let text = |s| duration(Duration::from_secs_f64(s));
        assert_eq!(text(0.26), "0.2s");
        assert_eq!(text(41.0), "41s");
        assert_eq!(text(250.0), "4m10s");
        assert_eq!(text(10_920.0), "3h02m");
        assert_eq!(text(200_000.0), "2d07h");
        assert_eq!(duration(Duration::MAX), "99999d");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
    }
}
