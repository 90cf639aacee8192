//! Problems found in a file: where, what, how to mend it.
//!
//! Absent: finding them (see [`crate::file`] and the physics layer) and printing (the CLI).

use std::{fmt, sync::Arc};

use serde::Serialize;

/// Longest message, in characters, however long the offending line is.
pub const MESSAGE_LIMIT: usize = 200;

/// A place in a file, as byte offsets; line and column are computed when a problem is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(r: std::ops::Range<usize>) -> Self {
        Self { start: r.start as u32, end: r.end as u32 }
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The plant cannot run.
    Error,
    /// The plant runs, but probably not as meant.
    Warning,
}

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Stable kebab-case name, e.g. `unknown-key`.
    pub code: &'static str,
    /// File it is in.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Bytes it covers.
    pub span: Span,
    /// What is wrong: at most [`MESSAGE_LIMIT`] characters, one line.
    pub message: String,
    /// How to mend it, if known: at most [`MESSAGE_LIMIT`] characters, one line.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}
