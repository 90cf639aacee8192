//! Any one operation of the store fails, at any time, and a power cut may follow: what was
//! confirmed is in the spool, nothing is lost, and nothing is there twice.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use plantwin_adapter::ManualClock;
use plantwin_model::{DeviceId, SpoolSpec, Timestamp};
use plantwin_store::{
    LogKind, MemoryStore, Spool, SpoolLimits, Store,
    spool::SpoolEntry,
    testing::{Fault, FaultyStore},
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

/// What waits, and the receipts of the telemetry by its number.
fn load() -> (Queue, BTreeMap<u64, Arc<Confirmed>>) {
    let (mut queue, mut receipts) = (Queue::default(), BTreeMap::new());
    for n in 1..=RECORDS {
        let confirmed = Arc::new(Confirmed::default());
        let receipt = confirmed.hand_out().unwrap();
        let receipted = Receipted { confirmed: Arc::clone(&confirmed), receipt };
        receipts.insert(n, confirmed);
        let (device, record) = (device(n), telemetry(n));
        queue.push_durable(DurableJob::Telemetry {
            device,
            record,
            recorded: Some(Recorded::of(n, Timestamp::from_millis(n.cast_signed()))),
            receipt: Some(receipted),
            burden: None,
        });
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
    let work = Work {
        store,
        spool: Arc::new(Mutex::new(spool)),
        limits: SpoolSpec::default(),
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_000))),
        status: Arc::default(),
        torn: AtomicBool::new(false),
    };
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
