//! Paths that fall silent and come back.

use plantwin_tests::{Plant, scenario, twin, wait_for, wait_until};
use serde_json::Value;

use crate::{is_shadowed, millis, point, value};

/// First dwell before a return to a preferred path, milliseconds; a promise to operators.
const DWELL_MS: i128 = 10_000;

#[test]
fn a_device_whose_preferred_path_falls_silent_moves_to_the_next_and_returns_after_the_dwell() {
    let plant = Plant::run(&scenario("failover"), &[]);
    let first = plant.wait_twin("twoway", "to be up", is_shadowed);
    assert_eq!(first["path"]["protocol"], "mqtt");
    let tap = plant.follow("twoway");
    let moved = plant.wait_twin("twoway", "to move to coap", |t| t["path"]["protocol"] == "coap");
    assert_eq!(moved["path"]["rank"], 1);
    assert_eq!(moved["path"]["switches"], 1);
    let level = value(&moved, "level").expect("it keeps its values");
    assert!((level - value(&first, "level").expect("a level")).abs() < 1.0, "{level}");
    let live = plant.wait_twin("twoway", "new values over coap", |t| {
        is_shadowed(t)
            && t["path"]["protocol"] == "coap"
            && point(t, "level")["quality"] == "good"
            && millis(&point(t, "level")["source_time"])
                > millis(&point(&moved, "level")["source_time"]) + 400
    });
    assert_eq!(live["session"]["kind"], "token", "the new path has its own proof");
    let back =
        plant.wait_twin("twoway", "to come back to mqtt", |t| t["path"]["protocol"] == "mqtt");
    assert_eq!(back["path"]["rank"], 0);
    assert_eq!(back["path"]["switches"], 2);
    plant.wait_twin("twoway", "to be up on mqtt", is_shadowed);

    let seen: Vec<Value> =
        tap.lines().iter().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let newest = |t: &Value| millis(&point(t, "level")["received_time"]);
    let on_coap: Vec<&Value> = seen.iter().filter(|t| t["path"]["protocol"] == "coap").collect();
    let (left, returned) = (newest(on_coap[0]), newest(on_coap[on_coap.len() - 1]));
    // The last value over mqtt is at most a period older than the end of that path.
    assert!(returned - left >= DWELL_MS - 1000, "it came back after {} ms", returned - left);
    assert!(seen.iter().all(|t| value(t, "level").is_some()), "the value was never away");
    assert!(seen.iter().all(|t| t["state"] != "down"), "with a second path it is never down");
    let times: Vec<i128> = seen.iter().map(|t| millis(&point(t, "level")["source_time"])).collect();
    assert!(times.is_sorted(), "no value was applied twice or out of order: {times:?}");
    let status = plant.status();
    let alarms = status["alarms"].as_array().expect("alarms");
    assert!(!alarms.iter().any(|a| a["id"] == "twoway.comm-loss"), "{alarms:?}");
}

#[test]
fn a_device_with_a_single_path_that_falls_silent_is_down_with_an_alarm_and_recovers() {
    let plant = Plant::run(&scenario("failover"), &[]);
    plant.wait_twin("oneway", "to be up", is_shadowed);
    let alarm = plant.wait_alarm("oneway.comm-loss", |a| a["state"] == "unacknowledged");
    assert_eq!(alarm["source"], "comm_loss");
    assert_eq!(alarm["twin"], "oneway");
    let down = plant.wait_twin("oneway", "down", |t| t["state"] == "down");
    assert!(down["path"].is_null());
    assert!(!down["reason"].as_str().expect("a reason").is_empty());
    assert!(value(&down, "level").is_some(), "the last value stays");
    assert_eq!(point(&down, "level")["quality"], "bad");
    assert_eq!(point(&down, "level")["flaw"], "comm lost");
    // Its neighbours go on.
    let status = plant.status();
    assert!(is_shadowed(twin(&status, "pump").expect("the pump")), "{}", plant.log());

    plant.wait_twin("oneway", "to recover", |t| {
        is_shadowed(t) && point(t, "level")["quality"] == "good"
    });
    plant.wait_alarm("oneway.comm-loss", |a| a["state"] == "returned_unacknowledged");
    assert!(plant.call(&["ack", "oneway.comm-loss"]).status.success());
    plant.wait_no_alarm("oneway.comm-loss");
}

#[test]
fn plant_time_may_run_faster_and_everything_follows_it() {
    let plant = Plant::run(&scenario("failover"), &["--speed", "4"]);
    plant.wait_twin("twoway", "to be up", is_shadowed);
    let tap = plant.follow("twoway");
    wait_until("it to move to coap", || tap.printed("\"protocol\":\"coap\""));
    plant.wait_twin("twoway", "to come back to mqtt", |t| t["path"]["protocol"] == "mqtt");
    let (uptime, began) = (plant.status()["uptime_s"].as_f64().expect("a number"), plant.status());
    // Plant time passes faster than the wall's, by the clock of the plant itself.
    wait_until("the plant to be eight seconds further", || {
        plant.status()["uptime_s"].as_f64().is_some_and(|u| u >= uptime + 8.0)
    });
    let tank = wait_for("the tank", || twin(&began, "twoway").cloned());
    assert!(value(&tank, "level").is_some());
}
