//! Screen 1: the plant by zone, the latest alarms, servers and counters.
//!
//! Absent: single twins.

use ratatui::layout::Rect;

use super::pen::Pen;
use crate::{
    layout::{Layout, offset},
    state::{App, ZoneCount, state_slot},
    text::{count, duration, safe, width},
    theme::{Mark, Tone, priority_name},
    waiting::{is_tight, reason_words, spool_words, up_word},
};

/// Headings of the counts by state; "wait" is unbound, enrolled and bound together.
const COUNTS: [&str; 8] =
    ["TWINS", "SHADOW", "UNSYNC", "DOWN", "QUARAN", "GAVEUP", "WAIT", "RETIRE"];

/// Columns of a count.
const WIDE: u16 = 7;

/// Draws the overview.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, layout: &Layout) {
    let area = layout.body;
    let zones = app.index.zones();
    let rows = layout.zone_rows(zones.len());
    draw_zones(app, pen, Rect { height: rows as u16 + 1, ..area }, zones, rows);
    let top = area.y + rows as u16 + 1;
    let mut below = Rect { y: top, height: area.bottom().saturating_sub(top), ..area };
    let waiting = waiting_lines(app, area.width);
    below.height = below.height.saturating_sub(waiting.len() as u16);
    for (y, line) in (below.bottom()..area.bottom()).zip(&waiting) {
        if line.iter().any(|(_, tone)| *tone == Tone::Bad) {
            pen.mark(area.x, y, Mark::BAD);
        }
        let pieces: Vec<_> = line.iter().map(|(text, tone)| (text.as_str(), *tone)).collect();
        pen.pieces(area.x + 3, y, area.right(), &pieces);
    }
    // Two panes side by side; the alarms have the larger.
    let left = area.width * 3 / 5;
    draw_alarms(app, pen, Rect { width: left, ..below });
    draw_counters(app, pen, Rect { x: below.x + left + 1, width: area.width - left - 1, ..below });
}

/// Durable telemetry that waits and its way out: one line, or two where one is too short.
fn waiting_lines(app: &App, columns: u16) -> Vec<Vec<(String, Tone)>> {
    let tone = |abnormal: bool| match (app.is_lost(), abnormal) {
        (true, _) => Tone::Dim,
        (false, true) => Tone::Bad,
        (false, false) => Tone::Normal,
    };
    let spool = app.shown.spool.iter().map(|spool| {
        vec![("spool  ".to_owned(), Tone::Dim), (spool_words(spool), tone(is_tight(spool)))]
    });
    let out = app.shown.northbound.iter().map(|out| {
        let since = duration(app.age(out.since));
        let text = format!("{} {since}{}", up_word(out), reason_words(out));
        vec![("northbound ".to_owned(), Tone::Dim), (text, tone(!out.up))]
    });
    let mut lines: Vec<_> = spool.chain(out).collect();
    let needed: usize = lines.iter().flatten().map(|(text, _)| width(&safe(text))).sum();
    if lines.len() == 2 && needed + 2 <= usize::from(columns.saturating_sub(3)) {
        let second = lines.pop().unwrap_or_default();
        lines[0].push(("  ".to_owned(), Tone::Dim));
        lines[0].extend(second);
    }
    lines
}

/// Name of the zone at a place.
pub(super) fn zone_name(app: &App, zone: usize) -> &str {
    app.shown.zones.get(zone).map_or("(no zone)", |z| z.id.as_str())
}

fn draw_zones(app: &App, pen: &mut Pen<'_>, area: Rect, zones: &[ZoneCount], rows: usize) {
    let counts = COUNTS.len() as u16 * WIDE;
    let name = area.width.saturating_sub(counts + 4).min(40);
    pen.text(area.x + 3, area.y, name, "ZONE", Tone::Strong);
    for (i, title) in (0_u16..).zip(COUNTS) {
        pen.right(area.x + 3 + name + i * WIDE, area.y, WIDE, title, Tone::Strong);
    }
    let first = offset(app.zone, zones.len(), rows);
    for (row, zone) in zones.iter().enumerate().skip(first).take(rows) {
        pen.rows += 1;
        let line = Rect { y: area.y + 1 + (row - first) as u16, height: 1, ..area };
        let mark = match app.alarms.zone(row) {
            Some((priority, state)) => Mark::alarm(priority, state),
            None if zone.is_abnormal() => Mark::BAD,
            None => Mark::NONE,
        };
        pen.mark(line.x, line.y, mark);
        let title = app.shown.zones.get(row).map_or("", |z| z.title.as_str());
        let old = if app.is_lost() { Tone::Dim } else { Tone::Normal };
        let id = zone_name(app, row);
        let at = pen.text(line.x + 3, line.y, name, id, old) + 1;
        if at < name {
            pen.text(line.x + 3 + at, line.y, name - at, title, Tone::Dim);
        }
        for (i, n) in (0_u16..).zip(by_heading(zone)) {
            let tone = if n == 0 { Tone::Dim } else { old };
            pen.right(line.x + 3 + name + i * WIDE, line.y, WIDE, &count(u64::from(n)), tone);
        }
        if row == app.zone {
            pen.select(line);
        }
    }
    if zones.is_empty() {
        pen.text(area.x + 3, area.y + 1, area.width, "no zones", Tone::Dim);
    }
}

/// The numbers under [`COUNTS`].
fn by_heading(zone: &ZoneCount) -> [u32; 8] {
    use plantwin_model::TwinState as S;
    let n = |state| zone.states[state_slot(state)];
    [
        zone.twins,
        n(S::Shadowed),
        n(S::OutOfSync),
        n(S::Down),
        n(S::Quarantined),
        n(S::GaveUp),
        n(S::Unbound) + n(S::Enrolled) + n(S::Bound),
        n(S::Retired),
    ]
}

fn draw_alarms(app: &App, pen: &mut Pen<'_>, area: Rect) {
    pen.heading(Rect { height: 1, ..area }, " LATEST ALARMS");
    let lines = (area.y + 1..area.bottom()).zip(app.shown.alarms.iter());
    for (y, alarm) in lines {
        pen.rows += 1;
        let mark = Mark::alarm(alarm.priority, alarm.state);
        pen.mark(area.x, y, mark);
        let age = duration(app.age(alarm.since));
        let words =
            format!("{} {age:>6} {} {}", priority_name(alarm.priority), alarm.twin, alarm.text);
        pen.text(area.x + 3, y, 2, priority_name(alarm.priority), mark.tone);
        let rest = words.get(3..).unwrap_or_default();
        pen.text(area.x + 6, y, area.width.saturating_sub(6), rest, Tone::Normal);
    }
    if app.shown.alarms.is_empty() {
        pen.text(area.x + 3, area.y + 1, area.width.saturating_sub(3), "none", Tone::Dim);
    }
}

fn draw_counters(app: &App, pen: &mut Pen<'_>, area: Rect) {
    pen.heading(Rect { height: 1, ..area }, "SERVERS AND COUNTERS");
    let up =
        duration(std::time::Duration::try_from_secs_f64(app.shown.uptime_s).unwrap_or_default());
    let servers = app.shown.endpoints.iter().map(|(protocol, at)| (protocol.as_str(), at.clone()));
    let counters = app.shown.counters.iter().map(|(name, n)| (name.as_str(), count(*n)));
    let lines = std::iter::once(("up", up)).chain(servers).chain(counters);
    for (y, (name, text)) in (area.y + 1..area.bottom()).zip(lines) {
        pen.rows += 1;
        let used = pen.text(area.x, y, area.width / 2, name, Tone::Dim) + 1;
        pen.right(area.x + used, y, area.width.saturating_sub(used + 1), &text, Tone::Normal);
    }
}
