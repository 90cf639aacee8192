//! Which record goes next, and what may be deleted: pure.

use std::collections::{BTreeMap, BTreeSet};

use plantwin_model::{DeviceId, Timestamp};

/// Records of one device taken in a row before the next device has its turn.
const TURN: usize = 16;

/// The state of the way out.
#[derive(Debug)]
pub(crate) struct Forwarder {
    queues: BTreeMap<DeviceId, Cursor>,
    /// Whose turn was last.
    last: Option<DeviceId>,
    in_flight: usize,
    window: usize,
    rate: f64,
    tokens: f64,
    refilled: Timestamp,
}

/// Where one device's queue stands.
#[derive(Debug, Default)]
struct Cursor {
    /// Next to be sent.
    next: u64,
    /// First that must not be sent yet.
    end: u64,
    /// Sent and not acknowledged.
    waiting: BTreeSet<u64>,
    /// Acknowledged, while an earlier one is not.
    ahead: BTreeSet<u64>,
    /// What is next could not be read: it is left alone for a while.
    held: bool,
}

impl Cursor {
    const fn is_ready(&self) -> bool {
        self.next < self.end && !self.held
    }
}

impl Forwarder {
    /// Sends at most `rate` records per second of plant time, `window` of them unacknowledged.
    pub(crate) fn new(rate: f64, window: u16, now: Timestamp) -> Self {
        let window = usize::from(window.max(1));
        Self {
            queues: BTreeMap::new(),
            last: None,
            in_flight: 0,
            window,
            rate: rate.max(1e-3),
            tokens: 1.0,
            refilled: now,
        }
    }

    /// The device's records from `first` on, up to before `end`, are there and safe.
    pub(crate) fn offer(&mut self, device: &DeviceId, first: u64, end: u64) {
        let cursor = self.queues.entry(device.clone()).or_default();
        // The policy of a full spool may have dropped what was to be sent next.
        cursor.next = cursor.next.max(first);
        cursor.end = cursor.end.max(end);
    }

    /// What to send now: device, first sequence, how many. Call [`Self::sent`] for each that was.
    pub(crate) fn next(&mut self, now: Timestamp) -> Option<(DeviceId, u64, usize)> {
        self.refill(now);
        let room = self.window - self.in_flight.min(self.window);
        let allowed = room.min(self.tokens as usize).min(TURN);
        if allowed == 0 {
            return None;
        }
        let ready = |(_, c): &(&DeviceId, &Cursor)| c.is_ready();
        let after = match &self.last {
            Some(last) => {
                let later = (std::ops::Bound::Excluded(last.clone()), std::ops::Bound::Unbounded);
                self.queues.range(later).find(ready)
            }
            None => None,
        };
        let (device, cursor) = after.or_else(|| self.queues.iter().find(ready))?;
        let count = usize::try_from(cursor.end - cursor.next).unwrap_or(usize::MAX).min(allowed);
        let (device, from) = (device.clone(), cursor.next);
        self.last = Some(device.clone());
        Some((device, from, count))
    }

    /// First record of the device that must not be sent yet.
    pub(crate) fn end(&self, device: &DeviceId) -> u64 {
        self.queues.get(device).map_or(0, |cursor| cursor.end)
    }

    /// When [`Self::next`] may have something again though nothing else happens.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<std::time::Duration> {
        let blocked = self.in_flight >= self.window || !self.queues.values().any(Cursor::is_ready);
        let lacking = (1.0 - self.tokens).max(0.0) / self.rate;
        let since = now.since(self.refilled).as_secs_f64();
        (!blocked).then(|| std::time::Duration::from_secs_f64((lacking - since).max(0.0)))
    }

    fn refill(&mut self, now: Timestamp) {
        let grown = now.since(self.refilled).as_secs_f64() * self.rate;
        // What was saved up while nothing was to be sent is worth one window at most.
        self.tokens = (self.tokens + grown).min(self.window as f64);
        self.refilled = now;
    }

    /// A record is on its way.
    pub(crate) fn sent(&mut self, device: &DeviceId, sequence: u64) {
        let Some(cursor) = self.queues.get_mut(device) else { return };
        cursor.next = cursor.next.max(sequence + 1);
        if cursor.waiting.insert(sequence) {
            self.in_flight += 1;
            self.tokens -= 1.0;
        }
    }

    /// The queue has nothing at and after `from` though it was offered: it was dropped.
    pub(crate) fn skip(&mut self, device: &DeviceId) {
        if let Some(cursor) = self.queues.get_mut(device) {
            cursor.next = cursor.end;
        }
    }

    /// The queue could not be read: the others go on without it.
    pub(crate) fn hold(&mut self, device: &DeviceId) {
        if let Some(cursor) = self.queues.get_mut(device) {
            cursor.held = true;
        }
    }

    /// All queues may be read again.
    pub(crate) fn release(&mut self) {
        self.queues.values_mut().for_each(|cursor| cursor.held = false);
    }

    /// A record was acknowledged. Returns up to where the queue may now be deleted.
    pub(crate) fn acknowledged(&mut self, device: &DeviceId, sequence: u64) -> Option<u64> {
        let cursor = self.queues.get_mut(device)?;
        if !cursor.waiting.remove(&sequence) {
            return None;
        }
        self.in_flight -= 1;
        cursor.ahead.insert(sequence);
        // Whatever lies before the oldest that still waits has been acknowledged or dropped.
        let bound = cursor.waiting.first().copied().unwrap_or(cursor.next);
        let upto = cursor.ahead.range(..bound).next_back().copied()?;
        cursor.ahead = cursor.ahead.split_off(&(upto + 1));
        Some(upto)
    }

    /// The connection is lost: what was not acknowledged is sent again, in order.
    pub(crate) fn lost(&mut self) {
        for cursor in self.queues.values_mut() {
            if let Some(&first) = cursor.waiting.first() {
                cursor.next = first;
                cursor.waiting.clear();
                cursor.ahead.clear();
            }
        }
        self.in_flight = 0;
    }
}
