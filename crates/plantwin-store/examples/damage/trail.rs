//! The audit trail of a damaged image: is all there that was recorded, or is it told?
//!
//! Each damage is looked for twice: by verifying before anything is mended, and at opening. Absent:
//! damage by somebody who knows the format, which the trail's own tests do.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};
use plantwin_store::{
    KeySource, SledStore, StoreError,
    audit::{self, AUDIT_KEY, AuditReader, AuditTrail, Report, Shown, VerifyOptions},
};

use super::{Random, Verdict};

/// What was recorded, by sequence.
pub(super) type Entries = BTreeMap<u64, AuditEntry>;

/// Records the life of a plant; the last one is killed.
pub(super) fn live(
    dir: &Path,
    store: &SledStore,
    life: u64,
    random: &mut Random,
    truth: &mut Entries,
) -> Result<(), StoreError> {
    let now = |n: u64| Timestamp::from_millis((life * 1000 + n).cast_signed());
    let key = store.key_for(AUDIT_KEY);
    let (mut trail, _) = AuditTrail::open(&audit::folder(dir), &key, now(0))?;
    for n in 0..60 {
        let entry = AuditEntry {
            kind: AuditKind::Command,
            actor: "user:operator".to_owned(),
            object: format!("device-{:03}", n % 40),
            result: AuditResult::Done,
            detail: "x".repeat(20 + random.below(400)),
        };
        truth.insert(trail.append(now(n), &entry)?, entry);
        if n % 25 == 24 {
            trail.checkpoint(now(n));
        }
        trail.flush()?;
    }
    if life < 2 { trail.close(now(60)) } else { Ok(()) }
}

/// What was found before anything was touched, without the key and with it.
pub(super) struct Before(Vec<Report>);

pub(super) fn before(dir: &Path) -> Result<Before, StoreError> {
    let key = audit::audit_key(dir, &KeySource::Plain)?;
    let folder = audit::folder(dir);
    let look = |key| audit::verify(&folder, &VerifyOptions { key, ..VerifyOptions::default() });
    Ok(Before(vec![look(None)?, look(key)?]))
}

/// Compares what can be read with what was recorded; `told` is what opening found.
pub(super) fn judge(
    dir: &Path,
    store: &SledStore,
    before: &Before,
    told: &[String],
    truth: &Entries,
) -> (Verdict, String) {
    let failed = |e: StoreError| (Verdict::Broken, format!("failed to {e}"));
    let found = before.0.iter().flat_map(|report| &report.findings);
    let detail: Vec<String> =
        found.clone().map(ToString::to_string).chain(told.iter().cloned()).collect();
    let detail = detail.join("; ");
    let mut entries = Entries::new();
    let key = store.key_for(AUDIT_KEY);
    let mut reader = AuditReader::new(&audit::folder(dir), &key, 1);
    let read = reader.read(&mut |shown| {
        if let Shown::Entry { sequence, entry, .. } = shown
            && entry.object != "audit"
        {
            entries.insert(sequence, entry);
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = read {
        return failed(error);
    }
    if let Some((sequence, _)) = entries.iter().find(|(s, entry)| truth.get(s) != Some(*entry)) {
        return (Verdict::Wrong, format!("audit record {sequence} was never this; {detail}"));
    }
    // The worst there is: an entry that is gone, and nothing names its place.
    let silent = truth.keys().find(|sequence| {
        !entries.contains_key(sequence)
            && !found.clone().any(|finding| finding.sequences.contains(sequence))
    });
    match silent {
        Some(sequence) => {
            (Verdict::Silent, format!("audit record {sequence} is gone; told: {detail}"))
        }
        None if detail.is_empty() => (Verdict::Intact, detail),
        None => (Verdict::Told, detail),
    }
}

/// After an opening the trail takes and keeps entries, and the next opening finds nothing.
pub(super) fn goes_on(dir: &Path, store: &SledStore) -> Result<(), String> {
    let failed = |e: StoreError| format!("failed to {e}");
    let key = store.key_for(AUDIT_KEY);
    let open = || AuditTrail::open(&audit::folder(dir), &key, Timestamp::default());
    for _ in 0..2 {
        let (trail, findings) = open().map_err(failed)?;
        if !findings.is_empty() {
            return Err(format!("the next opening of the audit trail found {findings:?}"));
        }
        trail.close(Timestamp::default()).map_err(failed)?;
    }
    Ok(())
}
