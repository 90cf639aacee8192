//! Whose request goes onto the bus next, as a pure state machine over given times.
//!
//! One request holds the bus at a time. Units take turns, so that none starves another. A unit
//! holds the bus for four times its slowest answer so far, at least [`HOLD`] and at most its
//! patience; then the bus goes on to the others while its answer may still come. Such a unit is
//! **suspect** until an answer of it arrives: it is asked only with [`HOLD`], and while some
//! other unit is known to answer, unanswered requests to suspects get at most [`SHARE`] of the
//! bus's time, after quiet times a burst of [`BURST`]. A unit's very first request is free of
//! that limit, so that a plant with dead units starts at once. Absent: sockets and waiting (see
//! `wire`).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// Shortest hold of the bus for an answer, and the hold of a suspect.
pub(super) const HOLD: Duration = Duration::from_millis(50);
/// Part of the bus's time that goes to units which do not answer.
pub(super) const SHARE: f64 = 0.05;
/// Most of that time that can be saved up.
pub(super) const BURST: Duration = Duration::from_millis(500);
/// Requests that wait for one unit; what comes beyond is refused.
pub(super) const QUEUE: usize = 32;

/// What is known of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Standing {
    /// Never asked.
    #[default]
    New,
    /// Its last request was answered.
    Proven,
    /// Its last request was not answered in time.
    Suspect,
}

struct Unit<J> {
    queue: VecDeque<J>,
    standing: Standing,
    /// Slowest answer so far.
    slowest: Duration,
    /// Whether an answer is awaited.
    asked: bool,
    /// Charged for the request under way, given back if it is answered.
    charge: Duration,
}

/// What to do next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Next<J> {
    /// Send this, and keep the bus for it this long.
    Grant {
        /// Unit.
        unit: u8,
        /// Request.
        job: J,
        /// How long.
        hold: Duration,
    },
    /// Nothing until something is pushed or answered, or until this time.
    Wait(Option<Instant>),
}

/// Queues of all units, at most 256.
pub(super) struct Schedule<J> {
    units: BTreeMap<u8, Unit<J>>,
    last: u8,
    credit: Duration,
    counted: Option<Instant>,
}

impl<J> Default for Schedule<J> {
    fn default() -> Self {
        Self { units: BTreeMap::new(), last: 0, credit: BURST, counted: None }
    }
}

impl<J> Schedule<J> {
    /// Lets a request wait for its turn, or gives it back where the queue is full.
    pub(super) fn push(&mut self, unit: u8, job: J) -> Result<(), J> {
        let unit = self.units.entry(unit).or_insert_with(|| Unit {
            queue: VecDeque::new(),
            standing: Standing::New,
            slowest: Duration::ZERO,
            asked: false,
            charge: Duration::ZERO,
        });
        if unit.queue.len() >= QUEUE {
            return Err(job);
        }
        unit.queue.push_back(job);
        Ok(())
    }

    /// Chooses, when the bus is free. `patience` of a request, or `None` if nobody waits for it
    /// any more.
    pub(super) fn next(
        &mut self,
        now: Instant,
        patience: impl Fn(&J) -> Option<Duration>,
    ) -> Next<J> {
        let since = now.saturating_duration_since(self.counted.unwrap_or(now));
        self.credit = (self.credit + since.mul_f64(SHARE)).min(BURST);
        self.counted = Some(now);
        for unit in self.units.values_mut() {
            unit.queue.retain(|job| patience(job).is_some());
        }
        let limited = self.units.values().any(|u| u.standing == Standing::Proven);
        // Whoever comes after the last in the circle of units is first.
        let last = self.last;
        let circle = self.units.range(last.saturating_add(1)..).chain(self.units.range(..=last));
        let mut chosen = None;
        let mut wait = None;
        for (&number, unit) in circle {
            let Some(limit) = unit.queue.front().and_then(&patience) else { continue };
            if unit.asked {
                continue;
            }
            let (hold, charge) = match unit.standing {
                Standing::Proven => ((unit.slowest * 4).max(HOLD).min(limit), Duration::ZERO),
                Standing::New => (HOLD.min(limit), Duration::ZERO),
                Standing::Suspect if !limited => (HOLD.min(limit), Duration::ZERO),
                Standing::Suspect => {
                    let hold = HOLD.min(limit);
                    if self.credit < hold {
                        let missing = hold.saturating_sub(self.credit);
                        let enough = now + missing.div_f64(SHARE);
                        wait = Some(wait.map_or(enough, |w: Instant| w.min(enough)));
                        continue;
                    }
                    (hold, hold)
                }
            };
            chosen = Some((number, hold, charge));
            break;
        }
        let granted = chosen.and_then(|(number, hold, charge)| {
            let unit = self.units.get_mut(&number)?;
            let job = unit.queue.pop_front()?;
            unit.asked = true;
            unit.charge = charge;
            Some((number, job, hold, charge))
        });
        let Some((unit, job, hold, charge)) = granted else { return Next::Wait(wait) };
        self.credit = self.credit.saturating_sub(charge);
        self.last = unit;
        Next::Grant { unit, job, hold }
    }

    /// The hold is over without an answer, which may still come.
    pub(super) fn overdue(&mut self, unit: u8) {
        if let Some(unit) = self.units.get_mut(&unit) {
            unit.standing = Standing::Suspect;
        }
    }

    /// The patience is over: the unit may be asked again.
    pub(super) fn given_up(&mut self, unit: u8) {
        if let Some(unit) = self.units.get_mut(&unit) {
            unit.asked = false;
            unit.charge = Duration::ZERO;
            unit.standing = Standing::Suspect;
        }
    }

    /// The unit answered what it was asked last, this long after it was asked.
    pub(super) fn answered(&mut self, unit: u8, after: Duration) {
        if let Some(unit) = self.units.get_mut(&unit) {
            unit.asked = false;
            self.credit = (self.credit + unit.charge).min(BURST);
            unit.charge = Duration::ZERO;
            unit.standing = Standing::Proven;
            unit.slowest = unit.slowest.max(after);
        }
    }

    /// Takes out everything that waits.
    pub(super) fn drain(&mut self) -> Vec<J> {
        self.units.values_mut().flat_map(|u| u.queue.drain(..)).collect()
    }
}
