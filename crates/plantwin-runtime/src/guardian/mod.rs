//! The guardian: keeps twins alive without losing their mail.
//!
//! `actix::Supervisor` does not restart an actor that panics, so this does: it owns the actor's
//! context future, catches the unwinding, waits as the policy says and restarts the same actor
//! behind the same address and mailbox. Twins sit in a tree, plant -> zone -> device
//! ([`Guardian`]); what happens beyond the crashed twin itself is decided by [`TreeState`], pure
//! and by the plant's and zones' policies. What the actor's state becomes and what happens to the
//! envelope it was handling is the twin's business (`plantwin-twin`). A crash never reaches
//! further than a zone that was given up: nothing here ends the plant.
//! Absent: network failures, which are no crash.

mod bell;
mod guard;
mod policy;
mod supervisor;
#[cfg(test)]
mod tests;
mod tree;

pub use guard::{GuardEvent, GuardWatcher, Seat, Ward, seat};
pub use policy::{Decision, RestartHistory, RestartPolicy};
pub use supervisor::{Child, Guardian, Supervisor};
pub use tree::{TreeState, Verdict};

pub(crate) use guard::text_of;

#[cfg(panic = "abort")]
compile_error!("plantwin needs `panic = \"unwind\"`: the guardian restarts what panics");
