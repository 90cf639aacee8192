//! A data base that hangs while it opens is left where it is, and built anew beside.
//!
//! A hang alone says nothing of damage: the disk may be slow. So the disk is asked first
//! ([`disk_answers`]): one that writes a little and reads all files, while sled still stands where
//! it stood, is not to blame. The thread that hangs keeps sled's lock and knows its files by path,
//! and nobody can end it. Therefore nothing of it is moved: the new data base lies in `state.next`
//! until a later opening finds the old one free, sets that aside and gives the new one its place
//! ([`settle`]). Absent: the rebuilding itself ([`crate::rebuild`]).

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    OpenReport, StoreError, aside, files,
    helper::{Helped, Patience, help},
    mend::try_room,
    state::STATE,
};

/// The data base that was built beside one that hangs.
pub(crate) const NEXT: &str = "state.next";
/// Read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Where the data base in `dir` lies. One that was built beside another takes its place as soon as
/// nobody holds that any more.
pub(crate) fn settle(dir: &Path, report: &mut OpenReport) -> Result<PathBuf, StoreError> {
    let (state, next) = (dir.join(STATE), dir.join(NEXT));
    if !next.exists() {
        return Ok(state);
    }
    if is_held(&state) {
        return Ok(next);
    }
    let fail = |source| StoreError::File {
        action: "give its place to the data base built anew in",
        path: next.clone(),
        source,
    };
    if state.exists() {
        let aside = aside::free(dir, STATE)?;
        fs::rename(&state, &aside).map_err(fail)?;
        report.set_aside.push(aside);
    }
    fs::rename(&next, &state).and_then(|()| files::sync_dir(dir)).map_err(fail)?;
    Ok(state)
}

/// Whether somebody holds sled's lock there.
fn is_held(state: &Path) -> bool {
    let tried = File::open(state.join("db")).map(|file| file.try_lock());
    matches!(tried, Ok(Err(TryLockError::WouldBlock)))
}

/// Whether the disk goes on while the data base in `path`, within `dir`, does not: a little is
/// written, and every file is read. A disk that refuses answers as well.
pub(crate) fn disk_answers(dir: &Path, path: &Path, patience: Patience) -> bool {
    let (dir, path) = (dir.to_owned(), path.to_owned());
    let asked = help(patience, move |progress| {
        let _ = try_room(&dir);
        for file in files::below(&path) {
            progress.step();
            let _ = read_through(&file, || progress.step());
        }
    });
    matches!(asked, Ok(Helped::Done(())))
}

fn read_through(path: &Path, mut step: impl FnMut()) -> io::Result<()> {
    let (mut file, mut chunk) = (File::open(path)?, vec![0; CHUNK_BYTES]);
    while file.read(&mut chunk)? > 0 {
        step();
    }
    Ok(())
}
