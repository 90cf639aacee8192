//! The twin: one actor per physical device.
//!
//! A twin holds its device's session, its energy budget, its alarms and its model, and answers
//! one kind of letter: a sealed [`TwinMail`]. What comes off a device's wire, what an operator
//! asks and what flows in from a neighbour all arrive that way, in order, in one bounded
//! mailbox. The thinking is in [`TwinCore`], which is pure: mail in, [`Effect`]s out. The
//! actor around it ([`Twin`]) opens envelopes, carries effects out and survives panics:
//! the guardian of `plantwin-runtime` restarts it, it goes back to its last committed state and
//! handles the envelope that was open once more.
//!
//! Absent: connecting (the device's line in the runtime does), routing, and who may do what.

mod actor;
mod event;
mod mail;
mod plan;
mod post;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub use actor::{LinePort, Sealing, Twin, TwinInit};
pub use event::{Observed, ObservedPoint, TwinEvent};
pub use mail::{
    CommandMail, FlowMail, FrameMail, LinkDownMail, LinkUpMail, SessionMail, TwinMail, WrittenMail,
};
pub use plan::{FlowOutlet, TwinPlan};
pub use post::{Gauge, Mail, Mailbox, PostError};
pub use session::{Reading, Refused, Session};
pub use state::{Effect, Effects, TwinCore, Vital};
