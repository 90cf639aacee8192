//! What waits for the disk, by urgency.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use plantwin_model::DeviceId;
use plantwin_store::LogKind;
use plantwin_twin::Recorded;

#[cfg(doc)]
use super::Keeper;
use super::{GROUP, hung::Waiter};
use crate::{
    line::{Burden, Confirmed},
    northbound::TelemetryRecord,
};

/// States of twins written between two flushes.
const SAVES: usize = 1024;

/// Hears that a record is safe; or why it is not, and if it must be on record, later once more
/// that it is. On the keeper's thread, or, while the disk hangs, on that of [`Keeper::watch`].
pub(crate) type Then = Box<dyn FnMut(Result<(), String>) + Send>;

/// A record for the log.
pub(crate) struct Append {
    pub(crate) kind: LogKind,
    pub(crate) payload: Vec<u8>,
    /// Whether it is tried until it is on the disk.
    pub(crate) must: bool,
    pub(super) waiter: Arc<Waiter>,
}

impl Append {
    pub(super) fn new(kind: LogKind, payload: Vec<u8>, must: bool, then: Then) -> Self {
        Self { kind, payload, must, waiter: Waiter::new(then) }
    }

    /// It could not be written: says so, once. Whether it is to be tried again.
    pub(super) fn tell(&self, why: &str) -> bool {
        self.waiter.refuse(why);
        self.must
    }

    /// Nobody counts on it any more.
    fn is_given_up(&self) -> bool {
        !self.must && self.waiter.is_told()
    }
}

/// What is confirmed to a line when it is safe.
#[derive(Clone)]
pub(crate) struct Receipted {
    pub(crate) confirmed: Arc<Confirmed>,
    pub(crate) receipt: u64,
}

/// Telemetry, or a change among the letters set aside.
pub(crate) enum DurableJob {
    /// To be sent on. The burden is on its line for as long as it waits.
    Telemetry {
        device: DeviceId,
        record: TelemetryRecord,
        /// Which of the device's frames are on record with this one.
        recorded: Option<Recorded>,
        receipt: Option<Receipted>,
        #[expect(dead_code, reason = "held for what its end does")]
        burden: Option<Burden>,
    },
    /// Telemetry that was given before: confirmed when all that was given before is safe.
    Again { device: DeviceId, receipt: Receipted },
    /// A letter is set aside, or is not any more.
    Letter { device: DeviceId, id: u64, change: LetterChange, receipt: Option<Receipted> },
}

/// What happens to a letter.
pub(crate) enum LetterChange {
    /// It lies aside; as bytes.
    Aside(Vec<u8>),
    /// It was retried or dropped.
    Released,
}

impl DurableJob {
    fn device(&self) -> &DeviceId {
        match self {
            Self::Telemetry { device, .. }
            | Self::Again { device, .. }
            | Self::Letter { device, .. } => device,
        }
    }
}

/// All that waits.
#[derive(Default)]
pub(crate) struct Queue {
    pub(super) urgent: VecDeque<Append>,
    durable: VecDeque<DurableJob>,
    /// How many of them each device has.
    durable_of: BTreeMap<DeviceId, usize>,
    pub(super) saves: BTreeMap<DeviceId, Vec<u8>>,
    pub(super) expire: bool,
    pub(super) closed: bool,
}

/// What goes out together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) urgent: Vec<Append>,
    pub(super) durable: Vec<DurableJob>,
    pub(super) saves: Vec<(DeviceId, Vec<u8>)>,
    pub(super) expire: bool,
}

impl Group {
    /// Whether there is anything in it that does not go into the log.
    pub(super) fn has_trees(&self) -> bool {
        !self.durable.is_empty() || !self.saves.is_empty() || self.expire
    }
}

/// Which parts of the disk are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) log: bool,
    pub(super) trees: bool,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && !self.trees_wait()
    }

    /// Whether anything waits that does not go into the log.
    pub(super) fn trees_wait(&self) -> bool {
        !self.durable.is_empty() || !self.saves.is_empty() || self.expire
    }

    /// Whether a record for the log waits that nobody has heard of yet. Those that were told of
    /// stand before all others, because what could not be written goes back in front.
    pub(super) fn has_untold(&self) -> bool {
        self.urgent.back().is_some_and(|append| !append.waiter.is_told())
    }

    pub(super) fn push_durable(&mut self, job: DurableJob) {
        *self.durable_of.entry(job.device().clone()).or_default() += 1;
        self.durable.push_back(job);
    }

    /// What goes out next, in the order it came: none overtakes another.
    pub(super) fn take(&mut self, due: Due) -> Group {
        let mut group = if due.trees { self.take_trees() } else { Group::default() };
        if due.log {
            // What was told to have failed while the disk hung.
            self.forget_given_up();
            group.urgent = self.urgent.drain(..self.urgent.len().min(GROUP)).collect();
        }
        group
    }

    fn take_trees(&mut self) -> Group {
        // What was put back is always taken again as a whole: the store may have kept of it what
        // is to be seen only together with all of it.
        let durable: Vec<_> = self.durable.drain(..self.durable.len().min(GROUP)).collect();
        for job in &durable {
            if let Some(count) = self.durable_of.get_mut(job.device()) {
                *count -= 1;
                if *count == 0 {
                    self.durable_of.remove(job.device());
                }
            }
        }
        // A state says which telemetry its twin has told: it must not reach the disk before
        // that telemetry, or what the device sends again after a crash is taken for known.
        let ready = self.saves.keys().filter(|d| !self.durable_of.contains_key(*d));
        let ready: Vec<_> = ready.take(SAVES).cloned().collect();
        let saves = ready.into_iter().filter_map(|d| self.saves.remove_entry(&d)).collect();
        let expire = std::mem::take(&mut self.expire);
        Group { urgent: Vec::new(), durable, saves, expire }
    }

    /// Who waits for a record for the log and has not heard of a failure yet.
    pub(super) fn untold(&self) -> Vec<Arc<Waiter>> {
        let first = self.urgent.partition_point(|append| append.waiter.is_told());
        self.urgent.range(first..).map(|append| Arc::clone(&append.waiter)).collect()
    }

    /// Records that were told to have failed and need not be on record go.
    pub(super) fn forget_given_up(&mut self) {
        self.urgent.retain(|append| !append.is_given_up());
    }

    /// What could not be written waits again, in front; a newer state of a twin stands.
    pub(super) fn put_back(&mut self, group: Group) {
        for append in group.urgent.into_iter().rev() {
            self.urgent.push_front(append);
        }
        for job in group.durable.into_iter().rev() {
            *self.durable_of.entry(job.device().clone()).or_default() += 1;
            self.durable.push_front(job);
        }
        for (device, bytes) in group.saves {
            self.saves.entry(device).or_insert(bytes);
        }
        self.expire |= group.expire;
    }
}
