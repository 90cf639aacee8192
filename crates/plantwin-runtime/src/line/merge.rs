//! Many frames made one: for each point the newest value.
//!
//! Lane T0 promises the latest value, so while the twin has no room a newer value replaces an
//! older one of its point, and what waits never grows beyond one value a point. A merged frame
//! bears the newest sequence number; the jump is no loss, and nobody takes it for one: only
//! durable values, which are never merged, are judged by their sequence. Absent: where it waits.

use plantwin_adapter::{Frame, Sample, TrafficSnapshot};
use plantwin_model::{Flaw, Quality, Timestamp};
use plantwin_twin::{FrameMail, MAX_RECEIPTS};

/// Puts a newer frame into one that waits. Returns how many values were replaced.
pub(super) fn merge(waiting: &mut FrameMail, newer: FrameMail) -> u64 {
    // Digests travel with values that are recorded, and those are never merged.
    waiting.origin.clear();
    waiting.replaced &= newer.replaced;
    waiting.traffic = sum(waiting.traffic, newer.traffic);
    let (older, newer) = (&mut waiting.frame, newer.frame);
    if is_repetition(older, &newer) {
        return newer.samples.len() as u64;
    }
    if older.received != newer.received {
        // From now on the frame says when the newest was received: the others say it themselves.
        let received = older.received;
        for sample in older.samples.iter_mut().filter(|s| !is_past(s)) {
            sample.source_time.get_or_insert(received);
        }
    }
    older.received = newer.received;
    older.sequence = newer.sequence.or(older.sequence);
    let mut replaced = 0;
    for sample in newer.samples {
        match older.samples.iter_mut().find(|s| s.point == sample.point) {
            Some(waiting) => {
                replaced += 1;
                // A word of the past does not replace a live one.
                if !is_past(&sample) || is_past(waiting) {
                    *waiting = sample;
                }
            }
            None => older.samples.push(sample),
        }
    }
    replaced
}

/// Whether the newer one was told before or overtaken, as far as can be seen from here: a number
/// far below is of a device that counts anew.
fn is_repetition(older: &Frame, newer: &Frame) -> bool {
    let source = |frame: &Frame| -> Option<Timestamp> {
        frame.samples.iter().filter_map(|s| s.source_time).max()
    };
    matches!((older.sequence, newer.sequence), (Some(o), Some(n)) if n <= o && o - n < MAX_RECEIPTS as u64)
        && source(newer).is_none_or(|n| source(older).is_some_and(|o| n <= o))
}

fn is_past(sample: &Sample) -> bool {
    sample.quality == Quality::Uncertain(Flaw::Stale)
}

fn sum(a: TrafficSnapshot, b: TrafficSnapshot) -> TrafficSnapshot {
    TrafficSnapshot {
        up_bytes: a.up_bytes + b.up_bytes,
        up_packets: a.up_packets + b.up_packets,
        down_bytes: a.down_bytes + b.down_bytes,
        down_packets: a.down_packets + b.down_packets,
    }
}

/// What was counted since `counted`, which moves up to `now`.
pub(super) fn since(counted: &mut TrafficSnapshot, now: TrafficSnapshot) -> TrafficSnapshot {
    let before = std::mem::replace(counted, now);
    TrafficSnapshot {
        up_bytes: now.up_bytes.saturating_sub(before.up_bytes),
        up_packets: now.up_packets.saturating_sub(before.up_packets),
        down_bytes: now.down_bytes.saturating_sub(before.down_bytes),
        down_packets: now.down_packets.saturating_sub(before.down_packets),
    }
}
