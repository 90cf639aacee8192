//! The second person: requests that wait for somebody else to ask for the same.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use plantwin_model::Timestamp;

/// How long a request waits for its second person.
pub(super) const WAITS: Duration = Duration::from_mins(5);

/// Requests that may wait at the same time.
const LIMIT: usize = 256;

/// What became of asking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// It waits.
    Waits,
    /// This is the second person; the first one was this.
    Confirmed(Arc<str>),
    /// Too many wait.
    Full,
}

/// Requests that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<(Arc<str>, Arc<str>, Timestamp)>);

impl Waiting {
    /// `who` asks for `what`. Asking again oneself begins the wait anew.
    pub(super) fn ask(&mut self, what: &str, who: &str, now: Timestamp) -> Asked {
        // A clock that was set back must not make anything wait longer than it should.
        self.0.retain(|(_, _, at)| now.since(*at) < WAITS && at.since(now) < WAITS);
        if let Some(ix) = self.0.iter().position(|(w, first, _)| &**w == what && &**first != who)
            && let Some((_, first, _)) = self.0.remove(ix)
        {
            self.0.retain(|(w, ..)| &**w != what);
            return Asked::Confirmed(first);
        }
        self.0.retain(|(w, first, _)| !(&**w == what && &**first == who));
        if self.0.len() >= LIMIT {
            return Asked::Full;
        }
        self.0.push_back((what.into(), who.into(), now));
        Asked::Waits
    }
}
