//! Devices that hang, refuse, close or take the adapter with them.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use plantwin_twin::TwinMail;

use super::wire::{Mood, Setup, down_reason, down_reasons, is_up, lock, rig, rigs};

const SECOND: Duration = Duration::from_secs(1);
const SENDS: Mood = Mood::Sends(SECOND);

#[tokio::test(start_paused = true)]
async fn a_hanging_device_is_told_down_once_in_ten_minutes() {
    let mut rig = rig(Setup::of(Mood::Hangs));
    let letters = rig.letters_for(Duration::from_mins(10)).await;
    assert_eq!(down_reasons(&letters), ["hung: connected, but nothing came for 5 s"]);
    assert_eq!(letters.iter().filter(|l| is_up(l)).count(), 1, "only the very first connect");
    assert_eq!(letters.len(), 2, "{letters:?}");
    // A try lasts 5 s and the wait before the next one at most 10 s, at least 4 s once it is full.
    let tries = lock(&rig.device.tries).clone();
    assert!((40..=60).contains(&tries.len()), "{} tries", tries.len());
    assert_eq!(rig.device.open_max.load(SeqCst), 1, "one try at a time");
    let gaps: Vec<_> = tries.windows(2).map(|t| t[1].checked_sub(t[0]).unwrap()).skip(8).collect();
    assert!(gaps.iter().all(|g| (8_900..=15_100).contains(&g.as_millis())), "{gaps:?}");
    let (short, long) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
    assert!(*long > *short + Duration::from_secs(2), "not jittered: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_recovers_is_told_up_once_and_sends_no_burst() {
    let mut rig = rig(Setup::of(Mood::Hangs));
    let letters = rig.letters_for(Duration::from_mins(3)).await;
    assert_eq!(down_reasons(&letters).len(), 1);
    rig.device.set(SENDS);
    let letters = rig.letters_for(Duration::from_mins(2)).await;
    assert_eq!(letters.iter().filter(|l| is_up(l)).count(), 1);
    assert!(down_reasons(&letters).is_empty());
    assert!(is_up(&letters[0]));
    let frames = letters.iter().filter(|l| matches!(l, TwinMail::Frame(_))).count();
    assert!((100..=121).contains(&frames), "{frames} frames in 120 s at one a second");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_falls_silent_is_down_once_and_up_once_when_it_speaks() {
    let mut rig = rig(Setup::of(SENDS));
    rig.letters_for(SECOND * 10).await;
    rig.device.set(Mood::Hangs);
    let letters = rig.letters_for(Duration::from_mins(5)).await;
    assert_eq!(down_reasons(&letters), ["hung: connected, but nothing came for 5 s"]);
    assert!(!letters.iter().any(is_up));
    rig.device.set(SENDS);
    let letters = rig.letters_for(Duration::from_mins(1)).await;
    assert_eq!(letters.iter().filter(|l| is_up(l)).count(), 1);
    assert!(down_reasons(&letters).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_reason_is_told_once_and_silence_is_one_reason() {
    let mut rig = rig(Setup::of(Mood::Refuses));
    let letters = rig.letters_for(Duration::from_mins(2)).await;
    assert_eq!(down_reasons(&letters), ["failed to reach the wire: refused"]);
    rig.device.set(Mood::Hangs);
    let letters = rig.letters_for(Duration::from_mins(3)).await;
    assert_eq!(down_reasons(&letters), ["hung: connected, but nothing came for 5 s"]);
    rig.device.set(Mood::Vanished);
    let letters = rig.letters_for(Duration::from_mins(3)).await;
    assert!(letters.is_empty(), "still nothing is heard: {letters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_connections_only_to_close_them_does_not_flap() {
    let mut rig = rig(Setup::of(Mood::Closes));
    let letters = rig.letters_for(Duration::from_mins(5)).await;
    assert_eq!(letters.iter().filter(|l| is_up(l)).count(), 1);
    assert_eq!(down_reasons(&letters).len(), 1);
    let tries = lock(&rig.device.tries).len();
    assert!((25..=60).contains(&tries), "{tries} tries in 5 minutes");
}

#[tokio::test(start_paused = true)]
async fn any_part_of_a_plant_may_be_dead_at_the_start_and_come_later() {
    let dead = [Mood::Hangs, Mood::Refuses, Mood::Vanished, Mood::Closes, Mood::Panics];
    // Which of the twenty are dead, as bits: none, some, all.
    for pattern in [0_u32, 0x0_5A5A, 0xF_0F0F, 0xF_FFFF, 0x1_2345] {
        let is_dead = |i: usize| pattern >> i & 1 == 1;
        let mood = |i: usize| if is_dead(i) { dead[i % dead.len()] } else { SENDS };
        let mut rigs = rigs((0..20).map(|i| Setup::of(mood(i))).collect());
        rigs.iter_mut().for_each(super::wire::Rig::start);
        tokio::time::sleep(SECOND * 3).await;
        for (i, rig) in rigs.iter_mut().enumerate().filter(|(i, _)| !is_dead(*i)) {
            let sent = rig.device.sent.load(SeqCst);
            assert!(sent >= 2, "{i} was delayed by others: {sent} frames in 3 s");
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        for rig in &rigs {
            rig.device.set(SENDS);
        }
        tokio::time::sleep(SECOND * 30).await;
        for (i, rig) in rigs.iter_mut().enumerate() {
            let letters = rig.letters_for(SECOND * 5).await;
            assert!(matches!(letters.last(), Some(TwinMail::Frame(_))), "{i} did not come back");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_panics_is_a_device_that_is_not_there_for_a_while() {
    let mut rig = rig(Setup::of(Mood::Panics));
    let letters = rig.letters_for(Duration::from_mins(2)).await;
    assert_eq!(down_reasons(&letters), ["the adapter panicked: a bug in the adapter"]);
    let panics = rig.panics.load(SeqCst);
    assert_eq!(panics, lock(&rig.device.tries).len() as u64);
    assert!((10..30).contains(&panics), "{panics} tries in two minutes");
    rig.device.set(SENDS);
    rig.next(|l| is_up(l).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_twin_is_away_a_flapping_device_costs_no_memory_and_the_last_word_counts() {
    let mut rig = rig(Setup {
        lanes: plantwin_twin::LaneLimits::each(1),
        ..Setup::of(Mood::Sends(Duration::from_millis(100)))
    });
    for _ in 0..100 {
        tokio::time::sleep(SECOND * 2).await;
        rig.device.set(Mood::Closes);
        tokio::time::sleep(SECOND * 2).await;
        rig.device.set(Mood::Sends(Duration::from_millis(100)));
    }
    rig.device.set(Mood::Refuses);
    tokio::time::sleep(SECOND * 20).await;
    let letters = rig.letters_for(SECOND).await;
    assert!(letters.len() <= 4, "{letters:?}");
    assert!(down_reason(letters.last().unwrap()).is_some());
}
