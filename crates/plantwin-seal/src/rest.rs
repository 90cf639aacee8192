//! Sealing what lies still: records on disk and letters set aside.
//!
//! Each record gets a key of its own, derived from the owner's key and 24 random bytes, so that
//! no counter has to survive a crash or a roll-back of the disk for a nonce never to repeat.
//! Layout: `salt 24 B | ciphertext | tag 16 B`; the caller's context is authenticated with it.
//! Absent: where keys come from, and keeping them.

use crate::{SealError, Secret, TAG_BYTES, aead, derive_key, random_bytes};

/// Random bytes in front of each record.
const SALT_BYTES: usize = 24;

/// What [`seal_at_rest`] adds to the length of a record, in bytes.
pub const REST_OVERHEAD_BYTES: usize = SALT_BYTES + TAG_BYTES;

/// Seals `plain` for the place named by `context`: elsewhere it does not open.
///
/// # Errors
/// [`SealError::Random`], and [`SealError::Encode`] for more than the cipher takes (256 GB).
pub fn seal_at_rest(key: &Secret, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let salt = random_bytes::<SALT_BYTES>()?;
    let mut sealed = Vec::with_capacity(plain.len() + REST_OVERHEAD_BYTES);
    sealed.extend(salt);
    sealed.extend(plain);
    let tag = aead::seal(&record_key(key, &salt), NONCE, context, &mut sealed[SALT_BYTES..])
        .map_err(|_| SealError::Encode)?;
    sealed.extend(tag);
    Ok(sealed)
}

/// Opens what [`seal_at_rest`] made with the same key and context.
///
/// # Errors
/// [`SealError::Length`] if it is too short, [`SealError::Tag`] if anything differs.
pub fn open_at_rest(key: &Secret, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    if sealed.len() < REST_OVERHEAD_BYTES {
        return Err(SealError::Length(sealed.len()));
    }
    let (salt, body) = sealed.split_at(SALT_BYTES);
    let mut body = body.to_vec();
    let plain = aead::open(&record_key(key, salt), NONCE, context, &mut body, 0)
        .map_err(|_| SealError::Tag)?
        .len();
    body.truncate(plain);
    Ok(body)
}

/// Every record key is used for one message, so one nonce does.
const NONCE: [u8; aead::NONCE_BYTES] = [0; aead::NONCE_BYTES];

fn record_key(key: &Secret, salt: &[u8]) -> Secret {
    derive_key("plantwin v1 record at rest", &[key.expose(), salt])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_record_never_looks_the_same_twice() {
        let key = Secret::random().unwrap();
        let seal = || seal_at_rest(&key, b"place", b"level 12.4 cm").unwrap();
        assert_ne!(seal(), seal());
    }

    proptest! {
        #[test]
        fn a_record_opens_in_its_place_alone_and_no_flipped_bit_goes_unseen(
            plain in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let key = Secret::random().unwrap();
            let mut sealed = seal_at_rest(&key, b"here", &plain).unwrap();
            prop_assert_eq!(sealed.len(), plain.len() + REST_OVERHEAD_BYTES);
            prop_assert_eq!(open_at_rest(&key, b"here", &sealed), Ok(plain));
            prop_assert_eq!(open_at_rest(&key, b"there", &sealed), Err(SealError::Tag));
            let other = Secret::random().unwrap();
            prop_assert_eq!(open_at_rest(&other, b"here", &sealed), Err(SealError::Tag));
            let place = at.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert_eq!(open_at_rest(&key, b"here", &sealed), Err(SealError::Tag));
        }

        #[test]
        fn whatever_is_too_short_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..39)) {
            let key = Secret::random().unwrap();
            prop_assert!(open_at_rest(&key, b"here", &bytes).is_err());
        }
    }
}
