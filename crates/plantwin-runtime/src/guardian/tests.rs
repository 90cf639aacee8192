use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Arbiter, Context, Handler, Message, Supervised};
use plantwin_model::Timestamp;
use proptest::prelude::*;

use super::{Decision, GuardEvent, GuardWatcher, RestartHistory, RestartPolicy, seat};

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
