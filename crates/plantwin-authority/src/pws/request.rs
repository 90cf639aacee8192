//! What a device asks of the authority: to be enrolled, and for a token.
//!
//! Both requests travel through a gateway that need not be trusted with them: they are signed, and
//! a token's secret comes back sealed for the device. Absent: whether a voucher is known, unused
//! and in time, and which nonces were seen; the registry knows.

use std::time::Duration;

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::{
    DIGEST_BYTES, SIGNATURE_BYTES, Secret, Signature, SigningKey, VerifyingKey, hash, mac,
    random_bytes, verify_mac,
};
use serde::{Deserialize, Serialize};

use super::{DeviceIdentity, DevicePublic, Voucher};
use crate::AuthError;

/// How far a device's clock may be off the authority's. A nonce must be remembered for twice that.
pub const REQUEST_SKEW: Duration = Duration::from_mins(5);

/// A signature in a message, in two halves since serde stops at arrays of 32.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Signed([u8; 32], [u8; 32]);

impl Signed {
    fn new(key: &SigningKey, message: &[u8]) -> Self {
        let mut halves = Self([0; 32], [0; 32]);
        let bytes = key.sign(message).to_bytes();
        halves.0.copy_from_slice(&bytes[..32]);
        halves.1.copy_from_slice(&bytes[32..]);
        halves
    }

    fn check(&self, key: &VerifyingKey, message: &[u8]) -> Result<(), AuthError> {
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        key.verify_strict(message, &Signature::from_bytes(&bytes))
            .map_err(|_| AuthError::RequestForged)
    }
}

/// Asks for a device to be enrolled with the keys that it made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The device.
    pub device: DeviceId,
    /// Its zone.
    pub zone: ZoneId,
    /// Its keys.
    pub public: DevicePublic,
    /// Which voucher ([`Voucher::id`]).
    pub voucher_id: [u8; 16],
    /// Keyed hash over the rest, by the voucher's secret.
    pub voucher_proof: [u8; DIGEST_BYTES],
    signature: Signed,
}

impl EnrolRequest {
    /// The request of the device `me`.
    pub fn build(me: &DeviceIdentity, voucher: &Voucher) -> Self {
        let mut request = Self {
            device: me.device.clone(),
            zone: me.zone.clone(),
            public: me.keys.public(),
            voucher_id: voucher.id,
            voucher_proof: [0; DIGEST_BYTES],
            signature: Signed([0; 32], [0; 32]),
        };
        let digest = request.digest();
        request.voucher_proof = mac(&voucher.secret, &[&digest]);
        request.signature = Signed::new(&me.keys.sign, &digest);
        request
    }

    /// Whether the device holds its signing key and the voucher with this secret.
    ///
    /// # Errors
    /// [`AuthError::RequestForged`], [`AuthError::VoucherRefused`].
    pub fn verify(&self, voucher_secret: &Secret) -> Result<(), AuthError> {
        let digest = self.digest();
        // The cheaper check first: without the voucher there is no reason to verify a signature.
        verify_mac(voucher_secret, &[&digest], &self.voucher_proof)
            .map_err(|_| AuthError::VoucherRefused)?;
        self.signature.check(&self.public.sign, &digest)
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        hash(&[
            b"plantwin v1 enrolment request",
            self.device.as_str().as_bytes(),
            self.zone.as_str().as_bytes(),
            &self.public.cnf(),
            &self.voucher_id,
        ])
    }
}

/// Asks for a token for one gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The device.
    pub device: DeviceId,
    /// The gateway that the device speaks with: whoever passes the request on must be this one.
    pub gateway: String,
    /// Hash of the device's keys.
    pub cnf: [u8; DIGEST_BYTES],
    /// The device's time.
    pub time: Timestamp,
    /// Random, so that the authority can refuse a second one.
    pub nonce: [u8; 16],
    signature: Signed,
}

impl TokenRequest {
    /// The request of the device `me`.
    pub fn build(me: &DeviceIdentity, gateway: &str, now: Timestamp) -> Result<Self, AuthError> {
        let mut request = Self {
            device: me.device.clone(),
            gateway: gateway.to_owned(),
            cnf: me.keys.public().cnf(),
            time: now,
            nonce: random_bytes()?,
            signature: Signed([0; 32], [0; 32]),
        };
        request.signature = Signed::new(&me.keys.sign, &request.digest());
        Ok(request)
    }

    /// Whether the holder of `public` asks, now, and for `gateway`. The nonce is the caller's to
    /// check.
    ///
    /// # Errors
    /// [`AuthError::WrongKey`], [`AuthError::RequestForged`], [`AuthError::WrongAudience`],
    /// [`AuthError::RequestStale`].
    pub fn verify(
        &self,
        public: &DevicePublic,
        gateway: &str,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        if self.cnf != public.cnf() {
            return Err(AuthError::WrongKey);
        }
        self.signature.check(&public.sign, &self.digest())?;
        if self.gateway != gateway {
            return Err(AuthError::WrongAudience);
        }
        if now.since(self.time).max(self.time.since(now)) > REQUEST_SKEW {
            return Err(AuthError::RequestStale);
        }
        Ok(())
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        hash(&[
            b"plantwin v1 token request",
            self.device.as_str().as_bytes(),
            self.gateway.as_bytes(),
            &self.cnf,
            &self.time.0.to_le_bytes(),
            &self.nonce,
        ])
    }
}
