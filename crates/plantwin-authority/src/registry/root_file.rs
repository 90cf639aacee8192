//! The root key in a file of its own, to be taken away.
//!
//! Text of one line: `plantwin-root-1 PUBLIC plain SEED`, or `... argon2id MEMORY PASSES LANES SALT
//! WRAPPED`, all numbers and bytes in hexadecimal. The public key in front tells whose root it is
//! without opening it, and is authenticated with the wrapped seed. Absent: asking for passphrases,
//! reading and writing the file ([`super::read_private`], [`super::write_new`]).

use std::fmt::Write as _;

use plantwin_seal::{
    Kek, PassphraseCost, SALT_BYTES, SealError, Secret, SigningKey, VerifyingKey, WRAPPED_BYTES,
    random_bytes,
};
use zeroize::Zeroizing;

use crate::AuthError;

const NAME: &str = "plantwin-root-1";

/// The content of such a file. `Debug` shows the public key only.
#[derive(Clone)]
pub struct RootFile {
    public: VerifyingKey,
    seed: Seed,
}

#[derive(Clone)]
enum Seed {
    Plain(Secret),
    Wrapped { cost: PassphraseCost, salt: [u8; SALT_BYTES], bytes: [u8; WRAPPED_BYTES] },
}

impl std::fmt::Debug for RootFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootFile({:?}, ..)", self.public)
    }
}

impl RootFile {
    /// Longest content, in bytes.
    pub const LIMIT: u64 = 1024;

    /// Of this key, sealed if a passphrase is given. That takes a quarter of a second.
    ///
    /// # Errors
    /// [`AuthError::Seal`] for an empty passphrase.
    pub fn new(root: &SigningKey, passphrase: Option<&str>) -> Result<Self, AuthError> {
        Self::with_cost(root, passphrase, PassphraseCost::DEFAULT)
    }

    pub(crate) fn with_cost(
        root: &SigningKey,
        passphrase: Option<&str>,
        cost: PassphraseCost,
    ) -> Result<Self, AuthError> {
        let public = root.verifying_key();
        let secret = Secret::new(*root.expose_seed());
        let seed = match passphrase {
            None => Seed::Plain(secret),
            Some(passphrase) => {
                let salt = random_bytes()?;
                let kek = Kek::from_passphrase(passphrase, &salt, cost)?;
                Seed::Wrapped { cost, salt, bytes: kek.wrap(&secret, &context(&public))? }
            }
        };
        Ok(Self { public, seed })
    }

    /// Whose root it is.
    pub const fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Whether a passphrase is needed.
    pub const fn is_sealed(&self) -> bool {
        matches!(self.seed, Seed::Wrapped { .. })
    }

    /// The key.
    ///
    /// # Errors
    /// [`AuthError::Seal`]: [`SealError::WrongKey`] for a wrong passphrase or none,
    /// [`SealError::Tag`] for damage.
    pub fn open(&self, passphrase: Option<&str>) -> Result<SigningKey, AuthError> {
        let key = match &self.seed {
            Seed::Plain(seed) => SigningKey::from_seed(seed.expose()),
            Seed::Wrapped { cost, salt, bytes } => {
                let passphrase = passphrase.ok_or(SealError::WrongKey)?;
                let kek = Kek::from_passphrase(passphrase, salt, *cost)?;
                SigningKey::from_seed(kek.unwrap(bytes, &context(&self.public))?.expose())
            }
        };
        // A plain one whose halves do not belong together was altered.
        if key.verifying_key() == self.public { Ok(key) } else { Err(SealError::Tag.into()) }
    }

    /// The content of the file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let public = hex(self.public.as_bytes());
        let mut text = Zeroizing::new(format!("{NAME} {} ", &*public));
        match &self.seed {
            Seed::Plain(seed) => {
                text.push_str("plain ");
                text.push_str(&hex(seed.expose()));
            }
            Seed::Wrapped { cost, salt, bytes } => {
                let PassphraseCost { memory_kib, passes, lanes } = cost;
                let (salt, bytes) = (hex(salt), hex(bytes));
                let (salt, bytes) = (&*salt, &*bytes);
                // Writing into a string cannot fail.
                let _ = write!(text, "argon2id {memory_kib:x} {passes:x} {lanes:x} {salt} {bytes}");
            }
        }
        text.push('\n');
        text
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`AuthError::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, AuthError> {
        let wrong = || AuthError::Malformed("this is no root key file of plantwin");
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = |word: &str| u32::from_str_radix(word, 16).map_err(|_| wrong());
        let (public, seed) = match words.as_slice() {
            [NAME, public, "plain", seed] => {
                (public, Seed::Plain(Secret::new(unhex(seed).ok_or_else(wrong)?)))
            }
            [NAME, public, "argon2id", memory, passes, lanes, salt, bytes] => {
                let cost = PassphraseCost {
                    memory_kib: number(memory)?,
                    passes: number(passes)?,
                    lanes: number(lanes)?,
                };
                let salt = unhex(salt).ok_or_else(wrong)?;
                let bytes = unhex(bytes).ok_or_else(wrong)?;
                (public, Seed::Wrapped { cost, salt, bytes })
            }
            _ => return Err(wrong()),
        };
        let public = unhex(public).ok_or_else(wrong)?;
        Ok(Self { public: VerifyingKey::from_bytes(&public).map_err(|_| wrong())?, seed })
    }
}

fn context(public: &VerifyingKey) -> Vec<u8> {
    [NAME.as_bytes(), public.as_bytes()].concat()
}

/// Lower-case hexadecimal, wiped when dropped.
pub(crate) fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// `N` bytes of hexadecimal, no more and no fewer.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let nibble = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}
