//! A log record: `"PWL2" | crc u32 | length u32 | sequence u64 | previous 16 B | sealed`, numbers
//! little-endian; sealed are `boot u64 | time i64 | kind u8 | payload`, whose length is `length`.
//!
//! The CRC covers everything behind it, the seal's tag everything but the CRC. That tag is the
//! record's MAC, and `previous` the MAC of the record before: records cannot be swapped or cut out
//! unseen, and yet each one can be verified when its neighbours are gone. Kind 0 is a marker:
//! records `from` (in the payload) to its own sequence were lost, and told. Absent: buffers, files.

use plantwin_model::Timestamp;
use plantwin_seal::{
    REST_OVERHEAD_BYTES, SealError, Secret, TAG_BYTES, open_at_rest, seal_at_rest,
};

use crate::{LogKind, LogRecord, PAYLOAD_LIMIT};

pub(crate) const MAGIC: &[u8; 4] = b"PWL2";
const COVERED_AT: usize = 8;
const SEALED_AT: usize = 36;
/// Boot, time and kind.
const INNER: usize = 17;
/// Bytes of a record besides its payload.
pub(crate) const OVERHEAD: usize = SEALED_AT + INNER + REST_OVERHEAD_BYTES;

/// A MAC of a record.
pub(crate) type Mac = [u8; TAG_BYTES];

/// What a record says; `P` holds the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body<P> {
    Record(LogKind, P),
    /// Everything from this sequence to the marker's own is gone.
    Marker(u64),
}

/// An intact record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) boot: u64,
    pub(crate) time: Timestamp,
    pub(crate) body: Body<Vec<u8>>,
    pub(crate) previous: Mac,
    pub(crate) mac: Mac,
    /// Bytes it takes.
    pub(crate) len: usize,
}

impl Entry {
    /// What others see of it; nothing of a marker.
    pub(crate) fn public(&self) -> Option<LogRecord<'_>> {
        let Body::Record(kind, payload) = &self.body else { return None };
        let Self { sequence, boot, time, .. } = *self;
        Some(LogRecord { sequence, boot, time, kind: *kind, payload })
    }
}

/// Appends a record to `out` and returns its MAC; after an error nothing was appended.
pub(crate) fn encode(
    secret: &Secret,
    out: &mut Vec<u8>,
    (sequence, boot, time): (u64, u64, Timestamp),
    body: Body<&[u8]>,
    previous: Mac,
) -> Result<Mac, SealError> {
    let from;
    let (kind, payload) = match body {
        Body::Record(kind, payload) => (kind as u8, payload),
        Body::Marker(first) => {
            from = first.to_le_bytes();
            (0, &from[..])
        }
    };
    let mut head = Vec::with_capacity(SEALED_AT - COVERED_AT);
    head.extend((payload.len() as u32).to_le_bytes());
    head.extend(sequence.to_le_bytes());
    head.extend(previous);
    let mut plain = Vec::with_capacity(INNER + payload.len());
    plain.extend(boot.to_le_bytes());
    plain.extend(time.0.to_le_bytes());
    plain.push(kind);
    plain.extend(payload);
    let sealed = seal_at_rest(secret, &head, &plain)?;
    let mac = *sealed.last_chunk().ok_or(SealError::Encode)?;
    let start = out.len();
    out.extend(MAGIC);
    out.extend([0; 4]);
    out.extend(head);
    out.extend(sealed);
    let crc = crc32fast::hash(&out[start + COVERED_AT..]);
    out[start + 4..start + COVERED_AT].copy_from_slice(&crc.to_le_bytes());
    Ok(mac)
}

/// The record at the beginning of `bytes`, if an intact one is there.
pub(crate) fn parse(secret: &Secret, bytes: &[u8]) -> Option<Entry> {
    let (payload_len, _) = bytes.strip_prefix(MAGIC)?.get(4..)?.split_first_chunk()?;
    let payload_len = u32::from_le_bytes(*payload_len) as usize;
    if payload_len > PAYLOAD_LIMIT {
        return None;
    }
    let record = bytes.get(..OVERHEAD + payload_len)?;
    let (crc, covered) = record.get(4..)?.split_first_chunk()?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (head, sealed) = covered.split_at_checked(SEALED_AT - COVERED_AT)?;
    let plain = open_at_rest(secret, head, sealed).ok()?;
    let (sequence, rest) = head.get(4..)?.split_first_chunk()?;
    let previous: &Mac = rest.first_chunk()?;
    let (boot, rest) = plain.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (kind, payload) = rest.split_first()?;
    let body = match kind {
        0 => Body::Marker(u64::from_le_bytes(payload.try_into().ok()?)),
        kind => Body::Record(LogKind::from_byte(*kind)?, payload.to_vec()),
    };
    Some(Entry {
        sequence: u64::from_le_bytes(*sequence),
        boot: u64::from_le_bytes(*boot),
        time: Timestamp(i64::from_le_bytes(*time)),
        body,
        previous: *previous,
        mac: *sealed.last_chunk()?,
        len: record.len(),
    })
}
