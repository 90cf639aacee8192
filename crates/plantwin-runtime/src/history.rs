//! What the log says still counts, and beginning it anew when most of it does not any more.
//!
//! The log is begun anew by repeating what counts at its end, between two marks, and letting go
//! of what came before. A process that dies in between leaves a first mark without the second:
//! then nothing of what stands behind the first one was said, and all of what came before still
//! holds. (Without the marks a repetition that was cut off looked like news: an outcome that had
//! been unknown once was unknown again.) Absent: what steps and alarms mean.

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

const BEGINS: &[u8] = &[0];
const ENDS: &[u8] = &[1];

/// What counts.
#[derive(Clone, Default)]
struct Counting {
    steps: Vec<CommandStep>,
    alarms: BTreeMap<DeviceId, Vec<AlarmView>>,
}

/// The log, read.
#[derive(Default)]
pub(crate) struct History {
    counting: Counting,
    /// A repetition that has begun: by which boot, and what it said so far.
    repeating: Option<(u64, Counting)>,
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
        if self.repeating.as_ref().is_some_and(|(boot, _)| *boot != record.boot) {
            self.repeating = None;
        }
        let counting = match &mut self.repeating {
            Some((_, repeated)) => repeated,
            None => &mut self.counting,
        };
        match record.kind {
            LogKind::Alarm => match AlarmRecord::from_bytes(record.payload) {
                Some(AlarmRecord { twin, alarms }) => {
                    counting.alarms.insert(twin, alarms);
                }
                None => self.unreadable += 1,
            },
            LogKind::Command => match CommandStep::from_bytes(record.payload) {
                Some(step) => counting.steps.push(step),
                None => self.unreadable += 1,
            },
            LogKind::Checkpoint if record.payload == BEGINS => {
                self.repeating = Some((record.boot, Counting::default()));
            }
            LogKind::Checkpoint => {
                if let Some((_, repeated)) = self.repeating.take() {
                    self.counting = repeated;
                }
            }
            LogKind::Audit => {}
        }
    }

    /// Begins the log anew if it is long and most of it does not count any more.
    pub(crate) fn shorten(&mut self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        self.shorten_beyond(LOG_LIMIT, store, now)
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
        store.append(LogKind::Checkpoint, now, BEGINS)?;
        for (twin, alarms) in alarms.iter().filter(|(_, alarms)| !alarms.is_empty()) {
            let record = AlarmRecord { twin: twin.clone(), alarms: alarms.clone() };
            store.append(LogKind::Alarm, now, &record.to_bytes())?;
        }
        for step in steps {
            store.append(LogKind::Command, now, &step.to_bytes())?;
        }
        store.append(LogKind::Checkpoint, now, ENDS)?;
        store.flush_log()?;
        store.prune_log(self.last + 1)
    }

    /// Steps of commands, and the alarms of each twin as they were last told.
    pub(crate) fn into_parts(self) -> (Vec<CommandStep>, BTreeMap<DeviceId, Vec<AlarmView>>) {
        (self.counting.steps, self.counting.alarms)
    }
}
