//! The voucher as people carry it: `PWV1-XXXXX-...`, 40 symbols in groups of five.
//!
//! It holds a 128-bit secret and the first 64 bits of a hash of the root's public key, so that the
//! authority knows the device and the device knows the authority. The symbols are Crockford's
//! base 32 (<https://www.crockford.com/base32.html>): no letter that can be taken for a digit, and
//! a check symbol modulo 37 that finds any one wrong symbol and any two swapped ones.
//! Absent: expiry, single use, device and zone, which the registry knows under the voucher's id.

use std::{fmt, str::FromStr};

use plantwin_seal::{VerifyingKey, hash, random_bytes};
use zeroize::{Zeroize, Zeroizing};

use crate::{AuthError, pws::Voucher};

const PREFIX: &str = "PWV1";
const SECRET_BYTES: usize = Voucher::CODE_BYTES;
const ROOT_BYTES: usize = 8;
const BYTES: usize = SECRET_BYTES + ROOT_BYTES;
/// Symbols that hold 192 bits, five bits each.
const SYMBOLS: usize = (BYTES * 8).div_ceil(5);
/// Symbols of a group.
const GROUP: usize = 5;
/// The 32 symbols, and the five that only a check symbol may be.
const ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ*~$=U";

/// An invitation for one device, to be handed to it by a person. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct VoucherCode {
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    root: [u8; ROOT_BYTES],
}

impl VoucherCode {
    /// A fresh one of the authority with this root key.
    pub fn generate(root: &VerifyingKey) -> Result<Self, AuthError> {
        Ok(Self { secret: Zeroizing::new(random_bytes()?), root: root_mark(root) })
    }

    /// What the device proves itself with.
    pub fn voucher(&self) -> Voucher {
        Voucher::from_code(&self.secret)
    }

    /// Whether the authority with this root key made it: a device asks before it trusts a root.
    pub fn is_of(&self, root: &VerifyingKey) -> bool {
        self.root == root_mark(root)
    }

    fn symbols(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        bytes[..SECRET_BYTES].copy_from_slice(&*self.secret);
        bytes[SECRET_BYTES..].copy_from_slice(&self.root);
        let bit = |at: usize| bytes.get(at / 8).map_or(0, |b| b >> (7 - at % 8) & 1);
        let five = |s: usize| (0..5).fold(0, |value, i| value << 1 | bit(s * 5 + i));
        Zeroizing::new((0..SYMBOLS).map(five).collect())
    }
}

/// What a voucher says of the root key.
fn root_mark(root: &VerifyingKey) -> [u8; ROOT_BYTES] {
    let mut mark = [0; ROOT_BYTES];
    mark.copy_from_slice(&hash(&[b"plantwin v1 voucher root", root.as_bytes()])[..ROOT_BYTES]);
    mark
}

/// The whole number that the symbols write, modulo 37.
fn check(symbols: &[u8]) -> u8 {
    let rest = symbols.iter().fold(0_u32, |rest, s| (rest * 32 + u32::from(*s)) % 37);
    u8::try_from(rest).unwrap_or(0)
}

impl fmt::Display for VoucherCode {
    /// The voucher itself: whoever reads it may ask for the enrolment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbols = self.symbols();
        f.write_str(PREFIX)?;
        for (ix, symbol) in symbols.iter().chain([&check(&symbols)]).enumerate() {
            if ix % GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", ALPHABET[usize::from(*symbol)] as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for VoucherCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VoucherCode(..)")
    }
}

impl FromStr for VoucherCode {
    type Err = AuthError;

    /// Reads what a person typed: case, spaces and dashes do not matter; O is 0, I and L are 1.
    fn from_str(text: &str) -> Result<Self, AuthError> {
        let wrong = AuthError::Malformed;
        let plain: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|c| !c.is_whitespace() && *c != '-')
                .map(|c| c.to_ascii_uppercase())
                .take(2 * SYMBOLS)
                .collect(),
        );
        let body = plain.strip_prefix(PREFIX).ok_or(wrong("a voucher begins with PWV1-"))?;
        let mut symbols = Zeroizing::new(Vec::with_capacity(SYMBOLS + 1));
        for c in body.chars() {
            let same = match c {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let value = ALPHABET.iter().position(|s| char::from(*s) == same);
            let value = value.and_then(|v| u8::try_from(v).ok());
            symbols.push(value.ok_or(wrong("a voucher holds a letter that none has"))?);
        }
        let Some((last, symbols)) = symbols.split_last().filter(|(_, s)| s.len() == SYMBOLS) else {
            return Err(wrong("a voucher has 40 symbols behind PWV1"));
        };
        if symbols.iter().any(|s| *s > 31) || check(symbols) != *last {
            return Err(wrong("the voucher was mistyped: its check symbol does not fit"));
        }
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        for (at, bit) in
            symbols.iter().flat_map(|s| (0..5).rev().map(move |i| s >> i & 1)).enumerate()
        {
            match bytes.get_mut(at / 8) {
                Some(byte) => *byte = *byte << 1 | bit,
                None if bit == 0 => {}
                None => return Err(wrong("the voucher was mistyped: it is too long")),
            }
        }
        let mut code = Self { secret: Zeroizing::new([0; SECRET_BYTES]), root: [0; ROOT_BYTES] };
        code.secret.copy_from_slice(&bytes[..SECRET_BYTES]);
        code.root.copy_from_slice(&bytes[SECRET_BYTES..]);
        bytes.zeroize();
        Ok(code)
    }
}
