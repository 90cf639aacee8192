//! The mailbox: order in each lane, bounds, turns, and letters that wait for room.

use std::{collections::VecDeque, mem::size_of, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use plantwin_model::Timestamp;
use plantwin_seal::{Content, KeyDistributor, Lane, PartyId, Sealed, Session, WINDOW};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{LaneLimits, Mail, Mailbox, PATIENCE, PostError, lanes::Lanes, mailbox};

#[derive(Debug, Serialize, Deserialize)]
struct Note(u64);

impl Content for Note {
    const CONTENT_TYPE: u16 = 77;
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// An envelope with nothing but a header: a mailbox looks at no more.
fn letter(lane: Lane, sender: u64, sequence: u64) -> Mail<Note> {
    let mut bytes = vec![0; 64];
    (bytes[0], bytes[1]) = (1, lane as u8);
    bytes[16..24].copy_from_slice(&sender.to_le_bytes());
    bytes[32..40].copy_from_slice(&sequence.to_le_bytes());
    Mail(Sealed::from_bytes(bytes).unwrap())
}

fn name(mail: &Mail<Note>) -> (Lane, u64, u64) {
    let header = mail.0.header();
    (header.lane, header.sender.0, header.sequence)
}

#[test]
fn an_idle_mailbox_is_small_and_holds_no_heap_but_its_shared_part() {
    let size = size_of::<super::mailbox::Shared<Note>>();
    assert!(size < 400, "{size} B");
    assert_eq!(size_of::<Mailbox<Note>>(), size_of::<usize>());
}

#[test]
fn a_full_lane_gives_the_letter_back_and_leaves_the_others_their_room() {
    let (mailbox, inbox) = mailbox::<Note>(LaneLimits { latest: 2, ..LaneLimits::default() });
    for i in 0..2 {
        mailbox.post(letter(Lane::Latest, 0, i)).unwrap();
    }
    let back = mailbox.post(letter(Lane::Latest, 0, 2));
    let Err(PostError::Full(back)) = back else { panic!("{back:?}") };
    assert_eq!(name(&back).2, 2, "the very letter comes back");
    assert!(!mailbox.has_room(Lane::Latest));
    for i in 0..64 {
        mailbox.post(letter(Lane::Alarm, 0, i)).unwrap();
    }
    mailbox.note_coalesced(Lane::Latest, 3);
    mailbox.note_shed(Lane::Durable, 4);
    let view = inbox.view();
    assert_eq!((view.depth, view.capacity, view.handled, view.refused), (66, 194, 0, 1));
    assert_eq!(view.lanes.map(|l| l.depth), [64, 0, 0, 2]);
    assert_eq!((view.lanes[3].refused, view.lanes[3].coalesced, view.lanes[2].shed), (1, 3, 4));
}

#[test]
fn the_most_urgent_lane_goes_first_and_a_waiting_one_gets_a_turn_after_eight() {
    let mut lanes = Lanes::new(LaneLimits::default());
    for i in 0..30 {
        lanes.push(letter(Lane::Alarm, 0, i)).unwrap();
        lanes.push(letter(Lane::Latest, 0, i)).unwrap();
    }
    let turns: Vec<Lane> = (0..18).map(|_| name(&lanes.pop().unwrap()).0).collect();
    let mut expected = vec![Lane::Alarm; 8];
    expected.push(Lane::Latest);
    expected.extend(expected.clone());
    assert_eq!(turns, expected);
}

#[test]
fn letters_survive_a_reader_that_went_away_and_a_new_one_goes_on_in_order() {
    let (mailbox, inbox) = mailbox::<Note>(LaneLimits::default());
    for i in 0..4 {
        mailbox.post(letter(Lane::Command, 0, i)).unwrap();
    }
    let mut first = inbox.letters();
    assert_eq!(block_on(first.next()).map(|m| name(&m).2), Some(0));
    drop(first);
    let mut second = inbox.letters();
    for i in 1..4 {
        assert_eq!(block_on(second.next()).map(|m| name(&m).2), Some(i));
    }
    assert!(second.next().now_or_never().is_none(), "it waits for more");
    drop(mailbox);
    assert!(block_on(second.next()).is_none(), "nobody can post any more");
}

#[tokio::test]
async fn a_mailbox_whose_owner_is_gone_takes_nothing_and_holds_nobody_up() {
    let (mailbox, inbox) = mailbox::<Note>(LaneLimits::each(1));
    mailbox.post(letter(Lane::Latest, 0, 0)).unwrap();
    let waiting = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { mailbox.room(Lane::Latest).await }
    });
    tokio::task::yield_now().await;
    drop(inbox);
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    assert!(matches!(mailbox.post(letter(Lane::Alarm, 0, 1)), Err(PostError::Gone)));
    assert_eq!(mailbox.view().depth, 0, "what waited went with it");
}

#[tokio::test]
async fn who_waits_for_room_is_woken_by_the_letter_that_leaves() {
    let (mailbox, inbox) = mailbox::<Note>(LaneLimits::each(1));
    mailbox.post(letter(Lane::Durable, 0, 0)).unwrap();
    mailbox.room(Lane::Command).await;
    let waiting: Vec<_> = (1..5)
        .map(|i| {
            let mailbox = mailbox.clone();
            tokio::spawn(async move {
                let mut mail = letter(Lane::Durable, i, 0);
                loop {
                    mailbox.room(Lane::Durable).await;
                    match mailbox.post(mail) {
                        Ok(()) => return,
                        Err(PostError::Full(back)) => mail = back,
                        Err(PostError::Gone) => panic!("the reader lives"),
                    }
                }
            })
        })
        .collect();
    let mut letters = inbox.letters();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let next = tokio::time::timeout(Duration::from_secs(20), letters.next()).await;
        seen.push(name(&next.unwrap().unwrap()).1);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    for task in waiting {
        task.await.unwrap();
    }
}

#[test]
fn four_threads_lose_nothing_and_keep_their_order_in_each_lane() {
    const EACH: u64 = 3_000;
    let (mailbox, inbox) = mailbox::<Note>(LaneLimits::each(16));
    let threads: Vec<_> = (0..4)
        .map(|sender| {
            let mailbox = mailbox.clone();
            std::thread::spawn(move || {
                for i in 0..EACH {
                    let lane = Lane::ALL[((i * 7 + sender) % 4) as usize];
                    let mut mail = letter(lane, sender, i);
                    while let Err(error) = mailbox.post(mail) {
                        let PostError::Full(back) = error else { panic!("the reader lives") };
                        mail = back;
                        block_on(mailbox.room(lane));
                    }
                }
            })
        })
        .collect();
    drop(mailbox);
    let mut last = [[None; 4]; 4];
    let mut count = 0;
    let mut letters = inbox.letters();
    while let Some(mail) = block_on(letters.next()) {
        let (lane, sender, i) = name(&mail);
        let before = last[sender as usize][lane as usize].replace(i);
        assert!(before < Some(i), "{sender} {lane:?}: {before:?} before {i}");
        count += 1;
    }
    assert_eq!(count, 4 * EACH);
    assert_eq!((inbox.view().handled, inbox.view().depth), (4 * EACH, 0));
    for thread in threads {
        thread.join().unwrap();
    }
}

proptest! {
    #[test]
    fn any_interleaving_keeps_the_order_of_each_lane_its_bound_and_its_patience(
        limits in proptest::collection::vec(1_u32..6, 4),
        steps in proptest::collection::vec(0_u8..8, 1..400),
    ) {
        let limits = LaneLimits {
            alarm: limits[0], command: limits[1], durable: limits[2], latest: limits[3],
        };
        let mut lanes = Lanes::new(limits);
        let mut model: [VecDeque<u64>; 4] = Default::default();
        let mut passed = [0_u32; 4];
        let (mut posted, mut handled, mut refused) = (0, 0, 0);
        for (i, step) in steps.into_iter().enumerate() {
            let i = i as u64;
            if let Some(&lane) = Lane::ALL.get(usize::from(step)) {
                let taken = lanes.push(letter(lane, 0, i)).is_ok();
                let room = model[lane as usize].len() < limits.of(lane) as usize;
                prop_assert_eq!(taken, room);
                if room {
                    model[lane as usize].push_back(i);
                    posted += 1;
                } else {
                    refused += 1;
                }
                continue;
            }
            let next = lanes.pop();
            prop_assert_eq!(next.is_none(), model.iter().all(VecDeque::is_empty));
            let Some(mail) = next else { continue };
            let (lane, _, i) = name(&mail);
            prop_assert_eq!(model[lane as usize].pop_front(), Some(i));
            handled += 1;
            for other in 0..4 {
                let waits = other != lane as usize && !model[other].is_empty();
                passed[other] = if waits { passed[other] + 1 } else { 0 };
                prop_assert!(passed[other] <= u32::from(PATIENCE) + 2);
            }
            let urgent = model[..lane as usize].iter().any(|q| !q.is_empty());
            prop_assert!(!urgent || passed[..lane as usize].iter().any(|&p| p > 0));
        }
        let view = lanes.view();
        prop_assert_eq!((view.handled, view.refused), (handled, refused));
        prop_assert_eq!(u64::from(view.depth), posted - handled);
    }

    /// One sender, all lanes, as adverse as the choice of lanes can be: it holds one sealed letter
    /// of each full lane in its hand.
    #[test]
    fn letters_of_one_session_never_overtake_each_other_beyond_its_window(
        weights in proptest::collection::vec(1_u32..200, 4),
        reads in 1_u32..8,
        seed in any::<u64>(),
    ) {
        let keys = KeyDistributor::new().unwrap();
        let (a, b) = (PartyId(1), PartyId(2));
        let (mut from, mut to) =
            Session::pair(&keys.pair_secret(a, b), a, b, Timestamp(0)).unwrap();
        let mut lanes = Lanes::new(LaneLimits::default());
        let mut hand: [Option<Mail<Note>>; 4] = Default::default();
        let mut chance = seed;
        let mut draw = |below: u32| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (chance >> 33) as u32 % below
        };
        let (mut sealed, mut opened, mut newest, mut furthest) = (0_u64, 0_u64, 0_u64, 0_u64);
        while opened < 6_000 {
            let mut pick = draw(weights.iter().sum());
            let lane = weights.iter().position(|&w| {
                let here = pick < w;
                pick = pick.saturating_sub(w);
                here
            });
            let lane = Lane::ALL[lane.unwrap_or(0)];
            let place = &mut hand[lane as usize];
            let mail = place.take().unwrap_or_else(|| {
                sealed += 1;
                Mail(from.sealer.seal(&Note(sealed), lane, None, Timestamp(0)).unwrap())
            });
            *place = lanes.push(mail).err();
            if draw(8) >= reads && !hand.iter().all(Option::is_some) {
                continue;
            }
            let Some(mail) = lanes.pop() else { continue };
            let sequence = mail.0.header().sequence;
            newest = newest.max(sequence);
            furthest = furthest.max(newest - sequence);
            prop_assert!(to.opener.open(mail.0, Timestamp(0)).is_ok());
            opened += 1;
        }
        prop_assert!(furthest < WINDOW, "{furthest}");
    }
}

#[test]
fn the_worst_wait_of_a_full_mailbox_is_within_the_window_of_a_session() {
    // All lanes full, the most urgent refilled at once: the last letter of the least urgent lane
    // waits longest.
    let mut lanes = Lanes::new(LaneLimits::default());
    for i in 0..64 {
        for lane in Lane::ALL {
            lanes.push(letter(lane, 0, i)).unwrap();
        }
    }
    let mut turns = 0_u64;
    loop {
        let (lane, _, i) = name(&lanes.pop().unwrap());
        turns += 1;
        if (lane, i) == (Lane::Latest, 63) {
            break;
        }
        lanes.push(letter(lane, 0, 64 + turns)).unwrap();
    }
    assert!(turns <= 64 * u64::from(PATIENCE + 3), "{turns}");
    assert!(turns + u64::from(LaneLimits::default().total()) < WINDOW, "{turns}");
}

#[test]
fn a_mailbox_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let (mailbox, inbox) = mailbox::<Note>(LaneLimits::default());
    shared(&mailbox);
    shared(&inbox);
    shared(&Arc::new(inbox.letters()));
}
