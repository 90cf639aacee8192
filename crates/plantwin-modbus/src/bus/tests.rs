//! The schedule, with time in the test's hand.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::schedule::{BURST, HOLD, Next, QUEUE, SHARE, Schedule};

const PATIENCE: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(1);

fn next(schedule: &mut Schedule<u32>, now: Instant) -> Next<u32> {
    schedule.next(now, |_| Some(PATIENCE))
}

fn granted(schedule: &mut Schedule<u32>, now: Instant) -> (u8, Duration) {
    match next(schedule, now) {
        Next::Grant { unit, hold, .. } => (unit, hold),
        Next::Wait(until) => panic!("nothing was granted, wait until {until:?}"),
    }
}

#[test]
fn units_take_turns_however_much_one_of_them_asks() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    for job in 0..6 {
        schedule.push(1, job).expect("there is room");
    }
    schedule.push(2, 10).expect("there is room");
    schedule.push(9, 20).expect("there is room");
    let mut order = Vec::new();
    while let Next::Grant { unit, .. } = next(&mut schedule, now) {
        order.push(unit);
        schedule.answered(unit, FAST);
    }
    assert_eq!(order, [1, 2, 9, 1, 1, 1, 1, 1]);
}

#[test]
fn a_full_queue_gives_the_request_back_and_other_units_do_not_notice() {
    let mut schedule = Schedule::default();
    for job in 0..QUEUE as u32 {
        schedule.push(1, job).expect("there is room");
    }
    assert_eq!(schedule.push(1, 99), Err(99));
    assert_eq!(schedule.push(2, 100), Ok(()));
    assert_eq!(schedule.drain().len(), QUEUE + 1);
}

#[test]
fn a_request_that_nobody_waits_for_is_not_sent() {
    let mut schedule = Schedule::default();
    for job in [1, 2, 3] {
        schedule.push(5, job).expect("there is room");
    }
    let wanted = |job: &u32| (*job == 2).then_some(PATIENCE);
    let Next::Grant { unit: 5, job: 2, .. } = schedule.next(Instant::now(), wanted) else {
        panic!("the one that is wanted was not granted")
    };
    schedule.answered(5, FAST);
    assert_eq!(schedule.next(Instant::now(), wanted), Next::Wait(None));
}

#[test]
fn the_bus_is_held_as_long_as_a_unit_is_known_to_need() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    let mut hold = |slow: Duration| {
        schedule.push(1, 0).expect("there is room");
        let hold = granted(&mut schedule, now).1;
        schedule.answered(1, slow);
        hold
    };
    assert_eq!(hold(FAST), HOLD);
    assert_eq!(hold(Duration::from_millis(150)), HOLD);
    assert_eq!(hold(FAST), Duration::from_millis(600));
    assert_eq!(hold(Duration::from_millis(900)), Duration::from_millis(600));
    assert_eq!(hold(FAST), PATIENCE, "never longer than its patience");
}

#[test]
fn a_unit_is_not_asked_again_while_its_answer_may_still_come() {
    let mut schedule = Schedule::default();
    let now = Instant::now();
    schedule.push(1, 0).expect("there is room");
    schedule.push(1, 1).expect("there is room");
    assert_eq!(granted(&mut schedule, now).0, 1);
    schedule.overdue(1);
    assert_eq!(next(&mut schedule, now + HOLD), Next::Wait(None));
    schedule.given_up(1);
    assert_eq!(granted(&mut schedule, now + PATIENCE).0, 1);
}

/// Runs a bus on which every unit always has a request, for `time`; the units in `mute` never
/// answer. Gives the time that went to each.
fn saturate(mute: &[u8], units: u8, time: Duration) -> Vec<Duration> {
    let mut schedule = Schedule::default();
    let start = Instant::now();
    let mut now = start;
    let mut spent = vec![Duration::ZERO; usize::from(units)];
    let mut parked: Vec<(u8, Instant)> = Vec::new();
    for unit in 0..units {
        schedule.push(unit, 0).expect("there is room");
    }
    while now < start + time {
        parked.retain(|&(unit, until)| {
            let over = until <= now;
            if over {
                schedule.given_up(unit);
                schedule.push(unit, 0).expect("there is room");
            }
            !over
        });
        match next(&mut schedule, now) {
            Next::Grant { unit, hold, .. } if mute.contains(&unit) => {
                parked.push((unit, now + PATIENCE));
                now += hold;
                spent[usize::from(unit)] += hold;
                schedule.overdue(unit);
            }
            Next::Grant { unit, .. } => {
                now += FAST;
                spent[usize::from(unit)] += FAST;
                schedule.answered(unit, FAST);
                schedule.push(unit, 0).expect("there is room");
            }
            Next::Wait(_) => now += FAST,
        }
    }
    spent
}

#[test]
fn silent_units_get_their_small_share_and_the_others_equal_ones() {
    let time = Duration::from_secs(100);
    let spent = saturate(&[1, 3, 6], 8, time);
    let silent: Duration = [1, 3, 6].iter().map(|&u: &usize| spent[u]).sum();
    let first = HOLD * 3;
    let most = time.mul_f64(SHARE) + BURST + first;
    assert!(silent <= most, "{silent:?} of {time:?} went to silent units");
    assert!(silent >= time.mul_f64(SHARE / 2.0), "silent units are never asked: {silent:?}");
    let healthy: Vec<Duration> = [0, 2, 4, 5, 7].iter().map(|&u: &usize| spent[u]).collect();
    let (least, most) = (healthy.iter().min(), healthy.iter().max());
    let (least, most) = (least.expect("five units"), most.expect("five units"));
    assert!(*most <= *least + FAST * 2, "{healthy:?}");
    assert!(*least >= time.mul_f64(0.9) / 5, "{healthy:?}");
}

#[test]
fn a_unit_alone_on_its_bus_is_asked_however_often_it_was_silent() {
    let mut schedule = Schedule::default();
    let mut now = Instant::now();
    for _ in 0..50 {
        schedule.push(4, 0).expect("there is room");
        assert_eq!(granted(&mut schedule, now).0, 4);
        schedule.overdue(4);
        now += PATIENCE;
        schedule.given_up(4);
    }
}

#[test]
fn a_unit_that_answers_again_is_a_full_member_at_once() {
    let mut schedule = Schedule::default();
    let mut now = Instant::now();
    schedule.push(1, 0).expect("there is room");
    assert_eq!(granted(&mut schedule, now).0, 1);
    schedule.answered(1, FAST);
    // Unit 2 uses up what silent units may have.
    let wait = loop {
        schedule.push(2, 0).expect("there is room");
        match next(&mut schedule, now) {
            Next::Grant { unit, .. } => {
                assert_eq!(unit, 2);
                schedule.overdue(2);
                schedule.given_up(2);
            }
            Next::Wait(until) => break until.expect("it will be asked again"),
        }
    };
    assert!(wait > now && wait <= now + HOLD.div_f64(SHARE) + FAST, "{:?}", wait - now);
    now = wait;
    assert_eq!(granted(&mut schedule, now).0, 2);
    schedule.answered(2, FAST);
    for _ in 0..100 {
        schedule.push(2, 0).expect("there is room");
        assert_eq!(granted(&mut schedule, now).0, 2);
        schedule.answered(2, FAST);
    }
}

proptest! {
    #[test]
    fn whatever_units_do_silent_ones_never_get_more_than_share_and_burst(
        mute in proptest::collection::btree_set(0u8..12, 0..12), seconds in 1u64..30,
    ) {
        let time = Duration::from_secs(seconds);
        let mute: Vec<u8> = mute.into_iter().collect();
        if mute.len() == 12 {
            return Ok(());
        }
        let spent = saturate(&mute, 12, time);
        let silent: Duration = mute.iter().map(|&u| spent[usize::from(u)]).sum();
        // The first request of each is free, and again while nobody is known to answer.
        let first = HOLD * mute.len() as u32;
        prop_assert!(silent <= time.mul_f64(SHARE) + BURST + first + HOLD, "{:?}", silent);
    }
}
