//! A disk that does not answer is one that refuses, until it answers.

use std::{
    sync::{Arc, Condvar, Mutex, mpsc::RecvTimeoutError},
    time::Duration,
};

use plantwin_adapter::ManualClock;
use plantwin_model::{DeviceId, Timestamp};
use plantwin_store::{
    LogKind, MemoryStore, Store,
    testing::{Fault, FaultyStore, Operation},
};

use super::{PATIENCE, append, keeper_at, log, telemetry};
use crate::{
    keeper::{DurableJob, Keeper, Receipted},
    line::Confirmed,
};

/// More than the time after which a disk counts as hung.
const LONG: Duration = Duration::from_secs(6);

/// Holds every flush of the log while it is shut.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    /// A store behind a gate that is open.
    pub(crate) fn before_a_store() -> (Arc<Self>, Arc<dyn Store>) {
        let gate = Arc::new(Self::default());
        let mine = Arc::clone(&gate);
        let store = FaultyStore::new(MemoryStore::new(), move |_, operation| {
            if operation == Operation::FlushLog {
                mine.pass();
            }
            Fault::None
        });
        (gate, Arc::new(store))
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        while state.0 {
            state.1 = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
        state.1 = false;
    }

    /// From now on it holds what comes, or lets it go.
    pub(crate) fn set(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.changed.notify_all();
    }

    /// Returns when it holds something.
    pub(crate) fn holds(&self) {
        let state = self.state.lock().unwrap();
        let waits = |state: &mut (bool, bool)| !state.1;
        let (state, _) = self.changed.wait_timeout_while(state, PATIENCE, waits).unwrap();
        assert!(state.1, "nobody came");
    }
}

fn start() -> (Arc<Gate>, Arc<dyn Store>, Arc<ManualClock>, Arc<Keeper>) {
    let (gate, store) = Gate::before_a_store();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let keeper = keeper_at(Arc::clone(&store), Arc::clone(&clock));
    (gate, store, clock, keeper)
}

/// That much time passes, and somebody looks as often as the station does.
fn pass(clock: &ManualClock, keeper: &Keeper, time: Duration) {
    let look = Duration::from_millis(100);
    for _ in 0..time.as_millis() / look.as_millis() {
        clock.advance(look);
        keeper.watch();
    }
}

#[test]
fn whoever_waits_for_a_disk_that_hangs_is_told_and_what_must_be_there_is_written_when_it_answers() {
    let (gate, store, clock, keeper) = start();
    gate.set(true);
    let alarm = append(&keeper, b"alarm", true);
    gate.holds();
    let sent = append(&keeper, b"sent", false);
    pass(&clock, &keeper, Duration::from_millis(4_900));
    assert!(alarm.try_recv().is_err() && sent.try_recv().is_err(), "it may well answer");
    assert!(keeper.status().failing.is_none());
    pass(&clock, &keeper, Duration::from_millis(200));
    let told = |result: Result<(), String>| result.unwrap_err().contains("has not answered");
    assert!(told(alarm.recv_timeout(PATIENCE).unwrap()));
    assert!(told(sent.recv_timeout(PATIENCE).unwrap()));
    assert!(keeper.status().failing.is_some());
    // Who comes now does not wait as long.
    let next = append(&keeper, b"next", true);
    let intent = append(&keeper, b"intent", false);
    pass(&clock, &keeper, Duration::from_millis(100));
    assert!(told(next.recv_timeout(PATIENCE).unwrap()));
    assert!(told(intent.recv_timeout(PATIENCE).unwrap()));
    assert_eq!(keeper.status().failures, 1, "one hang is one failure");
    gate.set(false);
    alarm.recv_timeout(PATIENCE).unwrap().unwrap();
    next.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(keeper.status().failing.is_none());
    append(&keeper, b"last", false).recv_timeout(PATIENCE).unwrap().unwrap();
    let kept: Vec<&[u8]> = vec![b"alarm", b"next", b"last"];
    assert_eq!(log(&*store), kept);
    assert!(sent.try_recv().is_err() && intent.try_recv().is_err());
    keeper.close().unwrap();
}

#[test]
fn a_record_that_was_told_to_have_failed_and_is_written_all_the_same_is_told_to_nobody() {
    let (gate, store, clock, keeper) = start();
    gate.set(true);
    let sent = append(&keeper, b"sent", false);
    gate.holds();
    pass(&clock, &keeper, LONG);
    assert!(sent.recv_timeout(PATIENCE).unwrap().is_err());
    gate.set(false);
    append(&keeper, b"last", false).recv_timeout(PATIENCE).unwrap().unwrap();
    let kept: Vec<&[u8]> = vec![b"sent", b"last"];
    assert_eq!(log(&*store), kept);
    assert_eq!(sent.try_recv().ok(), None, "nobody may act upon it any more");
    keeper.close().unwrap();
}

#[test]
fn a_panic_over_the_disk_is_a_refusal_and_the_keeper_goes_on() {
    let panics = Arc::new(Mutex::new(vec![Operation::PutBatch, Operation::FlushLog]));
    let mine = Arc::clone(&panics);
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), move |_, operation| {
        let armed = mine.lock().unwrap().pop_if(|armed| *armed == operation).is_some();
        assert!(!armed, "{operation:?}");
        Fault::None
    }));
    let keeper = keeper_at(store.clone(), Arc::new(ManualClock::new(Timestamp(1))));
    let alarm = append(&keeper, b"alarm", true);
    let told = alarm.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(told.contains("it panicked: FlushLog"), "{told}");
    alarm.recv_timeout(PATIENCE).unwrap().unwrap();
    // What must not be confirmed before it is there is there when it is.
    let confirmed = Arc::new(Confirmed::default());
    let receipt = confirmed.hand_out().unwrap();
    let receipted = Receipted { confirmed: Arc::clone(&confirmed), receipt };
    let (device, record) = (DeviceId::from("tank1"), telemetry(1));
    keeper.keep(DurableJob::Telemetry {
        device,
        record,
        receipt: Some(receipted),
        burden: None,
        recorded: None,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, confirmed.told()).await.unwrap() });
    assert_eq!(confirmed.collect(), [receipt]);
    assert!(panics.lock().unwrap().is_empty());
    keeper.close().unwrap();
    assert_eq!(keeper.status().total.view.records, 1);
    assert!(keeper.status().failing.is_none());
}

#[test]
fn whoever_panics_when_told_keeps_no_other_from_hearing() {
    let keeper = keeper_at(Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(Timestamp(1))));
    let then = Box::new(|_| panic!("told"));
    keeper.append(LogKind::Alarm, b"first".to_vec(), true, then);
    append(&keeper, b"second", true).recv_timeout(PATIENCE).unwrap().unwrap();
    keeper.close().unwrap();
}

#[test]
fn a_machine_that_was_suspended_does_not_find_its_disk_hanging() {
    let (gate, _, clock, keeper) = start();
    gate.set(true);
    let alarm = append(&keeper, b"alarm", true);
    gate.holds();
    clock.advance(Duration::from_hours(1));
    keeper.watch();
    assert!(alarm.try_recv().is_err());
    gate.set(false);
    alarm.recv_timeout(PATIENCE).unwrap().unwrap();
    keeper.close().unwrap();
}

#[test]
fn closing_waits_for_a_disk_that_hangs_only_so_long_and_says_so() {
    let (gate, _, _, keeper) = start();
    gate.set(true);
    let alarm = append(&keeper, b"alarm", true);
    gate.holds();
    let error = keeper.close_within(Duration::from_millis(1)).unwrap_err();
    assert!(error.contains("has not answered"), "{error}");
    assert_eq!(alarm.try_recv().ok(), None);
    gate.set(false);
    assert_ne!(alarm.recv_timeout(PATIENCE), Err(RecvTimeoutError::Timeout));
}
