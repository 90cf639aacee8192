//! A pen on the buffer: the only place that puts text into cells.
//!
//! It makes text safe, cuts it to its column and never leaves the buffer. Absent: layout.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{
    Theme,
    text::{cut, safe, width},
    theme::{Mark, Tone},
};

/// Draws on a buffer.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    buf: &'a mut Buffer,
    theme: Theme,
    pub(super) ascii: bool,
    /// Rows of lists that were built for this frame.
    pub(super) rows: usize,
}

impl<'a> Pen<'a> {
    pub(super) fn new(buf: &'a mut Buffer, theme: Theme, ascii: bool) -> Self {
        Self { buf, theme, ascii, rows: 0 }
    }

    /// Mark of a cut text.
    const fn ellipsis(&self) -> &'static str {
        if self.ascii { "~" } else { "\u{2026}" }
    }

    /// A horizontal line.
    pub(super) const fn rule(&self) -> &'static str {
        if self.ascii { "-" } else { "\u{2500}" }
    }

    /// Text from (`x`, `y`) in at most `max` columns; returns the columns it took.
    pub(super) fn text(&mut self, x: u16, y: u16, max: u16, text: &str, tone: Tone) -> u16 {
        let area = self.buf.area;
        if y < area.top() || y >= area.bottom() || x < area.left() || x >= area.right() {
            return 0;
        }
        let max = max.min(area.right() - x);
        let clean = safe(text);
        let clean = cut(&clean, usize::from(max), self.ellipsis());
        let (end, _) = self.buf.set_stringn(x, y, clean, usize::from(max), self.theme.style(tone));
        end - x
    }

    /// Text that ends before `x + max`.
    pub(super) fn right(&mut self, x: u16, y: u16, max: u16, text: &str, tone: Tone) {
        let gap = usize::from(max).saturating_sub(width(&safe(text))) as u16;
        self.text(x + gap, y, max - gap, text, tone);
    }

    /// Pieces one after the other; returns the column after the last.
    pub(super) fn pieces(&mut self, x: u16, y: u16, end: u16, pieces: &[(&str, Tone)]) -> u16 {
        let mut at = x;
        for (text, tone) in pieces {
            if at < end {
                at += self.text(at, y, end - at, text, *tone);
            }
        }
        at
    }

    /// A mark, right-aligned in two columns.
    pub(super) fn mark(&mut self, x: u16, y: u16, mark: Mark) {
        self.right(x, y, 2, mark.symbol, mark.tone);
    }

    /// A title followed by a line up to the edge of `area`.
    pub(super) fn heading(&mut self, area: Rect, title: &str) {
        let used = self.text(area.x, area.y, area.width, title, Tone::Strong);
        let rest = usize::from(area.width.saturating_sub(used + 1));
        let line = self.rule().repeat(rest);
        self.text(area.x + used + 1, area.y, rest as u16, &line, Tone::Dim);
    }

    /// Shows a row as selected.
    pub(super) fn select(&mut self, area: Rect) {
        let area = area.intersection(self.buf.area);
        self.buf.set_style(area, Style::new().add_modifier(ratatui::style::Modifier::REVERSED));
    }

    /// One style over an area.
    pub(super) fn fill(&mut self, area: Rect, tone: Tone) {
        let area = area.intersection(self.buf.area);
        self.buf.set_style(area, self.theme.style(tone));
    }

    /// Blanks an area.
    pub(super) fn clear(&mut self, area: Rect) {
        for position in area.intersection(self.buf.area).positions() {
            if let Some(cell) = self.buf.cell_mut(position) {
                cell.reset();
            }
        }
    }

    /// A frame around an area.
    pub(super) fn frame(&mut self, area: Rect, title: &str) {
        let (corners, side) = if self.ascii {
            (["+", "+", "+", "+"], "|")
        } else {
            (["\u{250c}", "\u{2510}", "\u{2514}", "\u{2518}"], "\u{2502}")
        };
        let inner = usize::from(area.width.saturating_sub(2));
        let line = self.rule().repeat(inner);
        let (right, bottom) = (area.right().saturating_sub(1), area.bottom().saturating_sub(1));
        for (y, left_corner, right_corner) in
            [(area.y, corners[0], corners[1]), (bottom, corners[2], corners[3])]
        {
            self.text(area.x, y, 1, left_corner, Tone::Normal);
            self.text(area.x + 1, y, inner as u16, &line, Tone::Normal);
            self.text(right, y, 1, right_corner, Tone::Normal);
        }
        for y in area.y + 1..bottom {
            self.text(area.x, y, 1, side, Tone::Normal);
            self.text(right, y, 1, side, Tone::Normal);
        }
        self.text(area.x + 2, area.y, area.width.saturating_sub(4), title, Tone::Strong);
    }
}
