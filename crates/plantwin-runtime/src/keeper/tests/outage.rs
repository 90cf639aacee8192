//! The disk refuses for a while: everybody is told at once, it is asked now and then, and what
//! must be on record is there in order when it is well.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc::RecvTimeoutError,
    },
    time::Duration,
};

use plantwin_model::DeviceId;
use plantwin_store::{
    LogKind, MemoryStore, PAYLOAD_LIMIT, Spool, SpoolLimits, Store,
    testing::{Fault, FaultyStore, Operation},
};
use tokio::time::Instant;

use super::{ALL, PATIENCE, append, keeper, log};
use crate::keeper::{
    GROUP,
    pause::AGAIN,
    queue::{Append, Queue},
    work::Work,
};

/// More than two groups.
const RECORDS: u8 = 150;

/// A store that refuses on demand, and how often it was asked to write or to mend.
struct Switch {
    refuses: AtomicBool,
    flushes: AtomicU64,
    mends: AtomicU64,
}

fn switched() -> (Arc<Switch>, Arc<dyn Store>) {
    let off = AtomicBool::new(false);
    let switch =
        Arc::new(Switch { refuses: off, flushes: AtomicU64::new(0), mends: AtomicU64::new(0) });
    let mine = Arc::clone(&switch);
    let store = FaultyStore::new(MemoryStore::new(), move |_, operation| {
        match operation {
            Operation::FlushLog => mine.flushes.fetch_add(1, Relaxed),
            Operation::Mend => mine.mends.fetch_add(1, Relaxed),
            _ => 0,
        };
        let writes = !matches!(operation, Operation::ReadLog);
        let refuses = writes && mine.refuses.load(SeqCst);
        if refuses { Fault::Before(ErrorKind::StorageFull) } else { Fault::None }
    });
    (switch, Arc::new(store))
}

#[test]
fn everybody_hears_of_a_refusing_disk_at_once_and_it_is_asked_a_few_times_a_second() {
    let (switch, store) = switched();
    let keeper = keeper(Arc::clone(&store));
    switch.refuses.store(true, SeqCst);
    let begun = Instant::now();
    keeper.save(DeviceId::from("tank1"), vec![1]);
    let musts: Vec<_> = (0..RECORDS).map(|n| append(&keeper, &[n], true)).collect();
    let intent = append(&keeper, b"intent", false);
    assert!(intent.recv_timeout(PATIENCE).unwrap().is_err());
    for must in &musts {
        assert!(must.recv_timeout(PATIENCE).unwrap().is_err());
    }
    // Nobody hears it twice, and meanwhile the disk is left alone.
    let nothing = musts[0].recv_timeout(Duration::from_secs(1));
    assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    for _ in 0..100 {
        let intent = append(&keeper, b"intent", false);
        assert!(intent.recv_timeout(PATIENCE).unwrap().is_err());
    }
    let flushes = switch.flushes.load(Relaxed);
    let mends = switch.mends.load(Relaxed);
    let rounds = begun.elapsed().as_millis() / AGAIN.as_millis() + 2;
    assert!(u128::from(flushes) <= rounds, "{flushes} flushes of the log in {rounds} rounds");
    assert!(u128::from(mends) <= rounds, "mended {mends} times in {rounds} rounds");
    assert!(flushes >= 2, "it is asked again");
    let last = append(&keeper, &[RECORDS], true);
    assert!(last.recv_timeout(PATIENCE).unwrap().is_err());
    assert!(log(&*store).is_empty());
    switch.refuses.store(false, SeqCst);
    for must in musts.iter().chain([&last]) {
        must.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    let all: Vec<Vec<u8>> = (0..=RECORDS).map(|n| vec![n]).collect();
    assert_eq!(log(&*store), all);
    keeper.close().unwrap();
}

#[test]
fn what_is_urgent_does_not_wait_for_trees_that_fail_nor_asks_them_more_often() {
    let flushes = Arc::new(AtomicU64::new(0));
    let mine = Arc::clone(&flushes);
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), move |_, operation| {
        let refuses = matches!(operation, Operation::PutBatch);
        mine.fetch_add(u64::from(refuses), Relaxed);
        if refuses { Fault::Before(ErrorKind::StorageFull) } else { Fault::None }
    }));
    let keeper = keeper(store.clone());
    let begun = Instant::now();
    keeper.save(DeviceId::from("tank1"), vec![1]);
    for n in 0..200_u8 {
        append(&keeper, &[n], false).recv_timeout(PATIENCE).unwrap().unwrap();
    }
    let asked = flushes.load(Relaxed);
    let rounds = begun.elapsed().as_millis() / AGAIN.as_millis() + 2;
    assert!(u128::from(asked) <= rounds, "asked {asked} times in {rounds} rounds");
    assert_eq!(log(&*store).len(), 200);
    assert!(keeper.close().is_err(), "the state of the twin was not kept");
}

#[test]
fn a_record_that_no_log_takes_keeps_no_other_from_it() {
    let (_, store) = switched();
    let keeper = keeper(Arc::clone(&store));
    let huge = append(&keeper, &vec![0; PAYLOAD_LIMIT + 1], true);
    assert!(huge.recv_timeout(PATIENCE).unwrap().is_err());
    for n in 0..20_u8 {
        append(&keeper, &[n], false).recv_timeout(PATIENCE).unwrap().unwrap();
    }
    assert_eq!(log(&*store).len(), 20);
    let error = keeper.close().unwrap_err();
    assert!(error.contains("more than a store takes"), "{error}");
}

/// A keeper's work by hand, over a store whose log refuses while the switch is on.
fn work(refuses: &Arc<AtomicBool>) -> Work {
    let switch = Arc::clone(refuses);
    let store: Arc<dyn Store> =
        Arc::new(FaultyStore::new(MemoryStore::new(), move |_, operation| {
            let refuses = operation == Operation::FlushLog && switch.load(SeqCst);
            if refuses { Fault::Before(ErrorKind::StorageFull) } else { Fault::None }
        }));
    let spool = Spool::open(Arc::clone(&store), SpoolLimits::default()).unwrap();
    super::faults::work(store, spool)
}

fn record(n: usize, must: bool) -> Append {
    let then = Box::new(|_| ());
    Append::new(LogKind::Command, vec![n as u8], must, then)
}

#[test]
fn a_log_that_refuses_is_told_though_the_trees_are_well_and_nothing_of_it_is_left() {
    let refuses = Arc::new(AtomicBool::new(true));
    let work = work(&refuses);
    let failing = || work.status.lock().unwrap().failing.is_some();
    let mut queue = Queue::default();
    let tank = DeviceId::from("tank1");
    queue.urgent.push_back(record(0, false));
    queue.saves.insert(tank.clone(), vec![1]);
    let trip = work.carry_out(queue.take(ALL));
    assert!(trip.left.urgent.is_empty() && trip.left.saves.is_empty());
    assert!(failing(), "the log refused it");
    queue.saves.insert(tank, vec![2]);
    work.carry_out(queue.take(ALL));
    assert!(failing(), "nothing says that the log is well again");
    refuses.store(false, SeqCst);
    queue.urgent.push_back(record(1, false));
    work.carry_out(queue.take(ALL));
    assert!(!failing());
}

#[test]
fn what_was_told_waits_in_its_place_before_what_came_meanwhile() {
    let mut queue = Queue::default();
    queue.urgent.extend((0..100).map(|n| record(n, n % 2 == 0)));
    let mut group = queue.take(ALL);
    group.urgent.retain(|append| append.tell("no room"));
    queue.put_back(group);
    let behind = queue.untold();
    assert_eq!(behind.len(), 100 - GROUP);
    queue.urgent.push_back(record(100, false));
    for waiter in behind {
        waiter.refuse("no room");
    }
    queue.forget_given_up();
    assert!(queue.has_untold());
    let order: Vec<_> = queue.urgent.iter().map(|append| append.payload[0]).collect();
    let expected: Vec<_> = (0..=100).filter(|n| n % 2 == 0).collect();
    assert_eq!(order, expected);
    assert_eq!(queue.untold().len(), 1);
}
