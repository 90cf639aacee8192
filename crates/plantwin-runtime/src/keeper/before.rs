//! What the store held last, when all of it was safe, of what is written together with telemetry.
//!
//! Telemetry that a failed flush left behind is taken out of the spool before it is written again.
//! The record of which frames were received must not outlive it, not even for a moment: a crash
//! then would leave frames on record that are nowhere, and the device's repetition of them would be
//! taken for known. So the records go back first. sled keeps of its log a beginning without gaps:
//! who finds the telemetry gone finds the record gone as well. The price is that a crash in between
//! may put a value in twice. Absent: the spool's own part of it ([`plantwin_store::Spool::reopen`]).

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use plantwin_model::DeviceId;
use plantwin_store::{Store, StoreError, Tree, Write};

use super::queue::{DurableJob, Group};
use crate::assembly::{RECORDED, TWINS};

/// By tree and device; `None` where nothing stood.
#[derive(Default)]
pub(super) struct Before(BTreeMap<(Tree, DeviceId), Option<Vec<u8>>>);

impl Before {
    /// This group is about to be written: notes what it replaces, unless an attempt before did. What
    /// cannot be read is as good as none: the writing finds that out, and knows how to mend it.
    pub(super) fn note(&mut self, store: &dyn Store, group: &Group) {
        let telling = |job: &DurableJob| match job {
            DurableJob::Telemetry { device, .. } => Some(device.clone()),
            DurableJob::Again { .. } | DurableJob::Letter { .. } => None,
        };
        let devices: BTreeSet<DeviceId> = group.durable.iter().filter_map(telling).collect();
        for device in devices {
            for tree in [RECORDED, TWINS] {
                if let Entry::Vacant(place) = self.0.entry((tree, device.clone())) {
                    place.insert(store.get(tree, device.as_str()).unwrap_or_default());
                }
            }
        }
    }

    /// Puts back what stood there.
    pub(super) fn restore(&self, store: &dyn Store) -> Result<(), StoreError> {
        for tree in [RECORDED, TWINS] {
            let of_tree = self.0.iter().filter(|((of, _), _)| *of == tree);
            let write = |((_, device), held): (&'_ (Tree, DeviceId), &'_ Option<Vec<u8>>)| {
                (device.clone(), held.clone())
            };
            let held: Vec<_> = of_tree.map(write).collect();
            let writes: Vec<_> = held
                .iter()
                .map(|(device, held)| match held {
                    Some(bytes) => Write::Put(device.as_str(), bytes),
                    None => Write::Delete(device.as_str()),
                })
                .collect();
            if !writes.is_empty() {
                store.put_batch(tree, &writes)?;
            }
        }
        Ok(())
    }

    /// All that was written is safe.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
