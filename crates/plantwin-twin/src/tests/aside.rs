//! Letters that crash the twin twice: put away, told, and handled again or forgotten.

use std::sync::atomic::Ordering::SeqCst;

use plantwin_model::DeviceIx;

use super::*;

/// Panics before commands of these keys, and before frames of this sequence, until it is told off.
#[derive(Default)]
struct Mines {
    off: std::sync::atomic::AtomicBool,
    commands: Vec<u64>,
    sequence: Option<u64>,
}

impl Drill for Mines {
    fn before(&self, _: DeviceIx, letter: &TwinMail) {
        let hit = match letter {
            TwinMail::Command(c) => self.commands.contains(&c.key),
            TwinMail::Frame(f) => self.sequence.is_some() && f.frame.sequence == self.sequence,
            _ => false,
        };
        if hit && !self.off.load(SeqCst) {
            std::panic::resume_unwind(Box::new("rehearsed"));
        }
    }
}

fn set_aside(heard: &[TwinEvent]) -> Vec<SetAside> {
    let asides = heard.iter().filter_map(|e| match e {
        TwinEvent::SetAside(aside) => Some(aside.clone()),
        _ => None,
    });
    asides.collect()
}

fn outcomes(heard: &[TwinEvent]) -> Vec<(u64, Outcome)> {
    let outcomes = heard.iter().filter_map(|e| match e {
        TwinEvent::Outcome { key, outcome } => Some((*key, outcome.clone())),
        _ => None,
    });
    outcomes.collect()
}

fn released(heard: &[TwinEvent]) -> Vec<u64> {
    let ids = heard.iter().filter_map(|e| match e {
        TwinEvent::Released { id } => Some(*id),
        _ => None,
    });
    ids.collect()
}

#[actix::test]
async fn a_command_that_was_set_aside_is_answered_and_can_be_handled_again() {
    let mines = Arc::new(Mines { commands: vec![1], ..Mines::default() });
    let drill = Some(Arc::clone(&mines) as Arc<dyn Drill>);
    let mut bench = Bench::set_up(Setup { drill, ..Setup::default() });
    bench.post(&link_up());
    bench.post(&command(1, 60.0));
    let heard = bench.settle().await;
    let asides = set_aside(&heard);
    let [aside] = &asides[..] else { panic!("{heard:?}") };
    assert_eq!((aside.id, aside.sent, aside.receipt), (1, false, None));
    assert!(aside.text.contains("Command"), "{}", aside.text);
    assert!(!aside.sealed.is_empty());
    let [(1, Outcome::Failed { reason })] = &outcomes(&heard)[..] else { panic!("{heard:?}") };
    assert!(reason.contains("nothing was sent"), "{reason}");
    assert_eq!(bench.writes.load(SeqCst), 0);
    let alarm = heard.iter().position(|e| matches!(e, TwinEvent::Alarms(_)));
    let told = heard.iter().position(|e| matches!(e, TwinEvent::SetAside(_)));
    assert!(alarm < told, "the alarm is told first");

    // It crashes twice again: it is set aside again under the same name.
    bench.post(&TwinMail::Retry { key: 10, letter: 1 });
    let heard = bench.settle().await;
    assert_eq!(set_aside(&heard).iter().map(|a| a.id).collect::<Vec<_>>(), [1, 1]);
    let last = outcomes(&heard).pop();
    assert!(matches!(last, Some((10, Outcome::Failed { .. }))), "{last:?}");

    // The fault is mended: now it goes through.
    mines.off.store(true, SeqCst);
    bench.post(&TwinMail::Retry { key: 11, letter: 1 });
    let heard = bench.settle().await;
    assert_eq!(outcomes(&heard).pop(), Some((11, Outcome::Done)));
    assert_eq!(released(&heard), [1]);
    assert_eq!(bench.writes.load(SeqCst), 1);
    bench.post(&TwinMail::Retry { key: 12, letter: 1 });
    let heard = bench.settle().await;
    assert!(matches!(outcomes(&heard).pop(), Some((12, Outcome::Refused { .. }))));
}

#[actix::test]
async fn a_command_that_may_have_been_sent_is_unknown_and_is_never_handled_again() {
    // The line itself panics, twice: nobody knows whether it took the write.
    let mut bench = Bench::start(2);
    bench.post(&link_up());
    bench.post(&command(1, 60.0));
    let heard = bench.settle().await;
    assert!(set_aside(&heard)[0].sent);
    assert!(matches!(outcomes(&heard)[..], [(1, Outcome::Unknown { .. })]), "{heard:?}");
    bench.post(&TwinMail::Retry { key: 10, letter: 1 });
    let heard = bench.settle().await;
    assert!(matches!(outcomes(&heard).pop(), Some((10, Outcome::Refused { .. }))), "{heard:?}");
    assert_eq!(bench.writes.load(SeqCst), 2);
    let last = bench.last_observed().await;
    assert_eq!(last.points[1].desired, Some(60.0), "it is watched for");
    bench.post(&TwinMail::Drop { key: 11, letter: 1 });
    bench.post(&TwinMail::Drop { key: 12, letter: 1 });
    let heard = bench.settle().await;
    assert_eq!(released(&heard), [1]);
    let outcomes = outcomes(&heard);
    assert!(
        matches!(&outcomes[2..], [(11, Outcome::Done), (12, Outcome::Refused { .. })]),
        "{outcomes:?}"
    );
}

#[actix::test]
async fn a_durable_frame_that_was_set_aside_names_its_receipt_and_comes_back_as_telemetry() {
    let mines = Arc::new(Mines { sequence: Some(2), ..Mines::default() });
    let drill = Some(Arc::clone(&mines) as Arc<dyn Drill>);
    let mut bench = Bench::set_up(Setup { drill, durable: true, ..Setup::default() });
    bench.post(&link_up());
    for sequence in 1..4 {
        let now = bench.clock.now();
        let mut mail = frame(sequence, now, 12.0, 50.0);
        mail.receipt = Some(100 + sequence);
        bench.post(&TwinMail::Frame(mail));
    }
    let heard = bench.settle().await;
    assert_eq!(set_aside(&heard)[0].receipt, Some(102));
    mines.off.store(true, SeqCst);
    bench.post(&TwinMail::Retry { key: 10, letter: 1 });
    let heard = bench.settle().await;
    let told: Vec<_> = heard
        .iter()
        .filter_map(|e| match e {
            TwinEvent::Telemetry(t) => Some((t.sequence, t.receipt, t.missing, t.duplicate)),
            _ => None,
        })
        .collect();
    let expected =
        [(Some(1), Some(101), 0, false), (Some(3), Some(103), 1, false), (Some(2), None, 0, false)];
    assert_eq!(told, expected, "the gap is said; the late frame comes without its old receipt");
}

#[actix::test]
async fn letters_set_aside_by_an_earlier_run_can_be_handled_and_a_stranger_s_cannot() {
    let mines = Arc::new(Mines { commands: vec![7], ..Mines::default() });
    let drill = Some(mines as Arc<dyn Drill>);
    let mut first = Bench::set_up(Setup { drill, ..Setup::default() });
    first.post(&link_up());
    first.post(&command(7, 60.0));
    let kept = set_aside(&first.settle().await);
    // The same bytes under another name: they do not open there.
    let copied = SetAside { id: 9, ..kept[0].clone() };
    let set_aside = vec![copied, kept[0].clone()];
    let mut bench = Bench::set_up(Setup { set_aside, ..Setup::default() });
    bench.post(&link_up());
    bench.post(&TwinMail::Retry { key: 1, letter: 9 });
    bench.post(&TwinMail::Retry { key: 2, letter: kept[0].id });
    let heard = bench.settle().await;
    let outcomes = outcomes(&heard);
    assert!(
        matches!(outcomes[..], [(1, Outcome::Refused { .. }), (2, Outcome::Done)]),
        "{outcomes:?}"
    );
    assert_eq!(bench.writes.load(SeqCst), 1);
}

#[actix::test]
async fn beyond_its_bound_the_oldest_letter_set_aside_makes_room_with_an_alarm() {
    let commands = (1..=66).collect();
    let drill = Some(Arc::new(Mines { commands, ..Mines::default() }) as Arc<dyn Drill>);
    let mut bench = Bench::set_up(Setup { drill, ..Setup::default() });
    bench.post(&link_up());
    for key in 1..=66 {
        bench.post(&command(key, 60.0));
        bench.settle().await;
    }
    let heard = bench.settle().await;
    assert_eq!(set_aside(&heard).len(), 66);
    assert_eq!(released(&heard), [1, 2]);
    let text = heard.iter().rev().find_map(|e| match e {
        TwinEvent::Alarms(alarms) => Some(alarms[0].text.clone()),
        _ => None,
    });
    assert!(text.as_ref().is_some_and(|t| t.contains("2 older ones")), "{text:?}");
}
