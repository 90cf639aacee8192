//! Getting records out of a data base that no longer opens.
//!
//! sled keeps values as they are, and our records say all about themselves ([`crate::record`]), so
//! they are found by looking through the raw bytes; nothing of sled is asked. Of several versions
//! of a record the newest wins. What sled had not cleaned up yet is found as well: an older version
//! whose successor is gone, or a record that had been deleted. Only the head's digest can tell that
//! what was found is exactly what was there.
//!
//! Files are read through a window, and what was found in them is read again when it is written
//! anew: memory holds where each record lies, some 150 bytes for one, whatever the files take.
//! Absent: anything that could panic.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use plantwin_seal::Secret;

use crate::{
    head::{HEAD_KEY, Head},
    record::{self, MAGIC},
};

/// Read at a time; a longer record makes it longer.
const WINDOW_BYTES: usize = 4 << 20;

/// Where a record lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct At {
    source: u32,
    from: u64,
    len: u32,
    /// The record's.
    pub(crate) sequence: u64,
}

/// What was found of one tree.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// The newest head found.
    pub(crate) head: Option<Head>,
    /// Highest sequence of a record.
    pub(crate) sequence: u64,
    /// By place.
    pub(crate) records: HashMap<Box<[u8]>, At>,
}

/// Where raw bytes are.
#[derive(Debug)]
enum Source {
    /// The main file as it was before sled first touched it.
    Image(Vec<u8>),
    File(PathBuf),
}

/// Raw bytes and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    sources: Vec<Source>,
    /// The file that was read last.
    open: Option<(u32, File)>,
    pub(crate) trees: BTreeMap<String, Salvaged>,
}

impl Salvage {
    /// Looks through the data base in `dir`; `image` is what its main file was before sled first
    /// touched it, if that was kept.
    pub(crate) fn gather(secret: &Secret, dir: &Path, image: Option<Vec<u8>>) -> Self {
        let mut found = Self::default();
        let main = image.map_or_else(|| Source::File(dir.join("db")), Source::Image);
        let blobs = fs::read_dir(dir.join("blobs")).into_iter().flatten().flatten();
        for source in std::iter::once(main).chain(blobs.map(|blob| Source::File(blob.path()))) {
            let number = found.sources.len() as u32;
            match &source {
                Source::Image(bytes) => found.look_through(secret, number, &bytes[..]),
                Source::File(path) => {
                    // What cannot be read yields nothing; the counts tell.
                    if let Ok(file) = File::open(path) {
                        found.look_through(secret, number, file);
                    }
                }
            }
            found.sources.push(source);
        }
        found
    }

    fn look_through(&mut self, secret: &Secret, source: u32, bytes: impl Read) {
        let mut window = Window::new(bytes, WINDOW_BYTES);
        while window.find() {
            let Ok(found) = record::parse(secret, window.rest()) else {
                window.at += 1;
                continue;
            };
            let len = found.len;
            let tree = self.trees.entry(found.tree.to_owned()).or_default();
            tree.sequence = tree.sequence.max(found.sequence);
            if found.place == HEAD_KEY {
                if let Some(head) = Head::decode(found.content.value()) {
                    tree.head = tree.head.filter(|h| h.sequence > head.sequence).or(Some(head));
                }
            } else {
                let sequence = found.sequence;
                let new = At { source, from: window.offset(), len: len as u32, sequence };
                match tree.records.get_mut(found.place) {
                    Some(slot) if slot.sequence < sequence => *slot = new,
                    Some(_) => {}
                    None => drop(tree.records.insert(found.place.into(), new)),
                }
            }
            window.at += len;
        }
    }

    /// The record that [`Salvaged::records`] names, as it lies there.
    pub(crate) fn record(&mut self, at: At) -> io::Result<Vec<u8>> {
        let len = at.len as usize;
        match self.sources.get(at.source as usize) {
            Some(Source::Image(bytes)) => {
                let from = usize::try_from(at.from).unwrap_or(usize::MAX);
                let found = bytes.get(from..).and_then(|rest| rest.get(..len));
                found.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Some(Source::File(path)) => {
                let file = match &mut self.open {
                    Some((source, file)) if *source == at.source => file,
                    other => &mut other.insert((at.source, File::open(path)?)).1,
                };
                file.seek(SeekFrom::Start(at.from))?;
                let mut bytes = vec![0; len];
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A stretch of a source that moves on.
struct Window<R> {
    from: R,
    bytes: Vec<u8>,
    /// Where `bytes` begin in the source.
    base: u64,
    /// Where we are in `bytes`.
    at: usize,
    /// Nothing comes behind `bytes`, or it cannot be read.
    ended: bool,
    /// Read at a time.
    size: usize,
}

impl<R: Read> Window<R> {
    fn new(from: R, size: usize) -> Self {
        Self { from, bytes: Vec::new(), base: 0, at: 0, ended: false, size }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Sees to it that there are `want` bytes from here on, if there are so many.
    fn fill(&mut self, want: usize) {
        if self.ended || self.rest().len() >= want {
            return;
        }
        self.bytes.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let missing = want.max(self.size) - self.bytes.len();
        let read = self.from.by_ref().take(missing as u64).read_to_end(&mut self.bytes);
        self.ended = read.map_or(true, |read| read < missing);
    }

    /// Goes to what may be the next record, with all of it in the window; whether there is one.
    fn find(&mut self) -> bool {
        loop {
            self.fill(record::HEADER_BYTES);
            let Some(skip) = find(self.rest()) else {
                if self.ended {
                    return false;
                }
                // The last bytes may be the beginning of one.
                self.at = self.at.max(self.bytes.len().saturating_sub(MAGIC.len() - 1));
                continue;
            };
            self.at += skip;
            self.fill(record::HEADER_BYTES);
            match record::claimed_len(self.rest()) {
                Some(len) if len <= record::LONGEST => {
                    self.fill(len);
                    return true;
                }
                _ => self.at += 1,
            }
        }
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == MAGIC[0])?;
        if bytes[at..].starts_with(MAGIC) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says where records begin, and the longest window that this took.
    fn begins(bytes: &[u8], secret: &Secret, size: usize) -> (Vec<u64>, usize) {
        let (mut window, mut begins, mut longest) = (Window::new(bytes, size), Vec::new(), 0);
        while window.find() {
            longest = longest.max(window.bytes.len());
            match record::parse(secret, window.rest()).map(|found| found.len) {
                Ok(len) => {
                    begins.push(window.offset());
                    window.at += len;
                }
                Err(_) => window.at += 1,
            }
        }
        (begins, longest)
    }

    #[test]
    fn records_are_found_wherever_a_window_ends_and_none_outgrows_the_longest_record() {
        let secret = Secret::random().unwrap();
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for i in 0..60_usize {
            // Beginnings of records that are none, between those that are.
            bytes.extend_from_slice(&b"PWR2PWRP\xff\xff\xff\xff\xff\xff\xff\xff PW"[..i % 20]);
            expected.push(bytes.len() as u64);
            let (place, value) = (vec![b'P'; 3 + i % 7], vec![b'P'; i * 3]);
            let sequence = i as u64;
            let at = (place.as_slice(), "name");
            bytes.extend(record::encode(&secret, "twins", at, sequence, &value).unwrap());
        }
        for size in (1..400).chain([bytes.len(), 1 << 20]) {
            assert_eq!(begins(&bytes, &secret, size).0, expected, "windows of {size} bytes");
        }
        // Among much more that is none.
        let nothing = vec![0; 4 * record::LONGEST];
        let (found, longest) = begins(&[&nothing, &bytes[..]].concat(), &secret, 4096);
        assert_eq!(found.len(), expected.len());
        assert!(longest <= record::LONGEST, "{longest} bytes in memory");
    }
}
