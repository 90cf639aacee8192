//! The book of lane A: an alarm that was shown and that nobody acknowledged is there after every
//! restart, until somebody does.
//!
//! Absent: asking for the status, acknowledging.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// From its start a plant may take this long to show the alarms of earlier runs, seconds.
pub(super) const SHOWN_WITHIN_S: f64 = 10.0;
const KEPT: usize = 20;

/// Totals for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Alarms seen that nobody had acknowledged: each is held against the plant from there on.
    pub(super) seen: u64,
    /// Acknowledgements sent.
    pub(super) acknowledged: u64,
    /// Times that an alarm was there again after a restart.
    pub(super) held: u64,
    /// Times that one was not, or was shown as acknowledged though nobody did.
    pub(super) lost: u64,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// Alarms that must be there, with when they were raised.
    must: BTreeMap<String, String>,
    /// Acknowledged in this life, with when they were raised: until the next one the plant may still show them as they were,
    /// and the word may have met an alarm that was raised again meanwhile.
    under_way: BTreeMap<String, String>,
    /// Those that were under way when the plant was killed: they may have been taken.
    perhaps: BTreeMap<String, String>,
    /// Of those that must be there, not shown yet in this life.
    awaited: BTreeSet<String>,
    totals: Totals,
    problems: Vec<String>,
}

impl Alarms {
    /// The plant was started again.
    pub(super) fn new_life(&mut self) {
        self.perhaps.append(&mut self.under_way);
        self.awaited = self.must.keys().cloned().collect();
    }

    /// A status of the plant `plant`. Its own alarms (not those of its twins) are left out: they
    /// tell of the process, and end with it.
    pub(super) fn status(&mut self, plant: &str, status: &Value) {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let mut shown = BTreeMap::new();
        for alarm in status["alarms"].as_array().into_iter().flatten() {
            let id = text(&alarm["id"]);
            if alarm["twin"] != plant && !id.ends_with(".gave_up") {
                shown.insert(id, (text(&alarm["state"]), text(&alarm["raised"])));
            }
        }
        for id in self.must.keys().cloned().collect::<Vec<_>>() {
            match shown.get(&id) {
                // What the log told first may be older than what the twin had saved.
                Some((state, _))
                    if state == "acknowledged" && self.perhaps.remove(&id).is_some() =>
                {
                    self.must.remove(&id);
                    self.awaited.remove(&id);
                }
                Some((state, _)) if state == "acknowledged" => {
                    self.lose(&id, "was acknowledged, by nobody");
                }
                Some(_) => self.totals.held += u64::from(self.awaited.remove(&id)),
                // It was taken, and the alarm had returned: such a one is not shown.
                None if self
                    .perhaps
                    .get(&id)
                    .is_some_and(|raised| self.must.get(&id) == Some(raised)) =>
                {
                    self.perhaps.remove(&id);
                    self.must.remove(&id);
                    self.awaited.remove(&id);
                }
                None if !self.awaited.contains(&id) => self.lose(&id, "went away"),
                None if status["uptime_s"].as_f64().is_some_and(|up| up > SHOWN_WITHIN_S) => {
                    self.lose(&id, "did not come back");
                }
                None => {}
            }
        }
        for (id, (state, raised)) in shown {
            if state == "acknowledged" || self.under_way.contains_key(&id) {
                continue;
            }
            self.totals.seen += u64::from(self.must.get(&id) != Some(&raised));
            self.must.insert(id, raised);
        }
    }

    fn lose(&mut self, id: &str, how: &str) {
        let raised = self.must.remove(id).unwrap_or_default();
        self.awaited.remove(id);
        self.totals.lost += 1;
        if self.problems.len() < KEPT {
            self.problems.push(format!("{id} of {raised} {how}"));
        }
    }

    /// An alarm that may be acknowledged, by chance.
    pub(super) fn any(&self, chance: u64) -> Option<String> {
        let place = chance.checked_rem(self.must.len() as u64)?;
        self.must.keys().nth(place as usize).cloned()
    }

    /// To be called before an acknowledgement is sent: from here on nothing is sure of it.
    pub(super) fn acknowledging(&mut self, id: &str) {
        let raised = self.must.remove(id).unwrap_or_default();
        self.under_way.insert(id.to_owned(), raised);
        self.totals.acknowledged += 1;
        self.awaited.remove(id);
    }

    /// Whether all that must be there has been shown in this life.
    pub(super) fn all_shown(&self) -> bool {
        self.awaited.is_empty()
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals.clone()
    }
}
