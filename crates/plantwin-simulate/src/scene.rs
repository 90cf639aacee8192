//! What a seed says: the plant, who commands it when, and what goes wrong.
//!
//! A scene is data, made once and in full before anything runs, so that it can be printed and
//! never depends on the run. Absent: carrying it out.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use plantwin_model::{
    Delivery, Escalation, Mode, NorthboundSpec, PlantSpec, RestartStrategy, SpoolSpec,
    SupervisionSpec,
    file::{Catalog, ReadOptions, read_plant},
};

use crate::{
    net::{SimProtocol, WIRES, Weather, Wire},
    random::Chance,
};

/// Most devices of a plant.
const DEVICES: u64 = 12;

/// How a command is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// The setpoint is written.
    Write,
    /// The type's command `drive`, which writes the setpoint.
    Drive,
    /// The type's command `start`, which writes the setpoint and the mode.
    Start,
}

/// What one letter does to its twin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trap {
    /// Any letter crashes it once.
    Any,
    /// A letter with values crashes it once.
    Values,
    /// A letter with a command crashes it once.
    Command,
    /// A letter crashes it whenever it is handled.
    Poison,
    /// A command crashes it whenever it is handled.
    PoisonCommand,
}

/// Something that is done to the plant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Act {
    /// A command with this key, which is also the number it writes.
    Command { key: u64, device: usize, way: Way },
    /// The same once more.
    Again { key: u64 },
    /// Another command under the same key.
    Conflict { key: u64 },
    /// The operator acknowledges every alarm shown.
    AcknowledgeAll,
    /// The operator starts what was given up.
    Revive,
    /// A wire changes.
    Wire { device: usize, wire: usize, mode: Wire },
    /// The weather changes.
    Weather(Weather),
    /// The device refuses writes, or takes them again.
    Busy { device: usize, busy: bool },
    /// So many measurements have no number as their level.
    Blind { device: usize, measurements: u32 },
    /// The device starts anew, with or without its clock.
    Restart { device: usize, clock: bool },
    /// The next letters of the device are trapped.
    Traps { device: usize, trap: Trap, times: u32 },
    /// The way northbound closes or opens.
    Cloud(bool),
    /// The plant's clock jumps.
    Jump(Duration),
    /// So many store operations from now, one fails.
    DiskError { after: u64, done: bool },
    /// The disk is full, or has room again.
    DiskFull(bool),
    /// The disk does not answer any more, or answers again.
    DiskHangs(bool),
    /// So many store operations from now, the process dies; so many unflushed ones are kept.
    CrashAt { after: u64, kept: usize, down: Duration },
    /// The process dies now.
    Kill { kept: usize, down: Duration },
    /// The process drains, saves and ends in order.
    Stop { down: Duration },
    /// The process dies, and the plant's clock is set back before the next one starts.
    SetBack { by: Duration, kept: usize, down: Duration },
}

/// One simulated device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceScene {
    pub(crate) name: String,
    pub(crate) period: Duration,
    pub(crate) native: bool,
    pub(crate) durable: bool,
}

/// All that a seed says.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) spec: Arc<PlantSpec>,
    pub(crate) devices: Vec<DeviceScene>,
    /// In the order of time.
    pub(crate) acts: Vec<(Duration, Act)>,
    /// When disturbances end.
    pub(crate) quiet_from: Duration,
}

const TYPE: &str = r#"
[type.unit.twin]
type = "unit"
[type.unit.property.count]
unit = "1"
range = [0, 1e9]
[type.unit.property.level]
unit = "cm"
range = [0, 20]
[type.unit.property.setpoint]
unit = "1"
range = [0, 1e7]
access = "rw"
[type.unit.property.mode]
unit = "1"
range = [0, 1]
access = "rw"
[type.unit.command.drive]
args = ["setpoint"]
[type.unit.command.start]
set = { mode = 1 }
args = ["setpoint"]
[type.unit.alarm.level_high]
when = "level > 15"
priority = "high"
deadband = 0.5
response = "close the inlet"
consequence = "overflow"
[type.unit.alarm.level_low]
when = "level < 2"
on_delay = "2s"
response = "open the inlet"
consequence = "the pump runs dry"
"#;

impl Scene {
    /// What `seed` says for so many minutes of disturbance.
    pub(crate) fn new(seed: u64, minutes: u64) -> Result<Self, String> {
        let mut chance = Chance::new(seed, "plant");
        let zones = chance.between(1, 3);
        // Small plants are the rule: they run fast, and most faults show in them.
        let most = chance.pick(&[2, 3, 4, 6, DEVICES]);
        let count = chance.between(1, most) as usize;
        let devices: Vec<DeviceScene> = (0..count)
            .map(|i| DeviceScene {
                name: format!("unit{i}"),
                period: Duration::from_millis(chance.pick(&[500, 1_000, 2_000, 3_000])),
                native: chance.happens(0.3),
                durable: chance.happens(0.5),
            })
            .collect();
        let mut text = format!("[plant]\nname = \"seed-{seed}\"\nseed = {}\n", seed >> 1);
        for zone in 0..zones {
            let _ = writeln!(text, "[zone.zone{zone}]");
        }
        text.push_str(TYPE);
        for (i, device) in devices.iter().enumerate() {
            let zone = chance.between(0, zones - 1);
            let paths = if chance.happens(0.5) { "\"wire\"" } else { "\"wire\", \"radio\"" };
            let _ = write!(
                text,
                "[device.{}]\ntype = \"unit\"\nzone = \"zone{zone}\"\nmode = \"physical\"\n\
                 period = \"{}ms\"\npaths = [{paths}]\nstart = {{ count = {i} }}\n",
                device.name,
                device.period.as_millis(),
            );
        }
        let schemas = SimProtocol::schemas();
        let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
        let checked = read_plant("seed.toml", &text, &catalog, &ReadOptions::default());
        let mut spec = checked.plant.ok_or_else(|| {
            let problems: Vec<_> = checked.diagnostics.iter().map(|d| d.message.clone()).collect();
            problems.join("; ")
        })?;
        for (device, scene) in spec.devices.iter_mut().zip(&devices) {
            let device = Arc::make_mut(device);
            if scene.native {
                device.mode = Mode::Simulated;
            }
            if scene.durable {
                device.delivery = Delivery::Durable;
            }
        }
        spec.supervision = supervision(&mut chance);
        for zone in &mut spec.zones {
            if chance.happens(0.3) {
                zone.supervision = Some(supervision(&mut chance));
            }
        }
        spec.spool = SpoolSpec {
            // Now and then so small that it overflows.
            device_bytes: chance.pick(&[64 << 20, 64 << 20, 16 << 10]),
            ..SpoolSpec::default()
        };
        spec.northbound = Some(NorthboundSpec {
            protocol: "wire",
            settings: std::collections::BTreeMap::new(),
            rate: 1_000.0,
            window: chance.pick(&[1, 8, 64]),
        });
        let quiet_from = Duration::from_mins(minutes);
        let mut acts = Vec::new();
        commands(seed, count, quiet_from, &mut acts);
        faults(seed, count, quiet_from, &mut acts);
        acts.sort_by_key(|(at, _)| *at);
        Ok(Self { spec: Arc::new(spec), devices, acts, quiet_from })
    }
}

fn supervision(chance: &mut Chance) -> SupervisionSpec {
    SupervisionSpec {
        strategy: chance.pick(&[
            RestartStrategy::OneForOne,
            RestartStrategy::OneForOne,
            RestartStrategy::RestForOne,
            RestartStrategy::OneForAll,
        ]),
        max_restarts: chance.pick(&[1, 3, 5]),
        escalation: chance.pick(&[Escalation::GiveUp, Escalation::GiveUp, Escalation::Parent]),
        ..SupervisionSpec::default()
    }
}

fn moment(chance: &mut Chance, until: Duration) -> Duration {
    chance.millis(500, (until.as_millis() as u64).max(501))
}

fn commands(seed: u64, devices: usize, until: Duration, acts: &mut Vec<(Duration, Act)>) {
    let mut chance = Chance::new(seed, "operators");
    let count = until.as_secs() / chance.between(5, 15);
    for key in 1..=count {
        let at = moment(&mut chance, until);
        let device = chance.between(0, devices as u64 - 1) as usize;
        let way = chance.pick(&[Way::Write, Way::Drive, Way::Start]);
        acts.push((at, Act::Command { key, device, way }));
        if chance.happens(0.3) {
            acts.push((at + chance.millis(0, 10_000), Act::Again { key }));
        }
        if chance.happens(0.1) {
            acts.push((at + chance.millis(1, 10_000), Act::Conflict { key }));
        }
    }
    let every = chance.between(10, 60);
    for second in (every..until.as_secs()).step_by(every as usize) {
        acts.push((Duration::from_secs(second), Act::AcknowledgeAll));
        acts.push((Duration::from_secs(second), Act::Revive));
    }
}

fn faults(seed: u64, devices: usize, until: Duration, acts: &mut Vec<(Duration, Act)>) {
    let mut chance = Chance::new(seed, "faults");
    // One plant in eight is left in peace, to see that peace itself breaks nothing.
    if chance.happens(0.125) {
        return;
    }
    let count = until.as_secs() / chance.between(8, 40);
    for _ in 0..count {
        let at = moment(&mut chance, until);
        let lasts = chance.millis(200, 30_000);
        let device = chance.between(0, devices as u64 - 1) as usize;
        let wire = chance.between(0, WIRES as u64 - 1) as usize;
        match chance.between(0, 18) {
            0..=2 => {
                let mode = chance.pick(&[Wire::Refuses, Wire::Hangs, Wire::Dead]);
                acts.push((at, Act::Wire { device, wire, mode }));
                acts.push((at + lasts, Act::Wire { device, wire, mode: Wire::Good }));
            }
            3..=5 => {
                let weather = Weather {
                    delay_ms: chance.pick(&[20, 500, 3_000]),
                    loss: chance.pick(&[0.0, 0.05, 0.3]),
                    doubled: chance.pick(&[0.0, 0.1]),
                    lost_answers: chance.pick(&[0.0, 0.2, 0.6]),
                };
                acts.push((at, Act::Weather(weather)));
                acts.push((at + lasts, Act::Weather(Weather::CALM)));
            }
            6 => {
                acts.push((at, Act::Busy { device, busy: true }));
                acts.push((at + lasts, Act::Busy { device, busy: false }));
            }
            7 => {
                let measurements = chance.between(1, 5) as u32;
                acts.push((at, Act::Blind { device, measurements }));
            }
            8 | 9 => {
                let trap = chance.pick(&[
                    Trap::Any,
                    Trap::Values,
                    Trap::Command,
                    Trap::Poison,
                    Trap::PoisonCommand,
                ]);
                let times = chance.pick(&[1, 1, 1, 2, 8]);
                // Letters that crash whenever they are handled are rare.
                let rare = matches!(trap, Trap::Poison | Trap::PoisonCommand);
                let times = if rare { 1 } else { times };
                acts.push((at, Act::Traps { device, trap, times }));
            }
            10 => {
                acts.push((at, Act::Cloud(false)));
                acts.push((at + lasts, Act::Cloud(true)));
            }
            11 => acts.push((at, Act::Jump(chance.millis(100, 3_600_000)))),
            12 => {
                let (after, done) = (chance.between(1, 30), chance.happens(0.3));
                acts.push((at, Act::DiskError { after, done }));
            }
            13 => {
                acts.push((at, Act::DiskFull(true)));
                acts.push((at + lasts, Act::DiskFull(false)));
            }
            14 => {
                let (after, kept) = (chance.between(1, 30), chance.pick(&[0, 0, 1, 2]));
                let down = chance.millis(0, 20_000);
                acts.push((at, Act::CrashAt { after, kept, down }));
            }
            15 => {
                let by = chance.millis(100, 7_200_000);
                let (kept, down) = (chance.pick(&[0, 0, 1]), chance.millis(0, 20_000));
                acts.push((at, Act::SetBack { by, kept, down }));
            }
            16 => {
                let clock = chance.happens(0.5);
                acts.push((at, Act::Restart { device, clock }));
            }
            17 => {
                acts.push((at, Act::DiskHangs(true)));
                acts.push((at + lasts, Act::DiskHangs(false)));
            }
            _ => {
                let (kept, down) = (chance.pick(&[0, 0, 1]), chance.millis(0, 20_000));
                let act = chance.pick(&[Act::Kill { kept, down }, Act::Stop { down }]);
                acts.push((at, act));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_makes_a_plant_that_passes_the_check() {
        for seed in 0..200 {
            let scene = Scene::new(seed, 3).unwrap();
            assert!((1..=12).contains(&scene.devices.len()));
            assert!(scene.acts.is_sorted_by_key(|(at, _)| *at));
            assert_eq!(scene.spec.devices.len(), scene.devices.len());
        }
    }

    #[test]
    fn the_same_seed_says_the_same_and_two_hundred_seeds_say_everything() {
        let words = |seed| format!("{:?}", Scene::new(seed, 3).unwrap().acts);
        assert_eq!(words(5), words(5));
        assert_ne!(words(5), words(6));
        let all: String = (0..200).map(words).collect();
        for word in [
            "Again",
            "Conflict",
            "Revive",
            "Refuses",
            "Hangs",
            "Dead",
            "Weather",
            "Busy",
            "Blind",
            "PoisonCommand",
            "Cloud",
            "Jump",
            "DiskError",
            "DiskFull",
            "DiskHangs",
            "CrashAt",
            "Kill",
            "Stop",
            "SetBack",
            "Restart",
        ] {
            assert!(all.contains(word), "no seed says {word}");
        }
    }
}
