//! A problem in a model or in how models are coupled.
//!
//! Absent: line and column (the caller has the file's text) and printing.

use std::{fmt, sync::Arc};

use plantwin_model::{MESSAGE_LIMIT, Severity, Span};

/// One problem, with its place as bytes of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Stable kebab-case name, e.g. `wrong-dimension`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file that `span` lies in.
    pub file: Arc<str>,
    /// The bytes it covers.
    pub span: Span,
    /// What is wrong: one line, at most [`MESSAGE_LIMIT`] characters.
    pub message: String,
    /// How to mend it, if known: one line, at most [`MESSAGE_LIMIT`] characters.
    pub help: Option<String>,
}

impl Problem {
    pub(crate) fn error(
        code: &'static str,
        file: &Arc<str>,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        let message = cut(message.into());
        Self { code, severity: Severity::Error, file: file.clone(), span, message, help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(cut(help.into()));
        self
    }

    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A problem in one equation's text; its span counts from the text's first byte.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Complaint {
    pub(crate) code: &'static str,
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Complaint {
    pub(crate) fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As a problem of the file in which the equation's text covers `text`.
    pub(crate) fn at(self, file: &Arc<str>, text: Span) -> Problem {
        // Escapes in the file make its text longer than the equation; never point beyond it.
        let start = text.start.saturating_add(self.span.start).min(text.end);
        let end = text.start.saturating_add(self.span.end).clamp(start, text.end.max(start));
        let problem = Problem::error(self.code, file, Span { start, end }, self.message);
        Problem { help: self.help.map(cut), ..problem }
    }
}

/// Makes foreign text one line within the limit.
fn cut(text: String) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= MESSAGE_LIMIT {
        return text.chars().map(clean).collect();
    }
    text.chars().take(MESSAGE_LIMIT - 3).map(clean).chain("...".chars()).collect()
}
