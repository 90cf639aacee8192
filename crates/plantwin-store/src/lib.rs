//! What must outlive the process: twin state, alarms, ledgers.
//!
//! [`Store`] is all that others know; [`SledStore`] keeps it on disk, [`MemoryStore`] in memory
//! for tests. A write is safe **only after [`Store::flush`] returned**: acknowledge nothing before.
//! Every record carries its layout, a growing sequence and a BLAKE3 checksum over tree, key and
//! value, so that damage is found and not read. A damaged store is set aside, never deleted, and
//! the plant starts with a fresh one and a report ([`OpenReport`]) that its operator must see.
//!
//! The checksum finds accidents, not attackers: who can write the files can compute it. Absent
//! so far: encryption at rest, the outbox and segment log, salvaging a damaged store. This is the
//! only crate that names `sled`.
//!
//! ```
//! use plantwin_store::{MemoryStore, Store, StoreExt, Tree};
//!
//! const LEVELS: Tree = Tree::new("levels");
//! let store = MemoryStore::new();
//! store.put_value(LEVELS, "tank1", &12.4_f64)?;
//! store.flush()?;
//! assert_eq!(store.get_value::<f64>(LEVELS, "tank1")?, Some(12.4));
//! # Ok::<(), plantwin_store::StoreError>(())
//! ```

#[cfg(panic = "abort")]
compile_error!("plantwin-store survives a damaged store by catching panics: build with unwinding");

mod error;
mod head;
mod lock;
mod memory;
mod open;
mod record;
mod sled_store;
mod store;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use memory::MemoryStore;
pub use open::OpenReport;
pub use sled_store::SledStore;
pub use store::{KEY_LIMIT, Store, StoreExt, Tree, VALUE_LIMIT, Write};
