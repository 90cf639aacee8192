//! What the keeper promises: told only when it is on the disk, and nothing forgotten when the
//! disk refuses.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use plantwin_adapter::ManualClock;
use plantwin_model::{DeviceId, Quality, SpoolSpec, Timestamp};
use plantwin_store::{
    LogKind, MemoryStore, Spool, SpoolLimits, Store,
    testing::{Fault, FaultyStore},
};

use super::{DurableJob, Keeper, KeeperPlace, LetterChange, Receipted, queue::Due};
use crate::{
    assembly::{LETTERS, TWINS},
    line::Confirmed,
    northbound::{PointRecord, TelemetryRecord},
};

mod faults;
pub(crate) mod hang;
mod outage;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Everything goes out.
const ALL: Due = Due { log: true, trees: true };

fn keeper(store: Arc<dyn Store>) -> Arc<Keeper> {
    keeper_at(store, Arc::new(ManualClock::new(Timestamp::from_millis(1_000))))
}

fn keeper_at(store: Arc<dyn Store>, clock: Arc<ManualClock>) -> Arc<Keeper> {
    let spool = Spool::open(Arc::clone(&store), SpoolLimits::default()).unwrap();
    let limits = SpoolSpec::default();
    Keeper::start(store, spool, limits, clock, KeeperPlace::Thread).unwrap()
}

fn append(keeper: &Keeper, payload: &[u8], must: bool) -> Receiver<Result<(), String>> {
    let (told, hears) = sync_channel(8);
    let then = Box::new(move |result| told.send(result).unwrap());
    keeper.append(LogKind::Alarm, payload.to_vec(), must, then);
    hears
}

fn telemetry(n: u64) -> TelemetryRecord {
    TelemetryRecord {
        sequence: Some(n),
        received: Timestamp::from_millis(1_000),
        missing: 0,
        points: vec![PointRecord {
            unit: None,
            origin: None,
            name: "level".to_owned(),
            value: Some(n as f64),
            quality: Quality::Good,
            measured: None,
        }],
    }
}

fn log(store: &dyn Store) -> Vec<Vec<u8>> {
    let mut payloads = vec![];
    store
        .read_log(1, &mut |record| {
            payloads.push(record.payload.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    payloads
}

#[test]
fn what_was_told_to_be_safe_survives_a_crash_at_that_moment() {
    let store = Arc::new(MemoryStore::new());
    let keeper = keeper(store.clone());
    for n in 0..200_u8 {
        append(&keeper, &[n], false).recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(log(&*store).len(), usize::from(n) + 1);
    }
    keeper.close().unwrap();
    store.crash();
    let kept: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n]).collect();
    assert_eq!(log(&*store), kept);
}

#[test]
fn telemetry_is_confirmed_when_it_is_in_the_spool_and_its_end_is_told() {
    let store = Arc::new(MemoryStore::new());
    let keeper = keeper(store.clone());
    let confirmed = Arc::new(Confirmed::default());
    let device = DeviceId::from("tank1");
    let receipts: Vec<u64> = (0..50).map(|_| confirmed.hand_out().unwrap()).collect();
    for &receipt in &receipts {
        let receipted = Receipted { confirmed: Arc::clone(&confirmed), receipt };
        let (device, record) = (device.clone(), telemetry(receipt));
        keeper.keep(DurableJob::Telemetry {
            device,
            record,
            recorded: None,
            receipt: Some(receipted),
            burden: None,
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut seen = vec![];
    runtime.block_on(async {
        while seen.len() < receipts.len() {
            tokio::time::timeout(PATIENCE, confirmed.told()).await.expect("a confirmation");
            let fresh = confirmed.collect();
            // A crash now: everything confirmed must be there.
            let left = Arc::new(store.after_crash());
            let spool = Spool::open(left, SpoolLimits::default()).unwrap();
            let records = spool.queue("tank1").map_or(0, |q| q.records);
            seen.extend(fresh);
            assert!(records >= seen.len() as u64, "{records} of {} confirmed", seen.len());
        }
    });
    assert_eq!(seen, receipts);
    // The last confirmation comes before the counts.
    keeper.close().unwrap();
    assert_eq!(keeper.status().queues[&device].view.records, 50);
    assert_eq!(keeper.status().safe[&device], 51);
}

#[test]
fn letters_come_and_go_and_the_newest_state_of_a_twin_stands() {
    let store = Arc::new(MemoryStore::new());
    let keeper = keeper(store.clone());
    let device = DeviceId::from("tank1");
    for id in [1, 2] {
        let change = LetterChange::Aside(vec![id as u8]);
        keeper.keep(DurableJob::Letter { device: device.clone(), id, change, receipt: None });
    }
    let change = LetterChange::Released;
    keeper.keep(DurableJob::Letter { device: device.clone(), id: 1, change, receipt: None });
    for n in 0..100 {
        keeper.save(device.clone(), vec![n]);
    }
    keeper.close().unwrap();
    store.crash();
    let letters = store.scan(LETTERS).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].1, [2]);
    assert_eq!(store.get(TWINS, "tank1").unwrap(), Some(vec![99]));
}

#[test]
fn a_full_disk_is_told_once_and_what_must_be_on_record_follows_when_there_is_room() {
    let full = Arc::new(Mutex::new(true));
    let switch = Arc::clone(&full);
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), move |_, _| {
        let full = *switch.lock().unwrap();
        if full { Fault::Before(std::io::ErrorKind::StorageFull) } else { Fault::None }
    }));
    *full.lock().unwrap() = false;
    let keeper = keeper(store.clone());
    *full.lock().unwrap() = true;
    let must = append(&keeper, b"alarm", true);
    let may = append(&keeper, b"intent", false);
    assert!(must.recv_timeout(PATIENCE).unwrap().is_err());
    assert!(may.recv_timeout(PATIENCE).unwrap().is_err());
    let confirmed = Arc::new(Confirmed::default());
    let receipt = confirmed.hand_out().unwrap();
    let receipted = Receipted { confirmed: Arc::clone(&confirmed), receipt };
    let (device, record) = (DeviceId::from("tank1"), telemetry(1));
    keeper.keep(DurableJob::Telemetry {
        device,
        record,
        recorded: None,
        receipt: Some(receipted),
        burden: None,
    });
    assert!(keeper.status().failing.is_some());
    assert!(confirmed.collect().is_empty());
    *full.lock().unwrap() = false;
    must.recv_timeout(PATIENCE).unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, confirmed.told()).await.unwrap() });
    assert_eq!(confirmed.collect(), [receipt]);
    keeper.close().unwrap();
    assert!(keeper.status().failing.is_none());
    assert_eq!(log(&*store), [b"alarm".to_vec()]);
    assert!(may.try_recv().is_err(), "what may fail is not tried again");
}

#[test]
fn a_keeper_that_is_closed_refuses_and_does_not_hang() {
    let keeper = keeper(Arc::new(MemoryStore::new()));
    keeper.close().unwrap();
    assert!(append(&keeper, b"late", true).recv_timeout(PATIENCE).unwrap().is_err());
    keeper.save(DeviceId::from("tank1"), vec![]);
}

#[test]
fn a_twins_state_never_reaches_the_disk_before_the_telemetry_it_knows_of() {
    let mut queue = super::queue::Queue::default();
    let (busy, idle) = (DeviceId::from("busy"), DeviceId::from("idle"));
    for n in 0..100 {
        let (device, record) = (busy.clone(), telemetry(n));
        queue.push_durable(DurableJob::Telemetry {
            device,
            record,
            recorded: None,
            receipt: None,
            burden: None,
        });
    }
    queue.saves.insert(busy.clone(), vec![1]);
    queue.saves.insert(idle.clone(), vec![2]);
    let first = queue.take(ALL);
    assert_eq!(first.durable.len(), super::GROUP);
    assert_eq!(first.saves, [(idle, vec![2])]);
    // The disk refused: the order stays.
    queue.put_back(first);
    assert_eq!(queue.take(ALL).durable.len(), super::GROUP);
    let last = queue.take(ALL);
    assert_eq!(last.durable.len(), 100 - super::GROUP);
    assert_eq!(last.saves, [(busy, vec![1])]);
    assert!(queue.take(ALL).durable.is_empty());
}
