//! Which frames are new, and which came before.

use std::time::Duration;

use plantwin_adapter::{Frame, Sample, print};
use plantwin_model::{PointIx, Quality, Timestamp};
use proptest::prelude::*;

use super::{Admission, Grade, Manner, Recorded, Session};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const FRESH: Admission = Admission::Fresh { missing: 0 };

/// A session of a plain device, and its plant's clock, which moves on a second with each frame.
struct Rig {
    session: Session,
    now: Timestamp,
}

impl Rig {
    fn new() -> Self {
        Self { session: Session { grade: Grade::Plain, ..Session::new() }, now: START }
    }

    fn frame(&self, sequence: u64, time: Option<Timestamp>, value: f64) -> Frame {
        let sample = Sample { point: PointIx(0), value, quality: Quality::Good, source_time: time };
        Frame {
            received: self.now,
            sequence: Some(sequence),
            samples: [sample].into_iter().collect(),
        }
    }

    fn take(&mut self, frame: &Frame) -> Admission {
        self.now = self.now.plus(SECOND);
        let frame = Frame { received: self.now, ..frame.clone() };
        self.session.admit(&frame, Manner::Live, self.now)
    }

    /// Frames with these numbers, of which each must be new.
    fn take_new(&mut self, numbers: std::ops::RangeInclusive<u64>, run: Run) -> Vec<Frame> {
        let mut frames = Vec::new();
        for number in numbers {
            let frame = self.frame(number, run.time(self, number), run.value + number as f64);
            assert_eq!(self.take(&frame), FRESH, "{number} of {run:?}");
            frames.push(frame);
        }
        frames
    }

    /// The next process, over what this one had put on record.
    fn restarted(&self, now: Timestamp) -> Self {
        let bytes = self.session.recorded().expect("numbered").to_bytes();
        let mut next = Self { now, ..Self::new() };
        next.session.restore(Recorded::from_bytes(&bytes).expect("of this version"), now);
        next
    }
}

/// From one start of a device to the next.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Of its first frame.
    value: f64,
    clock: DeviceClock,
}

#[derive(Clone, Copy, Debug)]
enum DeviceClock {
    None,
    /// It counts from the device's start.
    SinceStart,
    /// It is off by so many hours.
    Off(i64),
    /// It is ahead by so many seconds, and still believed.
    Ahead(u32),
}

const CLOCKS: [DeviceClock; 5] = [
    DeviceClock::None,
    DeviceClock::SinceStart,
    DeviceClock::Off(0),
    DeviceClock::Off(100_000),
    DeviceClock::Off(-100_000),
];

impl Run {
    fn time(self, rig: &Rig, number: u64) -> Option<Timestamp> {
        match self.clock {
            DeviceClock::None => None,
            DeviceClock::SinceStart => Some(Timestamp(0).plus(SECOND * number as u32)),
            DeviceClock::Ahead(seconds) => Some(rig.now.plus(SECOND * seconds)),
            DeviceClock::Off(hours) => Some(Timestamp(rig.now.0 + hours * 3_600_000_000_000)),
        }
    }
}

#[test]
fn a_device_that_begins_its_numbers_again_loses_none_whatever_its_clock_says() {
    for first in CLOCKS {
        for second in CLOCKS {
            for (from, until) in [(1, 10), (1, 63), (30, 40), (101, 110), (60_000, 60_100)] {
                let mut rig = Rig::new();
                rig.take_new(from..=until, Run { value: 0.0, clock: first });
                rig.take_new(1..=10, Run { value: 0.5, clock: second });
                let mut next = rig.restarted(rig.now);
                next.take_new(1..=5, Run { value: 0.75, clock: first });
            }
        }
    }
}

#[test]
fn after_a_clock_fell_back_a_little_no_new_value_is_a_repetition() {
    for first in [DeviceClock::Off(0), DeviceClock::Ahead(3)] {
        for (from, until) in [(1, 10), (1, 40), (30, 60)] {
            let mut rig = Rig::new();
            rig.take_new(from..=until, Run { value: 0.0, clock: first });
            let mut next = rig.restarted(rig.now.plus(SECOND));
            let run = Run { value: 0.5, clock: DeviceClock::Off(-1) };
            for number in 1..=10 {
                let value = run.value + number as f64;
                let frame = next.frame(number, run.time(&next, number), value);
                // It may count as overtaken, and is on record like any.
                assert_ne!(next.take(&frame), Admission::Duplicate, "{number} after {first:?}");
            }
        }
    }
}

#[test]
fn what_a_link_brings_again_is_a_repetition_also_after_the_process_ended() {
    for clock in CLOCKS.into_iter().chain([DeviceClock::Ahead(3)]) {
        let mut rig = Rig::new();
        let sent = rig.take_new(1..=100, Run { value: 0.0, clock });
        let again = &sent[100 - 64..];
        for frame in again {
            assert_eq!(rig.take(frame), Admission::Duplicate, "{clock:?}");
        }
        let hour_ago = Timestamp(rig.now.0 - 3_600_000_000_000);
        for now in [rig.now, rig.now.plus(SECOND), rig.now.plus(SECOND * 86_400), hour_ago] {
            let mut next = rig.restarted(now);
            for frame in again {
                assert_eq!(next.take(frame), Admission::Duplicate, "{clock:?} at {now:?}");
            }
            next.take_new(101..=103, Run { value: 0.0, clock });
        }
    }
}

#[test]
fn after_the_clock_was_set_back_a_device_that_restarts_is_new_and_what_comes_again_is_not() {
    let mut rig = Rig::new();
    let run = Run { value: 0.0, clock: DeviceClock::Off(0) };
    let sent = rig.take_new(1..=40, run);
    let mut next = rig.restarted(Timestamp(rig.now.0 - 3_600_000_000_000));
    assert_eq!(next.take(&sent[38]), Admission::Duplicate);
    assert_eq!(next.take(&sent[39]), Admission::Duplicate);
    next.take_new(1..=40, Run { value: 0.5, ..run });
}

#[test]
fn one_time_in_the_future_hides_nothing_that_follows() {
    let mut rig = Rig::new();
    let run = Run { value: 0.0, clock: DeviceClock::Off(0) };
    rig.take_new(1..=5, run);
    rig.take_new(6..=6, Run { clock: DeviceClock::Off(600_000), ..run });
    rig.take_new(7..=9, run);
    rig.take_new(1..=9, Run { value: 0.5, ..run });
}

#[test]
fn without_a_time_the_very_same_values_are_a_repetition_up_to_the_first_that_differs() {
    let mut rig = Rig::new();
    for number in 1..=20 {
        assert_eq!(rig.take(&rig.frame(number, None, 12.0)), FRESH);
    }
    for number in 1..=7 {
        assert_eq!(rig.take(&rig.frame(number, None, 12.0)), Admission::Duplicate);
    }
    assert_eq!(rig.take(&rig.frame(8, None, 12.5)), FRESH);
    for number in 9..=40 {
        assert_eq!(rig.take(&rig.frame(number, None, 12.0)), FRESH, "it counts anew from there");
    }
}

#[test]
fn the_same_frame_over_another_path_is_a_repetition() {
    let mut rig = Rig::new();
    let mut frame = rig.frame(1, Some(Timestamp(START.0 + 123_456)), 12.3);
    frame.samples.push(Sample { point: PointIx(1), ..frame.samples[0] });
    assert_eq!(rig.take(&frame), FRESH);
    frame.samples.reverse();
    for sample in &mut frame.samples {
        sample.value = f64::from(sample.value as f32);
        sample.source_time = Some(Timestamp(START.0));
    }
    assert_eq!(rig.take(&frame), Admission::Duplicate);
    frame.samples[0].quality = Quality::Bad(plantwin_model::Flaw::DeviceReported);
    assert_eq!(rig.take(&frame), FRESH, "what it thinks of its values is news as well");
}

#[test]
fn a_letter_of_its_time_moves_no_count_and_is_told_once() {
    let mut rig = Rig::new();
    let run = Run { value: 0.0, clock: DeviceClock::Off(0) };
    rig.take_new(1..=200, run);
    let mut old = rig.frame(500, Some(START), 3.0);
    assert_eq!(rig.session.admit(&old, Manner::Outdated, rig.now), Admission::Late);
    old.sequence = Some(100);
    assert_eq!(
        rig.session.admit(&old, Manner::Outdated, rig.now),
        Admission::Late,
        "beyond the memory"
    );
    rig.take_new(201..=201, run);
    let missed = rig.frame(203, Some(rig.now), 3.0);
    assert_eq!(rig.take(&rig.frame(204, Some(rig.now), 4.0)), Admission::Fresh { missing: 2 });
    assert_eq!(rig.session.admit(&missed, Manner::Outdated, rig.now), Admission::Late);
    assert_eq!(rig.session.admit(&missed, Manner::Outdated, rig.now), Admission::Duplicate);
}

#[test]
fn a_record_of_earlier_versions_is_read_and_knows_frames_by_their_time() {
    let mut rig = Rig::new();
    let sent = rig.take_new(1..=40, Run { value: 0.0, clock: DeviceClock::Off(0) });
    let newest = (40_u64, sent[39].samples[0].source_time.unwrap());
    let bytes = postcard::to_allocvec(&newest).unwrap();
    let recorded = Recorded::from_bytes(&bytes).expect("number and time");
    assert_eq!((recorded.sequence, recorded.source), newest);
    assert_eq!(Recorded::from_bytes(&[]), None);
    let mut next = Rig::new();
    next.now = rig.now;
    next.session.restore(recorded, next.now);
    assert_eq!(next.take(&sent[30]), Admission::Duplicate);
    assert_eq!(next.take(&next.frame(41, Some(next.now), 1.0)), FRESH);
}

proptest! {
    #[test]
    fn every_new_value_is_taken_and_what_comes_again_is_not(
        clock in proptest::sample::select(CLOCKS.to_vec()),
        // What happens next, and how far back it goes.
        steps in proptest::collection::vec((0_u8..10, 0_usize..64), 1..200),
    ) {
        let mut rig = Rig::new();
        let (mut number, mut said) = (0, 0);
        // Of this run of the device, newest last.
        let mut sent: Vec<Frame> = Vec::new();
        for (step, back) in steps {
            match step {
                0 => (number, sent) = (0, Vec::new()),
                1 => rig = rig.session.recorded().map_or_else(Rig::new, |_| rig.restarted(rig.now)),
                2 | 3 => {
                    for frame in sent.iter().skip(sent.len().saturating_sub(back)) {
                        let frame = frame.clone();
                        prop_assert_eq!(rig.take(&frame), Admission::Duplicate);
                    }
                }
                _ => {
                    (number, said) = (number + 1, said + 1);
                    let run = Run { value: 0.0, clock };
                    let frame = rig.frame(number, run.time(&rig, number), f64::from(said));
                    prop_assert_eq!(rig.take(&frame), FRESH, "{:?}", frame);
                    sent.push(frame);
                }
            }
        }
    }

    #[test]
    fn no_bytes_on_record_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Some(recorded) = Recorded::from_bytes(&bytes) {
            let mut rig = Rig::new();
            rig.session.restore(recorded, START);
            for number in [0, 1, u64::MAX] {
                let frame = rig.frame(number, Some(Timestamp(i64::MAX)), 1.0);
                rig.take(&frame);
            }
        }
    }
}

#[test]
fn what_was_taken_ends_before_the_first_gap_of_the_numbers_that_are_remembered() {
    let mut rig = Rig::new();
    assert_eq!(rig.session.taken(), None, "nothing came");
    let run = Run { value: 0.0, clock: DeviceClock::Off(0) };
    let sent = rig.take_new(500..=520, run);
    let taken = |rig: &Rig| rig.session.taken().map(|taken| (taken.sequence, taken.print));
    let of = |sent: &Frame| Some((sent.sequence.unwrap(), print(&sent.samples)));
    assert_eq!(taken(&rig), of(&sent[20]), "what came before the first is no gap");
    let after = rig.frame(523, run.time(&rig, 523), 1.0);
    assert_eq!(rig.take(&after), Admission::Fresh { missing: 2 });
    assert_eq!(taken(&rig), of(&sent[20]));
    let next = rig.restarted(rig.now);
    assert_eq!(taken(&next), of(&sent[20]), "after a restart as well");
    for number in [521, 522] {
        let late = rig.frame(number, sent[20].samples[0].source_time, 1.0);
        rig.take(&late);
    }
    assert_eq!(taken(&rig), of(&after), "it came after all");
    // A device that counts anew.
    rig.take_new(1..=1, Run { value: 7.0, ..run });
    assert_eq!(taken(&rig).map(|(sequence, _)| sequence), Some(1));
    let mut numbered = Rig::new();
    numbered.session.restore(Recorded::of(9, START), START);
    assert_eq!(numbered.session.taken(), None, "who can say which frame that was");
}

#[test]
fn what_a_broker_held_back_from_a_session_before_is_no_new_count_of_the_device() {
    let mut rig = Rig::new();
    let run = Run { value: 0.0, clock: DeviceClock::Off(0) };
    let overtaken = rig.frame(400, run.time(&rig, 400), 1.0);
    rig.take_new(500..=520, run);
    assert_eq!(rig.session.admit(&overtaken, Manner::Replaced, rig.now), Admission::Late);
    let next = rig.frame(521, run.time(&rig, 521), 1.0);
    assert_eq!(rig.session.admit(&next, Manner::Replaced, rig.now), FRESH, "nothing overtook it");
    assert_eq!(rig.session.admit(&next, Manner::Replaced, rig.now), Admission::Duplicate);
    assert_eq!(rig.take(&overtaken), FRESH, "of a session that is up it is another count");
}
