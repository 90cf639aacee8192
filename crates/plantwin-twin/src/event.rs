//! What a twin says to the rest of the plant.

use plantwin_model::{AlarmView, Outcome, PointView, SessionView, Timestamp, TwinState};
use plantwin_seal::Content;
use serde::{Deserialize, Serialize};

/// Said by a twin to the station that keeps the plant's view.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum TwinEvent {
    /// How the twin is now. The newest one stands for all before it.
    Observed(Box<Observed>),
    /// All alarms of the twin that are not normal.
    Alarms(Vec<AlarmView>),
    /// What became of a command.
    Outcome {
        /// The command's key.
        key: u64,
        /// Outcome.
        outcome: Outcome,
    },
    /// What must survive the process, to be kept under the twin's name.
    Save(Vec<u8>),
}

impl Content for TwinEvent {
    const CONTENT_TYPE: u16 = 2;
}

/// The observable state of a twin: what tests assert on and the console shows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Observed {
    /// State.
    pub state: TwinState,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Path in use: rank, endpoint, switches so far.
    pub path: Option<(u16, String, u32)>,
    /// Session.
    pub session: SessionView,
    /// Letters waiting, handled and refused.
    pub mailbox: (u32, u64, u64),
    /// Energy the device spent on talking, joules.
    pub energy_joules: f64,
    /// Bytes on the wire, both directions.
    pub bytes: u64,
    /// Restarts of the twin.
    pub restarts: u32,
    /// Points in the order of the type.
    pub points: Vec<ObservedPoint>,
}

/// A point as observed: the very thing that is shown.
pub type ObservedPoint = PointView;
