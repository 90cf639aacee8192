//! The audit trail: who did or tried what, in a hash chain that is never pruned.
//!
//! Folder `DATA/audit`: `00000001.seg` and so on, up to 8 MiB each; `checkpoint`, the latest signed
//! one; `identity.pub`, the public key that certifies those of the boots; `safe`, how far the last
//! sync came; `lock`. A segment is a title and records: entries (sealed), checkpoints (signed) and gaps (sealed, told losses).
//! Each carries the chain's hash before it, over what lies on the disk. So [`verify`] needs no
//! secret, and segments are checked side by side. Each boot begins a segment, each segment begins
//! with a checkpoint, and a segment gets its name when its first bytes are safe: only the end of a
//! boot's last segment can be torn, and only if the boot did not close the trail.
//!
//! **What is found.** Whoever can write to the folder and has no key cannot alter, drop, add,
//! repeat or move a record before the latest checkpoint unseen, nor cut the trail below the file
//! `checkpoint`. **Damage** behind that one is found by `safe`: what ends within or between records
//! that were flushed has lost them, and what ends behind them was a write that nobody was promised.
//! Against an attacker `safe` shows no more than that he did not make it (its MAC): he can put an
//! older `safe` there with the segment of its time (at most 1,000 records, or 5 s, go unseen), or
//! cut deeper with an older `checkpoint` as well. A checkpoint kept elsewhere shows the second, only
//! a quicker witness the first. Whoever holds the store's key can write another history, and whoever
//! does not can put a trail of his own there with its `identity.pub`: again, only checkpoints or the
//! public key kept elsewhere show it. Carry them away (`plantwin audit checkpoint`).
//!
//! **Wiring.** [`AuditTrail::open`] with [`folder`] and `store.key_for(AUDIT_KEY)`, tell its findings
//! as alarms, then [`AuditWriter::start`]; hand it on as `Arc<dyn AuditSink>`, refuse configuration and
//! commands of people (never plant control) while [`AuditWriter::is_blocked`], and
//! [`AuditWriter::close`] it when everything else has stopped.
//!
//! Absent: sending checkpoints to a witness, pruning, what the entries mean.
//!
//! ```
//! use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};
//! use plantwin_seal::Secret;
//! use plantwin_store::audit::{self, AuditTrail, Verdict, VerifyOptions};
//!
//! # let data = tempfile::tempdir()?;
//! # let folder = data.path().join("audit");
//! let key = Secret::random()?;
//! let (mut trail, findings) = AuditTrail::open(&folder, &key, Timestamp::from_millis(0))?;
//! assert!(findings.is_empty());
//! let entry = AuditEntry {
//!     kind: AuditKind::Command,
//!     actor: "user:alice".to_owned(),
//!     object: "tank1.valve".to_owned(),
//!     result: AuditResult::Refused,
//!     detail: "role viewer may not command".to_owned(),
//! };
//! trail.append(Timestamp::from_millis(1), &entry)?;
//! trail.close(Timestamp::from_millis(2))?;
//!
//! let report = audit::verify(&folder, &VerifyOptions::default())?;
//! assert_eq!((report.verdict, report.records), (Verdict::Intact, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::{Path, PathBuf};

use crate::StoreError;

mod end;
mod files;
mod key;
mod open;
mod read;
mod record;
mod report;
mod safe;
mod scan;
mod trail;
mod verify;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

pub use files::{identity_from, kept, latest};
pub use key::{AUDIT_KEY, audit_key};
pub use read::{AuditReader, Shown};
pub use report::{AuditFinding, Report, Verdict};
pub use trail::{AuditTrail, CHECKPOINT_RECORDS, CHECKPOINT_TIME};
pub use verify::{VerifyOptions, verify};
pub use writer::{AuditStatus, AuditWriter, BACKLOG_ENTRIES, HUNG};

/// The folder of the trail below a data directory.
pub fn folder(data: &Path) -> PathBuf {
    data.join("audit")
}

fn fail(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File { action, path: path.to_owned(), source }
}
