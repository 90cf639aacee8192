//! A new key for an enrolled device, vouched for by the old one: no person, no voucher.
//!
//! Both keys sign the same words: the old one proves that the device itself asks, the new one that
//! the device holds it. The device's name and the old key's hash are in the words, so that a
//! request is worth nothing to another device or a second time. Absent: the registry's rules.

use plantwin_model::DeviceId;
use plantwin_seal::{SIGNATURE_BYTES, Signature, SigningKey, hash};
use serde::{Deserialize, Serialize};

use crate::{
    AuthError,
    pws::{DeviceKeys, DevicePublic},
};

/// The request, signed twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RekeyRequest {
    /// The device.
    pub device: DeviceId,
    /// Hash of the key it has.
    pub old: [u8; 32],
    /// The key it wants.
    pub public: DevicePublic,
    by_old: Vec<u8>,
    by_new: Vec<u8>,
}

impl RekeyRequest {
    /// Asks for `new` in place of `old`.
    pub fn build(device: &DeviceId, old: &DeviceKeys, new: &DeviceKeys) -> Self {
        let (cnf, public) = (old.public().cnf(), new.public());
        let words = words(device, &cnf, &public);
        let sign = |key: &SigningKey| key.sign(&words).to_bytes().to_vec();
        let (by_old, by_new) = (sign(&old.sign), sign(&new.sign));
        Self { device: device.clone(), old: cnf, public, by_old, by_new }
    }

    /// Checks both signatures; `old` is the key that the registry knows.
    ///
    /// # Errors
    /// [`AuthError::WrongKey`] if it was made for another key, [`AuthError::NoPossession`].
    pub fn verify(&self, old: &DevicePublic) -> Result<(), AuthError> {
        if self.old != old.cnf() {
            return Err(AuthError::WrongKey);
        }
        let words = words(&self.device, &self.old, &self.public);
        for (key, bytes) in [(&old.sign, &self.by_old), (&self.public.sign, &self.by_new)] {
            let bytes = <&[u8; SIGNATURE_BYTES]>::try_from(bytes.as_slice());
            let signature = Signature::from_bytes(bytes.map_err(|_| AuthError::NoPossession)?);
            key.verify_strict(&words, &signature).map_err(|_| AuthError::NoPossession)?;
        }
        Ok(())
    }
}

fn words(device: &DeviceId, old: &[u8; 32], public: &DevicePublic) -> [u8; 32] {
    hash(&[
        b"plantwin v1 rekey",
        device.as_str().as_bytes(),
        old,
        public.sign.as_bytes(),
        public.dh.as_bytes(),
    ])
}
