//! Quarantine through a whole plant: what a confined device goes on saying is shown and leaves with
//! a mark, moves neither model nor alarms, and is believed again once the device was let go.

use plantwin_tests::{Asked, Control, Outcome, Peer, Plant, available, wait_until};
use serde_json::{Value, json};

use super::{
    LEVEL, SAFE, Works, broker, is_sealed, join,
    north::{check_origin, is_good, numbers, records, taker, wait_more, works},
};
use crate::{command, is_near, point, stderr, value};

/// Why it is confined, for people.
const WHY: &str = "seen open on the bench";
/// Records that are enough to speak of all that come.
const ENOUGH: usize = 8;

/// The level stays as long as the valve is where it starts. Where the valve is safe the level falls
/// and an alarm is due, so that whoever believes one value of that time shows it.
const MOVES: &str = r#"
[type.rig.alarm.valve_shut]
when = "zeppelin_valve < 5"
response = "open the valve"
consequence = "the hall runs dry"
[type.rig.model]
step = "100ms"
[type.rig.model.param]
rise = "2 cm/s"
[type.rig.model.der]
zeppelin_level = "rise * (zeppelin_valve - 0.1)"
"#;

fn is_marked(record: &Value) -> bool {
    let marked = |v: &Value| v["q"] == "bad" && v["why"] == "quarantined";
    record["values"].as_object().is_some_and(|values| values.values().all(marked))
}

/// What the model foresaw of the level: it moves with each value that is believed.
fn foreseen(twin: &Value) -> f64 {
    point(twin, "zeppelin_level")["predicted"].as_f64().expect("the level has a model")
}

/// Whether both values are shown like this.
fn is_shown(twin: &Value, quality: &str, flaw: &Value) -> bool {
    ["zeppelin_level", "zeppelin_valve"].iter().all(|name| {
        let point = point(twin, name);
        point["quality"] == quality && point["flaw"] == *flaw
    })
}

fn has_alarm(plant: &Plant, id: &str) -> bool {
    plant.status()["alarms"].as_array().is_some_and(|alarms| alarms.iter().any(|a| a["id"] == id))
}

/// Confines the device by hand; its twin as it is then.
fn confine(plant: &Plant) -> Value {
    let done = plant.call(&["quarantine", "rig", "--reason", WHY]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let confined = plant.wait_twin("rig", "confined", |t| t["state"] == "quarantined");
    assert!(confined["reason"].as_str().is_some_and(|r| r.contains(WHY)), "{confined}");
    confined
}

fn check_told(plant: &Plant, works: &Works) {
    let alarm = plant.wait_alarm("rig.quarantined", |a| a["state"] == "unacknowledged");
    assert!(alarm["text"].as_str().is_some_and(|t| t.contains(WHY)), "{alarm}");
    for told in ["quarantine rig", WHY, "safe state confirmed"] {
        wait_until(&format!("{told} on record"), || works.quarantines(told) > 0);
    }
}

fn check_refused(plant: &Plant, works: &Works) {
    let refused = plant.call(&["command", "rig.zeppelin_valve=50"]);
    assert_eq!(refused.status.code(), Some(77), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(&format!("quarantined: {WHY}")), "{}", stderr(&refused));
    let words = ["command", "refused", "rig.zeppelin_valve", WHY];
    let told = |l: &str| words.iter().all(|word| l.contains(*word));
    wait_until("the refusal on record", || works.audit().lines().any(told));
}

/// Its word is heard, and counts for nothing: `confined` is its twin when it was confined.
fn check_heard_and_not_believed(plant: &Plant, north: &Peer, confined: &Value) {
    let mark = json!("quarantined");
    let shown = plant.wait_twin("rig", "what it says, with the mark", |t| {
        let fell = value(t, "zeppelin_level").is_some_and(|level| level < LEVEL - 0.1);
        fell && is_near(t, "zeppelin_valve", SAFE, 1e-9) && is_shown(t, "bad", &mark)
    });
    assert_eq!(shown["session"]["kind"], "none", "{shown}");
    wait_more(plant, north, (ENOUGH, "marked records to leave"), is_marked);
    wait_more(plant, north, (ENOUGH, "as many again: it goes on"), is_marked);
    let records = records(north);
    let since: Vec<_> = records.iter().skip_while(|record| !is_marked(record)).collect();
    assert!(since.iter().all(|record| is_marked(record)), "none without the mark: {since:#?}");

    let later = plant.wait_twin("rig", "still confined", |t| t["state"] == "quarantined");
    assert_eq!(foreseen(&later), foreseen(confined), "the model learns nothing of it");
    assert!(!has_alarm(plant, "rig.valve_shut"), "an alarm by a value that counts for nothing");
}

/// An operator may confine, and not release.
fn check_who_releases(plant: &Plant) {
    let release = json!({ "release": { "device": "rig" } });
    let ask = json!({ "ask": "request", "role": "operator", "request": release });
    let said = Control::of(&plant.data).ask(&ask).ok().and_then(Asked::outcome);
    assert!(matches!(said, Some(Outcome::Refused(_))), "{said:?}");
    let done = plant.call(&["release", "rig"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
}

fn check_believed(plant: &Plant, works: &Works, before: f64) {
    plant.wait_twin("rig", "believed again", |t| {
        is_sealed(t) && is_shown(t, "good", &Value::Null) && (foreseen(t) - before).abs() > 0.01
    });
    plant.wait_alarm("rig.valve_shut", |a| a["state"] == "unacknowledged");
    plant.wait_alarm("rig.quarantined", |a| a["state"] == "returned_unacknowledged");
    wait_until("the release on record", || works.quarantines("release rig") > 0);
    command(plant, &["rig.zeppelin_valve=10"]);
    plant.wait_twin("rig", "the valve where it was told to be", |t| {
        is_near(t, "zeppelin_valve", 10.0, 1e-9)
    });
}

#[test]
fn a_confined_device_is_heard_with_a_mark_alone_and_is_believed_again_once_it_was_let_go() {
    if !available(&["mosquitto", "mosquitto_sub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let broker = broker(home.path());
    let north = taker(&broker);
    let works = works(home, broker.port, MOVES);
    let (plant, device) = join(&works, &works.invite());
    // Where it is already, so that the level stays: it is there to obey.
    command(&plant, &["rig.zeppelin_valve=10"]);
    wait_more(&plant, &north, (ENOUGH, "records of a device that is believed"), is_good);
    assert!(numbers(&north, is_marked).is_empty(), "{:#?}", north.lines());
    let sessions = || device.lines().iter().filter(|l| l.contains("session up")).count();
    let before = sessions();

    let confined = confine(&plant);
    check_told(&plant, &works);
    check_refused(&plant, &works);
    check_heard_and_not_believed(&plant, &north, &confined);
    assert_eq!(sessions(), before, "nobody asks it who it is: {:?}", device.lines());

    check_who_releases(&plant);
    wait_until("the device to prove itself anew", || sessions() > before);
    check_believed(&plant, &works, foreseen(&confined));
    wait_more(&plant, &north, (ENOUGH, "records of a device that is believed again"), is_good);
    // What was said under the mark does not come again without it, and is not missing either.
    let (marked, good) = (numbers(&north, is_marked), numbers(&north, is_good));
    assert!(marked.is_disjoint(&good), "{marked:?} and {good:?}");
    let again = records(&north).into_iter().skip_while(|r| !is_marked(r)).find(is_good);
    let again = again.expect("a record of a device that is believed again");
    let (last, next) = (marked.last().copied(), again["device_sequence"].as_u64());
    let between = next.zip(last).map(|(next, last)| next - last - 1);
    assert_eq!(again["missing_before"].as_u64().or(Some(0)), between, "{again}");
    // The mark is the plant's word: below it each value is what the device said.
    check_origin(&plant, &works, &north);
}
