//! Durable values: none replaced, and no more taken than can be confirmed.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use plantwin_model::PointIx;
use plantwin_seal::Lane;
use plantwin_twin::{MAX_RECEIPTS, TwinMail, WriteError};

use super::{
    super::{Burden, LineOrder},
    wire::{Mood, Rig, Setup, WriteMood, down_reason, down_reasons, is_up, lock, rig},
};

fn pouring() -> Setup {
    Setup { durable: true, ..Setup::of(Mood::Pours) }
}

/// Number and receipt of a durable frame.
fn durable(letter: &TwinMail) -> Option<(u64, u64)> {
    match letter {
        TwinMail::Frame(mail) => Some((mail.frame.sequence?, mail.receipt?)),
        _ => None,
    }
}

async fn frames(rig: &mut Rig, time: Duration) -> Vec<(u64, u64)> {
    rig.letters_for(time).await.iter().filter_map(durable).collect()
}

#[tokio::test(start_paused = true)]
async fn no_more_is_taken_than_may_be_unconfirmed_and_nothing_is_replaced() {
    let mut rig = rig(pouring());
    let first = frames(&mut rig, Duration::from_mins(5)).await;
    let numbers: Vec<_> = first.iter().map(|f| f.0).collect();
    assert_eq!(numbers, (0..MAX_RECEIPTS as u64).collect::<Vec<_>>());
    // The adapter's own queue is full, and then it stops as well.
    assert!(rig.device.sent.load(SeqCst) <= MAX_RECEIPTS as u64 + 17);

    // Confirmed out of order: the adapter hears of each, and as many more come.
    for (_, receipt) in first[..10].iter().rev() {
        rig.confirmed.confirm(*receipt);
    }
    let more = frames(&mut rig, Duration::from_secs(5)).await;
    assert_eq!(more.iter().map(|f| f.0).collect::<Vec<_>>(), (64..74).collect::<Vec<_>>());
    let mut confirmed = lock(&rig.device.confirmed).clone();
    confirmed.sort_unstable();
    assert_eq!(confirmed, (1..=10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_line_that_holds_back_does_not_call_its_device_silent() {
    let mut rig = rig(pouring());
    let letters = rig.letters_for(Duration::from_mins(10)).await;
    assert!(down_reasons(&letters).is_empty());
    assert_eq!(letters.iter().filter(|l| is_up(l)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn orders_go_on_while_values_are_held_back() {
    let mut rig = rig(pouring());
    rig.letters_for(Duration::from_mins(1)).await;
    let writes = vec![(PointIx(0), 2.5)];
    rig.order(LineOrder::Write { key: 3, writes }).await;
    let result = rig
        .next(|l| match l {
            TwinMail::Written(mail) => Some((mail.key, mail.result.clone())),
            _ => None,
        })
        .await;
    assert_eq!(result, (3, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_after_its_connection_ended_is_confirmed_to_nobody() {
    let mut rig = rig(pouring());
    let first = frames(&mut rig, Duration::from_secs(5)).await;
    rig.device.set(Mood::Closes);
    // One confirmation lets the line read on, and so find the end.
    rig.confirmed.confirm(first[0].1);
    for (_, receipt) in frames(&mut rig, Duration::from_secs(2)).await {
        rig.confirmed.confirm(receipt);
    }
    for (_, receipt) in &first {
        rig.confirmed.confirm(*receipt);
    }
    rig.letters_for(Duration::from_secs(5)).await;
    lock(&rig.device.confirmed).clear();
    rig.device.set(Mood::Pours);
    let again = frames(&mut rig, Duration::from_secs(30)).await;
    assert_eq!(again.len(), MAX_RECEIPTS);
    assert!(again[0].1 > first[63].1, "receipts grow on");
    for (_, receipt) in &first {
        rig.confirmed.confirm(*receipt);
    }
    assert!(frames(&mut rig, Duration::from_secs(5)).await.is_empty());
    assert!(lock(&rig.device.confirmed).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_line_whose_values_bear_no_receipt_stops_as_well_while_too_many_wait_for_the_disk() {
    let every = Duration::from_millis(10);
    let mut rig = rig(Setup { durable: true, ..Setup::of(Mood::Sends(every)) });
    rig.next(|l| is_up(l).then_some(())).await;
    let mut burdens: Vec<_> = (0..MAX_RECEIPTS).map(|_| Burden::on(&rig.confirmed)).collect();
    // What was on its way still comes.
    rig.letters_for(Duration::from_secs(1)).await;
    let is_frame = |l: &TwinMail| matches!(l, TwinMail::Frame(_));
    let letters = rig.letters_for(Duration::from_mins(1)).await;
    assert!(!letters.iter().any(is_frame), "{} letters", letters.len());
    assert!(!letters.iter().any(|l| down_reason(l).is_some()), "nor is the device taken for hung");
    burdens.pop();
    let letters = rig.letters_for(Duration::from_secs(1)).await;
    assert!(letters.iter().filter(|l| is_frame(l)).count() > 50, "{} letters", letters.len());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_waits_for_acknowledgements_is_not_taken_for_hung() {
    let mut rig = rig(pouring());
    let (_, receipt) = rig.next(durable).await;
    // It may send no more than so much unacknowledged, and the disk refuses meanwhile.
    rig.device.set(Mood::Hangs);
    let letters = rig.letters_for(Duration::from_mins(5)).await;
    assert!(!letters.iter().any(|l| down_reason(l).is_some()), "it owes us nothing");
    // With all of them acknowledged it is its turn.
    rig.confirmed.confirm(receipt);
    for (_, receipt) in letters.iter().filter_map(durable) {
        rig.confirmed.confirm(receipt);
    }
    let letters = rig.letters_for(Duration::from_mins(1)).await;
    assert_eq!(down_reasons(&letters), ["hung: connected, but nothing came for 5 s"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_between_a_slow_twin_and_a_slow_store() {
    let mut rig = rig(pouring());
    for round in 0..2_000_u64 {
        let (number, receipt) = rig.next(durable).await;
        assert_eq!(number, round);
        if round % 3 != 0 {
            tokio::time::sleep(Duration::from_millis(round % 7)).await;
        }
        rig.confirmed.confirm(receipt);
    }
    let waiting = rig.mailbox.view().depth as usize;
    assert!(waiting <= MAX_RECEIPTS, "{waiting} letters wait");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_adapter_in_the_line_itself_ends_its_connection_and_nothing_else() {
    let mut rig = rig(pouring());
    let first = frames(&mut rig, Duration::from_secs(1)).await;
    *lock(&rig.device.writes) = WriteMood::Hangs;
    rig.order(LineOrder::Write { key: 3, writes: vec![(PointIx(0), 2.5)] }).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    rig.device.confirm_panics.store(true, SeqCst);
    rig.confirmed.confirm(first[0].1);
    let letters = rig.letters_for(Duration::from_millis(100)).await;
    assert!(letters.iter().any(|l| matches!(
        l,
        TwinMail::Written(mail) if mail.key == 3 && matches!(mail.result, Err(WriteError::Unknown(_)))
    )));
    let told: Vec<_> = letters.iter().filter_map(down_reason).collect();
    assert_eq!(told, ["the adapter panicked: a bug in the adapter"]);
    assert_eq!(rig.panics.load(SeqCst), 1);

    rig.device.confirm_panics.store(false, SeqCst);
    rig.next(|l| is_up(l).then_some(())).await;
    let (_, receipt) = rig.next(durable).await;
    rig.confirmed.confirm(receipt);
    rig.letters_for(Duration::from_secs(1)).await;
    assert_eq!(*lock(&rig.device.confirmed), [1], "the first of the new connection");
}

#[tokio::test(start_paused = true)]
async fn envelopes_that_nobody_can_open_are_acknowledged_and_counted() {
    let seals = Mood::Seals(Duration::from_secs(1));
    let mut rig = rig(Setup { durable: true, native: true, ..Setup::of(seals) });
    rig.letters_for(Duration::from_secs(10)).await;
    let confirmed = lock(&rig.device.confirmed).len() as u64;
    assert!(confirmed > 0, "the broker is not held up");
    assert_eq!(rig.mailbox.view().lanes[Lane::Durable as usize].shed, confirmed);
}

#[tokio::test(start_paused = true)]
async fn what_the_twin_lets_go_holds_the_line_up_no_longer_and_is_not_acknowledged() {
    let mut rig = rig(pouring());
    let first = frames(&mut rig, Duration::from_mins(5)).await;
    assert_eq!(first.len(), MAX_RECEIPTS);
    let receipts: Vec<_> = first.iter().map(|f| f.1).collect();
    rig.confirmed.let_go(&receipts);
    let more = frames(&mut rig, Duration::from_secs(5)).await;
    assert_eq!(more.len(), MAX_RECEIPTS);
    assert!(lock(&rig.device.confirmed).is_empty());
    // Nothing is owed to the other side: when it is silent then, it hangs.
    rig.device.set(Mood::Hangs);
    let mut down = Vec::new();
    for _ in 0..20 {
        let receipts: Vec<_> = more.iter().map(|f| f.1).collect();
        rig.confirmed.let_go(&receipts);
        let letters = rig.letters_for(Duration::from_secs(10)).await;
        let receipts: Vec<_> = letters.iter().filter_map(durable).map(|f| f.1).collect();
        rig.confirmed.let_go(&receipts);
        down.extend(down_reasons(&letters));
        if !down.is_empty() {
            break;
        }
    }
    assert_eq!(down, ["hung: connected, but nothing came for 5 s"]);
}
