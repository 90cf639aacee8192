//! Mail of one twin: letters set aside, and the lanes of its mailbox on as few lines as they need.
//!
//! Absent: what can be done with a letter (see `state::dialog`).

use plantwin_model::SetAsideView;
use ratatui::layout::Rect;

use super::pen::Pen;
use crate::{
    keys::Access,
    state::App,
    text::{count, duration},
    theme::{Mark, Tone},
    waiting::letter_words,
};

/// Letters that crashed the twin twice, under a heading that says how many there are.
pub(super) fn draw_letters(app: &App, pen: &mut Pen<'_>, area: Rect, letters: &[&SetAsideView]) {
    if area.height == 0 {
        return;
    }
    let rows = usize::from(area.height - 1);
    let shown = match letters.len().saturating_sub(rows) {
        0 => String::new(),
        _ => format!(", the oldest {rows}"),
    };
    let keys = match app.access {
        Access::Operate => "  m retry or drop",
        Access::Look => "",
    };
    let title = format!(" SET ASIDE {}{shown}{keys}", count(letters.len() as u64));
    pen.heading(Rect { height: 1, ..area }, &title);
    for (y, letter) in (area.y + 1..area.bottom()).zip(letters) {
        pen.rows += 1;
        let (tone, words) = (Tone::Bad, letter_words(letter));
        if app.is_lost() {
            pen.text(area.x + 3, y, area.width.saturating_sub(3), &words, Tone::Dim);
        } else {
            pen.mark(area.x, y, Mark::BAD);
            let age = format!("{:>6} ", duration(app.age(letter.since)));
            pen.pieces(area.x + 3, y, area.right(), &[(&age, Tone::Normal), (&words, tone)]);
        }
    }
}

/// `parts` on as few lines of at most `width` columns as they need; a part is never broken.
pub(super) fn wrap(parts: &[String], width: u16) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.len() + 2 + part.len() <= usize::from(width) => {
                line.push_str("  ");
                line.push_str(part);
            }
            _ => lines.push(part.clone()),
        }
    }
    lines
}
