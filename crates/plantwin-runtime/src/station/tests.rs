//! A station that crashes: what it was at work on is not lost, and does not crash it for ever.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use plantwin_model::{
    Clock, DeviceId, PlantView, ProtocolSchema, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_seal::{KeyDistributor, Lane, PartyId, Sealer};
use plantwin_twin::{LaneLimits, Mail, Telemetry, TwinEvent, mailbox};
use tokio::sync::watch;

use super::{Notes, Station, StationInit, book::Book};
use crate::{commands::CommandDesk, line::Confirmed, router::Outcomes};

static WIRE: ProtocolSchema = ProtocolSchema::bare("wire");

const PLANT: &str = r#"
[plant]
name = "small"
[zone.a]
[type.gauge.twin]
type = "gauge"
[type.gauge.property.level]
unit = "cm"
range = [0, 20]
[device.gauge1]
type = "gauge"
zone = "a"
mode = "physical"
[device.gauge1.wire]
"#;

/// Whoever asks it for the time panics, so many times.
#[derive(Debug, Default)]
struct Trap(AtomicU32);

impl Clock for Trap {
    fn now(&self) -> Timestamp {
        let sprung = self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        assert!(!sprung, "trap");
        Timestamp::from_millis(1_000)
    }
}

struct Bench {
    station: Station,
    trap: Arc<Trap>,
    sealer: Sealer,
    confirmed: Arc<Confirmed>,
}

impl Bench {
    fn new() -> Self {
        let schemas = [&WIRE];
        let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
        let read = read_plant("small.toml", PLANT, &catalog, &ReadOptions::default());
        let plant = Arc::new(read.into_plant().unwrap());
        let trap = Arc::new(Trap::default());
        let clock: Arc<dyn Clock> = trap.clone();
        let (twin, here) = (PartyId(1 << 32), PartyId(1));
        let secret = KeyDistributor::new().unwrap().pair_secret(twin, here);
        let (theirs, ours) =
            plantwin_seal::Session::pair(&secret, twin, here, clock.now()).unwrap();
        let confirmed = Arc::new(Confirmed::default());
        let station = Station::new(StationInit {
            book: Book::new(Arc::clone(&plant), 64, Vec::new(), clock.now()),
            inbox: mailbox(LaneLimits::default()).1,
            openers: vec![(DeviceId::from("gauge1"), ours.opener)],
            confirmed: vec![Some(Arc::clone(&confirmed))],
            view: watch::channel(Arc::new(PlantView::empty("small"))).0,
            outcomes: Arc::new(Outcomes::new(Arc::clone(&clock))),
            commands: Arc::new(CommandDesk::new(None, Arc::clone(&clock))),
            clock,
            keeper: None,
            northbound: None,
            steps: None,
            panics: Arc::default(),
            authority: None,
            orders: vec![None],
            notes: Notes::default(),
        });
        Self { station, trap, sealer: theirs.sealer, confirmed }
    }

    /// A letter with a receipt comes; whether the station crashes over it.
    fn letter(&mut self) -> (u64, bool) {
        let receipt = self.confirmed.hand_out().unwrap();
        let event = TwinEvent::Telemetry(Telemetry {
            receipt: Some(receipt),
            sequence: Some(receipt),
            received: Timestamp::from_millis(1_000),
            samples: Vec::new(),
            duplicate: false,
            missing: 0,
        });
        let now = Timestamp::from_millis(1_000);
        let mail = Mail(self.sealer.seal(&event, Lane::Durable, None, now).unwrap());
        let station = &mut self.station;
        let crashed = catch_unwind(AssertUnwindSafe(|| station.take_in(mail))).is_err();
        (receipt, crashed)
    }

    /// The guardian restarts it; whether it crashes again.
    fn restart(&mut self) -> bool {
        let station = &mut self.station;
        catch_unwind(AssertUnwindSafe(|| station.recover())).is_err()
    }

    fn dropped(&self) -> Option<u64> {
        self.station.init.book.counters.get("station_dropped").copied()
    }
}

#[test]
fn a_letter_that_was_interrupted_is_handled_once_more() {
    let mut bench = Bench::new();
    bench.trap.0.store(1, SeqCst);
    let (receipt, crashed) = bench.letter();
    assert!(crashed && bench.confirmed.collect().is_empty());
    assert!(!bench.restart());
    assert_eq!(bench.confirmed.collect(), [receipt]);
    assert_eq!(bench.dropped(), None);
    assert!(!bench.restart(), "nothing is left to be handled");
    let (next, crashed) = bench.letter();
    assert!(!crashed);
    assert_eq!(bench.confirmed.collect(), [next]);
}

#[test]
fn a_letter_that_crashes_the_station_twice_is_dropped_with_an_alarm_and_nobody_waits_for_it() {
    let mut bench = Bench::new();
    bench.trap.0.store(2, SeqCst);
    let (receipt, crashed) = bench.letter();
    assert!(crashed && bench.restart());
    assert!(!bench.restart());
    assert_eq!(bench.confirmed.collect(), [receipt]);
    assert_eq!(bench.dropped(), Some(1));
    let own = bench.station.init.book.changed_own().unwrap().1;
    let names: Vec<_> = own.iter().map(|alarm| alarm.id.as_str()).collect();
    assert_eq!(names, ["small.letter_dropped"]);
    let (next, crashed) = bench.letter();
    assert!(!crashed);
    assert_eq!(bench.confirmed.collect(), [next]);
}
