//! What the log says still counts, and beginning it anew when most of it does not any more.
//!
//! The log is begun anew by repeating what counts at its end, between two marks, and letting go
//! of what came before. A repetition that does not come to its end (the process dies, the disk is
//! full) says nothing, and all of what came before still holds: without that, one that was cut off
//! looked like news, and an outcome that had been unknown once was unknown again. What is repeated
//! stands in records of its own kind, so what the same process says behind a half repetition is
//! news like any other, and a full disk is no reason not to start. Absent: what steps and alarms
//! mean.

use std::{collections::BTreeMap, ops::ControlFlow};

use plantwin_model::{AlarmView, DeviceId, Timestamp};
use plantwin_store::{LogKind, LogRecord, Store, StoreError};

use crate::{
    commands::{CommandStep, REMEMBERED, condensed, open_keys},
    station::AlarmRecord,
};

#[cfg(test)]
mod tests;

/// A log longer than this is begun anew at the next start, if that makes it half as long.
const LOG_LIMIT: u64 = 200_000;

/// Earlier versions began so: all that follows in the same boot up to the end is repeated.
const BEGAN: &[u8] = &[0];
const ENDS: &[u8] = &[1];
/// A repetition begins, in records that begin with [`REPEATED`] and their kind.
const BEGINS: &[u8] = &[2];
const REPEATED: u8 = 3;

/// What counts.
#[derive(Clone, Default)]
struct Counting {
    steps: Vec<CommandStep>,
    alarms: BTreeMap<DeviceId, Vec<AlarmView>>,
}

impl Counting {
    /// Takes a record; `false` if it is of another version.
    fn take(&mut self, kind: LogKind, payload: &[u8]) -> bool {
        match kind {
            LogKind::Alarm => {
                let Some(record) = AlarmRecord::from_bytes(payload) else { return false };
                self.alarms.insert(record.twin, record.alarms);
            }
            LogKind::Command => {
                let Some(step) = CommandStep::from_bytes(payload) else { return false };
                self.steps.push(step);
            }
            LogKind::Audit | LogKind::Checkpoint => {}
        }
        true
    }
}

/// A repetition that has begun.
struct Repetition {
    boot: u64,
    /// Its records are of their own kind, and others between them are no part of it.
    marked: bool,
    /// What it said so far.
    said: Counting,
}

/// The log, read.
#[derive(Default)]
pub(crate) struct History {
    counting: Counting,
    repeating: Option<Repetition>,
    records: u64,
    last: u64,
    /// Records of another version.
    pub(crate) unreadable: u64,
    /// Steps of commands that lost their beginning, and are dropped for that.
    pub(crate) orphans: usize,
}

impl History {
    pub(crate) fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut history = Self::default();
        store.read_log(1, &mut |record| {
            history.take(&record);
            ControlFlow::Continue(())
        })?;
        // Nobody is there any more to end it.
        history.repeating = None;
        Ok(history)
    }

    fn take(&mut self, record: &LogRecord<'_>) {
        self.records += 1;
        self.last = record.sequence;
        // It repeats before it does anything else: what another boot says is no part of it.
        if self.repeating.as_ref().is_some_and(|repetition| repetition.boot != record.boot) {
            self.repeating = None;
        }
        let known = match (record.kind, &mut self.repeating) {
            (LogKind::Checkpoint, _) => self.mark(record),
            (kind, Some(Repetition { marked: false, said, .. })) => said.take(kind, record.payload),
            (kind, _) => self.counting.take(kind, record.payload),
        };
        self.unreadable += u64::from(!known);
    }

    fn mark(&mut self, record: &LogRecord<'_>) -> bool {
        let begun = |marked| Repetition { boot: record.boot, marked, said: Counting::default() };
        let repeating = &mut self.repeating;
        match record.payload {
            BEGAN => *repeating = Some(begun(false)),
            BEGINS => *repeating = Some(begun(true)),
            ENDS => {
                if let Some(Repetition { said, .. }) = repeating.take() {
                    self.counting = said;
                }
            }
            [REPEATED, kind, payload @ ..] => {
                // If it has no beginning, that was damaged.
                let Repetition { said, .. } = repeating.get_or_insert_with(|| begun(true));
                return LogKind::from_byte(*kind).is_some_and(|kind| said.take(kind, payload));
            }
            _ => return false,
        }
        true
    }

    /// Begins the log anew if it is long and most of it does not count any more. If the disk
    /// refuses it stays as it is, and says the same: returns what is to be told of that.
    pub(crate) fn shorten(&mut self, store: &dyn Store, now: Timestamp) -> Option<String> {
        let error = self.shorten_beyond(LOG_LIMIT, store, now).err()?;
        let records = self.records;
        Some(format!(
            "the log of {records} records is long and could not be begun anew: failed to {error}; \
             make room on the disk, the next start tries again"
        ))
    }

    fn shorten_beyond(
        &mut self,
        limit: u64,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.records <= limit {
            return Ok(());
        }
        let Counting { steps, alarms } = &mut self.counting;
        // Of a command all its steps stay or none.
        let mut kept = open_keys(steps);
        for step in steps.iter().rev() {
            if kept.len() >= REMEMBERED {
                break;
            }
            kept.insert(step.key());
        }
        steps.retain(|step| kept.contains(&step.key()));
        let (condensed, orphans) = condensed(std::mem::take(steps));
        *steps = condensed;
        self.orphans += orphans;
        if 2 * (steps.len() + alarms.len()) as u64 > self.records {
            return Ok(());
        }
        let mark = |payload: &[u8]| store.append(LogKind::Checkpoint, now, payload);
        mark(BEGINS)?;
        // A disk without any room shows here, before it is written to for nothing.
        store.flush_log()?;
        let repeat =
            |kind: LogKind, payload: &[u8]| mark(&[&[REPEATED, kind as u8], payload].concat());
        for (twin, alarms) in alarms.iter().filter(|(_, alarms)| !alarms.is_empty()) {
            let record = AlarmRecord { twin: twin.clone(), alarms: alarms.clone() };
            repeat(LogKind::Alarm, &record.to_bytes())?;
        }
        for step in steps {
            repeat(LogKind::Command, &step.to_bytes())?;
        }
        mark(ENDS)?;
        store.flush_log()?;
        store.prune_log(self.last + 1)
    }

    /// Steps of commands, and the alarms of each twin as they were last told.
    pub(crate) fn into_parts(self) -> (Vec<CommandStep>, BTreeMap<DeviceId, Vec<AlarmView>>) {
        (self.counting.steps, self.counting.alarms)
    }
}
