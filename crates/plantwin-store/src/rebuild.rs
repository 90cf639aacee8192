//! Setting a damaged data base aside and building a new one from what is intact.
//!
//! Memory holds where each record was found ([`crate::salvage`]), some 150 bytes for one, and the
//! names; the records themselves are written batch by batch. While that goes on a file names what was
//! set aside and what is built: a process that is killed meanwhile leaves it, and the next one begins
//! from the whole again ([`take_back`]), not from the half. Absent: finding the damage out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    Finding, OpenReport, StoreError, aside,
    beside::{self, NEXT},
    files,
    head::{HEAD_KEY, Head},
    key::Keys,
    names::{self, Names},
    record,
    salvage::{At, Salvage},
    state::{Opener, STATE, open_checked},
};

/// Beside the data base while it is built anew: the names of the old one and of the new one.
pub(crate) const REBUILDING: &str = "rebuilding";
/// In what was set aside: the main file as it was before sled touched it.
const AS_FOUND: &str = "db.as-found";
/// Records per batch, and bytes after which a batch ends.
const REBUILD_BATCH: usize = 512;
const REBUILD_BYTES: usize = 4 << 20;
/// A hole of one damaged page or segment holds fewer records of one queue than this; see
/// [`crate::Store::lost`].
const HOLE_RECORDS: u64 = 1024;

/// By tree: its head, and the sequence of each record by place, of a data base that is whole.
pub(crate) type Certain = BTreeMap<String, (Head, HashMap<Box<[u8]>, u64>)>;

/// Reads places and sequences of a data base that was checked before.
pub(crate) fn contents(db: &sled::Db, keys: &Keys, trees: &BTreeMap<String, Head>) -> Certain {
    let of = |name: &String| {
        let mut live = HashMap::new();
        for entry in &db.open_tree(name).ok()? {
            let (place, bytes) = entry.ok()?;
            let (sequence, _) = record::decode(&keys.record, name, &place, &bytes).ok()?;
            live.insert(Box::from(&*place), sequence);
        }
        Some(live)
    };
    let trees = trees.iter();
    trees.filter_map(|(name, head)| Some((name.clone(), (*head, of(name)?)))).collect()
}

type Rebuilt = (sled::Db, BTreeMap<String, Head>, BTreeMap<String, Names>, BTreeMap<String, u64>);

/// Builds a new data base in `path` from what can be found in the one in `old`, of which `image` is
/// the main file as it was before sled touched it.
pub(crate) fn rebuild(
    opener: Opener,
    (old, path): (&Path, &Path),
    keys: &Keys,
    promised: &BTreeMap<String, Head>,
    (image, certain): (Option<Vec<u8>>, Certain),
    report: &mut OpenReport,
) -> Result<Rebuilt, StoreError> {
    let mut salvage = Salvage::gather(&keys.record, old, image);
    for (name, (head, live)) in &certain {
        if let Some(found) = salvage.trees.get_mut(name) {
            // Up to that head everything is known; what else was found of that time was deleted.
            found.records.retain(|place, at| {
                at.sequence > head.sequence || live.get(place) == Some(&at.sequence)
            });
        }
    }
    let (db, mut trees, mut all_names) = open_checked(opener, path, keys).map_err(|trouble| {
        StoreError::Backend { action: "open a fresh data base", reason: trouble.to_string() }
    })?;
    let mut lost = BTreeMap::new();
    let mut found_trees = std::mem::take(&mut salvage.trees);
    let names: BTreeSet<String> = promised.keys().chain(found_trees.keys()).cloned().collect();
    for name in &names {
        let found = found_trees.remove(name).unwrap_or_default();
        let mark = promised.get(name).copied().unwrap_or_default();
        let whole = certain.get(name).map(|(head, _)| *head).unwrap_or_default();
        let newest = found.head.filter(|h| h.sequence > whole.sequence).unwrap_or(whole);
        let truth = if newest.sequence > mark.sequence { newest } else { mark };
        let mut head = Head {
            sequence: truth.sequence.max(found.sequence),
            writes: truth.writes,
            ..Head::default()
        };
        let names = write_anew(&db, keys, name, found.records, &mut salvage, &mut head)?;
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
    records: HashMap<Box<[u8]>, At>,
    salvage: &mut Salvage,
    head: &mut Head,
) -> Result<Names, StoreError> {
    let fail = |e: sled::Error| StoreError::Backend {
        action: "build the data base anew",
        reason: e.to_string(),
    };
    let tree = db.open_tree(name).map_err(fail)?;
    let (mut batch, mut names) = (sled::Batch::default(), Names::default());
    let (mut in_batch, mut batch_bytes) = (0, 0);
    let mut places: Vec<At> = records.into_values().collect();
    // As they lie in the files, which are read once more.
    places.sort_unstable();
    for at in places {
        // What cannot be read a second time is counted as missing.
        let Ok(bytes) = salvage.record(at) else { continue };
        let Ok(record) = record::parse(&keys.record, &bytes) else { continue };
        if (record.tree, record.sequence) != (name, at.sequence) {
            continue;
        }
        let of = record.content.name();
        names.add(of, names::id_of(keys, name, of));
        head.add(keys, name, record.place, record.sequence);
        batch.insert(record.place, bytes.as_slice());
        (in_batch, batch_bytes) = (in_batch + 1, batch_bytes + bytes.len());
        if in_batch == REBUILD_BATCH || batch_bytes >= REBUILD_BYTES {
            tree.apply_batch(std::mem::take(&mut batch)).map_err(fail)?;
            (in_batch, batch_bytes) = (0, 0);
        }
    }
    let at = (HEAD_KEY, "");
    let bytes = record::encode(&keys.record, name, at, head.sequence, &head.encode())?;
    batch.insert(HEAD_KEY, bytes);
    tree.apply_batch(batch).map_err(fail)?;
    Ok(names)
}

/// Moves the data base in `path` out of the way and says where it lies now. If there is nothing to
/// move, that is no error.
pub(crate) fn set_aside(
    dir: &Path,
    path: &Path,
    image: Option<&[u8]>,
) -> Result<PathBuf, StoreError> {
    if !path.exists() {
        return Ok(path.to_owned());
    }
    let aside = aside::free(dir, STATE)?;
    begin(dir, &aside, path)?;
    fs::rename(path, &aside).map_err(|source| StoreError::File {
        action: "set aside the damaged data base",
        path: path.to_owned(),
        source,
    })?;
    if let Some(image) = image {
        // The main file before sled touched it: whole, or not there. A full disk must not keep the
        // store from opening.
        let _ = files::replace(&aside.join(AS_FOUND), image);
    }
    Ok(aside)
}

/// From now on what lies in `new` is the half of what `old` has, before anything is moved or made.
pub(crate) fn begin(dir: &Path, old: &Path, new: &Path) -> Result<(), StoreError> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The end of the line shows that the names are whole: -1 may be the beginning of -12.
    let line = format!("{} {}\n", name(old), name(new));
    let path = dir.join(REBUILDING);
    let begun = fs::File::create(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| files::sync_dir(dir));
    begun.map_err(|source| StoreError::File { action: "begin a rebuilding with", path, source })
}

/// What the file says that lies there while a data base is built anew: old and new. Less than a
/// whole line was written before anything moved.
fn begun(dir: &Path, text: &str) -> Option<(PathBuf, PathBuf)> {
    let (old, new) = text.strip_suffix('\n')?.split_once(' ')?;
    let known =
        aside::is_one(old, STATE) && [STATE, NEXT].contains(&new) || (old, new) == (STATE, NEXT);
    known.then(|| (dir.join(old), dir.join(new))).filter(|(old, _)| old.exists())
}

/// A rebuilding that was cut short has not happened: its half goes, what was set aside comes back.
pub(crate) fn take_back(dir: &Path) -> Result<(), StoreError> {
    let marker = dir.join(REBUILDING);
    let work = || {
        let text = match fs::read_to_string(&marker) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        if let Some((old, new)) = begun(dir, &text) {
            if new.exists() {
                fs::remove_dir_all(&new)?;
            }
            if old == dir.join(STATE) {
                // One that hangs was not moved.
                beside::image_back(dir)?;
            } else {
                let found = old.join(AS_FOUND);
                if found.exists() {
                    fs::rename(found, old.join("db"))?;
                }
                fs::rename(&old, &new)?;
            }
            files::sync_dir(dir)?;
        }
        fs::remove_file(&marker)?;
        files::sync_dir(dir)
    };
    work().map_err(|source| StoreError::File {
        action: "take back what was set aside for",
        path: dir.join(STATE),
        source,
    })
}

/// The new data base in `path` is safe.
pub(crate) fn over(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let marker = dir.join(REBUILDING);
    if !marker.exists() {
        return Ok(());
    }
    if path == dir.join(NEXT) {
        beside::vouch(path)?;
    }
    files::remove(&marker)?;
    files::sync_dir(dir).map_err(|source| StoreError::File {
        action: "sync the directory",
        path: dir.to_owned(),
        source,
    })
}
