//! Opening the data base of the trees anew, in place, while the store is in use.
//!
//! sled 0.34 keeps the first error of a write for ever (its `set_global_error`), so after a full
//! disk only a new opening writes again. The old one is closed first, on the helper thread; what
//! is on the disk is then read and compared with what was promised, exactly as when a store is
//! opened. Absent: the log, which mends itself, and deciding when.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::PoisonError,
};

use crate::{
    OpenReport, SledStore, StoreError,
    marks::Marks,
    sled_store::{Health, lock},
    state,
};

/// Room that there must be before the data base is opened anew: two of sled's segments, without
/// which it would fail again at once, and a snapshot.
const ROOM_BYTES: usize = 2 << 20;
/// The file that tries whether there is room; it is there for a moment only.
const ROOM: &str = "room";

impl SledStore {
    /// See [`crate::Store::mend`].
    pub(crate) fn open_anew(&self) -> Result<Option<OpenReport>, StoreError> {
        let mut flushed = lock(&self.marks);
        if *lock(&self.health) == Health::Well {
            return Ok(None);
        }
        // On a full disk nothing is gained by closing what can still be read.
        try_room(&self.dir)?;
        let mut slot = self.db.write().unwrap_or_else(PoisonError::into_inner);
        *lock(&self.health) = Health::Failed;
        if let Some(db) = slot.take() {
            state::close(db)?;
        }
        let mut report = OpenReport { boot: self.boot(), ..OpenReport::default() };
        let promised = flushed.file.written().clone();
        let opened = state::open(&self.dir, &self.keys, Some(&promised.trees), &mut report)?;
        let marks = Marks { trees: opened.trees.clone(), ..promised };
        flushed.file.write(&self.keys, marks)?;
        flushed.files = opened.files;
        let mut trees = lock(&self.trees);
        (trees.heads, trees.names) = (opened.trees, opened.names);
        flushed.version = trees.version;
        let mut lost = lock(&self.lost);
        for (tree, changes) in opened.lost {
            *lost.entry(tree).or_default() += changes;
        }
        *slot = Some(opened.db);
        *lock(&self.health) = Health::Well;
        Ok(Some(report))
    }
}

/// Writes a little and removes it again.
pub(crate) fn try_room(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(ROOM);
    let written = File::create(&path)
        .and_then(|mut file| file.write_all(&vec![0; ROOM_BYTES]).and_then(|()| file.sync_all()));
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|source| StoreError::File {
        action: "find room for",
        path,
        source,
    })
}
