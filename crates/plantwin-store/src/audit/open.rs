//! Opening the trail: where did it end, and is that where it was promised to end?
//!
//! Only the end is read, back to the last checkpoint whose signature holds. Records behind it were
//! signed by nobody: they are taken over if they were sealed with this store's key. An unfinished
//! record behind what was safe ([`super::safe`]) is cut off. Whatever else is wrong stays where it
//! is, as evidence; the trail goes on behind the last record that can be vouched for, and tells
//! what is missing as a gap.
//! Absent: checking what lies before ([`super::verify`] does).

use std::{fs, io, path::Path, sync::Arc};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};
use plantwin_seal::{CheckpointSigner, Secret, audit_identity};

use super::{
    end, fail,
    files::{self, IDENTITY, Small},
    record::entry_key,
    safe::{self, SafeFile},
    trail::{AuditTrail, Parts},
};
use crate::{
    StoreError,
    disk::{Disk, OsDisk},
    lock::DirLock,
};

impl AuditTrail {
    /// Opens or makes the trail in `dir`; `key` is the store's audit key, always the same one.
    ///
    /// Returns what must be told: damage, records that are gone. An unfinished record behind what was
    /// safe is what any killed process can leave: it is cut off, and the trail itself has an entry of
    /// it. If the disk cannot be written now that is told as well, and the next [`Self::flush`]
    /// tries again.
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
        let said = safe::read(dir)?;
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
        let end = end::end(dir, &numbers, &public, &entries, &mut findings)?;
        let promised = latest.as_ref().filter(|note| *note.identity() == public);
        let covered = promised.map_or(0, |note| note.checkpoint().size + 1);
        let last = end.last.sequence;
        let safe = said.as_ref().filter(|said| said.is_of(&entries)).map(|said| said.end);
        let safe_to = safe.map_or(0, |safe| safe.sequence);
        let missing = safe.map_or(0, |safe| safe.missing(end.segment, end.bytes));
        if covered > last {
            findings.push(format!(
                "the audit trail ends at record {last}, and its checkpoint covers record \
                 {covered}: what was between is gone"
            ));
        } else if safe_to > last {
            findings.push(format!(
                "the audit trail ends at record {last}, and record {safe_to} was safe on the disk: \
                 what was between is gone"
            ));
        } else if missing > 0 {
            findings.push(format!(
                "audit trail {:08}.seg: {missing} bytes that were safe on the disk are gone from it",
                end.segment
            ));
        }
        if said == Small::Missing {
            // Behind a closing checkpoint there is nothing for it to tell, and after the very
            // first start a crash may have left none.
            if last > 1 && !end.closed {
                findings.push("the audit trail's file `safe` was gone".to_owned());
            }
        } else if safe.is_none() {
            findings.push("the audit trail's file `safe` was altered".to_owned());
        }
        // What is left of a promised record is evidence.
        let unfinished = if covered.max(safe_to) > last || missing > 0 {
            None
        } else {
            end.unfinished(&*disk, dir, safe.is_some(), &mut findings)
        };
        // After the very first start a crash may have left no checkpoint file.
        if promised.is_none() && last > 1 {
            findings.push("the audit trail's latest checkpoint was gone or altered".to_owned());
        }
        if pinned != Small::Is(public) {
            if last > 0 || promised.is_some() {
                findings.push("the audit trail's identity.pub was gone or altered".to_owned());
            }
            let text = files::identity_text(&public);
            let put = files::replace(&*disk, dir, IDENTITY, text.as_bytes());
            findings.extend(put.err().map(|e| format!("failed to {e}")));
        }
        let boot = end.boot.max(promised.map_or(0, |note| note.checkpoint().boot)) + 1;
        let parts = Parts {
            dir: dir.to_owned(),
            disk,
            safe: SafeFile::new(&entries, said.as_ref().is_some()),
            key: entries,
            signer: CheckpointSigner::begin(&identity, boot)?,
            lock,
            number: numbers.last().map_or(0, |n| *n) + 1,
            last: end.last,
        };
        let lost_to = covered.max(safe_to).max(end.damaged_to);
        let lost_to = Some(lost_to).filter(|to| *to > last);
        let mut trail = Self::begin(parts, lost_to, now)?;
        if let Some(detail) = unfinished {
            trail.append(now, &own(detail))?;
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

/// An entry of the trail about itself.
fn own(detail: String) -> AuditEntry {
    AuditEntry {
        kind: AuditKind::System,
        actor: "plantwin".to_owned(),
        object: "audit".to_owned(),
        result: AuditResult::Done,
        detail,
    }
}
