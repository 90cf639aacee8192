//! The policy: who may do what, and what may cross from zone to zone. What no rule allows is
//! denied.
//!
//! [`Policy::compile`] turns the rules of a plant file into tables, one row of bits per recipient
//! (device and point), per subject and per action; a decision is three ANDs and the limits of the
//! rules that are left ([`Policy::decide`]). [`Policy::explain`] asks the same of the rules as
//! they are written, without the tables, and says which rule and which line. [`PolicyDesk`] holds
//! the policy in force; a new one takes its place in one step.
//!
//! Roles do not contain each other in rules: a grant to `operator` is for operators alone. The
//! least role that a command of a type demands is a floor under every rule, and there roles do
//! have their order. A plant file without grants has the [built-in](builtin_grants) ones.
//!
//! Absent: carrying a decision out (the router, lines and flows), who somebody is (the control
//! socket; sessions of devices), writing it down (the audit).

mod bits;
mod builtin;
mod compile;
mod conduits;
mod decide;
mod desk;
mod errand;
mod explain;
mod passphrase;
mod principal;
mod quick;
mod rates;
mod second;
#[cfg(test)]
mod tests;

pub use builtin::builtin_grants;
pub use compile::Policy;
pub use conduits::PathRight;
pub use decide::{Decision, Limit, Object, Subject, Verdict};
pub use desk::{FlowGate, PolicyDesk, Ruling};
pub use errand::{Errand, errand_of};
pub use explain::{Explanation, Question, RuleRef};
pub use passphrase::{hash_passphrase, verify_nobody, verify_passphrase};
pub use principal::Principal;
pub use rates::Rates;
