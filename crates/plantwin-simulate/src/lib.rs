//! x
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
