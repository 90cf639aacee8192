//! Commands with exactly one effect, or none and a word of why.
//!
//! A command is *intended* (on disk before it is accepted), *sent* (on disk before a byte
//! leaves) and has an *outcome* (on disk before it is told). Whatever stops the process in
//! between, the journal tells the next run where it stood:
//!
//! | the journal ends with | the device | what is done |
//! |---|---|---|
//! | nothing | has not acted | nobody was told that it was accepted |
//! | intent | has not acted | it expired: it is not sent late by another run |
//! | sent | may have acted | never sent again: *read back*, until the device shows it or shows otherwise |
//! | outcome | is known | the outcome is told again to whoever asks under the same key |
//!
//! [`Commands`] is the pure core: input to outputs, no clock, no disk, no threads. [`Desk`] is
//! the shell around it. Absent: who may command what (the router), writing (line and twin).

mod desk;
mod recover;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub(crate) use desk::{CommandDesk, Gate};
pub(crate) use recover::{condensed, open_keys};
pub(crate) use state::{Ask, Commands, Output, PointSeen, REMEMBERED};
pub(crate) use step::{CommandStep, Intent};
