//! What others may ask of a guarded actor: one request at a time, the last one counts.
//!
//! Absent: who may ask (the supervisor and, by way of the ward, an operator).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A request to the loop around an actor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// An operator wants it back; nothing to do while it runs.
    Revive,
    /// It goes down with a sibling and comes up again.
    Restart,
    /// Its zone was given up, for this reason.
    GiveUp(Arc<str>),
}

/// Rung by the supervisor, heard by the loop. Nothing rung is missed, whenever the loop listens.
#[derive(Debug, Default)]
pub(super) struct Bell {
    request: Mutex<Option<Request>>,
    rung: Notify,
}

impl Bell {
    fn slot(&self) -> MutexGuard<'_, Option<Request>> {
        // One assignment is all that happens under the lock: it is never left half done.
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ring(&self, request: Request) {
        *self.slot() = Some(request);
        self.rung.notify_one();
    }

    /// What was asked and not yet heard.
    pub(super) fn take(&self) -> Option<Request> {
        self.slot().take()
    }

    /// Waits for a request. Cancel safe.
    pub(super) async fn heard(&self) -> Request {
        loop {
            if let Some(request) = self.take() {
                return request;
            }
            self.rung.notified().await;
        }
    }
}
