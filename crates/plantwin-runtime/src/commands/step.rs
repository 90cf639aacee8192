//! What the journal says of a command: one record per step, in the order they must happen.
//!
//! Points are kept by name, since the plant file may change between two runs.

use plantwin_model::{CommandKey, DeviceId, Outcome, Timestamp};
use serde::{Deserialize, Serialize};

/// One record of the journal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum CommandStep {
    /// Accepted: from here on it has an outcome, whatever happens to the process.
    Intent(Intent),
    /// About to leave: from here on the device may have acted.
    Sent {
        /// Which.
        key: CommandKey,
        /// When.
        at: Timestamp,
    },
    /// What became of it; the last record of a command.
    Outcome {
        /// Which.
        key: CommandKey,
        /// What.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
    /// All steps of a command that has an outcome, where the journal repeats itself.
    Done {
        /// What was accepted.
        intent: Intent,
        /// When it was about to leave, if ever.
        sent: Option<Timestamp>,
        /// What became of it.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
    /// Accepted, as [`Self::Intent`], with who asked: whoever accounts for it may be gone before
    /// its outcome is known.
    Asked {
        /// What.
        intent: Intent,
        /// Who, as the audit trail names them.
        actor: String,
    },
    /// The audit trail has heard of all commands before this.
    Accounted,
}

/// A command as it was accepted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Its name for good.
    pub(crate) key: CommandKey,
    /// Device.
    pub(crate) device: DeviceId,
    /// Points by name, and what to write.
    pub(crate) writes: Vec<(String, f64)>,
    /// When it was asked for.
    pub(crate) asked: Timestamp,
    /// Not to be sent after this.
    pub(crate) expires: Timestamp,
}

impl CommandStep {
    /// The command.
    pub(crate) fn key(&self) -> CommandKey {
        match self {
            Self::Intent(intent) | Self::Asked { intent, .. } | Self::Done { intent, .. } => {
                intent.key
            }
            Self::Sent { key, .. } | Self::Outcome { key, .. } => *key,
            // Of no command.
            Self::Accounted => CommandKey(0),
        }
    }

    /// As bytes for the log.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Serializing these plain types into memory cannot fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// From bytes of the log; `None` if they are of another version.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
