//! Alarms: told first, and not forgotten with the process.

use plantwin_model::{AlarmState, AlarmView};

use super::*;

fn last_alarms(effects: &Effects) -> Option<Vec<AlarmView>> {
    effects.iter().rev().find_map(|e| match e {
        Effect::Tell(TwinEvent::Alarms(alarms)) => Some(alarms.clone()),
        _ => None,
    })
}

#[test]
fn alarms_are_told_before_anything_else_of_their_letter_and_saved() {
    let mut rig = Rig::new("physical");
    rig.up();
    let soon = rig.now.plus(Duration::from_secs(2));
    rig.values(1, 12.0);
    rig.tell(TwinMail::Command(CommandMail {
        key: 1,
        writes: vec![(PointIx(1), 60.0)],
        expires: soon,
    }));
    let down = rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "cable cut".into() }));
    assert!(matches!(down[0], Effect::Tell(TwinEvent::Alarms(_))), "{down:?}");
    assert_eq!(rig.core.next_deadline(&rig.plan), Some(rig.now), "to be saved at once");
    let saved = rig.pass(Duration::ZERO);
    assert!(saved.iter().any(|e| matches!(e, Effect::Tell(TwinEvent::Save(_)))), "{saved:?}");
}

#[test]
fn an_alarm_once_told_survives_a_crash_before_it_was_saved() {
    let mut rig = Rig::new("physical");
    rig.up();
    let saved = rig.core.vital(&rig.plan).to_bytes();
    let told = last_alarms(&rig.values(1, 19.0)).expect("a high level");

    let mut next = Rig::new("physical");
    next.now = rig.now.plus(Duration::from_hours(1));
    let mut effects = Effects::new();
    next.core.restore(&next.plan, Vital::from_bytes(&saved).unwrap(), next.now, &mut effects);
    assert_eq!(last_alarms(&effects), None);
    next.core.adopt(&next.plan, &told, next.now, &mut effects);
    assert_eq!(last_alarms(&effects), Some(told.clone()), "as it was told");
    assert!(matches!(effects[0], Effect::Tell(TwinEvent::Alarms(_))), "{effects:?}");

    // Nothing new in it: nothing is told.
    let mut again = Effects::new();
    next.core.adopt(&next.plan, &told, next.now, &mut again);
    assert!(again.is_empty(), "{again:?}");

    // The condition is gone: it returns by the usual rules.
    next.up();
    let effects = next.values(1, 12.0);
    let now = last_alarms(&effects).expect("a change");
    assert_eq!(now[0].state, AlarmState::ReturnedUnacknowledged);
    let effects = next.tell(TwinMail::Acknowledge("level_high".into()));
    assert_eq!(last_alarms(&effects), Some(vec![]));
}
