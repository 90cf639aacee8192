//! The table of keys is complete and free of clashes.

use super::*;

fn event(chord: Chord) -> KeyEvent {
    match chord {
        Chord::Key(code) => KeyEvent::new(code, KeyModifiers::NONE),
        Chord::Ctrl(c) => KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL),
        Chord::Text => KeyEvent::new(KeyCode::Char('ä'), KeyModifiers::NONE),
    }
}

#[test]
fn no_key_has_two_meanings_in_one_context() {
    for context in Context::ALL {
        let mut seen: Vec<(Chord, Command)> = Vec::new();
        for here in std::iter::once(&context).chain(context.inherits()) {
            for binding in bindings(*here, Access::Operate) {
                for chord in binding.chords {
                    let clash = seen.iter().find(|(c, _)| c == chord);
                    assert!(clash.is_none(), "{context:?}: {chord:?} is bound twice: {clash:?}");
                    seen.push((*chord, binding.command));
                }
            }
        }
    }
}

#[test]
fn every_listed_key_does_what_its_line_says() {
    for access in [Access::Look, Access::Operate] {
        for context in Context::ALL {
            for binding in bindings(context, access) {
                assert!(!binding.help.is_empty());
                for chord in binding.chords {
                    let got = resolve(context, access, &event(*chord)).map(|(c, _)| c);
                    assert_eq!(got, Some(binding.command), "{context:?} {chord:?}");
                }
            }
        }
    }
}

#[test]
fn readonly_has_no_binding_that_acts() {
    let acting =
        [Command::Acknowledge, Command::AcknowledgePage, Command::Operate, Command::Letters];
    for context in Context::ALL {
        for binding in bindings(context, Access::Look) {
            assert!(!acting.contains(&binding.command), "{binding:?}");
        }
    }
    for context in [Context::Choose, Context::Arguments, Context::Confirm] {
        assert_eq!(bindings(context, Access::Look).count(), 0, "{context:?}");
    }
    assert_eq!(resolve(Context::Twin, Access::Look, &event(ch('c'))), None);
}

#[test]
fn releases_and_unnamed_combinations_do_nothing() {
    let mut key = event(ch('q'));
    key.kind = KeyEventKind::Release;
    assert_eq!(resolve(Context::Twins, Access::Operate, &key), None);
    let key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT);
    assert_eq!(resolve(Context::Twins, Access::Operate, &key), None);
    let key = KeyEvent::new(KeyCode::F(5), KeyModifiers::NONE);
    assert_eq!(resolve(Context::Filter, Access::Operate, &key), None);
}

#[test]
fn control_c_quits_even_out_of_a_dialog() {
    for context in Context::ALL {
        let got = resolve(context, Access::Look, &event(Chord::Ctrl('c')));
        assert_eq!(got.map(|(c, _)| c), Some(Command::Quit), "{context:?}");
    }
}
