//! The help: every live key, from the one table of keys, and what the symbols mean.
//!
//! Absent: keys that the access does not allow; they do not exist there.

use ratatui::layout::Rect;

use super::pen::Pen;
use crate::{
    keys::{Access, Context, bindings},
    state::App,
    theme::Tone,
};

/// Symbols and what they say.
const SYMBOLS: [(&str, &str); 6] = [
    ("!!", "alarm of priority P1: act at once"),
    ("!", "alarm of priority P2 or P3"),
    ("i", "alarm of priority P4"),
    ("~", "alarm that returned to normal and waits for an acknowledgement"),
    ("?", "value or twin that is not to be trusted: bad, stale, or the link is lost"),
    ("*", "residual outside its calibrated band"),
];

/// A line of the help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HelpLine {
    /// A heading.
    Title(&'static str),
    /// Keys and what they do.
    Keys(String, &'static str),
}

/// All lines of the help for an access.
pub(crate) fn help_lines(access: Access) -> Vec<HelpLine> {
    let mut lines = Vec::new();
    for context in Context::ALL {
        let mut all = bindings(context, access).peekable();
        if all.peek().is_some() {
            lines.push(HelpLine::Title(context.title()));
            lines.extend(all.map(|b| HelpLine::Keys(b.keys(), b.help)));
        }
    }
    lines.push(HelpLine::Title("Symbols"));
    lines.extend(SYMBOLS.map(|(symbol, text)| HelpLine::Keys(symbol.into(), text)));
    lines
}

/// Draws the help from line `first`.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, area: Rect, first: usize) {
    let lines = help_lines(app.access);
    let rows = usize::from(area.height - 1);
    let first = first.min(lines.len().saturating_sub(rows));
    let last = (first + rows).min(lines.len());
    let title = format!(" HELP  lines {} to {last} of {}", first + 1, lines.len());
    pen.heading(Rect { height: 1, ..area }, &title);
    for (y, line) in (area.y + 1..area.bottom()).zip(&lines[first..]) {
        pen.rows += 1;
        match line {
            HelpLine::Title(title) => {
                pen.text(area.x + 1, y, area.width - 1, title, Tone::Strong);
            }
            HelpLine::Keys(keys, text) => {
                pen.text(area.x + 3, y, 16, keys, Tone::Normal);
                pen.text(area.x + 20, y, area.width.saturating_sub(20), text, Tone::Dim);
            }
        }
    }
}
