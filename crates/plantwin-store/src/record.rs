//! A record on disk, which says all about itself so that it can be found without its data base:
//! `"PWR2" | tree length u8 | place length u16 | sealed length u32 | sequence u64 | tree | place |
//! sealed`, numbers little-endian.
//!
//! Sealed are the name (`length u16 | name`, see [`crate::names`]) and the value; what stands
//! before is authenticated with them, so that nothing is read that was altered, swapped or brought
//! back under another place. Absent: compression.

use plantwin_seal::{REST_OVERHEAD_BYTES, SealError, Secret, open_at_rest, seal_at_rest};

use crate::{KEY_LIMIT, VALUE_LIMIT};

/// With what each record begins; the digit is the layout.
pub(crate) const MAGIC: &[u8; 4] = b"PWR2";
const BODY_AT: usize = 19;
/// What tells how long a record is.
pub(crate) const HEADER_BYTES: usize = BODY_AT;
/// No record is longer: a tree's name of a byte's length, a place made of a key, a sealed value.
pub(crate) const LONGEST: usize =
    BODY_AT + 255 + 2 * (KEY_LIMIT + 16) + 2 + VALUE_LIMIT + REST_OVERHEAD_BYTES;

/// An intact record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record<'r> {
    pub(crate) tree: &'r str,
    pub(crate) place: &'r [u8],
    pub(crate) sequence: u64,
    pub(crate) content: Content,
    /// Bytes it takes.
    pub(crate) len: usize,
}

/// What was sealed in a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    plain: Vec<u8>,
    name_len: usize,
}

impl Content {
    fn new(plain: Vec<u8>) -> Option<Self> {
        let (len, rest) = plain.split_first_chunk()?;
        let name_len = usize::from(u16::from_le_bytes(*len));
        std::str::from_utf8(rest.get(..name_len)?).ok()?;
        Some(Self { plain, name_len })
    }

    /// The hidden part of the key.
    pub(crate) fn name(&self) -> &str {
        std::str::from_utf8(&self.plain[2..2 + self.name_len]).unwrap_or_default()
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.plain[2 + self.name_len..]
    }

    pub(crate) fn into_value(mut self) -> Vec<u8> {
        self.plain.drain(..2 + self.name_len);
        self.plain
    }
}

/// A record; lengths were checked by the caller.
pub(crate) fn encode(
    secret: &Secret,
    tree: &str,
    (place, name): (&[u8], &str),
    sequence: u64,
    value: &[u8],
) -> Result<Vec<u8>, SealError> {
    let plain_len = 2 + name.len() + value.len();
    let sealed_len = plain_len + REST_OVERHEAD_BYTES;
    let mut record = Vec::with_capacity(BODY_AT + tree.len() + place.len() + sealed_len);
    record.extend(MAGIC);
    record.push(tree.len() as u8);
    record.extend((place.len() as u16).to_le_bytes());
    record.extend((sealed_len as u32).to_le_bytes());
    record.extend(sequence.to_le_bytes());
    record.extend(tree.as_bytes());
    record.extend(place);
    let mut plain = Vec::with_capacity(plain_len);
    plain.extend((name.len() as u16).to_le_bytes());
    plain.extend(name.as_bytes());
    plain.extend(value);
    let sealed = seal_at_rest(secret, &record, &plain)?;
    record.extend(sealed);
    Ok(record)
}

/// How long the record at the beginning of `bytes` says it is, if its header is there.
pub(crate) fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let (_, lengths) = bytes.get(..BODY_AT)?.split_at(MAGIC.len());
    let [tree, p0, p1, s0, s1, s2, s3, ..] = lengths else { return None };
    let sealed = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize;
    let before = BODY_AT + usize::from(*tree) + usize::from(u16::from_le_bytes([*p0, *p1]));
    before.checked_add(sealed)
}

/// The record at the beginning of `bytes`, or what is wrong.
pub(crate) fn parse<'r>(secret: &Secret, bytes: &'r [u8]) -> Result<Record<'r>, &'static str> {
    const SHORT: &str = "the record is too short";
    let (head, rest) = bytes.split_at_checked(BODY_AT).ok_or(SHORT)?;
    if !head.starts_with(MAGIC) {
        return Err("its layout is unknown");
    }
    let (_, lengths) = head.split_at(MAGIC.len());
    let [tree, p0, p1, s0, s1, s2, s3, sequence @ ..] = lengths else { return Err(SHORT) };
    let sequence = u64::from_le_bytes(sequence.try_into().map_err(|_| SHORT)?);
    let place_len = usize::from(u16::from_le_bytes([*p0, *p1]));
    let sealed_len = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize;
    let (tree, rest) = rest.split_at_checked(usize::from(*tree)).ok_or(SHORT)?;
    let (place, rest) = rest.split_at_checked(place_len).ok_or(SHORT)?;
    let (sealed, rest) = rest.split_at_checked(sealed_len).ok_or(SHORT)?;
    let context = &bytes[..BODY_AT + tree.len() + place.len()];
    let plain = open_at_rest(secret, context, sealed).map_err(|_| "its checksum does not match")?;
    let content = Content::new(plain).ok_or("it has no name")?;
    let tree = std::str::from_utf8(tree).map_err(|_| "its tree has no name")?;
    Ok(Record { tree, place, sequence, content, len: bytes.len() - rest.len() })
}

/// Sequence and content of the record that stands at `place` of `tree`, or what is wrong.
pub(crate) fn decode(
    secret: &Secret,
    tree: &str,
    place: &[u8],
    bytes: &[u8],
) -> Result<(u64, Content), &'static str> {
    let record = parse(secret, bytes)?;
    if record.len != bytes.len() {
        return Err("the record is too long");
    }
    if (record.tree, record.place) != (tree, place) {
        return Err("it belongs under another key");
    }
    Ok((record.sequence, record.content))
}
