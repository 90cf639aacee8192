//! Many seeds keep every promise; planted faults break them and are found.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use plantwin_model::invariant::Rule;
use plantwin_simulate::{Planted, Report, RunRequest, run};

/// Virtual minutes of disturbance.
const MINUTES: u64 = 2;

fn request(seed: u64, planted: Option<Planted>) -> RunRequest {
    RunRequest { seed, minutes: MINUTES, trace: false, planted }
}

/// Runs seeds from 1 on all cores until one report satisfies `wanted`, or all were run.
fn first(
    seeds: u64,
    planted: Option<Planted>,
    wanted: impl Fn(&Report) -> bool + Sync,
) -> Option<Report> {
    let next = AtomicU64::new(1);
    let found = std::sync::Mutex::new(None);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed > seeds || found.lock().unwrap().is_some() {
                        return;
                    }
                    let report = run(&request(seed, planted));
                    if wanted(&report) {
                        *found.lock().unwrap() = Some(report);
                        return;
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn a_thousand_seeds_hold_every_invariant() {
    let usual = if std::env::var_os("CI").is_some() { 1000 } else { 50 };
    let asked = std::env::var("PLANTWIN_SEEDS").ok().and_then(|n| n.parse().ok());
    let failed = first(asked.unwrap_or(usual), None, |r| !r.violations.is_empty());
    if let Some(report) = failed {
        let violations: Vec<String> =
            report.violations.iter().map(|v| format!("  {v}\n")).collect();
        panic!(
            "seed {} broke a promise:\n{}again: cargo xtask simulate --seed {} --minutes {MINUTES} --trace",
            report.seed,
            violations.concat(),
            report.seed
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let mut hashes = Vec::new();
    for seed in 1..=12 {
        let traced = RunRequest { trace: true, ..request(seed, None) };
        let (one, two) = (run(&traced), run(&traced));
        let differs = one.trace.iter().zip(&two.trace).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one, two, "seed {seed}");
        hashes.push(one.trace_hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 12);
}

/// Within two hundred seeds the rule is broken by the planted fault, and the same seed without
/// the fault keeps it.
fn is_found(planted: Planted, rule: Rule) {
    let breaks = |report: &Report| report.violations.iter().any(|v| v.rule == rule);
    let found = first(200, Some(planted), breaks);
    let found = found.unwrap_or_else(|| panic!("{planted:?} was not found"));
    let sound = run(&request(found.seed, None));
    assert!(!breaks(&sound), "seed {} breaks it without the fault as well", found.seed);
}

#[test]
fn telemetry_that_is_confirmed_before_it_is_flushed_is_found() {
    is_found(Planted::EarlyConfirmation, Rule::Telemetry);
}

#[test]
fn commands_that_are_forgotten_by_a_restart_are_found() {
    is_found(Planted::ForgottenCommands, Rule::Commands);
}

#[test]
fn commands_that_act_twice_are_found() {
    is_found(Planted::DoubledWrites, Rule::Commands);
}

#[test]
fn telemetry_that_is_acknowledged_and_lost_is_found() {
    is_found(Planted::DeafCloud, Rule::Telemetry);
}

#[test]
fn every_kind_of_misfortune_really_happens() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 1..=60 {
        for (what, count) in run(&request(seed, None)).counters {
            *seen.entry(what).or_insert(0) += count;
        }
    }
    for what in [
        "panics",
        "kills",
        "stops",
        "crashes_at_the_disk",
        "disk_errors",
        "views_of_a_hanging_disk",
        "values_lost",
        "answers_lost",
        "outcomes_done",
        "outcomes_refused",
        "outcomes_failed",
        "outcomes_expired",
        "outcomes_unknown",
        "letters_cleared",
        "twins_revived",
        "records_arrived",
        "alarms_acknowledged",
        "clock_set_back",
        "devices_restarted",
    ] {
        assert!(seen.get(what).is_some_and(|&n| n > 0), "{what} never happened: {seen:?}");
    }
}
