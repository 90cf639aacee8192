//! Screen 4: the list of alarms, newest first, and the selected one in full.
//!
//! Absent: alarms that are normal; the runtime does not list them.

use plantwin_model::{AlarmSource, AlarmView};
use ratatui::layout::Rect;

use super::pen::Pen;
use crate::{
    layout::{ALARM_DETAIL, Layout, offset},
    state::App,
    text::{clock, count, duration},
    theme::{Mark, Tone, alarm_state_name, priority_name},
};

/// From this width on the response has a column of its own.
const WITH_RESPONSE: u16 = 110;

/// Draws the list.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, layout: &Layout) {
    let area = layout.body;
    let alarms = &app.shown.alarms;
    let all = count(alarms.len() as u64);
    let name = if area.width >= WITH_RESPONSE { 18 } else { 12 };
    let text_at = area.x + 29 + name;
    let rest = area.right().saturating_sub(text_at);
    let text_width = if area.width >= WITH_RESPONSE { rest * 3 / 5 } else { rest };
    let columns =
        [(3, 3, "PR"), (6, 6, "STATE"), (12, 9, "SINCE"), (21, 7, "FOR"), (28, name, "TWIN")];
    for (x, width, title) in columns {
        pen.text(area.x + x, area.y, width, title, Tone::Strong);
    }
    pen.text(text_at, area.y, text_width, &format!("ALARM ({all}, newest first)"), Tone::Strong);
    if area.width >= WITH_RESPONSE {
        pen.text(text_at + text_width, area.y, rest - text_width, "RESPONSE", Tone::Strong);
    }

    let rows = layout.alarm_rows();
    let first = offset(app.alarm, alarms.len(), rows);
    for (row, alarm) in alarms.iter().enumerate().skip(first).take(rows) {
        pen.rows += 1;
        let line = Rect { y: area.y + 1 + (row - first) as u16, height: 1, ..area };
        let mark = Mark::alarm(alarm.priority, alarm.state);
        let y = line.y;
        pen.mark(line.x, y, mark);
        pen.text(line.x + 3, y, 2, priority_name(alarm.priority), mark.tone);
        pen.text(line.x + 6, y, 5, alarm_state_name(alarm.state), mark.tone);
        pen.text(line.x + 12, y, 8, &clock(alarm.since), Tone::Normal);
        pen.text(line.x + 21, y, 6, &duration(app.age(alarm.since)), Tone::Normal);
        pen.text(line.x + 28, y, name, alarm.twin.as_str(), Tone::Normal);
        pen.text(text_at, y, text_width.saturating_sub(1), &alarm.text, Tone::Normal);
        if area.width >= WITH_RESPONSE {
            pen.text(text_at + text_width, y, rest - text_width, &alarm.response, Tone::Normal);
        }
        if row == app.alarm {
            pen.select(line);
        }
    }
    if alarms.is_empty() {
        pen.text(area.x + 3, area.y + 1, area.width, "no alarms", Tone::Dim);
    }
    let detail = Rect { y: area.bottom() - ALARM_DETAIL, height: ALARM_DETAIL, ..area };
    if let Some(alarm) = alarms.get(app.alarm) {
        draw_detail(app, pen, detail, alarm);
    }
}

fn draw_detail(app: &App, pen: &mut Pen<'_>, area: Rect, alarm: &AlarmView) {
    pen.heading(Rect { height: 1, ..area }, &format!(" {}", alarm.id));
    let raised = format!(
        "raised {} ({} ago) by {}, {} since {}",
        clock(alarm.raised),
        duration(app.age(alarm.raised)),
        source_name(alarm.source),
        alarm_state_name(alarm.state),
        clock(alarm.since),
    );
    let lines = [
        ("alarm    ", alarm.text.as_str()),
        ("response ", &alarm.response),
        ("history  ", &raised),
    ];
    for (y, (label, text)) in (area.y + 1..area.bottom()).zip(lines) {
        pen.pieces(area.x + 1, y, area.right(), &[(label, Tone::Dim), (text, Tone::Normal)]);
    }
}

const fn source_name(source: AlarmSource) -> &'static str {
    match source {
        AlarmSource::Threshold => "a limit",
        AlarmSource::Residual => "the residual",
        AlarmSource::CommLoss => "a lost link",
        AlarmSource::NotFinite => "a value that is no number",
        AlarmSource::Session => "authentication",
        AlarmSource::Supervision => "supervision",
        AlarmSource::Quarantine => "quarantine",
        AlarmSource::System => "the runtime",
    }
}
