//! Opening a store: key, marks, data base, log, and then the new marks.
//!
//! Order matters. The key comes first, even before the lock file is written, because without it
//! nothing can be read, and nothing is touched before it is right. The marks are written last, when everything that they promise is on
//! the disk; in a new directory they are also written first, so that a crash in between does not
//! look like lost marks. Absent: reading what is kept.

use std::{fs, path::Path, sync::Arc};

use crate::{
    Finding, OpenReport, StoreError, aside, beside,
    disk::{Disk, OsDisk},
    key::{self, Keys},
    key_file,
    key_source::KeySource,
    lock::DirLock,
    log,
    marks::{self, Found, Marks, MarksFile},
    rebuild,
    sled_store::Parts,
    state,
};

/// Opens or makes the store in `dir`.
pub(crate) fn open(dir: &Path, source: &KeySource) -> Result<(Parts, OpenReport), StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    fs::create_dir_all(dir).map_err(|source| StoreError::File {
        action: "create the directory",
        path: dir.to_owned(),
        source,
    })?;
    let unlocked = Keys::load(dir, source)?;
    let lock = DirLock::take(dir)?;
    let mut report = OpenReport::default();
    put_old_layout_aside(dir, &mut report)?;
    let known = ["marks", "state", "log", beside::NEXT, rebuild::REBUILDING];
    let fresh = !known.iter().any(|name| dir.join(name).exists());
    let keys = match unlocked {
        Some(keys) => keys,
        // Somebody may have made it since.
        None => match Keys::load(dir, source)? {
            Some(keys) => keys,
            None if fresh => Keys::make(dir, source)?,
            None => return Err(key::gone(dir)),
        },
    };
    key_file::sweep(dir);
    let mut found = marks::read(dir, &keys)?;
    if fresh {
        MarksFile::begin(dir, &disk, &keys, &found, Marks { log_first: 1, ..Marks::default() })?;
        found = marks::read(dir, &keys)?;
    }
    let promised = match &found {
        Found::AnotherKey => return Err(key::another(dir)),
        Found::Nothing | Found::Damaged => {
            report.findings.push(Finding::MarksLost);
            None
        }
        Found::Marks { marks, half, .. } => {
            if *half {
                report.findings.push(Finding::MarksHalf);
            }
            Some(marks)
        }
    };
    report.boot = promised.map_or(0, |m| m.boot);
    // The data base first: if it cannot be had, the log must not have been mended and told already.
    let opened = state::open(dir, &keys, promised.map(|m| &m.trees), &mut report)?;
    let mut log = log::check(dir, &disk, &keys, promised, &mut report)?;
    log.flush()?;
    report.boot += 1;
    let (log_first, log_last, log_mac) = log.marks();
    let heads = opened.trees;
    let marks = Marks { boot: report.boot, log_first, log_last, log_mac, trees: heads.clone() };
    let marks = MarksFile::begin(dir, &disk, &keys, &found, marks)?;
    // A pruning that a crash cut short is finished.
    log.remove()?;
    let parts = Parts {
        keys,
        boot: report.boot,
        lost: opened.lost,
        heads,
        names: opened.names,
        db: opened.db,
        files: opened.files,
        log,
        marks,
        lock,
    };
    Ok((parts, report))
}

/// Before version 0.1 there was a `head` and no key: nothing there can be verified.
fn put_old_layout_aside(dir: &Path, report: &mut OpenReport) -> Result<(), StoreError> {
    let (old, state) = (dir.join("head"), dir.join("state"));
    if !old.is_file() || dir.join("key").exists() || dir.join("marks").exists() {
        return Ok(());
    }
    let fail = |path: &Path, source| StoreError::File {
        action: "put aside the old",
        path: path.to_owned(),
        source,
    };
    let aside = aside::free(dir, "state")?;
    if state.exists() {
        fs::rename(&state, &aside).map_err(|e| fail(&state, e))?;
    } else {
        fs::create_dir(&aside).map_err(|e| fail(&aside, e))?;
    }
    fs::rename(&old, aside.join("head")).map_err(|e| fail(&old, e))?;
    report.set_aside.push(aside);
    report.findings.push(Finding::OldLayout);
    Ok(())
}
