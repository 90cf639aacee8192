//! The field without sockets: pace, scenario, sensors and setpoints.

mod alone;
mod kept;
mod safe;

use std::{
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use plantwin_adapter::ManualClock;
use plantwin_model::{
    Clock, DeviceIx, PlantSpec, PointIx, ProtocolSchema, ScenarioAction, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_physics::PlantSim;
use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::{
    device::{Setpoint, Told},
    pace::{Pace, Pacer, StepStats},
    plant::Plant,
    scenario::Scenario,
};

const MS: Duration = Duration::from_millis(1);

/// An integrator: a metre a second for each volt.
const CART: &str = r#"
[plant]
name = "cart"
step = "10ms"
period = "50ms"
[zone.field]
[type.cart.twin]
type = "cart"
[type.cart.property.place]
unit = "m"
range = [-1000, 1000]
[type.cart.property.drive]
unit = "V"
range = [-10, 10]
start = 1
access = "rw"
[type.cart.model]
step = "10ms"
[type.cart.model.param]
gain = "1 m/(V*s)"
[type.cart.model.der]
place = "gain * drive"
[device.cart1]
type = "cart"
zone = "field"
[device.cart1.wire]
[[scenario]]
at = "100ms"
every = "200ms"
set = { "cart1.drive" = 2 }
[[scenario]]
at = "300ms"
fault = { on = "cart1.place", kind = "bias", by = "100 m", for = "100ms" }
[[scenario]]
at = "500ms"
fault = { on = "cart1", kind = "silent", path = "wire", for = "100ms" }
"#;

static WIRE: ProtocolSchema = ProtocolSchema::bare("wire");

fn cart() -> PlantSpec {
    let catalog = Catalog { protocols: &[&WIRE], ..Catalog::default() };
    let checked = read_plant("cart.toml", CART, &catalog, &ReadOptions::default());
    checked.into_plant().unwrap()
}

fn pacer(step: Duration) -> (Pacer, Arc<ManualClock>, Arc<StepStats>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let stats = Arc::new(StepStats::default());
    let pacer = Pacer::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&stats), step);
    (pacer, clock, stats)
}

/// All steps that are due; how long to wait for the next.
fn run(pacer: &mut Pacer) -> (Vec<Timestamp>, Duration) {
    let mut done = Vec::new();
    loop {
        match pacer.next() {
            Pace::Step(end) => done.push(end),
            Pace::Wait(wait) => return (done, wait),
        }
    }
}

#[test]
fn steps_keep_absolute_deadlines_and_lateness_does_not_add_up() {
    let (mut pacer, clock, stats) = pacer(10 * MS);
    assert_eq!(run(&mut pacer), (vec![], 10 * MS));
    clock.advance(13 * MS);
    let (done, wait) = run(&mut pacer);
    assert_eq!((done.as_slice(), wait), (&[Timestamp::from_millis(1_010)][..], 7 * MS));
    clock.advance(7 * MS);
    assert_eq!(run(&mut pacer).0, vec![Timestamp::from_millis(1_020)]);
    assert_eq!(stats.snapshot().late_max, 3 * MS);
    assert_eq!(stats.snapshot().overruns, 0);
}

#[test]
fn a_stall_of_five_milliseconds_is_counted_exactly_once() {
    let (mut pacer, clock, stats) = pacer(4 * MS);
    clock.advance(4 * MS);
    run(&mut pacer);
    clock.advance(4 * MS + 5 * MS);
    assert_eq!(run(&mut pacer).0.len(), 2, "what was missed is caught up");
    let stats = stats.snapshot();
    assert_eq!((stats.executed, stats.skipped, stats.overruns), (3, 0, 1));
}

proptest! {
    #[test]
    fn executed_and_skipped_steps_add_up_to_what_was_due(
        gaps in proptest::collection::vec(0_u64..20_000, 1..50),
    ) {
        let (mut pacer, clock, stats) = pacer(10 * MS);
        let mut elapsed = 0;
        for gap in gaps {
            elapsed += gap;
            clock.advance(Duration::from_millis(gap));
            run(&mut pacer);
            let stats = stats.snapshot();
            prop_assert_eq!(stats.executed + stats.skipped, elapsed / 10);
        }
    }
}

#[test]
fn scenario_steps_come_in_order_of_time_and_repeat() {
    let mut scenario = Scenario::new(&cart());
    let mut sets = Vec::new();
    for tick in 0..=60_u32 {
        let now = tick * 10 * MS;
        while let Some(action) = scenario.pop(now) {
            if matches!(action, ScenarioAction::Set { .. }) {
                sets.push(now);
            }
        }
    }
    assert_eq!(sets, vec![100 * MS, 300 * MS, 500 * MS]);
}

/// The cart's plant with the ends of its queues.
struct Rig {
    plant: Plant,
    told: mpsc::Receiver<Told>,
    setpoints: std::sync::mpsc::SyncSender<Setpoint>,
    stats: Arc<StepStats>,
    tick: i64,
}

impl Rig {
    fn new() -> Self {
        let spec = cart();
        let (tell, told) = mpsc::channel(64);
        let (setpoints, incoming) = sync_channel(4);
        let sim = PlantSim::new(&spec).unwrap();
        let stats = Arc::new(StepStats::default());
        let plant = Plant::new(&spec, sim, vec![vec![Some(tell)]], incoming, Arc::clone(&stats));
        Self { plant, told, setpoints, stats, tick: 0 }
    }

    /// Steps once and returns what the device was told.
    fn step(&mut self) -> Vec<Told> {
        self.tick += 1;
        self.plant.step(Timestamp::from_millis(self.tick * 10));
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    /// Place and drive as measured over `steps` steps.
    fn measured(&mut self, steps: usize) -> Vec<(u64, f64, f64)> {
        (0..steps)
            .flat_map(|_| self.step())
            .filter_map(|told| match told {
                Told::Measured(m) => Some((m.sequence, m.samples[0].value, m.samples[1].value)),
                Told::PathUp(_) => None,
            })
            .collect()
    }
}

#[test]
fn a_device_reports_with_the_first_step_and_then_every_period() {
    let mut rig = Rig::new();
    let measured = rig.measured(11);
    let sequences: Vec<u64> = measured.iter().map(|m| m.0).collect();
    assert_eq!(sequences, vec![1, 2, 3]);
    assert!((measured[0].1 - 0.01).abs() < 1e-9, "{measured:?}");
}

#[test]
fn a_setpoint_acts_from_the_next_step_on() {
    let mut rig = Rig::new();
    rig.step();
    rig.setpoints
        .try_send(Setpoint { device: DeviceIx(0), point: PointIx(1), value: -1.0 })
        .unwrap();
    let measured = rig.measured(5);
    assert_eq!(measured.last().unwrap().2, -1.0);
    assert!(measured.last().unwrap().1 < 0.0, "{measured:?}");
}

#[test]
fn a_fault_falsifies_the_measurement_and_not_the_truth_and_ends() {
    let mut rig = Rig::new();
    let measured = rig.measured(60);
    let biased: Vec<bool> = measured.iter().map(|m| m.1 > 50.0).collect();
    assert!(biased.iter().any(|b| *b) && !biased[0] && !biased.last().unwrap(), "{measured:?}");
    // 0.1 s at one volt, 0.5 s at two.
    assert!((measured.last().unwrap().1 - 1.1).abs() < 0.05, "{measured:?}");
}

#[test]
fn a_silent_path_goes_down_and_comes_back() {
    let mut rig = Rig::new();
    let switches: Vec<(i64, bool)> = (0..70)
        .flat_map(|_| {
            let told = rig.step();
            let tick = rig.tick;
            told.into_iter().filter_map(move |t| match t {
                Told::PathUp(up) => Some((tick, up)),
                Told::Measured(_) => None,
            })
        })
        .collect();
    assert_eq!(switches, vec![(50, false), (60, true)]);
}

#[test]
fn a_device_that_hangs_loses_old_measurements_counted_and_holds_nobody_up() {
    let mut rig = Rig::new();
    for tick in 1..=1_000 {
        rig.plant.step(Timestamp::from_millis(tick * 10));
    }
    assert!(rig.stats.snapshot().dropped > 100);
}
