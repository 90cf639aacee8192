//! Latest values: coalesced under overload, counted, and in nobody's way.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use plantwin_model::PointIx;
use plantwin_seal::Lane;
use plantwin_twin::{CommandMail, LaneLimits, TwinMail};

use super::{
    super::LineOrder,
    wire::{Mood, Setup, rig},
};

fn value(letter: &TwinMail) -> Option<u64> {
    match letter {
        TwinMail::Frame(mail) => Some(mail.frame.samples.last()?.value as u64),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_ten_times_too_fast_is_read_on_and_the_twin_gets_the_newest() {
    let lanes = LaneLimits { latest: 4, ..LaneLimits::default() };
    let every = Duration::from_millis(1);
    let mut rig = rig(Setup { lanes, ..Setup::of(Mood::Sends(every)) });
    let (mut seen, mut last) = (0_u64, 0);
    for _ in 0..500 {
        // The twin takes ten times as long for a letter as the device.
        tokio::time::sleep(every * 10).await;
        if let Some(value) = value(&rig.letter().await) {
            assert!(value > last || seen == 0, "{value} came after {last}");
            (seen, last) = (seen + 1, value);
        }
        // Four letters wait in the lane, ten milliseconds each, and one merged frame before it.
        let behind = rig.device.sent.load(SeqCst) - last;
        assert!(behind <= 70, "{behind} frames behind");
    }
    let sent = rig.device.sent.load(SeqCst);
    assert!(sent > 4_000, "the line stopped reading: {sent} frames");
    let lane = rig.mailbox.view().lanes[Lane::Latest as usize];
    assert_eq!(lane.refused, 0);
    let waiting = u64::from(lane.depth) + 1;
    let missing = sent - seen - lane.coalesced;
    assert!(missing <= waiting + 16, "{missing} frames unaccounted for");
}

#[tokio::test(start_paused = true)]
async fn commands_pass_while_values_find_no_room() {
    let lanes = LaneLimits { latest: 2, ..LaneLimits::default() };
    let mut rig = rig(Setup { lanes, ..Setup::of(Mood::Sends(Duration::from_millis(1))) });
    // The twin reads nothing at all: values fill their lane.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!rig.mailbox.has_room(Lane::Latest));
    let writes = vec![(PointIx(0), 1.0)];
    let expires = plantwin_model::Timestamp(i64::MAX);
    let command = TwinMail::Command(CommandMail { key: 7, writes, expires });
    rig.order(LineOrder::Post(Box::new(command.clone()))).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(rig.letter().await, command, "it goes first");
}

#[tokio::test(start_paused = true)]
async fn full_commands_do_not_stop_values() {
    let lanes = LaneLimits { command: 1, ..LaneLimits::default() };
    let mut rig = rig(Setup { lanes, ..Setup::of(Mood::Sends(Duration::from_millis(100))) });
    for key in 0..60 {
        let letter = TwinMail::Acknowledge(format!("alarm{key}"));
        rig.order(LineOrder::Post(Box::new(letter))).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(rig.device.sent.load(SeqCst) >= 28);
    let letters = rig.letters_for(Duration::from_secs(1)).await;
    let named: Vec<_> = letters
        .iter()
        .filter_map(|l| match l {
            TwinMail::Acknowledge(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = (0..60).map(|key| format!("alarm{key}")).collect();
    assert_eq!(named, expected, "none is lost and none overtakes another");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_in_the_open_counts_for_a_plain_device_and_for_no_sealed_one() {
    const SECOND: Duration = Duration::from_secs(1);
    let counts = |letters: Vec<TwinMail>| {
        letters.iter().filter(|l| value(l).is_some() || matches!(l, TwinMail::Alive)).count()
    };
    for mood in [Mood::Sends(SECOND), Mood::Nods(SECOND)] {
        let mut plain = rig(Setup::of(mood));
        assert!(counts(plain.letters_for(SECOND * 10).await) >= 8, "{mood:?}");
        // Neither values nor the word that the old ones still hold, which anybody can say.
        let mut sealed = rig(Setup { native: true, ..Setup::of(mood) });
        assert_eq!(counts(sealed.letters_for(SECOND * 10).await), 0, "{mood:?}");
    }
}
