//! A device that is confined counts for nothing, is brought to its safe state, and comes back by
//! an explicit act alone.

use super::*;

const EVIDENCE: &str = "32 forged envelopes within 10 s";

fn confine(rig: &mut Rig) -> Effects {
    rig.tell(TwinMail::Quarantine { key: None, reason: EVIDENCE.to_owned() })
}

fn with_safe_state() -> Rig {
    let mut rig = Rig::new("physical");
    let mut device = rig.plan.device.as_ref().clone();
    let mut kind = device.kind.as_ref().clone();
    kind.points[1].safe = Some(0.0);
    device.kind = Arc::new(kind);
    rig.plan.device = Arc::new(device);
    rig
}

fn shadowed() -> Rig {
    let mut rig = with_safe_state();
    rig.up();
    rig.values(1, 12.0);
    assert_eq!(rig.state().0, TwinState::Shadowed);
    rig
}

#[test]
fn evidence_confines_the_device_raises_an_alarm_and_asks_for_its_safe_state() {
    let mut rig = shadowed();
    let effects = confine(&mut rig);
    let safe = effects.iter().find_map(|e| match e {
        Effect::Confine { safe } => Some(safe.to_vec()),
        _ => None,
    });
    assert_eq!(safe, Some(vec![(PointIx(1), 0.0)]));
    assert!(alarms(&effects).iter().any(|a| a.ends_with(".quarantined")), "{effects:?}");
    let (state, reason) = rig.state();
    assert_eq!((state, reason.contains(EVIDENCE)), (TwinState::Quarantined, true));
}

#[test]
fn neither_values_nor_links_nor_proofs_bring_it_out() {
    let mut rig = shadowed();
    confine(&mut rig);
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.values(2, 15.0);
    rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "gone".into() }));
    rig.up();
    rig.proved();
    rig.values(3, 16.0);
    let observed = rig.core.observed(&rig.plan);
    assert_eq!(observed.state, TwinState::Quarantined);
    assert_eq!(observed.points[0].quality, Quality::Bad(Flaw::Quarantined));
    assert_eq!(observed.points[0].predicted, Some(12.0), "the model learns nothing more");
}

#[test]
fn commands_are_refused_and_those_under_way_are_of_unknown_outcome() {
    let mut rig = shadowed();
    let writes = vec![(PointIx(1), 60.0)];
    let expires = rig.now.plus(Duration::from_secs(5));
    rig.tell(TwinMail::Command(CommandMail { key: 1, writes: writes.clone(), expires }));
    let outcome = |effects: &Effects| {
        effects.iter().find_map(|e| match e {
            Effect::Tell(TwinEvent::Outcome { outcome, .. }) => Some(outcome.clone()),
            _ => None,
        })
    };
    assert!(matches!(outcome(&confine(&mut rig)), Some(Outcome::Unknown { .. })));
    let effects = rig.tell(TwinMail::Command(CommandMail { key: 2, writes, expires }));
    assert!(matches!(outcome(&effects), Some(Outcome::Refused { .. })), "{effects:?}");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Write { .. })));
}

#[test]
fn what_a_confined_durable_device_says_is_recorded_with_a_mark() {
    let mut rig = Rig::durable("physical");
    rig.up();
    confine(&mut rig);
    let effects = rig.values(1, 12.0);
    let marked = effects.iter().any(|e| match e {
        Effect::Tell(TwinEvent::Telemetry(t)) => {
            t.samples.iter().all(|s| s.quality == Quality::Bad(Flaw::Quarantined))
                && t.samples[0].value == Some(12.0)
        }
        _ => false,
    });
    assert!(marked, "{effects:?}");
}

#[test]
fn what_was_said_under_the_mark_is_recorded_once_and_is_no_gap_when_the_device_is_let_go() {
    let mut rig = Rig::durable("physical");
    rig.up();
    let told = |effects: &Effects| -> Vec<(Option<u64>, bool, u64)> {
        let telemetry = |e: &Effect| match e {
            Effect::Tell(TwinEvent::Telemetry(t)) => Some((t.sequence, t.duplicate, t.missing)),
            _ => None,
        };
        effects.iter().filter_map(telemetry).collect()
    };
    rig.values(1, 12.0);
    confine(&mut rig);
    assert_eq!(told(&rig.values(2, 12.0)), [(Some(2), false, 0)]);
    assert_eq!(told(&rig.values(5, 12.0)), [(Some(5), false, 2)]);
    assert_eq!(told(&rig.values(5, 12.0)), [(Some(5), true, 0)], "it came again");
    rig.tell(TwinMail::Release { key: 9 });
    rig.now = rig.now.plus(Duration::from_secs(1));
    assert_eq!(told(&rig.values(6, 12.0)), [(Some(6), false, 0)]);
}

#[test]
fn what_it_said_before_it_was_let_go_is_marked_also_when_it_comes_after_that() {
    let mut rig = shadowed();
    confine(&mut rig);
    rig.now = rig.now.plus(Duration::from_secs(1));
    let overtaken = frame(2, rig.now, 99.0, 50.0);
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.tell(TwinMail::Release { key: 9 });
    rig.tell(TwinMail::Frame(overtaken));
    let observed = rig.core.observed(&rig.plan);
    assert_eq!(observed.points[0].quality, Quality::Bad(Flaw::Quarantined));
    assert_eq!(observed.points[0].predicted, Some(12.0), "the model learns nothing of it");
    rig.values(3, 12.5);
    let observed = rig.core.observed(&rig.plan);
    assert_eq!((observed.points[0].value, observed.points[0].quality), (Some(12.5), Quality::Good));
}

#[test]
fn it_survives_the_process_and_ends_with_its_release() {
    let mut rig = shadowed();
    confine(&mut rig);
    let saved = rig.core.vital(&rig.plan).to_bytes();
    let mut next = with_safe_state();
    let mut effects = Effects::new();
    let vital = Vital::from_bytes(&saved).expect("of this version");
    next.core.restore(&next.plan, vital, next.now, &mut effects);
    let safe = effects.iter().any(|e| matches!(e, Effect::Confine { safe } if !safe.is_empty()));
    assert!(safe, "{effects:?}");
    next.up();
    next.values(1, 12.0);
    assert_eq!(next.state().0, TwinState::Quarantined);
    let effects = next.tell(TwinMail::Release { key: 9 });
    assert!(effects.iter().any(|e| matches!(e, Effect::Unconfine)));
    next.now = next.now.plus(Duration::from_secs(1));
    next.values(2, 12.5);
    assert_eq!(next.state().0, TwinState::Shadowed);
    let again = next.tell(TwinMail::Release { key: 10 });
    let refused = again.iter().any(|e| {
        matches!(e, Effect::Tell(TwinEvent::Outcome { outcome: Outcome::Refused { .. }, .. }))
    });
    assert!(refused, "{again:?}");
}
