//! Keys that are worth nothing any more: the issuer's signed list, and the handle that everybody
//! looks it up in.
//!
//! A list has all revoked keys and replaces the one before; its serial only rises, so that an old
//! list cannot bring a key back. Absent: fetching lists, alarms about old ones (the owner compares
//! [`Revoked::age`] with its limit).

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use plantwin_model::Timestamp;
use plantwin_seal::{DIGEST_BYTES, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::cert;
use crate::AuthError;

const LIST: &[u8] = b"plantwin v1 revocation list";

/// All keys that were revoked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RevocationList {
    /// Rises with every list.
    pub serial: u64,
    /// When it was made.
    pub issued: Timestamp,
    /// Hashes of the keys ([`crate::pws::DevicePublic::cnf`]).
    pub revoked: BTreeSet<[u8; DIGEST_BYTES]>,
}

impl RevocationList {
    /// The signed bytes; `cert` is the issuer's own certificate.
    pub fn sign(&self, issuer: &SigningKey, cert: &[u8]) -> Result<Vec<u8>, AuthError> {
        cert::sign(LIST, issuer, cert, self)
    }

    /// Believes `bytes` if an issuer of `root` signed them.
    ///
    /// # Errors
    /// [`AuthError::RevocationsForged`], [`AuthError::IssuerExpired`].
    pub fn verify(root: &VerifyingKey, bytes: &[u8], now: Timestamp) -> Result<Self, AuthError> {
        cert::verify(LIST, &AuthError::RevocationsForged, root, bytes, now)
    }
}

/// The newest list, shared by all who check sessions; a change is effective at once.
#[derive(Clone, Debug, Default)]
pub struct Revoked(Arc<RwLock<Newest>>);

#[derive(Debug, Default)]
struct Newest {
    list: Arc<RevocationList>,
    heard: Option<Timestamp>,
}

impl Revoked {
    /// Takes a list whose origin is certain: verified, or of the authority in this process. The
    /// same list once more proves that it is still the newest.
    ///
    /// # Errors
    /// [`AuthError::RevocationsOld`] for one with a lower serial, or with the same and other keys.
    pub fn adopt(&self, list: Arc<RevocationList>, now: Timestamp) -> Result<(), AuthError> {
        let mut newest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = newest.list.serial;
        let same = Arc::ptr_eq(&list, &newest.list)
            || list.serial == known && list.revoked == newest.list.revoked;
        if list.serial <= known && !same {
            return Err(AuthError::RevocationsOld { got: list.serial, known });
        }
        *newest = Newest { list, heard: Some(now) };
        Ok(())
    }

    /// Verifies a signed list and takes it.
    ///
    /// # Errors
    /// As [`RevocationList::verify`] and [`Self::adopt`].
    pub fn accept(
        &self,
        root: &VerifyingKey,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), AuthError> {
        self.adopt(Arc::new(RevocationList::verify(root, bytes, now)?), now)
    }

    /// Whether the keys with this hash were revoked.
    pub fn contains(&self, cnf: &[u8; DIGEST_BYTES]) -> bool {
        self.newest().revoked.contains(cnf)
    }

    /// The newest list.
    pub fn newest(&self) -> Arc<RevocationList> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).list)
    }

    /// How long ago the newest list was heard of, if ever.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).heard.map(|heard| now.since(heard))
    }
}
