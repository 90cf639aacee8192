//! What the loops found.
//!
//! Absent: finding it.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use super::{Kills, Shared, alarms::SHOWN_WITHIN_S, lock};

/// Notes that are printed.
const KEPT: usize = 10;

/// Counts of the lives.
pub(super) struct Report {
    kills: Kills,
    /// Times from the start of the process to its first answer.
    pub(super) starts: Vec<Duration>,
    /// Killed before the plant answered, under load, and while it drained.
    pub(super) early: u64,
    pub(super) loaded: u64,
    pub(super) draining: u64,
    pub(super) took: Duration,
    /// What `plantwin audit verify` said first, if it found the trail intact.
    pub(super) audit: Option<String>,
    failed: Vec<String>,
    notes: Vec<String>,
    complaints: u64,
}

impl Report {
    pub(super) fn new(kills: Kills) -> Self {
        Self {
            kills,
            starts: Vec::new(),
            early: 0,
            loaded: 0,
            draining: 0,
            took: Duration::ZERO,
            audit: None,
            failed: Vec::new(),
            notes: Vec::new(),
            complaints: 0,
        }
    }

    /// What must be so.
    pub(super) fn require(&mut self, so: bool, what: &str) {
        if !so {
            self.failed.push(what.to_owned());
        }
    }

    /// Something went wrong, with what the plant said.
    pub(super) fn note(&mut self, what: &str, said: &str) {
        self.complaints += 1;
        if self.notes.len() < KEPT {
            self.notes.push(format!("{what}:\n{said}"));
        }
    }

    /// The middle of all starts so far.
    pub(super) fn typical_start(&self) -> Duration {
        quantile(&self.starts, 0.5)
    }

    pub(super) fn progress(&self, loops: u64, shared: &Shared) -> String {
        let (t, c) = (lock(&shared.telemetry).totals(), lock(&shared.commands).totals());
        let a = lock(&shared.alarms).totals();
        format!(
            "{loops:>6} kills in {:.0} s: T1 {} arrived, {} under way; C {} done, {} open, {} \
             wrong; A {} seen, {} held, {} lost; T1 {} not there yet, {} out of order, {} gaps, {} falsely missing",
            self.took.as_secs_f64(),
            t.arrived,
            t.published - t.arrived,
            c.done,
            c.open,
            c.lost + c.doubled + c.denied + c.contradicted,
            a.seen,
            a.held,
            a.lost,
            t.lost,
            t.disordered,
            t.gaps,
            t.missing,
        )
    }
}

fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Prints all; `false` if anything was lost.
pub(super) fn print(report: &Report, shared: &Shared) -> bool {
    let (t, c) = (lock(&shared.telemetry).totals(), lock(&shared.commands).totals());
    let a = lock(&shared.alarms).totals();
    let store_alarms = shared.store_alarms.load(SeqCst);
    let kills = report.early + report.loaded + report.draining;
    let ms = |share| quantile(&report.starts, share).as_secs_f64() * 1e3;
    let row = |what: &str, text: String| println!("  {what:<22} {text}");
    println!("\nKill loops, seed {}, {:.1} s", report.kills.seed, report.took.as_secs_f64());
    row(
        "kill -9",
        format!(
            "{kills}: {} before the plant answered, {} under load, {} while it \
        drained",
            report.early, report.loaded, report.draining
        ),
    );
    row(
        "start to first answer",
        format!(
            "p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms, {} starts",
            ms(0.5),
            ms(0.99),
            ms(1.0),
            report.starts.len()
        ),
    );
    row(
        "T1 telemetry",
        format!(
            "{} published, {} accepted by the broker, {} arrived, {} lost, {} out of order, {} \
             wrong, {} in gaps, {} falsely said to be missing; {} came twice",
            t.published,
            t.accepted,
            t.arrived,
            t.lost,
            t.disordered,
            t.wrong,
            t.gaps,
            t.missing,
            t.doubled
        ),
    );
    row(
        "C commands",
        format!(
            "{} asked, {} done, {} without effect, {} unknowable, {} open; {} \
        lost, {} doubled, {} acted though denied, {} contradicted; {} outcomes told again",
            c.asked,
            c.done,
            c.without_effect,
            c.unknown,
            c.open,
            c.lost,
            c.doubled,
            c.denied,
            c.contradicted,
            c.retold
        ),
    );
    row(
        "A alarms",
        format!(
            "{} seen in {} statuses, {} acknowledged, {} times back after a \
        restart (within {SHOWN_WITHIN_S} s), {} lost",
            a.seen,
            shared.statuses.load(SeqCst),
            a.acknowledged,
            a.held,
            a.lost
        ),
    );
    row(
        "complaints",
        format!(
            "{} of the log, {store_alarms} statuses with an alarm of the store",
            report.complaints
        ),
    );
    row("audit trail", report.audit.clone().unwrap_or_else(|| "not intact".to_owned()));
    for what in &report.failed {
        println!("  NOT SO: {what}");
    }
    for problem in lock(&shared.telemetry).problems() {
        println!("  T1: {problem}");
    }
    for problem in lock(&shared.commands).problems() {
        println!("  C: {problem}");
    }
    for problem in lock(&shared.alarms).problems() {
        println!("  A: {problem}");
    }
    for note in &report.notes {
        println!("  {note}");
    }
    let lost = t.lost + t.disordered + t.wrong + t.gaps + t.missing;
    let wrong = c.lost + c.doubled + c.denied + c.contradicted + c.open;
    let fine = lost + wrong + a.lost + report.complaints + store_alarms == 0;
    let full = report.failed.is_empty() && kills == report.kills.loops;
    println!("  {}", if fine && full { "PASS: nothing was lost" } else { "FAIL" });
    fine && full
}
