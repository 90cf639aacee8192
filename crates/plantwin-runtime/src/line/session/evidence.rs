//! What speaks against a device.
//!
//! Only hard evidence confines it: bytes that nobody with its keys can have made, in a burst; its
//! key used after it was revoked; its name claimed with other keys; a value that its digest does
//! not fit. A single forged envelope is
//! noise of the network, and an anomaly of its values is none of this. Absent: judging values.

use std::{collections::VecDeque, time::Duration};

use plantwin_model::Timestamp;

/// This many forged envelopes...
const BURST: usize = 32;
/// ... within this time are a burst.
const WITHIN: Duration = Duration::from_secs(10);
/// Proofs that failed in a row in a way that no honest device's can.
const FALSE_PROOFS: u32 = 5;

/// The record of one device.
#[derive(Default, Debug)]
pub(in crate::line) struct Evidence {
    forged: VecDeque<Timestamp>,
    false_proofs: u32,
    verdict: Option<String>,
    complaint: Option<&'static str>,
}

impl Evidence {
    /// An envelope came that was not sealed with the session's keys.
    pub(super) fn forged(&mut self, now: Timestamp) {
        self.forged.push_back(now);
        while self.forged.front().is_some_and(|first| now.since(*first) > WITHIN) {
            self.forged.pop_front();
        }
        if self.forged.len() >= BURST {
            self.forged.clear();
            let seconds = WITHIN.as_secs();
            self.verdict = Some(format!("{BURST} forged envelopes within {seconds} s"));
        }
    }

    /// A value came that is not what the digest with it says.
    pub(super) fn misfit(&mut self, why: String) {
        self.verdict = Some(why);
    }

    /// The device did not prove who it is, for the reason of this code.
    pub(super) fn refused(&mut self, code: &str) {
        match code {
            "revoked" => self.verdict = Some("a revoked key was used".to_owned()),
            "already_enrolled" | "key_in_use" => {
                self.verdict = Some("its name was claimed with other keys".to_owned());
            }
            // The last: another key used the voucher that this one shows.
            "token_forged" | "psk_mismatch" | "no_possession" | "wrong_key" | "voucher_used" => {
                self.false_proofs += 1;
                if self.false_proofs >= FALSE_PROOFS {
                    self.false_proofs = 0;
                    self.verdict = Some(format!("{FALSE_PROOFS} false proofs in a row"));
                }
            }
            _ => {}
        }
    }

    /// The device proved who it is.
    pub(super) const fn proved(&mut self) {
        self.false_proofs = 0;
    }

    /// Authentic, and of no use: a misfit and no attack.
    pub(super) const fn unreadable(&mut self, why: &'static str) {
        self.complaint = Some(why);
    }

    /// Why the device is to be confined, if it is; told once.
    pub(in crate::line) fn verdict(&mut self) -> Option<String> {
        self.verdict.take()
    }

    /// What does not fit, if anything; told once.
    pub(in crate::line) const fn complaint(&mut self) -> Option<&'static str> {
        self.complaint.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_burst_of_forged_envelopes_is_evidence_and_as_many_over_hours_are_not() {
        let mut slow = Evidence::default();
        for i in 0..1_000 {
            slow.forged(at(i * 1_000));
        }
        assert_eq!(slow.verdict(), None);
        let mut fast = Evidence::default();
        for i in 0..i64::try_from(BURST).unwrap() {
            assert_eq!(fast.verdict(), None);
            fast.forged(at(i));
        }
        assert!(fast.verdict().is_some_and(|v| v.contains("forged")));
        assert_eq!(fast.verdict(), None, "told once");
    }

    #[test]
    fn a_revoked_key_in_use_is_evidence_at_once_and_an_expired_token_is_none() {
        let mut evidence = Evidence::default();
        for _ in 0..100 {
            evidence.refused("token_expired");
        }
        assert_eq!(evidence.verdict(), None);
        evidence.refused("revoked");
        assert!(evidence.verdict().is_some());
    }

    #[test]
    fn false_proofs_count_only_in_a_row() {
        let mut evidence = Evidence::default();
        for _ in 0..FALSE_PROOFS - 1 {
            evidence.refused("token_forged");
        }
        evidence.proved();
        evidence.refused("token_forged");
        assert_eq!(evidence.verdict(), None);
        for _ in 0..FALSE_PROOFS {
            evidence.refused("psk_mismatch");
        }
        assert!(evidence.verdict().is_some());
    }
}
