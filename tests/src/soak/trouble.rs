//! Troubles by chance: brokers and the plant stand still or die, operators command, strangers
//! send garbage.
//!
//! Absent: faults of devices, which the plant file plays, and judging.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{Control, Outcome, broker::Mosquitto, random::Dice};

/// Counts of what was done.
pub(super) type Counts = BTreeMap<&'static str, u64>;

/// A trouble of the surroundings; returns when it is over.
pub(super) fn one(
    dice: &mut Dice,
    plant: u32,
    south: &mut Mosquitto,
    north: &Mosquitto,
) -> &'static str {
    let mut long = |most| Duration::from_millis(500) + dice.within(Duration::from_secs(most));
    let (short, longer) = (long(4), long(10));
    match dice.below(5) {
        0 => {
            still(plant, short);
            "plant stood still"
        }
        1 => {
            still(south.id(), longer);
            "devices' broker stood still"
        }
        2 => {
            still(north.id(), longer);
            "way out stood still"
        }
        3 => {
            south.kill();
            thread::sleep(longer);
            south.restart();
            "devices' broker died"
        }
        _ => {
            south.kill();
            south.restart();
            "devices' broker restarted"
        }
    }
}

/// Stops a process and lets it go on after a while.
fn still(pid: u32, time: Duration) {
    let signal = |name: &str| {
        // One that has ended meanwhile is missed by the next look.
        let _ = Command::new("kill").args([name, &pid.to_string()]).status();
    };
    signal("-STOP");
    thread::sleep(time);
    signal("-CONT");
}

/// A command to any device, now and then one that must be refused; returns what was told.
pub(super) fn command(dice: &mut Dice, control: &Control, devices: u32) -> &'static str {
    let device = format!("d{}", dice.below(u64::from(devices)));
    let wrong = dice.percent(10);
    let value = if wrong { 1000.0 } else { 20.0 + dice.below(76) as f64 };
    let key = u128::from(dice.any()) << 64 | u128::from(dice.any());
    let asked = control.write(key, &device, "valve", value);
    match asked.ok().and_then(crate::Asked::outcome) {
        Some(Outcome::Done) if wrong => "WRONG: done beyond the range",
        Some(Outcome::Done) => "done",
        Some(Outcome::Refused(_)) if wrong => "refused, as it must be",
        Some(Outcome::Refused(_)) => "refused",
        Some(Outcome::Failed(_)) => "failed",
        Some(Outcome::Expired) => "expired",
        Some(Outcome::Unknown(_)) => "unknown",
        None => "without an answer",
    }
}

/// A stranger sends garbage to a server of the plant.
pub(super) fn garbage(dice: &mut Dice, status: &Value) -> Option<()> {
    let all = status["endpoints"].as_array()?;
    let endpoint = all.get(dice.below(all.len() as u64) as usize)?;
    let text = endpoint["address"].as_str()?;
    let text = text.split("://").last()?.split('/').next()?;
    let address: SocketAddr = text.parse().ok()?;
    let bytes: Vec<u8> = (0..dice.below(1400)).map(|_| dice.any() as u8).collect();
    if endpoint["protocol"] == "coap" {
        let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
        socket.send_to(&bytes, address).ok()?;
    } else {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.write_all(&bytes).ok()?;
    }
    Some(())
}
