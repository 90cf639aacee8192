//! Sensors: noise that can be repeated, and each kind of fault.

use plantwin_model::PlantSpec;

use super::*;
use crate::testing::one;

const KIND: &str = "\n[property.clean]\nunit = \"1\"\nrange = [-1e9, 1e9]\n[property.noisy]\nunit = \"1\"\nrange = [-1e9, 1e9]\nnoise = 0.5\nresolution = 0.25\n";

fn plant() -> PlantSpec {
    one(KIND, "1s")
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn clean() -> Sensor {
    Sensor::new(1, &plant().devices[0], PointIx(0))
}

#[track_caller]
fn check(kind: FaultKind, expected: [f64; 3]) {
    let mut sensor = clean();
    assert_eq!(sensor.measure(9.0, at(9.0)), 9.0);
    sensor.inject(kind, at(10.0), Some(at(10.0)));
    assert!(
        !sensor.is_faulty(at(9.9)) && sensor.is_faulty(at(10.0)) && !sensor.is_faulty(at(20.0))
    );
    let seen = [10.0, 14.0, 20.0].map(|t| sensor.measure(t, at(t)));
    for (seen, expected) in seen.iter().zip(expected) {
        assert!(
            seen == &expected || (seen.is_nan() && expected.is_nan()),
            "{kind:?}: {seen} != {expected}"
        );
    }
}

#[test]
fn each_fault_falsifies_in_its_way_and_ends_in_time() {
    check(FaultKind::Stuck, [9.0, 9.0, 20.0]);
    check(FaultKind::Bias(2.0), [12.0, 16.0, 20.0]);
    check(FaultKind::Drift(0.5), [10.0, 16.0, 20.0]);
    check(FaultKind::Scale(3.0), [30.0, 42.0, 20.0]);
    check(FaultKind::NotANumber, [f64::NAN, f64::NAN, 20.0]);
}

#[test]
fn noise_as_a_fault_has_its_deviation() {
    let mut sensor = clean();
    sensor.inject(FaultKind::Noise(2.0), Duration::ZERO, None);
    let draws: Vec<_> =
        (0..20_000).map(|i| sensor.measure(5.0, Duration::from_millis(i))).collect();
    let mean = draws.iter().sum::<f64>() / 20_000.0;
    let deviation = (draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 20_000.0).sqrt();
    assert!((mean - 5.0).abs() < 0.06, "{mean}");
    assert!((deviation - 2.0).abs() < 0.05, "{deviation}");
}

#[test]
fn a_stuck_sensor_that_never_measured_keeps_its_first_value() {
    let mut sensor = clean();
    sensor.inject(FaultKind::Stuck, Duration::ZERO, None);
    assert_eq!([1.0, 2.0, 3.0].map(|v| sensor.measure(v, at(v))), [1.0; 3]);
    sensor.clear();
    assert_eq!(sensor.measure(4.0, at(4.0)), 4.0);
}

#[test]
fn faults_add_up_and_are_bounded() {
    let mut sensor = clean();
    for _ in 0..100 {
        sensor.inject(FaultKind::Bias(1.0), Duration::ZERO, None);
    }
    assert_eq!(sensor.measure(0.0, at(1.0)), FAULT_LIMIT as f64);
}

#[test]
fn measurements_are_whole_steps_of_the_resolution() {
    let mut sensor = Sensor::new(1, &plant().devices[0], PointIx(1));
    for i in 0..100 {
        let steps = sensor.measure(3.3, Duration::from_millis(i)) / 0.25;
        assert_eq!(steps, steps.round());
    }
}

#[test]
fn the_same_seed_measures_the_same_and_another_one_does_not() {
    let plant = plant();
    let series = |seed, step| {
        let mut sensor = Sensor::new(seed, &plant.devices[0], PointIx(1));
        (0..60)
            .step_by(step)
            .map(|i| sensor.measure(0.0, at(f64::from(i))).to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(series(1, 1), series(1, 1));
    assert_ne!(series(1, 1), series(2, 1));
    // Looking less often changes nothing of what is seen.
    let (all, some) = (series(1, 1), series(1, 3));
    assert!(some.iter().enumerate().all(|(i, v)| *v == all[3 * i]));
}
