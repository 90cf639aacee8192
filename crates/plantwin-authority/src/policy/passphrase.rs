//! Passphrases of users, as hashes in the PHC string format.
//!
//! <https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md>, Argon2id version 19
//! only, hashes of 32 bytes. Absent: asking for one.

use plantwin_seal::{
    DIGEST_BYTES, PassphraseCost, SALT_BYTES, SealError, argon2id, constant_time_eq, random_bytes,
};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Longest salt that is read, in bytes (the format's own limit).
const SALT_LIMIT: usize = 48;

/// Hashes a passphrase with a new salt, for a plant file. Takes about a quarter of a second and
/// 64 MiB.
pub fn hash_passphrase(passphrase: &str) -> Result<String, SealError> {
    let salt: [u8; SALT_BYTES] = random_bytes()?;
    let cost = PassphraseCost::DEFAULT;
    let hash = argon2id(passphrase, &salt, cost)?;
    let PassphraseCost { memory_kib, passes, lanes } = cost;
    let (salt, hash) = (encode(&salt), encode(hash.expose()));
    Ok(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}"))
}

/// Whether a passphrase is the one that was hashed; also `false` for a hash that cannot be read.
/// Takes as long as the hash says, within the bounds of [`PassphraseCost`].
pub fn verify_passphrase(passphrase: &str, hash: &str) -> bool {
    let Some((cost, salt, wanted)) = parse(hash) else { return false };
    argon2id(passphrase, &salt, cost).is_ok_and(|got| constant_time_eq(got.expose(), &wanted))
}

/// Takes as long as [`verify_passphrase`] with a usual hash, and says no: for users there are none
/// of, so that the time of an answer tells no names.
pub fn verify_nobody(passphrase: &str) -> bool {
    // The result is of no use, and costs the same.
    let _ = argon2id(passphrase, &[0; SALT_BYTES], PassphraseCost::DEFAULT);
    false
}

fn parse(hash: &str) -> Option<(PassphraseCost, Vec<u8>, [u8; DIGEST_BYTES])> {
    let parts: Vec<&str> = hash.split('$').collect();
    let ["", "argon2id", "v=19", cost, salt, digest] = parts[..] else { return None };
    let mut numbers = ["m=", "t=", "p="].iter().zip(cost.split(',')).map(|(key, part)| {
        let digits = part.strip_prefix(key)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    });
    let cost = PassphraseCost {
        memory_kib: numbers.next()??,
        passes: numbers.next()??,
        lanes: numbers.next()??,
    };
    let salt = decode(salt).filter(|salt| (8..=SALT_LIMIT).contains(&salt.len()))?;
    let digest = decode(digest)?.try_into().ok()?;
    (hash.matches(',').count() == 2).then_some((cost, salt, digest))
}

/// Base64 without padding (RFC 4648, section 4).
fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, b| word << 8 | u32::from(*b));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]));
        }
    }
    out
}

/// The reverse; `None` for anything that [`encode`] does not make.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in text.bytes() {
        let value = ALPHABET.iter().position(|c| *c == byte)? as u32;
        word = (word << 6 | value) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    (encode(&out) == text).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_without_padding_as_in_rfc_4648() {
        let cases = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
        }
        for odd in ["Zg==", "Z", "Zh", "Z g", "Zé"] {
            assert_eq!(decode(odd), None, "{odd}");
        }
    }

    /// `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32`; the same numbers stand in
    /// test.c of phc-winner-argon2.
    const KNOWN: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    #[test]
    fn a_hash_of_the_reference_program_is_taken() {
        assert!(verify_passphrase("password", KNOWN));
        assert!(!verify_passphrase("passwore", KNOWN));
    }

    #[test]
    fn what_was_hashed_here_verifies_here_and_salts_differ() {
        let hash = hash_passphrase("correct horse").expect("randomness");
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{hash}");
        assert!(verify_passphrase("correct horse", &hash));
        assert_ne!(hash, hash_passphrase("correct horse").expect("randomness"));
    }

    #[test]
    fn a_hash_that_cannot_be_read_fits_no_passphrase() {
        for (old, new) in [
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("m=65536", "m=+65536"),
            ("m=65536", "m=99999999"),
            ("t=2,", ""),
            (",p=1", ",p=1,x=1"),
            ("$c29tZXNhbHQ", ""),
            ("c29tZXNhbHQ", "c29t"),
            ("PPc", "PP"),
        ] {
            let bad = KNOWN.replacen(old, new, 1);
            assert!(!verify_passphrase("password", &bad), "{bad}");
        }
        assert!(!verify_passphrase("password", ""));
    }
}
