//! How a plant keeps itself going: restarts, what is promised of telemetry, how it waits and
//! where it goes.
//!
//! Absent: parsing (see [`crate::file`]), carrying any of it out (runtime and store).

use std::{collections::BTreeMap, time::Duration};

use crate::SettingValue;

/// Restart policy of one supervisor: the plant's for its zones, a zone's for its twins.
#[derive(Clone, PartialEq, Debug)]
pub struct SupervisionSpec {
    /// Who is restarted together with a crashed child.
    pub strategy: RestartStrategy,
    /// Crashes within `window` that are answered by a restart; one more is the limit. 0..=1000.
    pub max_restarts: u32,
    /// How far back crashes count, in plant time; > 0.
    pub window: Duration,
    /// Wait before the second restart within the window; the first one comes at once.
    pub backoff_min: Duration,
    /// Longest wait; each further crash doubles it up to here.
    pub backoff_max: Duration,
    /// What happens at the limit.
    pub escalation: Escalation,
}

impl Default for SupervisionSpec {
    /// One for one; first restart at once, then 0.1 s doubling to 30 s; at most 5 in 60 s, then
    /// given up, siblings untouched.
    fn default() -> Self {
        Self {
            strategy: RestartStrategy::OneForOne,
            max_restarts: 5,
            window: Duration::from_mins(1),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            escalation: Escalation::GiveUp,
        }
    }
}

/// Who is restarted when a child crashes; the names mean what they mean in Erlang/OTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestartStrategy {
    /// The child alone.
    OneForOne,
    /// The child and all that come after it in the file.
    RestForOne,
    /// All children of the supervisor.
    OneForAll,
}

/// What happens when a child crashed too often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Escalation {
    /// The child is given up, visibly and with an alarm; its siblings go on.
    GiveUp,
    /// The supervisor counts as crashed itself: its own supervisor restarts it with all its
    /// children, by its own policy. The plant has nobody above it: there it is `GiveUp`.
    Parent,
}

/// What is promised of a device's telemetry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Delivery {
    /// Lane T0: the newest value; older ones may be replaced, counted.
    #[default]
    Latest,
    /// Lane T1: every value, at least once after plantwin acknowledged it; gaps are recorded.
    Durable,
}

/// How durable telemetry waits in the store: bounds per device and for the plant.
#[derive(Clone, PartialEq, Debug)]
pub struct SpoolSpec {
    /// Bytes per device.
    pub device_bytes: u64,
    /// Bytes of all devices together.
    pub total_bytes: u64,
    /// Oldest record kept.
    pub max_age: Duration,
    /// What makes room when a bound is reached; each loss is recorded as a gap.
    pub drop: DropPolicy,
}

impl Default for SpoolSpec {
    /// 64 MiB a device, 256 MiB in all, 24 h, the oldest goes first.
    fn default() -> Self {
        Self {
            device_bytes: 64 << 20,
            total_bytes: 256 << 20,
            max_age: Duration::from_hours(24),
            drop: DropPolicy::Oldest,
        }
    }
}

/// What makes room in a full spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropPolicy {
    /// The oldest records go.
    Oldest,
    /// New records are not taken.
    Newest,
    /// Every second record of the older half goes.
    Decimate,
}

/// Where durable telemetry goes.
#[derive(Clone, PartialEq, Debug)]
pub struct NorthboundSpec {
    /// Protocol name as in the registry.
    pub protocol: &'static str,
    /// Settings, keys as for a path of that protocol (`addr`, `topic`, ...).
    pub settings: BTreeMap<String, SettingValue>,
    /// Most records per second that are sent, so that catching up after an outage leaves room
    /// for others; > 0.
    pub rate: f64,
    /// Records that may be on their way without an acknowledgement, 1..=1024.
    pub window: u16,
}
