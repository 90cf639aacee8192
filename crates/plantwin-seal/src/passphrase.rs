//! From a passphrase to a key: Argon2id (RFC 9106).
//!
//! The cost is stored beside what the key protects, so that it can be raised later; a file that
//! was tampered with must not make a start take hours, so what it may say is bounded. Absent:
//! asking for a passphrase, judging how good it is, Unicode normalization (the bytes count).

use argon2::{Algorithm, Argon2, Params, Version};

use crate::{SealError, Secret};

/// Length of the salt, in bytes (RFC 9106, section 3.1, recommends 16).
pub const SALT_BYTES: usize = 16;

/// What a guess of a passphrase costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassphraseCost {
    /// Memory in KiB, of all lanes together: 8 a lane to 1,048,576.
    pub memory_kib: u32,
    /// Passes over it: 1 to 64.
    pub passes: u32,
    /// Lanes: 1 to 16.
    pub lanes: u32,
}

impl PassphraseCost {
    /// 64 MiB, three passes, one lane: a quarter of a second of one core, and what RFC 9106
    /// (section 4, second recommended option) takes with four lanes.
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 1 };

    /// Whether a stored cost is one that opening may be made to pay.
    const fn is_bearable(self) -> bool {
        self.lanes >= 1
            && self.lanes <= 16
            && self.memory_kib >= 8 * self.lanes
            && self.memory_kib <= 1 << 20
            && self.passes >= 1
            && self.passes <= 64
    }
}

/// The 32 bytes that Argon2id makes of a passphrase.
pub fn argon2id(passphrase: &str, salt: &[u8], cost: PassphraseCost) -> Result<Secret, SealError> {
    if passphrase.is_empty() || !cost.is_bearable() {
        return Err(SealError::Passphrase);
    }
    let PassphraseCost { memory_kib, passes, lanes } = cost;
    let params = Params::new(memory_kib, passes, lanes, Some(crate::DIGEST_BYTES))
        .map_err(|_| SealError::Passphrase)?;
    let mut key = zeroize::Zeroizing::new([0; crate::DIGEST_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .map_err(|_| SealError::Passphrase)?;
    Ok(Secret::new(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_implementation_agrees() {
        // test.c of phc-winner-argon2: argon2id, version 0x13, t=2, m=2^16 and 2^8, p=1 and 2.
        let key = |memory_kib, lanes| {
            let cost = PassphraseCost { memory_kib, passes: 2, lanes };
            *argon2id("password", b"somesalt", cost).unwrap().expose()
        };
        let hex = |bytes: [u8; 32]| {
            let (halves, _) = bytes.as_chunks::<16>();
            let [high, low] = [halves[0], halves[1]].map(u128::from_be_bytes);
            format!("{high:032x}{low:032x}")
        };
        assert_eq!(
            hex(key(1 << 16, 1)),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
        assert_eq!(
            hex(key(1 << 8, 2)),
            "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"
        );
    }

    #[test]
    fn no_passphrase_and_no_bearable_cost_are_refused() {
        let cheap = PassphraseCost { memory_kib: 8, passes: 1, lanes: 1 };
        assert!(argon2id("secret", &[1; SALT_BYTES], cheap).is_ok());
        assert!(argon2id("", &[1; SALT_BYTES], cheap).is_err());
        for cost in [
            PassphraseCost { memory_kib: 7, ..cheap },
            PassphraseCost { memory_kib: u32::MAX, ..cheap },
            PassphraseCost { passes: 0, ..cheap },
            PassphraseCost { passes: 65, ..cheap },
            PassphraseCost { lanes: 0, ..cheap },
            PassphraseCost { lanes: u32::MAX, ..cheap },
        ] {
            let refused = argon2id("secret", &[1; SALT_BYTES], cost).unwrap_err();
            assert_eq!(refused, SealError::Passphrase, "{cost:?}");
        }
    }
}
