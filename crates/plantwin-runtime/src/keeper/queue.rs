//! What waits for the disk, by urgency.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use plantwin_model::DeviceId;
use plantwin_store::LogKind;

use super::GROUP;
use crate::{line::Confirmed, northbound::TelemetryRecord};

/// States of twins written between two flushes.
const SAVES: usize = 1024;

/// Hears, on the keeper's thread, that a record is safe; or why it is not, and if it must be on
/// record, later once more that it is.
pub(crate) type Then = Box<dyn FnMut(Result<(), String>) + Send>;

/// A record for the log.
pub(crate) struct Append {
    pub(crate) kind: LogKind,
    pub(crate) payload: Vec<u8>,
    /// Whether it is tried until it is on the disk.
    pub(crate) must: bool,
    pub(crate) then: Then,
    /// Whether `then` has heard of a failure.
    pub(crate) told: bool,
}

/// What is confirmed to a line when it is safe.
#[derive(Clone)]
pub(crate) struct Receipted {
    pub(crate) confirmed: Arc<Confirmed>,
    pub(crate) receipt: u64,
}

/// Telemetry, or a change among the letters set aside.
pub(crate) enum DurableJob {
    /// To be sent on.
    Telemetry { device: DeviceId, record: TelemetryRecord, receipt: Option<Receipted> },
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

/// All that waits.
#[derive(Default)]
pub(crate) struct Queue {
    pub(super) urgent: VecDeque<Append>,
    pub(super) durable: VecDeque<DurableJob>,
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

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.durable.is_empty() && self.saves.is_empty() && !self.expire
    }

    pub(super) fn take(&mut self) -> Group {
        let urgent: Vec<_> = self.urgent.drain(..self.urgent.len().min(GROUP)).collect();
        let room = GROUP - urgent.len();
        let durable = self.durable.drain(..self.durable.len().min(room)).collect();
        let mut saves = Vec::new();
        while saves.len() < SAVES
            && let Some(save) = self.saves.pop_first()
        {
            saves.push(save);
        }
        Group { urgent, durable, saves, expire: std::mem::take(&mut self.expire) }
    }

    /// What could not be written waits again, in front; a newer state of a twin stands.
    pub(super) fn put_back(&mut self, group: Group) {
        for append in group.urgent.into_iter().rev() {
            self.urgent.push_front(append);
        }
        for job in group.durable.into_iter().rev() {
            self.durable.push_front(job);
        }
        for (device, bytes) in group.saves {
            self.saves.entry(device).or_insert(bytes);
        }
        self.expire |= group.expire;
    }
}
