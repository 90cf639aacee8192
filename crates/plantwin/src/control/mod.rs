//! The control socket: how `status`, `tap`, `tui` and commands reach a running plant.
//!
//! A Unix socket with mode 0600 in the plant's folder; one JSON value a line, both ways.
//! Absent: access over a network.

mod client;
mod place;
mod server;
pub(crate) mod status;
pub(crate) mod wire;

pub(crate) use client::{ask, attach, outcome_of, random_key};
pub(crate) use place::{Place, find};
pub(crate) use server::Server;
