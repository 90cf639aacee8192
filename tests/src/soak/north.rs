//! The book beyond the way out: every record that is missing there must be inside a gap record.
//!
//! The spool numbers the records of a device without holes, over restarts of the plant as well;
//! a gap record bears the number of the last record that it stands for. Absent: order and
//! content, which the kill loops check.

use std::collections::BTreeMap;

use serde_json::Value;

/// Ranges of numbers that arrived or were accounted for, by their end: few, since they merge.
#[derive(Debug, Default)]
struct Seen(BTreeMap<u64, u64>);

impl Seen {
    /// Takes `first..=last` in.
    fn take(&mut self, mut first: u64, mut last: u64) {
        loop {
            // The first range that ends at or after what touches ours.
            let touching = self.0.range(first.saturating_sub(1)..).next().map(|(&e, &b)| (b, e));
            match touching {
                Some((begin, end)) if begin <= last + 1 => {
                    self.0.remove(&end);
                    (first, last) = (first.min(begin), last.max(end));
                }
                _ => break,
            }
        }
        self.0.insert(last, first);
    }

    fn holes(&self) -> u64 {
        let covered: u64 = self.0.iter().map(|(end, begin)| end - begin + 1).sum();
        self.0.last_key_value().map_or(0, |(end, _)| end - covered)
    }
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct North {
    devices: BTreeMap<String, Seen>,
    /// Records that arrived, repetitions included.
    pub(super) records: u64,
    /// Records inside gap records.
    pub(super) in_gaps: u64,
    /// Values that plantwin says never reached it: a broker that dies loses what lay in it.
    pub(super) missing: u64,
}

impl North {
    /// A record arrived.
    pub(super) fn arrive(&mut self, device: &str, record: &Value) {
        let Some(last) = record["sequence"].as_u64() else { return };
        let count = record["gap"]["count"].as_u64();
        self.records += 1;
        self.in_gaps += count.unwrap_or(0);
        self.missing += record["missing_before"].as_u64().unwrap_or(0);
        let first = (last + 1).saturating_sub(count.unwrap_or(1));
        if let Some(seen) = self.devices.get_mut(device) {
            seen.take(first, last);
        } else {
            let mut seen = Seen::default();
            seen.take(first, last);
            self.devices.insert(device.to_owned(), seen);
        }
    }

    /// Records below the highest of their device that did not arrive and that no gap accounts
    /// for.
    pub(super) fn unexplained(&self) -> u64 {
        // Numbers begin at 1.
        self.devices.values().map(Seen::holes).sum()
    }
}
