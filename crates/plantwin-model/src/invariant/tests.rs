use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::*;
use crate::{MailboxView, PointView, Quality, SessionView, TwinTable};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn failed() -> Outcome {
    Outcome::Failed { reason: "no".into() }
}

fn refused() -> Outcome {
    Outcome::Refused { reason: "no".into() }
}

fn unknown() -> Outcome {
    Outcome::Unknown { reason: "silence".into() }
}

fn breaks(rule: Rule, verdict: Verdict) {
    assert_eq!(verdict.expect_err("a planted fault").rule, rule);
}

#[test]
fn more_restarts_than_the_policy_allows_are_found_and_given_up_twins_are_not() {
    let judge = |life: &[Life]| restarts("a", 2, Duration::from_mins(1), life.iter().copied());
    let mut life = vec![];
    for i in 0..3 {
        life.extend([Life::Crashed(at(i * 1_000)), Life::Alive]);
    }
    breaks(Rule::Restarts, judge(&life));
    breaks(Rule::Restarts, judge(&[Life::Crashed(at(0)); 4]));
    // The third crash was not answered: the twin was given up.
    judge(&life[..5]).unwrap();
    // Or an operator started it anew.
    life.insert(5, Life::Forgiven);
    judge(&life).unwrap();
}

#[test]
fn crashes_outside_the_window_do_not_count() {
    let judge = |life| restarts("a", 1, Duration::from_mins(1), life);
    let life = |gap| [Life::Crashed(at(0)), Life::Alive, Life::Crashed(at(gap)), Life::Alive];
    judge(life(60_000)).unwrap();
    breaks(Rule::Restarts, judge(life(59_999)));
}

#[test]
fn a_command_that_acts_twice_or_whose_outcome_is_untrue_is_found() {
    use CommandEvent::{Acted, Answered};
    for good in [
        vec![Acted, Answered(Outcome::Done)],
        vec![Acted, Answered(Outcome::Done), Answered(Outcome::Done)],
        vec![Answered(unknown()), Acted, Answered(Outcome::Done)],
        vec![Answered(unknown()), Answered(failed())],
        vec![Answered(refused()), Acted, Answered(Outcome::Done)],
        vec![Answered(Outcome::Expired)],
    ] {
        command_at_rest("k", &good).unwrap();
    }
    for bad in [
        vec![Acted, Acted],
        vec![Answered(Outcome::Done)],
        vec![Acted, Answered(refused())],
        vec![Answered(Outcome::Expired), Acted],
        vec![Answered(failed()), Acted],
        vec![Acted, Answered(Outcome::Done), Answered(unknown())],
        vec![Answered(failed()), Answered(Outcome::Expired)],
    ] {
        breaks(Rule::Commands, command("k", &bad));
    }
}

#[test]
fn at_rest_every_command_has_an_outcome_and_every_act_is_told() {
    use CommandEvent::{Acted, Answered};
    breaks(Rule::Commands, command_at_rest("k", &[]));
    breaks(Rule::Commands, command_at_rest("k", &[Acted]));
    // A refusal is no promise for the next asking, but an act that nobody tells of is lost.
    breaks(Rule::Commands, command_at_rest("k", &[Answered(refused()), Acted]));
    command_at_rest("k", &[Acted, Answered(unknown())]).unwrap();
}

#[test]
fn telemetry_that_is_lost_or_out_of_order_is_found_and_repeats_are_not() {
    use Delivered::{Gap, Value};
    let delivered = [Value(1), Value(2), Value(1), Value(2), Gap(3, 5), Value(6)];
    telemetry_in_order("d", &delivered).unwrap();
    telemetry_complete("d", 1..=6, &delivered).unwrap();
    breaks(Rule::Telemetry, telemetry_complete("d", 1..=7, &delivered));
    breaks(Rule::Telemetry, telemetry_in_order("d", &[Value(1), Value(3), Value(2)]));
    telemetry_complete("d", [], &[]).unwrap();
}

#[test]
fn an_alarm_that_vanishes_without_its_operator_is_found() {
    use AlarmEvent::{Acknowledged as Ack, Shown};
    use AlarmState::{Acknowledged, ReturnedUnacknowledged, Unacknowledged};
    let (b, c, d) = (Some(Unacknowledged), Some(Acknowledged), Some(ReturnedUnacknowledged));
    for good in [
        vec![Shown(b), Ack, Shown(c), Shown(None)],
        vec![Shown(b), Shown(d), Ack, Shown(None)],
        vec![Shown(b), Shown(d), Shown(b), Ack, Shown(b), Shown(None)],
        vec![Shown(b), Ack, Shown(c), Shown(b)],
        vec![Shown(None), Shown(d)],
    ] {
        alarm("a", &good).unwrap();
    }
    for bad in [
        vec![Shown(b), Shown(None)],
        vec![Shown(d), Shown(None)],
        vec![Shown(c)],
        vec![Shown(b), Ack, Shown(c), Shown(b), Shown(None)],
    ] {
        breaks(Rule::Alarms, alarm("a", &bad));
    }
}

#[test]
fn holes_and_repeats_in_sequences_are_found_and_told_gaps_are_not() {
    dense("log", 1, 1..=5, &[]).unwrap();
    dense("log", 1, [1, 2, 6, 7], &[(3, 5)]).unwrap();
    dense("log", 1, [1, 2, 6], &[(3, 3), (4, 5)]).unwrap();
    breaks(Rule::Store, dense("log", 1, [1, 2, 6], &[(3, 4)]));
    breaks(Rule::Store, dense("log", 1, [1, 2, 2], &[]));
    breaks(Rule::Store, dense("log", 1, [2], &[]));
}

fn view(revision: u64, counter: u64) -> PlantView {
    let counters = BTreeMap::from([("told".to_owned(), counter)]);
    PlantView { revision, counters: Arc::new(counters), ..PlantView::empty("p") }
}

fn twin(state: TwinState, quality: Quality, received: Timestamp) -> TwinView {
    let point = PointView { quality, received_time: Some(received), ..PointView::unknown() };
    TwinView {
        id: "t".into(),
        zone: "z".into(),
        kind: "k".into(),
        simulated: true,
        state,
        reason: String::new(),
        since: at(0),
        path: None,
        session: SessionView::Plain,
        mailbox: MailboxView::default(),
        energy_joules: 0.0,
        budget_joules: None,
        bytes: 0,
        restarts: 0,
        spool: None,
        points: vec![point],
        revision: 1,
    }
}

#[test]
fn views_and_counters_that_fall_are_found() {
    view_follows(&view(1, 5), &view(2, 5), &[]).unwrap();
    breaks(Rule::Views, view_follows(&view(2, 5), &view(2, 6), &[]));
    breaks(Rule::Views, view_follows(&view(2, 5), &view(3, 4), &[]));
    view_follows(&view(2, 5), &view(3, 4), &["told"]).unwrap();
    let with = |handled| {
        let mut table = TwinTable::default();
        let mut twin = twin(TwinState::Shadowed, Quality::Good, at(0));
        twin.mailbox.handled = handled;
        table.push(Arc::new(twin));
        table
    };
    let before = PlantView { twins: with(7), ..view(1, 0) };
    let after = PlantView { twins: with(6), ..view(2, 0) };
    breaks(Rule::Views, view_follows(&before, &after, &[]));
}

#[test]
fn a_value_shown_as_good_that_nothing_confirms_is_found() {
    let check = |twin: &TwinView, now, heard| {
        let second = Duration::from_secs(1);
        twin_is_current(twin, at(now), at(heard), &[3 * second], second)
    };
    let shadowed = twin(TwinState::Shadowed, Quality::Good, at(1_000));
    check(&shadowed, 5_000, 0).unwrap();
    breaks(Rule::Current, check(&shadowed, 5_001, 0));
    // A keep-alive confirmed it since.
    check(&shadowed, 9_000, 6_000).unwrap();
    breaks(Rule::Current, check(&twin(TwinState::Down, Quality::Good, at(0)), 0, 0));
    let stale = Quality::Bad(crate::Flaw::Stale);
    check(&twin(TwinState::Shadowed, stale, at(0)), 99_000, 0).unwrap();
}

#[test]
fn a_violation_names_the_rule_its_subject_and_what_was_seen() {
    let told = dense("the log", 1, [2], &[]).unwrap_err().to_string();
    assert_eq!(
        told,
        "sequences are dense except for recorded gaps: the log: 1 is missing before 2, and in no gap"
    );
    let mut names: Vec<String> = Rule::ALL.iter().map(ToString::to_string).collect();
    names.dedup();
    assert_eq!(names.len(), 8);
}
