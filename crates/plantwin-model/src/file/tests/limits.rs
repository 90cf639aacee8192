//! Files that are far too large, too deep or too wrong: few words, and soon.

use std::fmt::Write;

use super::{CATALOG, GOOD, check_form, lines, read};
use crate::file::{DEVICE_LIMIT, DIAGNOSTIC_LIMIT, FILE_LIMIT, read_type};

#[track_caller]
fn check_garbage(text: &str) {
    let checked = read(text);
    check_form(&checked.diagnostics);
    assert!(checked.plant.is_none());
    for diagnostic in &checked.diagnostics {
        let _ = checked.sources.snippet(diagnostic);
    }
    check_form(&read_type("t.toml", text, &CATALOG).diagnostics);
}

#[test]
fn a_file_above_the_limit_is_refused_with_one_sentence() {
    let checked = read(&"#".repeat(FILE_LIMIT + 1));
    assert!(checked.plant.is_none());
    assert_eq!(
        lines(&checked.diagnostics),
        "  Error file-too-large: plant.toml:1:1: file has 4194305 bytes; at most 4194304 are read\n"
    );
}

#[test]
fn a_file_at_the_limit_is_read() {
    let text = format!("{GOOD}{}", "#".repeat(FILE_LIMIT - GOOD.len()));
    let checked = read(&text);
    assert_eq!(lines(&checked.diagnostics), "");
    assert!(checked.plant.is_some());
}

#[test]
fn a_hundred_thousand_unknown_keys_are_counted_and_not_all_listed() {
    let mut text = GOOD.to_owned();
    text.push_str("[zone.extra]\n");
    for i in 0..100_000 {
        let _ = writeln!(text, "key_{i} = 1");
    }
    let checked = read(&text);
    check_form(&checked.diagnostics);
    assert_eq!(checked.diagnostics.len(), DIAGNOSTIC_LIMIT + 1);
    let last = &checked.diagnostics[DIAGNOSTIC_LIMIT];
    assert_eq!(last.message, "and 99800 more problems");
}

#[test]
fn too_many_devices_are_one_problem() {
    let mut text = GOOD.to_owned();
    for i in 0..DEVICE_LIMIT {
        let _ = writeln!(text, "[device.d{i}]");
    }
    let checked = read(&text);
    check_form(&checked.diagnostics);
    assert!(checked.diagnostics.iter().any(|d| d.code == "too-many-problems"));
    assert!(checked.plant.is_none());
}

#[test]
fn ten_thousand_devices_are_read() {
    let mut text = GOOD.to_owned();
    for i in 0..10_000 {
        let _ = writeln!(text, "[device.d{i}]\ntype = \"pump\"\nzone = \"field\"\nmqtt = {{}}");
    }
    let checked = read(&text);
    assert_eq!(lines(&checked.diagnostics), "");
    assert_eq!(checked.plant.expect("no diagnostics").devices.len(), 10_003);
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    const DEEP: usize = 20_000;
    for (open, close) in [("[", "]"), ("{a=", "}"), ("{\"a\"=[", "]}"), ("(", ")")] {
        check_garbage(&format!("x = {}1{}\n", open.repeat(DEEP), close.repeat(DEEP)));
        check_garbage(&format!("x = {}", open.repeat(DEEP)));
        check_garbage(&open.repeat(DEEP));
    }
    check_garbage(&format!("{}a = 1", "a.".repeat(DEEP)));
    check_garbage(&format!("[{}a]", "a.".repeat(DEEP)));
    check_garbage(&format!("[device.{}a]", "a.".repeat(70)));
}

#[test]
fn dotted_keys_within_inline_tables_may_nest_thousands_deep() {
    let key = "a.".repeat(78);
    let value = format!("{}1{}", format!("{{{key}a=").repeat(79), "}".repeat(79));
    check_garbage(&format!("x = {value}\n"));
    check_garbage(&format!("x = {value}\nx = {value}\n"));
    check_garbage(&format!("[{key}b]\n{key}x = [{value}]\n"));
}

#[test]
fn four_megabytes_of_anything_are_answered_in_good_time() {
    let cases = [
        format!("x = \"{}\"", "ü".repeat(FILE_LIMIT / 2 - 10)),
        "x".repeat(FILE_LIMIT),
        "=".repeat(FILE_LIMIT),
        "=\n".repeat(FILE_LIMIT / 2),
        format!("x = [{}]", "1,".repeat(FILE_LIMIT / 2 - 10)),
        "[[flow]]\n".repeat(FILE_LIMIT / 9),
        "\"".repeat(FILE_LIMIT),
    ];
    for text in &cases {
        let checked = read(text);
        check_form(&checked.diagnostics);
        assert!(checked.plant.is_none());
    }
}
