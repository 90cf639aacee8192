//! Confined devices: accused once, and held in their safe state.

use std::time::Duration;

use plantwin_adapter::PointWrite;
use plantwin_model::PointIx;
use plantwin_twin::{TwinMail, WriteError};

use super::{
    super::LineOrder,
    wire::{Mood, Rig, Setup, WriteMood, is_up, lock, rig},
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

fn made_safe(letters: &[TwinMail]) -> Vec<Result<(), String>> {
    let result = |letter: &TwinMail| match letter {
        TwinMail::MadeSafe(result) => Some(result.clone()),
        _ => None,
    };
    letters.iter().filter_map(result).collect()
}

#[tokio::test(start_paused = true)]
async fn the_twin_hears_whether_its_device_said_that_it_is_safe() {
    let mut rig = up(Mood::Sends(SECOND)).await;
    let safe = vec![(SAFE.point, SAFE.value)];
    rig.confiner.tell(Some(safe.clone()));
    assert_eq!(made_safe(&rig.letters_for(SECOND).await), [Ok(())]);
    rig.confiner.tell(None);
    rig.letters_for(SECOND).await;
    // One that refuses is told again, and then the twin hears why it is not safe.
    lock(&rig.device.written).clear();
    *lock(&rig.device.writes) = WriteMood::Refuses;
    rig.confiner.tell(Some(safe));
    let told = made_safe(&rig.letters_for(SECOND * 10).await);
    assert!(matches!(&told[..], [Err(reason)] if reason.contains("out of range")), "{told:?}");
    assert_eq!(*lock(&rig.device.written), [[SAFE], [SAFE], [SAFE]]);
}

#[tokio::test(start_paused = true)]
async fn no_command_follows_the_word_about_safety() {
    let mut rig = up(Mood::Sends(SECOND)).await;
    *lock(&rig.device.writes) = WriteMood::Hangs;
    rig.order(LineOrder::Write { key: 1, writes: vec![(PointIx(1), 1.0)] }).await;
    rig.letters_for(Duration::from_millis(100)).await;
    *lock(&rig.device.writes) = WriteMood::Takes;
    lock(&rig.device.written).clear();
    rig.confiner.tell(Some(vec![(SAFE.point, SAFE.value)]));
    rig.order(LineOrder::Write { key: 2, writes: vec![(PointIx(1), 1.0)] }).await;
    let letters = rig.letters_for(SECOND).await;
    let written: Vec<_> = letters
        .iter()
        .filter_map(|l| match l {
            TwinMail::Written(mail) => Some((mail.key, mail.result.clone())),
            _ => None,
        })
        .collect();
    let refused = WriteError::NotSent("the device is in quarantine".to_owned());
    assert!(
        matches!(&written[..], [(1, Err(WriteError::Unknown(_))), (2, Err(why))] if *why == refused)
    );
    assert_eq!(*lock(&rig.device.written), [[SAFE]]);
}
