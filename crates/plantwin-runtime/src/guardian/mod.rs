//! The guardian: keeps twins alive without losing their mail.
//!
//! `actix::Supervisor` does not restart an actor that panics, so this does: it owns the actor's
//! context future, catches the unwinding, waits as the [`RestartPolicy`] says and restarts the
//! same actor behind the same address and mailbox. What the actor's state becomes and what
//! happens to the envelope it was handling is the twin's business (`plantwin-twin`).
//! Absent: network failures, which are no crash.

mod guard;
mod policy;
#[cfg(test)]
mod tests;

pub use guard::{GuardEvent, GuardWatcher, Seat, Ward, seat};
pub use policy::{Decision, RestartHistory, RestartPolicy};

#[cfg(panic = "abort")]
compile_error!("plantwin needs `panic = \"unwind\"`: the guardian restarts what panics");
