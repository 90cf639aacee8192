//! The harness of the end-to-end tests: the real binary, its status, foreign peers.
//!
//! Everything waits for what it wants to see, with a generous limit, and ends what it started.
//! Absent: the tests themselves (see `e2e/` and `house/`).

mod peer;
mod plant;
mod wait;

pub use peer::{Peer, available, free_port};
pub use plant::{Plant, binary, changed, command, run_to_end, scenario, shipped, twin};
pub use wait::{PATIENCE, wait_for, wait_until};
