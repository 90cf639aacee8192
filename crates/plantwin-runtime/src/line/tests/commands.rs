//! Commands: journalled before they leave, and answered truly.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures_util::future::BoxFuture;
use plantwin_model::PointIx;
use plantwin_twin::{TwinMail, WriteError};

use super::{
    super::{LineOrder, SendGate},
    wire::{Mood, Rig, Setup, WriteMood, is_up, lock, rig},
};

const SENDS: Mood = Mood::Sends(Duration::from_secs(1));

/// A journal that does as it is told.
struct Journal {
    answer: Option<Result<(), String>>,
    asked: Mutex<Vec<u64>>,
}

impl Journal {
    fn that(answer: Option<Result<(), String>>) -> Arc<Self> {
        Arc::new(Self { answer, asked: Mutex::default() })
    }
}

impl SendGate for Journal {
    fn sending(&self, key: u64) -> BoxFuture<'static, Result<(), String>> {
        lock(&self.asked).push(key);
        match self.answer.clone() {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => Box::pin(std::future::pending()),
        }
    }
}

async fn connected(gate: Option<Arc<Journal>>) -> Rig {
    let gate = gate.map(|g| g as Arc<dyn SendGate>);
    let mut rig = rig(Setup { gate, ..Setup::of(SENDS) });
    rig.next(|l| is_up(l).then_some(())).await;
    rig
}

async fn write(rig: &Rig, key: u64) {
    rig.order(LineOrder::Write { key, writes: vec![(PointIx(0), 1.0)] }).await;
}

async fn written(rig: &mut Rig) -> (u64, Result<(), WriteError>) {
    rig.next(|l| match l {
        TwinMail::Written(mail) => Some((mail.key, mail.result.clone())),
        _ => None,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_write_is_journalled_and_then_sent_once() {
    let journal = Journal::that(Some(Ok(())));
    let mut rig = connected(Some(Arc::clone(&journal))).await;
    write(&rig, 9).await;
    assert_eq!(written(&mut rig).await, (9, Ok(())));
    assert_eq!(*lock(&journal.asked), [9]);
    assert_eq!(lock(&rig.device.written).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_journal_forbids_never_leaves() {
    let mut rig = connected(Some(Journal::that(Some(Err("it expired".to_owned()))))).await;
    write(&rig, 9).await;
    let result = Err(WriteError::NotSent("it expired".to_owned()));
    assert_eq!(written(&mut rig).await, (9, result));
    assert!(lock(&rig.device.written).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_does_not_answer_holds_a_write_back_for_good() {
    let mut rig = connected(Some(Journal::that(None))).await;
    write(&rig, 9).await;
    assert!(matches!(written(&mut rig).await, (9, Err(WriteError::NotSent(_)))));
    assert!(lock(&rig.device.written).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_devices_refusal_is_told_as_such() {
    let mut rig = connected(None).await;
    *lock(&rig.device.writes) = WriteMood::Refuses;
    write(&rig, 1).await;
    let (_, result) = written(&mut rig).await;
    let Err(WriteError::Refused(reason)) = result else { panic!("{result:?}") };
    assert!(reason.contains("out of range"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_unknown_after_its_deadline() {
    let mut rig = connected(None).await;
    *lock(&rig.device.writes) = WriteMood::Hangs;
    write(&rig, 1).await;
    let start = tokio::time::Instant::now();
    assert!(matches!(written(&mut rig).await, (1, Err(WriteError::Unknown(_)))));
    assert!(start.elapsed() <= Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_panics_in_a_write_leaves_it_unknown_and_the_line_alive() {
    let mut rig = connected(None).await;
    *lock(&rig.device.writes) = WriteMood::Panics;
    write(&rig, 1).await;
    assert!(matches!(written(&mut rig).await, (1, Err(WriteError::Unknown(_)))));
    assert_eq!(rig.panics.load(SeqCst), 1);
    *lock(&rig.device.writes) = WriteMood::Takes;
    write(&rig, 2).await;
    assert_eq!(written(&mut rig).await, (2, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn writes_under_way_when_the_connection_ends_are_answered_at_once() {
    let mut rig = connected(None).await;
    *lock(&rig.device.writes) = WriteMood::Hangs;
    write(&rig, 1).await;
    write(&rig, 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = tokio::time::Instant::now();
    rig.device.set(Mood::Closes);
    for key in 1..=2 {
        let (answered, result) = written(&mut rig).await;
        assert_eq!(answered, key);
        assert!(matches!(result, Err(WriteError::Unknown(_))), "{result:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_for_the_journal_when_the_connection_ends_was_not_sent() {
    let mut rig = connected(Some(Journal::that(None))).await;
    write(&rig, 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.device.set(Mood::Closes);
    assert!(matches!(written(&mut rig).await, (1, Err(WriteError::NotSent(_)))));
    assert!(lock(&rig.device.written).is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_path_nothing_is_sent_and_the_journal_is_not_asked() {
    let journal = Journal::that(Some(Ok(())));
    let gate = Some(Arc::clone(&journal) as Arc<dyn SendGate>);
    let mut rig = rig(Setup { gate, ..Setup::of(Mood::Refuses) });
    write(&rig, 4).await;
    assert!(matches!(written(&mut rig).await, (4, Err(WriteError::NotSent(_)))));
    assert!(lock(&journal.asked).is_empty());
}
