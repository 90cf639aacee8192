//! The bitmap against a plain set of numbers.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// The window as one would define it: a set and its highest member.
#[derive(Default)]
struct Model {
    seen: HashSet<u64>,
    next: u64,
}

impl Model {
    fn accepts(&self, sequence: u64) -> bool {
        !self.seen.contains(&sequence) && sequence + WINDOW >= self.next
    }

    fn commit(&mut self, sequence: u64) {
        self.seen.insert(sequence);
        self.next = self.next.max(sequence + 1);
    }
}

fn run(sequences: impl IntoIterator<Item = u64>) {
    let (mut window, mut model) = (Window::new(), Model::default());
    for sequence in sequences {
        let accepted = window.check(sequence);
        assert_eq!(accepted.is_ok(), model.accepts(sequence), "{sequence}");
        if accepted.is_ok() {
            window.commit(sequence);
            model.commit(sequence);
        } else {
            assert_eq!(accepted, Err(SealError::Replay(sequence)));
        }
        assert_eq!(window.next(), model.next);
    }
}

#[test]
fn the_oldest_place_is_inside_and_the_one_behind_it_is_not() {
    let mut window = Window::new();
    window.commit(2_000);
    assert_eq!(window.check(2_000 - (WINDOW - 1)), Ok(()));
    assert_eq!(window.check(2_000 - WINDOW), Err(SealError::Replay(2_000 - WINDOW)));
}

#[test]
fn jumps_of_about_a_window_forget_exactly_the_right_numbers() {
    for jump in [1, 63, 64, 65, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW] {
        run((0..200).chain([200 + jump]).chain(0..200 + 2 * jump));
    }
}

#[test]
fn looking_does_not_move_the_window() {
    let mut window = Window::new();
    window.commit(5);
    assert_eq!(window.check(1 << 40), Ok(()));
    assert_eq!(window.next(), 6);
    assert_eq!(window.check(4), Ok(()));
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_set_of_numbers(
        steps in proptest::collection::vec(
            prop_oneof![8 => 0_u64..64, 4 => 0_u64..3_000, 1 => 0_u64..100_000], 1..400,
        ),
        back in proptest::collection::vec(0_u64..1_500, 400),
    ) {
        let mut high = 0_u64;
        run(steps.into_iter().zip(back).flat_map(|(step, back)| {
            high += step;
            [high, high.saturating_sub(back)]
        }).collect::<Vec<_>>());
    }
}
