//! Screen 3: one twin with all its points and the trend of one.
//!
//! Absent: a history from before the console was opened.

use plantwin_model::{AlarmView, PointInfo, Quality, SessionView, SetAsideView, TwinView};
use ratatui::layout::Rect;

use super::{
    mail::{draw_letters, wrap},
    pen::Pen,
    trend,
    twins::{session, state_name, state_tone},
    value,
};
use crate::{
    layout::{Layout, TwinExtras, offset},
    state::App,
    text::{clock, count, duration, number, unit},
    theme::{Mark, Tone, alarm_state_name, priority_name},
    waiting::{is_tight, lane_words, spool_words},
};

const TITLES: [&str; 9] =
    ["POINT", "VALUE", "UNIT", "MODEL", "RESIDUAL", "BAND", "DESIRED", "AGE", "QUALITY"];
const NAME: usize = 0;
const VALUE: usize = 1;
const UNIT: usize = 2;
const MODEL: usize = 3;
const RESIDUAL: usize = 4;
const BAND: usize = 5;
const DESIRED: usize = 6;
const AGE: usize = 7;
const QUALITY: usize = 8;

/// Columns before the text of a fact: mark and label.
const LABEL: u16 = 12;

/// Most letters set aside that are listed.
const LETTERS: usize = 3;

/// From this width on the columns have room to spare.
const WIDE: u16 = 110;

/// Place and width of every column.
fn columns(width: u16) -> [(u16, u16); 9] {
    let mut widths: [u16; 9] = if width >= WIDE {
        [12, 11, 6, 10, 11, 10, 10, 7, 18]
    } else {
        // 72 columns with gaps and mark; a terminal of 60 loses the last ones.
        [9, 9, 5, 8, 9, 7, 8, 6, 8]
    };
    let used: u16 = 3 + widths.iter().map(|w| w + 1).sum::<u16>();
    let spare = width.saturating_sub(used);
    widths[NAME] += (spare / 2).min(20);
    widths[QUALITY] += (spare - spare / 2).min(16);
    let mut x = 3;
    widths.map(|w| {
        let column = (x, w);
        x += w + 1;
        column
    })
}

/// Draws the twin.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, layout: &Layout) {
    let area = layout.body;
    let Some(twin) = app.selected_twin() else {
        pen.text(area.x + 1, area.y, area.width, "no twin is selected", Tone::Dim);
        return;
    };
    let y = draw_facts(app, pen, layout, twin);
    let infos = app.shown.types.get(&twin.kind).map_or(&[][..], |t| &t.points);
    let rows = layout.point_rows(twin.points.len(), y - area.y);
    let points = Rect { y, height: rows as u16 + 1, ..area };
    draw_points(app, pen, points, twin, infos, rows);
    let top = points.bottom();
    let plot = Rect { y: top, height: area.bottom().saturating_sub(top), ..area };
    if let Some(info) = infos.get(app.point) {
        trend::draw(app, pen, plot, twin, info);
    }
}

/// The lines about the twin as a whole; returns the line after them.
fn draw_facts(app: &App, pen: &mut Pen<'_>, layout: &Layout, twin: &TwinView) -> u16 {
    let area = layout.body;
    // The newest alarm, as far as there is one; the others are on screen 4.
    let alarm = app.shown.alarms.iter().find(|a| a.twin == twin.id);
    let letters: Vec<&SetAsideView> =
        app.shown.set_aside.iter().filter(|l| l.twin == twin.id).collect();
    let lanes = wrap(&lane_words(&twin.mailbox.lanes), area.width.saturating_sub(LABEL));
    let extras = layout.twin_extras(TwinExtras {
        alarm: u16::from(alarm.is_some()),
        letters: if letters.is_empty() { 0 } else { 1 + letters.len().min(LETTERS) as u16 },
        spool: u16::from(twin.spool.is_some()),
        lanes: lanes.len() as u16,
    });
    let title = app.shown.types.get(&twin.kind).map_or("", |t| t.title.as_str());
    let old = if app.is_lost() { Tone::Dim } else { Tone::Normal };
    let end = area.right();
    let mut y = area.y;
    let ix = app.index.find(&twin.id).unwrap_or(usize::MAX);
    pen.mark(area.x, y, app.mark(ix, twin));
    let how = if twin.simulated { "simulated" } else { "physical" };
    let about = format!("  {} ({title}), zone {}, {how}", twin.kind, twin.zone);
    pen.pieces(area.x + 3, y, end, &[(twin.id.as_str(), Tone::Strong), (&about, Tone::Normal)]);

    y += 1;
    let since = format!(" since {} ({})", clock(twin.since), duration(app.age(twin.since)));
    let reason = if twin.reason.is_empty() { String::new() } else { format!(": {}", twin.reason) };
    pen.pieces(
        area.x + 3,
        y,
        end,
        &[
            ("state    ", Tone::Dim),
            (state_name(twin.state), state_tone(app, twin.state)),
            (&since, old),
            (&reason, old),
        ],
    );

    y += 1;
    let path = twin.path.as_ref().map_or_else(
        || "none".into(),
        |p| {
            let rank =
                if p.rank == 0 { "preferred".into() } else { format!("choice {}", p.rank + 1) };
            format!("{} {}, {rank}, {} switches", p.protocol, p.endpoint, p.switches)
        },
    );
    let session = match &twin.session {
        SessionView::Token { expires } => format!("token until {}", clock(*expires)),
        SessionView::Refused { reason } => format!("refused: {reason}"),
        other => session(other).into(),
    };
    pen.pieces(
        area.x + 3,
        y,
        end,
        &[("path     ", Tone::Dim), (&path, old), ("  session ", Tone::Dim), (&session, old)],
    );

    y += 1;
    let mail = twin.mailbox;
    let mailbox = format!(
        "{}/{}, {} handled, {} refused",
        mail.depth,
        mail.capacity,
        count(mail.handled),
        count(mail.refused)
    );
    let restarts = count(u64::from(twin.restarts));
    pen.pieces(
        area.x + 3,
        y,
        end,
        &[("mailbox  ", Tone::Dim), (&mailbox, old), ("  restarts ", Tone::Dim), (&restarts, old)],
    );

    for (i, line) in lanes.iter().take(usize::from(extras.lanes)).enumerate() {
        y += 1;
        let label = if i == 0 { "lanes    " } else { "         " };
        pen.pieces(area.x + 3, y, end, &[(label, Tone::Dim), (line, old)]);
    }

    if let Some(spool) = twin.spool.as_ref().filter(|_| extras.spool > 0) {
        y += 1;
        let tight = is_tight(spool) && !app.is_lost();
        let tone = if tight { Tone::Bad } else { old };
        if tight {
            pen.mark(area.x, y, Mark::BAD);
        }
        let oldest =
            spool.oldest.map_or_else(String::new, |t| format!("  oldest {}", duration(app.age(t))));
        let words = spool_words(spool);
        pen.pieces(area.x + 3, y, end, &[("spool    ", Tone::Dim), (&words, tone), (&oldest, old)]);
    }

    y += 1;
    let energy = match twin.budget_joules {
        Some(budget) if budget > 0.0 => format!(
            "{} J of {} J ({:.1} %)",
            number(twin.energy_joules),
            number(budget),
            twin.energy_joules / budget * 100.0
        ),
        _ => format!("{} J, no budget", number(twin.energy_joules)),
    };
    let bytes = format!("{} bytes", count(twin.bytes));
    pen.pieces(
        area.x + 3,
        y,
        end,
        &[("energy   ", Tone::Dim), (&energy, old), ("  traffic ", Tone::Dim), (&bytes, old)],
    );

    y += 1;
    if let Some(alarm) = alarm.filter(|_| extras.alarm > 0) {
        draw_alarm(pen, Rect { y, height: 1, ..area }, alarm);
        y += 1;
    }
    draw_letters(app, pen, Rect { y, height: extras.letters, ..area }, &letters);
    y + extras.letters
}

fn draw_alarm(pen: &mut Pen<'_>, area: Rect, alarm: &AlarmView) {
    let mark = Mark::alarm(alarm.priority, alarm.state);
    pen.mark(area.x, area.y, mark);
    let head = format!("{} {} ", priority_name(alarm.priority), alarm_state_name(alarm.state));
    let text = format!("{}; {}", alarm.text, alarm.response);
    pen.pieces(area.x + 3, area.y, area.right(), &[(&head, mark.tone), (&text, Tone::Normal)]);
}

fn draw_points(
    app: &App,
    pen: &mut Pen<'_>,
    area: Rect,
    twin: &TwinView,
    infos: &[PointInfo],
    rows: usize,
) {
    let columns = columns(area.width);
    for (i, title) in TITLES.iter().enumerate() {
        let (x, width) = columns[i];
        if matches!(i, NAME | UNIT | QUALITY) {
            pen.text(area.x + x, area.y, width, title, Tone::Strong);
        } else {
            pen.right(area.x + x, area.y, width, title, Tone::Strong);
        }
    }
    let at = |i: usize| (area.x + columns[i].0, columns[i].1);
    let narrow = area.width < WIDE;

    let first = offset(app.point, twin.points.len(), rows);
    for (row, point) in twin.points.iter().enumerate().skip(first).take(rows) {
        pen.rows += 1;
        let line = Rect { y: area.y + 1 + (row - first) as u16, height: 1, ..area };
        let y = line.y;
        let info = infos.get(row);
        let shown = value::measured(app, point);
        pen.right(line.x, y, 2, shown.mark, shown.mark_tone);
        let (x, width) = at(NAME);
        pen.text(x, y, width, info.map_or("", |i| &i.name), Tone::Normal);
        let (x, width) = at(VALUE);
        value::draw(pen, x, y, width, &shown);
        let (x, width) = at(UNIT);
        pen.text(x, y, width, &unit(info.map_or("", |i| &i.unit), pen.ascii), Tone::Dim);

        let outside = value::leaves_band(point) && !app.is_lost();
        let (text, tone) = value::other(app, point.residual);
        let residual = if outside { (format!("*{text}"), Tone::Strong) } else { (text, tone) };
        let desired = match (point.desired, info) {
            // What cannot be written has nothing desired: no dashes that ask for it.
            (None, Some(i)) if !i.writable => (String::new(), Tone::Dim),
            (desired, _) => value::other(app, desired),
        };
        let numbers = [
            (MODEL, value::other(app, point.predicted)),
            (RESIDUAL, residual),
            (BAND, value::other(app, point.band)),
            (DESIRED, desired),
            (AGE, (value::age(app, point), Tone::Normal)),
        ];
        for (column, (text, tone)) in numbers {
            let (x, width) = at(column);
            pen.right(x, y, width, &text, tone);
        }
        let (text, tone) = match point.quality {
            _ if app.is_lost() => ("link lost".into(), Tone::Dim),
            Quality::Good => ("good".into(), Tone::Dim),
            // The mark says already that something is wrong: the reason is what is missing.
            Quality::Bad(flaw) | Quality::Uncertain(flaw) if narrow => {
                (flaw.to_string(), Tone::Bad)
            }
            other => (other.to_string(), Tone::Bad),
        };
        let (x, width) = at(QUALITY);
        pen.text(x, y, width, &text, tone);
        if row == app.point {
            pen.select(line);
        }
    }
}
