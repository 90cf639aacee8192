//! What was promised, outside the data base: the high-water mark of the log and of each tree.
//!
//! File `marks`: two slots of 4 KiB, written in turn and synced after each flush, so that one of
//! them is always whole. A slot: `length u32 | key id 16 B | sealed`, and sealed are `generation
//! u64 | boot u64 | first, last u64 and last MAC 16 B of the log | trees u16 | for each: name length
//! u8, name, head 40 B`. Marks behind the data are normal (a crash between both); data behind the marks is
//! loss. Absent: getting back what is lost.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use plantwin_seal::{SealError, open_at_rest, seal_at_rest};

use crate::{
    StoreError,
    disk::{Disk, DiskFile},
    head::Head,
    key::{self, KeyId, Keys},
};

const NAME: &str = "marks";
const SLOT: usize = 4096;
const CONTEXT: &[u8] = b"marks";

/// What was promised.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Marks {
    /// How often the store was opened.
    pub(crate) boot: u64,
    /// Where the log begins; what was before was let go.
    pub(crate) log_first: u64,
    /// Last safe record of the log; zero before the first one.
    pub(crate) log_last: u64,
    /// Its MAC.
    pub(crate) log_mac: [u8; 16],
    /// Heads of the trees.
    pub(crate) trees: BTreeMap<String, Head>,
}

/// What the file said at opening.
pub(crate) enum Found {
    /// There is no file.
    Nothing,
    /// There is one, and no slot of it is intact.
    Damaged,
    /// Written with another key.
    AnotherKey,
    /// The newest intact slot; whether the other one is damaged.
    Marks { marks: Marks, generation: u64, slot: usize, half: bool },
}

/// Reads the marks of `dir`.
pub(crate) fn read(dir: &Path, keys: &Keys) -> Result<Found, StoreError> {
    let path = dir.join(NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(StoreError::File { action: "read", path, source }),
    };
    let (first, second) = bytes.split_at(SLOT.min(bytes.len()));
    let slots = [decode(first, keys), decode(second, keys)];
    let intact = slots.iter().flatten().count();
    let newest = slots
        .into_iter()
        .enumerate()
        .filter_map(|(slot, found)| found.map(|(generation, marks)| (generation, slot, marks)));
    Ok(match newest.max_by_key(|(generation, ..)| *generation) {
        Some((generation, slot, marks)) => {
            Found::Marks { marks, generation, slot, half: intact < 2 }
        }
        // Both slots name one and the same other key: not an accident of a few bits.
        None => match (key_id(first), key_id(second)) {
            (Some(a), Some(b)) if a == b && a != keys.id => Found::AnotherKey,
            _ => Found::Damaged,
        },
    })
}

/// Refuses a key that the marks of `dir` were not written with.
pub(crate) fn vouch(dir: &Path, keys: &Keys) -> Result<(), StoreError> {
    match read(dir, keys)? {
        Found::AnotherKey => Err(key::another(dir)),
        Found::Nothing | Found::Damaged | Found::Marks { .. } => Ok(()),
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct MarksFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Slot of the next writing, and its generation.
    slot: usize,
    generation: u64,
    /// What was written last.
    written: Marks,
}

impl MarksFile {
    /// Opens the file and writes `marks` into both slots, the older or damaged one first.
    pub(crate) fn begin(
        dir: &Path,
        disk: &Arc<dyn Disk>,
        keys: &Keys,
        found: &Found,
        marks: Marks,
    ) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let (slot, generation) = match found {
            Found::Marks { slot, generation, .. } => (1 - slot, generation + 1),
            _ => (0, 1),
        };
        let fail = |source| StoreError::File { action: "open", path: path.clone(), source };
        let file = disk.open(&path).map_err(fail)?;
        disk.sync_dir(dir).map_err(fail)?;
        let mut file = Self { path, file, slot, generation, written: Marks::default() };
        file.put(keys, &marks)?;
        file.put(keys, &marks)?;
        Ok(file)
    }

    /// What was written last.
    pub(crate) fn written(&self) -> &Marks {
        &self.written
    }

    /// Writes `marks` unless they stand there already.
    pub(crate) fn write(&mut self, keys: &Keys, marks: Marks) -> Result<(), StoreError> {
        if marks == self.written { Ok(()) } else { self.put(keys, &marks) }
    }

    /// Writes one slot.
    pub(crate) fn put(&mut self, keys: &Keys, marks: &Marks) -> Result<(), StoreError> {
        let fail = |source| StoreError::File { action: "write", path: self.path.clone(), source };
        let bytes = encode(self.generation, marks, keys)?;
        if bytes.len() > SLOT {
            return Err(fail(io::Error::other("too many trees for the marks")));
        }
        // A failed writing is tried again in the same slot: the other one stays whole.
        self.file.write_at(&bytes, (self.slot * SLOT) as u64).map_err(fail)?;
        self.file.sync().map_err(fail)?;
        (self.slot, self.generation) = (1 - self.slot, self.generation + 1);
        self.written.clone_from(marks);
        Ok(())
    }
}

fn encode(generation: u64, marks: &Marks, keys: &Keys) -> Result<Vec<u8>, SealError> {
    let mut body = generation.to_le_bytes().to_vec();
    for number in [marks.boot, marks.log_first, marks.log_last] {
        body.extend(number.to_le_bytes());
    }
    body.extend(marks.log_mac);
    body.extend((marks.trees.len() as u16).to_le_bytes());
    for (name, head) in &marks.trees {
        body.push(name.len() as u8);
        body.extend(name.as_bytes());
        body.extend(head.encode());
    }
    let sealed = seal_at_rest(&keys.marks, CONTEXT, &body)?;
    let mut slot = (sealed.len() as u32).to_le_bytes().to_vec();
    slot.extend(keys.id);
    slot.extend(sealed);
    Ok(slot)
}

fn key_id(slot: &[u8]) -> Option<KeyId> {
    slot.get(4..20)?.try_into().ok()
}

fn decode(slot: &[u8], keys: &Keys) -> Option<(u64, Marks)> {
    let (len, rest) = slot.split_first_chunk()?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    let (sealed, _) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let body = open_at_rest(&keys.marks, CONTEXT, sealed).ok()?;
    let mut rest = body.as_slice();
    let generation = number(&mut rest)?;
    let (boot, log_first, log_last) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
    let (log_mac, after) = rest.split_first_chunk()?;
    let (count, mut rest) = after.split_first_chunk()?;
    let mut trees = BTreeMap::new();
    for _ in 0..u16::from_le_bytes(*count) {
        let (len, after) = rest.split_first()?;
        let (name, after) = after.split_at_checked(usize::from(*len))?;
        let (head, after) = after.split_at_checked(40)?;
        trees.insert(std::str::from_utf8(name).ok()?.to_owned(), Head::decode(head)?);
        rest = after;
    }
    Some((generation, Marks { boot, log_first, log_last, log_mac: *log_mac, trees }))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}
