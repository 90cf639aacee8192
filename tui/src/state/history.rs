//! What the console saw of each point, for the trends.
//!
//! A ring of samples a point, by source time, for all twins of a small plant and for the one
//! looked at in a large plant. Absent: anything from before the console was opened; that is the
//! store's.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use plantwin_model::{DeviceId, PlantView, Timestamp, TwinView};

/// Samples kept of a point.
pub(crate) const SAMPLES: usize = 600;

/// Up to this many twins all are recorded (with five points each that is at most 36 MB).
pub(crate) const ALL_UP_TO: usize = 500;

/// A source time this much older than the last one is no late frame: the plant's time was set back.
const SET_BACK: Duration = Duration::from_mins(1);

/// One sample; NaN where there was no value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Sample {
    /// When the device measured it.
    pub(crate) at: Timestamp,
    /// Measured, in the point's unit.
    pub(crate) measured: f64,
    /// What the model foresaw for the same time, in the point's unit.
    pub(crate) predicted: f64,
}

/// Samples by twin and point.
#[derive(Debug, Default)]
pub(crate) struct History {
    twins: HashMap<DeviceId, Vec<VecDeque<Sample>>>,
}

impl History {
    /// Records what changed from `old` to `new`; `watched` is the place of the twin looked at.
    pub(crate) fn record(&mut self, old: &PlantView, new: &PlantView, watched: Option<usize>) {
        if new.twins.len() > ALL_UP_TO {
            match watched.and_then(|ix| new.twins.get(ix)) {
                Some(twin) => {
                    self.twins.retain(|id, _| *id == twin.id);
                    self.add(twin);
                }
                None => self.twins.clear(),
            }
            return;
        }
        for (ix, twin) in new.twins.iter().enumerate() {
            if !old.twins.get(ix).is_some_and(|was| Arc::ptr_eq(was, twin)) {
                self.add(twin);
            }
        }
        if self.twins.len() > new.twins.len() {
            let alive: std::collections::HashSet<_> = new.twins.iter().map(|t| &t.id).collect();
            self.twins.retain(|id, _| alive.contains(id));
        }
    }

    fn add(&mut self, twin: &TwinView) {
        let rings = self.twins.entry(twin.id.clone()).or_default();
        rings.resize_with(twin.points.len(), VecDeque::new);
        for (ring, point) in rings.iter_mut().zip(&twin.points) {
            let (Some(at), Some(measured)) = (point.source_time, point.value) else { continue };
            if point.quality.is_bad() {
                continue;
            }
            match ring.back() {
                // The plant began anew: what was seen belongs to another run.
                Some(last) if last.at.since(at) > SET_BACK => ring.clear(),
                // Seen already, or a late frame; a trend runs forward.
                Some(last) if last.at >= at => continue,
                _ => {}
            }
            if ring.len() == SAMPLES {
                ring.pop_front();
            }
            ring.push_back(Sample { at, measured, predicted: point.predicted.unwrap_or(f64::NAN) });
        }
    }

    /// Samples of a point, oldest first.
    pub(crate) fn of(&self, id: &DeviceId, point: usize) -> Option<&VecDeque<Sample>> {
        self.twins.get(id)?.get(point)
    }
}
