//! What a device keeps, and what it sends again.

use plantwin_adapter::{Measurement, print};

use super::*;
use crate::kept::Kept;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
/// Long enough for the gateway's word.
const LATER: Timestamp = Timestamp::from_millis(1_030_000);
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
fn send(kept: &mut Kept, way: u16, newest: u64, now: Timestamp) -> Vec<u64> {
    let mut sent = Vec::new();
    while let Some(sequence) = kept.next(way, newest, now).map(|frame| frame.sequence) {
        sent.push(sequence);
        if !kept.sent(way, sequence) {
            break;
        }
    }
    sent
}

fn received(kept: &mut Kept, after: u64, again: bool) {
    kept.received(WAY, Some((after, said(&frame(after)))), again, said);
}

#[test]
fn what_was_measured_without_a_session_is_sent_with_the_next_in_order_and_once() {
    let mut kept = kept(100, 1..=5);
    assert_eq!(send(&mut kept, WAY, 5, NOW), [1, 2, 3, 4, 5]);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, 6, NOW), [6]);
    assert_eq!(send(&mut kept, WAY, 6, NOW), [0; 0]);
}

#[test]
fn a_gateway_that_was_started_anew_gets_what_came_after_its_record_and_nothing_before_its_word() {
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, 5, NOW);
    kept.session_up(WAY, false, NOW);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, 6, NOW), [0; 0], "its word would come too late");
    received(&mut kept, 3, true);
    assert_eq!(send(&mut kept, WAY, 6, NOW), [4, 5, 6]);
    // A gateway that says nothing does not stop the device for ever.
    kept.session_up(WAY, false, NOW);
    kept.add(&frame(7));
    assert_eq!(send(&mut kept, WAY, 7, NOW), [0; 0]);
    assert_eq!(send(&mut kept, WAY, 7, LATER), [7]);
}

#[test]
fn a_session_that_continues_the_one_before_sends_nothing_twice() {
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, 5, NOW);
    kept.session_up(WAY, true, NOW);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, 6, NOW), [6]);
    received(&mut kept, 4, false);
    assert_eq!(send(&mut kept, WAY, 6, NOW), [0; 0]);
}

#[test]
fn the_word_of_another_count_hides_nothing() {
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, 5, NOW);
    // The device counts anew since then: another frame had that number.
    kept.received(WAY, Some((3, said(&frame(77)))), true, said);
    assert_eq!(send(&mut kept, WAY, 5, NOW), [1, 2, 3, 4, 5]);
    kept.received(WAY, Some((900, said(&frame(900)))), true, said);
    assert_eq!(send(&mut kept, WAY, 5, NOW), [1, 2, 3, 4, 5]);
    kept.received(WAY, None, true, said);
    assert_eq!(send(&mut kept, WAY, 5, NOW), [1, 2, 3, 4, 5], "it has nothing on record");
}

#[test]
fn what_is_on_record_is_let_go_but_for_what_the_gateway_may_still_lose() {
    let mut kept = kept(1_000, 1..=400);
    send(&mut kept, WAY, 400, NOW);
    received(&mut kept, 400, false);
    // It was killed before the last of them were on its disk.
    received(&mut kept, 300, true);
    assert_eq!(send(&mut kept, WAY, 400, NOW), (301..=400).collect::<Vec<_>>());
    received(&mut kept, 1, true);
    let left = send(&mut kept, WAY, 400, NOW);
    assert_eq!(left, (272..=400).collect::<Vec<_>>(), "what is further back was on record");
}

#[test]
fn more_than_may_be_kept_costs_the_oldest_and_is_counted() {
    let mut kept = kept(3, 1..=5);
    assert_eq!(kept.let_go(), 2);
    assert_eq!(send(&mut kept, WAY, 5, NOW), [3, 4, 5]);
}

#[test]
fn another_way_carries_what_is_newest_and_nothing_while_the_first_catches_up() {
    let mut kept = kept(100, 1..=1);
    assert_eq!(send(&mut kept, OTHER, 1, NOW), [1]);
    assert_eq!(send(&mut kept, WAY, 1, NOW), [1], "each way carries it");
    kept.failed(WAY, 1);
    kept.add(&frame(2));
    assert_eq!(send(&mut kept, OTHER, 2, NOW), [0; 0]);
    assert_eq!(send(&mut kept, WAY, 2, NOW), [1, 2]);
    assert_eq!(send(&mut kept, OTHER, 2, NOW), [2]);
    // The gateway changes its way in the middle of it.
    kept.failed(WAY, 1);
    kept.session_up(OTHER, true, NOW);
    assert_eq!(send(&mut kept, WAY, 2, NOW), [0; 0]);
    assert_eq!(send(&mut kept, OTHER, 2, NOW), [1, 2]);
}

#[test]
fn what_could_not_be_sent_and_all_behind_it_is_sent_later() {
    let mut kept = kept(100, 1..=5);
    send(&mut kept, WAY, 5, NOW);
    kept.failed(WAY, 3);
    kept.add(&frame(6));
    assert_eq!(send(&mut kept, WAY, 6, NOW), [3, 4, 5, 6]);
}
