//! What opening found, for the operator.
//!
//! Absent: deciding what to do about it.

use std::{fmt, path::PathBuf};

/// What opening found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenReport {
    /// Where damaged files lie as they were found, or as near to that as could be.
    pub set_aside: Vec<PathBuf>,
    /// What was wrong, and what became of it.
    pub findings: Vec<Finding>,
    /// Records in trees.
    pub records: u64,
    /// Records in the log.
    pub log_records: u64,
    /// How often this store has been opened, this time included.
    pub boot: u64,
}

impl OpenReport {
    /// Whether everything that was promised is there. A torn end of the log is what any crash
    /// leaves and does not count.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding, Finding::LogTorn { .. }))
    }

    /// Records that were promised and are gone; see also [`Self::unsure`].
    pub fn missing(&self) -> u64 {
        self.findings.iter().map(Finding::missing).sum()
    }

    /// Records that are there and are true, but perhaps not the newest of their key, or had been
    /// deleted; each of the latter hides one more that is missing.
    pub fn unsure(&self) -> u64 {
        let of = |finding: &Finding| match finding {
            Finding::TreeRebuilt { unsure, .. } => *unsure,
            _ => 0,
        };
        self.findings.iter().map(of).sum()
    }
}

/// One thing that was wrong. Its `Display` is a sentence for operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The data base of the trees was damaged and was built anew from what is intact.
    StateDamaged {
        /// What was wrong.
        reason: String,
    },
    /// What became of one tree of a damaged data base.
    TreeRebuilt {
        /// Tree.
        tree: String,
        /// Intact records found.
        kept: u64,
        /// Records that are gone, by the tree's own count.
        missing: u64,
        /// Zero if what was kept is exactly what was there; otherwise how many of the kept ones
        /// may be older than promised or had been deleted. Each that had been deleted hides one
        /// more that is missing.
        unsure: u64,
    },
    /// Log records are gone.
    LogGap {
        /// First of them.
        from: u64,
        /// Last of them.
        to: u64,
    },
    /// A segment of the log was damaged and was written anew from what is intact.
    LogDamaged {
        /// Its number.
        segment: u64,
        /// Bytes that are no records.
        bytes: u64,
    },
    /// The log ended in a record that was never finished: a crash while writing.
    LogTorn {
        /// Bytes cut off.
        bytes: u64,
    },
    /// The marks are gone: what the end of log and trees should be cannot be vouched for.
    MarksLost,
    /// One of the two marks is damaged: the last flush before cannot be vouched for.
    MarksHalf,
    /// The directory had a layout from before version 0.1, which was put aside.
    OldLayout,
}

impl Finding {
    /// Records that are gone by this finding.
    pub fn missing(&self) -> u64 {
        match self {
            Self::TreeRebuilt { missing, .. } => *missing,
            Self::LogGap { from, to } => to.saturating_sub(*from).saturating_add(1),
            _ => 0,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateDamaged { reason } => {
                write!(f, "the data base was damaged and has been built anew ({reason})")
            }
            Self::TreeRebuilt { tree, kept, missing, unsure } => {
                write!(f, "{tree}: {kept} records kept, {missing} missing")?;
                if *unsure > 0 {
                    write!(f, ", up to {unsure} of those kept may be outdated or deleted ones")?;
                }
                Ok(())
            }
            Self::LogGap { from, to } if from == to => write!(f, "log record {from} is missing"),
            Self::LogGap { from, to } => {
                let count = self.missing();
                write!(f, "{count} log records are missing, {from} to {to}")
            }
            Self::LogDamaged { segment, bytes } => {
                write!(f, "segment {segment} of the log had {bytes} damaged bytes")
            }
            Self::LogTorn { bytes } => {
                write!(f, "the log ended in {bytes} bytes of an unfinished record")
            }
            Self::MarksLost => {
                f.write_str("the marks are lost: the end of the data cannot be vouched for")
            }
            Self::MarksHalf => {
                f.write_str("one of the two marks is damaged: the last flush cannot be vouched for")
            }
            Self::OldLayout => f.write_str("the data of a version before 0.1 was put aside"),
        }
    }
}
