//! The control socket: how `status`, `tap`, `tui` and commands reach a running plant.
//!
//! A Unix socket in the plant's folder; one JSON value a line, both ways. Who is asking is what the
//! operating system says of the other end, or who proves to be somebody by a passphrase. Its mode
//! is 0600 unless the policy has users who are not the owner; then others may reach it too, as far
//! as the folder lets them. Absent: access over a network.

mod client;
mod door;
mod lockout;
mod place;
mod server;
mod sight;
pub(crate) mod status;
pub(crate) mod wire;

pub(crate) use client::{answer, ask, attach, outcome_of, random_key, refusal};
pub(crate) use door::whoever_runs_this;
pub(crate) use place::{Place, find};
pub(crate) use server::{Reread, Server};
