use proptest::prelude::*;

use super::*;

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

proptest! {
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
