//! Devices that hold keys, each a process of its own: enrolled, believed, confined.
//!
//! The plant and its devices are the real binary; what lies between them belongs to others where
//! the protocol has something in between.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use plantwin_tests::{
    Control, Peer, Plant, available, broker::Mosquitto, command as plantwin, free_port, now,
    run_to_end, twin, wait_until,
};
use serde_json::Value;

use crate::{command, is_near, is_shadowed, stderr, stdout, value};

/// Names and values that are seen nowhere else, for an eavesdropper to look for.
const LEVEL: f64 = 41.8725;
const VALVE: f64 = 73.0625;

/// A plant with one device that holds keys, reached as `path` says.
fn file(home: &Path, path: &str) -> PathBuf {
    let text = format!(
        r#"
[plant]
name = "trust-device"
period = "250ms"
[zone.hall]
[device.rig]
type = "rig"
zone = "hall"
mode = "physical"
identity = "native"
{path}
[type.rig.property.zeppelin_level]
unit = "cm"
range = [0, 100]
start = {LEVEL}
[type.rig.property.zeppelin_valve]
unit = "%"
range = [0, 100]
start = 10
access = "rw"
"#
    );
    let file = home.join("trust-device.toml");
    fs::write(&file, text).expect("a temporary folder can be written");
    file
}

/// A plant, its authority with the root key kept elsewhere, and what is needed to join it.
struct Works {
    home: tempfile::TempDir,
    file: PathBuf,
}

impl Works {
    fn new(home: tempfile::TempDir, path: &str) -> Self {
        let file = file(home.path(), path);
        let works = Self { home, file };
        works.done(&["authority", "init", "data", "--root", "hall.root"]);
        works
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn run(&self) -> Plant {
        Plant::run_in(&self.file, &self.data(), &[])
    }

    /// Runs plantwin to its end; it must do what it is told.
    fn done(&self, args: &[&str]) -> String {
        let output = run_to_end(self.home.path(), args);
        check_done(args, &output)
    }

    /// A voucher for the device, of the authority of a plant that does not run yet.
    fn invite(&self) -> String {
        self.done(&["authority", "enrol", "rig", "--zone", "hall", "--data", "data"])
    }

    /// Makes keys of the device in this folder; their fingerprint.
    fn enrol(&self, folder: &str, voucher: &str) -> String {
        let words = ["device", "enrol", "rig", "--zone", "hall", "--root", "hall.root"];
        self.done(&[&words[..], &["--voucher", voucher, "--dir", folder]].concat())
    }

    /// Runs the device with the keys of this folder.
    fn device(&self, folder: &str) -> Peer {
        let mut command = plantwin(self.home.path());
        command.args(["device", "run", "trust-device.toml", "--device", "rig", "--dir", folder]);
        Peer::spawn(command)
    }

    /// The audit trail, a line each.
    fn audit(&self) -> String {
        self.done(&["audit", "show", "data"])
    }
}

fn check_done(args: &[&str], output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(output));
    stdout(output).trim().to_owned()
}

fn ask(plant: &Plant, args: &[&str]) -> String {
    check_done(args, &plant.call(args))
}

fn is_sealed(twin: &Value) -> bool {
    is_shadowed(twin) && twin["session"]["kind"] == "sealed"
}

/// The device waits for its plant, asks, waits to be approved, and is believed.
fn join(works: &Works, voucher: &str) -> (Plant, Peer) {
    let fingerprint = works.enrol("rig", voucher);
    let device = works.device("rig");
    wait_until("the device to be there", || {
        device.printed("joined mqtt at") || device.printed("serves ")
    });
    let plant = works.run();
    let told = format!("enrolment pending, key {fingerprint}");
    wait_until(&format!("{told}; log:\n{}", plant.log()), || device.printed(&told));
    let status = plant.status();
    let rig = twin(&status, "rig").expect("the plant has a rig");
    assert!(!is_shadowed(rig) && value(rig, "zeppelin_level").is_none(), "{rig}");
    ask(&plant, &["authority", "approve", "rig", "--fingerprint", &fingerprint]);
    wait_sealed(&plant, &device);
    (plant, device)
}

fn wait_sealed(plant: &Plant, device: &Peer) {
    let what = format!("to be shadowed, sealed; device:\n{}", device.lines().join("\n"));
    plant.wait_twin("rig", &what, |t| is_sealed(t) && is_near(t, "zeppelin_level", LEVEL, 1e-9));
}

/// The device takes a command, sealed.
fn check_command(plant: &Plant, wanted: f64) {
    command(plant, &[&format!("rig.zeppelin_valve={wanted}")]);
    plant.wait_twin("rig", "the valve where it was told to be", |t| {
        is_near(t, "zeppelin_valve", wanted, 1e-9)
    });
}

/// Everything that a broker carries, as topic and payload in hexadecimal.
fn spy(broker: &Mosquitto) -> Peer {
    let port = broker.port.to_string();
    let words = ["-i", "spy", "-q", "1", "-t", "#", "-F", "%t %x", "-h", "127.0.0.1", "-p", &port];
    let peer = Peer::start("mosquitto_sub", &words);
    broker.wait_subscribed("spy");
    peer
}

fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    nibbles.filter_map(|n| char::from_digit(n.into(), 16)).collect()
}

/// Lines in which a name or a value can be read.
fn readable(lines: &[String]) -> Vec<&String> {
    let texts = ["zeppelin", "41.8725", "73.0625"];
    let mut marks: Vec<String> = texts.iter().map(|t| hex(t.as_bytes())).collect();
    for value in [LEVEL, VALVE] {
        marks.extend([hex(&value.to_le_bytes()), hex(&value.to_be_bytes())]);
    }
    let tells = |line: &&String| {
        texts.iter().any(|t| line.contains(t)) || marks.iter().any(|m| line.contains(m))
    };
    lines.iter().filter(tells).collect()
}

fn mqtt(broker: &Mosquitto) -> String {
    format!("[device.rig.mqtt]\naddr = \"127.0.0.1:{}\"\ntopic = \"works/rig\"", broker.port)
}

fn with_broker() -> Option<(Mosquitto, Works)> {
    if !available(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return None;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let folder = home.path().join("broker");
    fs::create_dir(&folder).expect("a temporary folder can be written");
    let broker = Mosquitto::start(&folder);
    let works = Works::new(home, &mqtt(&broker));
    Some((broker, works))
}

#[test]
fn a_device_is_believed_once_approved_unreadable_to_others_and_confined_once_revoked() {
    let Some((broker, works)) = with_broker() else { return };
    let spy = spy(&broker);
    let (plant, mut device) = join(&works, &works.invite());
    check_command(&plant, VALVE);
    wait_until("twenty messages on the wire", || spy.lines().len() >= 20);
    // Whoever looks so would have found it.
    let mut bait = broker.source("works/control");
    bait.say("{\"zeppelin_level\":41.8725}").expect("it listens");
    wait_until("the bait to be carried", || {
        spy.lines().iter().any(|l| l.starts_with("works/control"))
    });
    let lines = spy.lines();
    let found = readable(&lines);
    assert!(found.iter().all(|l| l.starts_with("works/control")), "{found:#?}");
    assert_eq!(found.len(), 1, "{found:#?}");

    let control = Control::of(&plant.data);
    ask(&plant, &["authority", "revoke", "rig", "--reason", "found open on the bench"]);
    let started = now();
    wait_until("the session to end", || {
        control.status().is_some_and(|s| twin(&s, "rig").is_some_and(|t| !is_sealed(t)))
    });
    let took = started.elapsed();
    eprintln!("a revoked session ended {} ms after the command", took.as_millis());
    assert!(took < Duration::from_secs(5), "{took:?}");
    let refused = plant.call(&["command", "rig.zeppelin_valve=1"]);
    assert_ne!(refused.status.code(), Some(0), "nobody there may obey");

    device.kill();
    let device = works.device("rig");
    plant.wait_twin("rig", "quarantined, since a revoked key was used", |t| {
        t["state"] == "quarantined"
    });
    assert!(!device.printed("session up"), "{:?}", device.lines());
    let audit = works.audit();
    assert!(audit.lines().any(|l| l.contains("rig") && l.contains("revoked")), "{audit}");
}

#[test]
fn a_value_that_was_altered_on_its_way_out_is_not_what_the_device_said() {
    if !available(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let folder = home.path().join("broker");
    fs::create_dir(&folder).expect("a temporary folder can be written");
    let broker = Mosquitto::start(&folder);
    let out = format!("[northbound.mqtt]\naddr = \"127.0.0.1:{}\"\ntopic = \"north\"", broker.port);
    let path = format!("delivery = \"durable\"\n{}\n{out}", mqtt(&broker));
    let works = Works::new(home, &path);
    let port = broker.port.to_string();
    let words = ["-i", "north", "-q", "1", "-t", "north/#", "-h", "127.0.0.1", "-p", &port];
    let north = Peer::start("mosquitto_sub", &words);
    broker.wait_subscribed("north");
    let (plant, _device) = join(&works, &works.invite());
    wait_until("records to leave", || north.lines().len() >= 5);

    let records = north.lines().join("\n");
    assert!(records.contains("\"origin\":"), "{records}");
    let file = works.home.path().join("records.jsonl");
    let check = |text: &str| {
        fs::write(&file, text).expect("a temporary folder can be written");
        plant.call(&["authority", "origin", &file.to_string_lossy()])
    };
    let true_ones = check(&records);
    assert_eq!(true_ones.status.code(), Some(0), "{}", stderr(&true_ones));
    assert!(stdout(&true_ones).contains(", 0 are not"), "{}", stdout(&true_ones));
    let altered = check(&records.replacen("41.8725", "41.8726", 1));
    assert_eq!(altered.status.code(), Some(3), "{}", stdout(&altered));
    assert!(stdout(&altered).contains("rig.zeppelin_level is not what the device said"));
}

fn check_joins(path: &str) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let works = Works::new(home, path);
    let (plant, mut device) = join(&works, &works.invite());
    check_command(&plant, VALVE);
    let term = ["-TERM", &device.id().to_string()].map(str::to_owned);
    Peer::output("kill", &term);
    wait_until("the device to stop when it is told to", || device.try_wait() == Some(Some(0)));
}

#[test]
fn a_device_over_coap_is_believed_once_approved_and_obeys() {
    check_joins(&format!("[device.rig.coap]\naddr = \"127.0.0.1:{}\"", free_port()));
}

#[test]
fn a_device_over_opc_ua_is_believed_once_approved_and_obeys() {
    check_joins(&format!("[device.rig.opcua]\naddr = \"127.0.0.1:{}\"", free_port()));
}

#[test]
fn after_a_power_cut_at_either_end_both_find_each_other_by_a_new_handshake() {
    let Some((_broker, works)) = with_broker() else { return };
    let (mut plant, mut device) = join(&works, &works.invite());
    device.kill();
    plant.wait_twin("rig", "no session with a device that is gone", |t| !is_sealed(t));
    let device = works.device("rig");
    wait_until(&format!("a new session; log:\n{}", plant.log()), || device.printed("session up"));
    wait_sealed(&plant, &device);
    // The voucher is used up and forgotten: keys alone brought it back.
    let key = fs::read_to_string(works.home.path().join("rig/device.key")).expect("a key file");
    assert_eq!(key.split_whitespace().count(), 7, "name, device, zone, root, plain, two keys");

    let sessions = || device.lines().iter().filter(|l| l.contains("session up")).count();
    let before = sessions();
    plant.kill();
    let plant = works.run();
    wait_until(&format!("one more session; log:\n{}", plant.log()), || sessions() > before);
    wait_sealed(&plant, &device);
    check_command(&plant, VALVE);
}

#[test]
fn another_key_under_the_name_of_a_device_is_refused_and_the_reason_is_on_record() {
    let Some((_broker, works)) = with_broker() else { return };
    let voucher = works.invite();
    let (plant, mut device) = join(&works, &voucher);
    device.kill();
    plant.wait_twin("rig", "no session with a device that is gone", |t| !is_sealed(t));

    // Somebody has a copy of the voucher, and a key of his own.
    works.enrol("copy", &voucher);
    let mut copy = works.device("copy");
    wait_until(&format!("a used voucher to be refused; log:\n{}", plant.log()), || {
        works.audit().lines().any(|l| l.contains("rig") && l.contains("voucher_used"))
    });
    copy.kill();

    // Somebody claims to be enrolled, with a key of his own.
    let path = works.home.path().join("copy/device.key");
    let words = fs::read_to_string(&path).expect("a key file");
    let bare: Vec<&str> = words.split_whitespace().take(7).collect();
    fs::write(&path, bare.join(" ")).expect("the key file can be written");
    let mut copy = works.device("copy");
    wait_until(&format!("another key to be refused; log:\n{}", plant.log()), || {
        works.audit().lines().any(|l| l.contains("rig") && l.contains("wrong_key"))
    });
    assert!(!copy.printed("session up"), "{:?}", copy.lines());
    let status = plant.status();
    assert!(twin(&status, "rig").is_some_and(|t| !is_sealed(t)), "{status}");
    copy.kill();

    let device = works.device("rig");
    wait_until(&format!("the device itself; log:\n{}", plant.log()), || {
        device.printed("session up")
    });
    wait_sealed(&plant, &device);
}
