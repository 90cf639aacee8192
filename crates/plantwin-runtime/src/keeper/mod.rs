//! The keeper: what must outlive the process goes to the disk here, and is acknowledged from
//! here when it is safe.
//!
//! | what | lane | where | when the disk fails |
//! |---|---|---|---|
//! | alarms, steps of commands | A, C | log | whoever waits is told; what must be on record is tried again |
//! | telemetry, letters set aside | T1 | spool, tree | waits, unconfirmed, so that its source keeps it |
//! | state of twins | T0 | tree | the newest waits |
//!
//! Nothing waits for a group to fill: what comes while the disk is busy with one group is the next
//! one. Everything that waits goes out together, at most [`GROUP`] records of each of the first two
//! kinds at a time, and is flushed once. After a failure the store is mended ([`Store::mend`],
//! sled repeats an error for ever), what was not confirmed is taken out of the spool, and the same
//! group goes out again: nothing is lost, and nothing is there twice. While the log refuses, it is
//! asked a few times a second and no more often; who waits for it is told at once, also of what
//! stands behind the group that was tried. A disk that does not answer at all is one that refuses,
//! from the moment on that it takes too long ([`hung`]) until it answers. Queues are bounded by who fills them: an open command
//! has one step under way, a twin one list of alarms, a line 64 unconfirmed frames (and as
//! many without a receipt, beyond which it stops reading), a twin one state.
//! Absent: what records say, sending telemetry on (`northbound`).

#[cfg(doc)]
use plantwin_store::Store;

mod before;
mod hung;
mod pause;
mod queue;
mod shell;
mod status;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use queue::{DurableJob, LetterChange, Receipted};
pub(crate) use shell::{Keeper, KeeperPlace};
#[cfg(test)]
pub(crate) use tests::hang::Gate;

/// Most records of alarms and commands between two flushes, and as many of telemetry.
pub(crate) const GROUP: usize = 64;
