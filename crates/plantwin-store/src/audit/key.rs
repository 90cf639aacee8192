//! The key of the trail, from that of the store beside it.
//!
//! A running plant has its store open and asks it ([`crate::SledStore::key_for`] with
//! [`AUDIT_KEY`]); whoever only reads takes it from the data directory. Absent: what the trail
//! derives from it.

use std::path::Path;

use plantwin_seal::{Secret, derive_key};

use crate::{KeySource, StoreError, key::Keys};

/// Context under which the trail's key is derived from that of the store.
pub const AUDIT_KEY: &str = "plantwin v1 audit trail";

/// The audit key of the data directory `data`; `None` if it has no store's key. A plant may run on
/// it meanwhile.
///
/// # Errors
/// [`StoreError::WrongKey`], [`StoreError::Key`] and [`StoreError::File`], as when opening a store.
pub fn audit_key(data: &Path, source: &KeySource) -> Result<Option<Secret>, StoreError> {
    let keys = Keys::load(data, source)?;
    Ok(keys.map(|keys| derive_key(AUDIT_KEY, &[keys.rest.expose()])))
}
