//! What the screens look like, cell by cell.

use std::{sync::Arc, time::Duration};

use plantwin_model::{AlarmState, LinkView, Outcome, PlantView, Priority, Timestamp};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    style::{Color, Modifier},
};

use crate::{
    App, Event, Options, Screen, Theme,
    fixture::{Fixed, NOW, alarm, at, durable, edit, good, letter, normal, troubled, waiting},
    keys::{Access, Context, bindings},
    render_frame,
    state::tests::{app, options, press},
    view::help::{HelpLine, help_lines},
};

/// The frame as text, drawn through a terminal as the product does.
fn screen(app: &mut App, width: u16, height: u16) -> String {
    app.update(Event::Resize(width, height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("infallible");
    terminal
        .draw(|frame| {
            app.draw(frame.buffer_mut());
        })
        .expect("infallible");
    terminal.backend().to_string()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer
        .content
        .chunks(width.max(1))
        .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n");
    rows.collect()
}

/// Two minutes of a level that swings and a model that foresees it, then trouble.
fn watched(options: &Options, plant: fn() -> PlantView) -> App {
    let mut app = App::new(Arc::new(PlantView::empty("")), options);
    for i in 0..=240 {
        let now = at(f64::from(i) * 0.5 - 120.0);
        let mut view = plant();
        view.now = now;
        edit(&mut view, 0, |t| {
            let swing = (f64::from(i) / 25.0).sin();
            t.points[0] = good(14.0 + 4.4 * swing, 14.0 + 4.0 * swing, now);
        });
        app.update(Event::View(Arc::new(view)));
    }
    app.select(&"tank0".into());
    app
}

fn snapshots(ascii: bool, name: &str) {
    let options = Options { ascii, ..options() };
    for (width, height) in [(80, 24), (120, 32), (200, 50)] {
        let mut app = watched(&options, troubled);
        for (keys, what) in [
            ("1", "overview"),
            ("2", "twins"),
            ("3", "twin"),
            ("4", "alarms"),
            ("2/pump<enter>", "twins_filtered"),
            ("?", "help"),
            ("<esc>c", "choose"),
            ("<down><down><enter>7", "arguments"),
            ("<enter>", "confirm"),
        ] {
            press(&mut app, keys);
            let file = format!("{what}_{width}x{height}_{name}");
            insta::assert_snapshot!(file, screen(&mut app, width, height));
        }
    }
}

#[test]
fn every_screen_looks_as_agreed() {
    snapshots(false, "default");
}

#[test]
fn every_screen_looks_as_agreed_in_ascii() {
    snapshots(true, "ascii");
}

#[test]
fn a_plant_with_mail_that_waits_looks_as_agreed() {
    for (ascii, name) in [(false, "default"), (true, "ascii")] {
        let options = Options { ascii, ..options() };
        for (width, height) in [(80, 24), (120, 32)] {
            let mut app = watched(&options, waiting);
            for (keys, what) in
                [("1", "overview"), ("3", "twin"), ("m", "choose"), ("<down><enter>", "confirm")]
            {
                press(&mut app, keys);
                let file = format!("waiting_{what}_{width}x{height}_{name}");
                insta::assert_snapshot!(file, screen(&mut app, width, height));
            }
        }
    }
}

/// Row and text of the first line that holds `words`.
#[track_caller]
fn find(frame: &Buffer, words: &str) -> (u16, String) {
    let all = text(frame);
    let found = all.lines().enumerate().find(|(_, line)| line.contains(words));
    let (y, line) = found.unwrap_or_else(|| panic!("{words} is not in\n{all}"));
    (y as u16, line.to_owned())
}

/// Colours of the cells under `words` in row `y`.
#[track_caller]
fn colours(frame: &Buffer, (y, line): &(u16, String), words: &str) -> Vec<Color> {
    let start = line.find(words).unwrap_or_else(|| panic!("{words} is not in {line}"));
    let x = line[..start].chars().count() as u16;
    let cells = (x..x + words.chars().count() as u16).map(|x| &frame[(x, *y)]);
    cells.filter(|c| c.symbol() != " ").map(|c| c.fg).collect()
}

#[track_caller]
fn check_coloured(frame: &Buffer, words: &str) {
    let row = find(frame, words);
    assert!(colours(frame, &row, words).iter().all(|c| *c == Color::Indexed(175)), "{row:?}");
    assert!(row.1.contains('?'), "a colour never stands alone: {row:?}");
}

#[test]
fn a_way_out_that_is_down_and_a_full_spool_are_coloured_and_marked() {
    for (w, h) in [(80, 24), (120, 32)] {
        let frame = render_frame(&waiting(), w, h, Screen::Overview, &options());
        check_coloured(&frame, "DOWN 12s (connection refused)");
        let row = find(&frame, "1,204 rec  3.1 MiB of 4.0 GiB  19 h left");
        assert!(colours(&frame, &row, "1,204 rec").iter().all(|c| *c == Color::Reset));
        let frame = render_frame(&waiting(), w, h, Screen::Twin, &options());
        check_coloured(&frame, "804 rec  63.0 MiB of 64.0 MiB  18 min left  512 dropped");
        let up = render_frame(&durable(normal(3)), w, h, Screen::Overview, &options());
        assert!(text(&up).contains("19 h left  northbound UP 12s"), "{}", text(&up));
    }
}

#[test]
fn over_a_lost_link_nothing_is_said_to_be_up_or_down_now() {
    let mut view = waiting();
    view.link = LinkView::Lost { since: at(-41.0) };
    for screen in [Screen::Overview, Screen::Twin] {
        let frame = render_frame(&view, 80, 24, screen, &options());
        let words = if screen == Screen::Overview { "northbound" } else { "804 rec" };
        let row = find(&frame, words);
        for x in 3..row.1.trim_end().chars().count() as u16 {
            let cell = &frame[(x, row.0)];
            let dim = cell.symbol() == " " || cell.modifier.contains(Modifier::DIM);
            assert!(dim && cell.fg == Color::Reset, "{row:?} at {x}");
        }
    }
}

#[test]
fn letters_set_aside_are_counted_in_the_header_of_every_screen() {
    for (w, h) in [(60, 15), (80, 24), (120, 32)] {
        let mut app = app(waiting());
        for keys in ["1", "2", "3", "4", "?"] {
            press(&mut app, keys);
            let frame = app.render(w, h);
            check_coloured(&frame, "? 2 set aside");
            let first = text(&frame).lines().next().map(str::to_owned).unwrap_or_default();
            assert!(first.contains("2 set aside") && first.contains("LIVE"), "{first}");
        }
    }
    let calm = render_frame(&normal(3), 80, 24, Screen::Overview, &options());
    assert!(!text(&calm).contains("set aside"));
}

#[test]
fn a_flood_of_letters_shows_the_oldest_and_how_many_there_are() {
    let mut view = waiting();
    view.set_aside = (0..5_000).map(|i| letter("tank0", i, "durable", 1.0)).collect();
    for (w, h) in [(60, 15), (80, 24), (120, 32), (200, 50)] {
        let frame = render_frame(&view, w, h, Screen::Twin, &options());
        let all = text(&frame);
        assert!(all.contains("5,000 set aside"), "{all}");
        if h > 15 {
            assert!(all.contains("SET ASIDE 5,000, the oldest 3  m retry or drop"), "{all}");
            assert!(all.contains("letter 2 (durable)") && !all.contains("letter 3 (durable)"));
        }
        assert!(all.contains("level") && all.contains("POINT"), "the points have room:\n{all}");
        let footer = all.lines().last().unwrap_or_default();
        assert!(footer.contains("] point"), "{footer}");
    }
    let looking = Options { readonly: true, ..options() };
    let all = text(&render_frame(&view, 80, 24, Screen::Twin, &looking));
    assert!(all.contains("SET ASIDE 5,000") && !all.contains("m retry"), "{all}");
}

#[test]
fn an_unknown_outcome_stays_abnormal_in_the_message_line() {
    let mut app = app(normal(3));
    let reason = "sent, no answer".to_owned();
    app.update(Event::Outcome("pump2 trip".into(), Outcome::Unknown { reason }));
    app.update(Event::Outcome("pump2 blink".into(), Outcome::Done));
    let frame = app.render(80, 24);
    check_coloured(&frame, "? pump2 trip: unknown: sent, no answer");
}

#[test]
fn ascii_mode_draws_nothing_but_ascii() {
    let options = Options { ascii: true, ..options() };
    let mut app = watched(&options, troubled);
    for keys in ["1", "2", "3", "4", "?", "<esc>2c", "<enter>"] {
        press(&mut app, keys);
        let frame = text(&app.render(120, 32));
        let odd = frame.chars().find(|c| !c.is_ascii());
        assert_eq!(odd, None, "{keys}:\n{frame}");
    }
}

fn coloured(buffer: &Buffer) -> usize {
    buffer.content.iter().filter(|c| c.fg != Color::Reset || c.bg != Color::Reset).count()
}

#[test]
fn a_normal_plant_has_no_coloured_cell() {
    for theme in [Theme::Default, Theme::Mono, Theme::HighContrast] {
        let mut app = App::new(Arc::new(normal(30)), &Options { theme, ..options() });
        for keys in ["1", "2", "3", "4", "?", "<esc>2jjc", "<enter>"] {
            press(&mut app, keys);
            for (w, h) in [(80, 24), (120, 32), (200, 50)] {
                assert_eq!(coloured(&app.render(w, h)), 0, "{theme:?} {keys} {w}x{h}");
            }
        }
        let mut app = App::new(Arc::new(durable(normal(30))), &Options { theme, ..options() });
        for keys in ["1", "3"] {
            press(&mut app, keys);
            assert_eq!(coloured(&app.render(80, 24)), 0, "{theme:?} {keys}");
        }
    }
}

#[test]
fn the_mono_theme_never_colours_but_still_marks() {
    let mut app = App::new(Arc::new(troubled()), &Options { theme: Theme::Mono, ..options() });
    for keys in ["1", "2", "3", "4"] {
        press(&mut app, keys);
        let frame = app.render(120, 32);
        assert_eq!(coloured(&frame), 0);
        assert!(text(&frame).contains("!!"));
    }
}

#[test]
fn every_alarm_bears_its_symbol_its_word_and_its_colour() {
    use AlarmState::{Acknowledged, ReturnedUnacknowledged, Unacknowledged};
    let cases = [
        (Priority::Critical, Unacknowledged, "!!", "P1 UNACK", Color::Indexed(166)),
        (Priority::High, Unacknowledged, " !", "P2 UNACK", Color::Indexed(178)),
        (Priority::Medium, Acknowledged, " !", "P3 ACK", Color::Indexed(227)),
        (Priority::Low, Acknowledged, " i", "P4 ACK", Color::Indexed(74)),
        (Priority::High, ReturnedUnacknowledged, " ~", "P2 RTN", Color::Indexed(178)),
    ];
    for (priority, state, symbol, words, colour) in cases {
        let mut view = normal(3);
        view.alarms = [alarm("tank0", "level", priority, state, 1.0)].into();
        let frame = render_frame(&view, 80, 24, Screen::Alarms, &options());
        let row: String = (0..11).map(|x| frame[(x, 3)].symbol().to_owned()).collect();
        assert!(row.starts_with(&format!("{symbol} {words}")), "{row}");
        for x in (0..11).filter(|x| frame[(*x, 3)].symbol() != " ") {
            assert_eq!(frame[(x, 3)].fg, colour, "{row} at {x}");
        }
        // The same in the list of twins.
        let frame = render_frame(&view, 80, 24, Screen::Twins, &options());
        let mark = format!("{}{}", frame[(0, 3)].symbol(), frame[(1, 3)].symbol());
        assert_eq!((mark.as_str(), frame[(1, 3)].fg), (symbol, colour));
    }
}

#[test]
fn an_open_critical_alarm_is_reversed_and_an_acknowledged_one_is_not() {
    let tone = |state| {
        let mut view = normal(3);
        view.alarms = [
            alarm("pump2", "a", Priority::Low, state, 1.0),
            alarm("tank0", "level", Priority::Critical, state, 1.0),
        ]
        .into();
        let frame = render_frame(&view, 80, 24, Screen::Alarms, &options());
        assert_eq!(frame[(0, 4)].symbol(), "!");
        frame[(0, 4)].modifier.contains(Modifier::REVERSED)
    };
    assert!(tone(AlarmState::Unacknowledged));
    assert!(!tone(AlarmState::Acknowledged));
}

#[test]
fn a_value_that_is_not_good_bears_a_question_mark_and_its_reason() {
    let mut app = app(troubled());
    press(&mut app, "2");
    let frame = app.render(120, 32);
    let all = text(&frame);
    for (twin, words) in [("tank6", "comm lost"), ("tank7", "stale"), ("tank9", "out of range")] {
        let (y, row) = all.lines().enumerate().find(|(_, l)| l.contains(twin)).expect("a row");
        assert!(row.contains(words), "{row}");
        let x = row.chars().position(|c| c == '?').expect("a question mark");
        assert_eq!(frame[(x as u16, y as u16)].fg, Color::Indexed(175), "{row}");
    }
}

#[test]
fn a_lost_link_has_a_banner_and_shows_no_value_as_live() {
    let mut view = troubled();
    view.link = LinkView::Lost { since: at(-41.0) };
    let mut app = app(view);
    for keys in ["1", "2", "3", "4"] {
        press(&mut app, keys);
        let frame = app.render(80, 24);
        let row: String = (0..80).map(|x| frame[(x, 2)].symbol().to_owned()).collect();
        let banner = "LOST - last word 14:01:26, 41 s ago - values below are old";
        assert_eq!(row.trim(), banner);
        for x in 0..80 {
            let cell = &frame[(x, 2)];
            assert!(cell.modifier.contains(Modifier::REVERSED) && cell.fg == Color::Indexed(166));
        }
        assert!(!text(&frame).contains("LIVE"));
    }
    press(&mut app, "2");
    let frame = app.render(120, 32);
    for y in 4..16 {
        let row: String = (0..120).map(|x| frame[(x, y)].symbol().to_owned()).collect();
        let x = row.find('?').filter(|x| *x > 3).or_else(|| row[3..].find('?').map(|x| x + 3));
        let x = x.expect("every value bears a question mark") as u16;
        assert!(frame[(x, y)].modifier.contains(Modifier::DIM), "{row}");
        assert!(row.contains("41s") || row.contains("1m22s") || row.contains("53s"), "{row}");
    }
}

#[test]
fn a_silent_runtime_and_one_not_reached_yet_show_no_value_as_live() {
    let mut silent = app(normal(3));
    silent.update(Event::Tick(at(9.0)));
    assert!(text(&silent.render(80, 24)).contains("LOST - last word 14:02:07, 9 s ago"));
    let mut view = normal(3);
    view.link = LinkView::Connecting;
    let frame = text(&render_frame(&view, 80, 24, Screen::Twins, &options()));
    assert!(frame.contains("? CONNECTING") && frame.contains("?   12.400"), "{frame}");
}

#[test]
fn help_lists_exactly_the_live_bindings() {
    for access in [Access::Look, Access::Operate] {
        let listed = help_lines(access);
        let mut live = 0;
        for context in Context::ALL {
            for binding in bindings(context, access) {
                live += 1;
                let line = HelpLine::Keys(binding.keys(), binding.help);
                assert!(listed.contains(&line), "{binding:?}");
            }
        }
        let keys = listed.iter().filter(|l| matches!(l, HelpLine::Keys(..))).count();
        assert_eq!(keys, live + 6, "the six symbols are listed too");
    }
    let readonly = format!("{:?}", help_lines(Access::Look));
    for word in ["acknowledge the", "command the", "Confirming"] {
        assert!(!readonly.contains(word), "{word}");
    }
}

#[test]
fn the_help_scrolls_to_its_last_line() {
    let mut app = app(normal(3));
    press(&mut app, "?");
    for _ in 0..20 {
        press(&mut app, "<pgdn>");
    }
    let frame = text(&app.render(80, 24));
    assert!(frame.contains("residual outside its calibrated band"), "{frame}");
    press(&mut app, "k");
    assert_ne!(text(&app.render(80, 24)), frame, "one step up is seen at once");
}

#[test]
fn readonly_footers_offer_nothing_that_acts() {
    let mut app = App::new(Arc::new(troubled()), &Options { readonly: true, ..options() });
    for keys in ["2", "3", "4"] {
        press(&mut app, keys);
        let frame = text(&app.render(200, 50));
        let footer = frame.lines().last().expect("a footer");
        assert!(!footer.contains("ack") && !footer.contains("command"), "{footer}");
        assert!(footer.contains("? help"), "{footer}");
    }
}

#[test]
fn a_list_of_ten_thousand_twins_builds_only_the_rows_on_the_screen() {
    let mut app = app(normal(10_000));
    press(&mut app, "2");
    app.update(Event::Resize(200, 50));
    let mut buffer = Buffer::empty(ratatui::layout::Rect::new(0, 0, 200, 50));
    for keys in ["g", "G", "<pgdn>", "jjjj"] {
        press(&mut app, keys);
        assert_eq!(app.draw(&mut buffer).rows_built, 45, "{keys}");
    }
    let last = text(&buffer);
    assert!(last.contains("tank9999"), "{last}");
}

#[test]
fn a_flood_of_alarms_builds_only_the_rows_on_the_screen() {
    let mut view = normal(3);
    view.alarms = (0..5_000)
        .map(|i| alarm("tank0", &format!("a{i}"), Priority::High, AlarmState::Unacknowledged, 1.0))
        .collect();
    let mut app = app(view);
    let mut buffer = Buffer::empty(ratatui::layout::Rect::new(0, 0, 120, 32));
    for keys in ["1", "4", "G"] {
        press(&mut app, keys);
        assert!(app.draw(&mut buffer).rows_built < 32, "{keys}");
    }
}

#[test]
fn a_terminal_that_is_too_small_says_so() {
    let app = app(troubled());
    for (w, h) in [(59, 24), (80, 14), (18, 1), (1, 1), (0, 0)] {
        let frame = text(&app.render(w, h));
        assert_eq!(frame.contains("terminal too small"), w >= 18, "{w}x{h}");
    }
    assert!(!text(&app.render(60, 15)).contains("too small"));
}

#[test]
fn hostile_names_and_texts_cannot_reach_the_terminal() {
    let mut view = normal(3);
    let evil = "\x1b[31m\u{9b}2J\r\n\u{202e}冷却水ポンプ";
    view.plant = evil.into();
    edit(&mut view, 0, |t| {
        t.id = evil.into();
        t.reason = evil.into();
        t.kind = evil.into();
    });
    let mut raised = alarm(evil, evil, Priority::High, AlarmState::Unacknowledged, 1.0);
    raised.response = evil.into();
    view.alarms = [raised].into();
    let mut view = durable(view);
    let mut northbound = view.northbound.as_deref().cloned().expect("the fixture has one");
    northbound.reason = evil.into();
    view.northbound = Some(Arc::new(northbound));
    let mut mail = letter(evil, 1, evil, 1.0);
    mail.text = evil.into();
    mail.panic = evil.into();
    view.set_aside = [mail].into();
    let mut app = app(view);
    for keys in ["1", "2", "3", "4", "2/\u{202e}"] {
        press(&mut app, keys);
        for (w, h) in [(60, 15), (80, 24), (200, 50)] {
            for cell in &app.render(w, h).content {
                let odd = |c: char| c.is_control() || c == '\u{202e}';
                assert!(!cell.symbol().contains(odd), "{:?}", cell.symbol());
            }
        }
    }
}

#[test]
fn the_trend_draws_measurement_and_model_and_zooms() {
    let mut app = watched(&options(), troubled);
    press(&mut app, "3");
    let dots = |app: &App| {
        let frame = app.render(120, 32);
        let braille = |c: &&ratatui::buffer::Cell| {
            c.symbol().chars().all(|c| ('\u{2800}'..='\u{28ff}').contains(&c))
        };
        let all: Vec<_> = frame.content.iter().filter(braille).cloned().collect();
        let dim = all.iter().filter(|c| c.modifier.contains(Modifier::DIM)).count();
        (all.len() - dim, dim)
    };
    let (measured, model) = dots(&app);
    assert!(measured > 100, "{measured}");
    assert!(model > 20, "where the two part the model has cells of its own: {model}");
    press(&mut app, "==");
    assert_eq!(app.span(), Duration::from_secs(30));
    assert!(text(&app.render(120, 32)).contains("14:01:37"), "the window begins 30 s ago");
    press(&mut app, "y");
    let whole = text(&app.render(120, 32));
    assert!(whole.contains("hi") && whole.contains("lo"), "{whole}");
    press(&mut app, "]");
    assert!(text(&app.render(120, 32)).contains("TREND temperature"));
}

#[test]
fn an_empty_plant_and_one_without_types_draw_on_every_screen() {
    let mut bare = normal(5);
    bare.types = Arc::default();
    bare.zones = [].into();
    edit(&mut bare, 0, |t| t.points.clear());
    for view in [PlantView::empty("new"), bare] {
        for screen in [Screen::Overview, Screen::Twins, Screen::Twin, Screen::Alarms] {
            let frame = text(&render_frame(&view, 80, 24, screen, &options()));
            assert!(frame.contains(&*view.plant));
        }
    }
}

#[test]
fn the_header_says_how_old_the_last_word_is() {
    let mut app = app(normal(1));
    app.update(Event::Tick(at(0.25)));
    assert!(text(&app.render(80, 24)).contains("2026-11-21 14:02:07Z  LIVE 0.2s old"));
    press(&mut app, "f");
    app.update(Event::Tick(at(3.0)));
    assert!(text(&app.render(80, 24)).contains("FROZEN 2.7s ago"));
    let epoch = Options::new(Arc::new(Fixed(Timestamp(0))));
    let early = App::new(Arc::new(normal(1)), &epoch);
    assert!(text(&early.render(80, 24)).contains("1970-01-01 00:00:00Z"));
    assert!(NOW > Timestamp(0));
}
