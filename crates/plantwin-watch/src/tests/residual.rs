//! What the residual band finds, and what it leaves in peace.

use super::point;
use crate::{BandChange, BandPlan, BandSnapshot, CALIBRATION_SAMPLES, ResidualBand};

/// Seeded Gaussian noise: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) and Box-Muller.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn gauss(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// A plan whose floor lies far below the noise of these tests (σ = 1).
fn no_floor() -> BandPlan {
    let mut spec = point("level", "cm");
    (spec.noise, spec.resolution, spec.range) = (0.0, 0.0, (0.0, 1.0));
    BandPlan::of(&spec)
}

fn calibrated(plan: BandPlan, noise: &mut Noise) -> ResidualBand {
    let mut band = ResidualBand::new();
    for _ in 0..CALIBRATION_SAMPLES {
        assert_eq!(band.push(&plan, noise.gauss()), BandChange::None);
    }
    assert!(band.half_width().is_some());
    band
}

#[test]
fn white_noise_raises_less_than_one_false_alarm_in_a_million_samples() {
    let plan = no_floor();
    let mut alarms = 0;
    for seed in 0..20 {
        let mut noise = Noise(seed);
        let mut band = calibrated(plan, &mut noise);
        for _ in 0..50_000 {
            alarms += u32::from(band.push(&plan, noise.gauss()) == BandChange::Left);
        }
    }
    assert_eq!(alarms, 0);
}

#[test]
fn a_drift_of_half_a_sigma_per_sample_is_found_within_30_samples() {
    let plan = no_floor();
    for seed in 0..500 {
        let mut noise = Noise(seed);
        let mut band = calibrated(plan, &mut noise);
        let found = (1..=30)
            .any(|i| band.push(&plan, noise.gauss() + 0.5 * f64::from(i)) == BandChange::Left);
        assert!(found, "seed {seed}, half-width {:?}", band.half_width());
    }
}

#[test]
fn a_jump_far_out_of_the_band_is_found_at_the_fourth_sample() {
    let plan = no_floor();
    for seed in 0..500 {
        let mut noise = Noise(seed);
        let mut band = calibrated(plan, &mut noise);
        let changes: Vec<_> = (0..4).map(|_| band.push(&plan, 30.0 + noise.gauss())).collect();
        assert_eq!(changes[3], BandChange::Left);
        assert!(changes[..3].iter().all(|c| *c == BandChange::None), "not on one or two outliers");
    }
}

#[test]
fn an_alarm_ends_after_five_residuals_in_a_row_inside_half_the_band() {
    let plan = no_floor();
    let mut band = calibrated(plan, &mut Noise(1));
    let width = band.half_width().unwrap();
    (0..4).for_each(|_| _ = band.push(&plan, 2.0 * width));
    assert!(band.is_outside());
    for _ in 0..50 {
        assert_eq!(band.push(&plan, 0.6 * width), BandChange::None, "inside, but not half");
    }
    (0..4).for_each(|_| assert_eq!(band.push(&plan, 0.4 * width), BandChange::None));
    assert_eq!(band.push(&plan, 0.6 * width), BandChange::None, "starts the count again");
    (0..4).for_each(|_| assert_eq!(band.push(&plan, -0.4 * width), BandChange::None));
    assert_eq!(band.push(&plan, 0.0), BandChange::Back);
    assert!(!band.is_outside());
}

#[test]
fn a_quiet_or_quantised_sensor_gets_the_floor_of_its_noise_resolution_and_range() {
    let mut spec = point("level", "cm");
    for (noise, resolution, range, floor) in
        [(0.2, 0.0, (0.0, 20.0), 0.6), (0.0, 0.5, (0.0, 20.0), 1.5), (0.0, 0.0, (-10.0, 10.0), 0.1)]
    {
        (spec.noise, spec.resolution, spec.range) = (noise, resolution, range);
        let plan = BandPlan::of(&spec);
        let mut band = ResidualBand::new();
        (0..CALIBRATION_SAMPLES).for_each(|_| _ = band.push(&plan, 0.0));
        assert!((band.half_width().unwrap() - floor).abs() < 1e-12);
    }
}

#[test]
fn calibration_withstands_a_third_of_outliers() {
    let plan = no_floor();
    let mut noise = Noise(7);
    let mut band = ResidualBand::new();
    for i in 0..CALIBRATION_SAMPLES {
        let residual = if i % 3 == 0 { 1e6 } else { noise.gauss() };
        band.push(&plan, residual);
    }
    let width = band.half_width().unwrap();
    assert!((3.0..25.0).contains(&width), "{width}");
}

#[test]
fn a_constant_bias_widens_the_band_instead_of_being_hidden() {
    let plan = no_floor();
    let mut noise = Noise(3);
    let mut band = ResidualBand::new();
    (0..CALIBRATION_SAMPLES).for_each(|_| _ = band.push(&plan, 10.0 + noise.gauss()));
    assert!(band.half_width().unwrap() > 12.0);
    let alarms = (0..10_000).filter(|_| band.push(&plan, 10.0 + noise.gauss()) != BandChange::None);
    assert_eq!(alarms.count(), 0);
}

#[test]
fn residuals_that_are_not_finite_are_neither_learnt_nor_judged() {
    let plan = no_floor();
    let mut band = ResidualBand::new();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        (0..100).for_each(|_| assert_eq!(band.push(&plan, bad), BandChange::None));
    }
    assert_eq!(band, ResidualBand::new());
    (0..CALIBRATION_SAMPLES).for_each(|_| _ = band.push(&plan, f64::MAX));
    assert!(band.half_width().unwrap().is_finite());
}

#[test]
fn the_calibration_buffer_is_freed() {
    let plan = no_floor();
    let mut band = ResidualBand::new();
    band.push(&plan, 1.0);
    assert_eq!(band.heap_bytes(), CALIBRATION_SAMPLES * 8);
    assert_eq!(calibrated(plan, &mut Noise(0)).heap_bytes(), 0);
}

#[test]
fn a_stored_band_comes_back_unless_the_type_now_calls_for_a_wider_one() {
    let plan = no_floor();
    let band = calibrated(plan, &mut Noise(5));
    let bytes = postcard::to_stdvec(&band.snapshot()).unwrap();
    let read = || postcard::from_bytes::<BandSnapshot>(&bytes).unwrap();
    assert_eq!(ResidualBand::restore(&plan, read()), band);
    let mut noisy = point("level", "cm");
    noisy.noise = 1e3;
    assert_eq!(ResidualBand::restore(&BandPlan::of(&noisy), read()), ResidualBand::new());
}
