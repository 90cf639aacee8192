use proptest::prelude::*;

use super::{breaker::RETRY_MIN, *};

fn at(seconds: u64) -> Timestamp {
    Timestamp(0).plus(Duration::from_secs(seconds))
}

#[test]
fn a_dead_path_is_left_at_once_and_the_next_one_tried() {
    let mut chooser = PathChooser::new(2);
    assert_eq!(chooser.next_attempt(at(0)), Ok(0));
    chooser.on_up(0, at(0), None);
    chooser.on_failure(0, at(5), 0.0);
    assert_eq!(chooser.current(), None);
    assert_eq!(chooser.next_attempt(at(5)), Ok(1));
    chooser.on_up(1, at(5), Some(0));
    assert_eq!(chooser.switches(), 1);
}

#[test]
fn the_preferred_path_is_probed_only_after_the_dwell_and_the_dwell_doubles() {
    let mut chooser = PathChooser::new(2);
    let (mut now, mut dwells) = (0, vec![]);
    chooser.on_up(0, at(now), None);
    for _ in 0..4 {
        chooser.on_failure(0, at(now), 0.0);
        chooser.on_up(1, at(now), Some(0));
        let left = now;
        while chooser.probe(at(now)).is_none() {
            now += 1;
        }
        dwells.push(now - left);
        chooser.on_up(0, at(now), Some(1));
    }
    assert_eq!(dwells, vec![10, 20, 40, 80]);
}

#[test]
fn with_all_paths_dead_it_waits_and_tries_the_earliest_again() {
    let mut chooser = PathChooser::new(2);
    chooser.on_failure(0, at(0), 0.0);
    chooser.on_failure(1, at(0), 0.0);
    let until = chooser.next_attempt(at(0)).unwrap_err();
    assert_eq!(until.since(at(0)), RETRY_MIN);
    assert_eq!(chooser.next_attempt(until), Ok(0));
}

#[test]
fn a_breaker_opens_on_a_failure_is_half_open_after_the_wait_and_closes_when_up() {
    let mut chooser = PathChooser::new(1);
    assert_eq!(chooser.state(0, at(0)), BreakerState::Closed);
    chooser.on_hang(0, at(0), 0.0);
    assert_eq!(chooser.state(0, at(0)), BreakerState::Open);
    assert_eq!(chooser.state(0, at(1)), BreakerState::HalfOpen);
    assert!(chooser.needs_life(0));
    chooser.on_up(0, at(1), None);
    assert_eq!(chooser.state(0, at(1)), BreakerState::Closed);
    assert!(!chooser.needs_life(0));
}

#[test]
fn each_second_try_of_a_path_that_hung_is_cut_short_when_it_is_the_turn_of_a_good_one() {
    let mut chooser = PathChooser::new(2);
    chooser.on_hang(0, at(0), 0.0);
    chooser.on_failure(1, at(60), 0.0);
    assert_eq!(chooser.next_attempt(at(60)), Ok(0));
    assert_eq!(chooser.next_good(0), Some(at(60).plus(RETRY_MIN)));
    assert_eq!(chooser.next_good(1), None, "nobody cuts a good one short");
    chooser.on_cut(0, at(61), 0.0);
    assert_eq!(chooser.next_good(0), None, "it has a chance");
    chooser.on_hang(0, at(80), 0.0);
    assert!(chooser.next_good(0).is_some());
}

#[test]
fn paths_that_fall_silent_together_are_not_tried_together() {
    let wait = |jitter: f64| {
        let mut chooser = PathChooser::new(1);
        chooser.on_up(0, at(0), None);
        chooser.on_silence(0, at(10), jitter);
        chooser.next_attempt(at(10)).unwrap_err().since(at(10))
    };
    assert_eq!((wait(0.0), wait(1.0)), (Duration::from_secs(4), Duration::from_secs(10)));
    // One that was not up yet is tried again soon.
    let mut chooser = PathChooser::new(1);
    chooser.on_hang(0, at(10), 0.0);
    assert_eq!(chooser.next_attempt(at(10)).unwrap_err().since(at(10)), RETRY_MIN);
}

#[test]
fn a_path_that_hung_stays_under_suspicion_when_it_then_refuses() {
    let mut chooser = PathChooser::new(1);
    chooser.on_hang(0, at(0), 0.0);
    chooser.on_failure(0, at(1), 0.0);
    assert!(chooser.needs_life(0));
}

#[test]
fn a_path_that_hung_does_not_delay_a_good_one() {
    let mut chooser = PathChooser::new(2);
    chooser.on_hang(0, at(0), 0.0);
    assert!(chooser.is_one_at_hand(at(0)));
    assert_eq!(chooser.next_attempt(at(60)), Ok(1));
    chooser.on_hang(1, at(60), 0.0);
    assert!(!chooser.is_one_at_hand(at(60)));
    assert_eq!(chooser.next_attempt(at(60)), Ok(0));
}

proptest! {
    #[test]
    fn tries_of_a_dead_path_go_on_for_ever_and_never_wait_longer_than_ten_seconds(
        jitters in proptest::collection::vec(0.0..1.0_f64, 1..60), hung: bool,
    ) {
        let mut chooser = PathChooser::new(1);
        let (mut now, mut last) = (at(0), Duration::ZERO);
        for jitter in jitters {
            chooser.fail(0, (hung, false), now, jitter);
            let until = chooser.next_attempt(now).unwrap_err();
            let wait = until.since(now);
            prop_assert!(wait >= RETRY_MIN && wait <= Duration::from_secs(10));
            // Twice as long each time, between half and five quarters of it.
            prop_assert!(wait >= last.mul_f64(0.8).min(Duration::from_secs(4)));
            (now, last) = (until, wait);
            prop_assert_eq!(chooser.next_attempt(now), Ok(0));
        }
    }

    /// The bound of the doubling dwell: whatever paths do, voluntary returns per hour stay below
    /// log2(DWELL_MAX / DWELL_MIN) + 1 + MEMORY / DWELL_MAX = 12.9.
    #[test]
    fn a_flapping_path_is_returned_to_at_most_a_dozen_times_an_hour(
        lifetimes in proptest::collection::vec(1_u64..50, 50..200),
    ) {
        let mut chooser = PathChooser::new(2);
        let (mut now, mut returns) = (0, vec![]);
        chooser.on_up(0, at(0), None);
        for life in lifetimes {
            now += life;
            chooser.on_failure(0, at(now), 0.0);
            chooser.on_up(1, at(now), Some(0));
            while chooser.probe(at(now)).is_none() {
                now += 1;
            }
            chooser.on_up(0, at(now), Some(1));
            returns.push(now);
        }
        for (i, &t) in returns.iter().enumerate() {
            prop_assert!(returns[..=i].iter().filter(|&&r| t - r < 3600).count() <= 13);
        }
    }
}
