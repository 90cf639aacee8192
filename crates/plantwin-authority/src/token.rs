//! The token: what the authority says of a device, for ten minutes.
//!
//! `claims (postcard) | issuer's Ed25519 signature 64 B`, the signature over a domain prefix and
//! exactly the bytes of the claims. Absent: capabilities, epochs and audience, which come with
//! the policy; renewal (the owner of a [`crate::DeviceAgent`] fetches a new one).

use std::time::Duration;

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::{
    DIGEST_BYTES, SIGNATURE_BYTES, Signature, SigningKey, VerifyingKey, hash, random_bytes,
};
use serde::{Deserialize, Serialize};

use crate::AuthError;

/// Life of a token.
pub const TOKEN_LIFE: Duration = Duration::from_mins(10);
/// How far the issuer's clock may be ahead of the verifier's.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);

const DOMAIN: &[u8] = b"plantwin v1 token";

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Random and unique.
    pub token_id: [u8; 16],
    /// The device.
    pub device: DeviceId,
    /// Its zone.
    pub zone: ZoneId,
    /// Hash of the device's public key.
    pub cnf: [u8; DIGEST_BYTES],
    /// When it was issued.
    pub issued: Timestamp,
    /// From when on it is worth nothing.
    pub expires: Timestamp,
}

/// Claims with the bytes that were signed and the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    claims: Claims,
    bytes: Vec<u8>,
}

impl Token {
    /// Issues a token for the holder of `key`.
    pub(crate) fn issue(
        issuer: &SigningKey,
        device: &DeviceId,
        zone: &ZoneId,
        key: &VerifyingKey,
        now: Timestamp,
    ) -> Result<Self, AuthError> {
        let claims = Claims {
            token_id: random_bytes()?,
            device: device.clone(),
            zone: zone.clone(),
            cnf: key_hash(key.as_bytes()),
            issued: now,
            expires: now.plus(TOKEN_LIFE),
        };
        let mut bytes = postcard::to_stdvec(&claims)
            .map_err(|_| AuthError::Malformed("the claims cannot be encoded"))?;
        let signature = issuer.sign(&signed(&bytes));
        bytes.extend(signature.to_bytes());
        Ok(Self { claims, bytes })
    }

    /// Reads a token without believing it: only a [`crate::Verifier`] checks the signature.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AuthError> {
        let (claims, _) = split(bytes)?;
        let Ok((claims, [])) = postcard::take_from_bytes(claims) else {
            return Err(AuthError::Malformed("no token"));
        };
        Ok(Self { claims, bytes: bytes.to_owned() })
    }

    /// The bytes, for the device that shall bear it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Believes `bytes` if `issuer` signed them. The signature comes before the parsing, so that
    /// claims are never read from bytes that anybody could have made.
    pub(crate) fn verify(issuer: &VerifyingKey, bytes: &[u8]) -> Result<Claims, AuthError> {
        let (claims, signature) = split(bytes)?;
        issuer
            .verify_strict(&signed(claims), &Signature::from_bytes(signature))
            .map_err(|_| AuthError::Forged)?;
        Ok(Self::from_bytes(bytes)?.claims)
    }
}

/// What binds a token to a key.
pub(crate) fn key_hash(key: &[u8]) -> [u8; DIGEST_BYTES] {
    hash(&[b"plantwin v1 device key", key])
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE_BYTES]), AuthError> {
    bytes.split_last_chunk().ok_or(AuthError::Malformed("the token is too short"))
}

fn signed(claims: &[u8]) -> Vec<u8> {
    [DOMAIN, claims].concat()
}
