//! Hard evidence on the real binary: each kind confines the device, with its reason on record.

use std::fs;

use plantwin_model::PointIx;
use plantwin_tests::{Peer, Plant, twin, wait_until};

use super::{SAFE, Works, is_sealed, join, mqtt_works, puppet::Puppet, served, wait_sealed};

/// Where the actuator is told to go when its device is confined.
const TOLD: (PointIx, f64) = (PointIx(1), SAFE);

/// Refusals for this reason, on record.
pub(super) fn refusals(works: &Works, reason: &str) -> usize {
    works.audit().lines().filter(|l| l.contains("rig") && l.contains(reason)).count()
}

/// Somebody claims to be the device and enrolled, with keys of his own.
pub(super) fn impostor(works: &Works, voucher: &str) -> Peer {
    works.enrol("copy", voucher);
    let path = works.home.path().join("copy/device.key");
    let words = fs::read_to_string(&path).expect("a key file");
    let bare: Vec<&str> = words.split_whitespace().take(7).collect();
    fs::write(&path, bare.join(" ")).expect("the key file can be written");
    works.device("copy")
}

#[test]
fn another_key_under_the_name_of_a_device_is_refused_and_confines_it_when_it_insists() {
    let Some((_broker, works)) = mqtt_works("") else { return };
    let voucher = works.invite();
    let (plant, mut device) = join(&works, &voucher);
    device.kill();
    plant.wait_twin("rig", "no session with a device that is gone", |t| !is_sealed(t));

    // Somebody has a copy of the voucher, and a key of his own.
    works.enrol("thief", &voucher);
    let mut thief = works.device("thief");
    wait_until(&format!("a used voucher to be refused; log:\n{}", plant.log()), || {
        refusals(&works, "voucher_used") > 0
    });
    thief.kill();

    let mut copy = impostor(&works, &voucher);
    wait_until(&format!("another key to be refused; log:\n{}", plant.log()), || {
        refusals(&works, "wrong_key") > 0
    });
    let status = plant.status();
    assert!(twin(&status, "rig").is_some_and(|t| !is_sealed(t)), "{status}");
    copy.kill();
    // Once may be an accident: the device itself is believed as before.
    let mut device = works.device("rig");
    wait_sealed(&plant, &device);
    device.kill();
    plant.wait_twin("rig", "no session with a device that is gone", |t| !is_sealed(t));

    let before = refusals(&works, "wrong_key");
    let mut copy = works.device("copy");
    for times in 1..=5 {
        wait_until(&format!("it to insist {times} times; log:\n{}", plant.log()), || {
            refusals(&works, "wrong_key") >= before + times
        });
    }
    works.wait_quarantined(&plant, "false proofs");
    assert!(!copy.printed("session up"), "{:?}", copy.lines());
    copy.kill();

    // The real one stays out until somebody with the security role lets it go.
    let device = works.device("rig");
    release(&works, &plant);
    wait_sealed(&plant, &device);
}

fn release(works: &Works, plant: &Plant) {
    let done = plant.call(&["release", "rig"]);
    assert_eq!(done.status.code(), Some(0), "{}", crate::stderr(&done));
    let told = |l: &str| l.contains("quarantine") && l.contains("release");
    wait_until("the release on record", || works.audit().lines().any(told));
}

/// A plant and the test's own device with the keys of the one that was enrolled.
fn with_puppet() -> (Works, Plant, Puppet) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let works = Works::new(home, &served("coap"));
    let (plant, mut device) = join(&works, &works.invite());
    device.kill();
    plant.wait_twin("rig", "no session with a device that is gone", |t| !is_sealed(t));
    let puppet = Puppet::start(&works, "rig");
    plant.wait_twin("rig", "to be shadowed, sealed", is_sealed);
    (works, plant, puppet)
}

fn wait_told_safe(plant: &Plant, puppet: &Puppet) {
    let what = format!("the actuator to be told where it is safe; log:\n{}", plant.log());
    wait_until(&what, || puppet.written().contains(&TOLD));
}

#[test]
fn a_value_that_its_digest_does_not_fit_confines_the_device_and_never_enters_the_model() {
    let (works, plant, puppet) = with_puppet();
    let honest = crate::value(&plant.wait_twin("rig", "a value", is_sealed), "zeppelin_level");
    puppet.lie();
    works.wait_quarantined(&plant, "a value of zeppelin_level is not what the device said");
    wait_told_safe(&plant, &puppet);
    let status = plant.status();
    let rig = twin(&status, "rig").expect("the plant has a rig");
    assert_eq!(crate::value(rig, "zeppelin_level"), honest, "{rig}");
}

#[test]
fn a_burst_of_forged_envelopes_confines_the_device_they_are_said_to_be_of() {
    let (works, plant, puppet) = with_puppet();
    puppet.forge();
    works.wait_quarantined(&plant, "forged envelopes");
    wait_told_safe(&plant, &puppet);
}

#[test]
fn a_revoked_key_in_use_confines_the_device_at_once_and_its_actuator_is_told_to_be_safe() {
    let (works, plant, puppet) = with_puppet();
    works.authority(&["revoke", "rig", "--reason", "seen at the flea market"]);
    works.wait_quarantined(&plant, "revoked");
    wait_told_safe(&plant, &puppet);
    // Let go without new keys it is back in quarantine by the next proof.
    assert_eq!(works.quarantines("revoked"), 1, "{}", works.audit());
    release(&works, &plant);
    wait_until("a second quarantine", || works.quarantines("revoked") == 2);
    works.wait_quarantined(&plant, "revoked");
}
