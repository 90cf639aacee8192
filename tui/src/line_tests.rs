//! The line mode writes what changed, once, in order, and safely.

use plantwin_model::{AlarmState, PlantView, Priority, TwinState};

use super::*;
use crate::fixture::{Fixed, NOW, alarm, durable, edit, letter, normal, troubled, waiting};

fn lines(all: &mut Lines, view: PlantView) -> Vec<String> {
    all.of(&Arc::new(view))
}

#[test]
fn the_first_look_counts_and_later_looks_tell_what_changed() {
    let mut all = Lines::new();
    let first = lines(&mut all, normal(12));
    assert_eq!(
        first,
        ["2026-11-21 14:02:07Z quadruple-tank twins 12 ok 0 bad 0 stale 0 doubtful 0 idle, \
          alarms 0 P1 0 P2 0 P3 0 P4, 0 unacknowledged"]
    );
    insta::assert_snapshot!(lines(&mut all, troubled()).join("\n"));
    let mut calm = normal(12);
    calm.alarms = [].into();
    let back = lines(&mut all, calm);
    assert!(
        back.contains(&"2026-11-21 14:02:07Z P1 NORMAL tank0.level_high".to_owned()),
        "{back:?}"
    );
    assert!(
        back.contains(&"2026-11-21 14:02:07Z twin tank6 shadowed: values are current".to_owned())
    );
}

#[test]
fn mail_that_waits_and_letters_set_aside_are_told_once() {
    let mut all = Lines::new();
    let first = lines(&mut all, durable(normal(1)));
    assert_eq!(first.len(), 1, "nothing abnormal, one line: {first:?}");
    assert!(
        first[0].ends_with(
            ", 0 unacknowledged, spool 1,204 rec 3.1 MiB of 4.0 GiB 19 h left, northbound UP"
        ),
        "{}",
        first[0]
    );
    let mut bad = waiting();
    bad.alarms = [].into();
    let told = lines(&mut all, bad.clone());
    for line in [
        "2026-11-21 14:02:07Z ? SET ASIDE twin tank0 letter 3 (durable): level 18.4 cm; \
         index out of bounds: the len is 2 but the index is 7",
        "2026-11-21 14:02:07Z ? northbound DOWN broker.example:1883 (connection refused)",
    ] {
        assert!(told.iter().any(|l| l == line), "{line} is not in {told:?}");
    }
    assert!(told.last().is_some_and(|l| l.ends_with("northbound DOWN, 2 set aside")), "{told:?}");
    let mut same = bad.clone();
    same.set_aside = bad.set_aside.to_vec().into();
    assert_eq!(lines(&mut all, same).len(), 1, "told already");
    let mut mended = durable(bad);
    mended.set_aside = [letter("tank0", 4, "latest", 1.0)].into();
    let told = lines(&mut all, mended);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "2026-11-21 14:02:07Z twin tank0 letter 3 no longer set aside");
    assert_eq!(told[1], "2026-11-21 14:02:07Z northbound UP broker.example:1883");
}

#[test]
fn an_unchanged_view_writes_nothing() {
    let mut all = Lines::new();
    let view = Arc::new(troubled());
    assert!(!all.of(&view).is_empty());
    assert!(all.of(&view).is_empty());
}

#[test]
fn a_flood_is_cut_and_counted() {
    let mut all = Lines::new();
    lines(&mut all, normal(300));
    let mut down = normal(300);
    for ix in 0..300 {
        edit(&mut down, ix, |t| t.state = TwinState::Down);
    }
    let out = lines(&mut all, down);
    assert_eq!(out.len(), CHANGES + 2);
    assert!(out[CHANGES].ends_with("and 200 more changes"), "{}", out[CHANGES]);
}

#[test]
fn a_name_cannot_forge_a_line() {
    let mut view = normal(1);
    let evil = "x\n2026-11-21 14:02:08Z all is well\x1b[2J";
    view.alarms = [alarm(evil, evil, Priority::High, AlarmState::Unacknowledged, 1.0)].into();
    for line in lines(&mut Lines::new(), view) {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn it_ends_when_told_and_when_the_runtime_is_gone() {
    let (sender, receiver) = watch::channel(Arc::new(troubled()));
    let mut out = Vec::new();
    line_mode(receiver.clone(), &mut out, &Fixed(NOW), &AtomicBool::new(true)).expect("written");
    let text = String::from_utf8(out).expect("text");
    assert!(text.ends_with("4 unacknowledged\n") || text.contains("unacknowledged\n"), "{text}");

    drop(sender);
    let mut out = Vec::new();
    line_mode(receiver, &mut out, &Fixed(NOW), &AtomicBool::new(false)).expect("written");
    let text = String::from_utf8(out).expect("text");
    assert!(text.ends_with("LOST the runtime is gone\n"), "{text}");
}

#[test]
fn a_closed_pipe_is_an_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_sender, receiver) = watch::channel(Arc::new(normal(1)));
    let got = line_mode(receiver, &mut Closed, &Fixed(NOW), &AtomicBool::new(false));
    assert!(matches!(got, Err(TuiError::Line(_))), "{got:?}");
}
