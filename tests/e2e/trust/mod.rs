//! Trust on the real binary: devices that hold keys, an authority in or out of the plant, evidence,
//! policy.
//!
//! Plants, devices and authorities are processes of their own; what lies between them belongs to
//! others where the protocol has something in between.

mod away;
mod evidence;
mod kept;
mod marked;
mod north;
mod origin;
mod policy;
mod puppet;
mod session;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use plantwin_tests::{
    Peer, Plant, available, broker::Mosquitto, command as plantwin, free_port, run_to_end, twin,
    wait_until,
};
use serde_json::Value;

use crate::{command, is_near, is_shadowed, stderr, stdout, value};

/// Names and values that are seen nowhere else, for an eavesdropper to look for.
const LEVEL: f64 = 41.8725;
const VALVE: f64 = 73.0625;
/// Where the valve is safe.
const SAFE: f64 = 3.125;

/// A plant with one device that holds keys, reached as `path` says.
fn file(home: &Path, path: &str) -> PathBuf {
    let text = format!(
        r#"
[plant]
name = "trust"
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
safe = {SAFE}
"#
    );
    let file = home.join("trust.toml");
    fs::write(&file, text).expect("a temporary folder can be written");
    file
}

/// A plant, its authority with the root key kept elsewhere, and what is needed to join it.
struct Works {
    home: tempfile::TempDir,
    file: PathBuf,
    /// How the authority is reached where it is a process of its own: by the plant, by people.
    away: Option<[Vec<String>; 2]>,
}

impl Works {
    /// With the authority in the plant.
    fn new(home: tempfile::TempDir, path: &str) -> Self {
        let file = file(home.path(), path);
        let works = Self { home, file, away: None };
        works.done(&["authority", "init", "data", "--root", "hall.root"]);
        works
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn run(&self) -> Plant {
        let more: Vec<&str> = self.away.iter().flat_map(|a| &a[0]).map(String::as_str).collect();
        Plant::run_in(&self.file, &self.data(), &more)
    }

    /// Runs plantwin to its end; it must do what it is told.
    fn done(&self, args: &[&str]) -> String {
        let output = run_to_end(self.home.path(), args);
        check_done(args, &output)
    }

    /// Asks the authority, wherever it is; the plant may run or not.
    fn authority(&self, args: &[&str]) -> String {
        let place = match &self.away {
            Some([_, people]) => people.iter().map(String::as_str).collect(),
            None => vec!["--data", "data"],
        };
        self.done(&[&["authority"], args, &place].concat())
    }

    /// A voucher for the device.
    fn invite(&self) -> String {
        self.authority(&["enrol", "rig", "--zone", "hall"])
    }

    /// Makes keys of the device in this folder; their fingerprint.
    fn enrol(&self, folder: &str, voucher: &str) -> String {
        let words = ["device", "enrol", "rig", "--zone", "hall", "--root", "hall.root"];
        self.done(&[&words[..], &["--voucher", voucher, "--dir", folder]].concat())
    }

    /// Runs the device with the keys of this folder.
    fn device(&self, folder: &str) -> Peer {
        let mut command = plantwin(self.home.path());
        command.args(["device", "run", "trust.toml", "--device", "rig", "--dir", folder]);
        Peer::spawn(command)
    }

    /// The plant's audit trail, a line each.
    fn audit(&self) -> String {
        self.done(&["audit", "show", "data"])
    }

    /// How often the device was confined for this reason, by the audit trail.
    fn quarantines(&self, why: &str) -> usize {
        let told = |l: &&str| l.contains("quarantine done") && l.contains("rig") && l.contains(why);
        self.audit().lines().filter(told).count()
    }

    /// Waits until the device is confined, for this reason, on record.
    fn wait_quarantined(&self, plant: &Plant, why: &str) {
        let confined =
            plant.wait_twin("rig", &format!("quarantined: {why}"), |t| t["state"] == "quarantined");
        let reason = confined["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(why), "{confined}");
        plant.wait_alarm("rig.quarantined", |_| true);
        wait_until(&format!("{why} on record"), || self.quarantines(why) > 0);
        let refused = plant.call(&["command", "rig.zeppelin_valve=1"]);
        assert_ne!(refused.status.code(), Some(0), "a confined device takes no command");
    }
}

fn check_done(args: &[&str], output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(output));
    stdout(output).trim().to_owned()
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
    works.authority(&["approve", "rig", "--fingerprint", &fingerprint]);
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

/// A plant whose device is reached over Mosquitto; nothing where that is not installed. `more`
/// stands before the device's path.
fn mqtt_works(more: &str) -> Option<(Mosquitto, Works)> {
    if !available(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return None;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let broker = broker(home.path());
    let port = broker.port;
    let path =
        format!("{more}\n[device.rig.mqtt]\naddr = \"127.0.0.1:{port}\"\ntopic = \"works/rig\"");
    let works = Works::new(home, &path);
    Some((broker, works))
}

fn broker(home: &Path) -> Mosquitto {
    let folder = home.join("broker");
    fs::create_dir(&folder).expect("a temporary folder can be written");
    Mosquitto::start(&folder)
}

/// A path of a protocol whose devices serve, at a free port.
fn served(protocol: &str) -> String {
    format!("[device.rig.{protocol}]\naddr = \"127.0.0.1:{}\"", free_port())
}
