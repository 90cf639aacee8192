//! Commands: one effect, and an outcome that never says more than is known.

use super::*;
use crate::WriteError;

fn command(key: u64, value: f64, expires: Timestamp) -> TwinMail {
    TwinMail::Command(CommandMail { key, writes: vec![(PointIx(1), value)], expires })
}

fn outcomes(effects: &Effects) -> Vec<(u64, Outcome)> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Tell(TwinEvent::Outcome { key, outcome }) => Some((*key, outcome.clone())),
            _ => None,
        })
        .collect()
}

fn writes(effects: &Effects) -> usize {
    effects.iter().filter(|e| matches!(e, Effect::Write { .. })).count()
}

fn ready() -> Rig {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    rig
}

impl Rig {
    fn written(&mut self, key: u64, result: Result<(), WriteError>) -> Effects {
        self.tell(TwinMail::Written(WrittenMail { key, result }))
    }

    fn soon(&self) -> Timestamp {
        self.now.plus(Duration::from_secs(2))
    }

    fn desired(&self) -> Option<f64> {
        self.core.observed(&self.plan).points[1].desired
    }
}

#[test]
fn a_command_delivered_twice_has_one_effect_and_one_outcome() {
    let mut rig = ready();
    let letter = command(3, 60.0, rig.soon());
    assert_eq!(writes(&rig.tell(letter.clone())), 1);
    let again = rig.tell(letter.clone());
    assert_eq!((writes(&again), outcomes(&again)), (0, vec![]));
    assert_eq!(outcomes(&rig.written(3, Ok(()))), [(3, Outcome::Done)]);
    let again = rig.tell(letter.clone());
    assert_eq!((writes(&again), outcomes(&again)), (0, vec![]), "also after it was answered");
    rig.now = rig.soon();
    let late = rig.tell(letter);
    assert_eq!(writes(&late), 0);
}

#[test]
fn a_command_that_comes_too_late_is_expired_and_nothing_is_sent() {
    let mut rig = ready();
    let now = rig.now;
    let effects = rig.tell(command(3, 60.0, now));
    assert_eq!((writes(&effects), outcomes(&effects)), (0, vec![(3, Outcome::Expired)]));
    assert_eq!(rig.desired(), None);
}

#[test]
fn a_refused_or_unsent_write_failed_and_one_without_an_answer_is_unknown() {
    let cases = [
        (WriteError::Refused("read only".into()), false),
        (WriteError::NotSent("no path".into()), false),
        (WriteError::Unknown("no answer within 2 s".into()), true),
    ];
    for (error, unknown) in cases {
        let mut rig = ready();
        let soon = rig.soon();
        rig.tell(command(3, 60.0, soon));
        let effects = rig.written(3, Err(error.clone()));
        let reason = error.to_string();
        let expected =
            if unknown { Outcome::Unknown { reason } } else { Outcome::Failed { reason } };
        assert_eq!(outcomes(&effects), [(3, expected)]);
        assert_eq!(rig.desired(), unknown.then_some(60.0), "{error}");
    }
    assert_eq!(WriteError::NotSent("no path".into()).to_string(), "not sent: no path");
}

#[test]
fn an_unknown_write_is_shown_until_the_value_is_read_back() {
    let mut rig = ready();
    let soon = rig.soon();
    rig.tell(command(3, 60.0, soon));
    rig.written(3, Err(WriteError::Unknown("no answer".into())));
    for i in 0..5 {
        rig.now = rig.now.plus(Duration::from_secs(1));
        rig.values(2 + i, 12.0);
    }
    assert_eq!(rig.state().0, TwinState::OutOfSync);
    rig.now = rig.now.plus(Duration::from_secs(1));
    let now = rig.now;
    rig.tell(TwinMail::Frame(frame(9, now, 12.0, 60.0)));
    assert_eq!((rig.state().0, rig.desired()), (TwinState::Shadowed, None));
}

#[test]
fn writes_wait_for_their_answer_through_a_change_of_path() {
    let mut rig = ready();
    let soon = rig.soon();
    rig.tell(command(3, 60.0, soon));
    assert_eq!(outcomes(&rig.up()), []);
    assert_eq!(outcomes(&rig.written(3, Ok(()))), [(3, Outcome::Done)]);
}

#[test]
fn more_commands_than_are_remembered_are_refused_and_room_comes_with_time() {
    let mut rig = ready();
    for key in 0..64 {
        let soon = rig.soon();
        rig.tell(command(key, 60.0, soon));
        rig.written(key, Ok(()));
    }
    let soon = rig.soon();
    let effects = rig.tell(command(64, 60.0, soon));
    assert!(matches!(outcomes(&effects)[..], [(64, Outcome::Refused { .. })]));
    rig.now = rig.now.plus(Duration::from_secs(2));
    let soon = rig.soon();
    assert_eq!(writes(&rig.tell(command(65, 60.0, soon))), 1);
}

#[test]
fn an_answer_that_was_set_aside_leaves_its_command_unknown() {
    let mut rig = ready();
    let soon = rig.soon();
    rig.tell(command(3, 60.0, soon));
    let letter = TwinMail::Written(WrittenMail { key: 3, result: Ok(()) });
    let mut effects = Effects::new();
    rig.core.on_set_aside(&rig.plan, &letter, false, rig.now, &mut effects);
    assert!(matches!(outcomes(&effects)[..], [(3, Outcome::Unknown { .. })]));
    assert_eq!(outcomes(&rig.written(3, Ok(()))), [], "it is answered once");
}
