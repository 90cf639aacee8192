//! Values out of envelopes that are not confirmed yet.
//!
//! An envelope opens once. If its connection breaks before its values are safe it comes again, and
//! then it is known by its hash: the values go to the twin once more, which tells whether it has
//! them, and are confirmed when they are safe. Absent: opening envelopes (the session), receipts.

use std::collections::BTreeMap;

use plantwin_twin::MAX_RECEIPTS;

use super::session::OpenedFrame;

/// Values of earlier connections that are kept: twice what can be under way.
const LIMIT: usize = 2 * MAX_RECEIPTS;

/// Tells one envelope from another.
pub(super) type Mark = [u8; 32];

/// The mark of an envelope.
pub(super) fn mark(envelope: &[u8]) -> Mark {
    plantwin_seal::hash(&[b"plantwin v1 envelope", envelope])
}

/// What was opened and is not confirmed.
#[derive(Default)]
pub(super) struct Unconfirmed {
    /// On this connection, by our receipt.
    here: BTreeMap<u64, (Mark, OpenedFrame)>,
    /// On earlier ones.
    before: BTreeMap<Mark, OpenedFrame>,
}

impl Unconfirmed {
    /// Values with this receipt are on their way to the twin.
    pub(super) fn add(&mut self, receipt: u64, mark: Mark, opened: OpenedFrame) {
        self.here.insert(receipt, (mark, opened));
    }

    /// They are safe.
    pub(super) fn confirmed(&mut self, receipt: u64) {
        self.here.remove(&receipt);
    }

    /// The twin let them go: they come again over the next connection.
    pub(super) fn let_go(&mut self, receipt: u64) {
        if let Some((mark, opened)) = self.here.remove(&receipt) {
            self.keep(mark, opened);
        }
    }

    /// The connection is gone.
    pub(super) fn broke(&mut self) {
        for (mark, opened) in std::mem::take(&mut self.here).into_values() {
            self.keep(mark, opened);
        }
    }

    /// The values of an envelope that was opened on an earlier connection.
    pub(super) fn again(&mut self, mark: &Mark) -> Option<OpenedFrame> {
        self.before.remove(mark)
    }

    /// What was opened so far is not to be believed any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn keep(&mut self, mark: Mark, opened: OpenedFrame) {
        self.before.insert(mark, opened);
        if self.before.len() > LIMIT {
            self.before.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use plantwin_adapter::Frame;
    use plantwin_model::Timestamp;

    use super::*;

    fn values(sequence: u64) -> OpenedFrame {
        let received = Timestamp::from_millis(1_000);
        let frame = Frame { received, sequence: Some(sequence), samples: [].into_iter().collect() };
        frame.into()
    }

    fn sequence(opened: Option<OpenedFrame>) -> Option<u64> {
        opened.and_then(|opened| opened.frame.sequence)
    }

    #[test]
    fn what_was_not_confirmed_when_the_connection_broke_is_known_again_once() {
        let mut kept = Unconfirmed::default();
        let marks = [b"one", b"two", b"thr"].map(|envelope| mark(envelope));
        for (receipt, mark) in (1..).zip(marks) {
            kept.add(receipt, mark, values(receipt));
        }
        kept.confirmed(1);
        kept.let_go(2);
        assert!(kept.again(&marks[2]).is_none(), "its connection stands");
        kept.broke();
        assert_eq!(sequence(kept.again(&marks[0])), None, "it is safe");
        assert_eq!(sequence(kept.again(&marks[1])), Some(2));
        assert_eq!(sequence(kept.again(&marks[1])), None);
        kept.add(4, marks[1], values(2));
        kept.broke();
        assert_eq!(sequence(kept.again(&marks[1])), Some(2), "over a second break as well");
        assert_eq!(sequence(kept.again(&marks[2])), Some(3));
    }

    #[test]
    fn what_is_kept_is_bounded_and_forgotten_when_the_device_is_confined() {
        let mut kept = Unconfirmed::default();
        for n in 0..10 * LIMIT as u64 {
            kept.add(n, mark(&n.to_le_bytes()), values(n));
            kept.broke();
        }
        assert_eq!(kept.before.len(), LIMIT);
        kept.add(1, mark(b"one"), values(1));
        kept.forget();
        kept.broke();
        assert!(kept.before.is_empty() && kept.again(&mark(b"one")).is_none());
    }
}
