//! Predictors against closed forms, published digits and abuse.

use std::{sync::Arc, time::Duration};

use plantwin_model::{PlantSpec, PointIx};
use proptest::prelude::*;

use super::*;
use crate::{compile, testing::one};

const SECOND: Duration = Duration::from_secs(1);

fn of(plant: &PlantSpec) -> Predictor {
    let device = &plant.devices[0];
    let model = compile(&device.kind).unwrap_or_else(|p| panic!("{p:?}")).unwrap();
    Predictor::new(&model, device)
}

fn predictor(kind: &str) -> Predictor {
    of(&one(kind, "10ms"))
}

/// `x` relaxes to the setpoint `w` with the time constant `tau`; `y` is twice `x`; nobody knows `z`.
const LAG: &str = r#"
[property.x]
unit = "Cel"
range = [0, 100]
start = 80
[property.w]
unit = "Cel"
range = [0, 100]
start = 20
access = "rw"
[property.y]
unit = "K"
range = [0, 1000]
[property.z]
unit = "1"
range = [0, 9]
start = 4
[model]
step = "100ms"
correction = 0.25
[model.param]
tau = "10 s"
[model.input]
heat = "K/s"
[model.der]
x = "(w - x) / tau + heat"
[model.point]
y = "2 * x"
[model.out]
gap = { unit = "K", value = "x - w" }
"#;
const X: PointIx = PointIx(0);
const W: PointIx = PointIx(1);
const Y: PointIx = PointIx(2);
const Z: PointIx = PointIx(3);

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} != {expected}");
}

#[test]
fn the_reference_equation_of_van_der_pol_comes_out_to_the_last_bit() {
    // Reference-FMUs (Modelica Association), VanDerPol: explicit Euler, h = 0.01 s, t = 20 s.
    let mut p = predictor(
        r#"
[property.x0]
unit = "1"
range = [-10, 10]
start = 2
[property.x1]
unit = "1"
range = [-10, 10]
start = 0
[model]
method = "euler"
step = "10ms"
[model.param]
mu = 1
rate = "1 1/s"
[model.der]
x0 = "x1 * rate"
x1 = "(mu * ((1 - x0 * x0) * x1) - x0) * rate"
"#,
    );
    p.advance(20 * SECOND);
    assert_eq!(p.point(PointIx(0)), Some(2.014_841_886_154_613_3));
    assert_eq!(p.point(PointIx(1)), Some(0.244_194_707_519_044_07));
}

#[test]
fn the_reference_equation_of_dahlquist_comes_out_to_the_last_bit() {
    // Reference-FMUs, Dahlquist: explicit Euler, h = 0.1 s, t = 10 s, in steps of any length.
    let kind = r#"
[property.x]
unit = "1"
range = [0, 1]
start = 1
[model]
method = "euler"
step = "100ms"
[model.param]
k = "1 1/s"
[model.der]
x = "-k * x"
"#;
    let mut at_once = predictor(kind);
    at_once.advance(10 * SECOND);
    assert_eq!(at_once.point(X), Some(2.656_139_888_758_746e-5));
    let mut in_parts = predictor(kind);
    for _ in 0..100 {
        in_parts.advance(Duration::from_millis(100));
    }
    assert_eq!(in_parts.point(X), Some(2.656_139_888_758_746e-5));
}

#[test]
fn van_der_pol_by_runge_kutta_converges_to_the_known_solution() {
    let mut p = predictor(
        r#"
[property.x0]
unit = "1"
range = [-10, 10]
start = 2
[property.x1]
unit = "1"
range = [-10, 10]
start = 0
[model]
step = "2ms"
[model.param]
rate = "1 1/s"
[model.der]
x0 = "x1 * rate"
x1 = "((1 - x0^2) * x1 - x0) * rate"
"#,
    );
    // Ten thousand steps, the most of one call.
    p.advance(20 * SECOND);
    near(p.point(PointIx(0)).unwrap(), 2.008_149_76, 1e-8);
    near(p.point(PointIx(1)).unwrap(), -0.042_508_88, 1e-8);
}

#[test]
fn points_are_in_their_own_unit_and_outputs_in_si() {
    let p = predictor(LAG);
    assert_eq!(p.point(X), Some(80.0));
    assert_eq!(p.point(Y), Some(2.0 * 353.15));
    assert_eq!(p.output(0), 60.0);
    near(p.source(plantwin_model::FlowSource::Point(W)), 293.15, 1e-12);
    assert!(p.output(1).is_nan(), "an output that does not exist");
    assert_eq!(p.point(PointIx(99)), None);
}

#[test]
fn the_model_says_nothing_about_a_point_without_equation() {
    let mut p = predictor(LAG);
    assert_eq!(p.point(Z), None);
    p.correct(Z, 7.0);
    assert_eq!(p.point(Z), None);
    assert_eq!(p.source(plantwin_model::FlowSource::Point(Z)), 7.0);
}

#[test]
fn a_measurement_moves_a_state_by_its_share_and_a_setpoint_in_full() {
    let mut p = predictor(LAG);
    p.correct(X, 84.0);
    near(p.point(X).unwrap(), 81.0, 1e-9);
    near(p.point(Y).unwrap(), 2.0 * 354.15, 1e-9);
    p.correct(W, 30.0);
    near(p.point(W).unwrap(), 30.0, 1e-9);
    near(p.output(0), 51.0, 1e-9);
    let before = p.point(Y);
    p.correct(Y, 0.0);
    assert_eq!(p.point(Y), before, "a computed point is what its equation says");
}

#[test]
fn what_flows_in_and_what_is_written_takes_effect() {
    let mut p = predictor(LAG);
    p.set_input(0, 2.0);
    p.set_point(W, 50.0);
    for _ in 0..100 {
        p.advance(2 * SECOND);
    }
    near(p.point(X).unwrap(), 70.0, 1e-5);
    p.set_input(9, 1.0);
    p.set_point(PointIx(99), 1.0);
    p.set_point(X, 0.0);
    near(p.point(X).unwrap(), 0.0, 1e-9);
}

#[test]
fn values_that_are_not_finite_are_ignored() {
    let mut p = predictor(LAG);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        p.correct(X, bad);
        p.correct(W, bad);
        p.set_point(W, bad);
        p.set_input(0, bad);
    }
    p.advance(SECOND);
    near(p.point(X).unwrap(), 20.0 + 60.0 * (-0.1_f64).exp(), 1e-6);
    assert!(p.is_finite());
}

#[test]
fn a_state_whose_derivative_breaks_stays_where_it_was_and_says_so() {
    let mut p = predictor(
        r#"
[property.x]
unit = "1"
range = [0, 10]
start = 4
[property.w]
unit = "1"
range = [-1, 1]
start = 1
access = "rw"
[property.root]
unit = "1"
range = [0, 1]
[model]
step = "100ms"
[model.param]
rate = "1 1/s"
[model.der]
x = "-rate * x * root"
[model.point]
root = "sqrt(w)"
"#,
    );
    p.advance(SECOND);
    assert!(p.is_finite());
    let before = p.point(PointIx(0));
    p.set_point(PointIx(1), -1.0);
    p.advance(SECOND);
    assert!(!p.is_finite());
    assert_eq!((p.point(PointIx(0)), p.point(PointIx(2))), (before, None));
    p.set_point(PointIx(1), 1.0);
    p.advance(SECOND);
    assert!(p.is_finite(), "it recovers with its inputs");
    assert!(p.point(PointIx(0)) < before);
}

#[test]
fn a_model_that_explodes_ends_finite() {
    let mut p = predictor(
        "\n[property.x]\nunit = \"1\"\nrange = [0, 1]\nstart = 1\n[model]\nstep = \"100ms\"\n[model.param]\nk = \"1 1/s\"\n[model.der]\nx = \"k * exp(x)\"\n",
    );
    p.advance(100 * SECOND);
    assert!(p.point(PointIx(0)).is_some_and(f64::is_finite));
    assert!(!p.is_finite());
}

#[test]
fn a_long_gap_costs_bounded_work_and_passes_in_full() {
    let mut p = predictor(LAG);
    p.advance(Duration::from_secs(u64::MAX / 2_000_000_000));
    assert_eq!(p.elapsed().as_secs(), u64::MAX / 2_000_000_000);
    near(p.point(X).unwrap(), 20.0, 1e-6);
    p.advance(Duration::MAX);
    assert!(p.is_finite());
}

#[test]
fn time_is_known_to_equations() {
    let mut p = predictor(
        "\n[property.x]\nunit = \"s2\"\nrange = [0, 1e6]\n[model]\nstep = \"1s\"\n[model.der]\nx = \"2 * t\"\n",
    );
    p.advance(7 * SECOND);
    p.advance(Duration::from_millis(500));
    near(p.point(PointIx(0)).unwrap(), 7.5 * 7.5, 1e-9);
}

#[test]
fn reset_returns_to_the_start_of_the_device_not_of_the_type() {
    let plant = crate::testing::plant("quadruple-tank", Some("plus-phase"), &[]);
    let mut p = of(&plant);
    assert_eq!(p.point(PointIx(0)), Some(12.6));
    p.advance(30 * SECOND);
    p.correct(PointIx(0), 3.0);
    p.reset();
    assert_eq!(p.point(PointIx(0)), Some(12.6));
    assert_eq!(p.elapsed(), Duration::ZERO);
}

#[test]
fn a_copy_goes_its_own_way_and_copying_back_restores() {
    let mut p = predictor(LAG);
    p.advance(SECOND);
    let mut copy = p.clone();
    copy.advance(5 * SECOND);
    assert_ne!(p.point(X), copy.point(X));
    p.advance(5 * SECOND);
    assert_eq!(p.point(X), copy.point(X));
    let mut other = predictor(LAG);
    other.clone_from(&p);
    assert_eq!((other.point(X), other.elapsed()), (p.point(X), p.elapsed()));
    assert!(Arc::ptr_eq(other.model(), p.model()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_first_order_lag_follows_the_exponential(
        start in 0.0..100.0_f64,
        target in 0.0..100.0_f64,
        // The steps are a twentieth of it or less: the error goes with the fourth power.
        tau in 2.0..100.0_f64,
        millis in 1_u64..60_000,
    ) {
        let kind = LAG.replace("tau = \"10 s\"", &format!("tau = \"{tau} s\""));
        let mut p = predictor(&kind);
        p.set_point(X, start);
        p.set_point(W, target);
        p.advance(Duration::from_millis(millis));
        let exact = target + (start - target) * (-(millis as f64) / 1000.0 / tau).exp();
        prop_assert!((p.point(X).unwrap() - exact).abs() < 1e-5);
    }
}
