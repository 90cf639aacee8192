//! Places, snippets and cut messages in awkward texts; the starter plant.

use crate::{
    Diagnostic, MESSAGE_LIMIT, Severity, Span,
    file::{Sources, StarterError, starter_plant},
};

fn at(text: &str, byte: usize) -> (Sources, Diagnostic) {
    let mut sources = Sources::default();
    sources.add("f".into(), text.into());
    let span = Span { start: byte as u32, end: byte as u32 + 1 };
    let diagnostic = sources.diagnostic("f", span, Severity::Error, "x", "wrong", None);
    (sources, diagnostic)
}

#[track_caller]
fn check_place(text: &str, byte: usize, place: (u32, u32)) {
    let (_, diagnostic) = at(text, byte);
    assert_eq!((diagnostic.line, diagnostic.column), place, "{text:?} at {byte}");
}

#[test]
fn columns_count_characters_and_lines_count_from_one() {
    check_place("", 0, (1, 1));
    check_place("", 9, (1, 1));
    check_place("ab\ncd", 2, (1, 3));
    check_place("ab\ncd", 3, (2, 1));
    check_place("ab\r\ncd\r\n", 5, (2, 2));
    check_place("ab\n", 3, (2, 1));
    check_place("äöü=", 6, (1, 4));
    check_place("äöü=", 1, (1, 1));
    check_place("\u{1f600}x", 4, (1, 2));
}

#[test]
fn a_place_in_an_unknown_file_is_its_beginning() {
    let (sources, _) = at("abc", 0);
    let span = Span { start: 2, end: 3 };
    let diagnostic = sources.diagnostic("other", span, Severity::Error, "x", "wrong", None);
    assert_eq!(diagnostic.to_string(), "other:1:1: wrong");
    assert_eq!(sources.snippet(&diagnostic), None);
}

#[test]
fn a_long_message_is_cut_on_a_character() {
    let sources = Sources::default();
    let make = |m: String| {
        sources.diagnostic("f", Span::default(), Severity::Error, "x", m.clone(), Some(m))
    };
    let cut = make("ü".repeat(MESSAGE_LIMIT + 1));
    assert_eq!(cut.message.chars().count(), MESSAGE_LIMIT);
    assert!(cut.message.ends_with('…'));
    assert_eq!(cut.help.as_ref(), Some(&cut.message));
    let whole = make("ü".repeat(MESSAGE_LIMIT));
    assert!(!whole.message.contains('…'));
    assert_eq!(make("a\u{7}\r\n\u{200e}b".into()).message, r"a\u{7}\r\n\u{200e}b");
}

#[track_caller]
fn check_snippet(text: &str, byte: usize, expected: &str) {
    let (sources, diagnostic) = at(text, byte);
    assert_eq!(sources.snippet(&diagnostic).as_deref(), Some(expected));
}

#[test]
fn a_snippet_points_at_the_column_whatever_the_width_of_characters() {
    check_snippet("a = 1\nbc = x\n", 11, "bc = x\n     ^");
    check_snippet("\tb = x", 5, " b = x\n     ^");
    check_snippet("水 = x", 6, "水 = x\n     ^");
    check_snippet("e\u{301} = x", 6, "e\u{301} = x\n    ^");
    check_snippet("ab\r\n", 2, "ab\n  ^");
    check_snippet("a\u{1b}[2Jb", 5, "a\u{fffd}[2Jb\n     ^");
}

#[test]
fn a_snippet_marks_the_whole_span() {
    let (sources, mut diagnostic) = at("a = xyz # no", 4);
    diagnostic.span.end = 7;
    assert_eq!(sources.snippet(&diagnostic).as_deref(), Some("a = xyz # no\n    ^^^"));
    diagnostic.span.end = 4000;
    assert!(sources.snippet(&diagnostic).is_some(), "a span beyond the text is no panic");
}

#[test]
fn a_line_of_forty_kilobytes_is_cut_around_its_column() {
    let line = format!("{}!{}", "水".repeat(10_000), "x".repeat(10_000));
    let (sources, diagnostic) = at(&line, 30_000);
    let snippet = sources.snippet(&diagnostic).expect("the line exists");
    let (text, carets) = snippet.split_once('\n').expect("two lines");
    assert!(text.starts_with('…') && text.chars().count() <= 100);
    assert!(carets.len() <= 101, "{}", carets.len());
}

#[test]
fn the_starter_plant_refuses_a_name_that_is_none() {
    for bad in ["", "my plant", "7up", "a\"b", "é", &"x".repeat(65)] {
        assert!(matches!(starter_plant(bad), Err(StarterError::Name(_))), "{bad}");
    }
    let error = starter_plant("my plant").unwrap_err();
    assert!(error.to_string().starts_with("name the plant `my plant`"));
}
