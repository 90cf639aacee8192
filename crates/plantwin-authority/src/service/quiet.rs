//! Keeps a flood of refusals from flooding the audit trail: the first ones of a span are written
//! down, the rest are counted, and the count is written when the span is over.
//!
//! Each gateway has a budget of its own, and so have the first peers that are strangers, so that
//! nobody's refusals hide those of another; further strangers share one. Never hushed: what was
//! done, what failed, and what a person was refused.
//! Absent: a timer. Whoever records asks for [`Quiet::due`] now and then.

use std::{collections::BTreeMap, time::Duration};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};

/// Refusals of one gateway, or of all who share, that are written down in a span.
const EACH: u32 = 32;
/// Those of one stranger.
const EACH_PEER: u32 = 8;
/// Strangers with a budget of their own.
const PEERS: usize = 16;
/// Gateways with one. More are hardly ever admitted.
const GATEWAYS: usize = 1024;
/// The span.
const SPAN: Duration = Duration::from_secs(10);

/// Counts refusals.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    since: Option<Timestamp>,
    told: BTreeMap<String, u32>,
    peers: usize,
    hushed: u64,
}

impl Quiet {
    /// What is to be written down in place of this entry.
    pub(crate) fn filter(&mut self, entry: AuditEntry, now: Timestamp) -> Vec<AuditEntry> {
        if entry.result != AuditResult::Refused || entry.actor.starts_with("user:") {
            return vec![entry];
        }
        let mut out: Vec<_> = self.due(now).into_iter().collect();
        if self.since.is_none_or(|since| is_over(since, now)) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        let (whose, each) = self.budget(&entry);
        let told = self.told.entry(whose).or_default();
        if *told < each {
            *told += 1;
            out.push(entry);
        } else {
            self.hushed += 1;
        }
        out
    }

    /// How many refusals of a span that is over were not written down.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<AuditEntry> {
        self.since.filter(|since| is_over(*since, now)).and_then(|_| self.rest())
    }

    /// The same of a span that goes on: for the end.
    pub(crate) fn rest(&mut self) -> Option<AuditEntry> {
        let hushed = std::mem::take(&mut self.hushed);
        (hushed > 0).then(|| AuditEntry {
            kind: AuditKind::System,
            actor: "plantwin".to_owned(),
            object: "authority".to_owned(),
            result: AuditResult::Refused,
            detail: format!("{hushed} further refusals were not written down"),
        })
    }

    /// Whose budget an entry is written from, and how much that is.
    fn budget(&mut self, entry: &AuditEntry) -> (String, u32) {
        let shared = || (String::new(), EACH);
        // Gateways proved their names; what else stands in an entry may be anybody's invention.
        if entry.actor.starts_with("gateway:") {
            let has_room = self.told.len() < GATEWAYS || self.told.contains_key(&entry.actor);
            return if has_room { (entry.actor.clone(), EACH) } else { shared() };
        }
        if !entry.object.starts_with("peer:") {
            return shared();
        }
        if !self.told.contains_key(&entry.object) {
            if self.peers >= PEERS {
                return shared();
            }
            self.peers += 1;
        }
        (entry.object.clone(), EACH_PEER)
    }
}

/// A clock that was set back must not make a span longer.
fn is_over(since: Timestamp, now: Timestamp) -> bool {
    now.since(since).max(since.since(now)) >= SPAN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(actor: &str, object: &str) -> AuditEntry {
        AuditEntry {
            kind: AuditKind::Session,
            actor: actor.to_owned(),
            object: object.to_owned(),
            result: AuditResult::Refused,
            detail: "no".to_owned(),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn what_one_gateway_is_refused_hides_nothing_of_another_or_of_a_person() {
        let mut quiet = Quiet::default();
        let mut told = 0;
        for _ in 0..1000 {
            told += quiet.filter(refused("gateway:rogue", "tank1"), at(0)).len();
        }
        assert_eq!(told, EACH as usize);
        for _ in 0..100 {
            let approve = refused("user:ruth", "tank1");
            assert_eq!(quiet.filter(approve.clone(), at(1)), [approve]);
        }
        let other = refused("gateway:hall1", "tank1");
        assert_eq!(quiet.filter(other.clone(), at(1)), [other]);
        let failed = AuditEntry { result: AuditResult::Failed, ..refused("gateway:rogue", "x") };
        assert_eq!(quiet.filter(failed.clone(), at(1)), [failed]);
    }

    #[test]
    fn strangers_from_ever_new_addresses_are_told_a_bounded_number_of_times() {
        let mut quiet = Quiet::default();
        let mut told = 0;
        for peer in 0..5000 {
            told += quiet.filter(refused("plantwin", &format!("peer:{}", peer / 20)), at(0)).len();
        }
        assert_eq!(told, PEERS * EACH_PEER as usize + EACH as usize);
        let gateway = refused("gateway:hall1", "tank1");
        assert_eq!(quiet.filter(gateway.clone(), at(0)), [gateway]);
    }

    #[test]
    fn what_was_not_written_down_is_counted_once_its_span_is_over_or_at_the_end() {
        let mut quiet = Quiet::default();
        let flood = |quiet: &mut Quiet, time| {
            for _ in 0..EACH + 5 {
                quiet.filter(refused("gateway:rogue", "tank1"), time);
            }
        };
        let count = |entry: Option<AuditEntry>| entry.map(|e| e.detail);
        let five = Some("5 further refusals were not written down".to_owned());
        flood(&mut quiet, at(0));
        assert_eq!(quiet.due(at(9)), None);
        assert_eq!(count(quiet.due(at(10))), five);
        assert_eq!(quiet.due(at(30)), None);
        flood(&mut quiet, at(40));
        assert_eq!(count(quiet.rest()), five);
        assert_eq!(quiet.rest(), None);
    }
}
