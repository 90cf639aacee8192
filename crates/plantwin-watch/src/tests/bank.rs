//! Transitions, delays, texts and memory of the bank.

use std::{sync::Arc, time::Duration};

use plantwin_model::{AlarmSource, AlarmState, Compare, Flaw, Priority, Quality, Timestamp};

use super::{FLOW, LEVEL, Rig, alarm, tank};
use crate::{AlarmBank, AlarmPlan, Changes, Condition, WatchError};

const NONE: [&str; 0] = [];

/// A rig whose type has the prompt high alarm only.
fn prompt() -> Rig {
    let mut kind = tank();
    kind.alarms.truncate(1);
    Rig::of(&kind)
}

#[test]
fn an_alarm_goes_from_normal_to_unacknowledged_to_acknowledged_to_normal() {
    let mut rig = prompt();
    assert_eq!(rig.level(17.9), NONE);
    assert_eq!(rig.level(18.4), ["raised level_high"]);
    assert_eq!(rig.ack("level_high"), ["acknowledged level_high"]);
    assert_eq!(rig.level(17.5), ["cleared level_high"]);
    assert_eq!(rig.bank.active().count(), 0);
}

#[test]
fn an_alarm_that_returns_unacknowledged_stays_until_it_is_acknowledged() {
    let mut rig = prompt();
    rig.level(18.4);
    assert_eq!(rig.level(17.0), ["returned level_high"]);
    let shown = rig.bank.active().next().unwrap();
    assert_eq!(shown.state, AlarmState::ReturnedUnacknowledged);
    assert_eq!(rig.level(17.0), NONE, "a returned alarm does not return twice");
    assert_eq!(rig.ack("level_high"), ["cleared level_high"]);
    assert_eq!(rig.bank.active().count(), 0);
}

#[test]
fn a_returned_alarm_is_raised_again_with_its_new_value() {
    let mut rig = prompt();
    rig.level(18.4);
    rig.after(1000).level(17.0);
    assert_eq!(rig.after(1000).level(19.0), ["raised level_high"]);
    let shown = rig.bank.active().next().unwrap();
    assert_eq!(shown.state, AlarmState::Unacknowledged);
    assert_eq!(shown.text, "level 19 cm > 18 cm");
    assert_eq!(shown.raised, Timestamp::from_millis(2000));
}

#[test]
fn an_acknowledged_alarm_can_be_raised_again_only_after_it_was_normal() {
    let mut rig = prompt();
    rig.level(18.4);
    rig.ack("level_high");
    assert_eq!(rig.level(19.9), NONE);
    assert_eq!(rig.ack("level_high"), NONE, "acknowledging twice does no harm");
    rig.level(17.0);
    assert_eq!(rig.level(18.1), ["raised level_high"]);
}

#[test]
fn a_view_names_value_limit_unit_priority_and_response() {
    let mut rig = prompt();
    rig.after(1500).level(18.400_000_000_000_002);
    let shown = rig.bank.active().next().unwrap();
    assert_eq!(shown.id.as_str(), "tank1.level_high");
    assert_eq!(shown.twin.as_str(), "tank1");
    assert_eq!(shown.text, "level 18.4 cm > 18 cm");
    assert_eq!(shown.response, "close the inlet");
    assert_eq!((shown.priority, shown.source), (Priority::Critical, AlarmSource::Threshold));
    assert_eq!((shown.raised, shown.since), (rig.now, rig.now));
    rig.level(18.9);
    let kept = rig.bank.active().next().unwrap();
    assert_eq!(kept.text, shown.text, "the text keeps the value that raised it");
}

#[test]
fn a_low_alarm_watches_the_other_side_and_pure_numbers_have_no_unit() {
    let mut kind = tank();
    kind.alarms = vec![alarm("share_low", Compare::Below, 2.0, 0, 0)];
    kind.alarms[0].point = FLOW;
    let mut rig = Rig::of(&kind);
    assert_eq!(rig.level(1.0), NONE, "another point");
    let share = |rig: &mut Rig, value| {
        rig.run(|bank, now, out| bank.on_value(FLOW, value, Quality::Good, now, out))
    };
    assert_eq!(share(&mut rig, 2.0), NONE, "the limit itself is not beyond it");
    assert_eq!(share(&mut rig, 1.5), ["raised share_low"]);
    assert_eq!(rig.bank.active().next().unwrap().text, "share 1.5 < 2");
    assert_eq!(share(&mut rig, 2.4), NONE, "within the deadband");
    assert_eq!(share(&mut rig, 2.5), ["returned share_low"]);
}

#[test]
fn an_on_delay_is_waited_for_and_a_value_back_in_time_stops_it() {
    let mut rig = Rig::new();
    rig.level(18.4);
    assert_eq!(rig.bank.next_deadline(), Some(Timestamp::from_millis(2000)));
    assert_eq!(rig.after(1999).tick(), NONE);
    assert_eq!(rig.level(17.9), NONE, "back below the limit: the delay stops");
    assert_eq!(rig.bank.next_deadline(), None);
    rig.level(18.4);
    assert_eq!(rig.after(2000).tick(), ["raised level_slow"]);
    let slow = rig.bank.view(rig.ix("level_slow")).unwrap();
    assert_eq!(slow.raised, Timestamp::from_millis(3999));
}

#[test]
fn a_late_owner_raises_what_was_due_before_the_new_value_is_judged() {
    let mut rig = Rig::new();
    rig.level(18.4);
    // 2 s are over when the next value, back to normal, arrives after 10 s: the alarm was due.
    assert_eq!(rig.after(10_000).level(10.0), ["returned level_high", "raised level_slow"]);
    let slow = rig.bank.view(rig.ix("level_slow")).unwrap();
    assert_eq!(slow.raised, Timestamp::from_millis(2000));
}

#[test]
fn a_value_at_the_very_end_of_a_delay_still_counts() {
    let mut rig = Rig::new();
    rig.level(18.4);
    assert_eq!(rig.after(2000).level(17.8), NONE);
    assert_eq!(rig.bank.state(rig.ix("level_slow")), None);
}

#[test]
fn an_off_delay_is_waited_for_and_a_relapse_stops_it() {
    let mut rig = Rig::new();
    rig.level(18.4);
    rig.after(2000).tick();
    rig.level(17.0);
    assert_eq!(rig.bank.next_deadline(), Some(Timestamp::from_millis(5000)));
    rig.after(2900).level(17.8);
    assert_eq!(rig.bank.next_deadline(), None, "inside the deadband is not back");
    rig.level(17.0);
    assert_eq!(rig.after(3000).tick(), ["returned level_slow"]);
}

#[test]
fn bad_or_non_finite_values_leave_an_on_delay_alone_and_stop_an_off_delay() {
    let bad = Quality::Bad(Flaw::DeviceReported);
    let mut rig = Rig::new();
    rig.level(18.4);
    rig.after(1000).level_as(10.0, bad);
    assert_eq!(rig.after(1000).tick(), ["raised level_slow"]);
    rig.level(17.0);
    assert!(rig.bank.next_deadline().is_some());
    rig.after(1000).level_as(f64::NAN, Quality::Good);
    assert_eq!(rig.bank.next_deadline(), None);
    assert_eq!(rig.after(9000).tick(), NONE);
}

#[test]
fn uncertain_values_count_because_a_level_out_of_range_is_what_a_high_alarm_is_for() {
    let mut rig = prompt();
    let quality = Quality::Uncertain(Flaw::OutOfRange);
    assert_eq!(rig.level_as(25.0, quality), ["raised level_high"]);
}

#[test]
fn conditions_are_raised_once_change_their_text_silently_and_clear() {
    let mut rig = Rig::new();
    for condition in Condition::ALL {
        let raise = |text: &'static str| {
            move |bank: &mut AlarmBank, now, out: &mut Changes| {
                bank.raise(condition, text, now, out);
            }
        };
        assert_eq!(rig.run(raise("first")).len(), 1);
        assert_eq!(rig.run(raise("second")), NONE);
        let shown = rig.bank.view(AlarmPlan::condition(condition)).unwrap();
        assert_eq!((&*shown.text, shown.priority), ("second", Priority::High));
        assert!(!shown.response.is_empty());
        let name = shown.id.as_str().strip_prefix("tank1.").unwrap().to_owned();
        rig.ack(&name);
        let cleared = rig.run(|bank, now, out| bank.clear(condition, "", now, out));
        assert_eq!(cleared, [format!("cleared {name}")]);
        assert_eq!(rig.run(|bank, now, out| bank.clear(condition, "", now, out)), NONE);
    }
}

#[test]
fn each_condition_has_the_source_it_is_named_after() {
    let plan = AlarmPlan::of(&tank());
    let source = |c| plan.get(AlarmPlan::condition(c)).unwrap().source;
    assert_eq!(source(Condition::CommLoss), AlarmSource::CommLoss);
    assert_eq!(source(Condition::NotFinite), AlarmSource::NotFinite);
    assert_eq!(source(Condition::Session), AlarmSource::Session);
    assert_eq!(source(Condition::Supervision), AlarmSource::Supervision);
}

#[test]
fn only_modelled_points_have_a_residual_alarm() {
    let plan = AlarmPlan::of(&tank());
    assert!(plan.find("residual-level").is_some());
    assert!(plan.find("residual-share").is_none());
    let mut rig = Rig::new();
    for _ in 0..200 {
        assert_eq!(rig.run(|bank, now, out| bank.on_residual(FLOW, 1e9, now, out)), NONE);
    }
}

#[test]
fn acknowledging_says_why_it_is_refused() {
    let mut rig = prompt();
    let mut refuse =
        |name: &str| rig.bank.acknowledge(name, rig.now, &mut Changes::new()).unwrap_err();
    assert_eq!(refuse("level_high"), WatchError::Normal("level_high".into()));
    assert_eq!(refuse("nonsense"), WatchError::UnknownAlarm("nonsense".into()));
}

#[test]
fn a_pending_alarm_is_neither_shown_nor_acknowledged() {
    let mut kind = tank();
    kind.alarms = vec![alarm("slow", Compare::Above, 18.0, 2, 0)];
    let mut rig = Rig::of(&kind);
    rig.level(19.0);
    assert_eq!(rig.bank.active().count(), 0);
    let refused = rig.bank.acknowledge("slow", rig.now, &mut Changes::new());
    assert_eq!(refused, Err(WatchError::Normal("slow".into())));
}

#[test]
fn an_idle_calibrated_bank_of_a_tank_takes_no_more_than_300_bytes() {
    let mut rig = Rig::new();
    for i in 0..100 {
        rig.after(500).level(10.0);
        let residual = 0.001 * f64::from(i % 3);
        rig.run(|bank, now, out| bank.on_residual(LEVEL, residual, now, out));
    }
    assert!(rig.bank.half_width(LEVEL).is_some());
    let heap: usize = rig.bank.bands.iter().map(|b| size_of_val(b) + b.heap_bytes()).sum();
    let all = size_of::<AlarmBank>() + heap + rig.bank.live.capacity();
    assert!(all <= 300, "{all} bytes");
    assert_eq!(rig.bank.live.capacity(), 0);
}

#[test]
fn a_snapshot_of_an_edited_type_drops_what_the_type_no_longer_has() {
    let mut rig = Rig::new();
    rig.level(19.0);
    rig.after(2000).tick();
    rig.run(|bank, now, out| bank.raise(Condition::CommLoss, "gone", now, out));
    let snapshot = rig.bank.snapshot();

    let mut kind = tank();
    kind.alarms.retain(|a| &*a.name == "level_slow");
    kind.model = None;
    let mut edited = Rig::of(&kind);
    edited.bank.restore(snapshot, rig.now);
    let names: Vec<_> = edited.bank.active().map(|a| a.id.to_string()).collect();
    assert_eq!(names, ["tank1.level_slow", "tank1.comm-loss"]);
}

#[test]
fn a_residual_alarm_whose_band_is_learnt_afresh_is_not_left_hanging() {
    let mut rig = Rig::new();
    for _ in 0..60 {
        rig.run(|bank, now, out| bank.on_residual(LEVEL, 0.0, now, out));
    }
    for _ in 0..4 {
        rig.run(|bank, now, out| bank.on_residual(LEVEL, 5.0, now, out));
    }
    let text = "level is 5 cm off its model, band 0.1 cm";
    assert_eq!(rig.bank.active().next().unwrap().text, text);
    let mut snapshot = rig.bank.snapshot();
    snapshot.bands.clear();
    let mut other = Rig::new();
    other.bank.restore(snapshot, rig.now);
    let state = other.bank.state(other.ix("residual-level"));
    assert_eq!(state, Some(AlarmState::ReturnedUnacknowledged));
}

#[test]
fn a_plan_is_shared_and_time_near_the_end_of_its_range_does_not_overflow() {
    let plan = Arc::new(AlarmPlan::of(&tank()));
    let mut bank = AlarmBank::new(plan.clone(), "a".into());
    let twin = AlarmBank::new(plan, "b".into());
    assert!(Arc::ptr_eq(bank.plan(), twin.plan()));
    let mut out = Changes::new();
    for now in [Timestamp(i64::MIN), Timestamp(i64::MAX)] {
        bank.on_value(LEVEL, 19.0, Quality::Good, now, &mut out);
        bank.tick(now.plus(Duration::from_secs(9)), &mut out);
    }
    assert_eq!(bank.active().count(), 2);
}

#[test]
fn an_alarm_that_was_told_is_taken_up_and_returns_by_the_usual_rules() {
    let mut told = prompt().bank;
    let mut out = Changes::new();
    told.on_value(LEVEL, 19.0, Quality::Good, Timestamp::from_millis(5_000), &mut out);
    told.raise(Condition::CommLoss, "cable cut", Timestamp::from_millis(6_000), &mut out);
    let views: Vec<_> = told.active().collect();

    let now = Timestamp::from_millis(8_000);
    let mut bank = prompt().bank;
    for view in &views {
        assert!(bank.adopt(view, now));
        assert!(!bank.adopt(view, now), "once");
    }
    assert_eq!(bank.active().collect::<Vec<_>>(), views);
    // A newer word of the same alarm counts, an older one does not.
    let mut newer = views[0].clone();
    newer.state = AlarmState::Acknowledged;
    newer.since = Timestamp::from_millis(7_000);
    assert!(bank.adopt(&newer, now));
    assert!(!bank.adopt(&views[0], now));
    let kept = bank.snapshot();
    let mut stored = prompt().bank;
    stored.restore(kept, now);
    assert_eq!(stored.active().collect::<Vec<_>>(), bank.active().collect::<Vec<_>>());

    let mut out = Changes::new();
    bank.on_value(LEVEL, 12.0, Quality::Good, Timestamp::from_millis(8_000), &mut out);
    bank.clear(Condition::CommLoss, "", Timestamp::from_millis(8_000), &mut out);
    let left: Vec<_> = bank.active().map(|a| (a.source, a.state)).collect();
    let expected = [(AlarmSource::CommLoss, AlarmState::ReturnedUnacknowledged)];
    assert_eq!(left, expected, "the acknowledged one is normal again");
    // Raised anew it speaks of the new value.
    bank.on_value(LEVEL, 19.5, Quality::Good, Timestamp::from_millis(9_000), &mut out);
    assert!(bank.active().any(|a| a.text.contains("19.5")));
}

#[test]
fn a_residual_alarm_of_an_earlier_run_waits_for_nobody_but_the_operator() {
    let mut bank = prompt().bank;
    let (alarm, ..) = bank.plan().residuals().next().expect("a modelled point");
    let name = bank.plan().get(alarm).unwrap().name.to_string();
    bank.live.push(crate::bank::Live {
        alarm,
        state: Some(AlarmState::Unacknowledged),
        since: Timestamp(1),
        raised: Timestamp(1),
        due: None,
        value: 3.0,
        note: None,
    });
    let view = bank.view(alarm).unwrap();
    let mut next = prompt().bank;
    assert!(next.adopt(&view, Timestamp(2)));
    // Its band is learnt afresh, so nothing would ever clear it.
    assert_eq!(next.state(alarm), Some(AlarmState::ReturnedUnacknowledged));
    next.acknowledge(&name, Timestamp(2), &mut Changes::new()).unwrap();
    assert_eq!(next.state(alarm), None);
}

#[test]
fn alarms_of_strangers_and_of_names_that_are_gone_are_not_taken_up() {
    let mut told = prompt().bank;
    told.raise(Condition::CommLoss, "cable cut", Timestamp(1), &mut Changes::new());
    let view = told.active().next().unwrap();
    for id in ["tank2.comm-loss", "tank1.no_such", "tank1", "", "tank1comm-loss"] {
        let mut odd = view.clone();
        odd.id = plantwin_model::AlarmId::new(id.to_owned());
        let mut bank = prompt().bank;
        assert!(!bank.adopt(&odd, Timestamp(1)), "{id}");
        assert_eq!(bank.active().count(), 0);
    }
}

#[test]
fn after_the_clock_was_set_back_a_delay_is_no_longer_than_it_is_and_the_newer_word_counts() {
    let mut rig = Rig::new();
    rig.level(19.0);
    let later = rig.now;
    let saved = rig.bank.snapshot();
    let due = saved.alarms.iter().filter_map(|a| a.due).max().expect("a delay runs");
    let delay = due.since(later);
    let now = Timestamp(later.0 - 3_600_000_000_000);
    let mut bank = Rig::new().bank;
    bank.restore(saved, now);
    assert!(bank.next_deadline().is_some_and(|at| at <= now.plus(delay)));

    let mut before = prompt().bank;
    before.raise(Condition::CommLoss, "cable cut", later, &mut Changes::new());
    let mut acknowledged = before.active().next().unwrap();
    (acknowledged.state, acknowledged.since) = (AlarmState::Acknowledged, now);
    assert!(before.adopt(&acknowledged, now), "it was told after the clock was set back");
}
