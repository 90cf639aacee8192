//! The texts that were read, and the way from a byte to a line and column.
//!
//! Absent: reading from disk.

use std::{collections::BTreeMap, sync::Arc};

use super::quantity::clip;
use crate::{Diagnostic, MESSAGE_LIMIT, Severity, Span};

/// The texts of one reading, by file name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: BTreeMap<Arc<str>, Source>,
}

#[derive(Clone, Debug)]
struct Source {
    text: Arc<str>,
    /// First byte of each line.
    lines: Arc<[u32]>,
}

impl Sources {
    /// Adds a text; a file of the same name is replaced.
    pub fn add(&mut self, file: Arc<str>, text: Arc<str>) {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(i, _)| i as u32 + 1)).collect();
        self.files.insert(file, Source { text, lines });
    }

    /// The text of a file.
    pub fn text(&self, file: &str) -> Option<&str> {
        self.files.get(file).map(|s| &*s.text)
    }

    /// Line and column, both from 1 (columns in characters), of a byte; the end of the text if
    /// the byte lies beyond, 1:1 for a file that is not here.
    pub fn position(&self, file: &str, byte: u32) -> (u32, u32) {
        let Some(source) = self.files.get(file) else { return (1, 1) };
        let line = self.line_of(file, byte);
        let byte = (byte as usize).min(source.text.len());
        let start = source.lines[line as usize - 1] as usize;
        // A byte inside a character counts as that character.
        let whole =
            (start..=byte).rev().find(|b| source.text.is_char_boundary(*b)).unwrap_or(start);
        let column = source.text[start..whole].chars().count() + 1;
        (line, column as u32)
    }

    /// The line of a byte alone, from 1: quick however long the line is.
    pub(super) fn line_of(&self, file: &str, byte: u32) -> u32 {
        let lines = self.files.get(file).map_or(&[][..], |s| &s.lines);
        lines.partition_point(|start| *start <= byte).max(1) as u32
    }

    /// The text of a line, counted from 1, without its line break.
    pub fn line(&self, file: &str, line: u32) -> Option<&str> {
        let source = self.files.get(file)?;
        let index = (line as usize).checked_sub(1)?;
        let start = *source.lines.get(index)? as usize;
        let end = source.lines.get(index + 1).map_or(source.text.len(), |e| *e as usize);
        Some(source.text[start..end].trim_end_matches(['\n', '\r']))
    }

    /// Makes a diagnostic: computes the place, and cuts message and help to one line of at most
    /// [`MESSAGE_LIMIT`] characters, with control characters escaped.
    pub fn diagnostic(
        &self,
        file: &str,
        span: Span,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        let (line, column) = self.position(file, span.start);
        let file = self.files.get_key_value(file).map_or_else(|| file.into(), |(k, _)| k.clone());
        let message = clip(&message.into(), MESSAGE_LIMIT);
        let help = help.map(|h| clip(&h, MESSAGE_LIMIT));
        Diagnostic { severity, code, file, line, column, span, message, help }
    }

    /// The line that a diagnostic is about and a caret below its column, as two lines of text.
    ///
    /// Long lines are cut to about 100 columns around the place; tabs become one space.
    pub fn snippet(&self, diagnostic: &Diagnostic) -> Option<String> {
        let line = self.line(&diagnostic.file, diagnostic.line)?;
        let length = self
            .text(&diagnostic.file)?
            .get(diagnostic.span.start as usize..diagnostic.span.end as usize)
            .map_or(1, |covered| covered.chars().take(100).count());
        Some(super::snippet::render(line, diagnostic.column as usize, length))
    }
}
