//! The core of a twin as a function: mail in, effects out.

use std::{sync::Arc, time::Duration};

use plantwin_model::{
    AlarmState, Flaw, Outcome, PointIx, Quality, SessionView, Timestamp, TwinState,
};
use proptest::prelude::*;

use super::{Effect, Effects, TwinCore, Vital};
use crate::{
    CommandMail, LinkDownMail, LinkUpMail, SessionMail, TwinEvent, TwinMail, TwinPlan, WrittenMail,
    tests::{durably, frame, plan},
};

mod alarms;
mod commands;
mod durable;
mod quarantine;

const START: Timestamp = Timestamp(1_000_000_000_000);

/// A core with its plan and a clock.
struct Rig {
    plan: TwinPlan,
    core: TwinCore,
    now: Timestamp,
}

impl Rig {
    fn new(mode: &str) -> Self {
        let plan = plan(mode);
        let core = TwinCore::new(&plan, START);
        Self { plan, core, now: START }
    }

    /// A device of which every value is to be recorded.
    fn durable(mode: &str) -> Self {
        let mut rig = Self::new(mode);
        rig.plan.device = Arc::new(durably(&rig.plan.device));
        rig
    }

    /// The line tells that the device proved who it is.
    fn proved(&mut self) -> Effects {
        let expires = self.now.plus(Duration::from_mins(10));
        self.tell(TwinMail::Session(SessionMail::Open { expires, sealed: false }))
    }

    fn tell(&mut self, mail: TwinMail) -> Effects {
        let mut out = Effects::new();
        self.core.apply(&self.plan, mail, self.now, &mut out);
        out
    }

    fn pass(&mut self, time: Duration) -> Effects {
        self.now = self.now.plus(time);
        let mut out = Effects::new();
        self.core.on_time(&self.plan, self.now, &mut out);
        out
    }

    fn up(&mut self) -> Effects {
        self.up_watched(Duration::ZERO)
    }

    /// Over a line that gives a silent device up after `patience`.
    fn up_watched(&mut self, patience: Duration) -> Effects {
        self.tell(TwinMail::LinkUp(LinkUpMail {
            rank: 0,
            endpoint: "wire".into(),
            switches: 0,
            datagrams: false,
            patience,
        }))
    }

    fn values(&mut self, sequence: u64, level: f64) -> Effects {
        let now = self.now;
        self.tell(TwinMail::Frame(frame(sequence, now, level, 50.0)))
    }

    fn state(&self) -> (TwinState, String) {
        let observed = self.core.observed(&self.plan);
        (observed.state, observed.reason)
    }
}

fn alarms(effects: &Effects) -> Vec<String> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Tell(TwinEvent::Alarms(a)) => {
                Some(a.iter().map(|a| a.id.to_string()).collect::<Vec<_>>())
            }
            _ => None,
        })
        .flatten()
        .collect()
}

#[test]
fn a_plain_device_goes_from_unbound_over_bound_to_shadowed() {
    let mut rig = Rig::new("physical");
    assert_eq!(rig.state().0, TwinState::Unbound);
    rig.up();
    assert_eq!(rig.state().0, TwinState::Bound);
    rig.values(1, 12.0);
    assert_eq!(rig.state(), (TwinState::Shadowed, "values are current".into()));
    assert_eq!(rig.core.observed(&rig.plan).session, SessionView::Plain);
}

#[test]
fn a_native_device_is_believed_only_after_it_proved_its_key_and_token() {
    let mut rig = Rig::new("simulated");
    rig.up();
    rig.values(1, 12.0);
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, None, "not believed yet");
    rig.proved();
    let observed = rig.core.observed(&rig.plan);
    assert!(matches!(observed.session, SessionView::Token { .. }), "{:?}", observed.session);
    assert_eq!(observed.points[0].value, Some(12.0), "the value that came early is taken up");
}

#[test]
fn a_device_that_does_not_prove_who_it_is_is_refused_with_an_alarm() {
    let mut rig = Rig::new("simulated");
    rig.up();
    let reason = "the token expired".to_owned();
    let news = SessionMail::Refused { reason, again: false };
    let effects = rig.tell(TwinMail::Session(news));
    assert!(!alarms(&effects).is_empty());
    rig.values(1, 12.0);
    let observed = rig.core.observed(&rig.plan);
    assert_eq!(observed.points[0].value, None);
    assert_eq!(observed.points[0].quality, Quality::Bad(Flaw::Unauthenticated));
}

#[test]
fn an_open_session_outlives_a_delay_of_the_next_and_ends_with_its_own_time() {
    let mut rig = Rig::new("simulated");
    rig.up();
    rig.proved();
    rig.values(1, 12.0);
    let delayed = SessionMail::Refused { reason: "no answer".to_owned(), again: true };
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.tell(TwinMail::Session(delayed));
    rig.values(2, 13.0);
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(13.0));
    rig.now = rig.now.plus(Duration::from_mins(11));
    rig.values(3, 14.0);
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(13.0), "it has expired");
}

#[test]
fn nan_and_infinity_never_enter_the_model() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    for (i, bad) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].into_iter().enumerate() {
        rig.now = rig.now.plus(Duration::from_secs(1));
        let effects = rig.values(2 + i as u64, bad);
        if i == 0 {
            assert!(alarms(&effects).iter().any(|a| a.contains("not-finite")), "{effects:?}");
        }
        let observed = rig.core.observed(&rig.plan);
        assert_eq!(observed.points[0].quality, Quality::Bad(Flaw::NotFinite));
        assert_eq!(observed.points[0].value, Some(12.0), "the last good value stays, marked bad");
        assert_eq!(observed.state, TwinState::OutOfSync);
    }
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.values(9, 12.5);
    let observed = rig.core.observed(&rig.plan);
    assert_eq!(observed.state, TwinState::Shadowed);
    assert!(observed.points[0].predicted.unwrap().is_finite());
}

#[test]
fn values_received_twice_are_applied_once_and_a_device_that_restarted_is_believed() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(7, 12.0);
    let twice = TwinMail::Frame(frame(7, START, 12.0, 50.0));
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.values(8, 13.0);
    rig.tell(twice);
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(13.0));
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.values(0, 14.0);
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(14.0));
}

#[test]
fn a_value_that_is_not_renewed_becomes_visibly_stale_and_an_alive_device_keeps_it() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    let deadline = rig.core.next_deadline(&rig.plan).expect("a deadline for staleness");
    assert!(deadline.since(rig.now) <= Duration::from_secs(3));
    rig.pass(Duration::from_secs(2));
    rig.tell(TwinMail::Alive);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.state().0, TwinState::Shadowed, "the device said that nothing changed");
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.state(), (TwinState::OutOfSync, "level is stale".into()));
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.values(2, 12.0);
    assert_eq!(rig.state().0, TwinState::Shadowed);
}

#[test]
fn a_device_that_hangs_changes_its_state_once_and_shows_its_values_as_stale_before() {
    let mut rig = Rig::new("physical");
    rig.up_watched(Duration::from_secs(5));
    rig.values(1, 12.0);
    let shadowed = rig.core.observed(&rig.plan).since;
    rig.pass(Duration::from_secs(3));
    let waiting = rig.core.observed(&rig.plan);
    assert_eq!(waiting.points[0].quality, Quality::Bad(Flaw::Stale));
    assert_eq!((waiting.state, waiting.since), (TwinState::Shadowed, shadowed));
    assert_eq!(waiting.reason, "nothing came lately, the values are stale");
    rig.pass(Duration::from_secs(2));
    let hung = rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "hung".into() }));
    assert_eq!(alarms(&hung).len(), 1, "{hung:?}");
    assert_eq!(rig.state(), (TwinState::Down, "hung".into()));
    assert_eq!(rig.core.next_deadline(&rig.plan).filter(|at| *at < rig.now), None);
}

#[test]
fn a_device_that_speaks_again_before_it_is_given_up_never_left_its_state() {
    let mut rig = Rig::new("physical");
    rig.up_watched(Duration::from_secs(5));
    rig.values(1, 12.0);
    let shadowed = rig.core.observed(&rig.plan).since;
    rig.pass(Duration::from_secs(4));
    rig.values(2, 12.0);
    assert_eq!(rig.state(), (TwinState::Shadowed, "values are current".into()));
    assert_eq!(rig.core.observed(&rig.plan).since, shadowed);
}

#[test]
fn a_line_that_does_not_judge_a_silence_is_not_waited_for() {
    let mut rig = Rig::new("physical");
    rig.up_watched(Duration::from_secs(4));
    rig.values(1, 12.0);
    rig.pass(Duration::from_secs(3));
    let next = rig.core.next_deadline(&rig.plan).expect("it looks again");
    assert!(next <= rig.now.plus(Duration::from_secs(3)), "{next:?}");
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.state(), (TwinState::OutOfSync, "level is stale".into()));
    // Nor does it come to rest in between.
    assert!(rig.core.next_deadline(&rig.plan).is_none_or(|at| at > rig.now));
}

#[test]
fn a_device_that_hangs_on_one_path_after_the_other_changes_its_state_once() {
    let mut rig = Rig::new("physical");
    rig.up_watched(Duration::from_secs(5));
    rig.values(1, 12.0);
    for _ in 0..3 {
        rig.pass(Duration::from_secs(5));
        rig.up_watched(Duration::from_secs(5));
        assert_eq!(rig.state().1, "nothing came lately, the values are stale");
        assert_eq!(rig.state().0, TwinState::Shadowed);
    }
    rig.pass(Duration::from_secs(5));
    rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "hung".into() }));
    assert_eq!(rig.state(), (TwinState::Down, "hung".into()));
}

#[test]
fn after_a_loss_the_first_values_of_all_points_are_waited_for() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "cable cut".into() }));
    rig.up();
    let mut valve = frame(2, rig.now, 12.0, 50.0);
    valve.frame.samples.retain(|sample| sample.point == PointIx(1));
    rig.tell(TwinMail::Frame(valve));
    assert_eq!(rig.state(), (TwinState::Bound, "waiting for the first values".into()));
    rig.now = rig.now.plus(Duration::from_secs(1));
    rig.values(3, 12.0);
    assert_eq!(rig.state().0, TwinState::Shadowed);
}

#[test]
fn an_alive_device_confirms_no_value_of_an_earlier_run() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    let saved = rig.core.vital(&rig.plan).to_bytes();
    let mut next = Rig::new("physical");
    let vital = Vital::from_bytes(&saved).expect("of this version");
    next.core.restore(&next.plan, vital, next.now, &mut Effects::new());
    next.up();
    next.tell(TwinMail::Alive);
    let point = &next.core.observed(&next.plan).points[0];
    assert_eq!((point.value, point.quality), (Some(12.0), Quality::Bad(Flaw::Stale)));
    assert_eq!(next.state(), (TwinState::Bound, "waiting for the first values".into()));
}

#[test]
fn after_a_restart_with_an_earlier_clock_values_are_live_at_once_and_their_alarms_come() {
    let mut rig = Rig::durable("physical");
    rig.now = START.plus(Duration::from_hours(1));
    rig.up();
    rig.values(1, 12.0);
    let saved = rig.core.vital(&rig.plan).to_bytes();
    let mut next = Rig::durable("physical");
    let vital = Vital::from_bytes(&saved).expect("of this version");
    next.core.restore(&next.plan, vital, next.now, &mut Effects::new());
    let point = |rig: &Rig| rig.core.observed(&rig.plan).points[0].clone();
    assert_eq!(point(&next).received_time, Some(START), "nothing was received in time to come");
    next.up();
    next.now = next.now.plus(Duration::from_secs(1));
    let raised = next.values(2, 19.0);
    assert!(alarms(&raised).iter().any(|a| a.contains("level_high")), "{raised:?}");
    assert_eq!((point(&next).value, point(&next).quality), (Some(19.0), Quality::Good));
    assert_eq!(next.state(), (TwinState::Shadowed, "values are current".into()));
    next.now = next.now.plus(Duration::from_secs(1));
    next.values(3, 18.9);
    assert!(point(&next).residual.is_some(), "its model goes on as well");
}

#[test]
fn a_point_that_grows_stale_while_the_device_speaks_is_out_of_sync_at_once() {
    let mut rig = Rig::new("physical");
    rig.up_watched(Duration::from_secs(5));
    rig.values(1, 12.0);
    rig.now = rig.now.plus(Duration::from_secs(2));
    let mut valve = frame(2, rig.now, 12.0, 50.0);
    valve.frame.samples.retain(|sample| sample.point == PointIx(1));
    rig.tell(TwinMail::Frame(valve));
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.state(), (TwinState::OutOfSync, "level is stale".into()));
}

#[test]
fn a_confined_device_that_does_not_say_it_is_safe_is_an_alarm_of_its_own() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    let told = TwinMail::MadeSafe(Err("it refused".into()));
    assert!(alarms(&rig.tell(told.clone())).is_empty(), "it is not confined");
    rig.tell(TwinMail::Quarantine { key: None, reason: "its seal was forged".into() });
    let failed = alarms(&rig.tell(told));
    assert!(failed.iter().any(|a| a.contains("safe-state")), "{failed:?}");
    let active = |rig: &Rig| {
        let mut views = rig.core.alarms.active();
        views.any(|a| a.id.as_str().contains("safe-state") && a.state == AlarmState::Unacknowledged)
    };
    assert!(active(&rig));
    rig.tell(TwinMail::MadeSafe(Ok(())));
    assert!(!active(&rig));
    // Nor is it in doubt when it goes away then; one that goes before it said so is.
    let gone = || TwinMail::LinkDown(LinkDownMail { reason: "cable cut".into() });
    rig.tell(gone());
    assert!(!active(&rig));
    rig.tell(TwinMail::Release { key: 1 });
    rig.up();
    rig.tell(TwinMail::Quarantine { key: None, reason: "once more".into() });
    assert!(!active(&rig));
    rig.tell(gone());
    assert!(active(&rig));
}

#[test]
fn a_lost_path_is_an_alarm_and_leaves_the_commands_under_way_unknown() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    let write = rig.tell(TwinMail::Command(CommandMail {
        key: 3,
        writes: vec![(PointIx(1), 60.0)],
        expires: rig.now.plus(Duration::from_secs(2)),
    }));
    assert!(write.iter().any(|e| matches!(e, Effect::Write { key: 3, .. })));
    let down = rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "cable cut".into() }));
    assert!(alarms(&down).iter().any(|a| a.contains("comm-loss")), "{down:?}");
    assert!(down.iter().any(|e| matches!(
        e,
        Effect::Tell(TwinEvent::Outcome { key: 3, outcome: Outcome::Unknown { .. } })
    )));
    assert_eq!(rig.state(), (TwinState::Down, "cable cut".into()));
}

#[test]
fn a_setpoint_that_the_device_does_not_follow_is_out_of_sync() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    rig.tell(TwinMail::Command(CommandMail {
        key: 3,
        writes: vec![(PointIx(1), 60.0)],
        expires: rig.now.plus(Duration::from_secs(2)),
    }));
    rig.tell(TwinMail::Written(WrittenMail { key: 3, result: Ok(()) }));
    assert_eq!(rig.core.observed(&rig.plan).points[1].desired, Some(60.0));
    for i in 0..5 {
        rig.now = rig.now.plus(Duration::from_secs(1));
        rig.values(2 + i, 12.0);
    }
    assert_eq!(rig.state(), (TwinState::OutOfSync, "valve does not follow what was asked".into()));
    rig.now = rig.now.plus(Duration::from_secs(1));
    let now = rig.now;
    rig.tell(TwinMail::Frame(frame(9, now, 12.0, 60.0)));
    assert_eq!(rig.state().0, TwinState::Shadowed);
    assert_eq!(rig.core.observed(&rig.plan).points[1].desired, None);
}

#[test]
fn what_is_saved_comes_back_with_its_age_and_never_as_live() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 19.0);
    rig.tell(TwinMail::Acknowledge("level_high".into()));
    let saved = rig.core.vital(&rig.plan).to_bytes();
    let energy = rig.core.observed(&rig.plan).energy_joules;

    let mut next = Rig::new("physical");
    next.now = START.plus(Duration::from_hours(1));
    let mut effects = Effects::new();
    let vital = Vital::from_bytes(&saved).expect("of this version");
    next.core.restore(&next.plan, vital, next.now, &mut effects);
    let observed = next.core.observed(&next.plan);
    assert_eq!(observed.points[0].value, Some(19.0));
    assert_eq!(observed.points[0].quality, Quality::Bad(Flaw::Stale));
    assert_eq!(observed.points[0].received_time, Some(START));
    assert!(observed.energy_joules >= energy);
    let state = effects.iter().find_map(|e| match e {
        Effect::Tell(TwinEvent::Alarms(a)) => Some(a[0].state),
        _ => None,
    });
    assert_eq!(state, Some(AlarmState::Acknowledged));
}

/// A frame as a link makes it of what a store kept.
fn past(sequence: u64, received: Timestamp, time: Option<Timestamp>, level: f64) -> TwinMail {
    let mut mail = frame(sequence, received, level, 50.0);
    for sample in &mut mail.frame.samples {
        sample.quality = Quality::Uncertain(Flaw::Stale);
        sample.source_time = time;
    }
    TwinMail::Frame(mail)
}

#[test]
fn values_of_the_past_are_shown_as_stale_and_are_no_word_of_the_device() {
    const STALE: Quality = Quality::Uncertain(Flaw::Stale);
    let mut rig = Rig::new("physical");
    rig.up();
    rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "cable cut".into() }));
    rig.up();
    let lost: Vec<_> = rig.core.alarms.active().collect();
    assert!(lost.iter().any(|a| a.id.as_str().contains("comm-loss")), "{lost:?}");

    // Far outside of the range, where it would raise an alarm if it were of now.
    let effects = rig.tell(past(500, rig.now, None, 30.0));
    assert!(alarms(&effects).is_empty(), "{effects:?}");
    assert_eq!(rig.core.alarms.active().collect::<Vec<_>>(), lost, "the loss still stands");
    let observed = rig.core.observed(&rig.plan);
    assert_eq!((observed.points[0].value, observed.points[0].quality), (Some(30.0), STALE));
    assert_eq!(observed.points[0].source_time, None, "nobody knows when it was measured");
    assert_eq!((observed.points[0].predicted, observed.points[0].residual), (None, None));
    assert_eq!(rig.state(), (TwinState::OutOfSync, "level is stale".into()));

    let old = rig.now;
    rig.pass(Duration::from_secs(100));
    rig.tell(TwinMail::Alive);
    rig.pass(Duration::from_secs(1));
    rig.tell(past(500, rig.now, Some(old), 16.0));
    let observed = rig.core.observed(&rig.plan);
    assert_eq!((observed.points[0].value, observed.points[0].quality), (Some(16.0), STALE));
    assert_eq!(observed.points[0].source_time, Some(old));
    assert_eq!(rig.state(), (TwinState::OutOfSync, "level is stale".into()));

    // The device has restarted since: it counts from the beginning, and tells no time.
    let mut live = frame(1, rig.now, 12.0, 50.0);
    live.frame.samples.iter_mut().for_each(|s| s.source_time = None);
    rig.tell(TwinMail::Frame(live));
    let observed = rig.core.observed(&rig.plan);
    assert_eq!((observed.points[0].value, observed.points[0].quality), (Some(12.0), Quality::Good));
    assert_eq!(observed.points[0].predicted, Some(12.0), "the model begins with the live value");
    assert_eq!(rig.state(), (TwinState::Shadowed, "values are current".into()));
}

#[test]
fn a_live_device_ends_a_loss_of_communication_that_a_value_of_the_past_did_not() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "cable cut".into() }));
    rig.up();
    rig.tell(past(1, rig.now, None, 12.0));
    let lost: Vec<_> = rig.core.alarms.active().collect();
    rig.now = rig.now.plus(Duration::from_secs(1));
    let effects = rig.values(2, 12.0);
    let told = effects.iter().any(|e| matches!(e, Effect::Tell(TwinEvent::Alarms(_))));
    assert!(told, "{effects:?}");
    assert_ne!(rig.core.alarms.active().collect::<Vec<_>>(), lost);
}

#[test]
fn a_value_of_the_past_takes_the_place_of_no_newer_one_and_confirms_none() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(7, 12.0);
    let measured = rig.now;
    rig.now = rig.now.plus(Duration::from_secs(2));
    for time in [None, Some(measured), Some(Timestamp(5))] {
        let mut mail = past(8, rig.now, time, 30.0);
        if let TwinMail::Frame(mail) = &mut mail {
            mail.frame.sequence = None;
        }
        rig.tell(mail);
        let point = &rig.core.observed(&rig.plan).points[0];
        assert_eq!((point.value, point.quality), (Some(12.0), Quality::Good), "{time:?}");
        assert_eq!(point.received_time, Some(measured));
    }
    rig.pass(Duration::from_millis(1001));
    assert_eq!(rig.state(), (TwinState::OutOfSync, "level is stale".into()));
}

#[test]
fn a_flow_moves_the_model() {
    let mut rig = Rig::new("physical");
    rig.up();
    rig.values(1, 12.0);
    // 29 cm3/s in, 1 cm3/s out, 28 cm2: one centimetre a second.
    rig.tell(TwinMail::Flow(crate::FlowMail { flow: 0, value: 29e-6 }));
    rig.now = rig.now.plus(Duration::from_secs(2));
    rig.values(2, 14.0);
    let observed = rig.core.observed(&rig.plan);
    assert!((observed.points[0].predicted.unwrap() - 14.0).abs() < 1e-6, "{:?}", observed.points);
}

proptest! {
    #[test]
    fn no_order_of_letters_panics_or_lets_a_bad_number_through(
        letters in proptest::collection::vec((0_u8..8, any::<f64>(), 0_u64..5_000), 1..60),
    ) {
        let mut rig = Rig::new("physical");
        for (i, (kind, value, millis)) in letters.into_iter().enumerate() {
            rig.now = rig.now.plus(Duration::from_millis(millis));
            match kind {
                0 => { rig.up(); }
                1 => { rig.tell(TwinMail::LinkDown(LinkDownMail { reason: "x".into() })); }
                2 => { rig.values(i as u64, value); }
                3 => { rig.tell(TwinMail::Alive); }
                4 => { rig.tell(TwinMail::Flow(crate::FlowMail { flow: (millis % 3) as u16, value })); }
                5 => { rig.tell(TwinMail::Command(CommandMail {
                    key: i as u64,
                    writes: vec![(PointIx((millis % 4) as u16), value)],
                    expires: rig.now.plus(Duration::from_secs(1)),
                })); }
                6 => { rig.tell(TwinMail::Written(WrittenMail { key: i as u64, result: Ok(()) })); }
                _ => { rig.pass(Duration::from_millis(millis)); }
            }
            let copy = rig.core.clone();
            prop_assert_eq!(copy.observed(&rig.plan), rig.core.observed(&rig.plan));
            for point in rig.core.observed(&rig.plan).points {
                prop_assert!(point.value.is_none_or(f64::is_finite));
                prop_assert!(point.predicted.is_none_or(f64::is_finite));
            }
        }
    }
}
