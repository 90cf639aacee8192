//! What a verification found.
//!
//! Absent: finding it.

use std::{fmt, ops::RangeInclusive};

use plantwin_seal::VerifyingKey;

/// Findings that are kept one by one; what is beyond widens the last one.
const FINDINGS: usize = 100;

/// How a trail stands, from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Everything is there as it was written.
    Intact,
    /// Records are missing in the middle, told by the plant or not.
    Gap,
    /// It ends before a checkpoint, or the file `safe`, says it did.
    Truncated,
    /// Something is not what was written.
    Altered,
}

impl Verdict {
    /// As it is told: one lowercase word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Gap => "gap",
            Self::Truncated => "truncated",
            Self::Altered => "altered",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditFinding {
    /// What it amounts to.
    pub verdict: Verdict,
    /// Number of the segment file; 0 if it is about another file or the whole trail.
    pub segment: u64,
    /// Sequences that it concerns, as far as can be told.
    pub sequences: RangeInclusive<u64>,
    /// What is wrong, for people.
    pub text: String,
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.verdict)?;
        if self.segment > 0 {
            write!(f, "{:08}.seg, ", self.segment)?;
        }
        match (self.sequences.start(), self.sequences.end()) {
            (_, &u64::MAX) => {}
            (a, b) if a >= b => write!(f, "record {b}: ")?,
            (a, b) => write!(f, "records {a} to {b}: ")?,
        }
        f.write_str(&self.text)
    }
}

/// Findings in the order in which they were made, bounded.
#[derive(Clone, Default, Debug)]
pub(super) struct Findings(pub(super) Vec<AuditFinding>);

impl Findings {
    pub(super) fn push(
        &mut self,
        verdict: Verdict,
        segment: u64,
        sequences: RangeInclusive<u64>,
        text: impl Into<String>,
    ) {
        self.add(AuditFinding { verdict, segment, sequences, text: text.into() });
    }

    pub(super) fn add(&mut self, finding: AuditFinding) {
        let full = self.0.len() >= FINDINGS;
        match self.0.last_mut() {
            Some(last) if full => {
                last.verdict = last.verdict.max(finding.verdict);
                let from = *last.sequences.start().min(finding.sequences.start());
                last.sequences = from..=*last.sequences.end().max(finding.sequences.end());
                "and more, see the sequences".clone_into(&mut last.text);
            }
            _ => self.0.push(finding),
        }
    }
}

/// The outcome of a verification.
#[derive(Clone, Debug)]
pub struct Report {
    /// The worst of all findings.
    pub verdict: Verdict,
    /// Entries that are there.
    pub records: u64,
    /// Checkpoints whose signature holds.
    pub checkpoints: u64,
    /// Sequence of the last record; 0 if there is none.
    pub last: u64,
    /// Boots.
    pub boots: u64,
    /// Records behind the latest checkpoint, for which only the store's key can vouch so far.
    pub unsigned: u64,
    /// Bytes of unfinished records at ends of boots: a write in progress, or crashes.
    pub torn: u64,
    /// The public key by which everything was judged.
    pub identity: Option<VerifyingKey>,
    /// What is wrong; at most 100.
    pub findings: Vec<AuditFinding>,
}

impl Report {
    /// The public key in hexadecimal, as `identity.pub` has it.
    pub fn identity_hex(&self) -> Option<String> {
        self.identity.as_ref().map(super::files::hex)
    }
}
