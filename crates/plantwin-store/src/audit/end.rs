//! The end of a trail, read backwards to the last record that can be vouched for.
//!
//! Absent: comparing it with what the small files promise ([`super::open`]).

use std::path::Path;

use plantwin_seal::{ChainHash, Secret, VerifyingKey};

use super::{
    fail, files,
    record::{self, Parsed},
    report::Verdict,
    scan::{Expect, Link, Scanned, scan},
};
use crate::{StoreError, disk::Disk};

/// Findings of one segment that are told; `plantwin audit verify` tells all.
const TOLD: usize = 5;
/// A boot cannot have left more records than this behind its last checkpoint.
const BELIEVABLE: u64 = 10_000;

/// Where the trail ended.
pub(super) struct End {
    pub(super) last: Link,
    pub(super) boot: u64,
    /// Up to this sequence records were there and cannot be vouched for.
    pub(super) damaged_to: u64,
    /// Segment that ends the trail.
    pub(super) segment: u64,
    /// Where its last record ends.
    pub(super) length: usize,
    /// Bytes that the segment has.
    pub(super) bytes: usize,
    /// Bytes of an unfinished record behind its last, if nothing else is wrong there.
    pub(super) torn: usize,
    /// The trail was closed in order.
    pub(super) closed: bool,
}

/// Reads backwards to the last record that can be vouched for.
pub(super) fn end(
    dir: &Path,
    numbers: &[u64],
    public: &VerifyingKey,
    key: &Secret,
    findings: &mut Vec<String>,
) -> Result<End, StoreError> {
    let mut bytes = Vec::new();
    let mut damaged_to = 0;
    for (back, number) in numbers.iter().rev().enumerate() {
        files::load(dir, *number, &mut bytes)?;
        let scanned = scan(*number, &bytes, Expect { identity: public, kept: &[] });
        let wrong = scanned.findings.0.iter().filter(|f| f.verdict != Verdict::Gap);
        findings.extend(wrong.take(TOLD).map(|f| format!("audit trail {f}")));
        let vouched = vouched(&bytes, &scanned, key);
        let there = scanned.last.map_or(0, |last| last.sequence);
        if let Some(last) = vouched {
            let whole = there == last.sequence && scanned.end + scanned.torn == bytes.len();
            if !whole || back > 0 {
                let from = last.sequence + 1;
                damaged_to = damaged_to.max(there).clamp(from, last.sequence + BELIEVABLE);
            }
            if !whole && scanned.findings.0.is_empty() {
                let from = last.sequence + 1;
                findings.push(format!(
                    "audit trail {number:08}.seg: from record {from} on it was not written by \
                     this plant"
                ));
            }
            let at_the_end = whole && back == 0;
            return Ok(End {
                last,
                boot: scanned.signed_boot,
                damaged_to,
                segment: *number,
                length: scanned.end,
                bytes: bytes.len(),
                torn: if at_the_end { scanned.torn } else { 0 },
                closed: at_the_end && scanned.closed,
            });
        }
        damaged_to = damaged_to.max(there);
    }
    Ok(End {
        last: Link { sequence: 0, hash: ChainHash::ORIGIN },
        boot: 0,
        damaged_to: damaged_to.min(BELIEVABLE),
        segment: 0,
        length: 0,
        bytes: 0,
        torn: 0,
        closed: false,
    })
}

impl End {
    /// Cuts off an unfinished record, if it is known that nobody was promised it. Returns what the
    /// trail says of it.
    pub(super) fn unfinished(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        known: bool,
        findings: &mut Vec<String>,
    ) -> Option<String> {
        let bytes = Some(self.torn).filter(|torn| *torn > 0)?;
        if !known {
            findings.push(format!(
                "audit trail {:08}.seg: it ends in {bytes} bytes of a record, and nothing tells \
                 whether that was safe on the disk",
                self.segment
            ));
            return Some(format!(
                "the trail ended in {bytes} bytes of a record, and nothing tells whether that was \
                 safe on the disk"
            ));
        }
        match cut(disk, &files::segment(dir, self.segment), self.length) {
            Ok(()) => Some(format!(
                "cut an unfinished record of {bytes} bytes off the end of the trail: the process \
                 before ended while it wrote"
            )),
            Err(error) => {
                // The next segment says where the chain goes on, so it does no harm there.
                findings.push(format!("failed to {error}; an unfinished record stays there"));
                Some(format!(
                    "an unfinished record of {bytes} bytes at the end of {:08}.seg could not be \
                     cut off: the process before ended while it wrote",
                    self.segment
                ))
            }
        }
    }
}

/// The last record of a segment in an unbroken line from its last signed checkpoint.
fn vouched(bytes: &[u8], scanned: &Scanned, key: &Secret) -> Option<Link> {
    let mut last = scanned.anchor?;
    for at in &scanned.tail {
        let Parsed::Record(record) = record::parse(&bytes[*at..]) else { break };
        let follows = record.place.previous == last.hash && record.begins() == last.sequence + 1;
        if !follows || !record.is_sealed_with(key) {
            break;
        }
        last = Link { sequence: record.place.sequence, hash: record.hash };
    }
    Some(last)
}

/// Cuts an unfinished record off the end of a segment.
fn cut(disk: &dyn Disk, path: &Path, end: usize) -> Result<(), StoreError> {
    let cut = || {
        let mut file = disk.open(path)?;
        file.set_len(end as u64)?;
        file.sync()
    };
    cut().map_err(|e| fail("cut", path, e))
}
