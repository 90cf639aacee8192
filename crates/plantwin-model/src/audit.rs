//! What must be accounted for: who did or tried what, to what, and how it ended.
//!
//! Absent: writing it down. The store keeps records in a hash chain; whoever has something to
//! account for knows an [`AuditSink`] and nothing of the disk.

use serde::{Deserialize, Serialize};

/// What a record is about. The order is that of the numbers on disk, which never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditKind {
    /// The process began, ended, or changed something about itself.
    System,
    /// A session with a device began, was refused or ended.
    Session,
    /// A device was invited, asked to be enrolled, was approved or refused.
    Enrolment,
    /// A token was issued or refused, or used beyond its end because the authority was away.
    Token,
    /// A device's key was taken out of use.
    Revocation,
    /// A command or a write.
    Command,
    /// Any other request of a person: acknowledging, restarting, configuring.
    Request,
    /// The policy was swapped.
    Policy,
    /// A device was confined or released.
    Quarantine,
    /// A key of the plant or of its store was made, rotated or wrapped anew.
    Key,
    /// The store found damage or could not write.
    Store,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditResult {
    /// It was done.
    Done,
    /// It was not allowed.
    Refused,
    /// It was allowed and did not succeed, or nobody knows whether it did.
    Failed,
}

/// One thing to account for. Time, boot and place in the chain are added by whoever writes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// About what.
    pub kind: AuditKind,
    /// Who: `user:alice`, `device:tank1`, `plantwin`.
    pub actor: String,
    /// To what: `tank1.valve`, `policy`, `key:2f91…`.
    pub object: String,
    /// How it ended.
    pub result: AuditResult,
    /// The reason or the value, for people; a lowercase fragment. Never a secret.
    pub detail: String,
}

/// Takes what must be accounted for.
pub trait AuditSink: Send + Sync {
    /// Takes one entry and returns at once; whoever keeps it tells of its own troubles.
    fn record(&self, entry: AuditEntry);

    /// Whether what is taken cannot be kept now: then people shall not command or configure, while
    /// the plant itself goes on.
    fn is_blocked(&self) -> bool {
        false
    }
}

/// Keeps nothing: for plants without a data directory, and for tests.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoAudit;

impl AuditSink for NoAudit {
    fn record(&self, _entry: AuditEntry) {}
}
