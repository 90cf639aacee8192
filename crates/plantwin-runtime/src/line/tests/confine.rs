//! Confined devices: accused once, and held in their safe state.

use std::time::Duration;

use plantwin_adapter::PointWrite;
use plantwin_model::PointIx;
use plantwin_twin::TwinMail;

use super::{
    super::LineOrder,
    wire::{Mood, Rig, Setup, is_up, lock, rig},
};

const SECOND: Duration = Duration::from_secs(1);
const SAFE: PointWrite = PointWrite { point: PointIx(1), value: 0.0 };

async fn up(mood: Mood) -> Rig {
    let mut rig = rig(Setup::of(mood));
    rig.next(|l| is_up(l).then_some(())).await;
    rig
}

async fn accuse(rig: &Rig) {
    rig.order(LineOrder::Accuse { reason: "its seal was forged".to_owned() }).await;
}

fn accusations(letters: &[TwinMail]) -> usize {
    letters.iter().filter(|l| matches!(l, TwinMail::Quarantine { key: None, .. })).count()
}

#[tokio::test(start_paused = true)]
async fn evidence_that_repeats_itself_is_told_once_until_the_device_was_let_go() {
    let mut rig = up(Mood::Sends(SECOND)).await;
    for _ in 0..10 {
        accuse(&rig).await;
    }
    assert_eq!(accusations(&rig.letters_for(SECOND).await), 1);
    rig.confiner.tell(Some(vec![]));
    rig.letters_for(SECOND).await;
    accuse(&rig).await;
    assert_eq!(accusations(&rig.letters_for(SECOND).await), 0, "it is confined already");
    rig.confiner.tell(None);
    rig.letters_for(SECOND).await;
    accuse(&rig).await;
    assert_eq!(accusations(&rig.letters_for(SECOND).await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_confined_and_let_go_while_no_path_was_up_may_be_accused_again() {
    let mut rig = up(Mood::Sends(SECOND)).await;
    rig.device.set(Mood::Refuses);
    rig.letters_for(SECOND * 10).await;
    accuse(&rig).await;
    assert_eq!(accusations(&rig.letters_for(SECOND).await), 1);
    rig.confiner.tell(Some(vec![]));
    rig.confiner.tell(None);
    rig.device.set(Mood::Sends(SECOND));
    rig.next(|l| is_up(l).then_some(())).await;
    accuse(&rig).await;
    assert_eq!(accusations(&rig.letters_for(SECOND).await), 1);
}

#[tokio::test(start_paused = true)]
async fn evidence_counts_also_while_no_path_is_up() {
    let mut rig = rig(Setup::of(Mood::Refuses));
    accuse(&rig).await;
    assert_eq!(accusations(&rig.letters_for(SECOND).await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_confined_device_is_told_to_be_safe_at_once_and_whenever_it_comes_back() {
    let mut rig = up(Mood::Sends(SECOND)).await;
    let safe = vec![(SAFE.point, SAFE.value)];
    rig.confiner.tell(Some(safe));
    rig.letters_for(SECOND).await;
    assert_eq!(*lock(&rig.device.written), [[SAFE]]);
    // It went away and may have forgotten what it was told.
    rig.device.set(Mood::Refuses);
    rig.letters_for(SECOND * 10).await;
    rig.device.set(Mood::Sends(SECOND));
    rig.next(|l| is_up(l).then_some(())).await;
    rig.letters_for(SECOND).await;
    assert_eq!(*lock(&rig.device.written), [[SAFE], [SAFE]]);
    rig.confiner.tell(None);
    rig.letters_for(SECOND * 30).await;
    assert_eq!(lock(&rig.device.written).len(), 2, "a free one is left alone");
}
