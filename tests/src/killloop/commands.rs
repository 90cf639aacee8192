//! The book of lane C: what was asked under each key, what was told, and what the device got.
//!
//! Each command writes a value that no other writes, so that the device's side tells it apart.
//! Absent: asking.

use std::collections::{BTreeSet, HashMap};

use crate::{Outcome, random::mix};

/// Distance of two values: a device may show a value with an error of a millionth of the range.
const STEP: u64 = 16;
/// Outcomes are asked for again among the newest commands only: plantwin promises to remember
/// 100,000 of them.
const REMEMBERED: usize = 50_000;
const KEPT: usize = 20;

#[derive(Debug)]
struct Command {
    device: usize,
    value: u64,
    told: Option<Outcome>,
    /// Writes at the device.
    writes: u64,
}

/// How to ask for a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Order {
    pub(super) id: usize,
    pub(super) key: u128,
    pub(super) device: usize,
    pub(super) value: u64,
}

/// Totals for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) asked: u64,
    pub(super) done: u64,
    /// Refused, expired or failed.
    pub(super) without_effect: u64,
    /// For good, because a later command wrote the same point.
    pub(super) unknown: u64,
    /// Without a final outcome.
    pub(super) open: u64,
    /// Told done, and the device got nothing.
    pub(super) lost: u64,
    /// Written more than once.
    pub(super) doubled: u64,
    /// Told that it had no effect, and the device got it.
    pub(super) denied: u64,
    /// Two outcomes under one key, or a write that nobody asked for.
    pub(super) contradicted: u64,
    /// Outcomes told again under the same key.
    pub(super) retold: u64,
}

/// The book.
#[derive(Debug)]
pub(super) struct Commands {
    seed: u64,
    all: Vec<Command>,
    by_value: HashMap<(usize, u64), usize>,
    per_device: Vec<u64>,
    /// Without a final outcome.
    open: BTreeSet<usize>,
    contradicted: u64,
    retold: u64,
    problems: Vec<String>,
}

/// Whether nothing more will be told.
fn is_final(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Unknown(reason) => reason.contains("a later command wrote the same point"),
        _ => true,
    }
}

impl Commands {
    pub(super) fn new(seed: u64, devices: usize) -> Self {
        Self {
            seed,
            all: Vec::new(),
            by_value: HashMap::new(),
            per_device: vec![0; devices],
            open: BTreeSet::new(),
            contradicted: 0,
            retold: 0,
            problems: Vec::new(),
        }
    }

    /// A new command for a device.
    pub(super) fn issue(&mut self, device: usize) -> Order {
        self.per_device[device] += 1;
        let (id, value) = (self.all.len(), self.per_device[device] * STEP);
        self.all.push(Command { device, value, told: None, writes: 0 });
        self.by_value.insert((device, value), id);
        self.open.insert(id);
        self.order(id)
    }

    /// How to ask again.
    pub(super) fn order(&self, id: usize) -> Order {
        let Command { device, value, .. } = self.all[id];
        let high = u128::from(mix(self.seed ^ id as u64));
        Order { id, key: high << 64 | id as u128, device, value }
    }

    /// What is told of a command. Returns whether that is final.
    pub(super) fn told(&mut self, id: usize, outcome: Outcome) -> bool {
        if !is_final(&outcome) {
            return false;
        }
        self.open.remove(&id);
        match &self.all[id].told {
            Some(before) if *before == outcome => self.retold += 1,
            Some(before) => {
                let text = format!("{:?}: {before:?}, then {outcome:?}", self.order(id));
                self.contradict(text);
            }
            None => self.all[id].told = Some(outcome),
        }
        true
    }

    /// The device got a write.
    pub(super) fn wrote(&mut self, device: usize, value: &str) {
        let known = value.parse().ok().and_then(|value| self.by_value.get(&(device, value)));
        match known {
            Some(&id) => self.all[id].writes += 1,
            None => self.contradict(format!("nobody asked for {value} at d{device}")),
        }
    }

    fn contradict(&mut self, text: String) {
        self.contradicted += 1;
        if self.problems.len() < KEPT {
            self.problems.push(text);
        }
    }

    /// A command without a final outcome, from `start` on.
    pub(super) fn next_open(&self, start: usize) -> Option<Order> {
        self.open.range(start..).next().map(|&id| self.order(id))
    }

    /// The oldest command that was left without a final outcome, if it is so old that it must be
    /// asked for again while plantwin still remembers its key.
    pub(super) fn overdue(&self) -> Option<Order> {
        let oldest = *self.open.first()?;
        (self.all.len() - oldest > REMEMBERED / 2).then(|| self.order(oldest))
    }

    /// One of those whose outcome must still be known, by chance.
    pub(super) fn any(&self, chance: u64) -> Option<Order> {
        let first = self.all.len().saturating_sub(REMEMBERED);
        let id = first + chance.checked_rem((self.all.len() - first) as u64)? as usize;
        Some(self.order(id))
    }

    /// How many there are, and the first whose outcome must still be known.
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.all.len().saturating_sub(REMEMBERED), self.all.len())
    }

    /// What is wrong, as text.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        let wrong = self.all.iter().enumerate().filter(|(_, c)| verdict(c) != Verdict::Right);
        let text = |(id, c): (usize, &Command)| {
            format!(
                "{:?}: {:?}, told {:?}, {} writes",
                self.order(id),
                verdict(c),
                c.told,
                c.writes
            )
        };
        problems.extend(wrong.take(KEPT).map(text));
        problems
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals {
            asked: self.all.len() as u64,
            open: self.open.len() as u64,
            contradicted: self.contradicted,
            retold: self.retold,
            ..Totals::default()
        };
        for command in &self.all {
            match command.told {
                Some(Outcome::Done) => totals.done += 1,
                Some(Outcome::Unknown(_)) => totals.unknown += 1,
                Some(_) => totals.without_effect += 1,
                None => {}
            }
            match verdict(command) {
                Verdict::Right => {}
                Verdict::Lost => totals.lost += 1,
                Verdict::Doubled => totals.doubled += 1,
                Verdict::Denied => totals.denied += 1,
            }
        }
        totals
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Right,
    Lost,
    Doubled,
    Denied,
}

fn verdict(command: &Command) -> Verdict {
    match (&command.told, command.writes) {
        (_, 2..) => Verdict::Doubled,
        (Some(Outcome::Done), 0) => Verdict::Lost,
        (Some(Outcome::Refused(_) | Outcome::Expired | Outcome::Failed(_)), 1) => Verdict::Denied,
        _ => Verdict::Right,
    }
}
