//! Wrapping a data key under a key that somebody keeps elsewhere.
//!
//! `nonce 24 B | commitment 32 B | ciphertext 32 B | tag 16 B`: XChaCha20-Poly1305 (the IRTF draft
//! draft-irtf-cfrg-xchacha-03), its key derived for this one wrapping. An AEAD alone does not
//! commit to its key and cannot tell a wrong key from damaged bytes. The commitment, a second value
//! derived from the same key and nonce, does both: it is looked at first. Absent: where wrapped
//! keys are kept.

use std::fmt;

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::{
    DIGEST_BYTES, PassphraseCost, SealError, Secret, TAG_BYTES, constant_time_eq, derive_key,
    passphrase::argon2id, random_bytes,
};

const NONCE_BYTES: usize = 24;
const KEY_AT: usize = NONCE_BYTES + DIGEST_BYTES;
const TAG_AT: usize = KEY_AT + DIGEST_BYTES;

/// Length of a wrapped key, in bytes.
pub const WRAPPED_BYTES: usize = TAG_AT + TAG_BYTES;

/// Fewest bytes of a key file, or of a key in a keyring.
pub const MATERIAL_BYTES: usize = 32;

/// A key that wraps other keys.
#[derive(Clone)]
pub struct Kek(Secret);

impl Kek {
    /// From a passphrase, by Argon2id. Takes as long as the cost says, and its memory.
    ///
    /// # Errors
    /// [`SealError::Passphrase`] if it is empty, or the cost beyond its bounds.
    pub fn from_passphrase(
        passphrase: &str,
        salt: &[u8; crate::SALT_BYTES],
        cost: PassphraseCost,
    ) -> Result<Self, SealError> {
        argon2id(passphrase, salt, cost).map(Self)
    }

    /// From random bytes, as a key file or a keyring holds them. They are hashed, not stretched.
    ///
    /// # Errors
    /// [`SealError::Material`] if they are fewer than [`MATERIAL_BYTES`].
    pub fn from_material(material: &[u8]) -> Result<Self, SealError> {
        if material.len() < MATERIAL_BYTES {
            return Err(SealError::Material(material.len()));
        }
        Ok(Self(derive_key("plantwin v1 key encryption key", &[material])))
    }

    /// Wraps a key; `context` is authenticated with it and must be given again.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn wrap(&self, key: &Secret, context: &[u8]) -> Result<[u8; WRAPPED_BYTES], SealError> {
        let nonce = random_bytes::<NONCE_BYTES>()?;
        let mut wrapped = [0; WRAPPED_BYTES];
        wrapped[..NONCE_BYTES].copy_from_slice(&nonce);
        wrapped[NONCE_BYTES..KEY_AT].copy_from_slice(self.commitment(&nonce).expose());
        wrapped[KEY_AT..TAG_AT].copy_from_slice(key.expose());
        let tag = self
            .cipher(&nonce)
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                context,
                (&mut wrapped[KEY_AT..TAG_AT]).into(),
            )
            .map_err(|_| SealError::Encode)?;
        wrapped[TAG_AT..].copy_from_slice(&tag);
        Ok(wrapped)
    }

    /// Unwraps what [`Self::wrap`] made under the same key and context.
    ///
    /// # Errors
    /// [`SealError::WrongKey`] if it was wrapped under another key, [`SealError::Tag`] if it was
    /// altered or belongs to another context, [`SealError::Length`].
    pub fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<Secret, SealError> {
        let parts = |bytes: &[u8]| {
            let (nonce, rest) = bytes.split_first_chunk::<NONCE_BYTES>()?;
            let (commitment, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
            let (sealed, rest) = rest.split_first_chunk::<DIGEST_BYTES>()?;
            let tag: [u8; TAG_BYTES] = rest.try_into().ok()?;
            Some((*nonce, *commitment, Zeroizing::new(*sealed), tag))
        };
        let (nonce, commitment, mut key, tag) =
            parts(wrapped).ok_or(SealError::Length(wrapped.len()))?;
        if !constant_time_eq(self.commitment(&nonce).expose(), &commitment) {
            return Err(SealError::WrongKey);
        }
        self.cipher(&nonce)
            .decrypt_inout_detached(
                &XNonce::from(nonce),
                context,
                key.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| SealError::Tag)?;
        Ok(Secret::new(*key))
    }

    fn cipher(&self, nonce: &[u8; NONCE_BYTES]) -> XChaCha20Poly1305 {
        let key = derive_key("plantwin v1 key wrapping", &[self.0.expose(), nonce]);
        XChaCha20Poly1305::new(&chacha20poly1305::Key::from(*key.expose()))
    }

    /// Tells keys apart, and says nothing of any.
    fn commitment(&self, nonce: &[u8; NONCE_BYTES]) -> Secret {
        derive_key("plantwin v1 key commitment", &[self.0.expose(), nonce])
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kek(byte: u8) -> Kek {
        Kek::from_material(&[byte; MATERIAL_BYTES]).unwrap()
    }

    #[test]
    fn a_key_comes_back_under_the_same_key_and_context_alone() {
        let key = Secret::random().unwrap();
        let wrapped = kek(1).wrap(&key, b"store").unwrap();
        assert_ne!(wrapped, kek(1).wrap(&key, b"store").unwrap());
        assert_eq!(kek(1).unwrap(&wrapped, b"store").unwrap().expose(), key.expose());
        assert_eq!(kek(2).unwrap(&wrapped, b"store").unwrap_err(), SealError::WrongKey);
        assert_eq!(kek(1).unwrap(&wrapped, b"other").unwrap_err(), SealError::Tag);
        for len in 0..WRAPPED_BYTES {
            let refused = kek(1).unwrap(&wrapped[..len], b"store").unwrap_err();
            assert_eq!(refused, SealError::Length(len));
        }
    }

    #[test]
    fn a_passphrase_wraps_as_well_and_a_short_key_is_refused() {
        let cost = PassphraseCost { memory_kib: 8, passes: 1, lanes: 1 };
        let of = |passphrase, salt| Kek::from_passphrase(passphrase, &[salt; 16], cost).unwrap();
        let key = Secret::new([7; 32]);
        let wrapped = of("secret", 1).wrap(&key, b"").unwrap();
        assert_eq!(of("secret", 1).unwrap(&wrapped, b"").unwrap().expose(), key.expose());
        for other in [of("secret", 2), of("secreT", 1)] {
            assert_eq!(other.unwrap(&wrapped, b"").unwrap_err(), SealError::WrongKey);
        }
        assert_eq!(Kek::from_material(&[1; 31]).unwrap_err(), SealError::Material(31));
        assert_eq!(format!("{:?}", of("secret", 1)), "Kek(..)");
    }

    #[test]
    fn damage_behind_the_commitment_is_not_taken_for_a_wrong_key() {
        let wrapped = kek(1).wrap(&Secret::new([7; 32]), b"").unwrap();
        for at in 0..WRAPPED_BYTES {
            let mut altered = wrapped;
            altered[at] ^= 1;
            let expected = if at < KEY_AT { SealError::WrongKey } else { SealError::Tag };
            assert_eq!(kek(1).unwrap(&altered, b"").unwrap_err(), expected, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_no_wrapped_key(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(kek(1).unwrap(&bytes, b"").is_err());
        }
    }
}
