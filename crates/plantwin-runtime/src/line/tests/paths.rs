//! Two paths to one device.

use std::time::Duration;

use plantwin_twin::TwinMail;

use super::wire::{Mood, Rig, Setup, down_reasons, lock, rig};

const SECOND: Duration = Duration::from_secs(1);
const SENDS: Mood = Mood::Sends(SECOND);

fn two_paths(wire: Mood, radio: Mood) -> Rig {
    rig(Setup { radio: Some(radio), ..Setup::of(wire) })
}

/// Ranks of the paths that came up.
fn ups(letters: &[TwinMail]) -> Vec<u16> {
    let rank = |l: &TwinMail| match l {
        TwinMail::LinkUp(mail) => Some(mail.rank),
        _ => None,
    };
    letters.iter().filter_map(rank).collect()
}

#[tokio::test(start_paused = true)]
async fn a_device_that_hangs_on_one_path_goes_on_over_the_other_and_returns_once() {
    let mut rig = two_paths(SENDS, SENDS);
    rig.letters_for(SECOND * 3).await;
    rig.device.set(Mood::Hangs);
    let letters = rig.letters_for(Duration::from_mins(10)).await;
    assert_eq!(ups(&letters), [1], "it never went back to the path that hangs");
    assert!(down_reasons(&letters).is_empty());
    assert!(lock(&rig.device.tries).len() > 10, "the better path is tried on");
    rig.device.set(SENDS);
    let letters = rig.letters_for(Duration::from_mins(5)).await;
    assert_eq!(ups(&letters), [0]);
    assert!(down_reasons(&letters).is_empty());
    let frames = letters.iter().filter(|l| matches!(l, TwinMail::Frame(_))).count();
    assert!(frames >= 295, "{frames} frames in 300 s: values went missing at the switch");
}

#[tokio::test(start_paused = true)]
async fn with_both_paths_dead_each_reason_is_told_and_only_once() {
    let mut rig = two_paths(Mood::Hangs, Mood::Refuses);
    let letters = rig.letters_for(Duration::from_mins(10)).await;
    let reasons = down_reasons(&letters);
    let all = "wire: hung: connected, but nothing came for 5 s; \
               radio: failed to reach the radio: refused";
    assert_eq!(reasons, [all]);
    assert_eq!(ups(&letters), [0], "only the very first connect");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_path_does_not_delay_the_return_of_a_good_one() {
    let mut rig = two_paths(Mood::Hangs, SENDS);
    rig.letters_for(Duration::from_mins(1)).await;
    rig.radio.set(Mood::Closes);
    rig.letters_for(SECOND).await;
    rig.radio.set(SENDS);
    let letters = rig.letters_for(SECOND * 5).await;
    assert_eq!(ups(&letters), [1]);
}
