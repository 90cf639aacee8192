//! What can be said to a twin.
//!
//! One enum rather than one actix message each: every letter travels in the same sealed lane,
//! so that order is kept, and waits in the same slot while it is handled, so that a crash loses
//! none of them.

use std::time::Duration;

use plantwin_adapter::{Frame, TrafficSnapshot};
use plantwin_model::{Delivery, PointIx, Timestamp};
use plantwin_seal::{Content, Lane, OriginDigest};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A letter to a twin.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum TwinMail {
    /// A path to the device is up.
    LinkUp(LinkUpMail),
    /// No path is up.
    LinkDown(LinkDownMail),
    /// Values came off the wire.
    Frame(FrameMail),
    /// The device confirmed that its last values still hold.
    Alive,
    /// What became of the device's session.
    Session(SessionMail),
    /// An operator (or a server) wants points written.
    Command(CommandMail),
    /// What became of a write.
    Written(WrittenMail),
    /// A neighbour's model feeds an input.
    Flow(FlowMail),
    /// An operator acknowledges an alarm, named without the device.
    Acknowledge(String),
    /// The runtime is about to stop: say everything that must be saved, then that it is said.
    Drain {
        /// Names the outcome.
        key: u64,
    },
    /// Handle a letter that was set aside as if it were new.
    Retry {
        /// Names the outcome.
        key: u64,
        /// [`crate::SetAside::id`].
        letter: u64,
    },
    /// Forget a letter that was set aside.
    Drop {
        /// Names the outcome.
        key: u64,
        /// [`crate::SetAside::id`].
        letter: u64,
    },
    /// Confine the device.
    Quarantine {
        /// Names the outcome, if somebody asked for it.
        key: Option<u64>,
        /// Why: the evidence, or what a person says. A lowercase fragment.
        reason: String,
    },
    /// What became of telling a confined device its safe state; why not, as a lowercase fragment.
    MadeSafe(Result<(), String>),
    /// Let the device go.
    Release {
        /// Names the outcome.
        key: u64,
    },
}

impl TwinMail {
    /// The lane of this letter to a twin of whose telemetry `delivery` is promised.
    ///
    /// What tells of the link travels in the lane of its values: a link that came or went must
    /// not overtake what was received before, or values of one connection would be judged by the
    /// session of another.
    pub const fn lane(&self, delivery: Delivery) -> Lane {
        match self {
            Self::Command(_)
            | Self::Written(_)
            | Self::Acknowledge(_)
            | Self::Retry { .. }
            | Self::Drop { .. }
            | Self::Quarantine { .. }
            | Self::MadeSafe(_)
            | Self::Release { .. } => Lane::Command,
            Self::Flow(_) => Lane::Latest,
            Self::LinkUp(_)
            | Self::LinkDown(_)
            | Self::Session(_)
            | Self::Frame(_)
            | Self::Alive
            | Self::Drain { .. } => match delivery {
                Delivery::Latest => Lane::Latest,
                Delivery::Durable => Lane::Durable,
            },
        }
    }
}

impl Content for TwinMail {
    const CONTENT_TYPE: u16 = 1;
}

/// A path is up.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LinkUpMail {
    /// Place in the device's list of paths.
    pub rank: u16,
    /// Where it leads.
    pub endpoint: String,
    /// How often the device changed its path so far.
    pub switches: u32,
    /// Whether it carries datagrams (UDP) rather than a stream (TCP).
    pub datagrams: bool,
    /// How long the device may say nothing on it before it is given up, in plant time; 0 if
    /// nobody watches that.
    pub patience: Duration,
}

/// The path in use broke and no other is up yet.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LinkDownMail {
    /// Why, as a lowercase fragment.
    pub reason: String,
}

/// Values, with what they cost on the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FrameMail {
    /// The values.
    pub frame: Frame,
    /// Traffic of the link since the last letter that told of it.
    pub traffic: TrafficSnapshot,
    /// The line's own name for them, told back once they are recorded. Only for devices of
    /// durable delivery, and of those that keep what is not confirmed; at most
    /// [`crate::MAX_RECEIPTS`] are unconfirmed at the same time.
    pub receipt: Option<u64>,
    /// The device's own digests over the values, in their order; none from devices that make
    /// none.
    pub origin: Vec<Option<OriginDigest>>,
    /// Sealed in a session that another took over from: a device that counts anew has no keys of
    /// it, so this is of the count that is known.
    pub replaced: bool,
}

/// What became of the device's session, as the line found it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum SessionMail {
    /// The device proved its key and bears a token.
    Open {
        /// When the session ends unless it is begun anew before.
        expires: Timestamp,
        /// Whether all that is said is sealed.
        sealed: bool,
    },
    /// The device did not prove who it is.
    Refused {
        /// A lowercase fragment.
        reason: String,
        /// Whether it will be asked again over this connection.
        again: bool,
    },
    /// The session that was open is over: nothing is believed or asked under it any more.
    Ended {
        /// A lowercase fragment.
        reason: String,
    },
}

/// Points to be written to the device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CommandMail {
    /// Names the command in its outcome.
    pub key: u64,
    /// What to write, in the points' units.
    pub writes: Vec<(PointIx, f64)>,
    /// Not to be carried out after this time.
    pub expires: Timestamp,
}

/// What became of a write.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WrittenMail {
    /// The command's key.
    pub key: u64,
    /// Whether the device took it; else why not.
    pub result: Result<(), WriteError>,
}

/// Why a write is not known to be done. Each holds a lowercase fragment.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum WriteError {
    /// The device got it and refused it.
    #[error("{0}")]
    Refused(String),
    /// It never left plantwin.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It was sent and no answer came: the device may have acted.
    #[error("{0}")]
    Unknown(String),
}

/// A value for an input of the model, SI base units.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowMail {
    /// Which of the flows into this twin (several may feed one input and add up).
    pub flow: u16,
    /// Value.
    pub value: f64,
}
