//! A record of the trail: `"PWAU" | crc u32 | length u32 | previous hash 32 B | kind u8 |
//! sequence u64 | boot u64 | time i64 | payload`, numbers little-endian.
//!
//! The CRC covers everything behind it and finds torn and damaged records one by one; the chain's
//! hash covers everything behind `previous`. Payloads: an entry is postcard, sealed for exactly this
//! place in the chain; a checkpoint is the text of its note; a gap is `from u64 | reason u8` and a
//! seal over them. Absent: files.

use plantwin_model::{AuditEntry, Timestamp};
use plantwin_seal::{ChainHash, Secret, derive_key, open_at_rest, seal_at_rest};

use crate::StoreError;

pub(super) const MAGIC: &[u8; 4] = b"PWAU";
/// Bytes before the payload.
pub(super) const HEADER: usize = 69;
/// Where the bytes begin that the hash covers.
const BODY_AT: usize = 44;
/// Longest payload.
const PAYLOAD_LIMIT: usize = 64 << 10;
/// No honest trail comes near this sequence or boot; so adding to one never overflows.
const NUMBER_LIMIT: u64 = 1 << 62;
/// Bytes of a gap's own payload before its seal.
const GAP_BYTES: usize = 9;
/// Longest `actor`, `object` and `detail` that are kept, in bytes.
pub(super) const TEXT_LIMITS: [usize; 3] = [512, 512, 4096];

/// What a record is; the numbers on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Entry = 1,
    Checkpoint = 2,
    Gap = 3,
}

/// Why records are missing; the numbers on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Reason {
    /// The disk could not be written for so long that the backlog was full.
    Overflow = 1,
    /// They were not there any more, or not as they were written, when a boot began.
    Missing = 2,
}

/// A record's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) previous: ChainHash,
    pub(super) sequence: u64,
    pub(super) boot: u64,
    pub(super) time: Timestamp,
}

/// A record whose CRC is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record<'r> {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) payload: &'r [u8],
    /// Where the chain stands after it.
    pub(super) hash: ChainHash,
    /// Bytes it takes.
    pub(super) len: usize,
}

/// What the beginning of some bytes is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parsed<'r> {
    Record(Record<'r>),
    /// The bytes end before the record that they begin.
    Short,
    /// No record.
    Bad,
}

/// The key for entries and gaps, from the audit key.
pub(super) fn entry_key(secret: &Secret) -> Secret {
    derive_key("plantwin v1 audit entries", &[secret.expose()])
}

/// Appends an entry to `out`; returns where the chain stands then.
pub(super) fn entry(
    key: &Secret,
    out: &mut Vec<u8>,
    place: Place,
    entry: &AuditEntry,
) -> Result<ChainHash, StoreError> {
    let plain = postcard::to_allocvec(entry).map_err(|source| StoreError::Encoding {
        action: "encode",
        tree: "audit",
        key: place.sequence.to_string(),
        source,
    })?;
    let payload = seal_at_rest(key, &context(&place, Kind::Entry, &[]), &plain)?;
    Ok(push(out, place, Kind::Entry, &payload))
}

/// Appends a checkpoint's note.
pub(super) fn checkpoint(out: &mut Vec<u8>, place: Place, note: &str) -> ChainHash {
    push(out, place, Kind::Checkpoint, note.as_bytes())
}

/// Appends a gap: everything from `from` to before the record's own sequence is missing.
pub(super) fn gap(
    key: &Secret,
    out: &mut Vec<u8>,
    place: Place,
    from: u64,
    reason: Reason,
) -> Result<ChainHash, StoreError> {
    let mut payload = from.to_le_bytes().to_vec();
    payload.push(reason as u8);
    let seal = seal_at_rest(key, &context(&place, Kind::Gap, &payload), &[])?;
    payload.extend(seal);
    Ok(push(out, place, Kind::Gap, &payload))
}

fn push(out: &mut Vec<u8>, place: Place, kind: Kind, payload: &[u8]) -> ChainHash {
    let start = out.len();
    out.extend(MAGIC);
    out.extend([0; 4]);
    out.extend((payload.len() as u32).to_le_bytes());
    out.extend(place.previous.as_bytes());
    out.push(kind as u8);
    out.extend(place.sequence.to_le_bytes());
    out.extend(place.boot.to_le_bytes());
    out.extend(place.time.0.to_le_bytes());
    out.extend(payload);
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    place.previous.then(&out[start + BODY_AT..])
}

/// What a seal is bound to.
fn context(place: &Place, kind: Kind, more: &[u8]) -> Vec<u8> {
    let mut context = Vec::with_capacity(57 + more.len());
    context.extend(place.previous.as_bytes());
    context.push(kind as u8);
    context.extend(place.sequence.to_le_bytes());
    context.extend(place.boot.to_le_bytes());
    context.extend(place.time.0.to_le_bytes());
    context.extend(more);
    context
}

/// The record at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Parsed::Bad;
    }
    if bytes.len() < HEADER {
        return Parsed::Short;
    }
    match whole(bytes) {
        Some(parsed) => parsed,
        None => Parsed::Bad,
    }
}

fn whole(bytes: &[u8]) -> Option<Parsed<'_>> {
    let (crc, covered) = bytes[MAGIC.len()..].split_first_chunk()?;
    let (payload_len, rest) = covered.split_first_chunk()?;
    let (previous, body) = rest.split_first_chunk()?;
    let (kind, rest) = body.split_first()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (boot, rest) = rest.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let payload_len = u32::from_le_bytes(*payload_len) as usize;
    let sequence = u64::from_le_bytes(*sequence);
    let boot = u64::from_le_bytes(*boot);
    let kind = match kind {
        1 => Kind::Entry,
        2 => Kind::Checkpoint,
        3 => Kind::Gap,
        _ => return None,
    };
    let sound = 1..NUMBER_LIMIT;
    if payload_len > PAYLOAD_LIMIT || !sound.contains(&sequence) || !sound.contains(&boot) {
        return None;
    }
    let Some(payload) = rest.get(..payload_len) else { return Some(Parsed::Short) };
    let len = HEADER + payload_len;
    if crc32fast::hash(&covered[..len - 8]) != u32::from_le_bytes(*crc) {
        return None;
    }
    let previous = ChainHash::from_bytes(*previous);
    let time = Timestamp(i64::from_le_bytes(*time));
    let place = Place { previous, sequence, boot, time };
    let hash = previous.then(&body[..len - BODY_AT]);
    let record = Record { place, kind, payload, hash, len };
    // A gap that ends before it begins says nothing.
    (kind != Kind::Gap || record.gap().is_some()).then_some(Parsed::Record(record))
}

/// Whether the bytes look unfinished only because one bit of the record's length is not what it
/// was: with that bit put right the record is there, and its CRC fits.
pub(super) fn lies_of_length(bytes: &[u8]) -> bool {
    let parts = || {
        let (crc, covered) = bytes.get(MAGIC.len()..)?.split_first_chunk()?;
        let (length, rest) = covered.split_first_chunk()?;
        Some((u32::from_le_bytes(*crc), u32::from_le_bytes(*length), rest))
    };
    let Some((crc, told, rest)) = parts() else { return false };
    (0..u32::BITS).map(|bit| told ^ 1 << bit).any(|length| {
        let payload_len = length as usize;
        let len = (HEADER - 12).saturating_add(payload_len);
        let whole = rest.get(..len).filter(|_| payload_len <= PAYLOAD_LIMIT);
        whole.is_some_and(|rest| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&length.to_le_bytes());
            hasher.update(rest);
            hasher.finalize() == crc
        })
    })
}

/// Where behind `from` the next record begins whose CRC is right. A file made to waste time is
/// given up on: then there is none.
pub(super) fn next_record(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    for _ in 0..10_000 {
        at += bytes.get(at..)?.windows(MAGIC.len()).position(|w| w == MAGIC)?;
        if matches!(parse(&bytes[at..]), Parsed::Record(_)) {
            return Some(at);
        }
        at += 1;
    }
    None
}

impl Record<'_> {
    /// First missing sequence and the reason, if this is a gap.
    pub(super) fn gap(&self) -> Option<(u64, Reason)> {
        if self.kind != Kind::Gap {
            return None;
        }
        let (from, rest) = self.payload.split_first_chunk()?;
        let from = u64::from_le_bytes(*from);
        let reason = match rest.first()? {
            1 => Reason::Overflow,
            2 => Reason::Missing,
            _ => return None,
        };
        (1..=self.place.sequence).contains(&from).then_some((from, reason))
    }

    /// First sequence that it accounts for.
    pub(super) fn begins(&self) -> u64 {
        self.gap().map_or(self.place.sequence, |(from, _)| from)
    }

    /// The entry, if it is one and was sealed with this key for this place.
    pub(super) fn entry(&self, key: &Secret) -> Option<AuditEntry> {
        if self.kind != Kind::Entry {
            return None;
        }
        let plain = open_at_rest(key, &context(&self.place, self.kind, &[]), self.payload).ok()?;
        postcard::from_bytes(&plain).ok()
    }

    /// Whether it was written with this key; of a checkpoint only its signature can say that.
    pub(super) fn is_sealed_with(&self, key: &Secret) -> bool {
        match self.kind {
            Kind::Entry => self.entry(key).is_some(),
            Kind::Checkpoint => false,
            Kind::Gap => self.payload.split_at_checked(GAP_BYTES).is_some_and(|(said, seal)| {
                open_at_rest(key, &context(&self.place, self.kind, said), seal).is_ok()
            }),
        }
    }
}
