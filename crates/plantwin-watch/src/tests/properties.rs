//! Properties of the bank over arbitrary histories.

use plantwin_model::{AlarmState, Flaw, Quality};
use proptest::prelude::*;

use super::{LEVEL, Rig};
use crate::{AlarmChange, Changes, Condition};

#[derive(Clone, Debug)]
enum Step {
    Value(f64, Quality),
    Residual(f64),
    Raise(u8),
    Clear(u8),
    Acknowledge(u8),
    Tick,
}

fn quality() -> impl Strategy<Value = Quality> {
    prop_oneof![
        3 => Just(Quality::Good),
        1 => Just(Quality::Uncertain(Flaw::OutOfRange)),
        1 => Just(Quality::Bad(Flaw::Stale)),
    ]
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let value = prop_oneof![8 => 0.0..25.0, 1 => Just(f64::NAN), 1 => Just(18.0)];
    let step = prop_oneof![
        5 => (value, quality()).prop_map(|(v, q)| Step::Value(v, q)),
        3 => prop_oneof![-0.2..0.2, Just(3.0)].prop_map(Step::Residual),
        1 => (0_u8..4).prop_map(Step::Raise),
        1 => (0_u8..4).prop_map(Step::Clear),
        2 => (0_u8..8).prop_map(Step::Acknowledge),
        2 => Just(Step::Tick),
    ];
    (0_u64..2500, step)
}

fn apply(rig: &mut Rig, step: &(u64, Step)) -> Changes {
    let mut out = Changes::new();
    rig.after(step.0);
    let (bank, now) = (&mut rig.bank, rig.now);
    match step.1 {
        Step::Value(value, quality) => bank.on_value(LEVEL, value, quality, now, &mut out),
        Step::Residual(residual) => bank.on_residual(LEVEL, residual, now, &mut out),
        Step::Raise(i) => bank.raise(Condition::ALL[usize::from(i)], "raised", now, &mut out),
        Step::Clear(i) => bank.clear(Condition::ALL[usize::from(i)], "cleared", now, &mut out),
        Step::Acknowledge(i) => {
            let name = bank.plan().iter().nth(usize::from(i)).map(|(_, d)| d.name.clone());
            // Refused while the alarm is normal, which then must change nothing.
            let _ = bank.acknowledge(&name.unwrap(), now, &mut out);
        }
        Step::Tick => bank.tick(now, &mut out),
    }
    out
}

proptest! {
    #[test]
    fn every_change_is_a_row_of_the_table_and_nothing_changes_unreported(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        use AlarmState::{Acknowledged, ReturnedUnacknowledged, Unacknowledged};
        let mut rig = Rig::new();
        let mut states: Vec<Option<AlarmState>> = vec![None; rig.bank.plan().iter().count()];
        for step in &steps {
            for change in apply(&mut rig, step) {
                let state = &mut states[usize::from(change.alarm().0)];
                *state = match (change, *state) {
                    (AlarmChange::Raised(_), None | Some(ReturnedUnacknowledged)) => {
                        Some(Unacknowledged)
                    }
                    (AlarmChange::Acknowledged(_), Some(Unacknowledged)) => Some(Acknowledged),
                    (AlarmChange::Returned(_), Some(Unacknowledged)) => {
                        Some(ReturnedUnacknowledged)
                    }
                    (AlarmChange::Cleared(_), Some(Acknowledged | ReturnedUnacknowledged)) => None,
                    (change, state) => panic!("{change:?} in {state:?}"),
                };
            }
            let now: Vec<_> =
                rig.bank.plan().iter().map(|(ix, _)| rig.bank.state(ix)).collect();
            prop_assert_eq!(&now, &states);
            let (due, time) = (rig.bank.next_deadline(), rig.now);
            if matches!(step.1, Step::Tick) {
                prop_assert!(due.is_none_or(|due| due > time), "a tick leaves nothing due");
            }
        }
    }

    #[test]
    fn an_alarm_never_chatters_inside_its_deadband(
        values in prop::collection::vec((0_u64..5000, 17.500_001..25.0_f64), 1..100)
    ) {
        let mut rig = Rig::new();
        let mut raised = 0;
        for (ms, value) in values {
            let changes = rig.after(ms).level(value);
            raised += changes.iter().filter(|c| *c == "raised level_high").count();
            prop_assert!(!changes.iter().any(|c| c.starts_with("returned")), "{:?}", changes);
        }
        prop_assert!(raised <= 1);
    }

    #[test]
    fn bad_values_change_no_alarm_whatever_went_before(
        steps in prop::collection::vec(step(), 0..60),
        values in prop::collection::vec(any::<f64>(), 1..20),
    ) {
        let mut rig = Rig::new();
        for step in &steps {
            apply(&mut rig, step);
        }
        let before: Vec<_> = rig.bank.active().collect();
        for value in values {
            prop_assert!(rig.after(1).level_as(value, Quality::Bad(Flaw::CommLost)).is_empty());
        }
        prop_assert_eq!(before, rig.bank.active().collect::<Vec<_>>());
    }

    #[test]
    fn bad_values_alone_never_raise_however_long_they_last(
        values in prop::collection::vec((0_u64..10_000, any::<f64>()), 1..50)
    ) {
        let mut rig = Rig::new();
        for (ms, value) in values {
            prop_assert!(rig.after(ms).level_as(value, Quality::Bad(Flaw::Stale)).is_empty());
            prop_assert!(rig.tick().is_empty());
            prop_assert_eq!(rig.bank.next_deadline(), None);
        }
    }

    #[test]
    fn restoring_a_stored_snapshot_gives_the_same_bank(
        steps in prop::collection::vec(step(), 0..150)
    ) {
        let mut rig = Rig::new();
        for step in &steps {
            apply(&mut rig, step);
        }
        let bytes = postcard::to_stdvec(&rig.bank.snapshot()).unwrap();
        let mut other = Rig::new();
        other.level(25.0);
        other.bank.restore(postcard::from_bytes(&bytes).unwrap(), rig.now);
        prop_assert_eq!(&other.bank, &rig.bank);
    }

    #[test]
    fn foreign_snapshot_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(snapshot) = postcard::from_bytes(&bytes) {
            let mut rig = Rig::new();
            let now = rig.now;
            rig.bank.restore(snapshot, now);
            rig.after(1).level(19.0);
            rig.tick();
            let _ = rig.bank.active().count();
        }
    }
}
