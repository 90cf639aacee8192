//! Random panics: every letter is handled exactly once or set aside, in the order of its lane.

use std::{collections::HashMap, sync::PoisonError};

use plantwin_model::DeviceIx;
use proptest::prelude::*;

use super::*;

/// Panics so often before each letter.
struct Storm(Mutex<HashMap<u64, u8>>);

/// The name of a letter of this test: a drain's key or a frame's sequence.
fn name_of(letter: &TwinMail) -> Option<u64> {
    match letter {
        TwinMail::Drain { key } => Some(*key),
        TwinMail::Frame(mail) => mail.frame.sequence,
        _ => None,
    }
}

impl Drill for Storm {
    fn before(&self, _: DeviceIx, letter: &TwinMail) {
        let mut panics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = name_of(letter).and_then(|name| panics.get_mut(&name)).filter(|l| **l > 0);
        if let Some(left) = left {
            *left -= 1;
            drop(panics);
            std::panic::resume_unwind(Box::new("rehearsed"));
        }
    }
}

/// One letter: its lane, how often it crashes the twin, and whether the twin gets a turn after it.
type Step = (u8, u8, bool);

async fn run(steps: Vec<Step>, narrow: bool) {
    let named = |i: usize| i as u64 + 1;
    let panics = steps.iter().enumerate().map(|(i, s)| (named(i), s.1)).collect();
    let drill = Some(Arc::new(Storm(Mutex::new(panics))) as Arc<dyn Drill>);
    // A narrow station has the twin tell most things twice.
    let station = LaneLimits::each(if narrow { 16 } else { 4096 });
    let mut bench = Bench::set_up(Setup { drill, durable: true, station, ..Setup::default() });
    bench.post_in(Lane::Alarm, &link_up()).await;
    for (i, (lane, _, turn)) in steps.iter().enumerate() {
        let lane = Lane::ALL[usize::from(*lane)];
        bench.clock.advance(Duration::from_millis(1));
        let letter = if lane == Lane::Durable {
            let mut mail = frame(named(i), bench.clock.now(), 12.0, 50.0);
            mail.receipt = Some(named(i));
            TwinMail::Frame(mail)
        } else {
            TwinMail::Drain { key: named(i) }
        };
        bench.post_in(lane, &letter).await;
        if *turn {
            tokio::task::yield_now().await;
        }
    }
    let all = steps.len();
    let heard = bench.hear(|heard| heard.iter().filter_map(answered).count() >= all).await;
    let mut order: [Vec<u64>; 4] = Default::default();
    let mut aside = Vec::new();
    for event in &heard {
        match event {
            TwinEvent::SetAside(letter) => aside.push(letter.id),
            event => {
                if let Some((name, done)) = answered(event) {
                    let (lane, panics, _) = steps[name as usize - 1];
                    assert_eq!(done, panics < 2, "letter {name} crashed the twin {panics} times");
                    if done {
                        order[usize::from(lane)].push(name);
                    }
                }
            }
        }
    }
    for (lane, told) in order.iter().enumerate() {
        let handled =
            |(i, s): (usize, &Step)| (usize::from(s.0) == lane && s.1 < 2).then_some(named(i));
        let expected: Vec<u64> = steps.iter().enumerate().filter_map(handled).collect();
        assert_eq!(*told, expected, "lane {lane}");
    }
    let expected: Vec<u64> = (1..=steps.iter().filter(|s| s.1 >= 2).count() as u64).collect();
    assert_eq!(aside, expected, "each is set aside once");
}

/// What an event says of a letter: its name, and whether it was handled.
fn answered(event: &TwinEvent) -> Option<(u64, bool)> {
    match event {
        TwinEvent::Outcome { key, outcome } => Some((*key, *outcome == Outcome::Done)),
        TwinEvent::Telemetry(frame) => Some((frame.receipt?, true)),
        TwinEvent::SetAside(letter) => Some((letter.receipt?, false)),
        _ => None,
    }
}

impl Bench {
    /// Posts a letter into a lane as its line does: with patience.
    async fn post_in(&mut self, lane: Lane, letter: &TwinMail) {
        self.mailbox.room(lane).await;
        let mail = self.sealer.seal(letter, lane, None, self.clock.now()).unwrap();
        self.mailbox.post(Mail(mail)).unwrap();
    }

    /// Lets time pass until what was heard is enough.
    async fn hear(&mut self, enough: impl Fn(&[TwinEvent]) -> bool) -> Vec<TwinEvent> {
        tokio::time::timeout(Duration::from_mins(1), async {
            loop {
                let heard = self.settle().await;
                if enough(&heard) {
                    return heard;
                }
                // Untold events are told again at a deadline of the twin.
                self.clock.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("every letter is answered")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_letter_is_handled_exactly_once_or_set_aside_in_the_order_of_its_lane(
        steps in proptest::collection::vec((0_u8..4, 0_u8..4, any::<bool>()), 1..60),
        narrow in any::<bool>(),
    ) {
        actix::System::new().block_on(run(steps, narrow));
    }
}
