//! Commands on their way from an operator to a device.
//!
//! Absent: authorisation (the runtime's router decides) and delivery (the twin's session).

use std::{fmt, str::FromStr};

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

impl Role {
    /// All of them, least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Engineer, Self::Security];

    /// The word in files and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Engineer => "engineer",
            Self::Security => "security",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
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
    /// Hands a letter that was set aside to its twin again.
    Retry {
        /// Device.
        device: DeviceId,
        /// [`crate::SetAsideView::id`].
        letter: u64,
    },
    /// Forgets a letter that was set aside.
    Drop {
        /// Device.
        device: DeviceId,
        /// [`crate::SetAsideView::id`].
        letter: u64,
    },
    /// Confines a device: its keys are dropped, commands to it refused, its values marked.
    Quarantine {
        /// Device.
        device: DeviceId,
        /// Why, for people.
        reason: String,
    },
    /// Lets a confined device go; it must prove who it is again.
    Release {
        /// Device.
        device: DeviceId,
    },
}

/// Names a command for good, so that asking twice acts once.
///
/// 128 bits, chosen by whoever asks; written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandKey(#[serde(with = "hex")] pub u128);

impl fmt::Display for CommandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for CommandKey {
    type Err = &'static str;

    /// From 1 to 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        let key = fits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        key.map(Self).ok_or("a command's key is 1 to 32 hexadecimal digits")
    }
}

/// Keys travel as text: not every reader of JSON knows numbers of 128 bits.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(key: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::CommandKey(*key).to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(|super::CommandKey(key)| key).map_err(D::Error::custom)
    }
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
    /// Sent, but the device refused it, or it showed that it did not act.
    Failed {
        /// Lowercase fragment.
        reason: String,
    },
    /// Not sent within its time.
    Expired,
    /// Sent, and nothing yet tells whether the device acted: it is watched for it (read back).
    /// It is never sent again.
    Unknown {
        /// Lowercase fragment.
        reason: String,
    },
}

/// Issues requests and hears what became of them.
///
/// Consoles and servers know this and [`crate::PlantView`], nothing else of the runtime.
pub trait CommandSender: Send + Sync {
    /// Sends a request; the outcome arrives on the receiver. Never blocks.
    fn send(&self, request: Request) -> std::sync::mpsc::Receiver<Outcome> {
        self.send_keyed(None, request)
    }

    /// Sends a request under a key: the same key and request again yield the outcome of the
    /// first time and no second effect; another request under it is refused. Without a key
    /// every request is its own.
    fn send_keyed(
        &self,
        key: Option<CommandKey>,
        request: Request,
    ) -> std::sync::mpsc::Receiver<Outcome>;
}
