//! The gateway's side of a session start.
//!
//! Absent: rate limits and stateless cookies against floods of session starts; ending a session
//! that is up when its key is revoked or its token expires (its owner watches
//! [`SessionGrant::expires`] and starts anew).

use std::{fmt, sync::Arc, time::Duration};

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::{Signature, VerifyingKey, random_bytes};

use crate::{
    AuthError, CLOCK_SKEW, Revocations, Token,
    token::key_hash,
    wire::{self, Answer},
};

/// How long a challenge waits for its answer.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(30);

/// A challenge that was sent. [`Verifier::verify`] takes it away: it is answered at most once.
#[derive(Debug)]
pub struct PendingChallenge {
    bytes: Vec<u8>,
    made: Timestamp,
}

impl PendingChallenge {
    /// What to send to the device.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A device that proved who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionGrant {
    /// The device.
    pub device: DeviceId,
    /// The token it showed.
    pub token_id: [u8; 16],
    /// When the session must be started anew.
    pub expires: Timestamp,
}

/// Checks answers for one gateway.
#[derive(Clone)]
pub struct Verifier {
    issuer: VerifyingKey,
    gateway: Arc<str>,
    revocations: Arc<Revocations>,
}

impl Verifier {
    /// A verifier that trusts `issuer`. See also [`crate::Authority::verifier`].
    pub fn new(issuer: VerifyingKey, gateway: &str, revocations: Arc<Revocations>) -> Self {
        Self { issuer, gateway: gateway.into(), revocations }
    }

    /// A fresh challenge.
    pub fn challenge(&self, now: Timestamp) -> Result<PendingChallenge, AuthError> {
        let bytes = wire::challenge(&random_bytes()?, &self.gateway)?;
        Ok(PendingChallenge { bytes, made: now })
    }

    /// Checks an answer: format, challenge, issuer, device, zone, time, key, possession,
    /// revocation. The first that fails is the error.
    pub fn verify(
        &self,
        pending: PendingChallenge,
        answer: &[u8],
        device: &DeviceId,
        zone: &ZoneId,
        now: Timestamp,
    ) -> Result<SessionGrant, AuthError> {
        let answer = Answer::decode(answer)?;
        if *answer.challenge != wire::challenge_digest(&pending.bytes) {
            return Err(AuthError::Replayed);
        }
        if now.since(pending.made) > CHALLENGE_LIFE {
            return Err(AuthError::StaleChallenge);
        }
        let claims = Token::verify(&self.issuer, answer.token)?;
        if claims.device != *device {
            return Err(AuthError::WrongDevice(claims.device));
        }
        if claims.zone != *zone {
            return Err(AuthError::WrongZone);
        }
        if claims.issued > now.plus(CLOCK_SKEW) {
            return Err(AuthError::NotYetValid);
        }
        if now >= claims.expires {
            return Err(AuthError::Expired);
        }
        if claims.cnf != key_hash(answer.key) {
            return Err(AuthError::WrongKey);
        }
        let proof = wire::proof(&pending.bytes, &claims.token_id);
        VerifyingKey::from_bytes(answer.key)
            .and_then(|key| key.verify_strict(&proof, &Signature::from_bytes(answer.signature)))
            .map_err(|_| AuthError::NoPossession)?;
        // Last, so that only the device itself learns that it was revoked.
        if self.revocations.contains(&claims.cnf) {
            return Err(AuthError::Revoked);
        }
        Ok(SessionGrant {
            device: claims.device,
            token_id: claims.token_id,
            expires: claims.expires,
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}
