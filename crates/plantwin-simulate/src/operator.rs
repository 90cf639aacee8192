//! The operator: asks, asks again under the same key, acknowledges, and writes down every answer.
//!
//! Outlives the simulated process, as people do. Absent: judging the answers (the journal's
//! histories are judged at the end).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::Duration,
};

use plantwin_model::{
    CommandKey, CommandSender, Outcome, PlantView, Request, TwinState,
    invariant::{AlarmEvent, CommandEvent, Life},
};

use crate::{journal::SharedJournal, scene::Way};

/// A command is known by its number; a conflicting one by its key plus this.
pub(crate) const OTHER: u64 = 500_000;
/// A command writes its number times this, so that no two write values which read-back, with
/// its tolerance of a millionth of the range, could take for each other.
pub(crate) const SPREAD: u64 = 16;

/// Commands that set a device right count from here.
const CORRECTIONS: u64 = 100_000;

/// What was asked under a key.
struct Asked {
    key: u64,
    device: usize,
    way: Way,
    /// Answers that are awaited.
    waiting: Vec<Receiver<Outcome>>,
    last: Option<Outcome>,
}

/// The operator.
pub(crate) struct Operator {
    journal: SharedJournal,
    names: Vec<String>,
    /// By number: the key, or the key and [`OTHER`].
    asked: BTreeMap<u64, Asked>,
    corrections: u64,
}

impl Operator {
    pub(crate) fn new(journal: SharedJournal, names: Vec<String>) -> Self {
        Self { journal, names, asked: BTreeMap::new(), corrections: 0 }
    }

    /// Wants a command done.
    pub(crate) fn want(&mut self, key: u64, device: usize, way: Way) {
        self.note(key, key, device, way);
    }

    /// Wants another command done under a key that was used.
    pub(crate) fn want_other(&mut self, key: u64) -> Option<u64> {
        let first = self.asked.get(&key)?;
        let (device, way) = (first.device, first.way);
        self.note(key + OTHER, key, device, way);
        Some(key + OTHER)
    }

    fn note(&mut self, value: u64, key: u64, device: usize, way: Way) {
        let asked = Asked { key, device, way, waiting: Vec::new(), last: None };
        self.asked.entry(value).or_insert(asked);
        self.journal.open().commands.entry(value).or_default();
    }

    /// Asks, or asks again.
    pub(crate) fn ask(&mut self, world: Duration, value: u64, desk: &dyn CommandSender) {
        // What was answered before must be heard before, or the order would be lost.
        self.hear(world);
        let Some(asked) = self.asked.get_mut(&value) else { return };
        let device = self.names[asked.device].as_str().into();
        let setpoint = (value * SPREAD) as f64;
        let args = vec![("setpoint".to_owned(), setpoint)];
        let request = match asked.way {
            Way::Write => Request::Write { device, point: "setpoint".to_owned(), value: setpoint },
            Way::Drive => Request::Command { device, command: "drive".to_owned(), args },
            Way::Start => Request::Command { device, command: "start".to_owned(), args },
        };
        let key = CommandKey(u128::from(asked.key));
        let mut journal = self.journal.open();
        journal.line(world, format_args!("asked {value} under {key}"));
        journal.count("commands_asked");
        drop(journal);
        asked.waiting.push(desk.send_keyed(Some(key), request));
        self.hear(world);
    }

    /// Takes what was answered.
    pub(crate) fn hear(&mut self, world: Duration) {
        for (value, asked) in &mut self.asked {
            asked.waiting.retain(|receiver| match receiver.try_recv() {
                Ok(outcome) => {
                    let mut journal = self.journal.open();
                    journal.line(world, format_args!("answered {value} {outcome:?}"));
                    journal.count(match &outcome {
                        Outcome::Done => "outcomes_done",
                        Outcome::Refused { .. } => "outcomes_refused",
                        Outcome::Failed { .. } => "outcomes_failed",
                        Outcome::Expired => "outcomes_expired",
                        Outcome::Unknown { .. } => "outcomes_unknown",
                    });
                    let history = journal.commands.entry(*value).or_default();
                    history.push(CommandEvent::Answered(outcome.clone()));
                    asked.last = Some(outcome);
                    false
                }
                Err(TryRecvError::Empty) => true,
                Err(TryRecvError::Disconnected) => false,
            });
        }
    }

    /// The process died: nobody answers any more.
    pub(crate) fn hang_up(&mut self) {
        for asked in self.asked.values_mut() {
            asked.waiting.clear();
        }
    }

    /// Asks for the outcome of everything that has none, or whose outcome is unknown.
    pub(crate) fn chase(&mut self, world: Duration, desk: &dyn CommandSender) {
        let open: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, a)| a.waiting.is_empty())
            .filter(|(_, a)| matches!(a.last, None | Some(Outcome::Unknown { .. })))
            .map(|(value, _)| *value)
            .collect();
        for value in open {
            self.ask(world, value, desk);
        }
    }

    /// Asks once more under every key.
    pub(crate) fn ask_all_again(&mut self, world: Duration, desk: &dyn CommandSender) {
        for value in self.asked.keys().copied().collect::<Vec<_>>() {
            self.ask(world, value, desk);
        }
    }

    /// Whether every command has an answer and none is awaited.
    pub(crate) fn is_answered(&self) -> bool {
        self.asked.values().all(|a| a.last.is_some() && a.waiting.is_empty())
    }

    /// Acknowledges every alarm shown that wants it.
    pub(crate) fn acknowledge_all(&self, view: &PlantView, desk: &dyn CommandSender) {
        for alarm in view.alarms.iter() {
            let mut journal = self.journal.open();
            let history = journal.alarms.entry(alarm.id.to_string()).or_default();
            history.push(AlarmEvent::Acknowledged);
            journal.count("alarms_acknowledged");
            drop(journal);
            // Its effect is seen in the view.
            drop(desk.send(Request::Acknowledge { alarm: alarm.id.clone() }));
        }
    }

    /// Starts twins again that were given up.
    pub(crate) fn revive(&self, view: &PlantView, desk: &dyn CommandSender) {
        for (ix, twin) in view.twins.iter().enumerate() {
            if twin.state == TwinState::GaveUp {
                let mut journal = self.journal.open();
                journal.count("twins_revived");
                // Where siblings restart together, their supervisor forgets all their crashes.
                for (other, life) in journal.lives.iter_mut().enumerate() {
                    let zone = view.twins.get(other).map(|t| &t.zone);
                    if other == ix || zone == Some(&twin.zone) {
                        life.push(Life::Forgiven);
                    }
                }
                drop(journal);
                drop(desk.send(Request::Restart { device: twin.id.clone() }));
            }
        }
    }

    /// Gives a new command to each device that does not show what an earlier one wrote: what was
    /// sent and never heard of again is never sent again, so its twin stays out of sync.
    pub(crate) fn correct(&mut self, world: Duration, view: &PlantView, desk: &dyn CommandSender) {
        for (ix, twin) in view.twins.iter().enumerate() {
            if twin.state == TwinState::OutOfSync && twin.points.iter().any(|p| p.desired.is_some())
            {
                self.corrections += 1;
                let key = CORRECTIONS + self.corrections;
                self.want(key, ix, Way::Start);
                self.ask(world, key, desk);
            }
        }
    }

    /// Hands letters that were set aside to their twins again, or forgets every third, and every
    /// answer to a challenge: it speaks of a session that is long over.
    pub(crate) fn clear_letters(&self, view: &PlantView, desk: &dyn CommandSender) {
        for letter in view.set_aside.iter() {
            let (device, id) = (letter.twin.clone(), letter.id);
            self.journal.open().count("letters_cleared");
            drop(desk.send(if id.is_multiple_of(3) || letter.text.starts_with("Session") {
                Request::Drop { device, letter: id }
            } else {
                Request::Retry { device, letter: id }
            }));
        }
    }
}

/// What an operator holds of a running plant.
pub(crate) type Desk = Arc<dyn CommandSender>;
