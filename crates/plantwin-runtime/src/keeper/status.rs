//! What the keeper tells of itself and of the spool.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use plantwin_model::{DeviceId, SpoolView, Timestamp};

/// Growth of the spool is judged over at least this plant time.
const TREND: Duration = Duration::from_secs(10);

/// Shared with the station and the way out.
#[derive(Debug, Default)]
pub(crate) struct KeeperStatus {
    /// Since when and why the disk fails.
    pub(crate) failing: Option<(Timestamp, String)>,
    /// Whether the log refused anything when it was last asked; and the trees.
    pub(super) log_fails: bool,
    pub(super) trees_fail: bool,
    /// Damage that was found when the store was opened anew, since the station looked.
    pub(crate) damage: Vec<String>,
    pub(crate) saved: u64,
    pub(crate) failures: u64,
    pub(crate) appended: u64,
    pub(crate) telemetry: u64,
    /// All devices together.
    pub(crate) total: Trend,
    pub(crate) queues: BTreeMap<DeviceId, Trend>,
    /// Devices whose queue changed since the station looked.
    pub(crate) changed: BTreeSet<DeviceId>,
    /// Devices with new records on the disk since the way out looked, and the first record of
    /// each that is not known to be there: it must not be sent.
    pub(crate) safe: BTreeMap<DeviceId, u64>,
}

/// A queue now, and how it grows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trend {
    pub(crate) view: SpoolView,
    before: Option<(Timestamp, u64)>,
}

impl Trend {
    /// Takes the counts of a queue; judges its growth from time to time.
    pub(crate) fn update(&mut self, mut view: SpoolView, now: Timestamp) {
        view.hours_left = self.view.hours_left;
        match self.before {
            None => self.before = Some((now, view.bytes)),
            Some((then, bytes)) if now.since(then) >= TREND => {
                let grown = view.bytes.saturating_sub(bytes);
                let per_hour = grown as f64 / now.since(then).as_secs_f64() * 3600.0;
                let room = view.capacity.saturating_sub(view.bytes) as f64;
                view.hours_left = (grown > 0).then(|| room / per_hour);
                self.before = Some((now, view.bytes));
            }
            Some(_) => {}
        }
        self.view = view;
    }
}
