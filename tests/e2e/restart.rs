//! What survives the process, and what happens to it when it is damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use plantwin_tests::{Plant, run_to_end, scenario, wait_for, wait_until};
use serde_json::Value;

use crate::{command, is_near, is_shadowed, millis, point, stderr, value};

/// With these nobody plays the device: what is shown comes from the store alone.
const ALONE: &[&str] = &["--simulate", "none"];

/// Runs until an alarm is acknowledged and energy was spent; returns the plant and its state.
fn lived(data: &Path) -> (Plant, Value) {
    let plant = Plant::run_in(&scenario("threshold"), data, &[]);
    plant.wait_twin("source", "to be up", is_shadowed);
    command(&plant, &["source.level=9.25"]);
    plant.wait_alarm("source.high", |_| true);
    assert!(plant.call(&["ack", "source.high"]).status.success());
    plant.wait_alarm("source.high", |a| a["state"] == "acknowledged");
    let twin = plant.wait_twin("source", "9.25 cm and energy spent", |t| {
        is_near(t, "level", 9.25, 1e-9) && t["energy_j"].as_f64().is_some_and(|e| e > 0.1)
    });
    (plant, twin)
}

/// The first state of a plant that has nothing but its store.
fn woken(data: &Path) -> (Plant, Value, Value) {
    let plant = Plant::run_in(&scenario("threshold"), data, ALONE);
    let twin = plant.wait_twin("source", "what was saved", |t| value(t, "level").is_some());
    let alarm = plant.wait_alarm("source.high", |_| true);
    (plant, twin, alarm)
}

fn check_old(twin: &Value, now: &Value) {
    let point = point(twin, "level");
    assert_eq!(point["quality"], "bad", "an old value is never shown as a live one");
    let flaw = point["flaw"].as_str().expect("a flaw");
    assert!(["stale", "comm lost"].contains(&flaw), "{flaw}");
    assert!(millis(&point["received_time"]) < millis(now), "it bears the time it came at");
}

#[test]
fn after_an_orderly_end_alarms_energy_and_values_are_there_before_the_devices_are() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    let (mut plant, before) = lived(&data);
    let raised = plant.wait_alarm("source.high", |_| true)["raised"].clone();
    plant.signal("TERM");
    assert_eq!(plant.wait_end(), Some(0), "{}", plant.log());

    let (mut plant, twin, alarm) = woken(&data);
    assert_eq!(alarm["state"], "acknowledged");
    assert_eq!(alarm["raised"], raised, "it is the same alarm, not a new one");
    assert!(is_near(&twin, "level", 9.25, 1e-9), "{twin}");
    let received = millis(&point(&twin, "level")["received_time"]);
    assert!(received >= millis(&point(&before, "level")["received_time"]));
    let status = plant.status();
    check_old(&twin, &status["now"]);
    assert!(twin["energy_j"].as_f64() >= before["energy_j"].as_f64(), "energy is never unspent");
    plant.signal("TERM");
    assert_eq!(plant.wait_end(), Some(0), "{}", plant.log());

    // With the device the value is live again and the alarm goes its way. A played device starts
    // afresh at 5 cm.
    let plant = Plant::run_in(&scenario("threshold"), &data, &[]);
    let live = plant.wait_twin("source", "to be live", |t| {
        is_shadowed(t) && is_near(t, "level", 5.0, 1e-9) && point(t, "level")["quality"] == "good"
    });
    assert!(live["energy_j"].as_f64() >= twin["energy_j"].as_f64());
    plant.wait_no_alarm("source.high");
}

#[test]
fn after_a_power_cut_the_state_of_a_few_seconds_ago_is_there() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    let (mut plant, _) = lived(&data);
    // Values are written every five seconds; wait for the next record after now.
    let saved = plant.status()["counters"]["saved"].as_u64().unwrap_or(0);
    let last = wait_for("another record", || {
        let status = plant.status();
        status["counters"]["saved"].as_u64().is_some_and(|s| s > saved).then_some(status)
    });
    plant.kill();
    let (plant, twin, alarm) = woken(&data);
    assert_eq!(alarm["state"], "acknowledged");
    assert!(is_near(&twin, "level", 9.25, 1e-9), "{twin}");
    let lost = millis(&last["now"]) - millis(&point(&twin, "level")["received_time"]);
    println!("a power cut lost the last {lost} ms of values");
    // As often as that on a machine that keeps up, and no less than half as often on any.
    assert!(lost < 15_000, "{lost} ms are lost; values are saved every 5 s");
    check_old(&twin, &plant.status()["now"]);
    assert!(!plant.log().contains("panicked"), "{}", plant.log());
    assert!(!plant.log().contains("damaged"), "{}", plant.log());
}

#[test]
fn power_cuts_at_any_moment_never_keep_the_plant_from_starting() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    // The account is saved every five seconds: what was seen before a save is never unspent, while a
    // life that ends sooner leaves nothing.
    let mut plant = Plant::run_in(&scenario("small"), &data, &[]);
    let energy = |twin: &Value| twin["energy_j"].as_f64().expect("a number");
    let first = energy(&plant.wait_twin("tank", "to be up", is_shadowed));
    // So much that a life which began at nothing has less when it is up.
    let seen = plant.wait_twin("tank", "to have spent more", |t| energy(t) > 5.0 * first);
    let spent = energy(&seen);
    let saved = |plant: &Plant| plant.status()["counters"]["saved"].as_u64().unwrap_or(0);
    let before = saved(&plant);
    // Of both twins, and one that was under way does not count.
    wait_until("further saves of both", || saved(&plant) >= before + 4);
    plant.kill();
    for _ in 0..5 {
        let mut plant = Plant::run_in(&scenario("small"), &data, &[]);
        let twin = plant.wait_twin("tank", "to be up", is_shadowed);
        let now = energy(&twin);
        assert!(now >= spent, "{now} J after {spent} J");
        plant.kill();
        assert!(!plant.log().contains("panicked"), "{}", plant.log());
    }
}

#[test]
fn a_second_run_on_the_same_data_says_so_and_harms_nobody() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    let plant = Plant::run_in(&scenario("small"), &data, &[]);
    plant.wait_twin("tank", "to be up", is_shadowed);
    let file = scenario("small");
    let args = ["run", &file.to_string_lossy(), "--headless", "--data", &data.to_string_lossy()];
    let second = run_to_end(home.path(), &args);
    let code = second.status.code();
    assert!(code == Some(75) || code == Some(69), "{code:?}: {}", stderr(&second));
    assert!(stderr(&second).contains("runs already"), "{}", stderr(&second));
    // The first goes on, and is still found by data and by name.
    plant.wait_twin("tank", "to be up still", is_shadowed);
    let named = run_to_end(home.path(), &["status", "--attach", "small"]);
    assert!(named.status.success(), "{}", stderr(&named));
}

#[test]
fn a_damaged_store_is_set_aside_with_a_warning_and_the_plant_runs() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    let (mut plant, _) = lived(&data);
    plant.signal("TERM");
    assert_eq!(plant.wait_end(), Some(0), "{}", plant.log());
    let state = data.join("state");
    let damaged = damage(&state);
    assert!(damaged > 0, "nothing to damage in {}", state.display());

    let mut plant = Plant::run_in(&scenario("threshold"), &data, &[]);
    plant.wait_twin("source", "to be up", is_shadowed);
    let warned = |log: &str| log.contains("damaged") && log.contains("set aside");
    assert!(warned(&plant.log()), "{}", plant.log());
    let aside = fs::read_dir(&data).expect("the data folder").flatten().any(|e| {
        let name = e.file_name().to_string_lossy().into_owned();
        name.starts_with("state") && name != "state"
    });
    assert!(aside, "what was damaged is kept for whoever can read it");
    plant.signal("TERM");
    assert_eq!(plant.wait_end(), Some(0), "{}", plant.log());
    let plant = Plant::run_in(&scenario("threshold"), &data, &[]);
    plant.wait_twin("source", "to be up", is_shadowed);
    // The alarm is there until somebody acknowledges it; the warning is of that one start.
    let fresh = |line: &str| line.starts_with("plantwin:") && line.contains("damaged");
    assert!(!plant.log().lines().any(fresh), "the next start is a clean one: {}", plant.log());
}

#[test]
fn a_single_wrong_byte_anywhere_never_keeps_the_plant_from_starting() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    let (mut plant, _) = lived(&data);
    plant.signal("TERM");
    assert_eq!(plant.wait_end(), Some(0), "{}", plant.log());
    let mut files = Vec::new();
    list(&data, &mut files);
    assert!(files.len() >= 3, "{files:?}");
    for (i, file) in files.iter().enumerate() {
        let Ok(mut bytes) = fs::read(file) else { continue };
        let Some(place) = (bytes.len() * (i + 1)).checked_div(files.len() + 1) else { continue };
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 0x41;
        }
        let whole = fs::read(file).expect("the store's files can be read");
        fs::write(file, bytes).expect("the store's files can be written");
        if file.file_name().is_some_and(|name| name == "key" || name == "state") {
            // The files without which nothing else can be checked, or nobody be believed: they
            // are refused, untouched.
            let (plant, data) = (scenario("threshold"), data.to_string_lossy().into_owned());
            let args = ["run", &plant.to_string_lossy(), "--headless", "--data", &data];
            let refused = run_to_end(home.path(), &args);
            assert_eq!(refused.status.code(), Some(69), "{}", stderr(&refused));
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            assert!(stderr(&refused).contains(&*name), "{}", stderr(&refused));
            fs::write(file, whole).expect("the store's files can be written");
            continue;
        }
        let mut plant = Plant::run_in(&scenario("threshold"), &data, &[]);
        plant.wait_twin("source", "to be up", is_shadowed);
        plant.signal("TERM");
        assert_eq!(plant.wait_end(), Some(0), "{}: {}", file.display(), plant.log());
    }
}

/// All files below `folder`.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}

/// Overwrites the middle of every file below `folder`; returns how many.
fn damage(folder: &Path) -> usize {
    let mut files = Vec::new();
    list(folder, &mut files);
    let mut count = 0;
    for path in files {
        let mut bytes = fs::read(&path).expect("the store's files can be read");
        let (begin, end) = (bytes.len() / 4, bytes.len() * 3 / 4);
        for (i, byte) in bytes[begin..end].iter_mut().enumerate() {
            *byte = (i * 37 + 11) as u8;
        }
        fs::write(&path, bytes).expect("the store's files can be written");
        count += usize::from(end > begin);
    }
    count
}
