//! The real binary, end to end: a module per theme. Plants come from `plants/` and
//! `tests/scenarios/`; peers are programs that others wrote.
//!
//! Nothing here sleeps and hopes: everything waits for what it wants to see.

mod attach;
mod check;
mod console;
mod faults;
mod foreign;
mod hung;
mod interface;
mod keeping;
mod paths;
mod restart;
mod run;
mod trust;
mod wire;

use std::process::Output;

use plantwin_tests::Plant;
use serde_json::Value;

/// A point of a twin.
fn point<'a>(twin: &'a Value, name: &str) -> &'a Value {
    let point = &twin["points"][name];
    assert!(point.is_object(), "{} has no point {name}", twin["id"]);
    point
}

/// The value of a point, if it has one.
fn value(twin: &Value, name: &str) -> Option<f64> {
    point(twin, name)["value"].as_f64()
}

/// Whether a point has a value that is as near to `wanted` as that.
fn is_near(twin: &Value, name: &str, wanted: f64, within: f64) -> bool {
    value(twin, name).is_some_and(|v| (v - wanted).abs() <= within)
}

/// Milliseconds since 1970 of a time as plantwin prints it.
fn millis(time: &Value) -> i128 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    let time = humantime::parse_rfc3339(text).expect("times are RFC 3339");
    let since = time.duration_since(std::time::UNIX_EPOCH).expect("the plant runs after 1970");
    since.as_millis().cast_signed()
}

/// What a program wrote to stdout.
fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program wrote to stderr.
fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `plantwin command` against a plant; it must be carried out.
fn command(plant: &Plant, words: &[&str]) {
    let mut args = vec!["command"];
    args.extend(words);
    let output = plant.call(&args);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    assert_eq!(stdout(&output).trim(), "done");
}

/// Whether the twin shadows its device.
fn is_shadowed(twin: &Value) -> bool {
    twin["state"] == "shadowed"
}

/// The program under one of its Debian names.
fn first_of(programs: &[&'static str]) -> Option<&'static str> {
    let exists = |p: &&&str| {
        let found =
            std::process::Command::new("sh").args(["-c", &format!("command -v {p}")]).output();
        found.is_ok_and(|o| o.status.success())
    };
    programs.iter().find(exists).copied()
}

/// libcoap's client under one of its names.
fn coap_client() -> Option<&'static str> {
    first_of(&["coap-client", "coap-client-notls", "coap-client-openssl"])
}
