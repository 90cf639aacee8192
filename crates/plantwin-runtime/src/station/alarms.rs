//! Alarms on their way to the log: shown when they are on record, or cannot be.
//!
//! Each twin has at most one list of alarms on its way to the disk; the newest of those that
//! came meanwhile follows it. While the disk refuses, each is shown as it comes: an operator must
//! see what goes on, and what is on record follows. Absent: what is shown (the book), the log
//! itself (the keeper).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use plantwin_model::{AlarmView, DeviceId, DeviceIx};
use plantwin_store::LogKind;
use serde::{Deserialize, Serialize};

use crate::keeper::Keeper;

#[cfg(test)]
mod tests;

/// All alarms of a twin that are not normal, as it told them: one record of the log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct AlarmRecord {
    pub(crate) twin: DeviceId,
    pub(crate) alarms: Vec<AlarmView>,
}

impl AlarmRecord {
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

/// Lists of alarms that are not shown yet.
#[derive(Default)]
pub(crate) struct AlarmDesk {
    /// What is being written.
    under_way: BTreeMap<DeviceIx, Vec<AlarmView>>,
    /// The newest list behind it.
    next: BTreeMap<DeviceIx, (DeviceId, Vec<AlarmView>)>,
    /// Whose list the disk has refused: the keeper tries it again and says so once.
    failing: BTreeSet<DeviceIx>,
    /// What the keeper says: of whom, and whether it is on record.
    done: Arc<Mutex<Vec<(DeviceIx, bool)>>>,
}

impl AlarmDesk {
    /// A twin's new list. Without a keeper, or while the disk refuses, it can be shown at once and
    /// comes back.
    pub(crate) fn take(
        &mut self,
        keeper: Option<&Keeper>,
        ix: DeviceIx,
        twin: &DeviceId,
        alarms: Vec<AlarmView>,
    ) -> Option<Vec<AlarmView>> {
        let Some(keeper) = keeper else { return Some(alarms) };
        if !self.under_way.contains_key(&ix) {
            self.write(keeper, ix, twin.clone(), alarms);
            return None;
        }
        let shown = self.failing.contains(&ix).then(|| alarms.clone());
        self.next.insert(ix, (twin.clone(), alarms));
        shown
    }

    fn write(&mut self, keeper: &Keeper, ix: DeviceIx, twin: DeviceId, alarms: Vec<AlarmView>) {
        let record = AlarmRecord { twin, alarms };
        let bytes = record.to_bytes();
        self.under_way.insert(ix, record.alarms);
        let done = Arc::clone(&self.done);
        // An alarm that cannot be put on record is shown all the same, beside the alarm that says
        // so; and it is put there as soon as the disk is well again.
        let then = Box::new(move |result: Result<(), String>| {
            done.lock().unwrap_or_else(PoisonError::into_inner).push((ix, result.is_ok()));
        });
        keeper.append(LogKind::Alarm, bytes, true, then);
    }

    /// The lists that may be shown now.
    pub(crate) fn ready(&mut self, keeper: Option<&Keeper>) -> Vec<(DeviceIx, Vec<AlarmView>)> {
        let done = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ready = Vec::with_capacity(done.len());
        for (ix, on_record) in done {
            if !on_record {
                self.failing.insert(ix);
                // What came since waits behind it: the newest is what counts.
                let next = self.next.get(&ix).map(|(_, alarms)| alarms);
                ready.extend(next.or(self.under_way.get(&ix)).map(|list| (ix, list.clone())));
                continue;
            }
            let written = self.under_way.remove(&ix);
            let failed = self.failing.remove(&ix);
            // Of one that was refused at first, newer ones are shown already.
            if !failed || !self.next.contains_key(&ix) {
                ready.extend(written.map(|alarms| (ix, alarms)));
            }
            if let (Some((twin, alarms)), Some(keeper)) = (self.next.remove(&ix), keeper) {
                self.write(keeper, ix, twin, alarms);
            }
        }
        ready
    }
}
