//! A realistic store and audit trail, damaged in a thousand ways, and what opening says of each.
//!
//! Each image is a copy of one store with one damage in one file. The verdict compares everything
//! that can be read with everything that was written: a value that nobody ever wrote is wrong, and
//! one that is gone or outdated must be covered by the report. Absent: faults while writing, which
//! the crate's own tests make.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use plantwin_model::Timestamp;
use plantwin_store::audit::{self, AUDIT_KEY, AuditTrail};
use plantwin_store::{
    Finding, LogKind, OpenReport, SledStore, Spool, SpoolLimits, Store, StoreError, Tree, Write,
    spool::SPOOL_TREE,
};

#[path = "trail.rs"]
mod trail;

const TWINS: Tree = Tree::new("twins");
const LEDGER: Tree = Tree::new("ledger");
const TREES: [Tree; 3] = [TWINS, LEDGER, SPOOL_TREE];

/// Small and seeded (splitmix64: Steele, Lea, Flood, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

type Records = BTreeMap<String, Vec<u8>>;

/// What was written.
pub(crate) struct Truth {
    /// The live records of each tree.
    live: BTreeMap<&'static str, Records>,
    /// Everything that was ever written, by tree, key and value.
    ever: BTreeSet<(&'static str, String, Vec<u8>)>,
    log: Vec<(LogKind, Timestamp, Vec<u8>)>,
    audit: trail::Entries,
}

impl Truth {
    fn note(&mut self, store: &SledStore) -> Result<(), StoreError> {
        for tree in TREES {
            let records: Records = store.scan(tree)?.into_iter().collect();
            let ever = records.iter().map(|(k, v)| (tree.name(), k.clone(), v.clone()));
            self.ever.extend(ever);
            self.live.insert(tree.name(), records);
        }
        Ok(())
    }
}

/// Fills a store in `dir`: state that changes, records that go, queues, and a log of two segments.
pub(crate) fn build(dir: &Path, seed: u64) -> Result<Truth, StoreError> {
    let mut random = Random(seed);
    let mut truth = Truth {
        live: BTreeMap::new(),
        ever: BTreeSet::new(),
        log: Vec::new(),
        audit: trail::Entries::new(),
    };
    // Several lives, as a plant has.
    for life in 0..3_u64 {
        let (store, _) = SledStore::open(dir)?;
        let store = Arc::new(store);
        let mut spool = Spool::open(store.clone(), SpoolLimits::default())?;
        for round in 0..12_u64 {
            let time = Timestamp::from_millis((life * 1000 + round).cast_signed());
            for i in 0..40 {
                let len = 50 + random.below(400);
                let (key, value) = (format!("device-{i:03}"), random.bytes(len));
                store.put_batch(TWINS, &[Write::Put(&key, &value)])?;
            }
            let (new, old) = (format!("{life}-{round}"), format!("{life}-{}", round / 2));
            store.put_batch(LEDGER, &[Write::Put(&new, &random.bytes(20)), Write::Delete(&old)])?;
            for device in 0..10 {
                let device = format!("device-{device:03}");
                let payload = random.bytes(60);
                let items = [(device.as_str(), time, payload.as_slice()); 4];
                spool.append_batch(&items)?;
                if round % 3 == 2 {
                    let next = spool.queue(&device).map_or(1, |queue| queue.next);
                    spool.acknowledge(&device, next.saturating_sub(7))?;
                }
                truth.note_spool(&store)?;
            }
            for i in 0..20_usize {
                let kind = [LogKind::Alarm, LogKind::Command, LogKind::Audit][i % 3];
                // A few long ones, so that there are two segments.
                let len = if i == 0 { 280_000 } else { 30 + random.below(300) };
                let payload = random.bytes(len);
                store.append(kind, time, &payload)?;
                truth.log.push((kind, time, payload));
            }
            store.flush()?;
            truth.note(&store)?;
        }
        trail::live(dir, &store, life, &mut random, &mut truth.audit)?;
    }
    Ok(truth)
}

impl Truth {
    /// Records of queues may come and go between two flushes.
    fn note_spool(&mut self, store: &SledStore) -> Result<(), StoreError> {
        let records = store.scan(SPOOL_TREE)?;
        self.ever.extend(records.into_iter().map(|(k, v)| (SPOOL_TREE.name(), k, v)));
        for (key, value) in store.scan(TWINS)? {
            self.ever.insert((TWINS.name(), key, value));
        }
        Ok(())
    }
}

/// A way to do harm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Damage {
    TornTail,
    ZeroedPage,
    FlippedBit,
    GarbledPage,
    Removed,
}

const DAMAGES: [Damage; 5] = [
    Damage::TornTail,
    Damage::ZeroedPage,
    Damage::FlippedBit,
    Damage::GarbledPage,
    Damage::Removed,
];

/// What became of an image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verdict {
    /// Everything is there; the damage hit what nobody needs, or was mended.
    Intact,
    /// The report tells it, and covers what is gone.
    Told,
    /// The key was refused, and nothing was touched.
    Refused,
    /// Something is gone that the report does not cover.
    Silent,
    /// Something is there that was never written.
    Wrong,
    /// It panicked, could not be opened, or cannot be used afterwards.
    Broken,
}

/// An image and its verdict.
pub(crate) struct Outcome {
    pub damage: Damage,
    pub file: String,
    pub verdict: Verdict,
    pub detail: String,
    pub open: Duration,
}

/// All files below `dir`, by their paths relative to it.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(dir.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for file in files(from)? {
        let target = to.join(&file);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from.join(&file), target)?;
    }
    // sled wants it, empty as it may be.
    fs::create_dir_all(to.join("state/blobs"))
}

fn harm(path: &Path, damage: Damage, random: &mut Random) -> io::Result<String> {
    if damage == Damage::Removed {
        fs::remove_file(path)?;
        return Ok("removed".to_owned());
    }
    let mut bytes = fs::read(path)?;
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let at = random.below(used);
    let page = at & !4095;
    let end = (page + 4096).min(bytes.len());
    match damage {
        Damage::TornTail => bytes.truncate(at),
        Damage::ZeroedPage => bytes[page..end].fill(0),
        Damage::GarbledPage => bytes[page..end].copy_from_slice(&random.bytes(end - page)),
        _ if bytes.is_empty() => {}
        _ => bytes[at] ^= 1 << random.below(8),
    }
    fs::write(path, bytes)?;
    Ok(format!("at {at} of {used}"))
}

/// Copies the store in `pristine` to `dir`, damages one file and opens it.
pub(crate) fn one(
    pristine: &Path,
    dir: &Path,
    truth: &Truth,
    random: &mut Random,
    measure: impl FnOnce(&mut dyn FnMut()) -> Duration,
) -> io::Result<Outcome> {
    copy(pristine, dir)?;
    let all = files(dir)?;
    let damage = DAMAGES[random.below(DAMAGES.len())];
    // Every second one hits where the data is, every fourth the audit trail; the others any file.
    let data = |file: &&PathBuf| file.starts_with("log") || file.ends_with("db");
    let data: Vec<_> = all.iter().filter(data).collect();
    let audit: Vec<_> = all.iter().filter(|file| file.starts_with("audit")).collect();
    let file = match random.below(4) {
        0 | 1 => data[random.below(data.len())],
        2 => audit[random.below(audit.len())],
        _ => &all[random.below(all.len())],
    };
    let place = harm(&dir.join(file), damage, random)?;
    let file = file.display().to_string();
    // A trail is judged by a key that is whole.
    let before = (file != "key").then(|| catch_unwind(AssertUnwindSafe(|| trail::before(dir))));
    let mut opened = None;
    let open = measure(&mut || {
        opened = Some(catch_unwind(AssertUnwindSafe(|| both(dir))));
    });
    let (verdict, detail) = match opened {
        Some(Ok(Ok((store, report, told)))) => {
            let of_trail = match before {
                Some(Ok(Ok(before))) => trail::judge(dir, &store, &before, &told, &truth.audit),
                Some(Ok(Err(error))) => (Verdict::Broken, format!("failed to {error}")),
                Some(Err(_)) => (Verdict::Broken, "verifying the trail panicked".to_owned()),
                None => (Verdict::Intact, String::new()),
            };
            let of_trail = match of_trail {
                // What nobody needs: the lock.
                (Verdict::Intact, _) if file.starts_with("audit/") && file != "audit/lock" => {
                    (Verdict::Silent, "the damage to the audit trail was not found".to_owned())
                }
                (Verdict::Told, detail) if !file.starts_with("audit/") => {
                    (Verdict::Broken, format!("the audit trail is whole, and yet: {detail}"))
                }
                other => other,
            };
            let of_store = judge(&store, &report, truth);
            if of_trail.0 > of_store.0 { of_trail } else { of_store }
        }
        Some(Ok(Err(StoreError::Key { .. }))) if file == "key" => refused(pristine, dir)?,
        Some(Ok(Err(error))) => (Verdict::Broken, format!("failed to {error}")),
        Some(Err(_)) | None => (Verdict::Broken, "a panic escaped".to_owned()),
    };
    let (verdict, detail) = match verdict {
        Verdict::Intact | Verdict::Told => match goes_on(dir) {
            Ok(()) => (verdict, detail),
            Err(reason) => (Verdict::Broken, format!("{detail}; then {reason}")),
        },
        other => (other, detail),
    };
    let class = if file.contains("snap") { "state/snap" } else { &file };
    Ok(Outcome {
        damage,
        file: class.to_owned(),
        verdict,
        detail: format!("{place}: {detail}"),
        open,
    })
}

/// Opens the store and then the trail, as a plant does.
fn both(dir: &Path) -> Result<(SledStore, OpenReport, Vec<String>), StoreError> {
    let (store, report) = SledStore::open(dir)?;
    let key = store.key_for(AUDIT_KEY);
    let (_, told) = AuditTrail::open(&audit::folder(dir), &key, Timestamp::default())?;
    Ok((store, report, told))
}

/// A refused key must leave everything else as it was.
fn refused(pristine: &Path, dir: &Path) -> io::Result<(Verdict, String)> {
    for file in files(pristine)? {
        let name = file.display().to_string();
        let same =
            || Ok::<_, io::Error>(fs::read(pristine.join(&file))? == fs::read(dir.join(&file))?);
        if name != "key" && !name.ends_with("lock") && !same()? {
            return Ok((Verdict::Broken, format!("{name} was touched")));
        }
    }
    Ok((Verdict::Refused, "refused".to_owned()))
}

/// Compares all that can be read with all that was written.
fn judge(store: &SledStore, report: &OpenReport, truth: &Truth) -> (Verdict, String) {
    let told: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let told = told.join("; ");
    match compare(store, report, truth) {
        Ok(()) if report.is_clean() => (Verdict::Intact, told),
        Ok(()) => (Verdict::Told, told),
        Err((verdict, reason)) => (verdict, format!("{reason}; told: {told}")),
    }
}

fn compare(store: &SledStore, report: &OpenReport, truth: &Truth) -> Result<(), (Verdict, String)> {
    let broken = |e: StoreError| (Verdict::Broken, format!("failed to {e}"));
    for tree in TREES {
        let name = tree.name();
        let live = &truth.live[name];
        let found: Records = store.scan(tree).map_err(broken)?.into_iter().collect();
        for (key, value) in &found {
            if !truth.ever.contains(&(name, key.clone(), value.clone())) {
                return Err((Verdict::Wrong, format!("{name}: {key:?} was never this")));
            }
        }
        let gone = live.keys().filter(|key| !found.contains_key(*key)).count() as u64;
        let stale =
            found.iter().filter(|(key, value)| live.get(*key) != Some(value)).count() as u64;
        let (mut missing, mut unsure) = (0, 0);
        for finding in &report.findings {
            if let Finding::TreeRebuilt { tree, missing: m, unsure: u, .. } = finding
                && tree == name
            {
                (missing, unsure) = (*m, *u);
            }
        }
        // A kept record that had been deleted hides one that is missing.
        let covered =
            gone <= missing + unsure && stale <= unsure && (unsure > 0 || gone == missing);
        if !covered {
            let text =
                format!("{name}: {gone} gone and {stale} stale, {missing} and {unsure} told");
            return Err((Verdict::Silent, text));
        }
    }
    let mut gaps = BTreeSet::new();
    for finding in &report.findings {
        if let Finding::LogGap { from, to } = finding {
            gaps.extend(*from..=*to);
        }
    }
    let mut seen = BTreeSet::new();
    let mut wrong = None;
    store
        .read_log(1, &mut |record| {
            let index = usize::try_from(record.sequence).unwrap_or(0).wrapping_sub(1);
            let same = truth.log.get(index).is_some_and(|(kind, time, payload)| {
                (*kind, *time, payload.as_slice()) == (record.kind, record.time, record.payload)
            });
            if !same || !seen.insert(record.sequence) {
                wrong = Some(record.sequence);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .map_err(broken)?;
    if let Some(sequence) = wrong {
        return Err((Verdict::Wrong, format!("log record {sequence} was never this")));
    }
    let silent = (1..=truth.log.len() as u64).find(|s| seen.contains(s) == gaps.contains(s));
    match silent {
        Some(sequence) => {
            Err((Verdict::Silent, format!("log record {sequence} is not accounted for")))
        }
        None => Ok(()),
    }
}

/// After an opening the store takes and keeps new records, and the next opening is clean.
fn goes_on(dir: &Path) -> Result<(), String> {
    let told = |e: StoreError| format!("failed to {e}");
    let again = |dir: &Path| SledStore::open(dir).map_err(told);
    let (store, _) = again(dir)?;
    let sequence = store.append(LogKind::Audit, Timestamp::default(), b"on").map_err(told)?;
    store.put_batch(TWINS, &[Write::Put("on", b"on")]).map_err(told)?;
    store.flush().map_err(told)?;
    drop(store);
    let (store, report) = again(dir)?;
    trail::goes_on(dir, &store)?;
    if !report.is_clean() {
        return Err(format!("the next opening found {:?}", report.findings));
    }
    let mut last = 0;
    store
        .read_log(sequence, &mut |record| {
            last = record.sequence;
            ControlFlow::Continue(())
        })
        .map_err(told)?;
    let kept = store.get(TWINS, "on").map_err(told)?.is_some();
    if last == sequence && kept { Ok(()) } else { Err("new records are gone".to_owned()) }
}
