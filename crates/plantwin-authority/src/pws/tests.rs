//! One test for each way to fail, each with its own reason, and those for the ways to succeed.

mod enrolment;
mod factors;
mod flips;
mod gate;
mod grace;
mod parts;
mod path;
mod rig;
mod session;
