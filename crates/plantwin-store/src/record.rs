//! A record on disk, which says all about itself so that it can be found without its data base:
//! `"PWR1" | tree length u8 | key length u16 | value length u32 | sequence u64 | MAC 16 B | tree |
//! key | value`, numbers little-endian.
//!
//! The MAC (keyed BLAKE3, 16 of 32 bytes: 2^-128 to miss an accident) covers everything else.
//! Absent: compression, encryption.

use plantwin_seal::{Secret, mac};

use crate::key::short;

/// With what each record begins; the digit is the layout.
pub(crate) const MAGIC: &[u8; 4] = b"PWR1";
const MAC_AT: usize = 19;
const BODY_AT: usize = MAC_AT + 16;

/// An intact record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<'r> {
    pub(crate) tree: &'r str,
    pub(crate) key: &'r [u8],
    pub(crate) sequence: u64,
    pub(crate) value: &'r [u8],
    /// Bytes it takes.
    pub(crate) len: usize,
}

/// A record; lengths were checked by the caller.
pub(crate) fn encode(
    secret: &Secret,
    tree: &str,
    key: &[u8],
    sequence: u64,
    value: &[u8],
) -> Vec<u8> {
    let mut record = Vec::with_capacity(BODY_AT + tree.len() + key.len() + value.len());
    record.extend(MAGIC);
    record.push(tree.len() as u8);
    record.extend((key.len() as u16).to_le_bytes());
    record.extend((value.len() as u32).to_le_bytes());
    record.extend(sequence.to_le_bytes());
    let mac = short(&mac(secret, &[&record, tree.as_bytes(), key, value]));
    record.extend(mac);
    record.extend(tree.as_bytes());
    record.extend(key);
    record.extend(value);
    record
}

/// The record at the beginning of `bytes`, or what is wrong.
pub(crate) fn parse<'r>(secret: &Secret, bytes: &'r [u8]) -> Result<Record<'r>, &'static str> {
    const SHORT: &str = "the record is too short";
    let (head, rest) = bytes.split_at_checked(BODY_AT).ok_or(SHORT)?;
    let (head, stored) = head.split_at(MAC_AT);
    if !head.starts_with(MAGIC) {
        return Err("its layout is unknown");
    }
    let (_, lengths) = head.split_at(MAGIC.len());
    let [tree, k0, k1, v0, v1, v2, v3, sequence @ ..] = lengths else { return Err(SHORT) };
    let sequence = u64::from_le_bytes(sequence.try_into().map_err(|_| SHORT)?);
    let key_len = usize::from(u16::from_le_bytes([*k0, *k1]));
    let value_len = u32::from_le_bytes([*v0, *v1, *v2, *v3]) as usize;
    let (tree, rest) = rest.split_at_checked(usize::from(*tree)).ok_or(SHORT)?;
    let (key, rest) = rest.split_at_checked(key_len).ok_or(SHORT)?;
    let (value, rest) = rest.split_at_checked(value_len).ok_or(SHORT)?;
    if stored != short(&mac(secret, &[head, tree, key, value])) {
        return Err("its checksum does not match");
    }
    let tree = std::str::from_utf8(tree).map_err(|_| "its tree has no name")?;
    Ok(Record { tree, key, sequence, value, len: bytes.len() - rest.len() })
}

/// Sequence and value of the record that stands under `key` of `tree`, or what is wrong.
pub(crate) fn decode<'r>(
    secret: &Secret,
    tree: &str,
    key: &[u8],
    bytes: &'r [u8],
) -> Result<(u64, &'r [u8]), &'static str> {
    let record = parse(secret, bytes)?;
    if record.len != bytes.len() {
        return Err("the record is too long");
    }
    if (record.tree, record.key) != (tree, key) {
        return Err("it belongs under another key");
    }
    Ok((record.sequence, record.value))
}
