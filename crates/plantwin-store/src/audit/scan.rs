//! Reading one segment and judging it by itself.
//!
//! Every record stores the hash before it, so a segment needs nothing of its neighbours: what joins
//! them is compared afterwards ([`super::verify`]). Needs no secret. Absent: files, threads.

use plantwin_seal::{ChainHash, ChainState, Checkpoint, CheckpointNote, VerifyingKey};

use super::{
    files::{SEGMENT_LIMIT, TITLE},
    record::{self, Kind, Parsed, Reason, Record},
    report::{Findings, Verdict},
};

/// What a segment is judged by.
#[derive(Clone, Copy)]
pub(super) struct Expect<'a> {
    pub(super) identity: &'a VerifyingKey,
    /// Sequences and hashes of checkpoints kept elsewhere, in order.
    pub(super) kept: &'a [(u64, ChainHash)],
}

/// A place in the chain after a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) hash: ChainHash,
}

/// A segment, read.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) number: u64,
    /// Sequence that must come next when the segment begins, and the hash before it.
    pub(super) first: Option<Link>,
    /// Its last record.
    pub(super) last: Option<Link>,
    pub(super) boot: u64,
    /// It begins a boot.
    pub(super) opened: bool,
    /// It ends a boot in order.
    pub(super) closed: bool,
    pub(super) entries: u64,
    pub(super) checkpoints: u64,
    /// The last checkpoint whose signature holds.
    pub(super) anchor: Option<Link>,
    /// Boot that signed it.
    pub(super) signed_boot: u64,
    /// Where the records behind it lie.
    pub(super) tail: Vec<usize>,
    /// Where the last record ends.
    pub(super) end: usize,
    /// Bytes of an unfinished record behind it.
    pub(super) torn: usize,
    /// Which of the kept checkpoints it has the record of.
    pub(super) met: Vec<usize>,
    pub(super) findings: Findings,
    records: u64,
    began_with_gap: bool,
}

/// Reads and judges the bytes of segment `number`.
pub(super) fn scan(number: u64, bytes: &[u8], expect: Expect<'_>) -> Scanned {
    let mut scanned = Scanned {
        number,
        first: None,
        last: None,
        boot: 0,
        opened: false,
        closed: false,
        entries: 0,
        checkpoints: 0,
        anchor: None,
        signed_boot: 0,
        tail: Vec::new(),
        end: 0,
        torn: 0,
        met: Vec::new(),
        findings: Findings::default(),
        records: 0,
        began_with_gap: false,
    };
    let altered = Verdict::Altered;
    if bytes.len() as u64 > SEGMENT_LIMIT {
        scanned.find(altered, 0, u64::MAX, "longer than any segment; not read");
        return scanned;
    }
    if !bytes.starts_with(TITLE) {
        scanned.find(altered, 0, u64::MAX, "does not begin as a segment does");
    }
    let mut at = TITLE.len().min(bytes.len());
    while at < bytes.len() {
        match record::parse(&bytes[at..]) {
            Parsed::Record(record) => {
                scanned.take(at, &record, expect);
                at += record.len;
                scanned.end = at;
            }
            broken => {
                let next = record::next_record(bytes, at + 1);
                let unfinished = broken == Parsed::Short && !record::lies_of_length(&bytes[at..]);
                if next.is_none() && unfinished && !scanned.closed {
                    scanned.torn = bytes.len() - at;
                    break;
                }
                let until = next.unwrap_or(bytes.len());
                let from = scanned.last.map_or(0, |last| last.sequence + 1);
                let text = format!("{} bytes at byte {at} are no record", until - at);
                let resumes = |at| match record::parse(&bytes[at..]) {
                    Parsed::Record(record) => record.begins().saturating_sub(1),
                    _ => from,
                };
                scanned.find(altered, from, next.map_or(from, resumes).max(from), text);
                at = until;
            }
        }
    }
    if scanned.last.is_none() {
        scanned.find(altered, 0, u64::MAX, "holds no record");
    }
    scanned
}

impl Scanned {
    fn find(&mut self, verdict: Verdict, from: u64, to: u64, text: impl Into<String>) {
        self.findings.push(verdict, self.number, from..=to, text);
    }

    fn take(&mut self, at: usize, record: &Record<'_>, expect: Expect<'_>) {
        let place = &record.place;
        let sequence = place.sequence;
        let begins = record.begins();
        let first = self.records == 0;
        self.records += 1;
        if let Some(last) = self.last {
            let want = last.sequence + 1;
            if begins < want {
                let text = "is out of its place, or there a second time";
                return self.find(Verdict::Altered, sequence, sequence, text);
            }
            if self.closed {
                let text = "follows the end of its boot";
                self.find(Verdict::Altered, sequence, sequence, text);
            }
            if place.boot != self.boot {
                let text = "bears the number of another boot than its segment";
                self.find(Verdict::Altered, sequence, sequence, text);
            }
            if begins > want {
                self.find(Verdict::Gap, want, begins - 1, "missing, and nothing tells why");
            } else if place.previous != last.hash {
                let text = "one does not follow from the other: the first was altered, or what \
                            the second says of it";
                self.find(Verdict::Altered, last.sequence, sequence, text);
            }
        } else {
            self.first = Some(Link { sequence: begins, hash: place.previous });
            self.boot = place.boot;
        }
        if let Some((from, reason)) = record.gap() {
            self.began_with_gap |= first;
            let text = match reason {
                Reason::Overflow => {
                    "lost: the disk could not be written until the backlog was full"
                }
                Reason::Missing => "lost: not there, or altered, when a boot began",
            };
            self.find(Verdict::Gap, from, sequence.saturating_sub(1).max(from), text);
        }
        self.last = Some(Link { sequence, hash: record.hash });
        if record.kind == Kind::Checkpoint {
            self.checkpoint(record, expect.identity);
        } else {
            self.entries += u64::from(record.kind == Kind::Entry);
            self.tail.push(at);
            if self.first_place() {
                let text = "stands where a segment's first checkpoint must be";
                self.find(Verdict::Altered, sequence, sequence, text);
            }
        }
        let next = expect.kept.partition_point(|(size, _)| *size < sequence);
        let same = expect.kept[next..].iter().take_while(|(size, _)| *size == sequence);
        for (i, (_, hash)) in same.enumerate() {
            self.met.push(next + i);
            if *hash != record.hash {
                let text = "a signed checkpoint beside the trail says otherwise";
                self.find(Verdict::Altered, sequence, sequence, text);
            }
        }
    }

    /// Whether the record just counted stands where the first checkpoint must.
    fn first_place(&self) -> bool {
        self.records == 1 + u64::from(self.began_with_gap)
    }

    fn checkpoint(&mut self, record: &Record<'_>, identity: &VerifyingKey) {
        let place = &record.place;
        let from = self.anchor.or(self.first).map_or(1, |link| link.sequence);
        let range = from.min(place.sequence)..=place.sequence;
        let note = std::str::from_utf8(record.payload)
            .ok()
            .and_then(|text| CheckpointNote::parse(text).ok())
            .filter(|note| note.identity() == identity && note.verify().is_ok());
        let Some(note) = note else {
            let text = "the checkpoint bears no signature of this plant";
            return self.findings.push(Verdict::Altered, self.number, range, text);
        };
        let Checkpoint { size, hash, boot, time, state } = *note.checkpoint();
        if size != place.sequence - 1 || boot != place.boot || time != place.time {
            let text = "the checkpoint was made for another place";
            return self.findings.push(Verdict::Altered, self.number, range, text);
        }
        if hash != place.previous {
            let text = "the checkpoint vouches for other records than these";
            return self.findings.push(Verdict::Altered, self.number, range, text);
        }
        match state {
            ChainState::Opened if self.first_place() => self.opened = true,
            ChainState::Opened => {
                self.findings.push(
                    Verdict::Altered,
                    self.number,
                    range,
                    "a boot begins within a segment",
                );
            }
            ChainState::Running => {}
            ChainState::Closed => self.closed = true,
        }
        self.checkpoints += 1;
        self.anchor = self.last;
        self.signed_boot = boot;
        self.tail.clear();
    }
}
