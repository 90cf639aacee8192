//! The books find every kind of loss in invented histories, and none where there is none.

use serde_json::{Value, json};

use super::{
    alarms::Alarms,
    commands::Commands,
    telemetry::{Telemetry, level},
};
use crate::Outcome;

fn record(number: u64) -> Value {
    json!({ "device_sequence": number, "values": { "level": { "v": level(7, 0, number) } } })
}

fn history(published: u64, arrived: &[u64]) -> Telemetry {
    let mut book = Telemetry::new(7, 1);
    for _ in 0..published {
        let (seq, _) = book.publish(0);
        book.accept(0, &json!({ "seq": seq }));
    }
    for &number in arrived {
        book.arrive(0, &record(number), 1);
    }
    book
}

#[test]
fn values_that_all_arrive_in_order_some_of_them_twice_are_no_loss() {
    let totals = history(5, &[1, 2, 3, 2, 3, 4, 5]).totals();
    assert_eq!((totals.arrived, totals.lost, totals.doubled), (5, 0, 2));
    assert_eq!((totals.disordered, totals.wrong, totals.gaps), (0, 0, 0));
}

#[test]
fn a_value_that_never_arrives_is_lost_wherever_it_stood() {
    assert_eq!(history(5, &[2, 3, 4, 5]).totals().lost, 1);
    assert_eq!(history(5, &[1, 2, 4, 5]).totals().lost, 1);
    assert_eq!(history(5, &[1, 2, 3]).totals().lost, 2);
    assert_eq!(history(5, &[]).totals().lost, 5);
}

#[test]
fn a_value_that_arrives_after_its_successor_is_out_of_order() {
    let totals = history(4, &[1, 3, 2, 4]).totals();
    assert_eq!((totals.lost, totals.disordered, totals.doubled), (0, 1, 0));
}

#[test]
fn a_value_that_was_changed_or_invented_is_wrong() {
    let mut book = history(2, &[1]);
    let mut changed = record(2);
    changed["values"]["level"]["v"] = json!(1.25);
    book.arrive(0, &changed, 1);
    assert_eq!(book.totals().wrong, 1);
    book.arrive(0, &record(9), 1);
    book.arrive(0, &json!({ "unreadable": true }), 1);
    assert_eq!(book.totals().wrong, 3);
}

#[test]
fn a_gap_is_found_whether_the_spool_or_the_twin_tells_of_it() {
    let mut book = history(4, &[1]);
    book.arrive(0, &json!({ "gap": { "count": 2, "from": 1, "to": 2 } }), 1);
    let mut late = record(4);
    late["missing_before"] = json!(1);
    book.arrive(0, &late, 1);
    let totals = book.totals();
    assert_eq!((totals.gaps, totals.missing, totals.lost), (2, 1, 2));
}

#[test]
fn what_the_broker_never_accepted_is_not_lost_by_the_plant() {
    let mut book = Telemetry::new(7, 1);
    book.publish(0);
    book.publish(0);
    book.accept(0, &json!({ "seq": 1 }));
    assert_eq!((book.totals().accepted, book.totals().lost, book.behind(0)), (1, 1, 2));
    book.arrive(0, &record(1), 1);
    assert_eq!((book.totals().lost, book.totals().arrived, book.behind(0)), (0, 1, 1));
    // A publisher that leaves one out spoils the proof.
    book.publish(0);
    book.accept(0, &json!({ "seq": 3 }));
    assert_eq!(book.totals().wrong, 1);
}

#[test]
fn levels_go_beyond_the_limit_and_back() {
    let high = (1..5000).filter(|n| level(3, 1, *n) > 80.0).count();
    assert!((400..2000).contains(&high), "{high} of 5000");
    assert!((1..5000).all(|n| (0.0..=100.0).contains(&level(3, 1, n))));
}

fn written(outcome: Option<Outcome>, writes: u64) -> Commands {
    let mut book = Commands::new(1, 2);
    let order = book.issue(1);
    for _ in 0..writes {
        book.wrote(1, &order.value.to_string());
    }
    if let Some(outcome) = outcome {
        book.told(order.id, outcome);
    }
    book
}

fn refused() -> Outcome {
    Outcome::Refused("no".to_owned())
}

#[test]
fn a_command_is_right_with_one_write_if_done_and_none_if_not() {
    for (outcome, writes) in [(Outcome::Done, 1), (refused(), 0), (Outcome::Expired, 0)] {
        let totals = written(Some(outcome), writes).totals();
        assert_eq!((totals.lost, totals.doubled, totals.denied, totals.open), (0, 0, 0, 0));
    }
}

#[test]
fn every_wrong_number_of_writes_is_found() {
    assert_eq!(written(Some(Outcome::Done), 0).totals().lost, 1);
    assert_eq!(written(Some(Outcome::Done), 2).totals().doubled, 1);
    assert_eq!(written(None, 2).totals().doubled, 1);
    assert_eq!(written(Some(refused()), 1).totals().denied, 1);
    assert_eq!(written(Some(Outcome::Expired), 1).totals().denied, 1);
    assert_eq!(written(Some(Outcome::Failed("no".to_owned())), 1).totals().denied, 1);
    assert!(!written(Some(Outcome::Done), 0).problems().is_empty());
}

#[test]
fn an_unknown_outcome_is_open_until_a_later_command_makes_it_unknowable() {
    let watched = Outcome::Unknown("it was sent, and the device is watched for it".to_owned());
    assert_eq!(written(Some(watched), 1).totals().open, 1);
    let never = "it was sent and not answered, and a later command wrote the same point";
    let totals = written(Some(Outcome::Unknown(never.to_owned())), 1).totals();
    assert_eq!((totals.open, totals.unknown), (0, 1));
}

#[test]
fn an_outcome_that_changes_and_a_write_that_nobody_asked_for_are_found() {
    let mut book = written(Some(Outcome::Done), 1);
    book.told(0, Outcome::Done);
    assert_eq!((book.totals().retold, book.totals().contradicted), (1, 0));
    book.told(0, refused());
    book.wrote(0, "16");
    book.wrote(1, "nonsense");
    assert_eq!(book.totals().contradicted, 3);
}

#[test]
fn keys_and_values_of_commands_differ() {
    let mut book = Commands::new(1, 1);
    let orders: Vec<_> = (0..50).map(|_| book.issue(0)).collect();
    for (i, a) in orders.iter().enumerate() {
        assert!(orders[..i].iter().all(|b| a.key != b.key && a.value != b.value));
        assert_eq!(book.order(a.id), *a);
    }
}

fn status(uptime_s: f64, alarms: &[(&str, &str, &str)]) -> Value {
    let alarm = |(id, state, raised): &(&str, &str, &str)| {
        let twin = id.split('.').next();
        json!({ "id": id, "twin": twin, "state": state, "raised": raised })
    };
    json!({ "uptime_s": uptime_s, "alarms": alarms.iter().map(alarm).collect::<Vec<_>>() })
}

const RAISED: (&str, &str, &str) = ("d1.high", "unacknowledged", "noon");
const RETURNED: (&str, &str, &str) = ("d1.high", "returned_unacknowledged", "noon");
const ACKED: (&str, &str, &str) = ("d1.high", "acknowledged", "noon");

/// Losses in a history of lives, each of them statuses.
fn losses(lives: &[&[Value]]) -> u64 {
    let mut book = Alarms::default();
    for life in lives {
        book.new_life();
        for seen in *life {
            book.status("works", seen);
        }
    }
    book.totals().lost
}

#[test]
fn an_alarm_that_comes_back_a_little_after_each_start_is_held() {
    let life = [status(0.1, &[]), status(0.4, &[RAISED]), status(0.9, &[RETURNED])];
    assert_eq!(losses(&[&life, &life, &[status(0.1, &[])], &life]), 0);
}

#[test]
fn an_alarm_that_goes_away_by_itself_or_does_not_come_back_is_lost() {
    let up = status(1.0, &[RAISED]);
    assert_eq!(losses(&[&[up.clone(), status(1.1, &[])]]), 1);
    assert_eq!(losses(&[std::slice::from_ref(&up), &[status(10.5, &[])]]), 1);
    assert_eq!(losses(&[&[up], &[status(0.2, &[ACKED])]]), 1);
}

#[test]
fn an_alarm_that_was_acknowledged_may_go_and_one_raised_in_a_later_life_may_not() {
    let mut book = Alarms::default();
    book.new_life();
    book.status("works", &status(1.0, &[RAISED]));
    assert_eq!(book.any(5).as_deref(), Some("d1.high"));
    book.acknowledging("d1.high");
    // The plant had not heard of it yet.
    book.status("works", &status(1.1, &[RAISED]));
    book.status("works", &status(1.2, &[]));
    book.new_life();
    book.status("works", &status(0.2, &[]));
    assert_eq!(book.totals().lost, 0);
    book.status("works", &status(1.3, &[("d1.high", "unacknowledged", "one")]));
    book.status("works", &status(1.4, &[]));
    assert_eq!(book.totals().lost, 1);
}

#[test]
fn an_acknowledgement_that_the_kill_overtook_may_have_been_taken_also_if_the_alarm_is_gone_then() {
    let mut book = Alarms::default();
    book.new_life();
    book.status("works", &status(1.0, &[RETURNED]));
    book.acknowledging("d1.high");
    book.new_life();
    // What the log told first is older than what the twin had saved.
    book.status("works", &status(0.1, &[RETURNED]));
    book.status("works", &status(0.3, &[]));
    assert_eq!(book.totals().lost, 0);
    book.status("works", &status(1.3, &[RETURNED]));
    book.status("works", &status(1.4, &[]));
    assert_eq!(book.totals().lost, 1, "once");
}

#[test]
fn alarms_of_the_plant_itself_end_with_its_process() {
    let own = status(1.0, &[("works.store", "unacknowledged", "noon")]);
    assert_eq!(losses(&[&[own], &[status(20.0, &[])]]), 0);
}

#[test]
fn a_command_that_was_left_open_is_overdue_long_before_its_key_is_forgotten() {
    let mut book = Commands::new(7, 1);
    let left = book.issue(0);
    for _ in 1..25_000 {
        let order = book.issue(0);
        book.told(order.id, Outcome::Done);
    }
    assert_eq!(book.overdue(), None);
    let next = book.issue(0);
    book.told(next.id, Outcome::Done);
    assert_eq!(book.overdue(), Some(left));
    book.told(left.id, Outcome::Done);
    assert_eq!(book.overdue(), None);
}
