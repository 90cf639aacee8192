//! Opening the trail: where did it end, and is that where it was promised to end?
//!
//! Only the end is read, back to the last checkpoint whose signature holds. Records behind it were
//! signed by nobody: they are taken over if they were sealed with this store's key. An unfinished
//! record is cut off. Whatever else is wrong stays where it is, as evidence; the trail goes on
//! behind the last record that can be vouched for, and tells what is missing as a gap.
//! Absent: checking what lies before ([`super::verify`] does).

use std::{fs, io, path::Path, sync::Arc};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};
use plantwin_seal::{ChainHash, CheckpointSigner, Secret, VerifyingKey, audit_identity};

use super::{
    fail,
    files::{self, IDENTITY, Small},
    record::{self, Parsed, entry_key},
    report::Verdict,
    scan::{Expect, Link, Scanned, scan},
    trail::{AuditTrail, Parts},
};
use crate::{
    StoreError,
    disk::{Disk, OsDisk},
    lock::DirLock,
};

/// Findings of one segment that are told; `plantwin audit verify` tells all.
const TOLD: usize = 5;
/// A boot cannot have left more records than this behind its last checkpoint.
const BELIEVABLE: u64 = 10_000;

/// Where the trail ended.
struct End {
    last: Link,
    boot: u64,
    /// Up to this sequence records were there and cannot be vouched for.
    damaged_to: u64,
    /// Bytes of an unfinished record that were cut off.
    cut_off: usize,
}

impl AuditTrail {
    /// Opens or makes the trail in `dir`; `key` is the store's audit key, always the same one.
    ///
    /// Returns what must be told: damage, records that are gone. An unfinished record at the end is
    /// what any killed process can leave: it is cut off, and the trail itself has an entry of it.
    /// If the disk cannot be written now that is told as well, and the next [`Self::flush`] tries
    /// again.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::File`] if something cannot be read, and
    /// [`StoreError::Key`] if the trail was written with another key; nothing is touched then.
    pub fn open(
        dir: &Path,
        key: &Secret,
        now: Timestamp,
    ) -> Result<(Self, Vec<String>), StoreError> {
        Self::open_on(Arc::new(OsDisk), dir, key, now)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        key: &Secret,
        now: Timestamp,
    ) -> Result<(Self, Vec<String>), StoreError> {
        make_private(dir).map_err(|e| fail("create the directory", dir, e))?;
        let lock = DirLock::take(dir)?;
        let identity = audit_identity(key);
        let public = identity.verifying_key();
        let entries = entry_key(key);
        let (latest, pinned) = (files::checkpoint(dir)?, files::identity(dir)?);
        let others = [latest.as_ref().map(|n| *n.identity()), pinned.as_ref().copied()];
        if others.iter().flatten().count() > 0 && others.iter().flatten().all(|k| *k != public) {
            return Err(StoreError::Key {
                path: dir.to_owned(),
                reason: "the audit trail there was written with another one; put the right key \
                         back from a backup, or move the directory away to begin a new trail"
                    .into(),
            });
        }
        let (numbers, strangers) = files::list(dir)?;
        let mut findings: Vec<String> = strangers
            .iter()
            .map(|name| format!("{name} in the audit trail is no segment of it"))
            .collect();
        let end = end(&*disk, dir, &numbers, &public, &entries, &mut findings)?;
        let promised = latest.as_ref().filter(|note| *note.identity() == public);
        let covered = promised.map_or(0, |note| note.checkpoint().size + 1);
        let last = end.last.sequence;
        if covered > last {
            findings.push(format!(
                "the audit trail ends at record {last}, and its checkpoint covers record \
                 {covered}: what was between is gone"
            ));
        }
        // After the very first start a crash may have left no checkpoint file.
        if promised.is_none() && last > 1 {
            findings.push("the audit trail's latest checkpoint was gone or altered".to_owned());
        }
        if pinned != Small::Is(public) {
            if last > 0 || promised.is_some() {
                findings.push("the audit trail's identity.pub was gone or altered".to_owned());
            }
            let text = files::identity_text(&public);
            let put = files::replace(&*disk, dir, IDENTITY, &text);
            findings.extend(put.err().map(|e| format!("failed to {e}")));
        }
        let boot = end.boot.max(promised.map_or(0, |note| note.checkpoint().boot)) + 1;
        let parts = Parts {
            dir: dir.to_owned(),
            disk,
            key: entries,
            signer: CheckpointSigner::begin(&identity, boot)?,
            lock,
            number: numbers.last().map_or(0, |n| *n) + 1,
            last: end.last,
        };
        let lost_to = Some(covered.max(end.damaged_to)).filter(|to| *to > last);
        let mut trail = Self::begin(parts, lost_to, now)?;
        if end.cut_off > 0 {
            trail.append(now, &cut_off(end.cut_off))?;
        }
        if let Err(error) = trail.flush() {
            findings.push(format!("failed to {error}; the audit trail waits in memory"));
        }
        Ok((trail, findings))
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Reads backwards to the last record that can be vouched for.
fn end(
    disk: &dyn Disk,
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
            let cut_off = if back == 0 { scanned.torn } else { 0 };
            if cut_off > 0 {
                cut(disk, &files::segment(dir, *number), scanned.end)?;
            }
            return Ok(End { last, boot: scanned.signed_boot, damaged_to, cut_off });
        }
        damaged_to = damaged_to.max(there);
    }
    let nothing = Link { sequence: 0, hash: ChainHash::ORIGIN };
    Ok(End { last: nothing, boot: 0, damaged_to: damaged_to.min(BELIEVABLE), cut_off: 0 })
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

/// What the trail says of it. It is no alarm: nobody was promised that record, and whoever cuts
/// the trail on purpose cuts it between two records.
fn cut_off(bytes: usize) -> AuditEntry {
    AuditEntry {
        kind: AuditKind::System,
        actor: "plantwin".to_owned(),
        object: "audit".to_owned(),
        result: AuditResult::Done,
        detail: format!(
            "cut an unfinished record of {bytes} bytes off the end of the trail: the process \
             before ended while it wrote"
        ),
    }
}
