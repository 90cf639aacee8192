//! The order and the bounds of what leaves, under any order of acknowledgements and losses.

use std::{collections::BTreeMap, time::Duration};

use plantwin_model::{DeviceId, Quality, Timestamp};
use plantwin_store::spool::{SpoolEntry, SpoolRecord};
use proptest::prelude::*;

use super::{Forwarder, PointRecord, TelemetryRecord, body};

mod unreadable;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

#[derive(Clone, Debug)]
enum Event {
    /// A device has this many new records.
    Stored(u8, u8),
    /// This one of those under way is acknowledged.
    Acknowledged(prop::sample::Index),
    Lost,
    /// Milliseconds pass.
    Passed(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_u8..4, 1_u8..30).prop_map(|(d, n)| Event::Stored(d, n)),
        6 => any::<prop::sample::Index>().prop_map(Event::Acknowledged),
        1 => Just(Event::Lost),
        3 => (1_u16..500).prop_map(Event::Passed),
    ]
}

proptest! {
    #[test]
    fn each_device_leaves_in_order_and_only_what_was_acknowledged_is_deleted(
        events in proptest::collection::vec(event(), 1..200),
        window in 1_u16..40,
    ) {
        let name = |d: u8| DeviceId::new(format!("d{d}"));
        let mut now = NOW;
        let mut forwarder = Forwarder::new(1e6, window, now);
        let mut stored: BTreeMap<DeviceId, u64> = BTreeMap::new();
        let mut deleted: BTreeMap<DeviceId, u64> = BTreeMap::new();
        let mut acknowledged: Vec<(DeviceId, u64)> = vec![];
        // Sent on this connection and not acknowledged, in the order of sending.
        let mut under_way: Vec<(DeviceId, u64)> = vec![];
        let mut last_sent: BTreeMap<DeviceId, u64> = BTreeMap::new();
        let quiet = [Event::Passed(100)];
        for event in events.iter().chain(quiet.iter().cycle().take(40)) {
            match event {
                Event::Stored(device, count) => {
                    let end = stored.entry(name(*device)).or_insert(0);
                    *end += u64::from(*count);
                    let first = deleted.get(&name(*device)).copied().unwrap_or(0) + 1;
                    forwarder.offer(&name(*device), first, *end + 1);
                }
                Event::Acknowledged(which) if !under_way.is_empty() => {
                    let (device, sequence) = under_way.remove(which.index(under_way.len()));
                    acknowledged.push((device.clone(), sequence));
                    if let Some(upto) = forwarder.acknowledged(&device, sequence) {
                        let before = deleted.insert(device.clone(), upto).unwrap_or(0);
                        prop_assert!(upto > before);
                        for sequence in before + 1..=upto {
                            prop_assert!(
                                acknowledged.contains(&(device.clone(), sequence)),
                                "{device} {sequence} was deleted unacknowledged"
                            );
                        }
                    }
                }
                Event::Acknowledged(_) => {}
                Event::Lost => {
                    forwarder.lost();
                    under_way.clear();
                    last_sent.clear();
                }
                Event::Passed(ms) => now = now.plus(Duration::from_millis((*ms).into())),
            }
            while let Some((device, from, count)) = forwarder.next(now) {
                for sequence in from..from + count as u64 {
                    prop_assert!(sequence <= stored[&device]);
                    if let Some(last) = last_sent.insert(device.clone(), sequence) {
                        prop_assert_eq!(sequence, last + 1, "in order, none left out");
                    }
                    forwarder.sent(&device, sequence);
                    under_way.push((device.clone(), sequence));
                }
                prop_assert!(under_way.len() <= usize::from(window));
            }
        }
        // In the end everything leaves.
        for _ in 0..10_000 {
            now = now.plus(Duration::from_millis(100));
            for (device, sequence) in std::mem::take(&mut under_way) {
                if let Some(upto) = forwarder.acknowledged(&device, sequence) {
                    deleted.insert(device, upto);
                }
            }
            while let Some((device, from, count)) = forwarder.next(now) {
                for sequence in from..from + count as u64 {
                    forwarder.sent(&device, sequence);
                    under_way.push((device.clone(), sequence));
                }
            }
            if under_way.is_empty() {
                break;
            }
        }
        prop_assert_eq!(deleted, stored);
    }

    #[test]
    fn no_second_sees_more_records_than_the_rate_and_one_window(
        rate in 1_u32..500,
        window in 1_u16..64,
        steps in proptest::collection::vec(1_u64..200, 1..300),
    ) {
        let device = DeviceId::from("d");
        let mut forwarder = Forwarder::new(rate.into(), window, NOW);
        forwarder.offer(&device, 1, 1_000_000);
        let (mut now, mut sent) = (NOW, vec![]);
        for step in steps {
            now = now.plus(Duration::from_millis(step));
            while let Some((device, from, count)) = forwarder.next(now) {
                for sequence in from..from + count as u64 {
                    forwarder.sent(&device, sequence);
                    forwarder.acknowledged(&device, sequence);
                    sent.push(now);
                }
            }
        }
        let mut first = 0;
        for (last, at) in sent.iter().enumerate() {
            while at.since(sent[first]) >= Duration::from_secs(1) {
                first += 1;
            }
            prop_assert!(last - first < rate as usize + usize::from(window) + 1);
        }
    }
}

#[test]
fn a_busy_device_does_not_keep_the_others_waiting() {
    let mut forwarder = Forwarder::new(1e6, 1024, NOW);
    let (busy, quiet) = (DeviceId::from("busy"), DeviceId::from("quiet"));
    forwarder.offer(&busy, 1, 100_000);
    forwarder.offer(&quiet, 1, 2);
    let now = NOW.plus(Duration::from_secs(1));
    let turns: Vec<_> = (0..2)
        .map(|_| {
            let (device, from, count) = forwarder.next(now).unwrap();
            (from..from + count as u64).for_each(|s| forwarder.sent(&device, s));
            device
        })
        .collect();
    assert_eq!(turns, [busy, quiet]);
}

#[test]
fn a_queue_that_cannot_be_read_is_left_alone_and_the_others_go_on() {
    let mut forwarder = Forwarder::new(1e6, 1024, NOW);
    let (broken, whole) = (DeviceId::from("broken"), DeviceId::from("whole"));
    forwarder.offer(&broken, 1, 100);
    forwarder.offer(&whole, 1, 3);
    let now = NOW.plus(Duration::from_secs(1));
    assert_eq!(forwarder.next(now).unwrap().0, broken);
    forwarder.hold(&broken);
    assert_eq!(forwarder.next(now), Some((whole.clone(), 1, 2)));
    forwarder.sent(&whole, 1);
    forwarder.sent(&whole, 2);
    assert_eq!(forwarder.next(now), None);
    assert_eq!(forwarder.wait(now), None, "nothing is to be had by asking again");
    forwarder.release();
    assert_eq!(forwarder.next(now), Some((broken, 1, 16)));
}

#[test]
fn a_record_says_whose_it_is_what_was_measured_and_what_is_missing() {
    let telemetry = TelemetryRecord {
        sequence: Some(41),
        received: Timestamp::from_millis(1_000),
        missing: 2,
        points: vec![
            PointRecord {
                unit: None,
                origin: None,
                name: "level".to_owned(),
                value: Some(12.5),
                quality: Quality::Good,
                measured: Some(Timestamp::from_millis(990)),
            },
            PointRecord {
                unit: None,
                origin: None,
                name: "flow".to_owned(),
                value: None,
                quality: Quality::Bad(plantwin_model::Flaw::Malformed),
                measured: None,
            },
        ],
    };
    let record = |sequence, entry| SpoolRecord { sequence, time: NOW, entry };
    let text = |r: &SpoolRecord| String::from_utf8(body("tank1", r)).unwrap();
    let value = text(&record(7, SpoolEntry::Value(telemetry.to_bytes())));
    let json: serde_json::Value = serde_json::from_str(&value).unwrap();
    assert_eq!(json["device"], "tank1");
    assert_eq!(json["sequence"], 7);
    assert_eq!(json["device_sequence"], 41);
    assert_eq!(json["missing_before"], 2);
    assert_eq!(json["received"], 1_000);
    assert_eq!(json["values"]["level"], serde_json::json!({ "v": 12.5, "q": "good", "t": 990 }));
    assert_eq!(json["values"]["flow"]["q"], "bad");
    assert!(json["values"]["flow"]["v"].is_null());
    let from = Timestamp::from_millis(5);
    let gap = SpoolEntry::Gap { count: 3, from, to: Timestamp::from_millis(9) };
    let json: serde_json::Value = serde_json::from_str(&text(&record(10, gap))).unwrap();
    assert_eq!(json["gap"], serde_json::json!({ "count": 3, "from": 5, "to": 9 }));
    let odd = text(&record(11, SpoolEntry::Value(vec![255])));
    assert!(odd.contains("unreadable"), "{odd}");
}
