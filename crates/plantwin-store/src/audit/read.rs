//! Reading the trail's entries, for people; also while a plant goes on writing.
//!
//! Absent: judging the trail ([`super::verify`]); what cannot be read is told and passed over.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use plantwin_model::{AuditEntry, Timestamp};
use plantwin_seal::Secret;

use super::{
    fail,
    files::{self, SEGMENT_LIMIT, TITLE},
    record::{self, Kind, Parsed, entry_key},
};
use crate::StoreError;

/// What a reader comes by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// An entry.
    Entry {
        /// Its sequence; those in between belong to checkpoints.
        sequence: u64,
        /// Boot that wrote it.
        boot: u64,
        /// When.
        time: Timestamp,
        /// What it says.
        entry: AuditEntry,
    },
    /// The plant told that these records are missing.
    Gap {
        /// First one.
        from: u64,
        /// Last one.
        to: u64,
        /// When it was told.
        time: Timestamp,
    },
    /// Something that is not what was written, or does not open with this key.
    Unreadable {
        /// Number of the segment.
        segment: u64,
        /// Sequence, or 0 if that cannot be told.
        sequence: u64,
    },
}

/// Reads a trail from its beginning on, and later what was added.
#[derive(Debug)]
pub struct AuditReader {
    dir: PathBuf,
    key: Secret,
    from: u64,
    segment: u64,
    /// Bytes of the segment that were read.
    offset: u64,
}

impl AuditReader {
    /// A reader of the trail in `dir` that leaves out what lies before sequence `from`; `key` is
    /// the store's audit key.
    pub fn new(dir: &Path, key: &Secret, from: u64) -> Self {
        Self { dir: dir.to_owned(), key: entry_key(key), from, segment: 1, offset: 0 }
    }

    /// Visits what was added since the last call, in order, until `visit` breaks off.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn read(
        &mut self,
        visit: &mut dyn FnMut(Shown) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        loop {
            // Listed before reading: a segment that has a successor is finished.
            let next = files::list(&self.dir)?.0.into_iter().find(|n| *n > self.segment);
            self.load(&mut bytes)?;
            if self.segment(&bytes, next.is_some(), visit).is_break() {
                return Ok(());
            }
            let Some(next) = next else { return Ok(()) };
            (self.segment, self.offset) = (next, 0);
        }
    }

    fn load(&mut self, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        bytes.clear();
        let path = files::segment(&self.dir, self.segment);
        let mut read = || {
            let mut file = fs::File::open(&path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(SEGMENT_LIMIT).read_to_end(bytes)
        };
        match read() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map(|_| ()).map_err(|e| fail("read", &path, e)),
        }
    }

    fn segment(
        &mut self,
        bytes: &[u8],
        finished: bool,
        visit: &mut dyn FnMut(Shown) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut at = 0;
        if self.offset == 0 && bytes.starts_with(TITLE) {
            at = TITLE.len();
        }
        let begin = self.offset;
        while at < bytes.len() {
            match record::parse(&bytes[at..]) {
                Parsed::Record(record) => {
                    at += record.len;
                    self.offset = begin + at as u64;
                    if record.place.sequence >= self.from
                        && let Some(shown) = self.shown(&record)
                    {
                        visit(shown)?;
                    }
                }
                broken => {
                    let next = record::next_record(bytes, at + 1);
                    // Behind a finished segment's last record it is what a crash left, which the
                    // next boot tells of.
                    let unfinished = broken == Parsed::Short
                        && !(finished && record::lies_of_length(&bytes[at..]));
                    if next.is_none() && unfinished {
                        return ControlFlow::Continue(());
                    }
                    at = next.unwrap_or(bytes.len());
                    self.offset = begin + at as u64;
                    visit(Shown::Unreadable { segment: self.segment, sequence: 0 })?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn shown(&self, record: &record::Record<'_>) -> Option<Shown> {
        let record::Place { sequence, boot, time, .. } = record.place;
        match record.kind {
            Kind::Checkpoint => None,
            Kind::Gap => {
                let to = sequence.saturating_sub(1);
                Some(Shown::Gap { from: record.begins(), to, time })
            }
            Kind::Entry => Some(match record.entry(&self.key) {
                Some(entry) => Shown::Entry { sequence, boot, time, entry },
                None => Shown::Unreadable { segment: self.segment, sequence },
            }),
        }
    }
}
