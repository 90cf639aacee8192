//! Getting records out of a data base that no longer opens.
//!
//! sled keeps values as they are, and our records say all about themselves ([`crate::record`]), so
//! they are found by looking through the raw bytes; nothing of sled is asked. Of several versions
//! of a record the newest wins. What sled had not cleaned up yet is found as well: an older version
//! whose successor is gone, or a record that had been deleted. Only the head's digest can tell that
//! what was found is exactly what was there. Absent: anything that could panic.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use plantwin_seal::Secret;

use crate::{
    head::{HEAD_KEY, Head},
    record::{self, MAGIC},
};

/// What was found of one tree.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// The newest head found.
    pub(crate) head: Option<Head>,
    /// Highest sequence of a record.
    pub(crate) sequence: u64,
    /// By place: sequence, source, and where in it the record lies.
    pub(crate) records: HashMap<Vec<u8>, (u64, usize, usize, usize)>,
}

/// Raw bytes and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    sources: Vec<Vec<u8>>,
    pub(crate) trees: BTreeMap<String, Salvaged>,
}

impl Salvage {
    /// Looks through the data base in `dir`; `image` is what its main file was before sled first
    /// touched it, if that was kept.
    pub(crate) fn gather(secret: &Secret, dir: &Path, image: Option<Vec<u8>>) -> Self {
        let mut found = Self::default();
        // What cannot be read yields nothing; the counts tell.
        let main = image.or_else(|| fs::read(dir.join("db")).ok());
        let blobs = fs::read_dir(dir.join("blobs")).into_iter().flatten().flatten();
        let blobs = blobs.filter_map(|blob| fs::read(blob.path()).ok());
        for bytes in main.into_iter().chain(blobs) {
            found.look_through(secret, bytes);
        }
        found
    }

    fn look_through(&mut self, secret: &Secret, bytes: Vec<u8>) {
        let source = self.sources.len();
        let mut at = 0;
        while let Some(skip) = find(&bytes[at..]) {
            at += skip;
            let Ok(found) = record::parse(secret, &bytes[at..]) else {
                at += 1;
                continue;
            };
            let until = at + found.len;
            let tree = self.trees.entry(found.tree.to_owned()).or_default();
            tree.sequence = tree.sequence.max(found.sequence);
            if found.place == HEAD_KEY {
                if let Some(head) = Head::decode(found.content.value()) {
                    tree.head = tree.head.filter(|h| h.sequence > head.sequence).or(Some(head));
                }
            } else {
                let new = (found.sequence, source, at, until);
                let slot = tree.records.entry(found.place.to_vec()).or_insert(new);
                if slot.0 < new.0 {
                    *slot = new;
                }
            }
            at = until;
        }
        self.sources.push(bytes);
    }

    /// The record that [`Salvaged::records`] names, as it lies there.
    pub(crate) fn record(&self, (_, source, from, until): (u64, usize, usize, usize)) -> &[u8] {
        &self.sources[source][from..until]
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
