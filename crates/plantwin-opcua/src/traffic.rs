//! Bytes of a played device, computed from the messages sent on its behalf.
//!
//! The server library hands a bare TCP stream to private code, so a server cannot count at the
//! socket. These are the lengths of its messages under security `none` (OPC UA Part 6, 5.2 and
//! 6.7): what every subscriber gets per measurement with the publish request that fetched it,
//! every write and every exchange. Absent: connecting, keep-alives, signatures and padding,
//! which only the link's counters contain.

use plantwin_adapter::Traffic;

/// Chunk header 12, token id 4, sequence header 8, type id 4.
const HEADERS: usize = 28;
/// Request header with an opaque authentication token of 32 bytes.
const REQUEST: usize = HEADERS + 66;
/// Response header.
const RESPONSE: usize = HEADERS + 24;

/// A publish response with `items` changes, of which `bad` bear a status code.
///
/// Subscription, available sequence numbers, more, sequence, time, notification 46; results 12;
/// a change is handle 4, mask 1, variant 9, source time 8.
const fn notification(items: usize, bad: usize) -> usize {
    RESPONSE + 58 + items * 22 + bad * 4
}

/// Bytes by which an envelope is longer than a number: length 4 and the bytes instead of 8.
pub(crate) const fn beyond_a_number(envelope: usize) -> usize {
    envelope.saturating_sub(4)
}

/// Counts one measurement sent to `subscribers` as `items` changes in all, which have `more`
/// bytes than as many numbers.
pub(crate) fn count_notification(
    traffic: &Traffic,
    subscribers: usize,
    items: usize,
    bad: usize,
    more: usize,
) {
    for nth in 0..subscribers {
        // The remainder goes to the first, so that the sum is exact.
        let share = |n: usize| n / subscribers + if nth == 0 { n % subscribers } else { 0 };
        traffic.up(notification(share(items), share(bad)) + share(more));
        // Publish request with one acknowledgement.
        traffic.down(REQUEST + 12);
    }
}

/// Counts a write of one number and its answer.
pub(crate) fn count_write(traffic: &Traffic, node_name: usize) {
    // Array 4; node id 7 + name, attribute 4, range 4, mask 1, variant 9.
    traffic.down(REQUEST + 4 + 25 + node_name);
    traffic.up(RESPONSE + 12);
}

/// Counts a call with `request` bytes in and `answer` bytes out.
pub(crate) fn count_exchange(traffic: &Traffic, names: usize, request: usize, answer: usize) {
    // Array 4; two node ids 7 + name; arguments 4, variant 5.
    traffic.down(REQUEST + 4 + 14 + names + 9 + request);
    // Array 4; status 4, two empty arrays 8, outputs 4, variant 5; diagnostics 4.
    traffic.up(RESPONSE + 29 + answer);
}
