//! What must outlive the process: twin state, alarms, commands, audit, ledgers, the outbox.
//!
//! [`Store`] is all that others know; [`SledStore`] keeps it on disk, [`MemoryStore`] in memory
//! for tests. A write is safe **only after [`Store::flush`] returned**: acknowledge nothing before.
//! There are trees of records (sled), and a log (own segment files). [`Spool`] is an outbox over
//! any store.
//!
//! **Damage.** Every record carries a sequence and is authenticated, every tree has a head with
//! count and digest of its records, and the marks, outside the data base, say what was promised
//! last. So what is altered is not read, and what is gone is counted. What is damaged is set
//! aside, never deleted; what can be rebuilt is rebuilt; [`OpenReport`] tells the operator the rest.
//!
//! **At rest.** Everything that lies in the files is sealed: values, the payloads, times and kinds
//! of the log, the marks; of a key what stands before its first NUL (names of devices, points and
//! alarms) is hashed with a key and sealed in the record. All keys come from one data key in the
//! file `key`, without which nothing is touched. It is wrapped as [`KeySource`] says, and
//! [`rewrap`] changes that under a running plant. What a reader of the files without the key still
//! learns: the names of trees, how many names and records there are, their lengths, their
//! sequences, and when they change. Who has the key can read and forge everything. An older copy
//! of the whole directory is whole: only its boot count, or an audit checkpoint kept elsewhere,
//! tells it from the newest.
//!
//! **A full disk.** sled repeats its first error for ever, and after a panic it is not to be
//! trusted: [`Store::mend`] opens the trees anew in place, [`Spool::reopen`] follows.
//!
//! **Time.** Opening reads and verifies everything, some seconds for a million records. However long
//! it takes, as long as it goes on it is waited for. One that hangs while its disk answers is left in
//! place and built anew beside it; if the disk hangs as well, that is an error.
//!
//! A directory: `lock`, `key`, `marks`, `state/` (sled), `log/` (segments), what was set aside,
//! `state.next/` until the data base that hangs is free, and `rebuild`, if an operator asks for the
//! trees to be built anew.
//!
//! Absent so far: changing the data key, transactions over several trees. This is the only crate
//! that names `sled`.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use plantwin_model::Timestamp;
//! use plantwin_store::{LogKind, MemoryStore, Store, StoreExt, Tree};
//!
//! const LEVELS: Tree = Tree::new("levels");
//! let store = MemoryStore::new();
//! store.put_value(LEVELS, "tank1", &12.4_f64)?;
//! let sequence = store.append(LogKind::Alarm, Timestamp::from_millis(5), b"tank1 is high")?;
//! store.flush()?;
//! store.put_value(LEVELS, "tank1", &13.0_f64)?;
//! store.crash(); // before a flush
//! assert_eq!(store.get_value::<f64>(LEVELS, "tank1")?, Some(12.4));
//! store.read_log(sequence, &mut |record| {
//!     assert_eq!(record.payload, b"tank1 is high");
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), plantwin_store::StoreError>(())
//! ```

#[cfg(panic = "abort")]
compile_error!("plantwin-store survives a damaged store by catching panics: build with unwinding");

mod aside;
pub mod audit;
mod beside;
mod disk;
mod error;
mod files;
mod head;
mod helper;
mod key;
mod key_file;
mod key_source;
mod lock;
mod log;
mod marks;
mod memory;
mod mend;
mod names;
mod open;
mod rebuild;
mod record;
mod report;
mod rewrap;
mod salvage;
mod sled_store;
pub mod spool;
mod state;
mod store;
pub mod testing;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use key_source::{KeySource, Wrapping};
pub use memory::MemoryStore;
pub use report::{Finding, OpenReport};
pub use rewrap::{KeyInfo, key_info, rewrap};
pub use sled_store::SledStore;
pub use spool::{Spool, SpoolLimits};
pub use store::{
    KEY_LIMIT, LogKind, LogRecord, PAYLOAD_LIMIT, Store, StoreExt, Tree, VALUE_LIMIT, Write,
};
