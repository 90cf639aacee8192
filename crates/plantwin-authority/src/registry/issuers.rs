//! Keys that sign: the root, which may lie elsewhere, and the issuers that follow one another.
//!
//! An issuer lives 30 days. When another follows, the old one signs nothing more, and what it
//! signed is honoured for 24 hours; then, or at once if asked, its mark goes on the revocation list,
//! so that a stolen one ends before its certificate does. Absent: the file of an offline root
//! ([`super::root_file`]).

use std::time::Duration;

use plantwin_model::Timestamp;
use plantwin_seal::{SigningKey, VerifyingKey, hash};

use super::{
    Registry,
    kept::Kept,
    op::{AuthorityReply, IssuerRequest},
    state::{Issuer, NextIssuer},
};
use crate::{
    AuthError, CLOCK_SKEW,
    pws::{IssuerCert, RevocationList},
};

/// How long an issuer's certificate holds.
pub const ISSUER_LIFE: Duration = Duration::from_hours(30 * 24);
/// How long an issuer is honoured after another followed.
pub const ISSUER_OVERLAP: Duration = Duration::from_hours(24);
/// An issuer with less life left than this is followed by another, if the root key lies here, and
/// complained of if not.
pub const ISSUER_DUE: Duration = Duration::from_hours(5 * 24);
/// How long a voucher is remembered after its end, so that its user is told what is wrong.
const VOUCHER_MEMORY: Duration = Duration::from_hours(24);

/// What stands on the revocation list for an issuer with this public key that is worth nothing any
/// more. Whoever believes what an issuer signed looks for it there; the key stands in front of it.
pub fn issuer_mark(issuer: &[u8; 32]) -> [u8; 32] {
    hash(&[b"plantwin v1 retired issuer", issuer])
}

impl IssuerRequest {
    /// Signs it; for whoever holds the root key.
    ///
    /// # Errors
    /// [`AuthError::WrongRoot`] if another root is asked for.
    pub fn sign(&self, root: &SigningKey) -> Result<Vec<u8>, AuthError> {
        if *root.verifying_key().as_bytes() != self.root {
            return Err(AuthError::WrongRoot);
        }
        let issuer = VerifyingKey::from_bytes(&self.issuer)?;
        let cert = IssuerCert::sign(root, issuer, self.serial, self.not_before, self.not_after);
        Ok(cert.to_bytes().to_vec())
    }
}

impl Registry {
    /// The root's public key.
    ///
    /// # Errors
    /// [`AuthError::Seal`] if the state was made of something else; it is sealed, so it was not.
    pub fn root(&self) -> Result<VerifyingKey, AuthError> {
        Ok(VerifyingKey::from_bytes(&self.state.root)?)
    }

    pub(super) fn rotate(
        &mut self,
        overlap: bool,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let seed = self.state.root_seed.as_ref().ok_or(AuthError::RootElsewhere)?;
        let root = SigningKey::from_seed(seed.expose());
        let request = self.prepare(now)?;
        self.install(&request.sign(&root)?, overlap, now)
    }

    /// Makes the next issuer's key.
    pub(super) fn prepare(&mut self, now: Timestamp) -> Result<IssuerRequest, AuthError> {
        let key = SigningKey::generate()?;
        let serial = self.state.issuer().map_or(0, |i| i.serial).saturating_add(1);
        let next = NextIssuer {
            seed: Kept::copy_of(key.expose_seed()),
            serial,
            not_before: now,
            not_after: now.plus(ISSUER_LIFE),
        };
        let request = IssuerRequest {
            issuer: *key.verifying_key().as_bytes(),
            serial,
            not_before: next.not_before,
            not_after: next.not_after,
            root: self.state.root,
        };
        self.change().next_issuer = Some(next);
        Ok(request)
    }

    /// Takes the next issuer into use.
    pub(super) fn install(
        &mut self,
        cert: &[u8],
        overlap: bool,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let next = self.state.next_issuer.clone().ok_or(AuthError::NoIssuerRequest)?;
        let read = IssuerCert::verify(&self.root()?, cert, now)?;
        let key = SigningKey::from_seed(next.seed.expose());
        let asked = (next.serial, next.not_before, next.not_after);
        if read.issuer != key.verifying_key()
            || (read.serial, read.not_before, read.not_after) != asked
        {
            return Err(AuthError::IssuerForged);
        }
        let state = self.change();
        let end = if overlap { now.plus(ISSUER_OVERLAP) } else { now };
        for old in &mut state.issuers {
            let earlier = old.retires.map_or(end, |retires| retires.min(end));
            old.retires = Some(earlier.min(old.not_after));
        }
        state.next_issuer = None;
        state.issuers.push(Issuer {
            seed: next.seed,
            cert: cert.to_vec(),
            serial: next.serial,
            not_after: next.not_after,
            retires: None,
        });
        self.retire(now);
        Ok(AuthorityReply::Done)
    }

    pub(super) fn export_root(&self) -> Result<AuthorityReply, AuthError> {
        self.state.root_seed.clone().map(AuthorityReply::Root).ok_or(AuthError::RootElsewhere)
    }

    pub(super) fn forget_root(&mut self) -> Result<AuthorityReply, AuthError> {
        if self.state.root_seed.is_none() {
            return Err(AuthError::RootElsewhere);
        }
        self.change().root_seed = None;
        Ok(AuthorityReply::Done)
    }

    /// Whether the root's secret lies here.
    pub const fn root_is_here(&self) -> bool {
        self.state.root_seed.is_some()
    }

    /// Whether upkeep has something to do.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state.issuers.iter().any(|i| i.retires.is_some_and(|r| r <= now))
            || self.state.retired.values().any(|end| gone(*end, now))
            || (self.issuer_is_due(now) && self.state.root_seed.is_some())
    }

    /// Whether the issuer in use has little life left.
    pub fn issuer_is_due(&self, now: Timestamp) -> bool {
        self.state.issuer().is_none_or(|i| i.not_after.since(now) < ISSUER_DUE)
    }

    /// What time alone brings. Gives whether a new issuer was made.
    pub(super) fn upkeep(&mut self, now: Timestamp) -> Result<bool, AuthError> {
        self.retire(now);
        let old = |v: &super::state::Voucher| now.since(v.expires) > VOUCHER_MEMORY;
        if self.state.vouchers.values().any(old) {
            self.change().vouchers.retain(|_, v| !old(v));
        }
        let due = self.issuer_is_due(now) && self.state.root_seed.is_some();
        if due {
            self.rotate(true, now)?;
        }
        Ok(due)
    }

    /// Puts issuers whose overlap is over on the list, and takes those off that are over anyway.
    fn retire(&mut self, now: Timestamp) {
        let over = |i: &Issuer| i.retires.is_some_and(|retires| retires <= now);
        if self.state.issuers.iter().any(over) {
            let state = self.change();
            for issuer in state.issuers.extract_if(.., |i| over(i)) {
                let key = SigningKey::from_seed(issuer.seed.expose()).verifying_key();
                state.retired.insert(issuer_mark(key.as_bytes()), issuer.not_after);
            }
            state.revocation_serial += 1;
        }
        if self.state.retired.values().any(|end| gone(*end, now)) {
            let state = self.change();
            state.retired.retain(|_, end| !gone(*end, now));
            state.revocation_serial += 1;
        }
    }

    /// What gateways have to refuse.
    pub fn revocations(&self, now: Timestamp) -> RevocationList {
        let revoked = self.state.revoked.iter().chain(self.state.retired.keys()).copied();
        RevocationList {
            serial: self.state.revocation_serial,
            issued: now,
            revoked: revoked.collect(),
        }
    }

    /// The same, signed.
    pub fn signed_revocations(&self, now: Timestamp) -> Result<Vec<u8>, AuthError> {
        let (key, cert) = self.signer(now)?;
        self.revocations(now).sign(&key, cert)
    }

    /// The key in use, and its certificate.
    pub(super) fn signer(&self, now: Timestamp) -> Result<(SigningKey, &[u8]), AuthError> {
        let issuer = self.state.issuer().ok_or(AuthError::IssuerExpired)?;
        if now >= issuer.not_after {
            return Err(AuthError::IssuerExpired);
        }
        Ok((SigningKey::from_seed(issuer.seed.expose()), &issuer.cert))
    }
}

/// Whether a certificate is over for everybody, however slow a clock.
fn gone(end: Timestamp, now: Timestamp) -> bool {
    now.since(end) > CLOCK_SKEW
}
