//! Collects problems while files are read.
//!
//! Holds the limits on how many problems are kept and how much work goes into suggestions, and
//! drops what a syntax error has probably caused. Absent: wording (that is where problems are found).

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{DIAGNOSTIC_LIMIT, Sources};
use crate::{Diagnostic, Severity, Span};

/// Unknown names for which a near one is looked for; a file with more is beyond such help.
const GUESSES: u32 = 50;

/// Comparisons of names for all suggestions together.
const COMPARISONS: usize = 200_000;

/// The problems of one reading, over all its files.
pub(super) struct Report {
    inner: RefCell<Inner>,
    guesses: Cell<u32>,
    comparisons: Cell<usize>,
}

#[derive(Default)]
struct Inner {
    sources: Sources,
    /// In the order in which they were opened: the plant first, then its types.
    files: Vec<Arc<str>>,
    errors: Kept,
    warnings: Kept,
    syntax: BTreeMap<Arc<str>, Damage>,
}

#[derive(Default)]
struct Kept {
    list: Vec<Diagnostic>,
    more: usize,
}

impl Kept {
    fn push(&mut self, make: impl FnOnce() -> Diagnostic) {
        if self.list.len() < DIAGNOSTIC_LIMIT {
            self.list.push(make());
        } else {
            self.more += 1;
        }
    }
}

/// Where a file is no TOML.
#[derive(Default)]
struct Damage {
    lines: BTreeSet<u32>,
    /// Bytes of all lines that open a table.
    headers: Vec<u32>,
    /// Numbers of the tables (by `headers`) that hold a syntax error.
    sections: BTreeSet<usize>,
}

impl Damage {
    fn section(&self, byte: u32) -> usize {
        self.headers.partition_point(|h| *h <= byte)
    }
}

impl Default for Report {
    fn default() -> Self {
        Self {
            inner: RefCell::default(),
            guesses: Cell::new(GUESSES),
            comparisons: Cell::new(COMPARISONS),
        }
    }
}

impl Report {
    /// Makes a text known before anything is reported in it.
    pub(super) fn open(&self, file: Arc<str>, text: Arc<str>) {
        let mut inner = self.inner.borrow_mut();
        inner.files.push(file.clone());
        inner.sources.add(file, text);
    }

    /// Reports that a file is no TOML at `span`: once a line, since the rest follows from it.
    pub(super) fn syntax(&self, file: &Arc<str>, span: Span, message: &str) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let line = inner.sources.line_of(file, span.start);
        let damage = inner.syntax.entry(file.clone()).or_insert_with(|| Damage {
            headers: headers(inner.sources.text(file).unwrap_or_default()),
            ..Damage::default()
        });
        let section = damage.section(span.start);
        damage.sections.insert(section);
        if damage.lines.insert(line) {
            inner.errors.push(|| {
                inner.sources.diagnostic(file, span, Severity::Error, "syntax", message, None)
            });
        }
    }

    /// Reports a problem, unless a syntax error in the same line has probably caused it.
    pub(super) fn push(
        &self,
        file: &Arc<str>,
        span: Span,
        severity: Severity,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if let Some(damage) = inner.syntax.get(file) {
            // The parser puts a nameless value where it could read none.
            let nowhere = span.start == 0 && span.end == 0;
            let line = inner.sources.line_of(file, span.start);
            let lost =
                code == "missing-key" && damage.sections.contains(&damage.section(span.start));
            if nowhere || lost || damage.lines.contains(&line) {
                return;
            }
        }
        let make = || inner.sources.diagnostic(file, span, severity, code, message, help);
        match severity {
            Severity::Error => inner.errors.push(make),
            Severity::Warning => inner.warnings.push(make),
        }
    }

    /// Counts errors that are not looked at.
    pub(super) fn more_errors(&self, count: usize) {
        self.inner.borrow_mut().errors.more += count;
    }

    /// Number of errors so far.
    pub(super) fn errors(&self) -> usize {
        let inner = self.inner.borrow();
        inner.errors.list.len() + inner.errors.more
    }

    /// Whether a file has syntax errors: what was read of it may be incomplete.
    pub(super) fn damaged(&self, file: &str) -> bool {
        self.inner.borrow().syntax.contains_key(file)
    }

    /// Line of a byte, from 1.
    pub(super) fn line(&self, file: &str, byte: u32) -> u32 {
        self.inner.borrow().sources.line_of(file, byte)
    }

    /// Whether a suggestion may still be looked for; counts as one.
    pub(super) fn may_guess(&self) -> bool {
        let left = self.guesses.get();
        self.guesses.set(left.saturating_sub(1));
        left > 0
    }

    /// Takes one comparison from the budget.
    pub(super) fn may_compare(&self) -> bool {
        let left = self.comparisons.get();
        self.comparisons.set(left.saturating_sub(1));
        left > 0
    }

    /// All problems: the plant's first, then those of its types, each by place; if there are too
    /// many, errors before warnings, and a last one that counts the rest.
    pub(super) fn finish(self) -> (Vec<Diagnostic>, Sources) {
        let Inner { sources, files, errors, warnings, .. } = self.inner.into_inner();
        let total = errors.list.len() + errors.more + warnings.list.len() + warnings.more;
        let mut list = errors.list;
        list.extend(warnings.list);
        list.truncate(DIAGNOSTIC_LIMIT);
        let more = total - list.len();
        let severity = if errors.more > 0 { Severity::Error } else { Severity::Warning };
        let order: BTreeMap<&str, usize> =
            files.iter().enumerate().rev().map(|(i, f)| (&**f, i)).collect();
        list.sort_by_key(|d| (order.get(&*d.file).copied(), d.line, d.column));
        if more > 0 {
            let file = files.first().cloned().unwrap_or_default();
            let message = format!("and {more} more problems");
            list.push(sources.diagnostic(
                &file,
                Span::default(),
                severity,
                "too-many-problems",
                message,
                None,
            ));
        }
        (list, sources)
    }
}

/// First bytes of all lines that begin with `[`.
fn headers(text: &str) -> Vec<u32> {
    let mut at = 0;
    let mut out = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            out.push(at);
        }
        at += line.len() as u32;
    }
    out
}
