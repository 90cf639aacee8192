//! What can go wrong here: only requests about alarms that are not there.

use thiserror::Error;

/// Why a request about an alarm was refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WatchError {
    /// The type has no alarm of that name.
    #[error("find alarm {0:?}: this type of twin has none of that name")]
    UnknownAlarm(String),
    /// The alarm is normal, so there is nothing to acknowledge.
    #[error("acknowledge alarm {0:?}: it is normal")]
    Normal(String),
}
