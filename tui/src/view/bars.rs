//! The lines around every screen: header, alarm bar, banner, message, keys.
//!
//! Absent: the screens.

use ratatui::layout::Rect;

use super::pen::Pen;
use crate::{
    keys::{Access, bindings},
    state::{App, Link, role_name},
    text::{clock, count, cut, date_clock, duration, safe, width},
    theme::{Mark, Tone, priority_name},
};

/// Plant, role, wall time and link.
pub(super) fn header(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let (link, tone) = match app.link() {
        Link::Live(_) if app.frozen_for().is_some() => {
            let since = app.frozen_for().unwrap_or_default();
            (format!("FROZEN {} ago", duration(since)), Tone::Strong)
        }
        Link::Live(age) => (format!("LIVE {} old", duration(age)), Tone::Normal),
        Link::Connecting => ("? CONNECTING".into(), Tone::Strong),
        Link::Lost { ago, .. } => (format!("? LOST {}", duration(ago)), Tone::Bad),
    };
    let time = date_clock(app.wall());
    let right = width(&time) + width(&link) + 4;
    let end = area.right().saturating_sub(right as u16);
    let role = match app.access {
        Access::Look => "readonly".to_owned(),
        Access::Operate => role_name(app.role).to_owned(),
    };
    let role_width = width(&role) as u16 + 2;
    // The newest count: like the alarm bar it lives on in a frozen view.
    let letters = match app.latest.set_aside.len() {
        0 => String::new(),
        n => format!("? {} set aside", count(n as u64)),
    };
    let letters_width = if letters.is_empty() { 0 } else { width(&letters) as u16 + 2 };
    let mut at = area.x + 1;
    // Letters set aside are abnormal: what is known anyway gives way to them.
    let name = width(&safe(&app.shown.plant)) as u16;
    let title = letters.is_empty() || at + 9 + name.min(12) + letters_width <= end;
    if title {
        at += pen.text(at, area.y, 9, "plantwin ", Tone::Strong);
    }
    let with_role = letters.is_empty() || at + name + letters_width + role_width <= end;
    let name_end = end.saturating_sub(letters_width + if with_role { role_width } else { 0 });
    at += pen.text(at, area.y, name_end.saturating_sub(at), &app.shown.plant, Tone::Strong);
    if with_role {
        at += 2 + pen.text(at + 2, area.y, end.saturating_sub(at + 2), &role, Tone::Dim);
    }
    pen.text(at + 2, area.y, end.saturating_sub(at + 2), &letters, Tone::Bad);
    pen.text(end + 1, area.y, 20, &time, Tone::Normal);
    pen.right(end + 1 + width(&time) as u16, area.y, width(&link) as u16 + 2, &link, tone);
}

/// Alarms by priority, then twins by class.
pub(super) fn alarms(app: &App, pen: &mut Pen<'_>, area: Rect) {
    use plantwin_model::Priority::{Critical, High, Low, Medium};
    let end = area.right();
    let mut at = pen.text(area.x + 1, area.y, 8, "ALARMS ", Tone::Normal) + area.x + 1;
    for priority in [Critical, High, Medium, Low] {
        let slot = priority as usize;
        let n = app.counts.by_priority[slot];
        let name = priority_name(priority);
        let text = match app.counts.worst[slot] {
            Some(state) => {
                let mark = Mark::alarm(priority, state);
                at += pen.text(at, area.y, end.saturating_sub(at), mark.symbol, mark.tone);
                (format!("{name} {n}"), mark.tone)
            }
            None => (format!("{name} 0"), Tone::Dim),
        };
        at += pen.text(at, area.y, end.saturating_sub(at), &text.0, text.1) + 1;
    }
    let open = app.counts.unacknowledged;
    let tone = if open > 0 { Tone::Strong } else { Tone::Dim };
    at = pen.pieces(at, area.y, end, &[("| ", Tone::Dim), (&format!("unack {open} "), tone)]);

    let [ok, bad, stale, idle, doubtful] = app.index.classes().map(|n| count(u64::from(n)));
    let numbers = app.index.classes();
    let word = |n: u32, text: String| (text, if n > 0 { Tone::Strong } else { Tone::Dim });
    let parts = if app.is_lost() {
        vec![(" ? not known".to_owned(), Tone::Bad)]
    } else {
        vec![
            (format!(" {ok} ok"), Tone::Normal),
            word(numbers[1], format!(" {bad} bad")),
            word(numbers[2], format!(" {stale} stale")),
            word(
                numbers[4],
                if numbers[4] > 0 { format!(" {doubtful} doubtful") } else { String::new() },
            ),
            word(numbers[3], format!(" {idle} idle")),
        ]
    };
    at = pen.pieces(at, area.y, end, &[("| ", Tone::Dim), ("TWINS", Tone::Normal)]);
    for (text, tone) in parts {
        at += pen.text(at, area.y, end.saturating_sub(at), &text, tone);
    }
}

/// The full-width banner of a lost link.
pub(super) fn banner(app: &App, pen: &mut Pen<'_>, area: Rect) {
    if let Link::Lost { since, ago } = app.link() {
        let text = format!(
            " LOST - last word {}, {} s ago - values below are old",
            clock(since),
            count(ago.as_secs())
        );
        pen.text(area.x, area.y, area.width, &text, Tone::Banner);
        pen.fill(area, Tone::Banner);
    }
}

/// What became of the last request.
pub(super) fn message(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let Some(message) = &app.message else { return };
    let at = pen.text(area.x + 1, area.y, 9, &clock(message.at), Tone::Dim) + area.x + 2;
    let (mark, tone) = if message.failed { ("? ", Tone::Bad) } else { ("", Tone::Normal) };
    pen.pieces(at, area.y, area.right(), &[(mark, tone), (&message.text, tone)]);
}

/// The keys of the moment, from the one table of keys; the filter while it is typed.
pub(super) fn footer(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let context = app.context();
    let mut at = area.x + 1;
    if context == crate::keys::Context::Filter {
        let text = safe(app.filter.text()).into_owned();
        let shown = cut(&text, usize::from(area.width / 2), "");
        at = pen.pieces(
            at,
            area.y,
            area.right(),
            &[("filter /", Tone::Strong), (&shown, Tone::Strong), ("_  ", Tone::Strong)],
        );
    }
    for here in std::iter::once(&context).chain(context.inherits()) {
        for binding in bindings(*here, app.access).filter(|b| !b.footer.is_empty()) {
            let key = binding.first_key();
            let needed = (width(&key) + width(binding.footer) + 3) as u16;
            if at + needed > area.right() {
                return;
            }
            at = pen.pieces(
                at,
                area.y,
                area.right(),
                &[(&key, Tone::Strong), (" ", Tone::Dim), (binding.footer, Tone::Dim)],
            ) + 2;
        }
    }
}
