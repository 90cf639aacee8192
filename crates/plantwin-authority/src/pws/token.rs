//! The second factor: a token of ten minutes for one device, its keys and one gateway, and the
//! secret that belongs to it.
//!
//! The token alone proves nothing, since it travels; the secret ([`token_psk`]) does not. It goes
//! to the device sealed for its key, and the gateway computes it from a secret that it shares with
//! the authority, so that it has nothing to store. Absent: renewal (the device's owner asks),
//! revocation (see [`crate::pws::Revoked`]), capabilities themselves: a token carries their hash.

use std::time::Duration;

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::{
    DIGEST_BYTES, DhKey, DhPublic, SealError, Secret, SigningKey, VerifyingKey, derive_key,
    open_from, seal_to,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::cert;
use crate::AuthError;

/// Longest life of a token.
pub const TOKEN_LIFE: Duration = Duration::from_mins(10);
/// How far the issuer's clock may be ahead of the verifier's.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);
const TOKEN: &[u8] = b"plantwin v1 session token";
const SEALED_PSK: &[u8] = b"plantwin v1 sealed token psk";
const SEALED_ORIGIN: &[u8] = b"plantwin v1 sealed origin key";

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenClaims {
    /// Random and unique.
    pub token_id: [u8; 16],
    /// The device.
    pub device: DeviceId,
    /// Its zone.
    pub zone: ZoneId,
    /// The gateway that it may be shown to.
    pub gateway: String,
    /// Hash of the device's keys ([`crate::pws::DevicePublic::cnf`]).
    pub cnf: [u8; DIGEST_BYTES],
    /// Hash of what the device may do.
    pub caps: [u8; DIGEST_BYTES],
    /// The policy at the time of issue.
    pub policy_epoch: u64,
    /// Serial of the revocation list at the time of issue.
    pub rev_epoch: u64,
    /// When it was issued.
    pub issued: Timestamp,
    /// From when on it is worth nothing.
    pub expires: Timestamp,
}

/// Claims with the bytes that were signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PwsToken {
    claims: TokenClaims,
    bytes: Vec<u8>,
}

impl PwsToken {
    /// Signs `claims`; `cert` is the issuer's own certificate.
    ///
    /// # Errors
    /// [`AuthError::LifeTooLong`] for more than [`TOKEN_LIFE`], [`AuthError::IssuerForged`] if the
    /// certificate is of another key.
    pub fn issue(issuer: &SigningKey, cert: &[u8], claims: TokenClaims) -> Result<Self, AuthError> {
        check_life(&claims)?;
        let bytes = cert::sign(TOKEN, issuer, cert, &claims)?;
        Ok(Self { claims, bytes })
    }

    /// What it says.
    pub const fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// What [`Self::verify`] reads.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Believes `bytes` if an issuer of `root` signed them and they hold at `now`.
    ///
    /// # Errors
    /// [`AuthError::Forged`], [`AuthError::IssuerExpired`], [`AuthError::LifeTooLong`],
    /// [`AuthError::NotYetValid`], [`AuthError::Expired`].
    pub fn verify(
        root: &VerifyingKey,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<TokenClaims, AuthError> {
        Self::verify_with_grace(root, bytes, now, Duration::ZERO)
    }

    /// As [`Self::verify`], still taking a token up to `grace` after its end.
    pub(crate) fn verify_with_grace(
        root: &VerifyingKey,
        bytes: &[u8],
        now: Timestamp,
        grace: Duration,
    ) -> Result<TokenClaims, AuthError> {
        let claims: TokenClaims = cert::verify(TOKEN, &AuthError::Forged, root, bytes, now)?;
        check_life(&claims)?;
        if claims.issued > now.plus(CLOCK_SKEW) {
            return Err(AuthError::NotYetValid);
        }
        if now >= claims.expires.plus(grace) {
            return Err(AuthError::Expired);
        }
        Ok(claims)
    }
}

fn check_life(claims: &TokenClaims) -> Result<(), AuthError> {
    // `since` is zero for a token that ends before it begins, which [`AuthError::Expired`] catches.
    if claims.expires.since(claims.issued) > TOKEN_LIFE {
        return Err(AuthError::LifeTooLong);
    }
    Ok(())
}

/// The secret that belongs to a token, for whoever knows the gateway's secret.
pub fn token_psk(gateway_secret: &Secret, token_id: &[u8; 16], cnf: &[u8; DIGEST_BYTES]) -> Secret {
    derive_key("plantwin v1 token psk", &[gateway_secret.expose(), token_id, cnf])
}

/// What a device gets for a session with one gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Bytes of a [`PwsToken`].
    pub token: Vec<u8>,
    /// The token's secret, sealed for the device's key.
    pub sealed_psk: Vec<u8>,
    /// Bytes of the gateway's certificate ([`crate::pws::GatewayCert::sign`]).
    pub gateway: Vec<u8>,
    /// The key that device and authority share and no gateway has, sealed for the device's key:
    /// its values' origin digests are made with it.
    pub sealed_origin: Option<Vec<u8>>,
}

impl Grant {
    /// A grant of `token` for the device with the key `dh`.
    pub fn make(
        token: &PwsToken,
        gateway_secret: &Secret,
        dh: &DhPublic,
        gateway_cert: &[u8],
    ) -> Result<Self, AuthError> {
        let claims = token.claims();
        let psk = token_psk(gateway_secret, &claims.token_id, &claims.cnf);
        Ok(Self {
            token: token.as_bytes().to_vec(),
            sealed_psk: seal_to(dh, &context(claims), psk.expose())?,
            gateway: gateway_cert.to_vec(),
            sealed_origin: None,
        })
    }

    /// The same grant with the device's origin key.
    pub fn with_origin(
        mut self,
        claims: &TokenClaims,
        dh: &DhPublic,
        origin: &Secret,
    ) -> Result<Self, AuthError> {
        self.sealed_origin = Some(seal_to(dh, &origin_context(claims), origin.expose())?);
        Ok(self)
    }

    /// The origin key, if there is one, for the holder of the device's key.
    pub(crate) fn open_origin(
        &self,
        claims: &TokenClaims,
        dh: &DhKey,
    ) -> Result<Option<Secret>, AuthError> {
        let Some(sealed) = &self.sealed_origin else { return Ok(None) };
        secret_of(open_from(dh, &origin_context(claims), sealed)).map(Some)
    }

    /// The secret, for the holder of the device's key; `claims` are those of the token.
    pub(crate) fn open_psk(&self, claims: &TokenClaims, dh: &DhKey) -> Result<Secret, AuthError> {
        secret_of(open_from(dh, &context(claims), &self.sealed_psk))
    }
}

fn secret_of(opened: Result<Vec<u8>, SealError>) -> Result<Secret, AuthError> {
    let plain = Zeroizing::new(opened.map_err(|_| AuthError::PskMismatch)?);
    let mut bytes = Zeroizing::new([0; DIGEST_BYTES]);
    if plain.len() != bytes.len() {
        return Err(AuthError::PskMismatch);
    }
    bytes.copy_from_slice(&plain);
    Ok(Secret::new(*bytes))
}

/// Binds the sealed origin key to its token.
fn origin_context(claims: &TokenClaims) -> Vec<u8> {
    [SEALED_ORIGIN, &claims.token_id, &claims.cnf].concat()
}

/// Binds the sealed secret to its token.
fn context(claims: &TokenClaims) -> Vec<u8> {
    [SEALED_PSK, &claims.token_id, &claims.cnf].concat()
}
