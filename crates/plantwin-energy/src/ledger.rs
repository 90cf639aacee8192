//! The energy book of one device.
//!
//! Absent: clocks (the owner says how long the device idled), self-discharge of a battery.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Joules, Profile, Traffic, Transport};

/// What one device spent so far, and what it may spend.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    tx: Joules,
    rx: Joules,
    idle: Joules,
    bytes: u64,
    messages: u64,
    elapsed: Duration,
    budget: Option<Joules>,
}

impl Ledger {
    /// An empty book; `budget` is for the device's life.
    pub fn new(budget: Option<Joules>) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Changes the budget, as when the plant file did; what was spent stays.
    pub fn set_budget(&mut self, budget: Option<Joules>) {
        self.budget = budget;
    }

    /// Books traffic since the last call and returns its cost.
    pub fn spend(&mut self, profile: &Profile, transport: Transport, traffic: Traffic) -> Joules {
        let cost = profile.cost(transport, traffic);
        self.tx += cost.tx;
        self.rx += cost.rx;
        self.bytes = self.bytes.saturating_add(traffic.tx_bytes).saturating_add(traffic.rx_bytes);
        self.messages =
            self.messages.saturating_add(traffic.tx_messages).saturating_add(traffic.rx_messages);
        cost.total()
    }

    /// Books time that passed, whether messages came in it or not, and returns its cost.
    pub fn idle(&mut self, profile: &Profile, elapsed: Duration) -> Joules {
        let cost = profile.idle(elapsed);
        self.idle += cost;
        self.elapsed = self.elapsed.saturating_add(elapsed);
        cost
    }

    /// Spent on sending.
    pub const fn tx(&self) -> Joules {
        self.tx
    }

    /// Spent on receiving.
    pub const fn rx(&self) -> Joules {
        self.rx
    }

    /// Spent on talking: sending and receiving.
    pub fn talking(&self) -> Joules {
        self.tx + self.rx
    }

    /// Spent on staying reachable.
    pub const fn idling(&self) -> Joules {
        self.idle
    }

    /// Spent altogether.
    pub fn total(&self) -> Joules {
        self.talking() + self.idle
    }

    /// Protocol bytes, both directions.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Protocol messages, both directions.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// Time booked.
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The budget.
    pub const fn budget(&self) -> Option<Joules> {
        self.budget
    }

    /// What is left of the budget, zero once it is overdrawn; `None` without a budget.
    pub fn remaining(&self) -> Option<Joules> {
        self.budget.map(|b| b.saturating_sub(self.total()))
    }

    /// Whether more than the budget was spent.
    pub fn is_overdrawn(&self) -> bool {
        self.budget.is_some_and(|b| self.total() > b)
    }

    /// Hours until the budget is spent if the device goes on as on average so far; `None`
    /// without a budget or before anything was booked.
    pub fn hours_left(&self) -> Option<f64> {
        let per_hour = self.total().get() / (self.elapsed.as_secs_f64() / 3600.0);
        let hours = self.remaining()?.get() / per_hour;
        (per_hour.is_finite() && hours.is_finite()).then_some(hours)
    }
}
