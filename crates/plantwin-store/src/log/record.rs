//! A log record: `"PWLR" | crc u32 | length u32 | sequence u64 | boot u64 | time i64 | kind u8 |
//! previous 16 B | payload | MAC 16 B`, numbers little-endian.
//!
//! The CRC covers everything behind it, the MAC everything between. `previous` is the MAC of the
//! record before: records cannot be swapped or cut out unseen, and yet each one can be verified
//! when its neighbours are gone. Kind 0 is a marker: records `from` (in the payload) to its own
//! sequence were lost, and told. Absent: buffers, files.

use plantwin_model::Timestamp;
use plantwin_seal::{Secret, mac};

use crate::{LogKind, LogRecord, PAYLOAD_LIMIT, key::short};

pub(crate) const MAGIC: &[u8; 4] = b"PWLR";
const COVERED_AT: usize = 8;
const PAYLOAD_AT: usize = 53;
pub(crate) const MAC_BYTES: usize = 16;
/// Bytes of a record besides its payload.
pub(crate) const OVERHEAD: usize = PAYLOAD_AT + MAC_BYTES;

/// A MAC of a record.
pub(crate) type Mac = [u8; MAC_BYTES];

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body<'r> {
    Record(LogKind, &'r [u8]),
    /// Everything from this sequence to the marker's own is gone.
    Marker(u64),
}

/// An intact record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'r> {
    pub(crate) sequence: u64,
    pub(crate) boot: u64,
    pub(crate) time: Timestamp,
    pub(crate) body: Body<'r>,
    pub(crate) previous: Mac,
    pub(crate) mac: Mac,
    /// Bytes it takes.
    pub(crate) len: usize,
}

impl<'r> Entry<'r> {
    /// What others see of it; nothing of a marker.
    pub(crate) fn public(&self) -> Option<LogRecord<'r>> {
        let Body::Record(kind, payload) = self.body else { return None };
        let Self { sequence, boot, time, .. } = *self;
        Some(LogRecord { sequence, boot, time, kind, payload })
    }
}

/// Appends a record to `out` and returns its MAC.
pub(crate) fn encode(
    secret: &Secret,
    out: &mut Vec<u8>,
    (sequence, boot, time): (u64, u64, Timestamp),
    body: Body<'_>,
    previous: Mac,
) -> Mac {
    let start = out.len();
    let from;
    let (kind, payload) = match body {
        Body::Record(kind, payload) => (kind as u8, payload),
        Body::Marker(first) => {
            from = first.to_le_bytes();
            (0, &from[..])
        }
    };
    out.extend(MAGIC);
    out.extend([0; 4]);
    out.extend((payload.len() as u32).to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend(boot.to_le_bytes());
    out.extend(time.0.to_le_bytes());
    out.push(kind);
    out.extend(previous);
    out.extend(payload);
    let mac = short(&mac(secret, &[&out[start + COVERED_AT..]]));
    out.extend(mac);
    let crc = crc32fast::hash(&out[start + COVERED_AT..]);
    out[start + 4..start + COVERED_AT].copy_from_slice(&crc.to_le_bytes());
    mac
}

/// The record at the beginning of `bytes`, if an intact one is there.
pub(crate) fn parse<'r>(secret: &Secret, bytes: &'r [u8]) -> Option<Entry<'r>> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (crc, rest) = rest.split_first_chunk()?;
    let covered = rest;
    let (payload_len, rest) = rest.split_first_chunk()?;
    let payload_len = u32::from_le_bytes(*payload_len) as usize;
    if payload_len > PAYLOAD_LIMIT {
        return None;
    }
    let (sequence, rest) = rest.split_first_chunk()?;
    let (boot, rest) = rest.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (previous, rest) = rest.split_first_chunk()?;
    let (payload, rest) = rest.split_at_checked(payload_len)?;
    let (stored, _) = rest.split_first_chunk()?;
    let len = OVERHEAD + payload_len;
    if crc32fast::hash(&covered[..len - COVERED_AT]) != u32::from_le_bytes(*crc)
        || short(&mac(secret, &[&covered[..len - COVERED_AT - MAC_BYTES]])) != *stored
    {
        return None;
    }
    let body = match kind {
        0 => Body::Marker(u64::from_le_bytes(payload.try_into().ok()?)),
        kind => Body::Record(LogKind::from_byte(*kind)?, payload),
    };
    Some(Entry {
        sequence: u64::from_le_bytes(*sequence),
        boot: u64::from_le_bytes(*boot),
        time: Timestamp(i64::from_le_bytes(*time)),
        body,
        previous: *previous,
        mac: *stored,
        len,
    })
}
