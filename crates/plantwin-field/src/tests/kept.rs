//! What a device keeps, and what it sends again.

use plantwin_adapter::{Measurement, print};

use super::*;
use crate::kept::Kept;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
/// Long enough for the gateway's word.
const LATER: Timestamp = Timestamp::from_millis(1_060_000);
/// The way on which the gateway speaks, and another.
const WAY: u16 = 0;
const OTHER: u16 = 1;

fn frame(sequence: u64) -> Measurement {
    Measurement::good(NOW, sequence, &[sequence as f64])
}

fn said(frame: &Measurement) -> u32 {
    print(&frame.samples)
}

/// A device that measured these and sent none.
fn kept(limit: usize, numbers: std::ops::RangeInclusive<u64>) -> Kept {
    let mut kept = Kept::new(limit);
    numbers.for_each(|n| kept.add(&frame(n)));
    kept
}

/// Sends all that may be sent over a way.
fn send(kept: &mut Kept, way: u16, now: Timestamp) -> Vec<u64> {
    let mut sent = Vec::new();
    while kept.carries(way, now)
        && let Some(sequence) = kept.next().map(|frame| frame.sequence)
    {
        kept.sent(sequence);
        sent.push(sequence);
    }
    sent
}

const NONE: [u64; 0] = [];

fn received(kept: &mut Kept, after: u64) {
    kept.received(WAY, Some((after, said(&frame(after)))), false, said);
}

/// A session is up of a gateway that knows none of those before.
fn restarted(kept: &mut Kept) {
    kept.session_up(WAY, false, NOW);
}

#[test]
fn what_was_measured_without_a_session_is_sent_with_the_next_in_order_and_once() {
    let mut kept = kept(100, 1..=5);
    assert_eq!(send(&mut kept, WAY, NOW), [1, 2, 3, 4, 5]);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, NOW), [6]);
    assert_eq!(send(&mut kept, WAY, NOW), NONE);
}

#[test]
fn a_gateway_that_was_started_anew_gets_what_came_after_its_record_and_nothing_before_its_word() {
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, NOW);
    restarted(&mut kept);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, NOW), NONE, "its word would come too late");
    kept.session_up(WAY, true, NOW);
    assert_eq!(send(&mut kept, WAY, NOW), NONE, "nor with the next session");
    received(&mut kept, 3);
    assert_eq!(send(&mut kept, WAY, NOW), [4, 5, 6]);
    received(&mut kept, 3);
    assert_eq!(send(&mut kept, WAY, NOW), NONE, "the same word once more");
}

#[test]
fn a_gateway_that_says_nothing_does_not_stop_the_device_for_ever_and_what_it_says_then_is_too_late()
{
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, NOW);
    restarted(&mut kept);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, NOW), NONE);
    assert_eq!(send(&mut kept, WAY, LATER), [6]);
    received(&mut kept, 3);
    assert_eq!(send(&mut kept, WAY, LATER), NONE, "nothing older may follow what is newer");
}

#[test]
fn a_session_that_continues_the_one_before_sends_nothing_twice() {
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, NOW);
    kept.session_up(WAY, true, NOW);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, NOW), [6]);
    received(&mut kept, 4);
    assert_eq!(send(&mut kept, WAY, NOW), NONE);
}

#[test]
fn the_word_of_another_count_hides_nothing() {
    for after in [Some((3, said(&frame(77)))), Some((900, said(&frame(900)))), None] {
        let mut kept = kept(100, 1..=5);
        send(&mut kept, WAY, NOW);
        restarted(&mut kept);
        kept.received(WAY, after, false, said);
        assert_eq!(send(&mut kept, WAY, NOW), [1, 2, 3, 4, 5], "{after:?}");
    }
}

#[test]
fn what_is_not_wanted_is_not_sent() {
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, NOW);
    kept.add(&frame(6));
    restarted(&mut kept);
    kept.add(&frame(7));
    kept.received(WAY, Some((3, said(&frame(3)))), true, said);
    assert_eq!(send(&mut kept, WAY, NOW), [7], "measured since then");
    kept.failed(WAY, 7);
    kept.received(WAY, Some((3, said(&frame(3)))), true, said);
    assert_eq!(send(&mut kept, WAY, NOW), [7], "the same word once more discards nothing");
}

#[test]
fn what_is_on_record_is_let_go_but_for_what_the_gateway_may_still_lose() {
    let mut kept = kept(1_000, 1..=400);
    send(&mut kept, WAY, NOW);
    received(&mut kept, 400);
    // It was killed before the last of them were on its disk.
    restarted(&mut kept);
    received(&mut kept, 300);
    assert_eq!(send(&mut kept, WAY, NOW), (301..=400).collect::<Vec<_>>());
    restarted(&mut kept);
    received(&mut kept, 1);
    let left = send(&mut kept, WAY, NOW);
    assert_eq!(left, (272..=400).collect::<Vec<_>>(), "what is further back was on record");
}

#[test]
fn more_than_may_be_kept_costs_the_oldest_and_is_counted_unless_it_was_sent() {
    let mut kept = kept(3, 1..=5);
    assert_eq!(kept.let_go(), 2);
    assert_eq!(send(&mut kept, WAY, NOW), [3, 4, 5]);
    kept.add(&frame(6));
    assert_eq!(kept.let_go(), 2);
}

#[test]
fn the_way_on_which_the_gateway_spoke_last_carries_all_and_the_others_nothing() {
    let mut kept = kept(100, 1..=2);
    assert_eq!(send(&mut kept, OTHER, NOW), NONE);
    assert_eq!(send(&mut kept, WAY, NOW), [1, 2]);
    kept.add(&frame(3));
    // What the first way had taken may never have come.
    kept.session_up(OTHER, true, NOW);
    assert_eq!(send(&mut kept, OTHER, NOW), NONE, "before the gateway's word");
    kept.received(OTHER, Some((1, said(&frame(1)))), false, said);
    assert_eq!(send(&mut kept, WAY, NOW), NONE);
    assert_eq!(send(&mut kept, OTHER, NOW), [2, 3]);
    kept.failed(WAY, 2);
    assert_eq!(send(&mut kept, OTHER, NOW), NONE, "all of it went over the other");
}

#[test]
fn a_wire_that_breaks_costs_what_it_may_have_lost_once_and_no_more() {
    let mut kept = kept(1_000, 1..=500);
    send(&mut kept, WAY, NOW);
    kept.add(&frame(501));
    kept.sent(501);
    for _ in 0..10 {
        // As long as it is down.
        kept.failed(WAY, 501);
        assert_eq!(kept.next().map(|frame| frame.sequence), Some(437), "64 were under way");
        kept.sent(437);
        kept.failed(WAY, 437);
        assert_eq!(kept.next().map(|frame| frame.sequence), Some(437));
        kept.sent(501);
    }
    kept.failed(WAY, 500);
    assert_eq!(send(&mut kept, WAY, NOW), (437..=501).collect::<Vec<_>>());
}
