//! A station that crashes: what it was at work on is not lost, and does not crash it for ever. And
//! when it answers an acknowledgement.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use actix::Arbiter;
use plantwin_model::{
    AlarmId, AlarmSource, AlarmState, AlarmView, Clock, DeviceId, Outcome, PlantView, Priority,
    ProtocolSchema, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_seal::{KeyDistributor, Lane, PartyId, Sealer};
use plantwin_twin::{LaneLimits, Mail, Mailbox, Telemetry, TwinEvent, mailbox};
use tokio::sync::watch;

use super::{Notes, Station, StationInit, StationNote, book::Book};
use crate::{
    colony::STATION_RESTARTS,
    commands::CommandDesk,
    guardian::{GuardEvent, GuardWatcher, seat},
    line::Confirmed,
    router::{Outcomes, Reply},
};

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

/// What a station is built from, and the mailbox before it.
fn parts() -> (StationInit, Mailbox<TwinEvent>, Arc<Trap>, Sealer, Arc<Confirmed>) {
    let schemas = [&WIRE];
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let read = read_plant("small.toml", PLANT, &catalog, &ReadOptions::default());
    let plant = Arc::new(read.into_plant().unwrap());
    let trap = Arc::new(Trap::default());
    let clock: Arc<dyn Clock> = trap.clone();
    let (twin, here) = (PartyId(1 << 32), PartyId(1));
    let secret = KeyDistributor::new().unwrap().pair_secret(twin, here);
    let (theirs, ours) = plantwin_seal::Session::pair(&secret, twin, here, clock.now()).unwrap();
    let confirmed = Arc::new(Confirmed::default());
    let (mailbox, inbox) = mailbox(LaneLimits::default());
    let init = StationInit {
        book: Book::new(Arc::clone(&plant), 64, Vec::new(), clock.now()),
        inbox,
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
    };
    (init, mailbox, trap, theirs.sealer, confirmed)
}

/// A letter with a receipt.
fn receipted(sealer: &mut Sealer, confirmed: &Confirmed) -> (u64, Mail<TwinEvent>) {
    let now = Timestamp::from_millis(1_000);
    let receipt = confirmed.hand_out().unwrap();
    let event = TwinEvent::Telemetry(Telemetry {
        receipt: Some(receipt),
        sequence: Some(receipt),
        received: now,
        samples: Vec::new(),
        duplicate: false,
        missing: 0,
        recorded: None,
    });
    (receipt, Mail(sealer.seal(&event, Lane::Durable, None, now).unwrap()))
}

impl Bench {
    fn new() -> Self {
        let (init, _, trap, sealer, confirmed) = parts();
        Self { station: Station::new(init), trap, sealer, confirmed }
    }

    /// The twin shows these alarms.
    fn alarms(&mut self, states: &[AlarmState]) {
        let now = Timestamp::from_millis(1_000);
        let alarm = |&state: &AlarmState| AlarmView {
            id: AlarmId::new("gauge1.high"),
            twin: DeviceId::from("gauge1"),
            priority: Priority::High,
            state,
            source: AlarmSource::System,
            since: now,
            raised: now,
            text: String::new(),
            response: String::new(),
        };
        let event = TwinEvent::Alarms(states.iter().map(alarm).collect());
        let mail = Mail(self.sealer.seal(&event, Lane::Alarm, None, now).unwrap());
        self.station.take_in(mail);
        self.station.publish();
    }

    /// Somebody acknowledges, and waits for the answer.
    fn acknowledge(&mut self, alarm: &str, own: bool) -> Receiver<Outcome> {
        let (reply, answer) = sync_channel(1);
        let key = self.station.init.outcomes.await_one(Reply::plain(reply)).unwrap();
        let note = StationNote::Acknowledge { alarm: AlarmId::new(alarm), key, own };
        assert!(self.station.init.notes.leave(note));
        self.station.publish();
        answer
    }

    /// A letter with a receipt comes; whether the station crashes over it.
    fn letter(&mut self) -> (u64, bool) {
        let (receipt, mail) = receipted(&mut self.sealer, &self.confirmed);
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

/// Hears nothing of what the guardian does.
struct Deaf;

impl GuardWatcher for Deaf {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn jitter(&mut self) -> f64 {
        0.0
    }
    fn on(&mut self, _: GuardEvent) {}
}

#[actix::test]
async fn a_station_that_crashes_again_and_again_comes_back_and_reads_its_mail() {
    tokio::time::pause();
    let (init, mailbox, trap, mut sealer, confirmed) = parts();
    let make = move |_: &mut actix::Context<Station>| Station::new(init);
    let _ward = seat(1).guard(&Arbiter::current(), STATION_RESTARTS, Deaf, make);
    trap.0.store(20, SeqCst);
    for _ in 0..2 {
        let (receipt, mail) = receipted(&mut sealer, &confirmed);
        mailbox.post(mail).unwrap();
        // Virtual time: each wait before a restart is two seconds at most.
        let told = tokio::time::timeout(Duration::from_mins(10), confirmed.told());
        told.await.expect("the letter was handled, or dropped");
        assert_eq!(confirmed.collect(), [receipt]);
        assert_eq!(trap.0.load(SeqCst), 0);
    }
}

#[test]
fn an_acknowledgement_is_answered_when_the_alarm_is_shown_as_acknowledged_and_no_sooner() {
    let mut bench = Bench::new();
    bench.alarms(&[AlarmState::Unacknowledged]);
    let answer = bench.acknowledge("gauge1.high", false);
    assert!(answer.try_recv().is_err(), "the twin has not said so");
    bench.alarms(&[AlarmState::Unacknowledged]);
    assert!(answer.try_recv().is_err());
    bench.alarms(&[AlarmState::Acknowledged]);
    assert_eq!(answer.try_recv(), Ok(Outcome::Done));
    bench.alarms(&[AlarmState::ReturnedUnacknowledged]);
    let answer = bench.acknowledge("gauge1.high", false);
    assert!(answer.try_recv().is_err());
    bench.alarms(&[]);
    assert_eq!(answer.try_recv(), Ok(Outcome::Done));
}

#[test]
fn an_alarm_of_the_plant_itself_is_acknowledged_and_answered() {
    let mut bench = Bench::new();
    let now = Timestamp::from_millis(1_000);
    bench.station.init.book.plant_alarm("store", Some("it fails"), "mend it", now);
    bench.station.publish();
    let answer = bench.acknowledge("small.store", true);
    assert_eq!(answer.recv_timeout(Duration::from_secs(20)), Ok(Outcome::Done));
    let view = bench.station.init.view.borrow().clone();
    assert_eq!(view.alarms[0].state, AlarmState::Acknowledged);
}
