//! The cell of confirmations.

use plantwin_twin::MAX_RECEIPTS;
use proptest::prelude::*;

use super::super::Confirmed;

#[test]
fn receipts_are_handed_out_up_to_the_window_and_again_when_the_oldest_is_confirmed() {
    let cell = Confirmed::default();
    let out: Vec<_> = std::iter::from_fn(|| cell.hand_out()).collect();
    assert_eq!(out.len(), MAX_RECEIPTS);
    cell.confirm(out[5]);
    assert_eq!(cell.collect(), [out[5]]);
    assert!(!cell.has_room(), "the oldest holds the window");
    cell.confirm(out[0]);
    assert_eq!(cell.collect(), [out[0]]);
    assert!(cell.has_room());
    assert_eq!(cell.hand_out(), Some(out[63] + 1));
}

#[test]
fn a_confirmation_of_what_is_not_out_is_left_alone() {
    let cell = Confirmed::default();
    cell.confirm(0);
    cell.confirm(u64::MAX);
    assert!(cell.collect().is_empty());
    let receipt = cell.hand_out().unwrap();
    cell.forget();
    cell.confirm(receipt);
    assert!(cell.collect().is_empty());
}

#[test]
fn what_is_let_go_makes_room_and_is_confirmed_to_nobody() {
    let cell = Confirmed::default();
    let out: Vec<_> = std::iter::from_fn(|| cell.hand_out()).collect();
    cell.confirm(out[1]);
    cell.let_go(&out);
    cell.let_go(&[u64::MAX]);
    let gone: Vec<_> = out.iter().copied().filter(|r| *r != out[1]).collect();
    assert_eq!(cell.collect_gone(), gone);
    assert_eq!(cell.collect(), [out[1]]);
    assert!(cell.has_room());
    cell.confirm(out[5]);
    assert!(cell.collect().is_empty(), "it is not out any more");
    assert!(cell.collect_gone().is_empty());
}

proptest! {
    #[test]
    fn every_confirmation_is_collected_exactly_once(
        order in Just((0..200_u64).collect::<Vec<_>>()).prop_shuffle(),
        collect_every in 1..40_usize,
    ) {
        let cell = Confirmed::default();
        let (mut out, mut collected) = (0, Vec::new());
        // Confirmed in any order that the window allows, some of them twice.
        let mut open = Vec::new();
        for (step, pick) in order.iter().enumerate() {
            while let Some(receipt) = cell.hand_out() {
                open.push(receipt);
                out += 1;
            }
            if open.is_empty() {
                collected.extend(cell.collect());
                continue;
            }
            let receipt = open.remove(*pick as usize % open.len());
            cell.confirm(receipt);
            cell.confirm(receipt);
            if step % collect_every == 0 {
                collected.extend(cell.collect());
            }
        }
        open.drain(..).for_each(|receipt| cell.confirm(receipt));
        collected.extend(cell.collect());
        collected.sort_unstable();
        prop_assert_eq!(collected, (0..out).collect::<Vec<_>>());
    }
}
