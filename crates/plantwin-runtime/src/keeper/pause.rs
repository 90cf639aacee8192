//! When the disk is asked next: what it refused rests a while, and with it what came behind.
//!
//! Log and trees rest apart: what is urgent does not wait for trees that fail. Absent: waiting.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    queue::{Due, Queue},
    work::Trip,
};

/// Wait before what the disk refused is tried again.
pub(super) const AGAIN: Duration = Duration::from_millis(250);

/// What rests, and until when.
#[derive(Default)]
pub(super) struct Pauses {
    log: Option<LogPause>,
    trees: Option<Instant>,
}

struct LogPause {
    until: Instant,
    /// What the disk said. `None`: single records are refused, others are taken.
    refused: Option<String>,
}

/// What the keeper does next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Writes a group.
    Write(Due),
    /// Tells whoever waits for the log that the disk refuses, and why: it was asked a moment ago,
    /// and to ask it for each of many records would take longer than they can wait.
    Tell(String),
    /// Waits for so long, or (`None`) for something to do.
    Rest(Option<Duration>),
}

impl Pauses {
    pub(super) fn next(&self, queue: &Queue, now: Instant) -> Next {
        let log_rests = self.log.as_ref().filter(|pause| now < pause.until);
        let trees_rest = self.trees.filter(|until| now < *until);
        let log = match log_rests {
            None => !queue.urgent.is_empty(),
            Some(LogPause { refused: Some(why), .. }) if queue.has_untold() => {
                return Next::Tell(why.clone());
            }
            Some(LogPause { refused: Some(_), .. }) => false,
            Some(LogPause { refused: None, .. }) => queue.has_untold(),
        };
        let due = Due { log, trees: trees_rest.is_none() && queue.trees_wait() };
        if due.log || due.trees {
            return Next::Write(due);
        }
        let log_until = log_rests.map(|pause| pause.until).filter(|_| !queue.urgent.is_empty());
        let trees_until = trees_rest.filter(|_| queue.trees_wait());
        let until = log_until.into_iter().chain(trees_until).min();
        Next::Rest(until.map(|until| until.saturating_duration_since(now)))
    }

    /// Those parts were asked, and it ended so.
    pub(super) fn after(&mut self, due: Due, trip: &Trip, now: Instant) {
        let until = now + AGAIN;
        if due.log {
            let rests = trip.log_refused.is_some() || !trip.left.urgent.is_empty();
            self.log = rests.then(|| LogPause { until, refused: trip.log_refused.clone() });
        }
        if due.trees {
            self.trees = trip.trees_refused.then_some(until);
        }
    }
}
