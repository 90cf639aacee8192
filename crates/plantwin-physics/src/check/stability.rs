//! Whether steps are small enough: Jacobians by central differences, rehearsals, the verdict.
//!
//! Absent: a step for every state the plant could ever reach; nobody can give that.

use plantwin_model::{DeviceSpec, PlantSpec, Span};

use super::spectrum::radius;
use crate::{Model, PlantSim, Problem, predictor::Moving};

/// Largest h |lambda| that is let pass.
const LIMIT: f64 = 2.0;

/// Samples in a row beyond the limit that count: a single one may be a switching point.
const IN_A_ROW: u32 = 3;

/// Steps of one rehearsal.
const STEPS: u32 = 2000;

/// Width of a difference, as a share of a state's range.
const WIDTH: f64 = 1e-4;

/// Largest plant whose Jacobian is computed as a whole.
const WHOLE_LIMIT: usize = 200;

/// Where the setpoints stand in a rehearsal.
#[derive(Clone, Copy)]
enum Stand {
    Start,
    Low,
    High,
}

/// Judges the model's own step for one device, alone, with what flows in held constant.
pub(super) fn device(
    model: &Model,
    frame: &[f64],
    device: Option<(&PlantSpec, &DeviceSpec)>,
    rehearsals: bool,
) -> Option<Problem> {
    if model.states() == 0 {
        return None;
    }
    let who = device.map_or_else(|| model.name.clone(), |(_, d)| d.id.to_string());
    if slopes(model, frame).any(|k| !k.is_finite()) {
        let (file, span) =
            device.map_or((&model.file, model.span), |(plant, d)| (&plant.file, d.span));
        let message = format!("a derivative of `{who}` is not finite at its start");
        return Some(Problem::error("not-finite", file, span, message));
    }
    let h = model.step().as_secs_f64();
    let stands = [Stand::Start, Stand::Low, Stand::High];
    let (stands, steps) = if rehearsals { (&stands[..], STEPS) } else { (&stands[..1], 1) };
    for &stand in stands {
        match rehearse(model, frame, stand, h, steps) {
            Verdict::Sound => {}
            Verdict::Fast(lambda) => {
                return Some(too_large(&who, lambda, h, (&model.file, model.span)));
            }
            Verdict::Breaks => {
                let message = format!(
                    "step too large for `{who}`: one step of {} from plausible values gives none",
                    time(h)
                );
                let problem = Problem::error("step-too-large", &model.file, model.span, message);
                return Some(problem.help("make the model's step smaller, or its equations total"));
            }
            Verdict::Leaps(state) => {
                let message = format!(
                    "step too large for `{who}`: one step of {} moves `{}` by more than its range",
                    time(h),
                    model.state_name(state)
                );
                let problem = Problem::error("step-too-large", &model.file, model.span, message);
                return Some(problem.help("make the model's step smaller"));
            }
        }
    }
    None
}

/// Judges the integration step of the coupled plant at its start.
pub(super) fn plant(plant: &PlantSpec, mut sim: PlantSim) -> Option<Problem> {
    let n = sim.states();
    if n == 0 || n > WHOLE_LIMIT {
        return None;
    }
    let h = sim.integration_step();
    let mut jacobian = vec![0.0; n * n];
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for j in 0..n {
        let (_, unit, state, x) = sim.state(j);
        let d = width(&unit.model, state, x);
        sim.probe(j, x + d, &mut up);
        sim.probe(j, x - d, &mut down);
        for i in 0..n {
            jacobian[i * n + j] = (up[i] - down[i]) / (2.0 * d);
        }
    }
    let lambda = radius(n, &jacobian);
    if h * lambda <= LIMIT {
        return None;
    }
    // Devices are named by their own part: the one that is fastest alone.
    let owners: Vec<usize> = (0..n).map(|i| sim.state(i).0).collect();
    let fastest = owners.iter().copied().max_by(|a, b| {
        let alone = |unit: usize| {
            let of: Vec<_> = (0..n).filter(|i| owners[*i] == unit).collect();
            let part =
                of.iter().flat_map(|i| of.iter().map(|j| jacobian[i * n + j]).collect::<Vec<_>>());
            radius(of.len(), &part.collect::<Vec<_>>())
        };
        alone(*a).total_cmp(&alone(*b))
    });
    let simulated = plant.devices.iter().filter(|d| sim.frame(d.ix).is_some());
    let device = fastest.and_then(|unit| simulated.clone().nth(unit));
    let (who, span) =
        device.map_or((plant.name.as_str(), Span::default()), |d| (d.id.as_str(), d.span));
    Some(too_large(who, lambda, h, (&plant.file, span)))
}

enum Verdict {
    Sound,
    /// With this largest absolute eigenvalue, per second.
    Fast(f64),
    /// One step moves a state by more than its range.
    Leaps(usize),
    /// One step gives values that are not finite.
    Breaks,
}

/// Runs one device alone for some time and judges every state it comes by.
fn rehearse(model: &Model, frame: &[f64], stand: Stand, h: f64, steps: u32) -> Verdict {
    let n = model.states();
    let mut frame = frame.to_vec();
    let ends = model.setpoints().map(|(p, (low, high))| match stand {
        Stand::Start => None,
        Stand::Low => Some((p, low)),
        Stand::High => Some((p, high)),
    });
    let ends: Option<Vec<_>> = ends.collect();
    // Without setpoints the three rehearsals are one.
    match (stand, ends) {
        (Stand::Start, _) => {}
        (_, Some(ends)) if !ends.is_empty() => {
            for (point, value) in ends {
                model.write(&mut frame, point, value);
            }
        }
        _ => return Verdict::Sound,
    }
    model.evaluate(&mut frame, 0.0);
    let ranges: Vec<_> = (0..n).map(|i| model.state_range(i)).collect();
    let (mut row, mut jacobian) = (0, vec![0.0; n * n]);
    // The Jacobian costs as much as `n` steps: large models are sampled less often.
    let (every, steps) = ((n as u32 / 2).max(1), steps.div_ceil((n as u32).div_ceil(4).max(1)));
    for step in 0..steps {
        let now = f64::from(step) * h;
        if step % every == 0 {
            differences(model, &mut frame, now, &mut jacobian);
            let lambda = radius(n, &jacobian);
            row = if h * lambda > LIMIT { row + 1 } else { 0 };
            // At the start there is nothing to wait for.
            if row >= IN_A_ROW || (row == 1 && step == 0) {
                return Verdict::Fast(lambda);
            }
        }
        let before = frame[..n].to_vec();
        let mut moving = Moving { model, frame: &mut frame, finite: true };
        moving.step(now + h, h);
        let finite = moving.finite;
        let within = |i: usize, x: f64, beyond: f64| {
            ranges[i].is_none_or(|(low, high)| {
                let margin = beyond * (high - low);
                (low - margin..=high + margin).contains(&x)
            })
        };
        // A rehearsal that has left what the model is for has ended already.
        if !finite {
            return Verdict::Breaks;
        }
        for i in (0..n).filter(|i| within(*i, before[*i], 0.0)) {
            let width = ranges[i].map_or(f64::INFINITY, |(low, high)| high - low);
            if (frame[i] - before[i]).abs() > width {
                return Verdict::Leaps(i);
            }
        }
        if (0..n).any(|i| !within(i, frame[i], 1.0)) {
            return Verdict::Sound;
        }
    }
    Verdict::Sound
}

/// The Jacobian of `frame`'s derivatives; the frame is evaluated again at the end.
fn differences(model: &Model, frame: &mut [f64], now: f64, jacobian: &mut [f64]) {
    let n = model.states();
    for j in 0..n {
        let x = frame[j];
        let d = width(model, j, x);
        frame[j] = x + d;
        model.evaluate(frame, now);
        for (i, k) in slopes(model, frame).enumerate() {
            jacobian[i * n + j] = k;
        }
        frame[j] = x - d;
        model.evaluate(frame, now);
        for (i, k) in slopes(model, frame).enumerate() {
            let entry = &mut jacobian[i * n + j];
            *entry = (*entry - k) / (2.0 * d);
        }
        frame[j] = x;
    }
    model.evaluate(frame, now);
}

fn slopes<'f>(model: &Model, frame: &'f [f64]) -> impl Iterator<Item = f64> + use<'f> {
    let first = model.slopes();
    frame[first..first + model.states()].iter().copied()
}

/// How far a state is moved for a difference: far enough that roots at zero stay tame.
fn width(model: &Model, state: usize, x: f64) -> f64 {
    let range = model.state_range(state).map_or(x.abs(), |(low, high)| high - low);
    let d = WIDTH * range;
    if d > 0.0 && d.is_finite() { d } else { WIDTH }
}

fn too_large(
    who: &str,
    lambda: f64,
    h: f64,
    (file, span): (&std::sync::Arc<str>, Span),
) -> Problem {
    let message = format!(
        "step too large for `{who}`: fastest rate {lambda:.4e}/s times step {} is {:.4e}, above {LIMIT}",
        time(h),
        h * lambda
    );
    Problem::error("step-too-large", file, span, message)
        .help(format!("the largest step that is let pass is {}", time(LIMIT / lambda)))
}

/// Seconds as people read them, rounded down so that what is advised is let pass.
fn time(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 1e-9 {
        return format!("{seconds:.2e} s");
    }
    let (unit, scale) = [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)]
        .into_iter()
        .find(|(_, scale)| seconds >= *scale)
        .unwrap_or(("ns", 1e-9));
    let digits = 10_f64.powi(2 - (seconds / scale).log10().floor() as i32);
    // A hair up first, so that 50 ms does not read 49.9 ms.
    let value = ((seconds / scale) * (1.0 + 1e-12) * digits).floor() / digits;
    format!("{value} {unit}")
}
