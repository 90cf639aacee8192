//! Merged frames.

use plantwin_adapter::{Frame, Sample, TrafficSnapshot};
use plantwin_model::{Flaw, PointIx, Quality, Timestamp};
use plantwin_twin::FrameMail;
use proptest::prelude::*;

use super::super::merge::merge;

const STALE: Quality = Quality::Uncertain(Flaw::Stale);

fn mail(ms: i64, sequence: Option<u64>, samples: &[(u16, f64, Quality)]) -> FrameMail {
    let samples = samples.iter().map(|&(point, value, quality)| Sample {
        point: PointIx(point),
        value,
        quality,
        source_time: None,
    });
    let frame =
        Frame { received: Timestamp::from_millis(ms), sequence, samples: samples.collect() };
    let traffic = TrafficSnapshot { up_bytes: 10, up_packets: 1, ..TrafficSnapshot::default() };
    FrameMail { frame, traffic, receipt: None, origin: vec![], replaced: false }
}

#[test]
fn newer_values_replace_older_ones_of_their_point_and_traffic_adds_up() {
    let mut waiting = mail(1, Some(1), &[(0, 1.0, Quality::Good), (1, 5.0, Quality::Good)]);
    let replaced = merge(&mut waiting, mail(2, Some(2), &[(0, 2.0, Quality::Bad(Flaw::Stale))]));
    assert_eq!(replaced, 1);
    assert_eq!(waiting.traffic.up_bytes, 20);
    let frame = waiting.frame;
    assert_eq!((frame.sequence, frame.received), (Some(2), Timestamp::from_millis(2)));
    assert_eq!(frame.samples[0].value, 2.0);
    assert_eq!(frame.samples[0].quality, Quality::Bad(Flaw::Stale), "a bad value is a value too");
    // The older one now says itself when it came.
    assert_eq!(frame.samples[1].source_time, Some(Timestamp::from_millis(1)));
}

#[test]
fn a_word_of_the_past_does_not_replace_a_live_one() {
    let mut waiting = mail(1, None, &[(0, 1.0, Quality::Good)]);
    assert_eq!(merge(&mut waiting, mail(2, None, &[(0, 9.0, STALE)])), 1);
    assert_eq!(waiting.frame.samples[0].value, 1.0);
    assert_eq!(merge(&mut waiting, mail(3, None, &[(1, 9.0, STALE)])), 0);
    assert_eq!(merge(&mut waiting, mail(4, None, &[(1, 3.0, Quality::Good)])), 1);
    assert_eq!(waiting.frame.samples[1].value, 3.0);
}

#[test]
fn what_was_received_before_does_not_bring_old_values_back() {
    let mut waiting = mail(1, Some(5), &[(0, 5.0, Quality::Good)]);
    assert_eq!(merge(&mut waiting, mail(2, Some(4), &[(0, 4.0, Quality::Good)])), 1);
    assert_eq!((waiting.frame.sequence, waiting.frame.samples[0].value), (Some(5), 5.0));
    // Far below it is no repetition: the device counts anew.
    let mut waiting = mail(1, Some(500), &[(0, 5.0, Quality::Good)]);
    assert_eq!(merge(&mut waiting, mail(2, Some(1), &[(0, 4.0, Quality::Good)])), 1);
    assert_eq!((waiting.frame.sequence, waiting.frame.samples[0].value), (Some(1), 4.0));
}

proptest! {
    #[test]
    fn a_merged_frame_holds_the_newest_of_every_point_and_every_other_is_counted(
        frames in proptest::collection::vec(
            proptest::collection::btree_set(0_u16..8, 1..8), 1..30),
    ) {
        let mut newest = std::collections::BTreeMap::new();
        let (mut waiting, mut replaced, mut total) = (None, 0, 0);
        for (i, points) in frames.iter().enumerate() {
            let samples: Vec<_> =
                points.iter().map(|&p| (p, i as f64, Quality::Good)).collect();
            newest.extend(points.iter().map(|&p| (p, i as f64)));
            total += points.len() as u64;
            let mail = mail((i as u64).cast_signed(), Some(i as u64), &samples);
            match &mut waiting {
                None => waiting = Some(mail),
                Some(waiting) => replaced += merge(waiting, mail),
            }
        }
        let frame = waiting.unwrap().frame;
        let held: std::collections::BTreeMap<_, _> =
            frame.samples.iter().map(|s| (s.point.0, s.value)).collect();
        prop_assert_eq!(held.len(), frame.samples.len());
        prop_assert_eq!(&held, &newest);
        prop_assert_eq!(replaced, total - newest.len() as u64);
        prop_assert_eq!(frame.sequence, Some(frames.len() as u64 - 1));
    }
}
