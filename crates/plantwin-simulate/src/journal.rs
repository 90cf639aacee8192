//! What a bystander saw: the histories that the invariants judge, and the trace.
//!
//! The trace is a line of text per event; its FNV-1a hash names the run. Two runs of one seed
//! must agree line by line. Absent: judging (see `plantwin_model::invariant`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plantwin_model::invariant::{AlarmEvent, CommandEvent, Delivered, Life, Verdict, Violation};

use crate::{
    net::read::Item,
    random::{FNV_START, fnv},
};

/// Most broken promises that are written down of one run.
const VIOLATIONS: usize = 20;

/// The histories of one run.
#[derive(Debug)]
pub(crate) struct Journal {
    hash: u64,
    lines: Option<Vec<String>>,
    /// By the number that the command writes, which names it.
    pub(crate) commands: BTreeMap<u64, Vec<CommandEvent>>,
    /// By device: numbers of which it was relieved, and when.
    pub(crate) confirmed: Vec<BTreeMap<u64, Duration>>,
    /// By device: what arrived northbound.
    pub(crate) delivered: Vec<Vec<Delivered>>,
    /// By device: numbers whose letters crashed the twin twice; they come late, if at all.
    pub(crate) aside: Vec<BTreeSet<u64>>,
    /// By device: the highest number that arrived.
    highest: Vec<u64>,
    /// By device: gaps that were told, by their places, and await the value after them.
    gaps: Vec<BTreeMap<u64, u64>>,
    /// By device.
    pub(crate) lives: Vec<Vec<Life>>,
    /// By name.
    pub(crate) alarms: BTreeMap<String, Vec<AlarmEvent>>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) counters: BTreeMap<&'static str, u64>,
}

impl Journal {
    /// An empty one for so many devices. `keep`: whether the lines are kept and not only hashed.
    pub(crate) fn new(devices: usize, keep: bool) -> Self {
        Self {
            hash: FNV_START,
            lines: keep.then(Vec::new),
            commands: BTreeMap::new(),
            confirmed: vec![BTreeMap::new(); devices],
            aside: vec![BTreeSet::new(); devices],
            highest: vec![0; devices],
            gaps: vec![BTreeMap::new(); devices],
            delivered: vec![Vec::new(); devices],
            lives: vec![Vec::new(); devices],
            alarms: BTreeMap::new(),
            violations: Vec::new(),
            counters: BTreeMap::new(),
        }
    }

    /// Writes an event down.
    pub(crate) fn line(&mut self, world: Duration, event: fmt::Arguments<'_>) {
        let line = format!("{:>12.6} {event}", world.as_secs_f64());
        self.hash = fnv(self.hash, line.as_bytes());
        self.hash = fnv(self.hash, b"\n");
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// Counts something.
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }

    /// A record arrived northbound.
    ///
    /// A gap of the spool tells how many are missing in its place; which they are shows when the
    /// next value arrives. It stands for no more confirmed values than it counted.
    pub(crate) fn arrived(&mut self, device: usize, item: Item) {
        match item {
            Item::Gap { place, count } => {
                self.gaps[device].insert(place, count);
            }
            Item::Value { number, missing_before } => {
                if missing_before > 0 {
                    let first = number.saturating_sub(missing_before);
                    self.delivered[device].push(Delivered::Gap(first, number - 1));
                }
                let highest = self.highest[device];
                if number > highest + 1 && !self.gaps[device].is_empty() {
                    let between = self.confirmed[device].range(highest + 1..number).count() as u64;
                    let told: u64 = self.gaps[device].values().sum();
                    if between <= told {
                        self.delivered[device].push(Delivered::Gap(highest + 1, number - 1));
                    }
                    self.gaps[device].clear();
                }
                self.highest[device] = highest.max(number);
                self.delivered[device].push(Delivered::Value(number));
            }
        }
    }

    /// Writes down what a check found.
    pub(crate) fn judge(&mut self, verdict: Verdict) {
        self.count("checks");
        if let Err(violation) = verdict
            && self.violations.len() < VIOLATIONS
            && !self.violations.iter().any(|v| {
                // The first of its kind says enough.
                v.rule == violation.rule && v.subject == violation.subject
            })
        {
            self.violations.push(violation);
        }
    }

    /// Names the run so far.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, if they were kept.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

/// A journal that all parts of a simulation write into.
#[derive(Clone, Debug)]
pub(crate) struct SharedJournal(Arc<Mutex<Journal>>);

impl SharedJournal {
    pub(crate) fn new(journal: Journal) -> Self {
        Self(Arc::new(Mutex::new(journal)))
    }

    /// To write or read. Held for moments only: a planted panic never happens under it.
    pub(crate) fn open(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
