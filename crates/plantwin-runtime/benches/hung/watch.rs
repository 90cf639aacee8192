//! What the plant's view shows of its twins, phase by phase.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use plantwin_model::{AlarmSource, PlantView, Timestamp, TwinState};

use crate::fleet::hangs;

/// What one twin did in a phase.
#[derive(Clone, Default)]
pub(crate) struct Deeds {
    /// How often it went down, and when first.
    pub(crate) downs: u32,
    pub(crate) down_at: Option<Timestamp>,
    /// How often it came back, and when last.
    pub(crate) ups: u32,
    pub(crate) up_at: Option<Timestamp>,
    /// New reasons while it was down.
    pub(crate) other_reasons: u32,
    /// How often it was out of step without being down.
    pub(crate) out_of_sync: u32,
    /// How often its state changed, whatever to.
    pub(crate) states: u32,
    /// Alarms that it raised of its connection.
    pub(crate) alarms: u32,
    /// Why it went down.
    pub(crate) reason: String,
}

#[derive(Clone)]
struct Seen {
    state: TwinState,
    reason: String,
    since: Timestamp,
}

/// Compares each view with the one before.
pub(crate) struct Watch {
    seen: Vec<Seen>,
    alarms: BTreeSet<(String, Timestamp)>,
    /// By twin.
    pub(crate) deeds: Vec<Deeds>,
    begun: Timestamp,
}

impl Watch {
    pub(crate) fn new(view: &PlantView) -> Self {
        let seen: Vec<_> = view
            .twins
            .iter()
            .map(|t| Seen { state: t.state, reason: t.reason.clone(), since: t.since })
            .collect();
        let deeds = vec![Deeds::default(); seen.len()];
        Self { seen, alarms: BTreeSet::new(), deeds, begun: view.now }
    }

    /// Begins a phase.
    pub(crate) fn mark(&mut self, now: Timestamp) {
        self.deeds.fill(Deeds::default());
        self.begun = now;
    }

    pub(crate) fn note(&mut self, view: &Arc<PlantView>) {
        for alarm in view.alarms.iter().filter(|a| a.source == AlarmSource::CommLoss) {
            if self.alarms.insert((alarm.twin.to_string(), alarm.raised))
                && let Some(ix) = view.twins.iter().position(|t| t.id == alarm.twin)
            {
                self.deeds[ix].alarms += 1;
            }
        }
        for ((twin, seen), deeds) in view.twins.iter().zip(&mut self.seen).zip(&mut self.deeds) {
            // A twin that went down and came back between two views has a new `since`.
            if (twin.state, twin.since) == (seen.state, seen.since) && twin.reason == seen.reason {
                continue;
            }
            deeds.states += u32::from((twin.state, twin.since) != (seen.state, seen.since));
            let was_down = seen.state == TwinState::Down;
            match twin.state {
                TwinState::Down if was_down && twin.since == seen.since => deeds.other_reasons += 1,
                TwinState::Down => {
                    deeds.downs += 1;
                    deeds.down_at.get_or_insert(twin.since);
                    deeds.reason.clone_from(&twin.reason);
                }
                TwinState::OutOfSync if seen.state != TwinState::OutOfSync => {
                    deeds.out_of_sync += 1;
                }
                TwinState::Shadowed if seen.state != TwinState::Shadowed => {
                    deeds.ups += 1;
                    deeds.up_at = Some(twin.since);
                }
                _ => {}
            }
            *seen = Seen { state: twin.state, reason: twin.reason.clone(), since: twin.since };
        }
    }

    /// Of those that hang or of the others: how many had exactly `wanted`, and the most.
    pub(crate) fn count(&self, hung: bool, what: fn(&Deeds) -> u32, wanted: u32) -> (usize, u32) {
        let all = || self.of(hung).map(what);
        (all().filter(|&n| n == wanted).count(), all().max().unwrap_or(0))
    }

    /// Median and maximum of a time after the phase began, over those that hang.
    pub(crate) fn after(&self, when: fn(&Deeds) -> Option<Timestamp>) -> (Duration, Duration) {
        let mut times: Vec<_> =
            self.of(true).filter_map(when).map(|at| at.since(self.begun)).collect();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        (median, times.last().copied().unwrap_or_default())
    }

    /// The words in which they went down, without numbers, and how many used them.
    pub(crate) fn reasons(&self) -> Vec<(String, usize)> {
        let mut words: Vec<(String, usize)> = Vec::new();
        for deeds in self.of(true).filter(|d| d.downs > 0) {
            let general = deeds
                .reason
                .split(' ')
                .map(|word| if word.starts_with("127.0.0.1:") { "ADDR" } else { word });
            let general = general.collect::<Vec<_>>().join(" ");
            match words.iter_mut().find(|(w, _)| *w == general) {
                Some((_, n)) => *n += 1,
                None => words.push((general, 1)),
            }
        }
        words
    }

    fn of(&self, hung: bool) -> impl Iterator<Item = &Deeds> {
        let mine = move |&(ix, _): &(usize, &Deeds)| hangs(ix) == hung;
        self.deeds.iter().enumerate().filter(mine).map(|(_, deeds)| deeds)
    }
}
