//! Durable telemetry: each frame told once, in order, and every gap said.

use plantwin_adapter::Frame;

use super::*;
use crate::{FrameMail, MAX_RECEIPTS, Telemetry};

/// A frame with a receipt of the same number as its sequence.
fn durable_frame(sequence: u64, time: Timestamp, level: f64) -> FrameMail {
    FrameMail { receipt: Some(sequence), ..frame(sequence, time, level, 50.0) }
}

fn told(effects: &Effects) -> Vec<Telemetry> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Tell(TwinEvent::Telemetry(t)) => Some(t.clone()),
            _ => None,
        })
        .collect()
}

/// Sequence, duplicate, missing of the one telemetry told.
fn one(effects: &Effects) -> (Option<u64>, bool, u64) {
    let told = told(effects);
    let [t] = &told[..] else { panic!("one frame, one telemetry: {told:?}") };
    assert_eq!(t.receipt, t.sequence);
    assert_eq!(t.duplicate, t.samples.is_empty());
    (t.sequence, t.duplicate, t.missing)
}

impl Rig {
    fn send(&mut self, sequence: u64, level: f64) -> Effects {
        self.now = self.now.plus(Duration::from_millis(10));
        let mail = durable_frame(sequence, self.now, level);
        self.tell(TwinMail::Frame(mail))
    }
}

#[test]
fn each_frame_is_told_with_the_values_as_the_session_accepted_them_after_its_alarms() {
    let mut rig = Rig::durable("physical");
    rig.up();
    rig.now = rig.now.plus(Duration::from_secs(1));
    let mut mail = durable_frame(1, rig.now, 19.0);
    mail.frame.samples[1].value = f64::NAN;
    let effects = rig.tell(TwinMail::Frame(mail));
    let kinds: Vec<_> = effects
        .iter()
        .map(|e| match e {
            Effect::Tell(TwinEvent::Alarms(_)) => "alarms",
            Effect::Tell(TwinEvent::Telemetry(_)) => "telemetry",
            _ => "else",
        })
        .collect();
    assert_eq!(kinds[..2], ["alarms", "telemetry"], "{effects:?}");
    let told = told(&effects);
    assert_eq!((told[0].receipt, told[0].received), (Some(1), rig.now));
    let samples: Vec<_> = told[0].samples.iter().map(|s| (s.value, s.quality)).collect();
    let expected = [(Some(19.0), Quality::Good), (None, Quality::Bad(Flaw::NotFinite))];
    assert_eq!(samples, expected);
    assert_eq!(told[0].samples[0].source_time, rig.now);
}

#[test]
fn a_device_of_latest_delivery_tells_no_telemetry() {
    let mut rig = Rig::new("physical");
    rig.up();
    assert!(told(&rig.send(1, 12.0)).is_empty());
}

#[test]
fn a_frame_delivered_again_is_told_as_a_duplicate_and_a_jump_as_missing() {
    let mut rig = Rig::durable("physical");
    rig.up();
    assert_eq!(one(&rig.send(10, 12.0)), (Some(10), false, 0));
    let first = durable_frame(10, rig.now, 12.0);
    assert_eq!(one(&rig.tell(TwinMail::Frame(first))), (Some(10), true, 0));
    assert_eq!(one(&rig.send(11, 12.0)), (Some(11), false, 0));
    assert_eq!(one(&rig.send(15, 14.0)), (Some(15), false, 3));
    // One of the missing comes late after all: recorded, but the picture stays as it is.
    let late = durable_frame(13, START, 5.0);
    assert_eq!(one(&rig.tell(TwinMail::Frame(late.clone()))), (Some(13), false, 0));
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(14.0));
    assert_eq!(one(&rig.tell(TwinMail::Frame(late))), (Some(13), true, 0));
}

#[test]
fn a_device_that_restarts_its_numbers_is_neither_a_duplicate_nor_a_gap() {
    let mut rig = Rig::durable("physical");
    rig.up();
    rig.send(500, 12.0);
    assert_eq!(one(&rig.send(1, 13.0)), (Some(1), false, 0));
    assert_eq!(one(&rig.send(2, 13.0)), (Some(2), false, 0));
    // Without any source time a number far below is one too.
    rig.send(900, 13.0);
    let mut silent = durable_frame(3, rig.now, 13.0);
    silent.frame.samples.iter_mut().for_each(|s| s.source_time = None);
    assert_eq!(one(&rig.tell(TwinMail::Frame(silent))), (Some(3), false, 0));
}

#[test]
fn what_was_recorded_survives_the_process() {
    let mut rig = Rig::durable("physical");
    rig.up();
    rig.send(10, 12.0);
    rig.send(11, 12.5);
    let again = durable_frame(11, rig.now, 12.5);
    let saved = rig.core.vital(&rig.plan).to_bytes();
    let mut next = Rig::durable("physical");
    next.now = rig.now.plus(Duration::from_secs(1));
    let vital = Vital::from_bytes(&saved).expect("of this version");
    next.core.restore(&next.plan, vital, next.now, &mut Effects::new());
    next.up();
    assert_eq!(one(&next.tell(TwinMail::Frame(again))), (Some(11), true, 0));
    assert_eq!(one(&next.send(14, 12.0)), (Some(14), false, 2), "lost while nobody ran");
}

#[test]
fn frames_that_overtake_the_session_are_held_in_order_and_told_when_it_opens() {
    let mut rig = Rig::durable("simulated");
    rig.up();
    for sequence in 1..=MAX_RECEIPTS as u64 {
        assert!(told(&rig.send(sequence, 12.0)).is_empty());
    }
    // Nobody keeps this one: it is not taken, and its number will be missing.
    let mut unkept = frame(65, rig.now, 12.0, 50.0);
    unkept.receipt = None;
    rig.tell(TwinMail::Frame(unkept));
    let effects = rig.proved();
    let sequences: Vec<_> = told(&effects).iter().map(|t| t.sequence.unwrap()).collect();
    assert_eq!(sequences, (1..=MAX_RECEIPTS as u64).collect::<Vec<_>>());
    assert_eq!(one(&rig.send(66, 12.0)), (Some(66), false, 1));
}

#[test]
fn frames_of_a_connection_that_nobody_vouched_for_are_not_believed_over_the_next() {
    let mut rig = Rig::durable("simulated");
    rig.up();
    rig.send(1, 6.6);
    rig.up();
    let effects = rig.proved();
    assert!(told(&effects).is_empty(), "the device keeps it and sends it again: {effects:?}");
    assert_eq!(one(&rig.send(1, 12.0)), (Some(1), false, 0));
}

#[test]
fn what_the_station_could_not_take_is_told_again_in_order_and_what_is_shed_is_counted() {
    let mut rig = Rig::durable("physical");
    rig.up();
    let mut refused = Vec::new();
    for sequence in 1..=70 {
        rig.now = rig.now.plus(Duration::from_millis(10));
        let mut mail = durable_frame(sequence, rig.now, 12.0);
        // Every second one is kept by nobody else.
        mail.receipt = mail.receipt.filter(|r| r % 2 == 0);
        refused.extend(told(&rig.tell(TwinMail::Frame(mail))));
    }
    let mut shed = 0;
    for telemetry in refused {
        shed += rig.core.not_told(TwinEvent::Telemetry(telemetry), rig.now);
    }
    assert_eq!(shed, 6);
    assert!(rig.core.is_untold(plantwin_seal::Lane::Durable));
    let again = told(&rig.pass(Duration::from_millis(100)));
    let sequences: Vec<_> = again.iter().map(|t| t.sequence.unwrap()).collect();
    let expected: Vec<u64> = (1..=70).filter(|s| s % 2 == 0 || *s > 12).collect();
    assert_eq!(sequences, expected, "those without a receipt gave way, the oldest first");
    assert_eq!(again.iter().map(|t| t.missing).sum::<u64>(), 6, "each loss is in a gap");
    assert_eq!(again[0].missing, 1);
    assert!(!rig.core.is_untold(plantwin_seal::Lane::Durable));
}

proptest! {
    #[test]
    fn every_number_of_the_device_is_told_once_or_within_a_gap(
        steps in proptest::collection::vec((1_u64..4, 0_u64..3), 1..80),
    ) {
        let mut rig = Rig::durable("physical");
        rig.up();
        let mut sequence = 0;
        let mut sent: Vec<FrameMail> = Vec::new();
        let mut seen = Vec::new();
        let mut missing = 0;
        for (jump, again) in steps {
            sequence += jump;
            rig.now = rig.now.plus(Duration::from_millis(10));
            sent.push(durable_frame(sequence, rig.now, 12.0));
            // What was not confirmed comes again, the oldest first.
            let back = sent.len().saturating_sub(1 + again as usize);
            for mail in sent[back..].iter().rev().take(1).chain(&sent[back..]) {
                for t in told(&rig.tell(TwinMail::Frame(mail.clone()))) {
                    if !t.duplicate {
                        seen.push(t.sequence.unwrap());
                        missing += t.missing;
                    }
                }
            }
        }
        let numbers: Vec<u64> = sent.iter().map(|m| m.frame.sequence.unwrap()).collect();
        prop_assert_eq!(&seen, &numbers);
        prop_assert_eq!(missing + numbers.len() as u64, sequence - numbers[0] + 1);
    }
}

#[test]
fn a_frame_without_a_number_is_told_each_time() {
    let mut rig = Rig::durable("physical");
    rig.up();
    for _ in 0..3 {
        let mail = frame(0, rig.now, 12.0, 50.0);
        let mail = FrameMail { frame: Frame { sequence: None, ..mail.frame }, ..mail };
        let told = told(&rig.tell(TwinMail::Frame(mail)));
        assert_eq!((told.len(), told[0].sequence, told[0].samples.len()), (1, None, 2));
    }
}

#[test]
fn the_end_of_a_drain_is_told_behind_telemetry_and_what_is_to_be_saved() {
    let mut rig = Rig::durable("physical");
    rig.up();
    let mut refused: Vec<TwinEvent> = Vec::new();
    let mut effects = rig.send(1, 12.0);
    effects.extend(rig.tell(TwinMail::Drain { key: 7 }));
    for effect in effects {
        if let Effect::Tell(event) = effect {
            refused.push(event);
        }
    }
    for event in refused {
        rig.core.not_told(event, rig.now);
    }
    let again = rig.pass(Duration::from_millis(100));
    let order: Vec<_> = again
        .iter()
        .filter_map(|e| match e {
            Effect::Tell(event) => Some((rig.core.lane_of(event), event)),
            _ => None,
        })
        .filter(|(lane, _)| *lane == plantwin_seal::Lane::Durable)
        .map(|(_, event)| match event {
            TwinEvent::Telemetry(_) => "telemetry",
            TwinEvent::Save(_) => "save",
            TwinEvent::Outcome { key: 7, .. } => "drained",
            _ => "else",
        })
        .collect();
    assert_eq!(order, ["telemetry", "save", "drained"]);
}

#[test]
fn a_digest_is_handed_on_only_with_the_very_word_that_it_is_of() {
    let digest = plantwin_seal::OriginDigest([7; 16]);
    let mut rig = Rig::durable("physical");
    rig.up();
    let mut kept = |change: fn(&mut plantwin_adapter::Sample, Timestamp)| {
        rig.now = rig.now.plus(Duration::from_secs(1));
        let sequence = rig.now.as_millis() as u64;
        let mut mail = durable_frame(sequence, rig.now, 12.0);
        mail.origin = vec![Some(digest); mail.frame.samples.len()];
        change(&mut mail.frame.samples[0], rig.now);
        told(&rig.tell(TwinMail::Frame(mail)))[0].samples[0].origin == Some(digest)
    };
    assert!(kept(|_, _| {}));
    assert!(kept(|s, now| s.source_time = Some(now)), "its own time");
    assert!(kept(|s, _| s.quality = Quality::Uncertain(Flaw::DeviceReported)), "its own doubt");
    assert!(kept(|s, _| s.value = 1e6), "our doubt of what it called good");
    // Its clock is too far ahead to be believed, and our doubt stands in the place of its own.
    assert!(!kept(|s, now| s.source_time = Some(now.plus(Duration::from_mins(1)))));
    assert!(!kept(|s, _| {
        (s.value, s.quality) = (1e6, Quality::Uncertain(Flaw::DeviceReported));
    }));
}

#[test]
fn a_device_that_lost_its_clock_and_its_count_loses_no_value_and_is_shown_at_once() {
    let mut rig = Rig::durable("physical");
    rig.up();
    for number in 1..=10 {
        assert_eq!(one(&rig.send(100 + number, 12.0)), (Some(100 + number), false, 0));
    }
    for number in 1..=10 {
        rig.now = rig.now.plus(Duration::from_millis(10));
        let mut mail = durable_frame(number, rig.now, 13.0);
        let since_start = Timestamp(0).plus(Duration::from_secs(number));
        mail.frame.samples.iter_mut().for_each(|s| s.source_time = Some(since_start));
        assert_eq!(one(&rig.tell(TwinMail::Frame(mail))), (Some(number), false, 0));
    }
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(13.0));
}

#[test]
fn a_letter_of_a_run_whose_clock_was_ahead_is_told_and_hides_nothing() {
    let mut rig = Rig::durable("physical");
    rig.up();
    rig.send(10, 12.0);
    let ahead = rig.now.plus(Duration::from_hours(1));
    assert_eq!(one(&rig.tell(TwinMail::Frame(durable_frame(5, ahead, 19.0)))), (Some(5), false, 0));
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(12.0));
    rig.send(11, 13.0);
    assert_eq!(rig.core.observed(&rig.plan).points[0].value, Some(13.0));
}

#[test]
fn no_receipt_is_held_for_a_device_that_will_not_be_believed() {
    let let_go = |effects: &Effects| -> Vec<u64> {
        let receipts = effects.iter().filter_map(|e| match e {
            Effect::LetGo { receipts } => Some(receipts.clone()),
            _ => None,
        });
        receipts.flatten().collect()
    };
    let refused = |again| {
        let reason = "the token expired".to_owned();
        TwinMail::Session(SessionMail::Refused { reason, again })
    };
    let mut rig = Rig::durable("simulated");
    rig.up();
    for sequence in 1..=3 {
        rig.send(sequence, 12.0);
    }
    assert_eq!(let_go(&rig.tell(refused(true))), [], "it is asked again, and they wait on");
    assert_eq!(let_go(&rig.tell(refused(false))), [1, 2, 3]);
    assert_eq!(let_go(&rig.send(4, 12.0)), [4], "nor is what comes after it");
    let effects = rig.proved();
    assert!(told(&effects).is_empty(), "{effects:?}");
}

#[test]
fn what_waits_for_its_session_when_the_device_is_confined_is_recorded_with_the_mark() {
    let mut rig = Rig::durable("simulated");
    rig.up();
    for sequence in 1..=3 {
        rig.send(sequence, 12.0);
    }
    let reason = "its seal was forged".to_owned();
    let told = told(&rig.tell(TwinMail::Quarantine { key: None, reason }));
    let receipts: Vec<_> = told.iter().map(|t| t.receipt).collect();
    assert_eq!(receipts, [Some(1), Some(2), Some(3)]);
    let mark = Quality::Bad(Flaw::Quarantined);
    assert!(told.iter().flat_map(|t| &t.samples).all(|s| s.quality == mark), "{told:?}");
}

#[test]
fn a_device_hears_what_was_received_before_anything_of_its_session_counts() {
    let mut rig = Rig::durable("simulated");
    rig.up();
    let kinds = |effects: &Effects| -> Vec<(bool, Option<u64>)> {
        let kind = |effect: &Effect| match effect {
            Effect::TellTaken(taken) => Some((true, taken.map(|taken| taken.sequence))),
            Effect::Tell(TwinEvent::Telemetry(told)) => Some((false, told.sequence)),
            _ => None,
        };
        effects.iter().filter_map(kind).collect()
    };
    rig.send(7, 12.0);
    assert_eq!(kinds(&rig.proved()), [(true, None), (false, Some(7))]);
    rig.send(8, 12.0);
    assert_eq!(kinds(&rig.proved()), [(true, Some(8))], "with each new session");
    let mut latest = Rig::new("simulated");
    latest.up();
    assert_eq!(kinds(&latest.proved()), [], "its values may be lost");
}
