//! The harness of the end-to-end tests and of the long runs: the real binary, its status, foreign
//! peers.
//!
//! Everything waits for what it wants to see, with a generous limit, and ends what it started.
//! Absent: the tests themselves (see `e2e/` and `house/`).

pub mod args;
pub mod broker;
mod control;
pub mod killloop;
mod peer;
mod plant;
pub mod random;
pub mod soak;
mod wait;

pub use control::{Asked, Control, Outcome};
pub use peer::{Peer, available, free_port};
pub use plant::{Plant, binary, changed, command, run_to_end, scenario, shipped, twin};
pub use wait::{PATIENCE, now, wait_for, wait_until};
