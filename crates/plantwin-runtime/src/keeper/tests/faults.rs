//! Any one operation of the store fails, at any time, and a power cut may follow: what was
//! confirmed is in the spool, nothing is lost, and nothing is there twice.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use plantwin_adapter::ManualClock;
use plantwin_model::{DeviceId, SpoolSpec, Timestamp};
use plantwin_store::{
    LogKind, MemoryStore, Spool, SpoolLimits, Store,
    spool::SpoolEntry,
    testing::{Fault, FaultyStore, Operation},
};
use plantwin_twin::Recorded;

use super::telemetry;
use crate::{
    assembly::{RECORDED, TWINS},
    keeper::{
        DurableJob, GROUP, LetterChange, Receipted,
        queue::{Append, Queue},
        work::Work,
    },
    line::Confirmed,
    northbound::TelemetryRecord,
};

/// Telemetry of all devices: three groups of it.
const RECORDS: u64 = 150;
const DEVICES: [&str; 3] = ["a", "b", "c"];
/// What a repaired store kept of the batches that were not flushed.
const KEEPS: usize = 2;

#[derive(Clone, Copy, Debug)]
struct Case {
    fails_at: u64,
    fault: Fault,
    /// Whether all operations fail from then on until the store is mended.
    sticks: bool,
    /// Turns of the keeper after the one that failed; then the power fails. `None`: to the end.
    turns: Option<u32>,
}

fn device(n: u64) -> DeviceId {
    DeviceId::from(DEVICES[(n % 3) as usize])
}

/// A keeper's work by hand.
pub(super) fn work(store: Arc<dyn Store>, spool: Spool) -> Work {
    Work {
        store,
        spool: Arc::new(Mutex::new(spool)),
        limits: SpoolSpec::default(),
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_000))),
        status: Arc::default(),
        torn: AtomicBool::new(false),
        before: Mutex::default(),
    }
}

/// What waits, and the receipts of the telemetry by its number.
fn load() -> (Queue, BTreeMap<u64, Arc<Confirmed>>) {
    let (mut queue, mut receipts) = (Queue::default(), BTreeMap::new());
    for n in 1..=RECORDS {
        receipts.insert(n, push(&mut queue, n));
        if n % 50 == 0 {
            let change = LetterChange::Aside(vec![n as u8]);
            let device = DeviceId::from("a");
            queue.push_durable(DurableJob::Letter { device, id: n, change, receipt: None });
        }
    }
    for name in DEVICES {
        queue.saves.insert(DeviceId::from(name), vec![1]);
    }
    alarms(&mut queue);
    (queue, receipts)
}

/// Adds a value, and says who is told when it is safe.
fn push(queue: &mut Queue, n: u64) -> Arc<Confirmed> {
    let confirmed = Arc::new(Confirmed::default());
    let receipt = confirmed.hand_out().unwrap();
    let receipted = Receipted { confirmed: Arc::clone(&confirmed), receipt };
    let (device, record) = (device(n), telemetry(n));
    queue.push_durable(DurableJob::Telemetry {
        device,
        record,
        recorded: Some(Recorded::of(n, Timestamp::from_millis(n.cast_signed()))),
        receipt: Some(receipted),
        burden: None,
    });
    confirmed
}

/// Adds alarms that are to be on record: a quarter of a group.
fn alarms(queue: &mut Queue) {
    for n in 0..(GROUP as u8 / 4) {
        let then = Box::new(|_| ());
        let (kind, payload) = (LogKind::Alarm, vec![n]);
        queue.urgent.push_back(Append::new(kind, payload, true, then));
    }
}

/// The numbers in a device's queue, in its order.
fn numbers(spool: &Spool, device: &str) -> Vec<u64> {
    let records = spool.peek(device, 0, usize::MAX).unwrap();
    let number = |entry: SpoolEntry| match entry {
        SpoolEntry::Value(bytes) => {
            postcard::from_bytes::<TelemetryRecord>(&bytes).unwrap().sequence.unwrap()
        }
        gap @ SpoolEntry::Gap { .. } => panic!("nothing is missing: {gap:?}"),
    };
    records.into_iter().map(|record| number(record.entry)).collect()
}

/// Runs one case; returns whether the fault came.
fn check(case: Case) -> bool {
    let inner = Arc::new(MemoryStore::new());
    let happened = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&happened);
    let choose = move |call: u64, _| {
        if call != case.fails_at {
            return Fault::None;
        }
        mark.store(true, Relaxed);
        case.fault
    };
    let renew = |store: &Arc<MemoryStore>| store.lose_batches(KEEPS);
    let store: Arc<dyn Store> = if case.sticks {
        Arc::new(FaultyStore::sticking(Arc::clone(&inner), renew, choose))
    } else {
        Arc::new(FaultyStore::new(Arc::clone(&inner), choose))
    };
    // If opening fails there is no keeper.
    let Ok(spool) = Spool::open(Arc::clone(&store), SpoolLimits::default()) else { return true };
    let work = work(store, spool);
    let (mut queue, receipts) = load();
    let (mut left, mut confirmed) = (case.turns, Vec::new());
    for turn in 0.. {
        assert!(turn < 20, "{case:?}: it comes to an end");
        if queue.is_empty() {
            break;
        }
        let group = queue.take(super::ALL);
        queue.put_back(work.carry_out(group).left);
        confirmed.extend(receipts.iter().filter(|(_, c)| !c.collect().is_empty()).map(|(n, _)| *n));
        for name in DEVICES {
            // Looked at past the faults, whose operations are counted.
            let spool = Spool::open(Arc::clone(&inner) as Arc<dyn Store>, SpoolLimits::default());
            let held = numbers(&spool.unwrap(), name);
            assert!(held.is_sorted_by(|a, b| a < b), "{case:?}: {held:?}");
            let status = work.status.lock().unwrap();
            let safe = status.safe.get(&DeviceId::from(name)).copied().unwrap_or(1);
            assert!(
                safe > confirmed.iter().filter(|n| device(**n).as_str() == name).count() as u64
            );
        }
        if happened.load(Relaxed) {
            if left == case.turns && turn < 10 {
                // What is urgent comes at any time, and takes no room from what is tried again.
                alarms(&mut queue);
            }
            match &mut left {
                Some(0) => break,
                Some(more) => *more -= 1,
                None => {}
            }
        }
    }
    let done = queue.is_empty();
    inner.crash();
    let spool = Spool::open(Arc::clone(&inner) as Arc<dyn Store>, SpoolLimits::default()).unwrap();
    for name in DEVICES {
        let held = numbers(&spool, name);
        assert!(held.is_sorted_by(|a, b| a < b), "{case:?}: in order, none twice: {held:?}");
        let mine = |n: &&u64| device(**n).as_str() == name;
        assert!(confirmed.iter().filter(mine).all(|n| held.contains(n)), "{case:?}: {held:?}");
        let first = held.first().copied().unwrap_or(0);
        let all: Vec<_> = (0..held.len() as u64).map(|i| first + 3 * i).collect();
        assert_eq!(held, all, "{case:?}: no holes");
        // What is told to the device as known, and the state that knows it, is in the spool.
        if let Some(bytes) = inner.get(RECORDED, name).unwrap() {
            let newest = Recorded::from_bytes(&bytes).unwrap().sequence;
            assert!(held.contains(&newest), "{case:?}: {newest} of {held:?}");
        }
        let whole = (1..=RECORDS).filter(|n| mine(&n)).count();
        if done {
            assert_eq!(held.len(), whole, "{case:?}");
        }
        if inner.get(TWINS, name).unwrap().is_some() {
            assert_eq!(held.len(), whole, "{case:?}: a state that knows more than the spool");
        }
    }
    if done {
        assert_eq!(confirmed.len() as u64, RECORDS);
        assert!(work.status.lock().unwrap().failing.is_none(), "{case:?}");
        assert_eq!(super::log(&*inner).iter().map(|p| p[0]).max(), Some(GROUP as u8 / 4 - 1));
    }
    happened.load(Relaxed)
}

#[test]
fn whatever_operation_fails_all_is_in_the_spool_once() {
    let full = ErrorKind::StorageFull;
    for fault in [Fault::Before(full), Fault::After(full)] {
        for sticks in [false, true] {
            for turns in [Some(0), Some(1), Some(2), None] {
                let case = |fails_at| Case { fails_at, fault, sticks, turns };
                let count = (0..1_000).take_while(|n| check(case(*n))).count();
                assert!((30..1_000).contains(&count), "{count} operations were made to fail");
            }
        }
    }
}

/// A flush is told as failed though all of it is on the disk; what is written to mend that dies at
/// an operation, and a power cut keeps so many batches of it. Returns whether it came to that.
fn torn_twice(dies_at: u64, keeps: usize) -> bool {
    let (inner, died) = (Arc::new(MemoryStore::new()), Arc::new(AtomicBool::new(false)));
    let mark = Arc::clone(&died);
    let (flushes, since) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let choose = move |_, operation| match since.load(Relaxed) {
        u64::MAX if operation == Operation::Flush && flushes.fetch_add(1, Relaxed) == 1 => {
            since.store(0, Relaxed);
            Fault::After(ErrorKind::StorageFull)
        }
        u64::MAX => Fault::None,
        count => {
            since.store(count + 1, Relaxed);
            if count < dies_at {
                return Fault::None;
            }
            mark.store(true, Relaxed);
            Fault::Before(ErrorKind::BrokenPipe)
        }
    };
    let store: Arc<dyn Store> = Arc::new(FaultyStore::new(Arc::clone(&inner), choose));
    let spool = Spool::open(Arc::clone(&store), SpoolLimits::default()).unwrap();
    let (work, mut queue) = (work(store, spool), Queue::default());
    // Safe; torn; tried again.
    for (numbers, state) in [(1..4, Some(0)), (4..31, Some(1)), (31..31, None)] {
        for n in numbers {
            push(&mut queue, n);
        }
        for (name, state) in DEVICES.iter().zip(std::iter::repeat(state)) {
            queue.saves.extend(state.map(|state| (DeviceId::from(*name), vec![state])));
        }
        let group = queue.take(super::ALL);
        queue.put_back(work.carry_out(group).left);
    }
    inner.crash_keeping(keeps);
    let spool = Spool::open(Arc::clone(&inner) as Arc<dyn Store>, SpoolLimits::default()).unwrap();
    for name in DEVICES {
        let held = numbers(&spool, name);
        let bytes = inner.get(RECORDED, name).unwrap().unwrap();
        let newest = Recorded::from_bytes(&bytes).unwrap().sequence;
        assert!(held.contains(&newest), "{dies_at}, {keeps}: {newest} of {held:?}");
        if inner.get(TWINS, name).unwrap() == Some(vec![1]) {
            assert_eq!(held.len(), 10, "{dies_at}, {keeps}: a state that knows more");
        }
    }
    died.load(Relaxed)
}

#[test]
fn what_is_on_record_is_in_the_spool_whatever_a_crash_keeps_of_a_second_attempt() {
    let dies = |at: &u64| (0..12).all(|keeps| torn_twice(*at, keeps));
    let count = (0..1_000).take_while(dies).count();
    assert!((10..1_000).contains(&count), "{count} operations of the second attempt");
}
