//! The judges of the soak, on invented histories.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    north::North,
    plant::{Kind, Wanted, file, kind},
    report::{Found, markdown},
    sample::{Sample, line},
    trouble::Counts,
};

fn north(records: &[Value]) -> North {
    let mut book = North::default();
    for record in records {
        book.arrive("north/d1", record);
    }
    book
}

fn value(sequence: u64) -> Value {
    json!({ "sequence": sequence })
}

fn gap(sequence: u64, count: u64) -> Value {
    json!({ "sequence": sequence, "gap": { "count": count } })
}

#[test]
fn records_in_any_order_and_number_without_a_hole_are_no_gap() {
    let book = north(&[value(1), value(3), value(2), value(2), value(5), value(4)]);
    assert_eq!((book.unexplained(), book.records), (0, 6));
}

#[test]
fn a_missing_record_is_unexplained_unless_a_gap_record_stands_for_it() {
    assert_eq!(north(&[value(1), value(5)]).unexplained(), 3);
    assert_eq!(north(&[value(2)]).unexplained(), 1);
    assert_eq!(north(&[value(1), gap(4, 3), value(5)]).unexplained(), 0);
    assert_eq!(north(&[value(1), gap(4, 2), value(5)]).unexplained(), 1);
    assert_eq!(north(&[value(1), gap(4, 3), value(5)]).in_gaps, 3);
}

fn samples(slope: f64, lives: u32) -> Vec<Sample> {
    (0..lives * 60)
        .map(|i| {
            let (life, step) = (i / 60 + 1, f64::from(i % 60));
            let age = Duration::from_secs_f64(step * 60.0);
            // A start takes memory quickly, then it grows by the slope.
            let rss_kb = 50_000.0 + f64::from(life) * 1000.0 + slope * (step / 60.0)
                - if step < 10.0 { 20_000.0 } else { 0.0 };
            let at_h = f64::from(i) / 60.0;
            let descriptors = 100;
            Sample { at_h, life, age, rss_kb, descriptors, capacity: 64, ..Sample::default() }
        })
        .collect()
}

#[test]
fn the_slope_of_memory_is_that_within_each_life_after_its_warm_up() {
    let warm_up = Duration::from_mins(10);
    for slope in [0.0, 300.0, -40.0] {
        let fit = line(&samples(slope, 8), warm_up).expect("enough samples");
        assert!((fit.slope - slope).abs() < 1e-6, "{slope}: {fit:?}");
    }
    let fit = line(&samples(0.0, 2), Duration::ZERO).expect("enough samples");
    assert!(fit.slope > 1000.0, "the warm-up matters: {fit:?}");
    assert_eq!(line(&samples(1.0, 1)[..1], Duration::ZERO), None);
}

fn found(slope: f64, unexplained: u64) -> Found {
    Found {
        devices: 100,
        seed: 1,
        hours: 8.0,
        warm_up: Duration::from_mins(10),
        samples: samples(slope, 8),
        commands: Counts::new(),
        troubles: Counts::from([("garbage", 7)]),
        records: 9,
        in_gaps: 0,
        missing: 0,
        unexplained,
        panics: 0,
        not_shadowed: 1,
        orderly: true,
    }
}

#[test]
fn the_report_passes_what_keeps_all_limits_and_names_what_does_not() {
    let (text, passed) = markdown(&found(1.0, 0));
    assert!(passed, "{text}");
    assert!(text.contains("garbage 7") && text.contains("PASS"), "{text}");
    // 300 kB an hour of 50 MB are more than one per cent a day.
    for wrong in [found(300.0, 0), found(1.0, 1), Found { panics: 1, ..found(1.0, 0) }] {
        let (text, passed) = markdown(&wrong);
        assert!(!passed && text.contains("FAILED"), "{text}");
    }
    let mut leaking = found(1.0, 0);
    for sample in &mut leaking.samples {
        sample.descriptors += sample.age.as_secs() / 100;
    }
    assert!(!markdown(&leaking).1);
}

#[test]
fn most_devices_are_coap_and_brokers_keep_their_bounds() {
    let wanted = Wanted { devices: 10_000, seed: 1, south: 1, north: 2 };
    let count = |k| (0..wanted.devices).filter(|n| kind(&wanted, *n) == k).count();
    assert_eq!((count(Kind::Durable), count(Kind::Mqtt), count(Kind::OpcUa)), (200, 1000, 10));
    assert_eq!(count(Kind::Coap), 8790);
}

#[test]
fn the_plant_file_is_sound() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let wanted = Wanted { devices: 30, seed: 1, south: 1883, north: 1884 };
    let path = home.path().join("soak.toml");
    std::fs::write(&path, file(&wanted)).expect("a temporary folder can be written");
    let checked = crate::run_to_end(home.path(), &["check", &path.to_string_lossy()]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
}
