//! What a twin says to the rest of the plant.

use plantwin_model::{
    AlarmView, MailboxView, Outcome, PointIx, PointView, Quality, SessionView, Timestamp, TwinState,
};
use plantwin_seal::{Content, Lane, OriginDigest};
use serde::{Deserialize, Serialize};

use crate::Recorded;

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
    /// What must survive the process, to be kept under the twin's name. For a device of durable
    /// delivery it says how far telemetry is recorded: it must not be on disk before the
    /// telemetry that was told before it, or a crash between the two loses values that the device
    /// sends again and the twin takes for recorded.
    Save(Vec<u8>),
    /// Values of a device of durable delivery, one for each of its frames, in order.
    Telemetry(Telemetry),
    /// A letter crashed the twin twice. To be kept on disk; the twin keeps it as well.
    SetAside(SetAside),
    /// A letter that was set aside is there no more: handled at last, or forgotten.
    Released {
        /// [`SetAside::id`].
        id: u64,
    },
}

impl TwinEvent {
    /// The lane in which it travels to the station (while the twin is drained, outcomes travel
    /// behind telemetry instead).
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Observed(_) => Lane::Latest,
            Self::Alarms(_) | Self::SetAside(_) | Self::Released { .. } => Lane::Alarm,
            Self::Outcome { .. } => Lane::Command,
            Self::Save(_) | Self::Telemetry(_) => Lane::Durable,
        }
    }
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
    /// The twin's mailbox.
    pub mailbox: MailboxView,
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

/// Most receipts of one line that are unconfirmed at the same time.
pub const MAX_RECEIPTS: usize = 64;

/// One frame of a device of durable delivery, as its session accepted it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Telemetry {
    /// To be confirmed to the line once this is recorded.
    pub receipt: Option<u64>,
    /// The device's own sequence number.
    pub sequence: Option<u64>,
    /// When the frame was received.
    pub received: Timestamp,
    /// Its values, in their order.
    pub samples: Vec<TelemetrySample>,
    /// Whether it was told before: there are no samples, and only the receipt counts. The first
    /// one may still be on its way to the disk: the receipt is to be confirmed no sooner than
    /// that one is there.
    pub duplicate: bool,
    /// Frames between the last one told and this one that plantwin never got, by the device's
    /// own sequence, or had to shed: a gap to be recorded. One that arrives late after all is
    /// told in its turn and was counted here.
    pub missing: u64,
    /// Which frames of the device are accepted, with this one: to be put on record no sooner than
    /// it, and in place of what was there. `None` if its frames are not numbered.
    pub recorded: Option<Recorded>,
}

/// One value of a [`Telemetry`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct TelemetrySample {
    /// Which point.
    pub point: PointIx,
    /// In the point's unit, finite; `None` if the session refused it.
    pub value: Option<f64>,
    /// Quality; bad where there is no value.
    pub quality: Quality,
    /// When it was measured; when received, if the device does not say.
    pub source_time: Timestamp,
    /// The device's own digest over it, to be handed on as it is.
    pub origin: Option<OriginDigest>,
}

/// A letter that crashed its twin twice.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SetAside {
    /// Names the letter among those of its twin.
    pub id: u64,
    /// Its lane.
    pub lane: Lane,
    /// When it was set aside.
    pub since: Timestamp,
    /// The letter, sealed at rest under [`crate::TwinInit::aside_key`]; empty if it could not be.
    pub sealed: Vec<u8>,
    /// What it says, shortened; or why it cannot be read.
    pub text: String,
    /// Receipt of its values: to be confirmed to the line once this is on disk.
    pub receipt: Option<u64>,
    /// Whether a write that it asks for may have been sent: then it is never handled again.
    pub sent: bool,
}
