//! Keeps a flood of refusals from flooding the audit trail: the first ones of a span are written
//! down, the rest are counted, and the count is written with the next one.
//!
//! Absent: what was done, which is always written down.

use std::time::Duration;

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};

/// Refusals written down in a span.
const EACH: u32 = 32;
/// The span.
const SPAN: Duration = Duration::from_secs(10);

/// Counts refusals.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    since: Option<Timestamp>,
    told: u32,
    hushed: u64,
}

impl Quiet {
    /// What is to be written down in place of this entry.
    pub(crate) fn filter(&mut self, entry: AuditEntry, now: Timestamp) -> Vec<AuditEntry> {
        if entry.result == AuditResult::Done {
            return vec![entry];
        }
        let mut out = Vec::new();
        if self.since.is_none_or(|since| now.since(since).max(since.since(now)) >= SPAN) {
            if self.hushed > 0 {
                out.push(AuditEntry {
                    kind: AuditKind::System,
                    actor: "plantwin".to_owned(),
                    object: "authority".to_owned(),
                    result: AuditResult::Refused,
                    detail: format!("{} further refusals were not written down", self.hushed),
                });
            }
            *self = Self { since: Some(now), told: 0, hushed: 0 };
        }
        if self.told < EACH {
            self.told += 1;
            out.push(entry);
        } else {
            self.hushed += 1;
        }
        out
    }
}
