//! Reading the whole log at opening, and mending it.
//!
//! What is intact is kept wherever it lies; what is not is set aside, counted by the sequences
//! that are missing, and replaced by a marker. Absent: guessing what was lost.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    record::{self, Body, Mac},
    segment::{self, HEADER_BYTES, Scanned},
    writer::Log,
};
use crate::{Finding, OpenReport, StoreError, aside, disk::Disk, key::Keys, marks::Marks};
use plantwin_model::Timestamp;

/// A segment that was read.
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// First sequence in it, or the one it would have.
    pub(crate) first: u64,
    /// Bytes of header and intact records.
    pub(crate) len: u64,
}

/// What reading goes by and gathers.
struct Reader<'a> {
    root: &'a Path,
    dir: PathBuf,
    disk: &'a Arc<dyn Disk>,
    keys: &'a Keys,
    /// The sequence that should come next; `None` before the first one if nobody says.
    expected: Option<u64>,
    last_mac: Mac,
    max_boot: u64,
    records: u64,
    findings: Vec<Finding>,
    aside: Option<PathBuf>,
}

/// Reads and mends the log below `root`; `marks` is what was promised, if that is known.
pub(crate) fn check(
    root: &Path,
    disk: &Arc<dyn Disk>,
    keys: &Keys,
    marks: Option<&Marks>,
    report: &mut OpenReport,
) -> Result<Log, StoreError> {
    let dir = root.join("log");
    fs::create_dir_all(&dir).map_err(|e| fail("create the directory", &dir, e))?;
    let numbers = segment::list(&dir)?;
    let mut reader = Reader {
        root,
        dir: dir.clone(),
        disk,
        keys,
        expected: None,
        last_mac: [0; 16],
        max_boot: 0,
        records: 0,
        findings: Vec::new(),
        aside: None,
    };
    let promised_first = marks.map(|m| m.log_first.max(1));
    let mut segments = Vec::new();
    for numbers_at_once in numbers.chunks(segment::width()) {
        let scanned = segment::at_once(numbers_at_once, |number| -> Result<_, StoreError> {
            let path = segment::path(&dir, *number);
            let bytes = fs::read(&path).map_err(|e| fail("read", &path, e))?;
            Ok(Scanned::of(&keys.log, bytes))
        });
        for (number, scanned) in numbers_at_once.iter().zip(scanned) {
            let last = Some(number) == numbers.last();
            segments.extend(reader.segment(*number, scanned?, promised_first, last, marks)?);
        }
    }
    let mut next = reader.expected.or(promised_first).unwrap_or(1);
    let mut missing = None;
    if let Some(marks) = marks.filter(|m| m.log_last >= next) {
        reader.findings.push(Finding::LogGap { from: next, to: marks.log_last });
        missing = Some((next, marks.log_last));
        next = marks.log_last + 1;
        reader.last_mac = marks.log_mac;
    }
    disk.sync_dir(&dir).map_err(|e| fail("sync", &dir, e))?;
    report.log_records = reader.records;
    report.boot = report.boot.max(reader.max_boot);
    report.set_aside.extend(reader.aside);
    report.findings.append(&mut reader.findings);
    let number = numbers.last().map_or(0, |n| *n);
    let first = segments.first().map_or(next, |s| s.first);
    let first = promised_first.unwrap_or(first);
    let mut log = Log::new(dir, Arc::clone(disk), keys.log.clone(), segments, number, next, first);
    log.resume(reader.last_mac);
    if let Some((from, to)) = missing {
        // The next record goes into a segment of its own, behind the marker.
        log.mark_missing(from, to)?;
    }
    Ok(log)
}

fn fail(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File { action, path: path.to_owned(), source }
}

/// What a mended segment is made of.
enum Piece {
    Marker { from: u64, to: u64 },
    Bytes(usize, usize),
}

impl Reader<'_> {
    fn segment(
        &mut self,
        number: u64,
        scanned: Scanned,
        promised_first: Option<u64>,
        last: bool,
        marks: Option<&Marks>,
    ) -> Result<Option<Segment>, StoreError> {
        let path = segment::path(&self.dir, number);
        let Scanned { bytes, entries, mut holes } = scanned;
        let named = segment::first_of(&self.keys.log, &bytes);
        let mut pieces = Vec::new();
        let (mut first, mut gaps, mut strays) = (None, Vec::new(), 0_usize);
        let (mut expected, mut last_mac) = (self.expected, self.last_mac);
        let (mut records, mut max_boot) = (0, self.max_boot);
        for (at, entry) in entries {
            let begins = match entry.body {
                Body::Marker(from) => from,
                Body::Record(..) => entry.sequence,
            };
            let want = expected.unwrap_or_else(|| match (promised_first, named) {
                // Below the promised first lies what may be let go any time.
                (Some(promised), _) => promised.min(begins),
                (None, Some(named)) => named.min(begins),
                (None, None) => begins,
            });
            // An older record that turns up again is no part of the log.
            if entry.sequence < want || begins > entry.sequence {
                strays += entry.len;
                continue;
            }
            if begins > want {
                gaps.push((want, begins - 1));
                pieces.push(Piece::Marker { from: want, to: begins - 1 });
            }
            first.get_or_insert(want.min(begins));
            pieces.push(Piece::Bytes(at, at + entry.len));
            records += u64::from(matches!(entry.body, Body::Record(..)));
            max_boot = max_boot.max(entry.boot);
            expected = Some(entry.sequence + 1);
            last_mac = entry.mac;
        }
        (self.expected, self.last_mac, self.max_boot) = (expected, last_mac, max_boot);
        self.records += records;
        let kept = |piece: &Piece| match piece {
            Piece::Bytes(_, until) => *until,
            Piece::Marker { .. } => 0,
        };
        let end = pieces.last().map_or(0, kept).max(HEADER_BYTES.min(bytes.len()));
        let damage: usize = holes.iter().map(|(a, b)| b - a).sum::<usize>() + strays;
        // An end that nobody was promised is what a crash leaves.
        let torn_only = last
            && gaps.is_empty()
            && strays == 0
            && holes.len() == 1
            && holes[0].1 == bytes.len()
            && (holes[0].0 > 0 || pieces.is_empty())
            && marks.is_some_and(|m| m.log_last < expected.unwrap_or(1).max(m.log_first.max(1)));
        if torn_only {
            holes.clear();
            return self.cut(number, &path, named, first, end, bytes.len());
        }
        self.findings
            .extend(gaps.iter().map(|(from, to)| Finding::LogGap { from: *from, to: *to }));
        if damage == 0 && gaps.is_empty() && named.is_some() {
            let first = first.or(named).unwrap_or(1);
            return Ok(Some(Segment { number, first, len: bytes.len() as u64 }));
        }
        self.findings.push(Finding::LogDamaged { segment: number, bytes: damage as u64 });
        self.rewrite(number, &path, &bytes, first, &pieces)
    }

    /// Cuts an unfinished end off the last segment.
    fn cut(
        &mut self,
        number: u64,
        path: &Path,
        named: Option<u64>,
        first: Option<u64>,
        end: usize,
        len: usize,
    ) -> Result<Option<Segment>, StoreError> {
        self.findings.push(Finding::LogTorn { bytes: (len - end.min(len)) as u64 });
        let Some(named) = named else {
            // Not even the header was finished.
            fs::remove_file(path).map_err(|e| fail("remove", path, e))?;
            return Ok(None);
        };
        self.disk
            .open(path)
            .and_then(|mut file| {
                file.set_len(end as u64)?;
                file.sync()
            })
            .map_err(|e| fail("cut", path, e))?;
        Ok(Some(Segment { number, first: first.unwrap_or(named), len: end as u64 }))
    }

    /// Puts a copy of the segment aside and what is intact in its place.
    fn rewrite(
        &mut self,
        number: u64,
        path: &Path,
        bytes: &[u8],
        first: Option<u64>,
        pieces: &[Piece],
    ) -> Result<Option<Segment>, StoreError> {
        let aside = if let Some(aside) = &self.aside {
            aside.clone()
        } else {
            let aside = aside::free(self.root, "log")?;
            fs::create_dir(&aside).map_err(|e| fail("create the directory", &aside, e))?;
            self.aside.insert(aside).clone()
        };
        let copy = segment::path(&aside, number);
        fs::copy(path, &copy).map_err(|e| fail("copy aside", path, e))?;
        let Some(first) = first else {
            fs::remove_file(path).map_err(|e| fail("remove", path, e))?;
            return Ok(None);
        };
        let mut mended = segment::header(&self.keys.log, first).to_vec();
        for piece in pieces {
            match piece {
                Piece::Bytes(from, until) => mended.extend(&bytes[*from..*until]),
                Piece::Marker { from, to } => {
                    let at = (*to, self.max_boot, Timestamp::default());
                    let body = Body::Marker(*from);
                    record::encode(&self.keys.log, &mut mended, at, body, [0; 16])?;
                }
            }
        }
        let fresh = path.with_extension("new");
        self.disk
            .open(&fresh)
            .and_then(|mut file| {
                file.set_len(0)?;
                file.write_at(&mended, 0)?;
                file.sync()
            })
            .and_then(|()| fs::rename(&fresh, path))
            .map_err(|e| fail("mend", path, e))?;
        Ok(Some(Segment { number, first, len: mended.len() as u64 }))
    }
}
