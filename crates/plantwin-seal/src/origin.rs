//! The origin digest: what a device says of a value, in a form that no one on the way can renew.
//!
//! Device and authority share a key that no gateway has. The device hashes each value under it
//! before any protocol sees it; the digest travels with the value through every translation, and
//! whoever has the key finds a value that was altered, moved to another point or time, or made
//! up. An unkeyed hash inside an envelope would add nothing; this stands beside it.
//!
//! Sixteen bytes of BLAKE3's keyed hash: 2^64 work for a chance to find two values with one
//! digest, which without the key cannot even be tried. Absent: secrecy, order (the sequence is
//! part of what is hashed, and a missing number is for the reader to notice).

use std::{fmt, str::FromStr};

use plantwin_model::{Quality, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{DIGEST_BYTES, SealError, Secret, derive_key, mac};

#[cfg(test)]
mod tests;

/// Length of an origin digest, in bytes.
pub const ORIGIN_BYTES: usize = 16;

/// The digest of one value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OriginDigest(pub [u8; ORIGIN_BYTES]);

impl fmt::Display for OriginDigest {
    /// As 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for OriginDigest {
    type Err = SealError;

    /// From 32 hexadecimal digits; anything else is no digest ([`SealError::Mac`]).
    fn from_str(text: &str) -> Result<Self, SealError> {
        let bytes = text.as_bytes();
        if bytes.len() != 2 * ORIGIN_BYTES || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return Err(SealError::Mac);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| SealError::Mac)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// A value as its device knows it. Names and unit are those of the twin type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OriginValue<'a> {
    /// The device.
    pub device: &'a str,
    /// The point.
    pub point: &'a str,
    /// Code of the unit (UCUM).
    pub unit: &'a str,
    /// Number of the device's frame.
    pub sequence: u64,
    /// When it was measured.
    pub source_time: Timestamp,
    /// What the device says of it.
    pub quality: Quality,
    /// The value, bit for bit.
    pub value: f64,
}

/// The key that the authority shares with the device of this key hash, from a secret that the
/// authority alone has.
pub fn origin_key(authority: &Secret, cnf: &[u8; DIGEST_BYTES]) -> Secret {
    derive_key("plantwin v1 origin key", &[authority.expose(), cnf])
}

/// The digest of a value.
pub fn origin_digest(key: &Secret, value: &OriginValue<'_>) -> OriginDigest {
    let quality = match value.quality {
        Quality::Good => "good".to_owned(),
        other => other.to_string(),
    };
    let full = mac(
        key,
        &[
            b"plantwin v1 origin",
            value.device.as_bytes(),
            value.point.as_bytes(),
            value.unit.as_bytes(),
            &value.sequence.to_le_bytes(),
            &value.source_time.0.to_le_bytes(),
            quality.as_bytes(),
            &value.value.to_bits().to_le_bytes(),
        ],
    );
    let mut short = [0; ORIGIN_BYTES];
    short.copy_from_slice(&full[..ORIGIN_BYTES]);
    OriginDigest(short)
}

/// Checks a digest in constant time.
///
/// # Errors
/// [`SealError::Mac`] if the value is not, in every part, what the device said.
pub fn verify_origin(
    key: &Secret,
    value: &OriginValue<'_>,
    digest: &OriginDigest,
) -> Result<(), SealError> {
    let widen = |d: &OriginDigest| {
        let mut wide = [0; DIGEST_BYTES];
        wide[..ORIGIN_BYTES].copy_from_slice(&d.0);
        wide
    };
    let same = crate::constant_time_eq(&widen(&origin_digest(key, value)), &widen(digest));
    if same { Ok(()) } else { Err(SealError::Mac) }
}
