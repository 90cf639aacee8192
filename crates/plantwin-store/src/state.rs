//! The data base of the trees: opened, read once, compared with what was promised; what is damaged
//! is set aside and built anew from what is intact.
//!
//! sled 0.34 panics on most damage, and on some it opens with the newest records missing and says
//! nothing (its issues #1509 and #1533). A helper thread does the opening and the reading, so that
//! a panic or a hang ends that thread and no more. Absent: writing, apart from the rebuilding.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Once, mpsc::sync_channel},
    thread,
    time::Duration,
};

use crate::{
    Finding, OpenReport, StoreError, aside,
    files::SledFiles,
    head::{HEAD_KEY, Head},
    key::Keys,
    names::{self, Names},
    record,
    salvage::{Salvage, Salvaged},
};

/// The data base inside a store's directory.
const STATE: &str = "state";
/// sled's own tree, which we do not use.
const SLED_TREE: &[u8] = b"__sled__default";
/// Page cache; sled's own default of 1 GiB is meant for servers of nothing else.
const CACHE_BYTES: u64 = 16 << 20;
/// Up to this length the main file is kept in memory until it was checked: sled overwrites what it
/// does not understand while opening.
const IMAGE_BYTES: u64 = 128 << 20;
/// Opening and reading takes 50 ms, a data base of gigabytes some seconds; beyond this it hangs.
const PATIENCE: Duration = Duration::from_mins(1);
/// Records per batch while building anew.
const REBUILD_BATCH: usize = 512;
/// A hole of one damaged page or segment holds fewer records of one queue than this; see
/// [`crate::Store::lost`].
const HOLE_RECORDS: u64 = 1024;
/// The name of the thread that opens.
const HELPER: &str = "store-open";

/// An opened and checked data base.
pub(crate) struct Opened {
    pub(crate) db: sled::Db,
    pub(crate) files: SledFiles,
    pub(crate) trees: BTreeMap<String, Head>,
    /// The names of each tree.
    pub(crate) names: BTreeMap<String, Names>,
    /// Changes that may be lost, by tree.
    pub(crate) lost: BTreeMap<String, u64>,
}

/// Opens the data base in `dir`; `promised` are the heads that the marks know, if they are there.
pub(crate) fn open(
    dir: &Path,
    keys: &Keys,
    promised: Option<&BTreeMap<String, Head>>,
    report: &mut OpenReport,
) -> Result<Opened, StoreError> {
    let path = dir.join(STATE);
    let main = path.join("db");
    let _ = remove_snapshots(&path, true);
    let small = fs::metadata(&main).is_ok_and(|about| about.len() <= IMAGE_BYTES);
    let image = if small { fs::read(&main).ok() } else { None };
    let nothing = BTreeMap::new();
    let promised = promised.unwrap_or(&nothing);
    let mut certain = Certain::new();
    let mut attempt = || {
        open_checked(&path, keys).and_then(|(db, trees, names)| {
            let Some(damage) = compare(&trees, promised) else { return Ok((db, trees, names)) };
            // It is whole, only too old: what it holds was not deleted by then.
            certain =
                catch_unwind(AssertUnwindSafe(|| contents(&db, keys, &trees))).unwrap_or_default();
            Err(Trouble::Damage(damage))
        })
    };
    let mut outcome = attempt();
    if let (Err(Trouble::Damage(_)), Some(image)) = (&outcome, &image)
        && remove_snapshots(&path, false)
        && fs::write(&main, image).is_ok()
    {
        // A process that was killed while sled wrote a snapshot leaves one that it then believes.
        // Without it sled reads its log from the beginning, and the marks say whether that is all.
        outcome = attempt();
    }
    let (db, trees, names, lost) = match outcome {
        Ok((db, trees, names)) => (db, trees, names, BTreeMap::new()),
        Err(Trouble::Io(source)) => {
            return Err(StoreError::File { action: "open the data base", path, source });
        }
        Err(Trouble::Damage(reason)) => {
            let mut told = report.clone();
            told.findings.push(Finding::StateDamaged { reason });
            let rebuilt = rebuild(dir, &path, keys, promised, (image, certain), &mut told);
            if rebuilt.is_err()
                && let Some(aside) = told.set_aside.iter().find(|p| !report.set_aside.contains(p))
            {
                // Most likely there is no room: the next opening shall find what this one found.
                let _ = fs::remove_dir_all(&path);
                let _ = fs::rename(aside, &path);
            }
            *report = told;
            rebuilt?
        }
    };
    report.records = trees.values().map(|head| head.count).sum();
    let files = SledFiles::open(dir, &path)?;
    Ok(Opened { db, files, trees, names, lost })
}

/// Removes sled's snapshots of its page table, which hold nothing that its log does not: all of
/// them, or those alone that were never finished. Whether there was one.
fn remove_snapshots(path: &Path, unfinished: bool) -> bool {
    let mut any = false;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && (!unfinished || name.ends_with(".generating")) {
            any |= fs::remove_file(entry.path()).is_ok();
        }
    }
    any
}

/// Why a data base cannot be used.
enum Trouble {
    /// The operating system refused: the data may well be intact.
    Io(std::io::Error),
    /// What is there is not what was written.
    Damage(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Damage(reason) => f.write_str(reason),
        }
    }
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        match error {
            // `Other` is sled's own word, for garbled segments and for a file that another
            // program holds; only the text tells them apart.
            sled::Error::Io(e) if e.kind() == Other && is_held(&e) => Self::Io(e),
            // A cut or garbled file shows as one of these; everything else is the system's.
            sled::Error::Io(e)
                if !matches!(e.kind(), UnexpectedEof | InvalidData | InvalidInput | Other) =>
            {
                Self::Io(e)
            }
            other => Self::Damage(other.to_string()),
        }
    }
}

/// How often, and how long apart, a data base is tried that sled itself still holds.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(20);

type Checked = (sled::Db, BTreeMap<String, Head>, BTreeMap<String, Names>);

/// Opens and reads everything. Our own lock file has kept other programs out by now, so a data
/// base that is held is held by sled's threads of an earlier opening, which end a moment later.
fn open_checked(path: &Path, keys: &Keys) -> Result<Checked, Trouble> {
    let mut tries = 1;
    loop {
        match open_once(path, keys) {
            Err(Trouble::Io(e)) if is_held(&e) && tries < LOCK_TRIES => {
                tries += 1;
                thread::sleep(LOCK_WAIT);
            }
            outcome => return outcome,
        }
    }
}

fn is_held(error: &std::io::Error) -> bool {
    error.to_string().contains("acquire lock")
}

fn open_once(path: &Path, keys: &Keys) -> Result<Checked, Trouble> {
    let (path, keys) = (path.to_owned(), keys.clone());
    let outcome = help(move || {
        let outcome = sled_config(&path).open().map_err(Trouble::from);
        outcome.and_then(|db| check(db, &keys))
    });
    match outcome.map_err(Trouble::Io)? {
        Helped::Done(outcome) => outcome,
        Helped::Hangs => Err(Trouble::Damage("the data base hangs while it opens".to_owned())),
        Helped::Panicked(reason) => Err(Trouble::Damage(reason)),
    }
}

/// Closes a data base that failed. A panic while it closes is of no account: what is on the disk
/// is read next. One that hangs keeps sled's own lock, so that it cannot be opened anew.
pub(crate) fn close(db: sled::Db) -> Result<(), StoreError> {
    const ACTION: &str = "close the data base";
    match help(move || drop(db)) {
        Ok(Helped::Done(()) | Helped::Panicked(_)) => Ok(()),
        Ok(Helped::Hangs) => {
            Err(StoreError::Backend { action: ACTION, reason: "it hangs".to_owned() })
        }
        Err(e) => Err(StoreError::Backend { action: ACTION, reason: e.to_string() }),
    }
}

/// How the helper thread ended.
enum Helped<T> {
    Done(T),
    Hangs,
    Panicked(String),
}

/// Does `work` on a helper thread and waits for it, but not for ever.
fn help<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Helped<T>> {
    quiet_helper();
    let (tell, told) = sync_channel(1);
    let helper = thread::Builder::new().name(HELPER.to_owned()).spawn(move || {
        // Nobody listens any more if this took too long.
        let _ = tell.send(work());
    })?;
    Ok(match told.recv_timeout(PATIENCE) {
        Ok(outcome) => {
            // It has said all; waiting for its end keeps its panics apart from the next opening.
            let _ = helper.join();
            Helped::Done(outcome)
        }
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Helped::Hangs,
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
            let panic = helper.join().err().unwrap_or_else(|| Box::new("it ended early"));
            Helped::Panicked(panic_text(&*panic))
        }
    })
}

/// A panic of the helper is caught and told in the report; its text on stderr would only alarm.
fn quiet_helper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().name() != Some(HELPER) {
                others(panic);
            }
        }));
    });
}

fn sled_config(path: &Path) -> sled::Config {
    // No timer: what is flushed, and so safe, is decided by the owner alone.
    sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None)
}

/// Reads every record once and compares each tree with its own head.
fn check(db: sled::Db, keys: &Keys) -> Result<Checked, Trouble> {
    let (mut trees, mut all_names) = (BTreeMap::new(), BTreeMap::new());
    for name in db.tree_names() {
        if name == SLED_TREE {
            continue;
        }
        let tree = db.open_tree(&name)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let (mut found, mut head, mut names) = (Head::default(), None, Names::default());
        for entry in &tree {
            let (place, bytes) = entry?;
            let (sequence, content) =
                record::decode(&keys.record, &name, &place, &bytes).map_err(|reason| {
                    let count = found.count;
                    Trouble::Damage(format!("a record of {name}, behind {count} others: {reason}"))
                })?;
            if place == HEAD_KEY {
                head = Head::decode(content.value());
            } else {
                found.add(keys, &name, &place, sequence);
                names.add(content.name(), names::id_of(keys, &name, content.name()));
            }
        }
        let head = match head {
            Some(head) => head,
            // Made, and the process ended before the first batch.
            None if found.count == 0 => continue,
            None => return Err(Trouble::Damage(format!("{name}: its head is missing"))),
        };
        if !head.same_records(&found) {
            let (is, was) = (found.count, head.count);
            return Err(Trouble::Damage(format!("{name}: {is} records, and not the {was} it had")));
        }
        all_names.insert(name.clone(), names);
        trees.insert(name, head);
    }
    Ok((db, trees, all_names))
}

/// What is wrong with the trees in the light of what was promised.
fn compare(trees: &BTreeMap<String, Head>, promised: &BTreeMap<String, Head>) -> Option<String> {
    promised.iter().find_map(|(name, mark)| {
        let head = trees.get(name).copied().unwrap_or_default();
        let behind = mark.sequence.saturating_sub(head.sequence);
        if behind > 0 {
            return Some(format!("{name}: the last {behind} batches are missing"));
        }
        (head.sequence == mark.sequence && head != *mark)
            .then(|| format!("{name}: it is not what was promised"))
    })
}

/// By tree: its head, and the sequence of each record by place, of a data base that is whole.
type Certain = BTreeMap<String, (Head, HashMap<Vec<u8>, u64>)>;

/// Reads places and sequences of a data base that was checked before.
fn contents(db: &sled::Db, keys: &Keys, trees: &BTreeMap<String, Head>) -> Certain {
    let of = |name: &String| {
        let mut live = HashMap::new();
        for entry in &db.open_tree(name).ok()? {
            let (place, bytes) = entry.ok()?;
            let (sequence, _) = record::decode(&keys.record, name, &place, &bytes).ok()?;
            live.insert(place.to_vec(), sequence);
        }
        Some(live)
    };
    let trees = trees.iter();
    trees.filter_map(|(name, head)| Some((name.clone(), (*head, of(name)?)))).collect()
}

type Rebuilt = (sled::Db, BTreeMap<String, Head>, BTreeMap<String, Names>, BTreeMap<String, u64>);

/// Sets the data base aside and builds a new one from what can be found in it.
fn rebuild(
    dir: &Path,
    path: &Path,
    keys: &Keys,
    promised: &BTreeMap<String, Head>,
    (image, certain): (Option<Vec<u8>>, Certain),
    report: &mut OpenReport,
) -> Result<Rebuilt, StoreError> {
    let aside = set_aside(dir, path, image.as_deref())?;
    let mut salvage = Salvage::gather(&keys.record, aside.as_deref().unwrap_or(path), image);
    report.set_aside.extend(aside);
    for (name, (head, live)) in &certain {
        if let Some(found) = salvage.trees.get_mut(name) {
            // Up to that head everything is known; what else was found of that time was deleted.
            found
                .records
                .retain(|place, at| at.0 > head.sequence || live.get(place) == Some(&at.0));
        }
    }
    let (db, mut trees, mut all_names) = open_checked(path, keys).map_err(|trouble| {
        StoreError::Backend { action: "open a fresh data base", reason: trouble.to_string() }
    })?;
    let mut lost = BTreeMap::new();
    let names: BTreeSet<&String> = promised.keys().chain(salvage.trees.keys()).collect();
    let nothing = Salvaged::default();
    for name in names {
        let found = salvage.trees.get(name).unwrap_or(&nothing);
        let mark = promised.get(name).copied().unwrap_or_default();
        let whole = certain.get(name).map(|(head, _)| *head).unwrap_or_default();
        let newest = found.head.filter(|h| h.sequence > whole.sequence).unwrap_or(whole);
        let truth = if newest.sequence > mark.sequence { newest } else { mark };
        let mut head = Head {
            sequence: truth.sequence.max(found.sequence),
            writes: truth.writes,
            ..Head::default()
        };
        let names = write_anew(&db, keys, name, found, &salvage, &mut head)?;
        all_names.insert(name.clone(), names);
        let exact = head.same_records(&truth);
        let missing = truth.count.saturating_sub(head.count);
        let changed = truth.writes.saturating_sub(whole.writes);
        report.findings.push(Finding::TreeRebuilt {
            tree: name.clone(),
            kept: head.count,
            missing,
            unsure: if exact { 0 } else { head.count.min(changed) },
        });
        if !exact {
            let batches = truth.writes.saturating_sub(newest.writes);
            lost.insert(name.clone(), (batches + missing).max(HOLE_RECORDS));
        }
        trees.insert(name.clone(), head);
    }
    db.flush().map_err(|e| StoreError::Backend {
        action: "flush the new data base",
        reason: e.to_string(),
    })?;
    Ok((db, trees, all_names, lost))
}

fn write_anew(
    db: &sled::Db,
    keys: &Keys,
    name: &str,
    found: &Salvaged,
    salvage: &Salvage,
    head: &mut Head,
) -> Result<Names, StoreError> {
    let fail = |e: sled::Error| StoreError::Backend {
        action: "build the data base anew",
        reason: e.to_string(),
    };
    let tree = db.open_tree(name).map_err(fail)?;
    let (mut batch, mut names) = (sled::Batch::default(), Names::default());
    for (i, (place, at)) in found.records.iter().enumerate() {
        let bytes = salvage.record(*at);
        let Ok(record) = record::parse(&keys.record, bytes) else { continue };
        let of = record.content.name();
        names.add(of, names::id_of(keys, name, of));
        batch.insert(place.as_slice(), bytes);
        head.add(keys, name, place, at.0);
        if i % REBUILD_BATCH == REBUILD_BATCH - 1 {
            tree.apply_batch(std::mem::take(&mut batch)).map_err(fail)?;
        }
    }
    let at = (HEAD_KEY, "");
    let bytes = record::encode(&keys.record, name, at, head.sequence, &head.encode())?;
    batch.insert(HEAD_KEY, bytes);
    tree.apply_batch(batch).map_err(fail)?;
    Ok(names)
}

/// Moves the data base out of the way; nothing to move is no error.
fn set_aside(dir: &Path, path: &Path, image: Option<&[u8]>) -> Result<Option<PathBuf>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let aside = aside::free(dir, STATE)?;
    fs::rename(path, &aside).map_err(|source| StoreError::File {
        action: "set aside the damaged data base",
        path: path.to_owned(),
        source,
    })?;
    if let Some(image) = image {
        // For whoever looks into it: the main file before sled touched it. A full disk must not
        // keep the store from opening.
        let _ = fs::write(aside.join("db.as-found"), image);
    }
    Ok(Some(aside))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the data base panicked: {}", text.unwrap_or("without a word"))
}
