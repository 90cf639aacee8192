//! `plantwin-simulate`: many seeds on all cores, or one with its trace.
//!
//! Absent: the simulation itself (the library).

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use clap::Parser;
use plantwin_model::invariant::Rule;
use plantwin_simulate::{Report, RunRequest, run};

/// Runs the whole plant in virtual time under seeded faults.
///
/// Exit code 0 if every promise was kept in every run, else 1 with the seeds that broke one and
/// the command that runs each again.
#[derive(Debug, Parser)]
#[command(name = "plantwin-simulate")]
struct Cli {
    /// How many seeds to run
    #[arg(long, default_value_t = 1000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    from: u64,
    /// Run this seed alone, twice, and compare
    #[arg(long)]
    seed: Option<u64>,
    /// Print every event of the run
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Virtual minutes of disturbance in each run
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    /// Runs beside each other; default: one a core
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let fine = match cli.seed {
        Some(seed) => one(seed, &cli),
        None => many(&cli),
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn request(seed: u64, minutes: u64, trace: bool) -> RunRequest {
    RunRequest { seed, minutes, trace, planted: None }
}

/// One seed twice: its trace, its verdict, and whether both runs were the same.
fn one(seed: u64, cli: &Cli) -> bool {
    let first = run(&request(seed, cli.minutes, cli.trace));
    let second = run(&request(seed, cli.minutes, cli.trace));
    for line in &first.trace {
        println!("{line}");
    }
    println!("{}", words(&first.counters));
    println!("seed {seed}: trace {:016x}, {:.0?}", first.trace_hash, first.virtual_time);
    let same = first.trace_hash == second.trace_hash;
    if !same {
        println!("NOT DETERMINISTIC: the second run gave {:016x}", second.trace_hash);
        let differs = first.trace.iter().zip(&second.trace).position(|(a, b)| a != b);
        if let Some(at) = differs {
            println!("  first : {}\n  second: {}", first.trace[at], second.trace[at]);
        }
    }
    complain(&first, cli.minutes);
    same && first.violations.is_empty()
}

/// Many seeds, on all cores.
fn many(cli: &Cli) -> bool {
    let next = AtomicU64::new(cli.from);
    let end = cli.from.saturating_add(cli.seeds);
    let total = Mutex::new((0_u64, 0_u64, BTreeMap::<&'static str, u64>::new()));
    let terminal = std::io::stderr().is_terminal();
    let stopped = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs.unwrap_or(cores) {
            scope.spawn(|| {
                while !stopped.load(Relaxed) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run(&request(seed, cli.minutes, false));
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.0 += 1;
                    for (what, count) in &report.counters {
                        *total.2.entry(what).or_default() += count;
                    }
                    *total.2.entry("virtual_seconds").or_default() += report.virtual_time.as_secs();
                    if !report.violations.is_empty() {
                        total.1 += 1;
                        complain(&report, cli.minutes);
                        // Twenty failing seeds say as much as two hundred.
                        stopped.store(total.1 >= 20, Relaxed);
                    }
                    if terminal {
                        eprint!("\r{} of {} seeds, {} failed ", total.0, cli.seeds, total.1);
                        let _ = std::io::stderr().flush();
                    }
                }
            });
        }
    });
    if terminal {
        eprintln!();
    }
    let (ran, failed, counters) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", words(&counters));
    println!("rules checked:");
    for rule in Rule::ALL {
        println!("  {rule}");
    }
    println!("{ran} seeds of {} virtual minutes and a quiet time, {failed} failed", cli.minutes);
    failed == 0
}

/// What a run broke, and how to see it again.
fn complain(report: &Report, minutes: u64) {
    for violation in &report.violations {
        println!("seed {}: {violation}", report.seed);
    }
    if !report.violations.is_empty() {
        let seed = report.seed;
        println!("  again: cargo xtask simulate --seed {seed} --minutes {minutes} --trace");
    }
}

fn words(counters: &BTreeMap<&'static str, u64>) -> String {
    let words: Vec<String> = counters
        .iter()
        .map(|(what, count)| format!("{} {count}", what.replace('_', " ")))
        .collect();
    words.join(", ")
}
