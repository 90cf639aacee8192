//! Commands on their way from an operator to a device.
//!
//! Absent: authorisation (the runtime's router decides) and delivery (the twin's session).

use serde::{Deserialize, Serialize};

use crate::DeviceId;

/// Who may do what, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Acknowledges alarms and issues operator commands.
    Operator,
    /// Issues engineering commands.
    Engineer,
    /// Releases quarantines.
    Security,
}

/// A request from a console or a server, addressed to the running plant.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Runs a command of a device.
    Command {
        /// Device.
        device: DeviceId,
        /// Name of the command in the device's type.
        command: String,
        /// Values for its arguments, by point name, in the point's unit.
        args: Vec<(String, f64)>,
    },
    /// Writes one point directly (points with access `rw`).
    Write {
        /// Device.
        device: DeviceId,
        /// Point name.
        point: String,
        /// Value in the point's unit.
        value: f64,
    },
    /// Acknowledges an alarm.
    Acknowledge {
        /// `device.alarm`.
        alarm: crate::AlarmId,
    },
    /// Starts a twin again that was given up.
    Restart {
        /// Device.
        device: DeviceId,
    },
}

/// What became of a [`Request`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done; for a write: the device took it.
    Done,
    /// Refused before anything was sent, with the reason.
    Refused {
        /// Lowercase fragment.
        reason: String,
    },
    /// Sent, but the device refused it or did not answer.
    Failed {
        /// Lowercase fragment.
        reason: String,
    },
}

/// Issues requests and hears what became of them.
///
/// Consoles and servers know this and [`crate::PlantView`], nothing else of the runtime.
pub trait CommandSender: Send + Sync {
    /// Sends a request; the outcome arrives on the receiver. Never blocks.
    fn send(&self, request: Request) -> std::sync::mpsc::Receiver<Outcome>;
}
