//! Appending to the trail.
//!
//! What was appended waits in memory until [`AuditTrail::flush`] has it on the disk; only then is
//! it forgotten here. After an error (a full disk, a failed sync) the next flush cuts the file back
//! to its last safe length and writes everything since again. What waits is bounded: beyond 1 MiB
//! appending flushes by itself, and refuses if that fails. A segment's first bytes are written under
//! another name, which makes them whole or absent. What is safe is noted in the file `safe`, after
//! the sync. Absent: threads, timers, reading.

use std::{fmt, fs, io, path::PathBuf, sync::Arc, time::Duration};

use plantwin_model::{AuditEntry, Timestamp};
use plantwin_seal::{ChainHash, ChainState, CheckpointSigner, Secret};

use super::{
    fail,
    files::{self, CHECKPOINT, SEGMENT_BYTES, TITLE},
    record::{self, Place, Reason},
    safe::{SafeEnd, SafeFile},
    scan::Link,
};
use crate::{
    StoreError,
    disk::{Disk, DiskFile},
    lock::DirLock,
};

/// Records after which a checkpoint is signed.
pub const CHECKPOINT_RECORDS: u32 = 1_000;
/// Time after which what is not yet covered by a checkpoint gets one.
pub const CHECKPOINT_TIME: Duration = Duration::from_secs(5);
/// Bytes that may wait for a flush.
const PENDING_BYTES: usize = 1 << 20;

/// The trail, open for appending; one per folder.
pub struct AuditTrail {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    key: Secret,
    signer: CheckpointSigner,
    _lock: DirLock,
    /// Number of the segment that is written.
    number: u64,
    file: Option<Box<dyn DiskFile>>,
    /// The segment bears its name.
    named: bool,
    /// A write or sync failed: the file's end is not to be trusted.
    torn: bool,
    /// Bytes of the segment that are on the disk.
    safe_len: u64,
    /// Bytes behind them that are not.
    pending: Vec<u8>,
    /// Last record and where the chain stands.
    last: Link,
    /// Records since the latest checkpoint, and when the first of them was appended.
    unsigned: u32,
    unsigned_since: Option<Timestamp>,
    /// The latest checkpoint.
    note: String,
    /// The file `checkpoint` does not say so yet.
    note_waits: bool,
    safe: SafeFile,
}

/// What an [`AuditTrail`] is made of.
pub(super) struct Parts {
    pub(super) dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) key: Secret,
    pub(super) signer: CheckpointSigner,
    pub(super) lock: DirLock,
    /// Number of the next segment.
    pub(super) number: u64,
    /// Where the chain stood.
    pub(super) last: Link,
    pub(super) safe: SafeFile,
}

impl AuditTrail {
    /// Begins a boot; records up to `lost_to`, if that is beyond the last one, are told missing.
    pub(super) fn begin(
        parts: Parts,
        lost_to: Option<u64>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let Parts { dir, disk, key, signer, lock, number, last, safe } = parts;
        let mut trail = Self {
            dir,
            disk,
            key,
            signer,
            _lock: lock,
            number,
            file: None,
            named: false,
            torn: false,
            safe_len: 0,
            pending: TITLE.to_vec(),
            last,
            unsigned: 0,
            unsigned_since: None,
            note: String::new(),
            note_waits: false,
            safe,
        };
        if let Some(to) = lost_to {
            trail.push_gap(now, to.saturating_sub(last.sequence), Reason::Missing)?;
        }
        trail.sign(now, ChainState::Opened);
        Ok(trail)
    }

    /// Number of this boot, from 1.
    pub fn boot(&self) -> u64 {
        self.signer.boot()
    }

    /// Sequence of the last record appended, checkpoints included.
    pub fn last(&self) -> u64 {
        self.last.sequence
    }

    /// The latest signed checkpoint; with [`Self::is_waiting`] it may not be on the disk yet.
    pub fn checkpoint_note(&self) -> &str {
        &self.note
    }

    /// Whether anything waits for a [`Self::flush`].
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || self.note_waits || self.safe.is_waiting()
    }

    /// Whether records wait for a checkpoint.
    pub fn is_unsigned(&self) -> bool {
        self.unsigned > 0
    }

    /// Appends an entry and returns its sequence. It is safe after [`Self::flush`]. Texts are cut to
    /// 512 bytes (actor, object) and 4,096 (detail).
    ///
    /// # Errors
    /// If 1 MiB waits already, or a segment is full, and the disk cannot be written: then the
    /// entry was not taken. [`StoreError::Seal`] if the system has no randomness.
    pub fn append(&mut self, time: Timestamp, entry: &AuditEntry) -> Result<u64, StoreError> {
        self.make_room(time)?;
        let place = self.place(time, self.last.sequence + 1);
        let cut = cut(entry);
        let hash =
            record::entry(&self.key, &mut self.pending, place, cut.as_ref().unwrap_or(entry))?;
        self.pushed(place, hash);
        Ok(place.sequence)
    }

    /// Tells that so many entries were lost before they could be appended.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_lost(&mut self, time: Timestamp, entries: u64) -> Result<u64, StoreError> {
        self.make_room(time)?;
        self.push_gap(time, entries, Reason::Overflow)?;
        Ok(self.last.sequence)
    }

    /// Signs where the chain stands, if [`CHECKPOINT_TIME`] has passed since the first record that
    /// no checkpoint covers.
    pub fn tick(&mut self, now: Timestamp) {
        if self.unsigned_since.is_some_and(|since| now.since(since) >= CHECKPOINT_TIME) {
            self.sign(now, ChainState::Running);
        }
    }

    /// Signs where the chain stands, if anything was appended since it was signed last.
    pub fn checkpoint(&mut self, now: Timestamp) {
        if self.is_unsigned() {
            self.sign(now, ChainState::Running);
        }
    }

    /// Returns when everything appended is on the disk.
    ///
    /// # Errors
    /// [`StoreError::File`]; everything is still there and is tried again by the next call.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if !self.pending.is_empty() {
            self.write_out().map_err(|source| {
                self.torn = true;
                if !self.named {
                    // The handle might be on a file that bears the name already.
                    self.file = None;
                }
                fail("write", &files::segment(&self.dir, self.number), source)
            })?;
            self.safe_len += self.pending.len() as u64;
            self.pending.clear();
            self.pending.shrink_to(PENDING_BYTES);
            let (segment, length) = (self.number, self.safe_len);
            self.safe.note(SafeEnd { segment, length, sequence: self.last.sequence });
        }
        // Neither of the two waits for the other.
        let safe = self.safe.write(&*self.disk, &self.dir);
        if self.note_waits {
            files::replace(&*self.disk, &self.dir, CHECKPOINT, self.note.as_bytes())?;
            self.note_waits = false;
        }
        safe
    }

    /// Signs the end of this boot and flushes.
    ///
    /// # Errors
    /// As [`Self::flush`]: what waits is lost with the process then, or at best found unsigned by
    /// the next boot.
    pub fn close(mut self, now: Timestamp) -> Result<(), StoreError> {
        self.sign(now, ChainState::Closed);
        self.flush()
    }

    fn write_out(&mut self) -> io::Result<()> {
        let path = files::segment(&self.dir, self.number);
        let fresh = path.with_extension("new");
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.disk.open(&fresh)?),
        };
        if self.torn || !self.named {
            file.set_len(self.safe_len)?;
        }
        file.write_at(&self.pending, self.safe_len)?;
        file.sync()?;
        if !self.named {
            fs::rename(&fresh, &path)?;
            self.disk.sync_dir(&self.dir)?;
        }
        (self.torn, self.named) = (false, true);
        Ok(())
    }

    /// Flushes if too much waits, and begins a new segment if this one is full.
    fn make_room(&mut self, time: Timestamp) -> Result<(), StoreError> {
        if self.pending.len() > PENDING_BYTES {
            self.flush()?;
        }
        if self.safe_len + self.pending.len() as u64 > SEGMENT_BYTES {
            self.flush()?;
            self.number += 1;
            (self.file, self.named, self.safe_len) = (None, false, 0);
            self.pending.extend(TITLE);
            self.sign(time, ChainState::Running);
        }
        Ok(())
    }

    fn place(&self, time: Timestamp, sequence: u64) -> Place {
        Place { previous: self.last.hash, sequence, boot: self.signer.boot(), time }
    }

    fn push_gap(&mut self, time: Timestamp, lost: u64, reason: Reason) -> Result<(), StoreError> {
        let from = self.last.sequence + 1;
        let place = self.place(time, from.saturating_add(lost));
        let hash = record::gap(&self.key, &mut self.pending, place, from, reason)?;
        self.pushed(place, hash);
        Ok(())
    }

    fn pushed(&mut self, place: Place, hash: ChainHash) {
        self.last = Link { sequence: place.sequence, hash };
        self.unsigned += 1;
        self.unsigned_since.get_or_insert(place.time);
        if self.unsigned >= CHECKPOINT_RECORDS {
            self.sign(place.time, ChainState::Running);
        }
    }

    fn sign(&mut self, time: Timestamp, state: ChainState) {
        let Link { sequence, hash } = self.last;
        let place = self.place(time, sequence + 1);
        self.note = self.signer.sign(sequence, hash, time, state).to_text();
        let hash = record::checkpoint(&mut self.pending, place, &self.note);
        self.last = Link { sequence: place.sequence, hash };
        (self.unsigned, self.unsigned_since, self.note_waits) = (0, None, true);
    }
}

/// The entry with texts of a sane length, if they were longer.
fn cut(entry: &AuditEntry) -> Option<AuditEntry> {
    let texts = [&entry.actor, &entry.object, &entry.detail];
    if texts.iter().zip(record::TEXT_LIMITS).all(|(text, limit)| text.len() <= limit) {
        return None;
    }
    let mut cut = entry.clone();
    let texts = [&mut cut.actor, &mut cut.object, &mut cut.detail];
    for (text, limit) in texts.into_iter().zip(record::TEXT_LIMITS) {
        if text.len() > limit {
            text.truncate(text.floor_char_boundary(limit - '…'.len_utf8()));
            text.push('…');
        }
    }
    Some(cut)
}

impl fmt::Debug for AuditTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditTrail")
            .field("dir", &self.dir)
            .field("boot", &self.signer.boot())
            .field("last", &self.last.sequence)
            .field("waiting", &self.pending.len())
            .finish_non_exhaustive()
    }
}
