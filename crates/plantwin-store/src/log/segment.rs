//! One file of the log: its name, its header, and reading it past damage.
//!
//! Header: `"PWLOG" | layout u8 | 2 zero bytes | first sequence u64 | MAC 16 B`. Absent: writing.

use std::{
    fs, io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread::{self, Builder},
};

use plantwin_seal::{Secret, mac};

use super::record::{self, Entry, MAGIC};
use crate::{StoreError, key::short};

/// Length from which on a new segment is begun.
pub(crate) const SEGMENT_BYTES: u64 = 8 << 20;
pub(crate) const HEADER_BYTES: usize = 32;
const TITLE: &[u8; 8] = b"PWLOG\x02\0\0";

/// The path of a segment.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// A header.
pub(crate) fn header(secret: &Secret, first: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(TITLE);
    header[8..16].copy_from_slice(&first.to_le_bytes());
    let mac = short(&mac(secret, &[&header[..16]]));
    header[16..].copy_from_slice(&mac);
    header
}

/// The first sequence that a header names, if it is intact.
pub(crate) fn first_of(secret: &Secret, bytes: &[u8]) -> Option<u64> {
    let found: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let (_, rest) = found.split_first_chunk::<8>()?;
    let first = u64::from_le_bytes(*rest.first_chunk()?);
    (*found == header(secret, first)).then_some(first)
}

/// Numbers of the segments in `dir`, in order.
pub(crate) fn list(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let fail = |source| StoreError::File { action: "list", path: dir.to_owned(), source };
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        other => other.map_err(fail)?,
    };
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        let number: Option<u64> = name.to_str().and_then(|n| n.strip_suffix(".seg")?.parse().ok());
        numbers.extend(number.filter(|n| *n < u64::MAX));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Runs `work` on each of these, all at a time: opening records is what a start with a long log
/// spends its time on. The results are in order.
pub(crate) fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let Some((own, others)) = items.split_first() else { return Vec::new() };
    thread::scope(|scope| {
        let work = &work;
        let begin = |item| (item, Builder::new().spawn_scoped(scope, move || work(item)));
        let begun: Vec<_> = others.iter().map(begin).collect();
        let mut done = vec![work(own)];
        done.extend(begun.into_iter().map(|(item, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // The system gives no more threads.
            Err(_) => work(item),
        }));
        done
    })
}

/// How many segments are worth being opened at a time: each takes a few times its length in memory.
pub(crate) fn width() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(4))
}

/// A segment's bytes, its intact records with the offset of each, and the stretches that are
/// none, in order.
#[derive(Default)]
pub(crate) struct Scanned {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<(usize, Entry)>,
    pub(crate) holes: Vec<(usize, usize)>,
}

impl Scanned {
    pub(crate) fn of(secret: &Secret, bytes: Vec<u8>) -> Self {
        let mut entries = Vec::new();
        let mut holes: Vec<(usize, usize)> = Vec::new();
        let mut at = HEADER_BYTES.min(bytes.len());
        if first_of(secret, &bytes).is_none() {
            holes.push((0, at));
        }
        while at < bytes.len() {
            if let Some(entry) = record::parse(secret, &bytes[at..]) {
                let len = entry.len;
                entries.push((at, entry));
                at += len;
                continue;
            }
            // The next place where a record could begin.
            let next = bytes[at + 1..]
                .windows(MAGIC.len())
                .position(|window| window == MAGIC)
                .map_or(bytes.len(), |skip| at + 1 + skip);
            match holes.last_mut() {
                Some(hole) if hole.1 == at => hole.1 = next,
                _ => holes.push((at, next)),
            }
            at = next;
        }
        Self { bytes, entries, holes }
    }
}
