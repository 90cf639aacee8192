//! Appending to the log.
//!
//! What was appended waits in memory until a flush has it written and synced; only then is it
//! forgotten here. So an error (a full disk, a short write, a failed sync, after which the
//! operating system may have dropped the pages) loses nothing: the next flush cuts the file back to
//! its last safe length and writes everything since again. What waits is bounded: beyond
//! [`PENDING_BYTES`] appending flushes itself, and refuses if that fails. Absent: threads, timers.

use std::{
    collections::VecDeque,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use plantwin_model::Timestamp;
use plantwin_seal::Secret;

use super::{
    check::Segment,
    record::{self, Body, Mac, OVERHEAD},
    segment::{self, HEADER_BYTES, SEGMENT_BYTES, Scanned},
};
use crate::{
    LogKind, LogRecord, StoreError,
    disk::{Disk, DiskFile},
    store::check_payload,
};

/// Bytes that may wait for a flush.
pub(crate) const PENDING_BYTES: usize = 1 << 20;

/// The end of the log, and what is known of the rest.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    secret: Secret,
    /// Number and first sequence of each segment; the last one is written to.
    segments: VecDeque<(u64, u64)>,
    /// Highest number given to a segment.
    number: u64,
    active: Option<Box<dyn DiskFile>>,
    /// The directory does not safely name the active segment yet.
    new_name: bool,
    /// A write or sync failed: the file's end is not to be trusted.
    torn: bool,
    /// Bytes of the active segment that are on the disk.
    safe_len: u64,
    /// Bytes behind them that are not.
    pending: Vec<u8>,
    next: u64,
    last_mac: Mac,
    /// Last safe sequence and its MAC.
    safe: (u64, Mac),
    /// Where the log begins.
    first: u64,
}

/// What reading needs, taken at one moment.
pub(crate) struct View {
    dir: PathBuf,
    secret: Secret,
    segments: Vec<(u64, u64)>,
    safe_len: u64,
    pending: Vec<u8>,
}

impl Log {
    pub(crate) fn new(
        dir: PathBuf,
        disk: Arc<dyn Disk>,
        secret: Secret,
        segments: Vec<Segment>,
        number: u64,
        next: u64,
        first: u64,
    ) -> Self {
        let safe_len = segments.last().map_or(0, |s| s.len);
        Self {
            dir,
            disk,
            secret,
            segments: segments.iter().map(|s| (s.number, s.first)).collect(),
            number,
            active: None,
            new_name: false,
            torn: false,
            safe_len,
            pending: Vec::new(),
            next,
            last_mac: [0; 16],
            safe: (next - 1, [0; 16]),
            first,
        }
    }

    /// Goes on behind the record of that MAC.
    pub(crate) fn resume(&mut self, last_mac: Mac) {
        self.last_mac = last_mac;
        self.safe.1 = last_mac;
    }

    /// Leaves a marker for records at the end that are gone; `to` is the last sequence given.
    pub(crate) fn mark_missing(&mut self, from: u64, to: u64) -> Result<(), StoreError> {
        self.begin_segment(from);
        let at = (to, 0, Timestamp::default());
        self.last_mac =
            record::encode(&self.secret, &mut self.pending, at, Body::Marker(from), self.last_mac)?;
        Ok(())
    }

    /// First sequence kept, last safe one, and its MAC.
    pub(crate) fn marks(&self) -> (u64, u64, Mac) {
        (self.first, self.safe.0, self.safe.1)
    }

    pub(crate) fn append(
        &mut self,
        boot: u64,
        kind: LogKind,
        time: Timestamp,
        payload: &[u8],
    ) -> Result<u64, StoreError> {
        check_payload(kind, payload)?;
        let len = OVERHEAD + payload.len();
        if self.pending.len() + len > PENDING_BYTES && !self.pending.is_empty() {
            self.flush()?;
        }
        let used = self.safe_len + self.pending.len() as u64;
        if self.segments.is_empty() || used + len as u64 > SEGMENT_BYTES {
            self.flush()?;
            self.begin_segment(self.next);
        }
        let at = (self.next, boot, time);
        let body = Body::Record(kind, payload);
        self.last_mac = record::encode(&self.secret, &mut self.pending, at, body, self.last_mac)?;
        self.next += 1;
        Ok(at.0)
    }

    /// The next bytes go into a new file. What was pending is flushed.
    fn begin_segment(&mut self, first: u64) {
        self.number += 1;
        self.segments.push_back((self.number, first));
        self.active = None;
        self.safe_len = 0;
        self.new_name = true;
        self.pending.extend(segment::header(&self.secret, first));
    }

    /// Writes and syncs what is pending. After an error everything is still pending.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let path = segment::path(&self.dir, self.number);
        self.write_out(&path).map_err(|source| {
            self.torn = true;
            StoreError::File { action: "write", path, source }
        })?;
        self.safe_len += self.pending.len() as u64;
        self.pending.clear();
        self.pending.shrink_to(PENDING_BYTES);
        self.safe = (self.next - 1, self.last_mac);
        Ok(())
    }

    fn write_out(&mut self, path: &Path) -> io::Result<()> {
        let file = match &mut self.active {
            Some(file) => file,
            None => self.active.insert(self.disk.open(path)?),
        };
        if self.torn {
            file.set_len(self.safe_len)?;
        }
        file.write_at(&self.pending, self.safe_len)?;
        file.sync()?;
        if self.new_name {
            self.disk.sync_dir(&self.dir)?;
        }
        (self.torn, self.new_name) = (false, false);
        Ok(())
    }

    /// Where the log would begin if everything below `before` were let go.
    pub(crate) fn prunable(&self, before: u64) -> u64 {
        let starts = self.segments.iter().map(|(_, first)| *first);
        starts.take_while(|first| *first <= before).last().unwrap_or(self.first).max(self.first)
    }

    /// From now on the log begins there; the marks must say so, safely, before [`Self::remove`].
    pub(crate) fn set_first(&mut self, first: u64) {
        self.first = self.first.max(first);
    }

    /// Deletes the segments that lie wholly before the beginning.
    pub(crate) fn remove(&mut self) -> Result<(), StoreError> {
        while self.segments.get(1).is_some_and(|(_, first)| *first <= self.first) {
            let path = segment::path(&self.dir, self.segments[0].0);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::File { action: "remove", path, source });
                }
                _ => self.segments.pop_front(),
            };
        }
        Ok(())
    }

    /// What there is to read from a sequence on.
    pub(crate) fn view(&self, from: u64) -> View {
        let skip = self.segments.iter().take_while(|(_, first)| *first <= from).count();
        View {
            dir: self.dir.clone(),
            secret: self.secret.clone(),
            segments: self.segments.iter().skip(skip.saturating_sub(1)).copied().collect(),
            safe_len: self.safe_len,
            pending: self.pending.clone(),
        }
    }
}

impl View {
    pub(crate) fn read(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for some in self.segments.chunks(segment::width()) {
            let scanned = segment::at_once(some, |(number, _)| self.scan(*number));
            for ((_, first), scanned) in some.iter().zip(scanned) {
                if show(*first, &scanned?, from, visit)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn scan(&self, number: u64) -> Result<Scanned, StoreError> {
        let path = segment::path(&self.dir, number);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Not written yet, or let go in the meantime.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(StoreError::File { action: "read", path, source }),
        };
        if self.segments.last().is_some_and(|(last, _)| *last == number) {
            bytes.truncate(self.safe_len as usize);
            bytes.extend(&self.pending);
        }
        Ok(if bytes.is_empty() { Scanned::default() } else { Scanned::of(&self.secret, bytes) })
    }
}

/// Shows the records of a segment up to the first that is not what was written.
fn show(
    first: u64,
    scanned: &Scanned,
    from: u64,
    visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, StoreError> {
    // The header is for whoever mends the log; a reader wants its records.
    let hole = scanned.holes.iter().find(|(_, end)| *end > HEADER_BYTES).map(|(at, _)| *at);
    let mut sequence = first;
    for (_, entry) in scanned.entries.iter().take_while(|(at, _)| hole.is_none_or(|h| *at < h)) {
        sequence = entry.sequence + 1;
        let shown = entry.public().filter(|record| record.sequence >= from);
        if shown.is_some_and(|record| visit(record).is_break()) {
            return Ok(ControlFlow::Break(()));
        }
    }
    match hole {
        None => Ok(ControlFlow::Continue(())),
        Some(_) => Err(StoreError::Damaged {
            tree: "log".to_owned(),
            key: sequence.to_string(),
            reason: "it is not what was written",
        }),
    }
}
