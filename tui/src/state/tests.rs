//! What the console does with events.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use plantwin_model::{
    AlarmState, LinkView, Outcome, PlantView, Priority, Request, Role, TwinState,
};
use proptest::prelude::*;

use super::*;
use crate::fixture::{Fixed, NOW, alarm, at, edit, good, letter, normal, troubled, waiting};

pub(crate) fn options() -> Options {
    Options::new(Arc::new(Fixed(NOW)))
}

pub(crate) fn app(view: PlantView) -> App {
    App::new(Arc::new(view), &options())
}

/// Presses keys: characters as they are, names in angle brackets.
pub(crate) fn press(app: &mut App, keys: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut rest = keys;
    while let Some(c) = rest.chars().next() {
        let name = rest.strip_prefix('<').and_then(|r| r.split_once('>'));
        let code = if let Some((name, after)) = name {
            rest = after;
            match name {
                "enter" => KeyCode::Enter,
                "esc" => KeyCode::Esc,
                "down" => KeyCode::Down,
                "up" => KeyCode::Up,
                "tab" => KeyCode::Tab,
                "pgdn" => KeyCode::PageDown,
                "back" => KeyCode::Backspace,
                other => panic!("no key {other}"),
            }
        } else {
            rest = &rest[c.len_utf8()..];
            KeyCode::Char(c)
        };
        actions.extend(app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE))));
    }
    actions
}

fn sent(actions: &[Action]) -> Vec<&Request> {
    actions
        .iter()
        .map(|a| match a {
            Action::Send(_, request) => request,
            other => panic!("not a request: {other:?}"),
        })
        .collect()
}

fn says(app: &App) -> &str {
    app.message.as_ref().map_or("", |m| &m.text)
}

#[test]
fn a_command_needs_choice_and_typed_confirmation() {
    let mut app = app(normal(3));
    app.select(&"pump2".into());
    app.open(Screen::Twin);
    assert_eq!(press(&mut app, "c<enter>"), [], "a choice alone sends nothing");
    assert_eq!(press(&mut app, "<enter>"), [], "without y nothing is sent");
    assert_eq!(press(&mut app, "n<enter>"), [], "n is not y");
    let actions = press(&mut app, "<back>y<enter>");
    let want = Request::Command { device: "pump2".into(), command: "trip".into(), args: vec![] };
    assert_eq!(sent(&actions), [&want]);
    assert!(app.dialog.is_none());
    app.update(Event::Outcome("pump2 trip".into(), Outcome::Done));
    assert_eq!(says(&app), "pump2 trip: done");
}

#[test]
fn no_single_key_sends_a_command_from_any_screen() {
    for screen in [Screen::Overview, Screen::Twins, Screen::Twin, Screen::Alarms] {
        for code in (' '..='~').map(KeyCode::Char).chain([KeyCode::Enter, KeyCode::Delete]) {
            let mut app = app(waiting());
            app.select(&"tank0".into());
            app.open(screen);
            let actions = app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
            let acts = |a: &Action| matches!(a, Action::Send(_, r) if !matches!(r, Request::Acknowledge { .. }));
            assert!(!actions.iter().any(acts), "{screen:?} {code:?}");
        }
    }
}

#[test]
fn a_value_outside_its_range_is_refused_before_it_is_sent() {
    let mut app = app(normal(3));
    app.select(&"pump2".into());
    app.open(Screen::Twin);
    assert_eq!(press(&mut app, "c<down><down><enter>11<enter>"), []);
    let Some(Dialog::Arguments { fields, .. }) = &app.dialog else { panic!("{:?}", app.dialog) };
    assert_eq!(fields[0].error.as_deref(), Some("outside 0.0000 to 10.000"));
    assert_eq!(press(&mut app, "<back><back>e<enter>"), [], "e is no number");
    let actions = press(&mut app, "<back>4.5<enter>y<enter>");
    let args = vec![("voltage".to_owned(), 4.5)];
    let want = Request::Command { device: "pump2".into(), command: "run".into(), args };
    assert_eq!(sent(&actions), [&want]);
}

#[test]
fn a_writable_point_can_be_set_and_a_given_up_twin_restarted() {
    let mut app = app(troubled());
    app.select(&"pump8".into());
    app.open(Screen::Twin);
    let actions = press(&mut app, "c<enter>y<enter>");
    assert_eq!(sent(&actions), [&Request::Restart { device: "pump8".into() }]);
    let actions = press(&mut app, "c<pgdn><down><down><down><down><down><enter>2<enter>y<enter>");
    let want = Request::Write { device: "pump8".into(), point: "voltage".into(), value: 2.0 };
    assert_eq!(sent(&actions), [&want]);
}

#[test]
fn a_letter_is_retried_or_dropped_only_after_a_choice_and_y() {
    let mut app = app(waiting());
    app.select(&"tank0".into());
    app.open(Screen::Twin);
    assert_eq!(press(&mut app, "m<enter><enter>"), [], "a choice alone sends nothing");
    let actions = press(&mut app, "y<enter>");
    assert_eq!(sent(&actions), [&Request::Retry { device: "tank0".into(), letter: 3 }]);
    let actions = press(&mut app, "m<down><down><down><enter>y<enter>");
    assert_eq!(sent(&actions), [&Request::Drop { device: "tank0".into(), letter: 4 }]);
    assert_eq!(press(&mut app, "m<enter><esc>"), [], "left without a word");
    // Letters of others are not offered here.
    let mut other = waiting();
    other.set_aside = [letter("tank1", 9, "latest", 1.0)].into();
    app.update(Event::View(Arc::new(other)));
    assert_eq!(press(&mut app, "m"), []);
    assert!(app.dialog.is_none());
    assert_eq!(says(&app), "tank0 has no letter set aside");
}

#[test]
fn a_letter_is_not_handled_from_a_frozen_view_or_over_a_lost_link() {
    let mut app = app(waiting());
    app.select(&"tank0".into());
    app.open(Screen::Twin);
    press(&mut app, "fm");
    assert!(app.dialog.is_none());
    press(&mut app, "f");
    app.update(Event::Closed);
    press(&mut app, "m");
    assert!(app.dialog.is_none());
    let readonly = Options { readonly: true, ..options() };
    let mut looking = App::new(Arc::new(waiting()), &readonly);
    looking.select(&"tank0".into());
    looking.open(Screen::Twin);
    press(&mut looking, "m");
    assert!(looking.dialog.is_none());
}

#[test]
fn a_command_above_the_role_is_shown_but_not_chosen() {
    let mut operator = app(normal(3));
    operator.select(&"pump2".into());
    operator.open(Screen::Twin);
    assert_eq!(press(&mut operator, "c<down><down><down><enter>"), []);
    assert_eq!(says(&operator), "calibrate needs the role engineer");
    let role = Options { role: Role::Engineer, ..options() };
    let mut engineer = App::new(Arc::new(normal(3)), &role);
    engineer.select(&"pump2".into());
    engineer.open(Screen::Twin);
    assert_eq!(sent(&press(&mut engineer, "c<down><down><down><enter>y<enter>")).len(), 1);
}

#[test]
fn nothing_is_commanded_over_a_lost_link_or_from_a_frozen_view() {
    let mut app = app(normal(3));
    app.select(&"pump2".into());
    app.open(Screen::Twin);
    press(&mut app, "fc");
    assert!(app.dialog.is_none());
    assert_eq!(says(&app), "the view is frozen: press f before a command");
    press(&mut app, "fc<enter>y");
    assert!(app.dialog.is_some());
    app.update(Event::Closed);
    assert_eq!(press(&mut app, "<enter>"), [], "the link went while the dialog was open");
    assert_eq!(says(&app), "not sent: the link is lost");
}

#[test]
fn readonly_and_viewers_cannot_reach_a_dialog() {
    let readonly = Options { readonly: true, ..options() };
    let viewer = Options { role: Role::Viewer, ..options() };
    for options in [readonly, viewer] {
        let mut app = App::new(Arc::new(troubled()), &options);
        for screen in [Screen::Twins, Screen::Twin, Screen::Alarms] {
            app.open(screen);
            assert_eq!(press(&mut app, "caA"), []);
            assert!(app.dialog.is_none());
        }
    }
}

#[test]
fn one_alarm_is_acknowledged_and_the_selection_stays_with_it() {
    let mut app = app(troubled());
    press(&mut app, "4jj");
    let mut next = troubled();
    let newest = alarm("tank1", "new", Priority::Critical, AlarmState::Unacknowledged, 0.0);
    next.alarms = std::iter::once(newest).chain(next.alarms.iter().cloned()).collect();
    app.update(Event::View(Arc::new(next)));
    let actions = press(&mut app, "a");
    assert_eq!(sent(&actions), [&Request::Acknowledge { alarm: AlarmId::new("tank3.level_low") }]);
    assert_eq!(press(&mut app, "ka"), [], "acknowledged already");
}

#[test]
fn an_alarm_that_slid_under_the_selection_is_not_acknowledged_by_mistake() {
    let mut app = app(troubled());
    press(&mut app, "4");
    let mut next = troubled();
    next.alarms = next.alarms.iter().skip(2).cloned().collect();
    app.update(Event::View(Arc::new(next)));
    assert_eq!(press(&mut app, "a"), []);
    assert_eq!(says(&app), "the selected alarm went away: look, then press a again");
    app.update(Event::Tick(at(1.0)));
    let actions = press(&mut app, "a");
    assert_eq!(sent(&actions), [&Request::Acknowledge { alarm: AlarmId::new("tank3.level_low") }]);

    let mut next = troubled();
    next.alarms = next.alarms.iter().skip(3).cloned().collect();
    app.update(Event::View(Arc::new(next)));
    assert_eq!(sent(&press(&mut app, "a")).len(), 1, "what went away was acknowledged here");
}

#[test]
fn a_page_is_acknowledged_only_after_y_and_only_what_was_on_the_screen() {
    let mut view = normal(3);
    view.alarms = (0..100)
        .map(|i| alarm("tank0", &format!("a{i}"), Priority::High, AlarmState::Unacknowledged, 1.0))
        .collect();
    let mut app = app(view);
    app.update(Event::Resize(80, 24));
    assert_eq!(press(&mut app, "4A<enter>"), []);
    let actions = press(&mut app, "y<enter>");
    // 24 rows less header, bar, message, keys, heading and the selected alarm in full.
    assert_eq!(sent(&actions).len(), 15);
    assert_eq!(sent(&actions)[14], &Request::Acknowledge { alarm: AlarmId::new("tank0.a14") });
}

#[test]
fn a_failure_is_not_swept_away_by_the_next_success() {
    let mut app = app(normal(1));
    let refused = Outcome::Refused { reason: "not your zone".into() };
    app.update(Event::Outcome("acknowledge a".into(), refused));
    app.update(Event::Outcome("acknowledge b".into(), Outcome::Done));
    assert_eq!(says(&app), "acknowledge a: refused: not your zone");
    app.update(Event::Tick(at(11.0)));
    app.update(Event::Outcome("acknowledge c".into(), Outcome::Done));
    assert_eq!(says(&app), "acknowledge c: done");
}

#[test]
fn silence_and_the_end_of_the_runtime_count_as_lost() {
    let mut app = app(normal(1));
    app.update(Event::Tick(at(4.9)));
    assert!(matches!(app.link(), Link::Live(_)));
    app.update(Event::Tick(at(5.1)));
    assert_eq!(app.link(), Link::Lost { since: NOW, ago: Duration::from_millis(5_100) });
    app.update(Event::View(Arc::new(normal(1))));
    assert!(matches!(app.link(), Link::Live(_)), "the next word brings it back");
    app.update(Event::Closed);
    assert!(app.is_lost());
}

#[test]
fn ages_grow_while_the_link_is_lost() {
    let mut view = normal(1);
    view.link = LinkView::Lost { since: at(-30.0) };
    let app = app(view);
    let twin = app.shown.twins.get(0).expect("one twin");
    assert_eq!(app.point_age(&twin.points[0]), Some(Duration::from_millis(30_400)));
}

#[test]
fn a_frozen_view_stands_still_while_the_alarm_bar_lives() {
    let mut app = app(normal(3));
    press(&mut app, "f");
    app.update(Event::View(Arc::new(troubled())));
    assert_eq!(app.shown.twins.len(), 3);
    assert_eq!(app.counts.by_priority, [1, 1, 2, 1]);
    press(&mut app, "f");
    assert_eq!(app.shown.twins.len(), 12);
    assert_eq!(app.index.classes(), [8, 2, 1, 0, 1]);
}

#[test]
fn the_filter_narrows_step_by_step_and_is_not_made_anew_by_values() {
    let mut app = app(normal(300));
    assert_eq!(app.filter.examined, 300);
    press(&mut app, "2/pump29");
    assert_eq!(app.filter.visible(), [29, 290, 293, 296, 299]);
    // 300 for the first letter, then only what passed: p u m p 2 9.
    assert_eq!(app.filter.examined, 300 + 300 + 4 * 100 + 39);
    let before = app.filter.examined;
    let mut next = normal(300);
    edit(&mut next, 29, |t| t.state = TwinState::Down);
    app.update(Event::View(Arc::new(next)));
    assert_eq!(app.filter.examined, before);
    press(&mut app, "<enter><esc>");
    assert_eq!(app.filter.visible().len(), 300);
}

#[test]
fn next_abnormal_goes_round_the_filtered_list() {
    let mut app = app(troubled());
    press(&mut app, "2");
    let mut seen = Vec::new();
    for _ in 0..10 {
        press(&mut app, "n");
        seen.push(app.row);
    }
    assert_eq!(seen, [2, 3, 4, 5, 6, 7, 8, 9, 0, 2]);
    press(&mut app, "NN");
    assert_eq!(app.row, 9);
    press(&mut app, "zn");
    assert_eq!(app.filter.zone(), Some(0));
}

#[test]
fn the_selected_twin_keeps_its_selection_when_twins_come_and_go() {
    let mut app = app(normal(10));
    press(&mut app, "2jjjjj");
    let id = app.selected_twin().map(|t| t.id.clone());
    let mut next = PlantView { twins: plantwin_model::TwinTable::default(), ..normal(0) };
    for i in 3..10 {
        next.twins.push(Arc::new(crate::fixture::twin(i, NOW)));
    }
    app.update(Event::View(Arc::new(next)));
    assert_eq!(app.selected_twin().map(|t| t.id.clone()), id);
    assert_eq!(app.row, 2);
}

#[test]
fn counts_by_difference_equal_counts_from_scratch() {
    let mut followed = app(normal(12));
    followed.update(Event::View(Arc::new(troubled())));
    let fresh = app(troubled());
    assert_eq!(followed.index.zones(), fresh.index.zones());
    assert_eq!(followed.index.classes(), fresh.index.classes());
}

#[test]
fn history_keeps_the_last_600_samples_by_source_time() {
    let mut app = app(normal(2));
    for i in 0..700 {
        let mut next = normal(2);
        edit(&mut next, 0, |t| t.points[0] = good(f64::from(i), 0.0, at(f64::from(i))));
        app.update(Event::View(Arc::new(next.clone())));
        app.update(Event::View(Arc::new(next)));
    }
    let ring = app.history.of(&"tank0".into(), 0).expect("recorded");
    assert_eq!(ring.len(), history::SAMPLES);
    assert_eq!(ring.back().map(|s| s.measured), Some(699.0));
    assert!(ring.iter().zip(ring.iter().skip(1)).all(|(a, b)| a.at < b.at));
}

#[test]
fn a_trend_begins_anew_when_the_plant_does() {
    let mut app = app(normal(1));
    let mut again = normal(1);
    edit(&mut again, 0, |t| t.points[0] = good(1.0, 1.0, at(-3_600.0)));
    app.update(Event::View(Arc::new(again)));
    let ring = app.history.of(&"tank0".into(), 0).expect("recorded");
    assert_eq!(ring.iter().map(|s| s.measured).collect::<Vec<_>>(), [1.0]);
}

#[test]
fn a_large_plant_records_only_the_twin_looked_at() {
    let mut app = app(normal(history::ALL_UP_TO + 1));
    assert!(app.history.of(&"tank4".into(), 0).is_none());
    app.select(&"tank4".into());
    app.update(Event::View(Arc::new(normal(history::ALL_UP_TO + 1))));
    assert!(app.history.of(&"tank4".into(), 0).is_some());
    app.select(&"pump5".into());
    assert!(app.history.of(&"tank4".into(), 0).is_none());
}

#[test]
fn only_what_changes_the_screen_asks_for_a_frame() {
    let mut app = app(normal(1));
    assert!(app.take_dirty());
    app.update(Event::Tick(at(0.4)));
    assert!(!app.take_dirty(), "the same second");
    app.update(Event::Tick(at(1.0)));
    assert!(app.take_dirty(), "the clock");
    press(&mut app, "x");
    assert!(!app.take_dirty(), "a key without a meaning");
    app.update(Event::Resize(80, 24));
    assert!(!app.take_dirty(), "the same size");
    app.update(Event::Resize(81, 24));
    assert!(app.take_dirty());
}

fn any_event() -> impl Strategy<Value = Event> {
    let key = prop_oneof![
        20 => prop::sample::select(" 0123456789abcfghjkmnyzqAGNZ/?=-[].,é冷".chars().collect::<Vec<_>>())
            .prop_map(KeyCode::Char),
        8 => prop::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Up, KeyCode::Down, KeyCode::Left, KeyCode::Right,
            KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End, KeyCode::Tab,
            KeyCode::BackTab, KeyCode::Backspace, KeyCode::F(1), KeyCode::Null,
        ]),
    ];
    prop_oneof![
        20 => key.prop_map(|code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE))),
        2 => (0_u16..260, 0_u16..80).prop_map(|(w, h)| Event::Resize(w, h)),
        2 => (0_usize..40).prop_map(|n| Event::View(Arc::new(normal(n)))),
        1 => Just(Event::View(Arc::new(troubled()))),
        1 => Just(Event::View(Arc::new(waiting()))),
        1 => Just(Event::View(Arc::new(PlantView::empty("?")))),
        1 => any::<i64>().prop_map(|t| Event::Tick(Timestamp(t))),
        1 => Just(Event::Closed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_sequence_of_keys_sizes_and_snapshots_panics(
        events in prop::collection::vec(any_event(), 1..120),
        ascii: bool,
    ) {
        let options = Options { ascii, ..options() };
        let mut app = App::new(Arc::new(troubled()), &options);
        let mut size = (80, 24);
        for event in events {
            if let Event::Resize(w, h) = event {
                size = (w, h);
            }
            app.update(event);
            app.render(size.0, size.1);
            // The terminal may be resized between the event and the frame.
            app.render(size.1, size.0);
        }
    }
}
