//! Two paths to one device.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use plantwin_twin::TwinMail;

use super::{
    super::PathPermit,
    wire::{Mood, Rig, Setup, down_reasons, lock, rig},
};

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

/// A policy without a conduit for the path of this rank.
struct No(AtomicUsize);

impl PathPermit for No {
    fn refusal(&self, rank: usize) -> Option<String> {
        (rank == self.0.load(SeqCst)).then(|| "no conduit leads there".to_owned())
    }

    fn write_refusal(&self, rank: usize) -> Option<String> {
        self.refusal(rank)
    }
}

#[tokio::test(start_paused = true)]
async fn a_reroute_never_takes_a_path_without_a_conduit_and_one_that_loses_it_is_left() {
    let policy = Arc::new(No(AtomicUsize::new(0)));
    let permits: Option<Arc<dyn PathPermit>> = Some(Arc::<No>::clone(&policy));
    let mut rig = rig(Setup { radio: Some(SENDS), permits, ..Setup::of(SENDS) });
    let letters = rig.letters_for(SECOND * 30).await;
    assert_eq!(ups(&letters), [1], "the better path has no conduit");
    assert!(lock(&rig.device.tries).is_empty(), "it was not even tried");
    // With the allowed path dead there is none, rather than a forbidden one.
    rig.radio.set(Mood::Refuses);
    let letters = rig.letters_for(SECOND * 60).await;
    assert!(ups(&letters).is_empty() && !down_reasons(&letters).is_empty());
    assert!(lock(&rig.device.tries).is_empty());
    // The policy is swapped: the other way round.
    rig.radio.set(SENDS);
    policy.0.store(1, SeqCst);
    let letters = rig.letters_for(SECOND * 60).await;
    assert_eq!(ups(&letters).last(), Some(&0), "{:?}", ups(&letters));
    policy.0.store(0, SeqCst);
    let letters = rig.letters_for(SECOND * 60).await;
    assert_eq!(ups(&letters), [1], "a path that lost its conduit is left while it works");
}
