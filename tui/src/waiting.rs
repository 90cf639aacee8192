//! Words for what waits: durable telemetry in the spool, its way out, letters set aside, lanes.
//!
//! Screens and line mode share them. Absent: drawing.

use std::fmt::Write as _;

use plantwin_model::{LaneView, NorthboundView, SetAsideView, SpoolView};

use crate::text::{bytes, count, hours};

/// Below this many hours to its bound a spool is abnormal: a shift can no longer see to it.
const FEW_HOURS: f64 = 1.0;

/// From this share of its bound on a spool is abnormal (the upper watermark of overload).
const FULL: f64 = 0.9;

/// Names of the lanes, the most urgent first.
const LANES: [&str; 4] = ["alarm", "command", "durable", "latest"];

/// Whether the spool comes near its bound.
pub(crate) fn is_tight(spool: &SpoolView) -> bool {
    let share = spool.bytes as f64 / spool.capacity.max(1) as f64;
    share >= FULL || spool.hours_left.is_some_and(|h| h < FEW_HOURS)
}

/// `1,204 rec  3.1 MiB of 4.0 GiB  19 h left  12 dropped`; what is not so is left out.
pub(crate) fn spool_words(spool: &SpoolView) -> String {
    let mut out = format!(
        "{} rec  {} of {}",
        count(spool.records),
        bytes(spool.bytes),
        bytes(spool.capacity)
    );
    if let Some(left) = spool.hours_left {
        out.push_str("  ");
        out.push_str(&hours(left));
        out.push_str(" left");
    }
    if spool.dropped > 0 {
        let _ = write!(out, "  {} dropped", count(spool.dropped));
    }
    out
}

/// `UP` or `DOWN`.
pub(crate) const fn up_word(northbound: &NorthboundView) -> &'static str {
    if northbound.up { "UP" } else { "DOWN" }
}

/// ` (reason)`, or nothing where there is none.
pub(crate) fn reason_words(northbound: &NorthboundView) -> String {
    match northbound.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    }
}

/// `letter 3 (latest): what it says; the panic`.
pub(crate) fn letter_words(letter: &SetAsideView) -> String {
    format!("letter {} ({}): {}; {}", letter.id, letter.lane, letter.text, letter.panic)
}

/// One text a lane: `durable 3 (2 shed, 1 refused)`; what never happened is left out.
pub(crate) fn lane_words(lanes: &[LaneView; 4]) -> [String; 4] {
    std::array::from_fn(|i| {
        let lane = &lanes[i];
        let happened: Vec<_> =
            [(lane.coalesced, "coalesced"), (lane.shed, "shed"), (lane.refused, "refused")]
                .into_iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, word)| format!("{} {word}", count(n)))
                .collect();
        let depth = count(u64::from(lane.depth));
        match happened.as_slice() {
            [] => format!("{} {depth}", LANES[i]),
            some => format!("{} {depth} ({})", LANES[i], some.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_is_tight_when_little_time_or_little_room_is_left() {
        let spool = SpoolView { bytes: 50, capacity: 100, ..SpoolView::default() };
        assert!(!is_tight(&spool));
        assert!(!is_tight(&SpoolView { hours_left: Some(1.5), ..spool }));
        assert!(is_tight(&SpoolView { hours_left: Some(0.5), ..spool }));
        assert!(is_tight(&SpoolView { bytes: 90, ..spool }));
        assert!(!is_tight(&SpoolView::default()), "a spool of nothing is not full");
    }

    #[test]
    fn a_lane_names_only_what_happened_in_it() {
        let mut lanes = [LaneView::default(); 4];
        lanes[2] = LaneView { depth: 3, coalesced: 0, shed: 2, refused: 1 };
        lanes[3] = LaneView { depth: 1_000, coalesced: 12_345, shed: 0, refused: 0 };
        assert_eq!(
            lane_words(&lanes),
            [
                "alarm 0",
                "command 0",
                "durable 3 (2 shed, 1 refused)",
                "latest 1,000 (12,345 coalesced)"
            ]
        );
    }
}
