//! A radio or wire as coefficients, and what traffic costs on it.
//!
//! `E = wakes x E_wake + Σ over both directions (frames x E_frame + bytes x e_byte)`, with
//! `frames = max(packets, bytes / frame payload)`. Fractions of frames are meant: they are the
//! mean over many messages. One wake-up serves a request and its answer. Absent: the figures
//! themselves (`table.rs`), batching, loss.

use std::time::Duration;

use crate::{Joules, Traffic, Transport, Wire, table};

/// How a coefficient was come by, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Confidence {
    /// Somebody measured it on hardware.
    Measured,
    /// It follows from other sourced figures or from a standard.
    Computed,
    /// The maker states it.
    Datasheet,
    /// A plausible figure without a source of its own.
    Assumed,
}

/// A figure with its range and its origin.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Coefficient {
    /// What is reckoned with, in the unit its field names.
    pub value: f64,
    /// Lowest plausible value.
    pub low: f64,
    /// Highest plausible value.
    pub high: f64,
    /// How it was come by.
    pub confidence: Confidence,
    /// Where from.
    pub source: &'static str,
}

/// One radio or wire at the device's end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Profile {
    /// Name as written in twin and plant files.
    pub name: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// Power while nothing is sent, kept reachable; watts.
    pub idle_watts: Coefficient,
    /// Per waking up for an exchange; joules.
    pub wake_joules: Coefficient,
    /// Per frame sent; joules.
    pub tx_frame_joules: Coefficient,
    /// Per frame received; joules.
    pub rx_frame_joules: Coefficient,
    /// Per byte sent; joules.
    pub tx_byte_joules: Coefficient,
    /// Per byte received; joules.
    pub rx_byte_joules: Coefficient,
    /// IP bytes that one frame holds, > 0.
    pub frame_payload_bytes: u16,
    /// Whether IP packets cross it; if not, messages go without IP, UDP or TCP headers.
    pub carries_ip: bool,
}

/// What traffic cost, by direction.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Cost {
    /// For sending, with the wake-ups for it.
    pub tx: Joules,
    /// For receiving, with the wake-ups for messages nobody asked for.
    pub rx: Joules,
}

impl Cost {
    /// Both directions.
    pub fn total(self) -> Joules {
        self.tx + self.rx
    }
}

impl Profile {
    /// Finds a profile by its name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        table::PROFILES.iter().find(|p| p.name == name)
    }

    /// All names, in the order of the table.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::all().iter().map(|p| p.name)
    }

    /// All profiles.
    pub const fn all() -> &'static [Self] {
        table::PROFILES
    }

    /// All coefficients with the name of their field.
    pub fn coefficients(&self) -> [(&'static str, &Coefficient); 6] {
        [
            ("idle_watts", &self.idle_watts),
            ("wake_joules", &self.wake_joules),
            ("tx_frame_joules", &self.tx_frame_joules),
            ("rx_frame_joules", &self.rx_frame_joules),
            ("tx_byte_joules", &self.tx_byte_joules),
            ("rx_byte_joules", &self.rx_byte_joules),
        ]
    }

    /// What `traffic` of a protocol over `transport` costs the device. Two halves of the same
    /// traffic never cost less than the whole; traffic of one shape costs in proportion.
    pub fn cost(&self, transport: Transport, traffic: Traffic) -> Cost {
        self.cost_by(transport, traffic, |c| c.value)
    }

    /// The cheapest and the dearest that the coefficients' ranges allow for [`Self::cost`].
    pub fn cost_range(&self, transport: Transport, traffic: Traffic) -> (Joules, Joules) {
        let by = |pick: fn(&Coefficient) -> f64| self.cost_by(transport, traffic, pick).total();
        (by(|c| c.low), by(|c| c.high))
    }

    /// What it costs to stay reachable for a while without a message.
    pub fn idle(&self, lasting: Duration) -> Joules {
        Joules::clamped(self.idle_watts.value * lasting.as_secs_f64())
    }

    fn cost_by(
        &self,
        transport: Transport,
        traffic: Traffic,
        pick: fn(&Coefficient) -> f64,
    ) -> Cost {
        let wire = if self.carries_ip {
            transport.wire(traffic)
        } else {
            Wire {
                tx_bytes: traffic.tx_bytes,
                tx_packets: traffic.tx_messages,
                rx_bytes: traffic.rx_bytes,
                rx_packets: traffic.rx_messages,
            }
        };
        let unasked = traffic.rx_messages.saturating_sub(traffic.tx_messages);
        let direction = |wakes: u64, packets: u64, bytes: u64, frame: &Coefficient, byte| {
            let frames = (packets as f64).max(bytes as f64 / f64::from(self.frame_payload_bytes));
            Joules::clamped(
                wakes as f64 * pick(&self.wake_joules)
                    + frames * pick(frame)
                    + bytes as f64 * pick(byte),
            )
        };
        Cost {
            tx: direction(
                traffic.tx_messages,
                wire.tx_packets,
                wire.tx_bytes,
                &self.tx_frame_joules,
                &self.tx_byte_joules,
            ),
            rx: direction(
                unasked,
                wire.rx_packets,
                wire.rx_bytes,
                &self.rx_frame_joules,
                &self.rx_byte_joules,
            ),
        }
    }
}
