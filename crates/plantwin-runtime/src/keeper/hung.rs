//! A disk that does not answer: who waits for it is told, as if it had refused.
//!
//! A trip that is under way for [`HUNG`] of wall time counts as refused until it ends. Nobody who
//! was told so hears later that a record which may fail was written after all, though the log may
//! have it: a step of a command that nobody acted upon. What must be on record is written when
//! the disk answers, and then its owner hears it. Only time in which somebody looked counts, at
//! most [`LOOK`] from one look to the next: a machine that was suspended has a disk that was never
//! asked. Absent: looking (the station does, ten times a second), waiting.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use plantwin_model::Timestamp;
use plantwin_store::audit::HUNG;

use super::queue::Then;

/// Most of the wall time between two looks that counts.
const LOOK: Duration = Duration::from_secs(1);

/// Whoever waits for a record: hears each thing once, from the keeper's thread or from whoever
/// found the disk hanging.
pub(super) struct Waiter {
    told: AtomicBool,
    rest: Mutex<Rest>,
}

struct Rest {
    then: Then,
    /// The record is on the disk.
    over: bool,
}

impl Rest {
    fn tell(&mut self, result: Result<(), String>) {
        // A panic of whoever hears it must not end the keeper, nor keep the next from hearing.
        if catch_unwind(AssertUnwindSafe(|| (self.then)(result))).is_err() {
            tracing::error!("whoever waited for a record on the disk panicked when told of it");
        }
    }
}

impl Waiter {
    pub(super) fn new(then: Then) -> Arc<Self> {
        let rest = Mutex::new(Rest { then, over: false });
        Arc::new(Self { told: AtomicBool::new(false), rest })
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        // Each change of it is one assignment.
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has heard of a failure.
    pub(super) fn is_told(&self) -> bool {
        self.told.load(SeqCst)
    }

    /// It is not written now: says so, once.
    pub(super) fn refuse(&self, why: &str) {
        let mut rest = self.rest();
        if !rest.over && !self.told.swap(true, SeqCst) {
            rest.tell(Err(why.to_owned()));
        }
    }

    /// It is on the disk. Who was told that it failed hears of it only if it `must` be there.
    pub(super) fn confirm(&self, must: bool) {
        let mut rest = self.rest();
        if !std::mem::replace(&mut rest.over, true) && (must || !self.is_told()) {
            rest.tell(Ok(()));
        }
    }
}

/// The trip that is under way, if one is.
#[derive(Default)]
pub(super) struct UnderWay {
    trip: Option<Trip>,
}

struct Trip {
    /// Who waits for the records of the log in it.
    waiters: Vec<Arc<Waiter>>,
    looked: Timestamp,
    waited: Duration,
    hangs: bool,
}

/// What a look found.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// No trip, or none that takes too long.
    Well,
    /// The disk hangs; `new` for the first look that found it.
    Hangs { new: bool },
}

impl UnderWay {
    pub(super) fn begin(&mut self, now: Timestamp) {
        let (waiters, waited) = (Vec::new(), Duration::ZERO);
        self.trip = Some(Trip { waiters, looked: now, waited, hangs: false });
    }

    pub(super) fn carry(&mut self, waiters: Vec<Arc<Waiter>>) {
        if let Some(trip) = &mut self.trip {
            trip.waiters = waiters;
        }
    }

    /// The trip is over; whether it had taken too long.
    pub(super) fn end(&mut self) -> bool {
        self.trip.take().is_some_and(|trip| trip.hangs)
    }

    /// Looks at it; `speed` of plant time.
    pub(super) fn look(&mut self, now: Timestamp, speed: f64) -> Look {
        let Some(trip) = &mut self.trip else { return Look::Well };
        // The disk knows nothing of a plant's time that passes faster.
        let speed = speed.max(1.0);
        let since = now.since(std::mem::replace(&mut trip.looked, now));
        trip.waited = trip.waited.saturating_add(since.min(LOOK.mul_f64(speed)));
        if trip.waited < HUNG.mul_f64(speed) {
            return Look::Well;
        }
        Look::Hangs { new: !std::mem::replace(&mut trip.hangs, true) }
    }

    /// Who waits for the log in the trip.
    pub(super) fn waiters(&self) -> Vec<Arc<Waiter>> {
        self.trip.as_ref().map_or_else(Vec::new, |trip| trip.waiters.clone())
    }
}

/// What is said of a disk that hangs; a fragment fit for "failed to {why}".
pub(super) fn why() -> String {
    format!("write to the store: the disk has not answered for {} s", HUNG.as_secs())
}
