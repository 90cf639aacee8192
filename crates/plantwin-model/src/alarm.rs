//! Alarm vocabulary after ISA-18.2: priorities and states.
//!
//! Absent: the logic that moves an alarm between its states (see `plantwin-watch`).

use serde::{Deserialize, Serialize};

use crate::{AlarmId, DeviceId, Timestamp};

/// Priority, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// P1: act at once.
    Critical,
    /// P2: act promptly.
    High,
    /// P3: act when convenient.
    Medium,
    /// P4: know about it.
    Low,
}

/// State of an alarm that is not normal (ISA-18.2 states B, C and D).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// Active, nobody acknowledged it (B).
    Unacknowledged,
    /// Active, acknowledged (C).
    Acknowledged,
    /// The condition is gone but nobody acknowledged it (D).
    ReturnedUnacknowledged,
}

/// What raised an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmSource {
    /// A limit of the twin type.
    Threshold,
    /// The residual between model and measurement left its calibrated band.
    Residual,
    /// The device cannot be reached.
    CommLoss,
    /// NaN or infinity was received.
    NotFinite,
    /// Authentication failed.
    Session,
    /// The twin crashed or was given up.
    Supervision,
    /// The runtime itself (store, disk).
    System,
    /// The device was confined on hard evidence.
    Quarantine,
}

/// One alarm as shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AlarmView {
    /// `device.alarm`.
    pub id: AlarmId,
    /// The twin it belongs to.
    pub twin: DeviceId,
    /// Priority.
    pub priority: Priority,
    /// State.
    pub state: AlarmState,
    /// Source.
    pub source: AlarmSource,
    /// When it entered `state`.
    pub since: Timestamp,
    /// When it was raised.
    pub raised: Timestamp,
    /// What is wrong, with the value.
    pub text: String,
    /// What to do.
    pub response: String,
}
