//! One trip to the disk: a group is written, flushed and acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use plantwin_model::{Clock, DeviceId, SpoolSpec, SpoolView};
use plantwin_store::{
    Spool, Store, StoreError, Write,
    spool::{QueueStats, SpoolTotals},
};
use plantwin_twin::Recorded;

use super::{
    before::Before,
    queue::{DurableJob, Group, LetterChange},
    status::KeeperStatus,
};
use crate::{
    assembly::{LETTERS, RECORDED, TWINS},
    guardian::text_of,
};

/// The disk as the keeper sees it.
pub(crate) struct Work {
    pub(super) store: Arc<dyn Store>,
    pub(super) spool: Arc<Mutex<Spool>>,
    pub(super) limits: SpoolSpec,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) status: Arc<Mutex<KeeperStatus>>,
    /// Something was written since the last flush and is not safe: it is taken out before it is
    /// written again, so that nothing is there twice.
    pub(super) torn: AtomicBool,
    /// What is put back with it.
    pub(super) before: Mutex<Before>,
}

/// What became of a group.
pub(super) struct Trip {
    /// What could not be written and is to be tried again.
    pub(super) left: Group,
    /// Why the disk took nothing more into the log.
    pub(super) log_refused: Option<String>,
    pub(super) trees_refused: bool,
}

impl Work {
    /// Writes a group. A panic on the way is a disk that refused: what was not told yet is told
    /// so, or waits.
    pub(super) fn carry_out(&self, mut group: Group) -> Trip {
        let mut left = Group::default();
        let trees = group.has_trees();
        // Unwind safety: what stands in the group when it is over was not confirmed, and the trees
        // are mended before they are used again.
        let attempt = AssertUnwindSafe(|| self.attempt(&mut group, &mut left));
        let (log_refused, trees_refused) = catch_unwind(attempt).unwrap_or_else(|payload| {
            let why = format!("write to the store: it panicked: {}", text_of(&*payload));
            self.fails(&why);
            // Its records leave the group before the trees are written.
            let log = !group.urgent.is_empty();
            self.torn.fetch_or(trees, Ordering::Relaxed);
            let mut status = self.status();
            status.log_fails |= log;
            status.trees_fail |= trees;
            drop(status);
            left.urgent.extend(group.urgent.drain(..).filter(|append| append.tell(&why)));
            (log.then_some(why), trees)
        });
        left.durable.append(&mut group.durable);
        left.saves.append(&mut group.saves);
        left.expire |= group.expire;
        self.well();
        Trip { left, log_refused, trees_refused }
    }

    /// Takes out of the group what is done or told. Returns why the log refuses, and whether the
    /// trees do.
    fn attempt(&self, group: &mut Group, left: &mut Group) -> (Option<String>, bool) {
        let log_refused = self.log(group, left);
        if !group.has_trees() {
            return (log_refused, false);
        }
        let stored = self.store_trees(group);
        self.status().trees_fail = stored.is_err();
        match &stored {
            Ok(()) => self.confirm(std::mem::take(group)),
            Err(error) => {
                self.torn.store(true, Ordering::Relaxed);
                self.failed(error);
            }
        }
        (log_refused, stored.is_err())
    }

    fn status(&self) -> MutexGuard<'_, KeeperStatus> {
        // Counts and times: whole at any moment.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the disk is well if nothing failed when it was last asked.
    pub(super) fn well(&self) {
        let mut status = self.status();
        if !status.log_fails && !status.trees_fail {
            status.failing = None;
        }
    }

    fn failed(&self, error: &StoreError) {
        self.fails(&error.to_string());
    }

    /// The disk fails, for this reason.
    pub(super) fn fails(&self, why: &str) {
        let now = self.clock.now();
        let mut status = self.status();
        status.failures += 1;
        let text = why.to_owned();
        match &mut status.failing {
            Some((_, known)) => *known = text,
            none => {
                tracing::error!("failed to {text}");
                *none = Some((now, text));
            }
        }
    }

    /// Alarms and steps of commands. Returns why the disk refuses.
    fn log(&self, group: &mut Group, left: &mut Group) -> Option<String> {
        if group.urgent.is_empty() {
            return None;
        }
        let now = self.clock.now();
        let (mut refused, mut failed) = (None, false);
        let mut results = Vec::with_capacity(group.urgent.len());
        for append in &group.urgent {
            if let Some(why) = &refused {
                // What stands behind a record that was refused does not overtake it.
                results.push(Err(String::clone(why)));
                continue;
            }
            let result = self.store.append(append.kind, now, &append.payload);
            results.push(result.map(drop).map_err(|error| {
                failed = true;
                self.failed(&error);
                let why = error.to_string();
                // That one says nothing of the disk.
                if !matches!(error, StoreError::TooLong { .. }) {
                    refused = Some(why.clone());
                }
                why
            }));
        }
        let flushed = self.store.flush_log().map_err(|error| {
            failed = true;
            self.failed(&error);
            error.to_string()
        });
        // Before anybody is told: who hears of a failure finds it here.
        self.status().log_fails = failed;
        for (append, result) in group.urgent.drain(..).zip(results) {
            match result.and_then(|()| flushed.clone()) {
                Ok(()) => {
                    self.status().appended += 1;
                    append.waiter.confirm(append.must);
                }
                Err(why) => {
                    if append.tell(&why) {
                        left.urgent.push(append);
                    }
                }
            }
        }
        refused.or(flushed.err())
    }

    /// Everything but the log, to the disk.
    fn store_trees(&self, group: &Group) -> Result<(), StoreError> {
        if self.torn.load(Ordering::Relaxed) {
            self.mend()?;
        }
        self.before().note(&*self.store, group);
        self.store_durable(group)?;
        self.store_saves(group)?;
        self.store.flush()?;
        // Nobody else adds to it.
        self.spool().flushed();
        self.before().clear();
        Ok(())
    }

    /// After a failure: opens the store anew if it must be, and takes out of the spool what was
    /// not confirmed. All of it is in the group that is written now, see [`super::queue`]; what
    /// else was in the group that failed is the same when it is written twice.
    fn mend(&self) -> Result<(), StoreError> {
        if let Some(report) = self.store.mend()? {
            tracing::warn!("the store was opened anew after it had failed");
            let aside = |path: &std::path::PathBuf| {
                format!("damaged files were set aside as {}", path.display())
            };
            let damage: Vec<_> = report
                .findings
                .iter()
                .map(ToString::to_string)
                .chain(report.set_aside.iter().map(aside))
                .collect();
            for finding in &damage {
                tracing::error!("the store: {finding}");
            }
            self.status().damage.extend(damage);
        }
        // First: no crash may leave on record what is taken out of the spool.
        self.before().restore(&*self.store)?;
        let devices: Vec<_> = {
            let mut spool = self.spool();
            spool.reopen()?;
            spool.queues().map(|(device, _)| DeviceId::from(device)).collect()
        };
        self.torn.store(false, Ordering::Relaxed);
        self.count(devices.into_iter());
        Ok(())
    }

    fn store_durable(&self, group: &Group) -> Result<(), StoreError> {
        let mut telemetry = Vec::new();
        let mut letters: Vec<(String, Option<&[u8]>)> = Vec::new();
        for job in &group.durable {
            match job {
                DurableJob::Telemetry { device, record, .. } => {
                    telemetry.push((device.as_str(), record.received, record.to_bytes()));
                }
                DurableJob::Letter { device, id, change, .. } => {
                    let bytes = match change {
                        LetterChange::Aside(bytes) => Some(bytes.as_slice()),
                        LetterChange::Released => None,
                    };
                    letters.push((format!("{device}/{id:020}"), bytes));
                }
                DurableJob::Again { .. } => {}
            }
        }
        if !telemetry.is_empty() {
            let recorded = recorded(group);
            let batch: Vec<_> = telemetry.iter().map(|(d, t, b)| (*d, *t, b.as_slice())).collect();
            self.spool().append_batch(&batch)?;
            // After it, so that a crash between the two leaves a frame that comes again rather
            // than one that is taken for known.
            let encoded: Vec<_> =
                recorded.iter().map(|(device, value)| (device, value.to_bytes())).collect();
            let writes: Vec<_> =
                encoded.iter().map(|(device, bytes)| Write::Put(device.as_str(), bytes)).collect();
            self.store.put_batch(RECORDED, &writes)?;
        }
        if group.expire {
            self.spool().expire(self.clock.now())?;
        }
        let writes: Vec<_> = letters
            .iter()
            .map(|(key, bytes)| match bytes {
                Some(bytes) => Write::Put(key, bytes),
                None => Write::Delete(key),
            })
            .collect();
        if writes.is_empty() { Ok(()) } else { self.store.put_batch(LETTERS, &writes) }
    }

    fn store_saves(&self, group: &Group) -> Result<(), StoreError> {
        if group.saves.is_empty() {
            return Ok(());
        }
        let put = |(device, bytes): &'_ (DeviceId, Vec<u8>)| (device.clone(), bytes.clone());
        let saves: Vec<_> = group.saves.iter().map(put).collect();
        let writes: Vec<_> = saves.iter().map(|(d, b)| Write::Put(d.as_str(), b)).collect();
        self.store.put_batch(TWINS, &writes)
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        // The spool changes its index only after the store has taken the change.
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self) -> MutexGuard<'_, Before> {
        // An entry more or less than there would be without the panic is as true.
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything is on the disk: tell whoever waits.
    fn confirm(&self, group: Group) {
        let mut changed = BTreeSet::new();
        let mut added = BTreeSet::new();
        let mut telemetry = 0;
        for job in group.durable {
            let receipt = match job {
                DurableJob::Telemetry { device, receipt, .. } => {
                    changed.insert(device.clone());
                    added.insert(device);
                    telemetry += 1;
                    receipt
                }
                DurableJob::Letter { receipt, .. } => receipt,
                DurableJob::Again { receipt, .. } => Some(receipt),
            };
            if let Some(receipt) = receipt {
                receipt.confirmed.confirm(receipt.receipt);
            }
        }
        {
            let mut status = self.status();
            status.saved += group.saves.len() as u64;
            status.telemetry += telemetry;
        }
        if group.expire {
            changed.extend(self.spool().queues().map(|(device, _)| DeviceId::from(device)));
        }
        self.count(changed.into_iter());
        self.offer(added.into_iter());
    }

    /// Everything in the queues of these devices is safe and may be sent.
    pub(crate) fn offer(&self, devices: impl Iterator<Item = DeviceId>) {
        let spool = self.spool();
        let mut status = self.status();
        for device in devices {
            if let Some(stats) = spool.queue(device.as_str()) {
                status.safe.insert(device, stats.next);
            }
        }
    }

    /// Brings the status up to date for these devices.
    pub(crate) fn count(&self, devices: impl Iterator<Item = DeviceId>) {
        let now = self.clock.now();
        let spool = self.spool();
        let mut status = self.status();
        for device in devices {
            let Some(stats) = spool.queue(device.as_str()) else { continue };
            let view = queue_view(stats, self.limits.device_bytes);
            status.queues.entry(device.clone()).or_default().update(view, now);
            status.changed.insert(device);
        }
        let total = total_view(&spool.totals(), self.limits.total_bytes);
        status.total.update(total, now);
    }
}

/// Of each device in the group, which of its frames are accepted with the last one of them. Its
/// twin says so: only it knows which number belongs to which of the device's runs.
fn recorded(group: &Group) -> BTreeMap<&DeviceId, &Recorded> {
    let told = group.durable.iter().filter_map(|job| match job {
        DurableJob::Telemetry { device, recorded, .. } => Some((device, recorded.as_ref()?)),
        DurableJob::Again { .. } | DurableJob::Letter { .. } => None,
    });
    told.collect()
}

fn queue_view(stats: &QueueStats, capacity: u64) -> SpoolView {
    SpoolView {
        records: stats.records,
        bytes: stats.bytes,
        capacity,
        oldest: stats.oldest,
        hours_left: None,
        dropped: stats.dropped,
    }
}

fn total_view(totals: &SpoolTotals, capacity: u64) -> SpoolView {
    SpoolView {
        records: totals.records,
        bytes: totals.bytes,
        capacity,
        oldest: None,
        hours_left: None,
        dropped: totals.dropped,
    }
}
