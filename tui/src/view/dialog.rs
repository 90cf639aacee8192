//! Dialogs, drawn over the screen.
//!
//! Absent: what they do (see `state::dialog`).

use ratatui::layout::Rect;

use super::pen::Pen;
use crate::{
    layout::offset,
    state::{App, Dialog, role_name},
    text::{number, unit},
    theme::Tone,
};

/// Widest dialog.
const WIDEST: u16 = 72;

/// Draws an open dialog in the middle of `body`.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, body: Rect, dialog: &Dialog) {
    match dialog {
        Dialog::Choose { twin, entries, selected } => {
            let area = open(pen, body, entries.len(), &format!(" command {twin} "));
            let rows = usize::from(area.height);
            let first = offset(*selected, entries.len(), rows);
            for (row, entry) in entries.iter().enumerate().skip(first).take(rows) {
                let line = Rect { y: area.y + (row - first) as u16, height: 1, ..area };
                let allowed = entry.role <= app.role;
                let tone = if allowed { Tone::Normal } else { Tone::Dim };
                let used = pen.text(line.x, line.y, 24, &entry.name(), tone);
                let note = if allowed {
                    entry.title.clone()
                } else {
                    format!("(needs {}) {}", role_name(entry.role), entry.title)
                };
                let at = used.max(24) + 1;
                pen.text(line.x + at, line.y, line.width.saturating_sub(at), &note, Tone::Dim);
                if row == *selected {
                    pen.select(line);
                }
            }
        }
        Dialog::Arguments { twin, entry, fields, focus } => {
            let title = format!(" {} on {twin} ", entry.name());
            let area = open(pen, body, fields.len() * 2, &title);
            let shown = usize::from(area.height / 2).max(1);
            let first = offset(*focus, fields.len(), shown);
            for (row, field) in fields.iter().enumerate().skip(first).take(shown) {
                let y = area.y + 2 * (row - first) as u16;
                let (low, high) = field.point.range;
                let cursor = if row == *focus { "_" } else { "" };
                let value = format!("{}{cursor}", field.text);
                let tone = if row == *focus { Tone::Strong } else { Tone::Normal };
                let unit = unit(&field.point.unit, pen.ascii).into_owned();
                pen.text(area.x, y, 18, &field.point.name, tone);
                pen.text(area.x + 19, y, 26, &value, tone);
                pen.text(area.x + 46, y, area.width.saturating_sub(46), &unit, Tone::Normal);
                let (text, tone) = match &field.error {
                    Some(error) => (format!("? {error}"), Tone::Bad),
                    None => (format!("{} to {}", number(low), number(high)), Tone::Dim),
                };
                pen.text(area.x + 2, y + 1, area.width - 2, &text, tone);
            }
        }
        Dialog::Confirm { question, typed, .. } => {
            let area = open(pen, body, question.len() + 2, " confirm ");
            for (y, line) in (area.y..area.bottom()).zip(question) {
                let tone = if y == area.y { Tone::Strong } else { Tone::Normal };
                pen.text(area.x, y, area.width, line, tone);
            }
            let prompt = format!("type y and press enter: {typed}_");
            pen.text(area.x, area.bottom() - 1, area.width, &prompt, Tone::Strong);
        }
    }
}

/// Clears and frames room for `lines` lines; returns the inside.
fn open(pen: &mut Pen<'_>, body: Rect, lines: usize, title: &str) -> Rect {
    let width = body.width.saturating_sub(4).min(WIDEST);
    let height = (lines as u16).saturating_add(2).min(body.height);
    let area = Rect {
        x: body.x + (body.width - width) / 2,
        y: body.y + (body.height - height) / 2,
        width,
        height,
    };
    pen.clear(area);
    pen.frame(area, title);
    Rect { x: area.x + 2, y: area.y + 1, width: width - 4, height: height - 2 }
}
