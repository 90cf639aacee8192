//! What else the station is told, besides what twins say.
//!
//! A board rather than a stream: it outlives a restart of the station, and is read with each
//! snapshot.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use plantwin_model::{AlarmId, DeviceIx};

use crate::guardian::GuardEvent;

/// Notes that may wait.
const LIMIT: usize = 16_384;

/// Something the station must know.
#[derive(Debug)]
pub(crate) enum StationNote {
    /// Of the guardian.
    Guard { device: DeviceIx, event: GuardEvent },
    /// An operator acknowledged an alarm, and `key` waits until that is shown. `own`: no twin keeps
    /// the alarm.
    Acknowledge { alarm: AlarmId, key: u64, own: bool },
    /// Something of the plant as a whole is amiss, or (`None`) not any more.
    Amiss { name: &'static str, trouble: Option<String>, response: &'static str },
}

/// The board.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<VecDeque<StationNote>>>);

impl Notes {
    /// Leaves a note; `false` if the board is full.
    pub(crate) fn leave(&self, note: StationNote) -> bool {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = notes.len() < LIMIT;
        if room {
            notes.push_back(note);
        }
        room
    }

    /// The oldest note.
    pub(crate) fn take(&self) -> Option<StationNote> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
