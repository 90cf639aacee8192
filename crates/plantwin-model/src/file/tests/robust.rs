//! Whatever the text: no panic, short messages, and a plant exactly if there is no error.

use proptest::prelude::*;

use super::{CATALOG, GOOD, TANK, check_form, read};
use crate::{
    Severity,
    file::{Sources, read_type},
};

fn check(text: &str) {
    let checked = read(text);
    check_form(&checked.diagnostics);
    let errors = checked.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(checked.plant.is_none(), errors);
    for diagnostic in &checked.diagnostics {
        check_snippet(&checked.sources, diagnostic);
    }
    let checked = read_type("t.toml", text, &CATALOG);
    check_form(&checked.diagnostics);
    let errors = checked.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(checked.kind.is_none(), errors);
}

fn check_snippet(sources: &Sources, diagnostic: &crate::Diagnostic) {
    let snippet = sources.snippet(diagnostic).expect("its file was read");
    let lines: Vec<_> = snippet.split('\n').collect();
    let [line, carets] = lines[..] else { panic!("two lines: {snippet:?}") };
    assert!(line.chars().count() <= 300 && carets.contains('^'));
    assert!(!snippet.chars().any(|c| c.is_control() && c != '\n'), "{snippet:?}");
}

/// Replaces `take` bytes at `at` (both in characters of the text) by `new`.
fn mutated(text: &str, edits: &[(usize, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, take, new) in edits {
        let start = at % (chars.len() + 1);
        let end = (start + take).min(chars.len());
        chars.splice(start..end, new.chars());
    }
    chars.into_iter().collect()
}

fn edits() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
    let token = prop_oneof![
        "[\\[\\]{}=\"'.,#\n\t ]{1,3}",
        "[a-z_]{1,8}",
        "-?[0-9]{1,20}",
        Just("\"\"\"".to_owned()),
        Just("nan".to_owned()),
        Just("1e400".to_owned()),
        Just("\"5 cm/s\"".to_owned()),
        "\\PC{0,6}",
    ];
    prop::collection::vec((any::<usize>(), 0..12_usize, token), 1..6)
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_of_toml_characters_is_answered(text in "[a-z\\[\\]{}=\"'.,#0-9\n\r\t _-]{0,300}") {
        check(&text);
    }

    #[test]
    fn a_plant_with_arbitrary_edits_is_answered(edits in edits()) {
        check(&mutated(GOOD, &edits));
    }

    #[test]
    fn a_type_with_arbitrary_edits_is_answered(edits in edits()) {
        check(&mutated(TANK, &edits));
    }

    #[test]
    fn a_plant_that_ends_anywhere_is_answered(end in 0..GOOD.len()) {
        check(&GOOD[..end]);
    }

    #[test]
    fn lines_in_any_order_are_answered(seed in any::<prop::sample::Index>(), step in 1..97_usize) {
        let lines: Vec<&str> = GOOD.lines().collect();
        let start = seed.index(lines.len());
        let order = (0..lines.len()).map(|i| lines[(start + i * step) % lines.len()]);
        check(&order.collect::<Vec<_>>().join("\n"));
    }
}
