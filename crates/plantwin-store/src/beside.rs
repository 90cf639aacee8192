//! A data base that hangs while it opens is left where it is, and built anew beside.
//!
//! A hang alone says nothing of damage: the disk may be slow. So the disk is asked first
//! ([`disk_answers`]): one that writes a little and reads all files, while sled still stands where
//! it stood, is not to blame. The thread that hangs keeps sled's lock and knows its files by path,
//! and nobody can end it. Therefore nothing of it is moved: the new data base lies in `state.next`
//! until a later opening finds the old one free, sets that aside and gives the new one its place
//! ([`settle`]). One that nobody vouched for ([`vouch`]) is none: such a thread may make its folder
//! again when it wakes up. Absent: the rebuilding itself ([`crate::rebuild`]).

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    OpenReport, StoreError, aside, files,
    helper::{Helped, Patience, help},
    mend::try_room,
    state::STATE,
};

/// The data base that was built beside one that hangs.
pub(crate) const NEXT: &str = "state.next";
/// In it: it is all there.
const WHOLE: &str = "whole";
/// Beside one that hangs: its main file as it was before sled touched it.
const IMAGE: &str = "state.as-found";
/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Data bases in which a thread of this process hangs.
static HANG: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A thread of ours hangs in this data base.
pub(crate) fn note_hang(path: &Path) {
    HANG.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
}

/// The data base in `path`, within `dir`, was opened, and is about to change: what is known of a
/// hang in it is of no use any more.
pub(crate) fn opened(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let image = dir.join(IMAGE);
    if path != dir.join(STATE) {
        return Ok(());
    }
    forget_hang(path);
    // Left there, it would undo what is written from now on.
    if image.exists() { files::remove(&image) } else { Ok(()) }
}

fn forget_hang(path: &Path) {
    HANG.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
}

/// Whether one does, or did.
pub(crate) fn hangs(path: &Path) -> bool {
    HANG.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
}

/// Where the data base in `dir` lies. One that was built beside another takes its place as soon as
/// nobody holds that any more.
pub(crate) fn settle(dir: &Path, report: &mut OpenReport) -> Result<PathBuf, StoreError> {
    let (state, next) = (dir.join(STATE), dir.join(NEXT));
    if !next.exists() {
        // Left by one who could not give it back, since a thread of his own hung.
        image_back(dir).map_err(|source| StoreError::File {
            action: "give back what it was to",
            path: state.clone(),
            source,
        })?;
        return Ok(state);
    }
    let work = |report: &mut OpenReport| {
        if !next.join(WHOLE).exists() {
            let aside = aside::free(dir, NEXT).map_err(io::Error::other)?;
            fs::rename(&next, &aside)?;
            report.set_aside.push(aside);
            files::sync_dir(dir)?;
            return Ok(state.clone());
        }
        if is_held(&state) {
            return Ok(next.clone());
        }
        let aside = if state.exists() {
            let aside = aside::free(dir, STATE).map_err(io::Error::other)?;
            fs::rename(&state, &aside)?;
            Some(aside)
        } else {
            // Whoever was ended between the two has told nobody.
            aside::newest(dir, STATE)
        };
        if let Some(aside) = aside {
            let image = dir.join(IMAGE);
            if image.exists() {
                fs::rename(image, aside.join("db.as-found"))?;
            }
            report.set_aside.push(aside);
        }
        fs::rename(&next, &state)?;
        files::sync_dir(dir)?;
        forget_hang(&state);
        // Of no use any more, and no harm.
        let _ = fs::remove_file(state.join(WHOLE));
        Ok(state.clone())
    };
    work(report).map_err(|source| StoreError::File {
        action: "give its place to the data base built anew in",
        path: next.clone(),
        source,
    })
}

/// The data base in `next` is whole, and safe.
pub(crate) fn vouch(next: &Path) -> Result<(), StoreError> {
    let made = File::create(next.join(WHOLE)).and_then(|file| file.sync_all());
    made.and_then(|()| files::sync_dir(next)).map_err(|source| StoreError::File {
        action: "vouch for the data base built anew in",
        path: next.to_owned(),
        source,
    })
}

/// Keeps what the main file was before sled touched it, for whoever begins anew. A full disk must
/// not keep the store from opening.
pub(crate) fn keep_image(dir: &Path, image: Option<&[u8]>) {
    let path = dir.join(IMAGE);
    // A second attempt of this process finds the file as sled has left it.
    if !path.exists() {
        let _ = image.map(|image| files::replace(&path, image));
    }
}

/// Gives the main file back what it was, unless somebody still works on it.
pub(crate) fn image_back(dir: &Path) -> io::Result<()> {
    let (image, state) = (dir.join(IMAGE), dir.join(STATE));
    if !image.exists() || is_held(&state) {
        return Ok(());
    }
    if state.exists() { fs::rename(image, state.join("db")) } else { fs::remove_file(image) }
}

/// Whether somebody holds sled's lock there, as far as can be told.
fn is_held(state: &Path) -> bool {
    match File::open(state.join("db")) {
        Ok(file) => !matches!(file.try_lock(), Ok(())),
        Err(e) => e.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether the disk goes on while the data base in `path` does not: a little is written beside it,
/// and every file is read. A disk that refuses answers as well.
pub(crate) fn disk_answers(path: &Path, patience: Patience) -> bool {
    let path = path.to_owned();
    let asked = help(
        patience,
        || false,
        move |progress| {
            let _ = try_room(path.parent().unwrap_or(&path));
            for file in files::below(&path) {
                progress.step();
                let _ = read_through(&file, || progress.step());
            }
        },
    );
    matches!(asked, Ok(Helped::Done(())))
}

fn read_through(path: &Path, mut step: impl FnMut()) -> io::Result<()> {
    let (mut file, mut chunk) = (File::open(path)?, vec![0; CHUNK_BYTES]);
    while file.read(&mut chunk)? > 0 {
        step();
    }
    Ok(())
}
