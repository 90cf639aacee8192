//! From text to a tree: opens one file, reports what is no TOML, hands on what is.
//!
//! Absent: any meaning of keys.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{FILE_LIMIT, report::Report, table::Table};
use crate::{Severity, Span};

/// Syntax errors that are looked at; far more than are listed.
const SYNTAX_ERRORS: usize = 10_000;

/// One file in which problems are reported.
pub(super) struct Scope<'r> {
    pub(super) report: &'r Report,
    pub(super) file: Arc<str>,
    pub(super) text: &'r str,
}

impl Scope<'_> {
    /// Reports an error.
    pub(super) fn error(&self, span: Span, code: &'static str, message: impl Into<String>) {
        self.report.push(&self.file, span, Severity::Error, code, message.into(), None);
    }

    /// Reports an error with the way to mend it.
    pub(super) fn error_help(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.report.push(&self.file, span, Severity::Error, code, message.into(), help.into());
    }

    /// Reports a warning.
    pub(super) fn warn(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.report.push(&self.file, span, Severity::Warning, code, message.into(), help.into());
    }
}

/// Parses `text` and lets `read` make something of it; `None` if the text is refused unread.
pub(super) fn with_file<T>(
    report: &Report,
    file: Arc<str>,
    text: Arc<str>,
    read: impl FnOnce(&Scope, Table) -> T,
) -> Option<T> {
    if text.len() > FILE_LIMIT {
        // Kept out of the sources: nothing points into it.
        report.open(file.clone(), "".into());
        let message = format!("file has {} bytes; at most {FILE_LIMIT} are read", text.len());
        report.push(&file, Span::default(), Severity::Error, "file-too-large", message, None);
        return None;
    }
    report.open(file.clone(), text.clone());
    let (root, errors) = DeTable::parse_recoverable(&text);
    for error in errors.iter().take(SYNTAX_ERRORS) {
        let span = error.span().map(Span::from).unwrap_or_default();
        report.syntax(&file, span, error.message());
    }
    report.more_errors(errors.len().saturating_sub(SYNTAX_ERRORS));
    drop(errors);
    let scope = Scope { report, file, text: &text };
    let out = read(&scope, Table::root(&scope, root.get_ref()));
    dismantle(root.into_inner());
    Some(out)
}

/// Drops a tree level by level: dotted keys inside inline tables nest thousands deep, which a
/// recursive drop would pay for with the stack.
fn dismantle(root: DeTable) {
    let mut rest = vec![DeValue::Table(root)];
    while let Some(value) = rest.pop() {
        match value {
            DeValue::Table(table) => rest.extend(table.into_iter().map(|(_, v)| v.into_inner())),
            DeValue::Array(array) => rest.extend(array.into_iter().map(toml::Spanned::into_inner)),
            _ => {}
        }
    }
}
