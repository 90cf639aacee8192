//! What a device holds and shows: its two keys, the hash that tokens are bound to, its voucher.
//!
//! One key signs (Ed25519), the other agrees on secrets (X25519). Both together are the device's
//! identity: a token names the hash of the pair, so that neither can be exchanged alone.
//! Absent: keeping keys (their owner seals [`DeviceKeys::to_bytes`] at rest), how a voucher is
//! written for people.

use std::fmt;

use plantwin_seal::{
    DIGEST_BYTES, DhKey, DhPublic, KEY_BYTES, Secret, SigningKey, VerifyingKey, derive_key, hash,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::AuthError;

/// Length of both secret keys together, in bytes.
pub const DEVICE_KEYS_BYTES: usize = 2 * KEY_BYTES;
/// How much of the hash a fingerprint shows, in bytes: 160 bits, out of reach for a second key
/// with the same one.
const FINGERPRINT_BYTES: usize = 20;
/// Crockford's alphabet: no letters that look like digits or like each other.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A device's secret keys. `Debug` shows the public halves only.
#[derive(Clone, Debug)]
pub struct DeviceKeys {
    /// Proves possession.
    pub sign: SigningKey,
    /// Agrees on session keys.
    pub dh: DhKey,
}

impl DeviceKeys {
    /// Fresh keys from the operating system's random source.
    pub fn generate() -> Result<Self, AuthError> {
        Ok(Self { sign: SigningKey::generate()?, dh: DhKey::generate()? })
    }

    /// Both secrets, for storing them under protection; wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; DEVICE_KEYS_BYTES]> {
        let mut bytes = Zeroizing::new([0; DEVICE_KEYS_BYTES]);
        let (sign, dh) = bytes.split_at_mut(KEY_BYTES);
        sign.copy_from_slice(self.sign.expose_seed());
        dh.copy_from_slice(self.dh.expose());
        bytes
    }

    /// The keys that [`Self::to_bytes`] gave. The caller's copy is the caller's to wipe.
    pub fn from_bytes(bytes: &[u8; DEVICE_KEYS_BYTES]) -> Self {
        let (mut sign, mut dh) = (Zeroizing::new([0; KEY_BYTES]), Zeroizing::new([0; KEY_BYTES]));
        let (first, second) = bytes.split_at(KEY_BYTES);
        sign.copy_from_slice(first);
        dh.copy_from_slice(second);
        Self { sign: SigningKey::from_seed(&sign), dh: DhKey::from_bytes(&dh) }
    }

    /// The public halves.
    pub fn public(&self) -> DevicePublic {
        DevicePublic { sign: self.sign.verifying_key(), dh: self.dh.public() }
    }
}

/// A device's public keys. Reading them refuses a weak signing key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RawPublic", into = "RawPublic")]
pub struct DevicePublic {
    /// Checks what the device signed.
    pub sign: VerifyingKey,
    /// Its end of a key agreement.
    pub dh: DhPublic,
}

impl DevicePublic {
    /// What a token confirms: the hash of both keys.
    pub fn cnf(&self) -> [u8; DIGEST_BYTES] {
        hash(&[b"plantwin v1 device keys", self.sign.as_bytes(), self.dh.as_bytes()])
    }

    /// The keys as people compare them; see [`fingerprint`].
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.cnf())
    }
}

/// The first 160 bits of a hash of keys as eight groups of four characters (Crockford base32).
pub fn fingerprint(cnf: &[u8; DIGEST_BYTES]) -> String {
    let mut text = String::with_capacity(39);
    // 20 bytes are four times 40 bits, and 40 bits are eight characters.
    for (place, five) in cnf[..FINGERPRINT_BYTES].chunks_exact(5).enumerate() {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for character in 0..8 {
            if character % 4 == 0 && (place, character) != (0, 0) {
                text.push('-');
            }
            text.push(char::from(ALPHABET[(bits >> (35 - 5 * character) & 31) as usize]));
        }
    }
    text
}

#[derive(Serialize, Deserialize)]
struct RawPublic([u8; KEY_BYTES], [u8; KEY_BYTES]);

impl From<DevicePublic> for RawPublic {
    fn from(public: DevicePublic) -> Self {
        Self(*public.sign.as_bytes(), *public.dh.as_bytes())
    }
}

impl TryFrom<RawPublic> for DevicePublic {
    type Error = plantwin_seal::SealError;

    fn try_from(raw: RawPublic) -> Result<Self, Self::Error> {
        Ok(Self { sign: VerifyingKey::from_bytes(&raw.0)?, dh: DhPublic::from_bytes(raw.1) })
    }
}

/// An invitation to enrol once, as the device holds it: a name for the authority to find it by
/// and a secret to prove it with.
#[derive(Clone)]
pub struct Voucher {
    /// Names it.
    pub id: [u8; 16],
    /// Proves it.
    pub secret: Secret,
}

impl Voucher {
    /// Length of what an operator carries over, in bytes.
    pub const CODE_BYTES: usize = 16;

    /// The voucher of a random 128-bit code. Name and secret are derived from it one way, so
    /// that whoever reads the authority's list of vouchers cannot write the code.
    pub fn from_code(code: &[u8; Self::CODE_BYTES]) -> Self {
        let name = derive_key("plantwin v1 voucher name", &[code]);
        let mut id = [0; 16];
        id.copy_from_slice(&name.expose()[..16]);
        Self { id, secret: derive_key("plantwin v1 voucher secret", &[code]) }
    }
}

impl fmt::Debug for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Voucher({:032x}, ..)", u128::from_be_bytes(self.id))
    }
}

/// Who a device is, and what it believes in.
#[derive(Clone, Debug)]
pub struct DeviceIdentity {
    /// The device.
    pub device: plantwin_model::DeviceId,
    /// Its zone.
    pub zone: plantwin_model::ZoneId,
    /// Its keys.
    pub keys: DeviceKeys,
    /// The plant's root key: all that it trusts at first.
    pub root: VerifyingKey,
    /// How it may enrol, if it is not enrolled yet.
    pub voucher: Option<Voucher>,
}
