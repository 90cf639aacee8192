//! Letters in envelopes, and the mailbox of four lanes they wait in.
//!
//! A mailbox belongs to nobody's actor: it is made before the actor and outlives its restarts, so
//! that a crash loses no letter. Each lane is bounded for itself, which gives alarms and commands
//! a reserve that telemetry cannot take: a full lane gives the letter back to its sender, who
//! waits for [`Mailbox::room`], or coalesces, or sheds, and says so with
//! [`Mailbox::note_coalesced`] and [`Mailbox::note_shed`]. The mailbox itself drops nothing.
//!
//! **Order.** Letters of one lane are handled in the order in which they were posted. The most
//! urgent lane goes first; a lane that was passed over [`PATIENCE`] times in a row gets one turn.
//! At most two other lanes can have run out of patience at the same time, so a lane waits for at
//! most `PATIENCE + 2` letters of others between two of its own, and the last of a full lane of
//! 64 for 640 (+ 10 if its sender had to hold it back first). That is the most by which letters
//! overtake each other, and it is less than what a session allows ([`plantwin_seal::WINDOW`] =
//! 1024), also with the 256 letters that may lie in the mailbox meanwhile. So one session may use
//! all lanes of a mailbox of the default size whose owner is running. Through an outage longer
//! than [`plantwin_seal::EPOCH_TIME`] keys change while letters wait: a sender whose letters must
//! survive that uses a session for each lane.
//!
//! Absent: opening letters, and what to do when a lane is full.

mod lanes;
mod mailbox;
#[cfg(test)]
mod tests;

use actix::Message;
use plantwin_seal::Sealed;
use thiserror::Error;

pub use lanes::{LaneLimits, PATIENCE};
pub use mailbox::{Inbox, Letters, Mailbox, mailbox};

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

/// Why a letter was not taken. While there is a reader it is given back: nothing is lost unseen.
#[derive(Debug, Error)]
pub enum PostError<M> {
    /// Its lane is full.
    #[error("post a letter: its lane of the mailbox is full")]
    Full(Mail<M>),
    /// Whoever read the mailbox is gone for good.
    #[error("post a letter: its reader is gone")]
    Gone,
}
