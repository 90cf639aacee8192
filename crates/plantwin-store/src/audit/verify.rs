//! Verifying a whole trail: its segments side by side, then what joins them, then its end.
//!
//! Files are read in large pieces, one segment a thread. The small files are read before the
//! segments, so that a plant that goes on writing looks no different from one that stopped.
//! Absent: mending anything.

use std::{
    ops::RangeInclusive,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use plantwin_seal::{ChainHash, CheckpointNote, Secret, VerifyingKey, audit_identity};

use super::{
    files::{self, Small},
    record::{self, Parsed, entry_key},
    report::{Findings, Report, Verdict},
    safe::{self, Said},
    scan::{Expect, Link, Scanned, scan},
};
use crate::StoreError;

/// More threads than this have nothing to read from.
const THREADS: usize = 8;

/// What to judge by besides the folder itself.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Findings that concern none of these sequences are left out.
    pub sequences: RangeInclusive<u64>,
    /// Checkpoints that were kept elsewhere, from [`super::kept`].
    pub kept: Vec<CheckpointNote>,
    /// The audit key, if it is at hand: with it the public key is checked as well, and the records
    /// behind the latest checkpoint.
    pub key: Option<Secret>,
    /// The public key that was kept elsewhere, from [`super::identity_from`].
    pub identity: Option<VerifyingKey>,
}

impl VerifyOptions {
    /// Whether there is anything from outside the folder to check the trail's public key against;
    /// without that, a trail that was replaced as a whole looks like any other.
    pub fn knows_identity(&self) -> bool {
        self.key.is_some() || self.identity.is_some() || !self.kept.is_empty()
    }
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { sequences: 1..=u64::MAX, kept: Vec::new(), key: None, identity: None }
    }
}

/// Verifies the trail in `dir`; reads all of it and changes nothing.
///
/// # Errors
/// [`StoreError::File`] if something cannot be read. Damage is no error but a finding.
pub fn verify(dir: &Path, options: &VerifyOptions) -> Result<Report, StoreError> {
    let mut findings = Findings::default();
    let latest = files::checkpoint(dir)?;
    let pinned = files::identity(dir)?;
    let said = safe::read(dir)?;
    let (numbers, strangers) = files::list(dir)?;
    let mine = options.key.as_ref().map(|key| audit_identity(key).verifying_key());
    let trail = |text: &str, verdict, findings: &mut Findings| {
        findings.push(verdict, 0, 1..=u64::MAX, text);
    };
    match (&pinned, mine) {
        (Small::Missing, _) => trail("identity.pub is gone", Verdict::Altered, &mut findings),
        (Small::Damaged, _) => trail("identity.pub is damaged", Verdict::Altered, &mut findings),
        (Small::Is(key), Some(mine)) if *key != mine => {
            let text = "identity.pub is not the public key of this store";
            trail(text, Verdict::Altered, &mut findings);
        }
        (Small::Is(_), _) => {}
    }
    if let Some(kept) = options.identity {
        if pinned.as_ref().is_some_and(|key| *key != kept) {
            let text = "identity.pub is not the public key that was kept: the trail was replaced \
                        by another one, or it is of another plant";
            trail(text, Verdict::Altered, &mut findings);
        }
        if mine.is_some_and(|mine| mine != kept) {
            let text = "the public key that was kept is not that of this store";
            trail(text, Verdict::Altered, &mut findings);
        }
    }
    match &latest {
        Small::Missing => {
            let text = "the file checkpoint is gone: nobody can say how far the trail went";
            trail(text, Verdict::Truncated, &mut findings);
        }
        Small::Damaged => {
            trail("the file checkpoint was altered", Verdict::Altered, &mut findings);
        }
        Small::Is(_) => {}
    }
    for name in &strangers {
        let text = format!("{name} is no segment of this trail");
        trail(&text, Verdict::Altered, &mut findings);
    }
    let identity = mine
        .or(options.identity)
        .or(pinned.as_ref().copied())
        .or(latest.as_ref().map(|n| *n.identity()));
    let mut kept: Vec<(u64, ChainHash)> = Vec::new();
    for note in latest.as_ref().into_iter().chain(&options.kept) {
        if Some(*note.identity()) != identity {
            let text = "a signed checkpoint beside the trail is of another plant, or the trail was \
                        replaced by another one";
            trail(text, Verdict::Altered, &mut findings);
        } else if note.checkpoint().size > 0 || note.checkpoint().hash != ChainHash::ORIGIN {
            kept.push((note.checkpoint().size, note.checkpoint().hash));
        }
    }
    kept.sort_unstable_by_key(|(size, hash)| (*size, *hash.as_bytes()));
    kept.dedup();
    let scans = match &identity {
        Some(identity) => read_all(dir, &numbers, Expect { identity, kept: &kept })?,
        None => Vec::new(),
    };
    let mut report = join(&scans, identity);
    findings.0.append(&mut report.findings);
    // A checkpoint is published when it is itself a record on the disk.
    let wanted = latest.as_ref().into_iter().chain(&options.kept).map(|n| n.checkpoint().size + 1);
    let wanted = wanted.max().unwrap_or(0);
    if wanted > report.last {
        let text = "a signed checkpoint beside the trail covers them, and they are not there";
        findings.push(Verdict::Truncated, 0, report.last + 1..=wanted, text);
    }
    for (i, (size, _)) in kept.iter().enumerate() {
        if *size < report.last && !scans.iter().any(|s| s.met.contains(&i)) {
            let text = "a signed checkpoint beside the trail covers it, and it is not there";
            findings.push(Verdict::Truncated, 0, *size..=*size, text);
        }
    }
    let entries = options.key.as_ref().map(entry_key);
    compare(&said, scans.last(), &report, entries.as_ref(), &mut findings);
    if let (Some(key), Some(last)) = (&entries, scans.last()) {
        vouch(dir, last, key, &mut findings)?;
    }
    let (from, to) = (*options.sequences.start(), *options.sequences.end());
    findings.0.retain(|f| *f.sequences.start() <= to && *f.sequences.end() >= from);
    report.verdict = findings.0.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Intact);
    report.findings = findings.0;
    Ok(report)
}

/// Reads and scans all segments, in order.
fn read_all(dir: &Path, numbers: &[u64], expect: Expect<'_>) -> Result<Vec<Scanned>, StoreError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(numbers.len()));
    let work = || {
        let mut bytes = Vec::new();
        while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let scanned =
                files::load(dir, *number, &mut bytes).map(|()| scan(*number, &bytes, expect));
            done.lock().unwrap_or_else(PoisonError::into_inner).push(scanned);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    thread::scope(|scope| {
        for _ in 1..threads.min(numbers.len()) {
            scope.spawn(work);
        }
        work();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut scans = done.into_iter().collect::<Result<Vec<Scanned>, StoreError>>()?;
    scans.sort_unstable_by_key(|s| s.number);
    Ok(scans)
}

/// Compares what joins the segments, and adds everything up.
fn join(scans: &[Scanned], identity: Option<VerifyingKey>) -> Report {
    let mut findings = Findings::default();
    let mut before = Link { sequence: 0, hash: ChainHash::ORIGIN };
    let (mut boot, mut closed, mut boots) = (0, true, 0);
    for (i, s) in scans.iter().enumerate() {
        let whole = s.first.map_or(0, |l| l.sequence)..=s.last.map_or(u64::MAX, |l| l.sequence);
        let mut altered = |text: &str| {
            findings.push(Verdict::Altered, s.number, whole.clone(), text);
        };
        if s.number != i as u64 + 1 {
            altered("its number does not follow from that of the segment before");
        }
        if s.torn > 0 && scans.get(i + 1).is_some_and(|next| !is_next_boot(s, next)) {
            altered("its last record is unfinished");
        }
        let ordered = match s.boot.cmp(&boot) {
            std::cmp::Ordering::Greater => s.opened,
            std::cmp::Ordering::Equal => !s.opened && !closed,
            std::cmp::Ordering::Less => false,
        };
        if !ordered && s.first.is_some() {
            altered("its boot does not follow from that of the segment before");
        }
        boots += u64::from(s.opened);
        (boot, closed) = (boot.max(s.boot), s.closed);
        if let Some(first) = s.first {
            let want = before.sequence + 1;
            if first.sequence > want {
                let text = "missing, and nothing tells why";
                findings.push(Verdict::Gap, s.number, want..=first.sequence - 1, text);
            } else if first.sequence < want {
                altered("its records are out of their place, or there a second time");
            } else if first.hash != before.hash {
                let text = "one does not follow from the other";
                let range = before.sequence..=first.sequence;
                findings.push(Verdict::Altered, s.number, range, text);
            }
        }
        before = s.last.filter(|l| l.sequence > before.sequence).unwrap_or(before);
        for finding in &s.findings.0 {
            findings.add(finding.clone());
        }
    }
    let unsigned = scans.last().map_or(0, |s| s.tail.len() as u64);
    let torn = scans.iter().map(|s| s.torn as u64).sum();
    Report {
        verdict: Verdict::Intact,
        records: scans.iter().map(|s| s.entries).sum(),
        checkpoints: scans.iter().map(|s| s.checkpoints).sum(),
        last: before.sequence,
        boots,
        unsigned,
        torn,
        identity,
        findings: findings.0,
    }
}

/// Whether a boot began behind the last whole record of `before`: then whatever that boot found
/// unfinished there was none of the trail, whether it could be cut off or not.
fn is_next_boot(before: &Scanned, next: &Scanned) -> bool {
    let goes_on = |last: Link| Link { sequence: last.sequence + 1, ..last };
    next.opened && next.first == before.last.map(goes_on)
}

/// Compares the trail's end with what the file `safe` says of it.
fn compare(
    said: &Small<Said>,
    last: Option<&Scanned>,
    report: &Report,
    key: Option<&Secret>,
    findings: &mut Findings,
) {
    let (verdict, from, to, text) = match said {
        // The very first record may be there before it is, and a closed trail does not need it.
        Small::Missing if report.last > 1 && last.is_some_and(|last| !last.closed) => {
            let text = "the file safe is gone: nobody can say how far the trail was safe";
            (Verdict::Truncated, 1, u64::MAX, text)
        }
        Small::Missing => return,
        Small::Damaged => (Verdict::Altered, 1, u64::MAX, "the file safe was altered"),
        Small::Is(said) if key.is_some_and(|key| !said.is_of(key)) => {
            (Verdict::Altered, 1, u64::MAX, "the file safe was not written by this plant")
        }
        Small::Is(said) if said.end.sequence <= report.last => return,
        Small::Is(said) => {
            let text = "was safe on the disk, and is not there";
            let from = report.last.saturating_add(1);
            (Verdict::Truncated, from, said.end.sequence, text)
        }
    };
    findings.push(verdict, 0, from..=to, text);
}

/// Whether the records behind the latest checkpoint were written with this key.
fn vouch(
    dir: &Path,
    last: &Scanned,
    key: &Secret,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    files::load(dir, last.number, &mut bytes)?;
    for at in &last.tail {
        match bytes.get(*at..).map(record::parse) {
            Some(Parsed::Record(record)) if record.is_sealed_with(key) => {}
            Some(Parsed::Record(record)) => {
                let sequence = record.place.sequence;
                let text = "was not written by this plant";
                findings.push(Verdict::Altered, last.number, sequence..=sequence, text);
            }
            _ => {
                let text = "changed while it was read";
                findings.push(Verdict::Altered, last.number, 0..=u64::MAX, text);
            }
        }
    }
    Ok(())
}
