mod tree;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Arbiter, Context, Handler, Message, Supervised};
use plantwin_model::{
    Escalation, ProtocolSchema, RestartStrategy, SupervisionSpec, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use proptest::prelude::*;
use tokio::sync::mpsc::Receiver;

use super::{
    Decision, GuardEvent, GuardWatcher, Guardian, RestartHistory, RestartPolicy, Ward, seat,
};

#[derive(Message)]
#[rtype(result = "()")]
struct Say(u32);

/// Panics on multiples of ten, remembers the rest.
struct Fragile {
    heard: Arc<Mutex<Vec<u32>>>,
}

impl Actor for Fragile {
    type Context = Context<Self>;
}
impl Supervised for Fragile {}
impl Handler<Say> for Fragile {
    type Result = ();
    fn handle(&mut self, say: Say, _: &mut Context<Self>) {
        assert!(!say.0.is_multiple_of(10), "word {}", say.0);
        self.heard.lock().unwrap().push(say.0);
    }
}

struct Notes(tokio::sync::mpsc::Sender<GuardEvent>);

impl GuardWatcher for Notes {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
    fn jitter(&mut self) -> f64 {
        0.0
    }
    fn on(&mut self, event: GuardEvent) {
        self.0.try_send(event).unwrap();
    }
}

fn quick() -> RestartPolicy {
    RestartPolicy { backoff_min: Duration::from_millis(1), ..RestartPolicy::default() }
}

#[actix::test]
async fn a_panic_loses_no_queued_mail_and_keeps_the_address() {
    let heard = Arc::new(Mutex::new(vec![]));
    let (tx, mut events) = tokio::sync::mpsc::channel(64);
    let ears = Arc::clone(&heard);
    let ward =
        seat(64).guard(&Arbiter::current(), quick(), Notes(tx), move |_| Fragile { heard: ears });
    for word in 1..=25 {
        ward.addr.try_send(Say(word)).unwrap();
    }
    ward.addr.send(Say(26)).await.unwrap();
    let expected: Vec<u32> = (1..=26).filter(|w| w % 10 != 0).collect();
    assert_eq!(*heard.lock().unwrap(), expected);
    assert_eq!(
        events.recv().await.unwrap(),
        GuardEvent::Crashed { panic: "word 10".into(), wait: Duration::ZERO }
    );
    assert_eq!(events.recv().await.unwrap(), GuardEvent::Restarted);
}

#[actix::test]
async fn a_twin_that_crashes_too_often_is_given_up_with_its_mail_and_can_be_revived() {
    let heard = Arc::new(Mutex::new(vec![]));
    let (tx, mut events) = tokio::sync::mpsc::channel(64);
    let ears = Arc::clone(&heard);
    let ward =
        seat(64).guard(&Arbiter::current(), quick(), Notes(tx), move |_| Fragile { heard: ears });
    for _ in 0..6 {
        ward.addr.try_send(Say(10)).unwrap();
    }
    ward.addr.try_send(Say(7)).unwrap();
    loop {
        if let GuardEvent::GaveUp { panic } = events.recv().await.unwrap() {
            assert_eq!(panic, "word 10");
            break;
        }
    }
    assert!(heard.lock().unwrap().is_empty());
    ward.addr.try_send(Say(8)).unwrap();
    tokio::task::yield_now().await;
    ward.revive();
    ward.addr.send(Say(9)).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), vec![7, 8, 9]);
}

/// Twins of one tree, each with what it heard and what the guardian told of it.
struct Family {
    wards: Vec<Vec<Ward<Fragile>>>,
    heard: Vec<Vec<Arc<Mutex<Vec<u32>>>>>,
    events: Vec<Vec<Receiver<GuardEvent>>>,
}

impl Family {
    fn start(plant: &SupervisionSpec, zones: &[(SupervisionSpec, usize)]) -> Self {
        let guardian = Guardian::new(plant, zones);
        let mut family = Self { wards: vec![], heard: vec![], events: vec![] };
        for (zone, (_, children)) in zones.iter().enumerate() {
            let supervisor = guardian.zone(zone);
            let (mut wards, mut heard, mut events) = (vec![], vec![], vec![]);
            for child in 0..*children {
                let words = Arc::new(Mutex::new(vec![]));
                let (tx, rx) = tokio::sync::mpsc::channel(64);
                let ears = Arc::clone(&words);
                wards.push(seat(64).guard_in(
                    &Arbiter::current(),
                    supervisor.child(child),
                    Notes(tx),
                    move |_| Fragile { heard: ears },
                ));
                heard.push(words);
                events.push(rx);
            }
            family.wards.push(wards);
            family.heard.push(heard);
            family.events.push(events);
        }
        family
    }

    /// The next thing told of a twin.
    async fn next(&mut self, zone: usize, child: usize) -> GuardEvent {
        told(&mut self.events[zone][child]).await
    }

    async fn next_but_crashes(&mut self, zone: usize, child: usize) -> GuardEvent {
        loop {
            let event = self.next(zone, child).await;
            if !matches!(event, GuardEvent::Crashed { .. }) {
                return event;
            }
        }
    }
}

/// The next thing told.
async fn told(events: &mut Receiver<GuardEvent>) -> GuardEvent {
    tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap()
}

fn supervision(strategy: RestartStrategy, max_restarts: u32) -> SupervisionSpec {
    SupervisionSpec {
        strategy,
        max_restarts,
        backoff_min: Duration::from_millis(1),
        escalation: Escalation::Parent,
        ..SupervisionSpec::default()
    }
}

#[actix::test]
async fn a_sibling_that_goes_along_keeps_its_mail() {
    let zone = supervision(RestartStrategy::RestForOne, 5);
    let mut family = Family::start(&SupervisionSpec::default(), &[(zone, 3)]);
    for word in 1..5 {
        family.wards[0][2].addr.try_send(Say(word)).unwrap();
    }
    family.wards[0][1].addr.try_send(Say(10)).unwrap();
    assert!(matches!(family.next(0, 1).await, GuardEvent::Crashed { .. }));
    assert_eq!(family.next(0, 1).await, GuardEvent::Restarted);
    assert_eq!(family.next(0, 2).await, GuardEvent::Restarted);
    for ward in &family.wards[0] {
        ward.addr.send(Say(99)).await.unwrap();
    }
    assert_eq!(*family.heard[0][2].lock().unwrap(), vec![1, 2, 3, 4, 99]);
    assert!(family.events[0][0].try_recv().is_err(), "the one before it was touched");
    assert!(family.events[0][2].try_recv().is_err(), "it was restarted twice");
}

#[actix::test]
async fn a_zone_restarts_as_a_whole_and_the_next_one_is_untouched() {
    let zone = supervision(RestartStrategy::OneForOne, 0);
    let plant = supervision(RestartStrategy::OneForOne, 3);
    let mut family = Family::start(&plant, &[(zone.clone(), 2), (zone, 2)]);
    family.wards[0][0].addr.try_send(Say(10)).unwrap();
    assert_eq!(family.next_but_crashes(0, 0).await, GuardEvent::Restarted);
    assert_eq!(family.next(0, 1).await, GuardEvent::Restarted);
    for ward in family.wards.iter().flatten() {
        ward.addr.send(Say(1)).await.unwrap();
    }
    assert!(family.events[1].iter_mut().all(|e| e.try_recv().is_err()));
}

#[actix::test]
async fn a_given_up_zone_keeps_all_mail_and_each_child_can_be_revived() {
    let zone = supervision(RestartStrategy::OneForOne, 0);
    let plant = supervision(RestartStrategy::OneForOne, 0);
    let mut family = Family::start(&plant, &[(zone.clone(), 2), (zone, 1)]);
    family.wards[0][0].addr.try_send(Say(10)).unwrap();
    let reason = "its zone was given up: word 10";
    for child in 0..2 {
        let told = family.next_but_crashes(0, child).await;
        assert_eq!(told, GuardEvent::GaveUp { panic: reason.to_owned() });
        family.wards[0][child].addr.try_send(Say(7)).unwrap();
    }
    family.wards[1][0].addr.send(Say(1)).await.unwrap();
    assert!(family.heard[0][1].lock().unwrap().is_empty());
    for child in 0..2 {
        family.wards[0][child].revive();
        assert_eq!(family.next(0, child).await, GuardEvent::Restarted);
        family.wards[0][child].addr.send(Say(8)).await.unwrap();
        assert_eq!(*family.heard[0][child].lock().unwrap(), vec![7, 8]);
    }
}

#[actix::test]
async fn reviving_what_runs_does_not_revive_it_when_it_is_given_up_later() {
    let zone = supervision(RestartStrategy::OneForOne, 0);
    let mut family = Family::start(&supervision(RestartStrategy::OneForOne, 0), &[(zone, 1)]);
    family.wards[0][0].addr.send(Say(1)).await.unwrap();
    family.wards[0][0].revive();
    family.wards[0][0].addr.send(Say(2)).await.unwrap();
    family.wards[0][0].addr.try_send(Say(10)).unwrap();
    family.wards[0][0].addr.try_send(Say(3)).unwrap();
    assert!(matches!(family.next(0, 0).await, GuardEvent::GaveUp { .. }));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*family.heard[0][0].lock().unwrap(), vec![1, 2]);
}

static WIRE: ProtocolSchema = ProtocolSchema::bare("wire");

/// Two zones whose devices stand mixed in the file; the second restarts all for one.
const MIXED: &str = r#"
[plant]
name = "mixed"
[zone.a]
[zone.b]
[type.gauge.twin]
type = "gauge"
[type.gauge.property.level]
unit = "cm"
range = [0, 20]
[device.b0]
type = "gauge"
zone = "b"
mode = "physical"
[device.b0.wire]
[device.a0]
type = "gauge"
zone = "a"
mode = "physical"
[device.a0.wire]
[device.b1]
type = "gauge"
zone = "b"
mode = "physical"
[device.b1.wire]
"#;

#[actix::test]
async fn a_plants_devices_sit_in_their_zones_in_file_order() {
    let schemas = [&WIRE];
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let read = read_plant("mixed.toml", MIXED, &catalog, &ReadOptions::default());
    let mut plant = read.into_plant().unwrap();
    plant.zones[1].supervision = Some(supervision(RestartStrategy::OneForAll, 5));
    let (_, places) = Guardian::of(&plant);
    let (mut wards, mut events) = (vec![], vec![]);
    for place in places {
        let (tx, rx) = tokio::sync::mpsc::channel(64);
        let make = |_: &mut Context<Fragile>| Fragile { heard: Arc::default() };
        wards.push(seat(64).guard_in(&Arbiter::current(), place, Notes(tx), make));
        events.push(rx);
    }
    wards[2].addr.try_send(Say(10)).unwrap();
    assert!(matches!(told(&mut events[2]).await, GuardEvent::Crashed { .. }));
    assert_eq!(told(&mut events[0]).await, GuardEvent::Restarted);
    wards[1].addr.send(Say(1)).await.unwrap();
    assert!(events[1].try_recv().is_err(), "the other zone was touched");
}

#[actix::test]
async fn a_storm_of_a_thousand_panics_loses_no_mail_and_leaves_the_others_alone() {
    let zone = supervision(RestartStrategy::OneForOne, 10);
    let mut family = Family::start(&SupervisionSpec::default(), &[(zone, 1000)]);
    for word in 1..=4 {
        for child in 0..1000 {
            let addr = &family.wards[0][child].addr;
            if child % 4 == 0 {
                addr.try_send(Say(10)).unwrap();
            }
            addr.try_send(Say(word)).unwrap();
        }
    }
    for child in 0..1000 {
        family.wards[0][child].addr.send(Say(99)).await.unwrap();
        assert_eq!(*family.heard[0][child].lock().unwrap(), vec![1, 2, 3, 4, 99]);
        if child % 4 != 0 {
            assert!(family.events[0][child].try_recv().is_err(), "{child} was touched");
        }
    }
}

#[test]
fn the_first_restart_comes_at_once_and_further_ones_back_off_to_the_limit() {
    let policy = RestartPolicy { max_restarts: 20, ..RestartPolicy::default() };
    let mut history = RestartHistory::default();
    let waits: Vec<_> =
        (0..12).map(|i| history.on_crash(&policy, Timestamp::from_millis(i), 0.0)).collect();
    assert_eq!(waits[0], Decision::RestartAfter(Duration::ZERO));
    assert_eq!(waits[1], Decision::RestartAfter(Duration::from_millis(100)));
    assert_eq!(waits[2], Decision::RestartAfter(Duration::from_millis(200)));
    assert_eq!(waits[11], Decision::RestartAfter(Duration::from_secs(30)));
}

#[test]
fn crashes_outside_the_window_are_forgotten() {
    let policy = RestartPolicy::default();
    let mut history = RestartHistory::default();
    for i in 0..5 {
        assert!(matches!(
            history.on_crash(&policy, Timestamp::from_millis(i), 0.0),
            Decision::RestartAfter(_)
        ));
    }
    assert_eq!(history.on_crash(&policy, Timestamp::from_millis(10), 0.0), Decision::GiveUp);
    assert_eq!(
        history.on_crash(&policy, Timestamp::from_millis(61_000), 0.0),
        Decision::RestartAfter(Duration::ZERO)
    );
}

proptest! {
    #[test]
    fn no_window_ever_sees_more_restarts_than_the_policy_allows(
        gaps in proptest::collection::vec(0_i64..30_000, 1..100), jitter in 0.0..1.0_f64,
    ) {
        let policy = RestartPolicy::default();
        let mut history = RestartHistory::default();
        let (mut now, mut restarts) = (0, Vec::new());
        for gap in gaps {
            now += gap;
            if let Decision::RestartAfter(wait) =
                history.on_crash(&policy, Timestamp::from_millis(now), jitter)
            {
                prop_assert!(wait <= policy.backoff_max.mul_f64(1.25));
                restarts.push(now);
            }
        }
        for (i, &t) in restarts.iter().enumerate() {
            let within = restarts[..=i].iter().filter(|&&r| t - r < 60_000).count();
            prop_assert!(within <= policy.max_restarts);
        }
    }
}
