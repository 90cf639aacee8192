//! The authority: knows the devices and issues their tokens.
//!
//! Absent: storage (its owner keeps the seed and the public keys, see [`Authority::from_seed`] and
//! [`Authority::enrol_key`]), vouchers, an offline root.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::{DIGEST_BYTES, KEY_BYTES, SigningKey, VerifyingKey};

use crate::{AuthError, Token, Verifier, token::key_hash};

/// What a device holds: who it is, and the key that proves it.
#[derive(Clone, Debug)]
pub struct DeviceCredentials {
    /// The device.
    pub device: DeviceId,
    /// Its zone.
    pub zone: ZoneId,
    /// Its key. `Debug` shows the public half only.
    pub key: SigningKey,
}

/// Keys that are worth nothing any more, shared with every verifier; effective at once.
///
/// Grows by one hash with each revocation, which only an operator can cause.
#[derive(Debug, Default)]
pub struct Revocations(RwLock<BTreeSet<[u8; DIGEST_BYTES]>>);

impl Revocations {
    /// Whether tokens bound to the key with this hash are refused.
    pub fn contains(&self, key_hash: &[u8; DIGEST_BYTES]) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(key_hash)
    }

    fn insert(&self, key_hash: [u8; DIGEST_BYTES]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key_hash);
    }
}

#[derive(Debug)]
struct Enrolled {
    zone: ZoneId,
    key: VerifyingKey,
    revoked: bool,
}

/// The issuer of a plant's tokens. Shared by reference; all methods may be called at once.
#[derive(Debug)]
pub struct Authority {
    issuer: SigningKey,
    devices: Mutex<BTreeMap<DeviceId, Enrolled>>,
    revocations: Arc<Revocations>,
}

impl Authority {
    /// An authority with a fresh key: tokens of an earlier one are worth nothing to it.
    pub fn generate() -> Result<Self, AuthError> {
        Ok(Self::with_key(SigningKey::generate()?))
    }

    /// An authority with a kept key.
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self::with_key(SigningKey::from_seed(seed))
    }

    fn with_key(issuer: SigningKey) -> Self {
        Self { issuer, devices: Mutex::default(), revocations: Arc::default() }
    }

    /// The key that its tokens are checked with.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.issuer.verifying_key()
    }

    /// Makes a key for a device and enrols it.
    pub fn enrol(&self, device: &DeviceId, zone: &ZoneId) -> Result<DeviceCredentials, AuthError> {
        let key = SigningKey::generate()?;
        self.enrol_key(device, zone, key.verifying_key())?;
        Ok(DeviceCredentials { device: device.clone(), zone: zone.clone(), key })
    }

    /// Enrols a device that made its key itself, or was enrolled before this process began. A
    /// device has one active key, and a key one device: a stolen or revoked one is no way back.
    pub fn enrol_key(
        &self,
        device: &DeviceId,
        zone: &ZoneId,
        key: VerifyingKey,
    ) -> Result<(), AuthError> {
        let mut devices = self.devices();
        if devices.get(device).is_some_and(|known| !known.revoked) {
            return Err(AuthError::AlreadyEnrolled(device.clone()));
        }
        let revoked = self.revocations.contains(&key_hash(key.as_bytes()));
        if revoked || devices.values().any(|known| known.key == key) {
            return Err(AuthError::KeyInUse(device.clone()));
        }
        devices.insert(device.clone(), Enrolled { zone: zone.clone(), key, revoked: false });
        Ok(())
    }

    /// A token for an enrolled device, valid from `now` for [`crate::TOKEN_LIFE`].
    pub fn issue(&self, device: &DeviceId, now: Timestamp) -> Result<Token, AuthError> {
        let devices = self.devices();
        let known = devices.get(device).ok_or_else(|| AuthError::UnknownDevice(device.clone()))?;
        if known.revoked {
            return Err(AuthError::Revoked);
        }
        Token::issue(&self.issuer, device, &known.zone, &known.key, now)
    }

    /// Takes a device's key out of use: no new tokens, and tokens bound to it are refused from
    /// now on. The device may be enrolled again with another key. Once more does no harm.
    pub fn revoke(&self, device: &DeviceId) -> Result<(), AuthError> {
        let mut devices = self.devices();
        let known =
            devices.get_mut(device).ok_or_else(|| AuthError::UnknownDevice(device.clone()))?;
        known.revoked = true;
        self.revocations.insert(key_hash(known.key.as_bytes()));
        Ok(())
    }

    /// The public key of an enrolled device that was not revoked.
    pub fn device_key(&self, device: &DeviceId) -> Option<VerifyingKey> {
        self.devices().get(device).filter(|known| !known.revoked).map(|known| known.key)
    }

    /// A verifier for a gateway of that name, which hears of revocations at once.
    pub fn verifier(&self, gateway: &str) -> Verifier {
        Verifier::new(self.verifying_key(), gateway, Arc::clone(&self.revocations))
    }

    fn devices(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Enrolled>> {
        // No code that runs under the lock can leave the map half changed.
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
