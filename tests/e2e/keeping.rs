//! Nothing lost, against programs of others: values that wait for a way out, commands and alarms
//! over a power cut, a disk that is full, a store that is damaged.

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use plantwin_tests::{
    Control, Peer, Plant, available,
    broker::{Mosquitto, Sink},
    changed, free_port, twin, wait_for, wait_until,
};
use serde_json::{Value, json};

use crate::{is_shadowed, stderr, stdout};

const PEERS: &[&str] = &["mosquitto", "mosquitto_pub", "mosquitto_sub"];

/// The plant `nothing-lost` between two brokers: one for its devices, one beyond a way out that
/// is closed until [`Works::open_north`].
struct Works {
    home: tempfile::TempDir,
    south: Mosquitto,
    north: Mosquitto,
    north_gate: u16,
    file: PathBuf,
    /// What arrived beyond the way out, in order.
    arrived: Arc<Mutex<Vec<Value>>>,
    _sink: Sink,
}

impl Works {
    fn new(more: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let broker = |name: &str| {
            let folder = home.path().join(name);
            fs::create_dir(&folder).expect("a temporary folder can be written");
            Mosquitto::start(&folder)
        };
        let (south, north, north_gate) = (broker("south"), broker("north"), free_port());
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&arrived);
        let sink = north.sink("observer", "north/#", move |_, payload| {
            let record = serde_json::from_str(payload).expect("a record is JSON");
            book.lock().expect("no test fails here").push(record);
        });
        let gate = format!("[northbound.mqtt]\naddr = \"127.0.0.1:{north_gate}\"");
        let at = format!(":{}", south.port);
        let mut changes =
            vec![("[northbound.mqtt]\naddr = \"127.0.0.1:1883\"", gate.as_str()), (":1883", &at)];
        changes.extend(more);
        let file = changed("nothing-lost", home.path(), &changes);
        Self { home, south, north, north_gate, file, arrived, _sink: sink }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn run(&self) -> Plant {
        let plant = Plant::run_in(&self.file, &self.data(), &[]);
        plant.wait_twin("d0", "to be subscribed to", |t| t["path"].is_object());
        plant
    }

    /// Opens the way out: from here on whoever knocks is led to the broker in the north.
    fn open_north(&self) {
        let (gate, north) = (("127.0.0.1", self.north_gate), self.north.port);
        let listener = TcpListener::bind(gate).expect("a port that was free");
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(("127.0.0.1", north)).expect("the broker listens");
                for (mut from, mut to) in [
                    (near.try_clone().expect("a descriptor"), far.try_clone().expect("one more")),
                    (far, near),
                ] {
                    // It ends with its connection.
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
            }
        });
    }

    fn arrived(&self) -> Vec<Value> {
        self.arrived.lock().expect("no test fails here").clone()
    }
}

fn message(number: u64, level: f64) -> String {
    json!({ "seq": number, "v": { "level": level, "valve": 1 } }).to_string()
}

fn level_of(number: u64) -> f64 {
    number as f64 / 64.0
}

#[test]
fn values_wait_on_disk_while_the_way_out_is_gone_and_then_arrive_in_order() {
    if !available(PEERS) {
        return;
    }
    let works = Works::new(&[]);
    let plant = works.run();
    let mut source = works.south.source("d0/data");
    let mut last = 0;
    let mut publish = || {
        last += 1;
        source.say(&message(last, level_of(last))).expect("mosquitto_pub listens");
    };
    for _ in 0..300 {
        publish();
    }
    plant.wait_twin("d0", "300 values in its spool", |t| {
        t["spool"]["records"].as_u64().is_some_and(|r| r >= 300)
    });
    // How long the room will do can be told once the spool was seen to grow.
    let status = wait_for("the hours that are left", || {
        publish();
        let status = plant.status();
        status["spool"]["hours_left"].is_number().then_some(status)
    });
    let spool = &status["spool"];
    assert!(spool["bytes"].as_u64() > Some(300 * 8) && spool["dropped"] == 0, "{spool}");
    assert!(spool["hours_left"].as_f64().is_some_and(|h| h > 0.1), "{spool}");
    assert_eq!(status["northbound"]["up"], false);
    assert!(!status["northbound"]["reason"].as_str().unwrap_or_default().is_empty());
    assert!(works.arrived().is_empty());

    works.open_north();
    wait_until("everything to arrive", || works.arrived().len() as u64 >= last);
    let arrived = works.arrived();
    for (number, record) in (1..=last).zip(&arrived) {
        assert_eq!(record["device_sequence"], number, "{record}");
        assert_eq!(record["sequence"], number, "{record}");
        assert_eq!(record["values"]["level"]["v"], level_of(number), "{record}");
        assert!(record["missing_before"].is_null(), "{record}");
    }
    assert_eq!(arrived.len() as u64, last, "nothing came twice over one connection");
    let status = wait_for("an empty spool", || {
        let status = plant.status();
        (status["spool"]["records"] == 0 && status["northbound"]["up"] == true).then_some(status)
    });
    assert_eq!(status["northbound"]["sent"], last);
}

#[test]
fn what_a_small_spool_cannot_hold_is_accounted_for_by_gap_records() {
    if !available(PEERS) {
        return;
    }
    let works = Works::new(&[("device_bytes = \"64 MiB\"", "device_bytes = \"16 KiB\"")]);
    let plant = works.run();
    let mut source = works.south.source("d0/data");
    let last = 1000;
    for number in 1..=last {
        source.say(&message(number, level_of(number))).expect("mosquitto_pub listens");
    }
    plant.wait_twin("d0", "a thousand values kept or dropped", |t| {
        let spool = &t["spool"];
        let dropped = spool["dropped"].as_u64().unwrap_or(0);
        dropped > 0
            && spool["bytes"].as_u64().is_some_and(|b| b <= 16 << 10)
            && plant.status()["counters"]["telemetry_stored"] == last
    });
    works.open_north();
    plant.wait_twin("d0", "an empty spool", |t| t["spool"]["records"] == 0);
    wait_until("the last value", || {
        works.arrived().last().is_some_and(|r| r["device_sequence"] == last)
    });
    let (mut kept, mut missing) = (BTreeSet::new(), 0);
    for record in works.arrived() {
        match record["device_sequence"].as_u64() {
            Some(number) => assert!(kept.insert(number), "{record} came twice"),
            None => missing += record["gap"]["count"].as_u64().expect("a gap, or a value"),
        }
    }
    assert!(missing > 0, "16 KiB do not hold a thousand values");
    assert_eq!(kept.len() as u64 + missing, last, "{} kept, {missing} in gaps", kept.len());
    assert_eq!(kept, (missing + 1..=last).collect(), "the oldest went first");
}

/// Publishes values without a number until the twin of d0 is current.
fn shadow(works: &Works, plant: &Plant) {
    let mut source = works.south.source("d0/data");
    wait_until("d0 to be up", || {
        source.say(&json!({ "v": { "level": 50, "valve": 1 } }).to_string()).expect("it listens");
        twin(&plant.status(), "d0").is_some_and(is_shadowed)
    });
}

#[test]
fn a_command_asked_for_again_under_its_key_acts_once_even_over_a_power_cut() {
    if !available(PEERS) {
        return;
    }
    let works = Works::new(&[]);
    let written = Arc::new(Mutex::new(Vec::new()));
    let book = Arc::clone(&written);
    let _orders = works.south.sink("responder", "+/set/+", move |topic, payload| {
        book.lock().expect("no test fails here").push(format!("{topic} {payload}"));
    });
    let mut plant = works.run();
    shadow(&works, &plant);
    let ask = |plant: &Plant, value: &str, key: &str| {
        let output = plant.call(&["command", &format!("d0.valve={value}"), "--key", key]);
        (output.status.code(), stdout(&output).trim().to_owned(), stderr(&output))
    };
    let done = (Some(0), "done".to_owned(), String::new());
    assert_eq!(ask(&plant, "160", "5f2a"), done);
    assert_eq!(ask(&plant, "160", "5f2a"), done, "the outcome is told again");
    assert_eq!(ask(&plant, "176", "5f2a").0, Some(77), "another command has this key");
    plant.kill();
    let plant = works.run();
    assert_eq!(ask(&plant, "160", "5f2a"), done, "and again by the next process");
    shadow(&works, &plant);
    // Another one goes through behind it: what the first did is at the device by then.
    assert_eq!(ask(&plant, "192", "5f2b"), done);
    let seen = || written.lock().expect("no test fails here").clone();
    wait_until("the second command at the device", || seen().iter().any(|l| l.ends_with("192")));
    assert_eq!(seen(), ["d0/set/valve 160", "d0/set/valve 192"]);
}

#[test]
fn an_alarm_that_was_shown_is_there_after_a_power_cut_at_once() {
    if !available(PEERS) {
        return;
    }
    let works = Works::new(&[]);
    let mut plant = works.run();
    let mut source = works.south.source("d0/data");
    source.say(&message(1, 91.5)).expect("mosquitto_pub listens");
    let control = Control::of(&plant.data);
    let find = |id: &str| {
        let status = control.status()?;
        status["alarms"].as_array()?.iter().find(|a| a["id"] == id).cloned()
    };
    let before = wait_for("the alarm", || find("d0.high"));
    plant.kill();
    let plant = works.run();
    let after = wait_for("the alarm", || find("d0.high"));
    assert_eq!(after["raised"], before["raised"], "it is the same alarm");
    assert_eq!(after["state"], "unacknowledged", "{}", plant.log());
}

/// A small disk of its own, that nobody else sees and that goes away with its keeper.
struct SmallDisk {
    _keeper: Peer,
    path: PathBuf,
}

impl SmallDisk {
    fn new(folder: &Path) -> Option<Self> {
        let script = format!(
            "mount -t tmpfs -o size=12m,mode=700 plantwin-test {} && echo mounted && exec cat",
            folder.display()
        );
        let mut keeper = Peer::start("unshare", &["-m", "sh", "-c", &script]);
        let mounted = wait_for("a disk, or word that there is none", || {
            (keeper.printed("mounted") || keeper.try_wait().is_some())
                .then(|| keeper.printed("mounted"))
        });
        if !mounted {
            eprintln!("LEFT OUT: this test needs to mount: {:?}", keeper.lines());
            return None;
        }
        let path = PathBuf::from(format!("/proc/{}/root{}", keeper.id(), folder.display()));
        Some(Self { _keeper: keeper, path })
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let filler = self.path.join("filler");
        let mut file = fs::File::options().append(true).create(true).open(filler).expect("a file");
        for size in [1 << 16, 1 << 10, 1] {
            let block = vec![7; size];
            while std::io::Write::write_all(&mut file, &block).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path.join("filler")).expect("the filler is there");
    }
}

#[test]
fn a_full_disk_is_shown_stops_commands_and_is_survived_without_a_restart() {
    if !available(&["mosquitto", "mosquitto_pub", "mosquitto_sub", "unshare", "mount"]) {
        return;
    }
    let works = Works::new(&[]);
    let folder = works.home.path().join("disk");
    fs::create_dir(&folder).expect("a temporary folder can be written");
    let Some(disk) = SmallDisk::new(&folder) else { return };
    let plant = Plant::run_in(&works.file, &disk.path.join("data"), &[]);
    shadow(&works, &plant);
    works.open_north();
    disk.fill();
    let mut source = works.south.source("d0/data");
    let mut number = 0;
    // The room that the store has taken for itself already is used up first.
    let alarm = wait_for("an alarm of the store", || {
        for _ in 0..200 {
            number += 1;
            source.say(&message(number, level_of(number))).expect("mosquitto_pub listens");
        }
        let status = plant.status();
        let alarms = status["alarms"].as_array()?;
        alarms.iter().find(|a| a["id"] == "nothing-lost.store").cloned()
    });
    assert_eq!(alarm["state"], "unacknowledged");
    assert!(!alarm["response"].as_str().unwrap_or_default().is_empty());
    // The journal writes to the same disk: without its word nothing is sent.
    let refused = wait_for("a command that is refused", || {
        let output = plant.call(&["command", "d0.valve=160"]);
        (output.status.code() == Some(77)).then(|| stderr(&output) + &stdout(&output))
    });
    assert!(refused.contains("journal"), "{refused}");
    disk.make_room();
    let mut last = alarm;
    wait_for(&format!("the store to be well again; log:\n{}", plant.log()), || {
        let status = plant.status();
        let mut alarms = status["alarms"].as_array()?.iter();
        last = alarms.find(|a| a["id"] == "nothing-lost.store")?.clone();
        println!("{last}");
        (last["state"] == "returned_unacknowledged").then_some(())
    });
    wait_until("a command that is obeyed", || {
        plant.call(&["command", "d0.valve=176"]).status.code() == Some(0)
    });
    // Every value that was published meanwhile is on its way or there, and none was skipped.
    wait_until("all values in the north", || {
        let arrived = works.arrived();
        let numbers: BTreeSet<_> =
            arrived.iter().filter_map(|r| r["device_sequence"].as_u64()).collect();
        assert!(arrived.iter().all(|r| r["gap"].is_null()), "nothing was dropped");
        numbers == (1..=number).collect()
    });
    assert!(!plant.log().contains("panicked"), "{}", plant.log());
}

/// Flips one bit in the middle of the file.
fn flip(file: &Path) {
    let mut bytes = fs::read(file).expect("the store's files can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(file, bytes).expect("the store's files can be written");
}

fn check_damage(file: &str) {
    if !available(PEERS) {
        return;
    }
    let works = Works::new(&[]);
    let mut plant = works.run();
    shadow(&works, &plant);
    let mut source = works.south.source("d0/data");
    for number in 1..=500 {
        source.say(&message(number, level_of(number))).expect("mosquitto_pub listens");
    }
    for _ in 0..10 {
        assert!(plant.call(&["command", "d0.valve=160"]).status.success(), "{}", plant.log());
    }
    plant.wait_twin("d0", "500 values in its spool", |t| {
        t["spool"]["records"].as_u64().is_some_and(|r| r >= 500)
    });
    plant.signal("TERM");
    assert_eq!(plant.wait_end(), Some(0), "{}", plant.log());
    flip(&works.data().join(file));

    let mut plant = works.run();
    let alarm = plant.wait_alarm("nothing-lost.store_damage", |_| true);
    let log = plant.log();
    assert!(log.contains("damaged"), "{alarm}; {log}");
    assert!(log.contains("set aside"), "{alarm}; {log}");
    let entries = fs::read_dir(works.data()).expect("the data folder").flatten();
    let aside = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let aside: Vec<_> = aside.filter(|name| name.contains("damaged")).collect();
    assert!(!aside.is_empty(), "what was damaged is kept; {log}");
    shadow(&works, &plant);
    plant.signal("TERM");
    assert_eq!(plant.wait_end(), Some(0), "{}", plant.log());
    let plant = works.run();
    // The alarm stays until somebody acknowledges it; nothing new was found.
    assert!(!plant.log().contains("set aside as"), "a clean start: {}", plant.log());
}

#[test]
fn a_wrong_bit_in_the_data_base_is_told_and_the_plant_runs() {
    check_damage("state/db");
}

#[test]
fn a_wrong_bit_in_the_log_is_told_and_the_plant_runs() {
    check_damage("log/00000001.seg");
}
