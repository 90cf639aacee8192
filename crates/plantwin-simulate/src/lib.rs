//! The whole runtime in virtual time: the same seed, the same run.
//!
//! [`run`] takes a seed and makes of it a plant of simulated devices, operators who command it,
//! and everything that goes wrong: wires that hang, letters that crash their twin, disks that
//! fail at one operation, processes that die between two, clocks that jump. The runtime under
//! test is the real one ([`plantwin_runtime::assemble`]), put on one thread under a paused clock;
//! only its edges are simulated: the network as a [`plantwin_adapter::Protocol`]
//! ([`SimProtocol`]), the disk as a store, time as a [`VirtualClock`]. What a bystander sees is
//! judged by [`plantwin_model::invariant`].
//!
//! ```
//! use plantwin_simulate::{RunRequest, run};
//!
//! let request = RunRequest { seed: 4, minutes: 1, trace: false, planted: None };
//! let report = run(&request);
//! assert!(report.virtual_time.as_secs() >= 60);
//! // Once more, and every event happens again in its order.
//! assert_eq!(run(&request).trace_hash, report.trace_hash);
//! ```
//!
//! To run many seeds: `cargo xtask simulate --seeds 1000`; to see one event by event:
//! `cargo xtask simulate --seed 7 --trace`. [`Planted`] faults show that it finds what it looks
//! for. Absent: several threads (races between them are for the tests of the real runtime), real
//! protocols and disks (for the kill loops and the damage images).

mod clock;
mod disk;
mod drill;
mod journal;
mod net;
mod operator;
mod random;
mod scene;
mod world;

pub use clock::VirtualClock;
pub use net::SimProtocol;
pub use random::Chance;
pub use world::{Planted, Report, RunRequest, run};
