//! Who guessed wrong too often waits.
//!
//! Counted by the asker's number at the operating system, which nobody chooses: whoever guesses
//! locks nobody else out, and learns nothing of which names there are. Absent: judging passphrases.

use std::{collections::BTreeMap, time::Duration};

use plantwin_model::Timestamp;

/// Wrong passphrases in a row after which the asker must wait.
const TRIES: u32 = 5;
/// For how long first; each further one doubles it.
const LOCKED: Duration = Duration::from_mins(1);
/// And at most.
const LONGEST: Duration = Duration::from_hours(1);
/// Askers that are counted: beyond it the one that was quiet for longest is forgotten.
const ASKERS: usize = 1024;

/// Wrong passphrases by asker.
#[derive(Debug, Default)]
pub(super) struct Lockout(BTreeMap<u32, (u32, Timestamp)>);

fn wait(wrong: u32) -> Duration {
    let Some(doublings) = wrong.checked_sub(TRIES) else { return Duration::ZERO };
    LOCKED.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST)
}

impl Lockout {
    /// How long this asker still has to wait, if at all.
    pub(super) fn left(&self, uid: u32, now: Timestamp) -> Option<Duration> {
        let (wrong, last) = self.0.get(&uid)?;
        let left = wait(*wrong).saturating_sub(now.since(*last));
        (!left.is_zero()).then_some(left)
    }

    /// This asker was wrong once more. Who was quiet for twice as long as the wait begins anew; who
    /// was right in between does not, or guessing another's passphrase would cost nothing.
    pub(super) fn wrong(&mut self, uid: u32, now: Timestamp) {
        if self.0.len() >= ASKERS && !self.0.contains_key(&uid) {
            let quiet = self.0.iter().min_by_key(|(_, (_, last))| *last).map(|(uid, _)| *uid);
            quiet.and_then(|uid| self.0.remove(&uid));
        }
        let (wrong, last) = self.0.entry(uid).or_insert((0, now));
        if now.since(*last) > 2 * wait(*wrong).max(LOCKED) {
            *wrong = 0;
        }
        (*wrong, *last) = (wrong.saturating_add(1), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    #[test]
    fn five_wrong_ones_lock_their_asker_out_and_nobody_else_and_each_further_one_for_longer() {
        let mut lockout = Lockout::default();
        for second in 0..4 {
            lockout.wrong(7, at(second));
            assert_eq!(lockout.left(7, at(second)), None);
        }
        lockout.wrong(7, at(4));
        assert_eq!(lockout.left(7, at(4)), Some(LOCKED));
        assert_eq!(lockout.left(8, at(4)), None);
        assert_eq!(lockout.left(7, at(64)), None);
        lockout.wrong(7, at(64));
        assert_eq!(lockout.left(7, at(64)), Some(2 * LOCKED));
        for n in 0..20 {
            lockout.wrong(7, at(200 + n));
        }
        assert_eq!(lockout.left(7, at(219)), Some(LONGEST));
        // After a long quiet it begins anew.
        lockout.wrong(7, at(20_000));
        assert_eq!(lockout.left(7, at(20_000)), None);
    }

    #[test]
    fn however_many_ask_the_table_stays_bounded() {
        let mut lockout = Lockout::default();
        for uid in 0..5_000 {
            lockout.wrong(uid, at(i64::from(uid)));
        }
        assert_eq!(lockout.0.len(), ASKERS);
        assert!(lockout.0.contains_key(&4_999));
    }
}
