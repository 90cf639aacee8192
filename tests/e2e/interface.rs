//! What programs read: field names of `status --json` and of `tap`. Fields are added, not renamed.

use std::{
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
};

use plantwin_tests::{Plant, scenario, wait_for};
use serde_json::Value;

use crate::{is_shadowed, millis, stderr, stdout};

/// Asserts that all of these fields are there.
fn has(what: &Value, fields: &[&str]) {
    for field in fields {
        assert!(what.get(field).is_some(), "{field} is missing in {what}");
    }
}

const TWIN: &[&str] = &[
    "id", "zone", "type", "state", "reason", "since", "path", "session", "mailbox", "energy_j",
    "points",
];
const POINT: &[&str] =
    &["value", "unit", "quality", "source_time", "received_time", "predicted", "residual"];

fn check_twin(twin: &Value) {
    has(twin, TWIN);
    has(&twin["path"], &["protocol", "endpoint", "rank", "switches"]);
    has(&twin["session"], &["kind"]);
    has(&twin["mailbox"], &["depth", "capacity", "handled", "refused"]);
    assert!(twin["energy_j"].is_number());
    millis(&twin["since"]);
    for point in twin["points"].as_object().expect("points by name").values() {
        has(point, POINT);
        assert!(point["unit"].is_string());
        let quality = point["quality"].as_str().expect("a word");
        assert!(["good", "uncertain", "bad"].contains(&quality), "{quality}");
        assert!(millis(&point["source_time"]) <= millis(&point["received_time"]) + 1);
    }
}

#[test]
fn status_has_the_fields_that_were_promised() {
    let plant = Plant::run(&scenario("threshold"), &[]);
    crate::command(&plant, &["source.level=9"]);
    plant.wait_alarm("source.high", |_| true);
    let status = plant.status();
    has(&status, &["plant", "uptime_s", "twins", "alarms", "counters"]);
    assert_eq!(status["plant"], "threshold");
    assert!(status["uptime_s"].as_f64().is_some_and(|s| s > 0.0));
    assert!(status["counters"].as_object().expect("counters").values().all(Value::is_u64));
    for twin in status["twins"].as_array().expect("twins") {
        check_twin(twin);
    }
    let alarms = status["alarms"].as_array().expect("alarms");
    let alarm = alarms.iter().find(|a| a["id"] == "source.high").expect("the alarm");
    has(alarm, &["id", "twin", "priority", "state", "since", "text"]);
    assert_eq!(alarm["twin"], "source");
    assert_eq!(alarm["priority"], "high");
    assert_eq!(alarm["state"], "unacknowledged");
    assert!(alarm["text"].as_str().is_some_and(|t| t.contains("level")), "{alarm}");
    millis(&alarm["since"]);
    // What people read says the same.
    let text = stdout(&plant.call(&["status"]));
    assert!(
        text.contains("source") && text.contains("! high unacknowledged source.high"),
        "{text}"
    );
}

#[test]
fn tap_writes_a_line_of_json_for_each_change_of_one_twin() {
    let plant = Plant::run(&scenario("small"), &[]);
    plant.wait_twin("tank", "to be up", is_shadowed);
    let tap = plant.follow("tank");
    let lines = wait_for("five lines", || Some(tap.lines()).filter(|l| l.len() >= 5));
    let mut last = 0;
    for line in lines {
        let twin: Value = serde_json::from_str(&line).expect("each line is JSON");
        assert_eq!(twin["id"], "tank");
        check_twin(&twin);
        let time = millis(&twin["points"]["level"]["received_time"]);
        assert!(time >= last, "lines come in order");
        last = time;
    }
    let timed = plant.call(&["tap", "tank", "--for", "6s"]);
    assert_eq!(timed.status.code(), Some(0), "{}", stderr(&timed));
    assert!(stdout(&timed).lines().count() >= 3, "{}", stdout(&timed));
    let absent = plant.call(&["tap", "nobody"]);
    assert_eq!(absent.status.code(), Some(64));
    assert!(stderr(&absent).contains("no twin nobody"), "{}", stderr(&absent));
}

#[test]
fn a_request_that_is_not_allowed_or_makes_no_sense_is_refused_with_its_reason() {
    let plant = Plant::run(&scenario("small"), &[]);
    plant.wait_twin("pump", "to be up", is_shadowed);
    for (words, reason) in [
        (&["command", "nobody.voltage=1"][..], "nobody"),
        (&["command", "pump.nothing=1"], "no point nothing"),
        (&["command", "pump.flow=1"], "cannot be written"),
        (&["command", "pump.voltage=99"], "0 to 10"),
        (&["command", "pump", "explode"], "no command explode"),
        (&["command", "pump", "run"], "voltage"),
        (&["command", "pump", "run", "voltage=1", "flow=2"], "flow"),
        (&["ack", "nobody.level_high"], "nobody"),
        (&["ack", "level_high"], "DEVICE.ALARM"),
    ] {
        let out = plant.call(words);
        assert_eq!(out.status.code(), Some(77), "{words:?}: {}{}", stdout(&out), stderr(&out));
        assert!(stderr(&out).contains(reason), "{words:?}: {}", stderr(&out));
    }
    // A named command with its argument, and one with fixed writes.
    crate::command(&plant, &["pump", "run", "voltage=6"]);
    plant.wait_twin("pump", "6 V", |t| crate::is_near(t, "voltage", 6.0, 0.02));
    crate::command(&plant, &["pump", "trip"]);
    plant.wait_twin("pump", "0 V", |t| crate::is_near(t, "voltage", 0.0, 0.02));
}

#[test]
fn clients_that_say_nothing_or_nonsense_keep_nobody_from_the_control_socket() {
    let plant = Plant::run(&scenario("small"), &[]);
    let socket = plant.data.join("control.sock");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may use it");
    // More than are served at a time.
    let silent: Vec<UnixStream> =
        (0..80).map(|_| UnixStream::connect(&socket).expect("the socket listens")).collect();
    wait_for("an answer in spite of them", || plant.try_status());
    drop(silent);
    let long = "x".repeat(200_000);
    for junk in
        ["\n", "{}\n", "[[[[", r#"{"ask":"tap"}"#, r#"{"ask":"request","role":"root"}"#, &long]
    {
        let mut stream = UnixStream::connect(&socket).expect("the socket listens");
        // What is too long is not read to its end.
        let _ = stream.write_all(junk.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.contains(r#""say":"error""#), "{answer}");
    }
    plant.wait_twin("tank", "to be up", is_shadowed);
    assert!(!plant.log().contains("panicked"), "{}", plant.log());
}
