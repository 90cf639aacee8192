//! The simulated plant: the coupled model, the sensors in front of it and the scenario.
//!
//! It runs on its own thread (a timer of the async runtime is about 1 ms late by design). Truth
//! and measurement are kept apart: faults falsify only what a sensor reports.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::Duration,
};

use plantwin_adapter::{Measurement, Sample};
use plantwin_model::{DeviceIx, Mode, PlantSpec, PointIx, Quality, ScenarioAction, Timestamp};
use plantwin_physics::{PlantSim, Sensor};
use tokio::sync::mpsc;

use crate::{
    device::{Setpoint, Told},
    pace::{Pace, Pacer, StepStats},
    scenario::Scenario,
};

/// Longest sleep between looks at the stop flag.
const NAP: Duration = Duration::from_millis(50);

/// A device as the plant's thread knows it.
struct Device {
    ix: DeviceIx,
    period: Duration,
    sequence: u64,
    sensors: Vec<Sensor>,
    /// One per path, `None` where the path is not served here.
    paths: Vec<Option<mpsc::Sender<Told>>>,
}

/// A path that comes up again at a time.
type Revival = Reverse<(Duration, u32, u16)>;

pub(crate) struct Plant {
    sim: PlantSim,
    /// By [`DeviceIx`]; `None` for physical devices.
    devices: Vec<Option<Device>>,
    due: BinaryHeap<Reverse<(Duration, u32)>>,
    scenario: Scenario,
    revivals: BinaryHeap<Revival>,
    setpoints: Receiver<Setpoint>,
    stats: Arc<StepStats>,
    truth: Vec<f64>,
}

impl Plant {
    pub(crate) fn new(
        spec: &PlantSpec,
        sim: PlantSim,
        mut outlets: Vec<Vec<Option<mpsc::Sender<Told>>>>,
        setpoints: Receiver<Setpoint>,
        stats: Arc<StepStats>,
    ) -> Self {
        let devices: Vec<_> = spec
            .devices
            .iter()
            .map(|d| {
                (d.mode == Mode::Simulated).then(|| Device {
                    ix: d.ix,
                    period: d.period,
                    sequence: 0,
                    sensors: (0..d.kind.points.len())
                        .map(|i| Sensor::new(spec.seed, d, PointIx(i as u16)))
                        .collect(),
                    paths: std::mem::take(&mut outlets[d.ix.index()]),
                })
            })
            .collect();
        // The first report of every device comes with the first step: an operator waits for it.
        let due = devices.iter().flatten().map(|d| Reverse((Duration::ZERO, d.ix.0))).collect();
        Self {
            sim,
            devices,
            due,
            scenario: Scenario::new(spec),
            revivals: BinaryHeap::new(),
            setpoints,
            stats,
            truth: Vec::new(),
        }
    }

    /// Steps until `stop` is set.
    pub(crate) fn run(mut self, mut pacer: Pacer, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match pacer.next() {
                Pace::Wait(wait) => std::thread::sleep(wait.min(NAP)),
                Pace::Step(now) => self.step(now),
            }
        }
    }

    /// One step of the plant that ends at `now`.
    pub(crate) fn step(&mut self, now: Timestamp) {
        while let Ok(Setpoint { device, point, value }) = self.setpoints.try_recv() {
            self.sim.set(device, point, value);
        }
        self.sim.step();
        let elapsed = self.sim.time();
        while let Some(action) = self.scenario.pop(elapsed) {
            self.act(action, elapsed);
        }
        self.revive(elapsed);
        while let Some(&Reverse((at, ix))) = self.due.peek() {
            if at > elapsed {
                break;
            }
            self.due.pop();
            if let Some(period) = self.report(DeviceIx(ix), now, elapsed) {
                self.due.push(Reverse((at + period, ix)));
            }
        }
    }

    fn act(&mut self, action: ScenarioAction, elapsed: Duration) {
        match action {
            ScenarioAction::Set { device, point, value } => self.sim.set(device, point, value),
            ScenarioAction::Fault { device, point, kind, lasts } => {
                tracing::info!(device = device.0, ?kind, "scenario fault begins");
                if let Some(Some(d)) = self.devices.get_mut(device.index()) {
                    d.sensors[point.index()].inject(kind, elapsed, lasts);
                }
            }
            ScenarioAction::PathDown { device, path, lasts } => {
                tracing::info!(device = device.0, path, "scenario path falls silent");
                self.tell_path(device, path, false);
                if let Some(lasts) = lasts {
                    self.revivals.push(Reverse((elapsed + lasts, device.0, path)));
                }
            }
        }
    }

    fn revive(&mut self, elapsed: Duration) {
        while let Some(&Reverse((at, device, path))) = self.revivals.peek() {
            if at > elapsed {
                return;
            }
            self.revivals.pop();
            self.tell_path(DeviceIx(device), path, true);
        }
    }

    fn tell_path(&self, device: DeviceIx, path: u16, up: bool) {
        let Some(Some(d)) = self.devices.get(device.index()) else { return };
        if let Some(Some(outlet)) = d.paths.get(usize::from(path)) {
            // The queue holds more than a device can lag behind; a full one means it hangs.
            if outlet.try_send(Told::PathUp(up)).is_err() {
                tracing::warn!(device = device.0, path, "device task is busy, path switch lost");
            }
        }
    }

    fn report(&mut self, ix: DeviceIx, now: Timestamp, elapsed: Duration) -> Option<Duration> {
        let device = self.devices.get_mut(ix.index())?.as_mut()?;
        self.sim.points(ix, &mut self.truth);
        let sample = |(i, (sensor, &value)): (usize, (&mut Sensor, &f64))| Sample {
            point: PointIx(i as u16),
            value: sensor.measure(value, elapsed),
            quality: Quality::Good,
            source_time: Some(now),
        };
        let samples = device.sensors.iter_mut().zip(&self.truth).enumerate().map(sample).collect();
        device.sequence += 1;
        let measurement = Arc::new(Measurement { time: now, sequence: device.sequence, samples });
        for outlet in device.paths.iter().flatten() {
            if outlet.try_send(Told::Measured(Arc::clone(&measurement))).is_err() {
                self.stats.drop_one();
            }
        }
        Some(device.period)
    }
}
