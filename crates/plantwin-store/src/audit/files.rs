//! Names and small files of the trail: segments, `checkpoint`, `identity.pub`.
//!
//! Absent: what is in the segments; the file `safe` ([`super::safe`]).

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use plantwin_seal::{CheckpointNote, VerifyingKey};

use super::fail;
use crate::{StoreError, disk::Disk};

/// Beginning of each segment.
pub(super) const TITLE: &[u8; 8] = b"PWAUDIT\x01";
/// Length from which on a new segment is begun.
pub(super) const SEGMENT_BYTES: u64 = 8 << 20;
/// Longest file that may be a segment: one record may begin before the limit, and a batch follow.
pub(super) const SEGMENT_LIMIT: u64 = SEGMENT_BYTES + (2 << 20);
/// Longest file of checkpoints that is read: 4 MiB are some 8,000 of them.
const NOTES_LIMIT: u64 = 4 << 20;

pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const IDENTITY: &str = "identity.pub";

/// The path of a segment.
pub(super) fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// Numbers of the segments in order, and names that are no segment's and yet end like one.
pub(super) fn list(dir: &Path) -> Result<(Vec<u64>, Vec<String>), StoreError> {
    let (mut numbers, mut strangers) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((numbers, strangers)),
        other => other.map_err(|e| fail("list", dir, e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| fail("list", dir, e))?.path();
        if path.extension().is_none_or(|e| e != "seg") {
            continue;
        }
        let number = path.file_stem().and_then(|n| n.to_str()).and_then(|n| n.parse().ok());
        match number.filter(|n| *n < u64::MAX && segment(dir, *n) == path) {
            Some(number) => numbers.push(number),
            None => strangers.push(path.file_name().unwrap_or_default().to_string_lossy().into()),
        }
    }
    numbers.sort_unstable();
    strangers.sort_unstable();
    Ok((numbers, strangers))
}

/// Reads a segment into `bytes`; one that is longer than any is read up to the limit.
pub(super) fn load(dir: &Path, number: u64, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
    let path = segment(dir, number);
    bytes.clear();
    let mut read = || {
        let file = fs::File::open(&path)?;
        bytes.reserve(file.metadata()?.len().min(SEGMENT_LIMIT) as usize + 1);
        file.take(SEGMENT_LIMIT + 1).read_to_end(bytes)
    };
    read().map(|_| ()).map_err(|e| fail("read", &path, e))
}

/// A text file of at most `limit` bytes; `None` if there is none. What is no text becomes `?`s.
fn text(path: &Path, limit: u64) -> Result<Option<String>, StoreError> {
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| fail("read", path, e))?,
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|e| fail("read", path, e))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What a small file of the trail says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Small<T> {
    Missing,
    Damaged,
    Is(T),
}

impl<T> Small<T> {
    pub(super) fn as_ref(&self) -> Option<&T> {
        match self {
            Self::Is(it) => Some(it),
            Self::Missing | Self::Damaged => None,
        }
    }
}

/// The latest checkpoint, as the file of that name has it. Its signatures hold.
pub(super) fn checkpoint(dir: &Path) -> Result<Small<CheckpointNote>, StoreError> {
    Ok(match text(&dir.join(CHECKPOINT), NOTES_LIMIT)? {
        None => Small::Missing,
        Some(text) => match CheckpointNote::parse(&text) {
            Ok(note) if note.verify().is_ok() => Small::Is(note),
            _ => Small::Damaged,
        },
    })
}

/// The pinned public key.
pub(super) fn identity(dir: &Path) -> Result<Small<VerifyingKey>, StoreError> {
    let Some(text) = text(&dir.join(IDENTITY), 200)? else { return Ok(Small::Missing) };
    // The bytes count, not their spelling: what is not exactly what we write is altered.
    let key = text.get(..64).and_then(unhex).and_then(|b| VerifyingKey::from_bytes(&b).ok());
    Ok(match key {
        Some(key) if identity_text(&key) == text => Small::Is(key),
        _ => Small::Damaged,
    })
}

/// A public key in hexadecimal, as `identity.pub` has it and `plantwin audit verify` prints it.
pub fn identity_from(text: &str) -> Option<VerifyingKey> {
    let text = text.trim().to_ascii_lowercase();
    let key = VerifyingKey::from_bytes(&unhex(&text)?).ok()?;
    (hex(&key) == text).then_some(key)
}

/// The content of `identity.pub`.
pub(super) fn identity_text(key: &VerifyingKey) -> String {
    format!("{}\n", hex(key))
}

/// A public key in hexadecimal.
pub(super) fn hex(key: &VerifyingKey) -> String {
    use std::fmt::Write as _;
    key.as_bytes().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Puts a small file safely in the place of the one of that name.
pub(super) fn replace(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    content: &[u8],
) -> Result<(), StoreError> {
    let path = dir.join(name);
    let fresh = dir.join(format!("{name}.new"));
    let write = || {
        let mut file = disk.open(&fresh)?;
        file.set_len(0)?;
        file.write_at(content, 0)?;
        file.sync()?;
        fs::rename(&fresh, &path)?;
        disk.sync_dir(dir)
    };
    write().map_err(|e| fail("write", &path, e))
}

/// The text of the latest signed checkpoint of the trail in `dir`, for carrying it to a witness;
/// `None` if there is none.
///
/// # Errors
/// [`StoreError::File`]; [`StoreError::Damaged`] if it is not what a plant signed.
pub fn latest(dir: &Path) -> Result<Option<String>, StoreError> {
    match checkpoint(dir)? {
        Small::Missing => Ok(None),
        Small::Is(note) => Ok(Some(note.to_text())),
        Small::Damaged => Err(damaged(&dir.join(CHECKPOINT), "it is not what a plant signed")),
    }
}

/// Reads checkpoints that were kept elsewhere: one note, or several one after the other.
///
/// # Errors
/// [`StoreError::File`]; [`StoreError::Damaged`] if the file holds anything but signed checkpoints.
pub fn kept(path: &Path) -> Result<Vec<CheckpointNote>, StoreError> {
    let missing = || fail("read", path, io::ErrorKind::NotFound.into());
    let text = text(path, NOTES_LIMIT)?.ok_or_else(missing)?;
    let notes = CheckpointNote::parse_all(&text)
        .map_err(|_| damaged(path, "it holds no signed checkpoint, or not only such"))?;
    if notes.iter().any(|note| note.verify().is_err()) {
        return Err(damaged(path, "a signature in it does not hold: this copy was altered"));
    }
    Ok(notes)
}

fn damaged(path: &Path, reason: &'static str) -> StoreError {
    StoreError::Damaged { tree: "audit".to_owned(), key: path.display().to_string(), reason }
}
