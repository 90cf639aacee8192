//! Making sled's files safe, which its own flush does not.
//!
//! On Linux sled 0.34 ends a flush with `sync_file_range`, which writes neither the length of a
//! file nor empties the cache of a disk (its man page says so), and it never syncs the files in
//! `blobs` that hold what is too long for its log, nor any directory. Absent: writing.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::StoreError;

/// The files of a data base.
#[derive(Debug)]
pub(crate) struct SledFiles {
    path: PathBuf,
    main: File,
    /// Blobs that are safe, and how long they were then: one that grew was not finished.
    blobs: BTreeMap<OsString, u64>,
}

impl SledFiles {
    /// Those of the data base in `path`, which lies in `dir`; all of them are safe then.
    pub(crate) fn open(dir: &Path, path: &Path) -> Result<Self, StoreError> {
        let open = || {
            let main = File::open(path.join("db"))?;
            let mut files = Self { path: path.to_owned(), main, blobs: BTreeMap::new() };
            files.sync_all()?;
            sync_dir(path)?;
            sync_dir(dir)?;
            Ok(files)
        };
        open().map_err(|source| fail(path, source))
    }

    /// Returns when everything that sled has written is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.sync_all().map_err(|source| fail(&self.path, source))
    }

    fn sync_all(&mut self) -> io::Result<()> {
        let folder = self.path.join("blobs");
        let (mut safe, mut new) = (BTreeMap::new(), false);
        for blob in fs::read_dir(&folder)? {
            let blob = blob?;
            // sled deletes blobs at any time.
            let Some(len) = there(blob.metadata())?.map(|about| about.len()) else { continue };
            let name = blob.file_name();
            if self.blobs.get(&name) != Some(&len) {
                let Some(file) = there(File::open(blob.path()))? else { continue };
                file.sync_data()?;
                new = true;
            }
            safe.insert(name, len);
        }
        if new {
            sync_dir(&folder)?;
        }
        self.main.sync_data()?;
        self.blobs = safe;
        Ok(())
    }
}

fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// What lies in `path`, and one folder below.
pub(crate) fn below(path: &Path) -> Vec<PathBuf> {
    let of = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut all = of(path);
    all.extend(all.iter().flat_map(|path| of(path)).collect::<Vec<_>>());
    all
}

/// How many bytes the files in `path` have, and those one folder below.
pub(crate) fn bytes(path: &Path) -> u64 {
    below(path).iter().filter_map(|path| path.metadata().ok()).map(|about| about.len()).sum()
}

/// Gives a file this content, all of it or none.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        sync_dir(path.parent().unwrap_or(path))
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(|source| StoreError::File {
        action: "remove",
        path: path.to_owned(),
        source,
    })
}

/// Makes the names in a folder safe.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn fail(path: &Path, source: io::Error) -> StoreError {
    StoreError::File { action: "sync the data base in", path: path.to_owned(), source }
}
