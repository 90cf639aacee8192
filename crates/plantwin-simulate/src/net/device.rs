//! A simulated device: a level that follows its setpoint, and an outbox that it empties only
//! when it is told that its values are safe.
//!
//! Absent: time and chance (the world's), connections.

use std::collections::VecDeque;

use plantwin_adapter::{Frame, Sample};
use plantwin_authority::pws::Agent;
use plantwin_model::{PointIx, Quality, Timestamp};

// Points of every simulated device, in order.
const COUNT: PointIx = PointIx(0);
const LEVEL: PointIx = PointIx(1);
/// What commands write; the value names the command.
pub(crate) const SETPOINT: PointIx = PointIx(2);
const MODE: PointIx = PointIx(3);

/// The level lies in 0..LEVEL_TOP.
const LEVEL_TOP: u64 = 20;

/// One measurement, numbered. The number is the device's for ever; what it tells as its sequence
/// begins anew when it restarts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Measured {
    pub(crate) number: u64,
    sequence: u64,
    /// As the device tells it, if it has a clock.
    time: Option<Timestamp>,
    level: f64,
    setpoint: f64,
    mode: f64,
}

impl Measured {
    /// As it comes off the wire.
    pub(crate) fn frame(&self, received: Timestamp) -> Frame {
        let sample = |point, value: f64| Sample {
            point,
            value,
            quality: Quality::Good,
            source_time: self.time,
        };
        Frame {
            received,
            sequence: Some(self.sequence),
            samples: [
                sample(COUNT, self.number as f64),
                sample(LEVEL, self.level),
                sample(SETPOINT, self.setpoint),
                sample(MODE, self.mode),
            ]
            .into_iter()
            .collect(),
        }
    }
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) period: std::time::Duration,
    pub(crate) durable: bool,
    /// Proves who it is; absent on a plain device.
    pub(crate) agent: Option<Agent>,
    /// What it has not been relieved of, oldest first; empty unless durable.
    pub(crate) outbox: VecDeque<Measured>,
    /// Connection that the outbox empties into: the newest.
    pub(crate) outlet: Option<u64>,
    /// Whether it refuses writes.
    pub(crate) busy: bool,
    /// Measurements to come whose level is no number.
    pub(crate) blind: u32,
    count: u64,
    /// The last number before it was started last.
    before: u64,
    /// Whether it knows the time.
    clock: bool,
    level: f64,
    setpoint: f64,
    mode: f64,
}

impl Device {
    pub(crate) fn new(
        name: &str,
        period: std::time::Duration,
        durable: bool,
        agent: Option<Agent>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            period,
            durable,
            agent,
            outbox: VecDeque::new(),
            outlet: None,
            busy: false,
            blind: 0,
            count: 0,
            before: 0,
            clock: true,
            level: 5.0,
            setpoint: 5.0,
            mode: 0.0,
        }
    }

    /// The next measurement. A durable device keeps it.
    pub(crate) fn measure(&mut self, time: Timestamp) -> Measured {
        self.count += 1;
        let target = (self.setpoint as u64 % LEVEL_TOP) as f64;
        self.level += (target - self.level) * 0.5;
        let level = if self.blind > 0 {
            self.blind -= 1;
            f64::NAN
        } else {
            self.level
        };
        let (number, setpoint, mode) = (self.count, self.setpoint, self.mode);
        let sequence = number - self.before;
        let time = self.clock.then_some(time);
        let measured = Measured { number, sequence, time, level, setpoint, mode };
        if self.durable {
            self.outbox.push_back(measured);
        }
        measured
    }

    /// It starts anew: what it keeps stays, its sequence begins at 1, and its clock may be lost.
    pub(crate) fn restart(&mut self, clock: bool) {
        (self.before, self.clock) = (self.count, clock);
    }

    /// The number of the measurement that a frame bears.
    pub(crate) fn number_of(frame: &Frame) -> Option<u64> {
        let count = frame.samples.iter().find(|s| s.point == COUNT)?;
        Some(count.value as u64)
    }

    /// Takes values written to it.
    pub(crate) fn write(&mut self, point: PointIx, value: f64) {
        match point {
            SETPOINT => self.setpoint = value,
            MODE => self.mode = value,
            _ => {}
        }
    }

    /// It need not keep this measurement any longer.
    pub(crate) fn relieve(&mut self, number: u64) {
        self.outbox.retain(|m| m.number != number);
    }
}
