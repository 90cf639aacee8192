//! Screen 2: the list of twins.
//!
//! Absent: reading any twin that is not on the screen.

use plantwin_model::{Quality, SessionView, TwinState, TwinView};
use ratatui::layout::Rect;

use super::{pen::Pen, value};
use crate::{
    layout::{Layout, offset},
    state::App,
    text::{count, number, unit},
    theme::Tone,
};

/// What a column shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Id,
    Zone,
    Kind,
    State,
    Value,
    Unit,
    Predicted,
    Residual,
    Path,
    Session,
    Mailbox,
    Energy,
    Age,
}

/// A column with its place in the order of importance (0 stays longest).
struct Heading {
    column: Column,
    title: &'static str,
    width: u16,
    rank: u8,
    right: bool,
}

const fn heading(
    column: Column,
    title: &'static str,
    width: u16,
    rank: u8,
    right: bool,
) -> Heading {
    Heading { column, title, width, rank, right }
}

/// All columns in the order of the screen.
static COLUMNS: [Heading; 13] = [
    heading(Column::Id, "TWIN", 12, 0, false),
    heading(Column::Zone, "ZONE", 10, 8, false),
    heading(Column::Kind, "TYPE", 10, 9, false),
    heading(Column::State, "STATE", 11, 1, false),
    heading(Column::Value, "VALUE", 10, 2, true),
    heading(Column::Unit, "UNIT", 5, 3, false),
    heading(Column::Predicted, "MODEL", 9, 5, true),
    heading(Column::Residual, "RESIDUAL", 9, 6, true),
    heading(Column::Path, "PATH", 7, 7, false),
    heading(Column::Session, "SESSION", 7, 10, false),
    heading(Column::Mailbox, "MAIL", 5, 11, true),
    heading(Column::Energy, "ENERGY J", 9, 12, true),
    heading(Column::Age, "AGE", 6, 4, true),
];

/// Columns in front of the first one: the mark and its space.
const INDENT: u16 = 3;

/// Columns that fit, with place and width.
fn fitting(width: u16) -> Vec<(&'static Heading, u16, u16)> {
    let mut ranked: Vec<_> = COLUMNS.iter().collect();
    ranked.sort_by_key(|h| h.rank);
    let mut left = width.saturating_sub(INDENT);
    let mut kept = Vec::new();
    for h in ranked {
        if left < h.width + 1 {
            break;
        }
        left -= h.width + 1;
        kept.push(h.rank);
    }
    // What is left over goes to the names, then to the endpoint.
    let to_id = left.min(16);
    let to_path = (left - to_id).min(24);
    let mut x = INDENT;
    let mut out = Vec::new();
    for h in COLUMNS.iter().filter(|h| kept.contains(&h.rank)) {
        let width = h.width
            + match h.column {
                Column::Id => to_id,
                Column::Path => to_path,
                _ => 0,
            };
        out.push((h, x, width));
        x += width + 1;
    }
    out
}

/// Draws the list.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, layout: &Layout) {
    let area = layout.body;
    let columns = fitting(area.width);
    let visible = app.filter.visible();
    title(app, pen, area, &columns);
    let rows = layout.twin_rows();
    let first = offset(app.row, visible.len(), rows);
    for (row, ix) in visible.iter().enumerate().skip(first).take(rows) {
        let Some(twin) = app.shown.twins.get(*ix as usize) else { continue };
        pen.rows += 1;
        let line = Rect { y: area.y + 1 + (row - first) as u16, height: 1, ..area };
        draw_row(app, pen, line, *ix as usize, twin, &columns);
        if row == app.row {
            pen.select(line);
        }
    }
    if visible.is_empty() {
        let why = if app.shown.twins.is_empty() { "no twins" } else { "no twin passes the filter" };
        pen.text(area.x + INDENT, area.y + 1, area.width - INDENT, why, Tone::Dim);
    }
}

fn title(app: &App, pen: &mut Pen<'_>, area: Rect, columns: &[(&Heading, u16, u16)]) {
    pen.fill(Rect { height: 1, ..area }, Tone::Dim);
    for (h, x, width) in columns {
        let title = match h.column {
            // The name's heading also says what is shown of how many.
            Column::Id => {
                let all = count(app.shown.twins.len() as u64);
                if app.filter.is_active() {
                    format!("{}/{all}", count(app.filter.visible().len() as u64))
                } else {
                    format!("{} {all}", h.title)
                }
            }
            Column::State if app.filter.is_active() => filter_words(app),
            _ => h.title.to_owned(),
        };
        // The filter may run on over the headings of the numbers.
        let width = if h.column == Column::State && app.filter.is_active() { 23 } else { *width };
        let hidden = app.filter.is_active() && matches!(h.column, Column::Value | Column::Unit);
        match (hidden, h.right) {
            (true, _) => {}
            (_, true) => pen.right(area.x + x, area.y, width, &title, Tone::Strong),
            (_, false) => {
                pen.text(area.x + x, area.y, width, &title, Tone::Strong);
            }
        }
    }
}

fn filter_words(app: &App) -> String {
    let zone = app.filter.zone().map(|z| super::overview::zone_name(app, z));
    match (zone, app.filter.text()) {
        (Some(zone), "") => format!("zone {zone}"),
        (Some(zone), text) => format!("zone {zone} /{text}"),
        (None, text) => format!("/{text}"),
    }
}

fn draw_row(
    app: &App,
    pen: &mut Pen<'_>,
    line: Rect,
    ix: usize,
    twin: &TwinView,
    columns: &[(&Heading, u16, u16)],
) {
    let mark = app.mark(ix, twin);
    pen.mark(line.x, line.y, mark);
    let old = if app.is_lost() { Tone::Dim } else { Tone::Normal };
    let point = twin.points.first();
    let doubtful = point.is_some_and(|p| !p.quality.is_good()) && !app.is_lost();
    for (h, x, width) in columns {
        let (x, width) = (line.x + x, *width);
        let (text, tone) = match (h.column, point) {
            (Column::Id, _) => {
                (twin.id.to_string(), if mark.symbol.is_empty() { old } else { Tone::Strong })
            }
            (Column::Zone, _) => (twin.zone.to_string(), Tone::Dim),
            (Column::Kind, _) => (twin.kind.clone(), Tone::Dim),
            (Column::State, _) => (state_name(twin.state).to_owned(), state_tone(app, twin.state)),
            (Column::Value, Some(p)) => {
                value::draw(pen, x, line.y, width, &value::measured(app, p));
                continue;
            }
            (Column::Unit, Some(_)) => {
                let info = app.shown.types.get(&twin.kind).and_then(|t| t.points.first());
                let code = info.map_or("", |i| &i.unit);
                (unit(code, pen.ascii).into_owned(), Tone::Dim)
            }
            // The reason for the doubt is worth more than the numbers that it devalues.
            (Column::Predicted, Some(p)) if doubtful => {
                let text = match p.quality {
                    Quality::Good => String::new(),
                    Quality::Bad(flaw) | Quality::Uncertain(flaw) => flaw.to_string(),
                };
                pen.text(x, line.y, width + 1 + 9, &text, Tone::Bad);
                continue;
            }
            (Column::Residual, Some(_)) if doubtful => continue,
            (Column::Predicted, Some(p)) => value::other(app, p.predicted),
            (Column::Residual, Some(p)) => {
                let (text, tone) = value::other(app, p.residual);
                let strong = value::leaves_band(p) && !app.is_lost();
                (text, if strong { Tone::Strong } else { tone })
            }
            (Column::Age, Some(p)) => (value::age(app, p), old),
            (Column::Path, _) => (path(twin, width), old),
            (Column::Session, _) => (session(&twin.session).to_owned(), session_tone(app, twin)),
            (Column::Mailbox, _) => (twin.mailbox.depth.to_string(), old),
            (Column::Energy, _) => (number(twin.energy_joules), old),
            (_, None) => continue,
        };
        if h.right {
            pen.right(x, line.y, width, &text, tone);
        } else {
            pen.text(x, line.y, width, &text, tone);
        }
    }
}

fn path(twin: &TwinView, width: u16) -> String {
    match &twin.path {
        None => "none".into(),
        Some(p) if width > 12 => format!("{} {}", p.protocol, p.endpoint),
        Some(p) => p.protocol.clone(),
    }
}

/// The word for a session.
pub(super) const fn session(session: &SessionView) -> &'static str {
    match session {
        SessionView::None => "none",
        SessionView::Plain => "plain",
        SessionView::Sealed { .. } => "sealed",
        SessionView::Token { .. } => "token",
        SessionView::Refused { .. } => "refused",
    }
}

fn session_tone(app: &App, twin: &TwinView) -> Tone {
    match twin.session {
        _ if app.is_lost() => Tone::Dim,
        SessionView::Refused { .. } => Tone::Strong,
        _ => Tone::Normal,
    }
}

/// The word for a state.
pub(crate) const fn state_name(state: TwinState) -> &'static str {
    match state {
        TwinState::Unbound => "unbound",
        TwinState::Enrolled => "enrolled",
        TwinState::Bound => "bound",
        TwinState::Shadowed => "shadowed",
        TwinState::OutOfSync => "out of sync",
        TwinState::Down => "down",
        TwinState::Quarantined => "quarantined",
        TwinState::GaveUp => "gave up",
        TwinState::Retired => "retired",
    }
}

/// A state that the row's mark calls abnormal stands out.
pub(super) fn state_tone(app: &App, state: TwinState) -> Tone {
    match state {
        _ if app.is_lost() => Tone::Dim,
        TwinState::Down | TwinState::Quarantined | TwinState::GaveUp | TwinState::OutOfSync => {
            Tone::Bad
        }
        _ => Tone::Normal,
    }
}
