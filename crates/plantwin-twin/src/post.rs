//! Letters in envelopes, and the bounded mailbox they are posted to.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use actix::{Message, Recipient};
use plantwin_seal::Sealed;
use thiserror::Error;

use crate::TwinMail;

/// The only thing that travels between actors: a sealed envelope.
///
/// This newtype is the one place where `actix::Message` is implemented, so a bare value does not
/// compile as a message:
///
/// ```compile_fail,E0277
/// fn travels<M: actix::Message>() {}
/// travels::<plantwin_twin::Reading>();
/// ```
///
/// ```
/// fn travels<M: actix::Message>() {}
/// travels::<plantwin_twin::Mail<plantwin_twin::TwinMail>>();
/// ```
#[derive(Debug)]
pub struct Mail<M>(pub Sealed<M>);

impl<M: Send + 'static> Message for Mail<M> {
    type Result = ();
}

/// Places that only lanes A and C may use when a mailbox is nearly full.
const RESERVE: u32 = 32;

/// Counts of a mailbox; actix itself does not tell how many letters wait.
#[derive(Debug)]
pub struct Gauge {
    capacity: u32,
    depth: AtomicU32,
    handled: AtomicU64,
    refused: AtomicU64,
}

impl Gauge {
    /// Of an empty mailbox.
    pub fn new(capacity: u32) -> Self {
        Self {
            capacity,
            depth: AtomicU32::new(0),
            handled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// A letter was taken out.
    pub(crate) fn taken(&self) {
        self.depth.fetch_sub(1, Relaxed);
        self.handled.fetch_add(1, Relaxed);
    }

    /// Letters waiting, handled, refused.
    pub fn read(&self) -> (u32, u64, u64) {
        (self.depth.load(Relaxed), self.handled.load(Relaxed), self.refused.load(Relaxed))
    }

    /// Bound.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }
}

/// Why a letter was not taken. It is given back: nothing is lost unseen.
#[derive(Debug, Error)]
pub enum PostError {
    /// The mailbox is full.
    #[error("post a letter: the mailbox is full")]
    Full(Mail<TwinMail>),
    /// The twin is gone for good.
    #[error("post a letter: the twin is gone")]
    Gone,
}

/// A twin's mailbox as its correspondents hold it.
#[derive(Clone)]
pub struct Mailbox {
    recipient: Recipient<Mail<TwinMail>>,
    gauge: Arc<Gauge>,
}

impl Mailbox {
    /// The mailbox behind `recipient`, counted by `gauge`.
    pub const fn new(recipient: Recipient<Mail<TwinMail>>, gauge: Arc<Gauge>) -> Self {
        Self { recipient, gauge }
    }

    /// Its counts.
    pub const fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// Posts a letter. `reserved` letters (alarms, commands) may use the reserve.
    pub fn post(&self, mail: Mail<TwinMail>, reserved: bool) -> Result<(), PostError> {
        let limit = if reserved { self.gauge.capacity } else { self.gauge.capacity - RESERVE };
        // Counted before it is posted, so that the twin never takes what was not counted.
        if self.gauge.depth.fetch_add(1, Relaxed) >= limit {
            self.gauge.depth.fetch_sub(1, Relaxed);
            self.gauge.refused.fetch_add(1, Relaxed);
            return Err(PostError::Full(mail));
        }
        self.recipient.try_send(mail).map_err(|error| {
            self.gauge.depth.fetch_sub(1, Relaxed);
            match error {
                actix::prelude::SendError::Full(mail) => {
                    self.gauge.refused.fetch_add(1, Relaxed);
                    PostError::Full(mail)
                }
                actix::prelude::SendError::Closed(_) => PostError::Gone,
            }
        })
    }
}
