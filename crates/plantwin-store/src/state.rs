//! The data base of the trees: opened, read once, compared with what was promised; what is damaged
//! is set aside and built anew from what is intact ([`crate::rebuild`]).
//!
//! sled 0.34 panics on most damage, and on some it opens with the newest records missing and says
//! nothing (its issues #1509 and #1533). A helper thread does the opening and the reading, so that
//! a panic or a hang ends that thread and no more. What hangs while the disk answers is built anew
//! beside ([`crate::beside`]); if the disk hangs as well, it is an error that changes nothing, and
//! whoever knows better asks for the rebuilding with the file `rebuild`. Absent: writing.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::Duration,
};

use crate::{
    Finding, OpenReport, StoreError,
    beside::{self, NEXT},
    files::{self, SledFiles},
    head::{HEAD_KEY, Head},
    helper::{Hang, Helped, Patience, Progress, help},
    key::Keys,
    names::{self, NameId, Names},
    rebuild::{self, Certain},
    record,
};

/// The data base inside a store's directory.
pub(crate) const STATE: &str = "state";
/// Made beside it by an operator: it is set aside and built anew, whatever it looks like.
pub(crate) const REBUILD: &str = "rebuild";
/// sled's own tree, which we do not use.
const SLED_TREE: &[u8] = b"__sled__default";
/// Page cache; sled's own default of 1 GiB is meant for servers of nothing else.
const CACHE_BYTES: u64 = 16 << 20;
/// Up to this length the main file is kept in memory until it was checked: sled overwrites what it
/// does not understand while opening.
const IMAGE_BYTES: u64 = 128 << 20;
/// Between two records that are read, and for closing: a disk that answers takes milliseconds.
const STEP_PATIENCE: Duration = Duration::from_mins(1);
/// What sled may take to open, which tells nothing meanwhile: so long, and for each GiB of files
/// as long again as a disk of 3 MB a second takes to read them.
const OPEN_PATIENCE: Duration = Duration::from_mins(1);
const OPEN_PATIENCE_PER_GIB: Duration = Duration::from_mins(6);

/// Who opens sled, for how long it may be silent, and what is asked then.
#[derive(Clone, Copy)]
pub(crate) struct Opener {
    pub(crate) open: fn(&Path) -> sled::Result<sled::Db>,
    /// By the bytes of its files.
    pub(crate) patience: fn(u64) -> Patience,
    /// Whether the disk goes on that the data base in this folder lies on.
    pub(crate) disk_answers: fn(&Path) -> bool,
}

/// sled itself.
pub(crate) const SLED: Opener = Opener {
    open: |path| sled_config(path).open(),
    patience,
    disk_answers: |path| beside::disk_answers(path, STEPS),
};
/// For what reports its steps from the first on.
const STEPS: Patience = Patience { first: STEP_PATIENCE, step: STEP_PATIENCE };

fn patience(bytes: u64) -> Patience {
    let gib = (bytes >> 20) as f64 / 1024.0;
    Patience { first: OPEN_PATIENCE + OPEN_PATIENCE_PER_GIB.mul_f64(gib), step: STEP_PATIENCE }
}

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
    open_by(SLED, dir, keys, promised, report)
}

/// As [`open`], by whoever opens sled.
pub(crate) fn open_by(
    opener: Opener,
    dir: &Path,
    keys: &Keys,
    promised: Option<&BTreeMap<String, Head>>,
    report: &mut OpenReport,
) -> Result<Opened, StoreError> {
    let asked = dir.join(REBUILD);
    rebuild::take_back(dir)?;
    let mut path = beside::settle(dir, report)?;
    let main = path.join("db");
    let _ = remove_snapshots(&path, true);
    let small = fs::metadata(&main).is_ok_and(|about| about.len() <= IMAGE_BYTES);
    let image = if small { fs::read(&main).ok() } else { None };
    let nothing = BTreeMap::new();
    let promised = promised.unwrap_or(&nothing);
    let mut certain = Certain::new();
    let mut attempt = || {
        open_checked(opener, &path, keys).and_then(|(db, trees, names)| {
            let Some(damage) = compare(&trees, promised) else { return Ok((db, trees, names)) };
            // It is whole, only too old: what it holds was not deleted by then.
            let whole = catch_unwind(AssertUnwindSafe(|| rebuild::contents(&db, keys, &trees)));
            certain = whole.unwrap_or_default();
            Err(Trouble::Damage(damage))
        })
    };
    let is_asked = asked.is_file();
    let mut outcome = if is_asked {
        Err(Trouble::Damage(format!("the file {} asks for that", asked.display())))
    } else {
        attempt()
    };
    if let (Err(Trouble::Damage(_)), Some(image), false) = (&outcome, &image, is_asked)
        && remove_snapshots(&path, false)
        && files::replace(&main, image).is_ok()
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
        Err(trouble) => {
            let mut told = report.clone();
            let old = match trouble {
                Trouble::Hangs(Hang { waited, steps, alone })
                    if path != dir.join(STATE) || !alone =>
                {
                    return Err(StoreError::Hangs { path, waited, records: steps, rebuild: asked });
                }
                Trouble::Hangs(how) => {
                    told.findings.push(Finding::StateDamaged { reason: hang(&path, how) });
                    beside::keep_image(dir, image.as_deref());
                    let next = dir.join(NEXT);
                    rebuild::begin(dir, &path, &next)?;
                    std::mem::replace(&mut path, next)
                }
                trouble => {
                    told.findings.push(Finding::StateDamaged { reason: trouble.to_string() });
                    rebuild::set_aside(dir, &path, image.as_deref())?
                }
            };
            if old != path && old != dir.join(STATE) {
                told.set_aside.push(old.clone());
            }
            let of = (old.as_path(), path.as_path());
            let rebuilt = rebuild::rebuild(opener, of, keys, promised, (image, certain), &mut told);
            if rebuilt.is_err() {
                // Most likely there is no room: the next opening shall find what this one found.
                let _ = rebuild::take_back(dir);
            }
            *report = told;
            rebuilt?
        }
    };
    report.records = trees.values().map(|head| head.count).sum();
    beside::opened(dir, &path)?;
    let files = SledFiles::open(dir, &path)?;
    // In this order: the new one is safe, and was asked for no more.
    rebuild::over(dir, &path)?;
    if is_asked {
        files::remove(&asked)?;
    }
    Ok(Opened { db, files, trees, names, lost })
}

/// Why a data base is built anew that hangs though its disk answers.
fn hang(path: &Path, Hang { waited, steps, .. }: Hang) -> String {
    format!(
        "it hangs: no progress for {waited:?} after {steps} records, while its disk answers; it \
         is left in {}, where a thread goes on with it until plantwin is started again, and the \
         next start sets it aside",
        path.display()
    )
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
pub(crate) enum Trouble {
    /// The operating system refused: the data may well be intact.
    Io(std::io::Error),
    /// What is there is not what was written.
    Damage(String),
    /// Nothing comes any more. What it holds is unknown.
    Hangs(Hang),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Damage(reason) => f.write_str(reason),
            Self::Hangs(hang) => write!(f, "no progress for {:?}", hang.waited),
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
pub(crate) fn open_checked(opener: Opener, path: &Path, keys: &Keys) -> Result<Checked, Trouble> {
    let mut tries = 1;
    loop {
        match open_once(opener, path, keys) {
            // Nobody ends a thread of ours that hangs in there.
            Err(Trouble::Io(e)) if is_held(&e) && beside::hangs(path) => {
                let (waited, steps) = (Duration::ZERO, 0);
                return Err(Trouble::Hangs(Hang { waited, steps, alone: true }));
            }
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

fn open_once(opener: Opener, path: &Path, keys: &Keys) -> Result<Checked, Trouble> {
    let patience = (opener.patience)(files::bytes(path));
    let answers = || (opener.disk_answers)(path);
    let place = path.to_owned();
    let (path, keys) = (path.to_owned(), keys.clone());
    let outcome = help(patience, answers, move |progress| {
        let outcome = (opener.open)(&path).map_err(Trouble::from);
        outcome.and_then(|db| check(db, &keys, progress))
    });
    match outcome.map_err(Trouble::Io)? {
        Helped::Done(outcome) => outcome,
        Helped::Hangs(hang) => {
            beside::note_hang(&place);
            Err(Trouble::Hangs(hang))
        }
        Helped::Panicked(reason) => Err(Trouble::Damage(reason)),
    }
}

/// Closes a data base that failed. A panic while it closes is of no account: what is on the disk
/// is read next. One that hangs keeps sled's own lock, so that it cannot be opened anew.
pub(crate) fn close(db: sled::Db) -> Result<(), StoreError> {
    const ACTION: &str = "close the data base";
    match help(STEPS, || false, move |_| drop(db)) {
        Ok(Helped::Done(()) | Helped::Panicked(_)) => Ok(()),
        Ok(Helped::Hangs(_)) => {
            Err(StoreError::Backend { action: ACTION, reason: "it hangs".to_owned() })
        }
        Err(e) => Err(StoreError::Backend { action: ACTION, reason: e.to_string() }),
    }
}

fn sled_config(path: &Path) -> sled::Config {
    // No timer: what is flushed, and so safe, is decided by the owner alone.
    sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None)
}

/// Reads every record once and compares each tree with its own head.
fn check(db: sled::Db, keys: &Keys, progress: &Progress) -> Result<Checked, Trouble> {
    progress.step();
    let (mut trees, mut all_names) = (BTreeMap::new(), BTreeMap::new());
    for name in db.tree_names() {
        if name == SLED_TREE {
            continue;
        }
        let tree = db.open_tree(&name)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let (mut found, mut head, mut names) = (Head::default(), None, Names::default());
        // Records of one name stand together: its hash is made once.
        let mut of_last: Option<(String, NameId)> = None;
        let mut last: Option<sled::IVec> = None;
        for entry in &tree {
            let (place, bytes) = entry?;
            progress.step();
            // Pages that lead back to themselves would be read for ever.
            if last.as_ref().is_some_and(|last| *last >= place) {
                return Err(Trouble::Damage(format!("{name}: its records are out of order")));
            }
            last = Some(place.clone());
            let (sequence, content) =
                record::decode(&keys.record, &name, &place, &bytes).map_err(|reason| {
                    let count = found.count;
                    Trouble::Damage(format!("a record of {name}, behind {count} others: {reason}"))
                })?;
            if place == HEAD_KEY {
                head = Head::decode(content.value());
            } else {
                found.add(keys, &name, &place, sequence);
                let of = content.name();
                let id = match &of_last {
                    Some((known, id)) if known == of => *id,
                    _ => of_last.insert((of.to_owned(), names::id_of(keys, &name, of))).1,
                };
                names.add(of, id);
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
