//! A record on disk: `layout u8 | sequence u64 LE | checksum 16 B | value`.
//!
//! The checksum covers layout, sequence, tree, key and value, so a record that turns up under
//! another key is found as well. Absent: compression, encryption.

use plantwin_seal::hash;

/// The only layout so far.
const LAYOUT: u8 = 1;
const CHECKSUM_AT: usize = 9;
const VALUE_AT: usize = CHECKSUM_AT + 16;

/// A record for `value`.
pub(crate) fn encode(tree: &str, key: &[u8], sequence: u64, value: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(VALUE_AT + value.len());
    record.push(LAYOUT);
    record.extend(sequence.to_le_bytes());
    let checksum = checksum(tree, key, &record, value);
    record.extend(checksum);
    record.extend(value);
    record
}

/// The value and sequence of an intact record, or what is wrong.
pub(crate) fn decode<'r>(
    tree: &str,
    key: &[u8],
    record: &'r [u8],
) -> Result<(u64, &'r [u8]), &'static str> {
    let Some((head, value)) = record.split_at_checked(VALUE_AT) else {
        return Err("the record is too short");
    };
    let (head, stored) = head.split_at(CHECKSUM_AT);
    if stored != checksum(tree, key, head, value) {
        return Err("its checksum does not match");
    }
    let [LAYOUT, sequence @ ..] = head else {
        return Err("its layout is unknown");
    };
    let sequence = <[u8; 8]>::try_from(sequence).map_err(|_| "the record is too short")?;
    Ok((u64::from_le_bytes(sequence), value))
}

/// 16 of BLAKE3's 32 bytes: 2^-128 to miss an accident.
fn checksum(tree: &str, key: &[u8], head: &[u8], value: &[u8]) -> [u8; 16] {
    let full = hash(&[b"plantwin store record", tree.as_bytes(), key, head, value]);
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}
