//! What is shown while the disk refuses, and what is on record after.

use std::{
    io::ErrorKind,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::sync_channel,
    },
    time::Duration,
};

use plantwin_adapter::ManualClock;
use plantwin_model::{AlarmId, AlarmSource, AlarmState, Priority, SpoolSpec, Timestamp};
use plantwin_store::{
    MemoryStore, Spool, SpoolLimits, Store,
    testing::{Fault, FaultyStore, Operation},
};

use super::*;
use crate::keeper::{Gate, KeeperPlace};

const TANK: DeviceIx = DeviceIx(0);

struct Bench {
    desk: AlarmDesk,
    keeper: Arc<Keeper>,
    store: Arc<dyn Store>,
    refuses: Arc<AtomicBool>,
    twin: DeviceId,
}

fn list(name: &str) -> Vec<AlarmView> {
    let now = Timestamp::from_millis(1_000);
    vec![AlarmView {
        id: AlarmId::new(format!("tank1.{name}")),
        twin: DeviceId::from("tank1"),
        priority: Priority::High,
        state: AlarmState::Unacknowledged,
        source: AlarmSource::System,
        since: now,
        raised: now,
        text: name.to_owned(),
        response: String::new(),
    }]
}

impl Bench {
    fn new() -> Self {
        let refuses = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&refuses);
        let store: Arc<dyn Store> =
            Arc::new(FaultyStore::new(MemoryStore::new(), move |_, operation| {
                let write = matches!(operation, Operation::Append | Operation::FlushLog);
                let refused = write && switch.load(SeqCst);
                if refused { Fault::Before(ErrorKind::StorageFull) } else { Fault::None }
            }));
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        Self { refuses, ..Self::over(store, clock) }
    }

    fn over(store: Arc<dyn Store>, clock: Arc<ManualClock>) -> Self {
        let refuses = Arc::default();
        let spool = Spool::open(Arc::clone(&store), SpoolLimits::default()).unwrap();
        let limits = SpoolSpec::default();
        let place = KeeperPlace::Thread;
        let keeper = Keeper::start(Arc::clone(&store), spool, limits, clock, place).unwrap();
        let twin = DeviceId::from("tank1");
        Self { desk: AlarmDesk::default(), keeper, store, refuses, twin }
    }

    fn take(&mut self, name: &str) -> Option<Vec<AlarmView>> {
        self.desk.take(Some(&self.keeper), TANK, &self.twin, list(name))
    }

    fn ready(&mut self) -> Vec<Vec<AlarmView>> {
        let ready = self.desk.ready(Some(&self.keeper)).into_iter();
        ready.map(|(ix, list)| (ix == TANK).then_some(list).unwrap()).collect()
    }

    /// Returns when the keeper has spoken of all that it was given: it keeps the order.
    fn settle(&self) {
        let (told, hears) = sync_channel(8);
        let then = Box::new(move |result: Result<(), String>| {
            // Who settled while the disk refused does not listen any more.
            let _ = told.send(result.is_ok());
        });
        self.keeper.append(LogKind::Audit, Vec::new(), true, then);
        let well = !self.refuses.load(SeqCst);
        let patience = Duration::from_secs(20);
        while hears.recv_timeout(patience).unwrap() != well {}
    }

    /// The lists of the twin on record.
    fn recorded(&self) -> Vec<Vec<AlarmView>> {
        let mut lists = Vec::new();
        let mut visit = |record: plantwin_store::LogRecord<'_>| {
            if record.kind == LogKind::Alarm {
                lists.push(AlarmRecord::from_bytes(record.payload).unwrap().alarms);
            }
            ControlFlow::Continue(())
        };
        self.store.read_log(1, &mut visit).unwrap();
        lists
    }
}

#[test]
fn while_the_disk_refuses_every_list_is_shown_and_the_newest_is_on_record_after() {
    let mut bench = Bench::new();
    bench.refuses.store(true, SeqCst);
    assert_eq!(bench.take("first"), None, "it may well be written");
    bench.settle();
    assert_eq!(bench.ready(), [list("first")]);
    assert_eq!(bench.take("second"), Some(list("second")));
    assert_eq!(bench.take("third"), Some(list("third")));
    assert!(bench.ready().is_empty());
    bench.refuses.store(false, SeqCst);
    bench.settle();
    assert!(bench.ready().is_empty(), "an older list does not take the place of a newer one");
    bench.settle();
    assert_eq!(bench.ready(), [list("third")]);
    assert_eq!(bench.recorded(), [list("first"), list("third")]);
    // All is as before.
    assert_eq!(bench.take("fourth"), None);
    bench.settle();
    assert_eq!(bench.ready(), [list("fourth")]);
    bench.keeper.close().unwrap();
}

#[test]
fn a_list_that_came_before_the_refusal_was_known_is_shown_with_it() {
    let mut bench = Bench::new();
    bench.refuses.store(true, SeqCst);
    assert_eq!(bench.take("first"), None);
    bench.settle();
    assert_eq!(bench.take("second"), None, "nobody has looked yet");
    assert_eq!(bench.ready().last(), Some(&list("second")));
    bench.refuses.store(false, SeqCst);
    bench.settle();
    bench.ready();
    bench.settle();
    assert_eq!(bench.recorded().last(), Some(&list("second")));
    bench.keeper.close().unwrap();
}

#[test]
fn while_the_disk_hangs_every_list_is_shown_and_the_newest_is_on_record_after() {
    let (gate, store) = Gate::before_a_store();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let mut bench = Bench::over(store, Arc::clone(&clock));
    gate.set(true);
    assert_eq!(bench.take("first"), None);
    gate.holds();
    assert_eq!(bench.take("second"), None);
    assert!(bench.ready().is_empty());
    for _ in 0..6 {
        clock.advance(Duration::from_secs(1));
        bench.keeper.watch();
    }
    assert_eq!(bench.ready(), [list("second")], "the newest of those that wait");
    assert_eq!(bench.take("third"), Some(list("third")));
    gate.set(false);
    bench.settle();
    assert!(bench.ready().is_empty(), "an older list does not take the place of a newer one");
    bench.settle();
    assert_eq!(bench.ready(), [list("third")]);
    assert_eq!(bench.recorded(), [list("first"), list("third")]);
    bench.keeper.close().unwrap();
}
