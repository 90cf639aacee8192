//! Broken plant files: every problem at once, readable, and never a crash.

use std::{fmt::Write as _, fs, path::Path};

use plantwin_tests::run_to_end;
use serde_json::Value;

use crate::{stderr, stdout};

/// Longest message and longest help, in characters.
const LIMIT: usize = 200;

/// Checks a file through both formats, holds what is true of all of them, returns the problems.
fn problems(home: &Path, name: &str, content: &[u8], code: i32) -> Vec<Value> {
    fs::write(home.join(name), content).expect("a temporary folder can be written");
    let text = run_to_end(home, &["check", name]);
    let json = run_to_end(home, &["check", name, "--format", "json"]);
    for out in [&text, &json] {
        assert_eq!(out.status.code(), Some(code), "{name}: {}{}", stdout(out), stderr(out));
        assert!(!stderr(out).contains("panicked"), "{name}: {}", stderr(out));
    }
    let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(report["file"], name);
    let found = report["problems"].as_array().expect("problems").clone();
    let of = |severity: &str| found.iter().filter(|p| p["severity"] == severity).count() as u64;
    assert_eq!(report["errors"], of("error"));
    assert_eq!(report["warnings"], of("warning"));
    let text = stdout(&text);
    let mut rest = text.as_str();
    for p in &found {
        assert!(p["line"].as_u64().is_some_and(|l| l >= 1), "{p}");
        assert!(p["column"].as_u64().is_some_and(|c| c >= 1), "{p}");
        let message = p["message"].as_str().expect("a message");
        let help = p["help"].as_str().unwrap_or_default();
        for part in [message, help] {
            assert!(part.chars().count() <= LIMIT, "{} characters: {part}", part.chars().count());
            assert!(!part.contains(char::is_control), "{part:?}");
        }
        // Both formats say the same, in the same order.
        let head = format!(
            "{}:{}:{}: {}[{}]: {message}",
            p["file"].as_str().expect("a file"),
            p["line"],
            p["column"],
            p["severity"].as_str().expect("a severity"),
            p["code"].as_str().expect("a code"),
        );
        let at = rest.find(&head).unwrap_or_else(|| panic!("{head} is not in\n{rest}"));
        rest = &rest[at + head.len()..];
        if !help.is_empty() {
            let at = rest.find(help).unwrap_or_else(|| panic!("{help} is not in\n{rest}"));
            rest = &rest[at..];
        }
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 400, "a line of {} characters", line.chars().count());
    }
    if code == 78 {
        let run = run_to_end(home, &["run", name, "--headless", "--for", "1s"]);
        assert_eq!(run.status.code(), Some(78), "{name} must not run: {}", stderr(&run));
    }
    found
}

fn codes(problems: &[Value]) -> Vec<&str> {
    problems.iter().filter_map(|p| p["code"].as_str()).collect()
}

fn at_line(problems: &[Value], line: u64) -> &Value {
    let found = problems.iter().find(|p| p["line"] == line);
    found.unwrap_or_else(|| panic!("no problem at line {line}: {problems:#?}"))
}

const MANY: &str = r#"[plant]
name = "many"
period = "fast"
colour = "red"

[zone.field]

[device.a]
type = "tnak"
zone = "field"
paths = ["mqtt"]

[device.b]
type = "tank"
zone = "feild"
paths = ["mqttt"]

[device.c]
type = "pump"
zone = "field"
start = { voltage = 99 }
paths = ["coap"]

[[flow]]
from = "c.flwo"
to = "b.inflow"
[[scenario]]
at = "1s"
set = { "c.flow" = 1 }
"#;

#[test]
fn all_problems_of_a_file_are_reported_at_once_each_at_its_place() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let found = problems(home.path(), "many.toml", MANY.as_bytes(), 78);
    for (line, column) in [(3, 10), (4, 1), (9, 8), (15, 8), (16, 10), (21, 21), (25, 8), (29, 9)] {
        let p = at_line(&found, line);
        assert_eq!(p["severity"], "error", "{p}");
        assert_eq!(p["column"], column, "{p}");
    }
    // A name that is nearly right comes with the right one.
    for (line, right) in [(9, "tank"), (15, "field"), (16, "mqtt"), (25, "flow")] {
        let p = at_line(&found, line);
        let said = format!("{} {}", p["message"], p["help"]);
        assert!(said.contains(right), "{said}");
    }
}

#[test]
fn a_syntax_error_does_not_hide_the_problems_after_it() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let text = MANY.replace("period = \"fast\"", "period = = \"1s\"");
    let found = problems(home.path(), "syntax.toml", text.as_bytes(), 78);
    at_line(&found, 3);
    at_line(&found, 9);
    at_line(&found, 15);
}

#[test]
fn files_that_are_no_plant_at_all_are_refused_in_peace() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let binary: Vec<u8> =
        (0..20_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let found = problems(home.path(), "garbage.toml", &binary, 78);
    assert_eq!(codes(&found), ["not-utf8"]);
    for (name, content) in [
        ("empty.toml", ""),
        ("spaces.toml", "  \n\n\t\n"),
        ("comment.toml", "# nothing\n"),
        ("json.toml", "{\"plant\": {\"name\": \"x\"}}"),
        ("bom.toml", "\u{feff}[plant]\nname = 1\n"),
        ("nul.toml", "[plant]\nname = \"a\0b\"\n"),
        ("crlf.toml", "[plant]\r\nname = 3\r\n"),
        ("unclosed.toml", "[plant\nname = \"x\n[[[[\n"),
        ("deep.toml", &format!("x = {}{}", "[".repeat(5000), "]".repeat(5000))),
    ] {
        let found = problems(home.path(), name, content.as_bytes(), 78);
        assert!(!found.is_empty(), "{name} is wrong somehow");
    }
    // Text that turns an operator's screen around is shown harmlessly.
    let found =
        problems(home.path(), "escape.toml", b"[plant]\nname = \"\\u001b[2J\\u202Ex\"\n", 78);
    assert!(!found.is_empty());
}

#[test]
fn a_line_of_forty_thousand_characters_stays_readable() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let long = "x".repeat(40_000);
    for (name, text) in [
        ("long-value.toml", format!("[plant]\nname = \"{long}\"\n")),
        ("long-key.toml", format!("[plant]\nname = \"a\"\n{long} = 1\n")),
        (
            "long-type.toml",
            format!(
                "[plant]\nname = \"a\"\n[zone.f]\n[device.d]\nzone = \"f\"\ntype = \"{long}\"\n"
            ),
        ),
        ("long-wide.toml", format!("[plant]\nname = \"{}\"\n", "水".repeat(40_000))),
        ("long-syntax.toml", format!("[plant]\nname = = {long}\n")),
    ] {
        let found = problems(home.path(), name, text.as_bytes(), 78);
        assert!(!found.is_empty(), "{name}");
    }
}

#[test]
fn at_most_two_hundred_problems_are_listed() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut text = "[plant]\nname = \"lots\"\n[zone.f]\n".to_owned();
    for i in 0..1000 {
        writeln!(text, "[device.d{i}]\ntype = \"nothing\"\nzone = \"nowhere\"")
            .expect("a string takes all");
    }
    let found = problems(home.path(), "lots.toml", text.as_bytes(), 78);
    assert!((200..=201).contains(&found.len()), "{} problems", found.len());
}

#[test]
fn what_is_no_readable_file_is_named_with_the_reason() {
    let home = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(home.path().join("folder.toml")).expect("a temporary folder can be written");
    for (name, reason) in [("folder.toml", "directory"), ("absent.toml", "No such file")] {
        for command in ["check", "run"] {
            let out = run_to_end(home.path(), &[command, name]);
            assert_eq!(out.status.code(), Some(78), "{name}: {}", stderr(&out));
            let said = stderr(&out);
            assert!(said.contains(name) && said.contains(reason), "{said}");
        }
    }
    let big = vec![b'#'; (4 << 20) + 1];
    let found = problems(home.path(), "big.toml", &big, 78);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_sound_file_is_ok_and_its_warnings_do_not_stop_it() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let sound = MANY
        .replace("period = \"fast\"\ncolour = \"red\"\n", "")
        .replace("tnak", "tank")
        .replace("feild", "field")
        .replace("mqttt", "mqtt")
        .replace("= 99", "= 9")
        .replace("flwo", "flow")
        .replace("c.flow\" = 1", "c.voltage\" = 1");
    let found = problems(home.path(), "sound.toml", sound.as_bytes(), 0);
    assert!(found.iter().all(|p| p["severity"] == "warning"), "{found:?}");
    assert_eq!(codes(&found), ["unfed-input"], "nothing feeds tank a");
}
