//! The book of lane T1: what was published for each device, and what arrived northbound.
//!
//! What a device measures follows from the seed and the number of the message, so the book needs
//! no list of what was published. Absent: publishing, reading.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::random::mix;

/// Messages of a device in a row during which its level stays on one side of the alarm limit.
const SPELL: u64 = 48;
/// Problems kept as text.
const KEPT: usize = 20;

/// What happened to one device's messages.
#[derive(Debug, Default)]
struct Queue {
    /// Numbers 1 to this were handed to the publisher.
    published: u64,
    /// Numbers 1 to this were accepted by the broker: a witness there has them.
    accepted: u64,
    /// Highest number that arrived.
    high: u64,
    /// Numbers below that did not arrive.
    holes: BTreeSet<u64>,
}

/// Totals for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) published: u64,
    /// Of these, what the broker had accepted.
    pub(super) accepted: u64,
    /// Numbers that arrived at least once.
    pub(super) arrived: u64,
    /// Accepted and not arrived.
    pub(super) lost: u64,
    /// Arrived more than once: allowed, counted.
    pub(super) doubled: u64,
    /// First arrived after a higher number.
    pub(super) disordered: u64,
    /// Arrived with a value that was not measured, or was never published at all.
    pub(super) wrong: u64,
    /// Values that gap records say were dropped.
    pub(super) gaps: u64,
    /// Values that `missing_before` says never reached plantwin. Nothing is lost before it, so
    /// the word is false.
    pub(super) missing: u64,
}

/// The book.
#[derive(Debug)]
pub(super) struct Telemetry {
    seed: u64,
    queues: Vec<Queue>,
    doubled: u64,
    disordered: u64,
    wrong: u64,
    gaps: u64,
    missing: u64,
    problems: Vec<String>,
}

/// The level that message `number` of `device` bears: now and then beyond the limit of 80 cm.
pub(super) fn level(seed: u64, device: usize, number: u64) -> f64 {
    let lane = seed.wrapping_add(device as u64 * 7919);
    let base = if mix(lane ^ mix(number / SPELL)).is_multiple_of(6) { 85 } else { 40 };
    // Divided once, so that the text of it reads back as the same number.
    (base * 100 + mix(lane.wrapping_add(number)) % 1000) as f64 / 100.0
}

impl Telemetry {
    pub(super) fn new(seed: u64, devices: usize) -> Self {
        let queues = (0..devices).map(|_| Queue::default()).collect();
        Self {
            seed,
            queues,
            doubled: 0,
            disordered: 0,
            wrong: 0,
            gaps: 0,
            missing: 0,
            problems: Vec::new(),
        }
    }

    /// The next message of a device: its number and its level.
    pub(super) fn publish(&mut self, device: usize) -> (u64, f64) {
        let queue = &mut self.queues[device];
        queue.published += 1;
        (queue.published, level(self.seed, device, queue.published))
    }

    /// Messages of a device that are on their way.
    pub(super) fn behind(&self, device: usize) -> u64 {
        let queue = &self.queues[device];
        queue.published - queue.high + queue.holes.len() as u64
    }

    /// The broker accepted a message of a device.
    pub(super) fn accept(&mut self, device: usize, message: &Value) {
        let queue = &mut self.queues[device];
        let number = message["seq"].as_u64();
        if number == Some(queue.accepted + 1) {
            queue.accepted += 1;
        } else {
            let next = queue.accepted + 1;
            self.wrong += 1;
            self.problem(format!("d{device}: the publisher sent {message} in place of {next}"));
        }
    }

    /// A record arrived northbound, in this life of the plant.
    pub(super) fn arrive(&mut self, device: usize, record: &Value, life: u64) {
        let gap = record["gap"]["count"].as_u64().unwrap_or(0);
        let missing = record["missing_before"].as_u64().unwrap_or(0);
        if gap + missing > 0 {
            if self.missing == 0 || gap > 0 {
                self.problem(format!("d{device}: said to be missing in life {life}: {record}"));
            }
            self.gaps += gap;
            self.missing += missing;
        }
        if record["gap"].is_object() {
            return;
        }
        let known = self.queues[device].published;
        let number = record["device_sequence"].as_u64().filter(|n| (1..=known).contains(n));
        let Some(number) = number else {
            self.wrong += 1;
            return self.problem(format!("d{device}: nobody published {record}"));
        };
        let level = level(self.seed, device, number);
        if record["values"]["level"]["v"].as_f64() != Some(level) {
            self.wrong += 1;
            self.problem(format!("d{device}: message {number} had level {level}, not {record}"));
        }
        let queue = &mut self.queues[device];
        if number > queue.high {
            let first = queue.high + 1;
            queue.holes.extend(first..number);
            queue.high = number;
            if first < number {
                self.problem(format!(
                    "d{device}: {first} to {} did not come, seen in life {life}",
                    number - 1
                ));
            }
        } else if queue.holes.remove(&number) {
            self.disordered += 1;
            self.problem(format!("d{device}: {number} came late, in life {life}"));
        } else {
            self.doubled += 1;
        }
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < KEPT {
            self.problems.push(text);
        }
    }

    /// The first problems as text, and all that did not arrive.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        for (device, queue) in self.queues.iter().enumerate().filter(|(d, _)| self.behind(*d) > 0) {
            let holes: Vec<_> = queue.holes.iter().take(KEPT).collect();
            let (high, published) = (queue.high, queue.published);
            problems.push(format!(
                "d{device}: lost {holes:?} below {high}, the last of {published} published"
            ));
        }
        problems
    }

    pub(super) fn totals(&self) -> Totals {
        let behind: u64 = (0..self.queues.len()).map(|d| self.behind(d)).sum();
        let published = self.queues.iter().map(|q| q.published).sum();
        let accepted = self.queues.iter().map(|q| q.accepted).sum();
        let lost = |q: &Queue| q.accepted.saturating_sub(q.high) + q.holes.len() as u64;
        Totals {
            published,
            accepted,
            arrived: published - behind,
            lost: self.queues.iter().map(lost).sum(),
            doubled: self.doubled,
            disordered: self.disordered,
            wrong: self.wrong,
            gaps: self.gaps,
            missing: self.missing,
        }
    }
}
