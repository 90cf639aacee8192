//! What the soak found, as Markdown, and whether it passes.
//!
//! Limits: memory grows by less than 1 % a day where at least six hours were judged, by less than
//! 5 % over the time that was where it is half an hour, and is not judged below that; descriptors
//! do not grow within a life by more than 2 %, from the most of its first half to that of its second;
//! no gap is unexplained; nothing panicked; no mailbox was full; in the end at most 1 % of the
//! twins do not shadow. Absent: finding any of it.

use std::{fmt::Write as _, time::Duration};

use super::{
    sample::{Line, Sample, line},
    trouble::Counts,
};

/// Hours from which on growth per day can be told from noise.
const LONG_H: f64 = 6.0;

/// Hours below which all that is seen is the start.
const SHORT_H: f64 = 0.5;

/// All that was found.
pub(super) struct Found {
    pub(super) devices: u32,
    pub(super) seed: u64,
    pub(super) hours: f64,
    pub(super) warm_up: Duration,
    pub(super) samples: Vec<Sample>,
    pub(super) commands: Counts,
    pub(super) troubles: Counts,
    pub(super) records: u64,
    pub(super) in_gaps: u64,
    pub(super) missing: u64,
    pub(super) unexplained: u64,
    pub(super) panics: u64,
    /// In the end, when the troubles were over.
    pub(super) not_shadowed: u64,
    /// Whether the plant started and ended as told.
    pub(super) orderly: bool,
}

/// One limit: what, found, allowed, kept.
type Limit = (&'static str, String, &'static str, bool);

fn limits(found: &Found, fit: Option<Line>) -> Vec<Limit> {
    let memory = match fit {
        Some(fit) if fit.hours >= LONG_H => {
            let day = fit.percent_per_day();
            ("memory per day", format!("{day:+.2} %"), "< 1 %", day < 1.0)
        }
        Some(fit) if fit.hours < SHORT_H => {
            ("memory", format!("{:.2} h are too short to judge", fit.hours), "", true)
        }
        Some(fit) => {
            let all = fit.percent();
            ("memory over the time judged", format!("{all:+.2} %"), "< 5 %", all < 5.0)
        }
        None => ("memory", "too few samples".to_owned(), "", false),
    };
    let grown = growth(found);
    let deepest = found.samples.iter().map(|s| s.deepest).max().unwrap_or(0);
    let room = found.samples.iter().map(|s| s.capacity).max().unwrap_or(0);
    let wrong =
        found.commands.iter().filter(|c| c.0.starts_with("WRONG")).map(|c| c.1).sum::<u64>();
    let share = f64::from(found.devices) / 100.0;
    vec![
        memory,
        ("descriptors within a life", format!("{grown:+.2} %"), "<= 2 %", grown <= 2.0),
        ("unexplained gaps", found.unexplained.to_string(), "0", found.unexplained == 0),
        ("panics and crashes", found.panics.to_string(), "0", found.panics == 0),
        ("deepest mailbox", format!("{deepest} of {room}"), "below", deepest < room),
        ("commands done wrongly", wrong.to_string(), "0", wrong == 0),
        (
            "twins not shadowed in the end",
            found.not_shadowed.to_string(),
            "<= 1 %",
            found.not_shadowed as f64 <= share,
        ),
        (
            "starts and ends in good order",
            if found.orderly { "yes" } else { "no" }.to_owned(),
            "yes",
            found.orderly,
        ),
    ]
}

/// By how much the descriptors grew at most within a life after its warm-up, per cent: brokers come
/// and go, so halves are compared and not moments.
fn growth(found: &Found) -> f64 {
    let warm: Vec<_> = found.samples.iter().filter(|s| s.age >= found.warm_up).collect();
    let grown = |life: &[&Sample]| {
        let most = |half: &[&Sample]| half.iter().map(|s| s.descriptors).max().unwrap_or(0) as f64;
        let (early, late) = life.split_at(life.len() / 2);
        if early.is_empty() { 0.0 } else { 100.0 * (most(late) / most(early).max(1.0) - 1.0) }
    };
    warm.chunk_by(|a, b| a.life == b.life).map(grown).fold(0.0, f64::max)
}

/// Memory of one life every five minutes, so that a reader can tell a start from a leak.
fn course(life: &[Sample]) -> String {
    let mut text =
        format!("Memory of life {}, MB every 5 min:", life.first().map_or(0, |s| s.life));
    let mut next = Duration::ZERO;
    for sample in life.iter().filter(|s| {
        let due = s.age >= next;
        if due {
            next = s.age + Duration::from_mins(5);
        }
        due
    }) {
        // Writing into memory cannot fail.
        let _ = write!(text, " {:.0}", sample.rss_kb / 1024.0);
    }
    text
}

/// The report, and whether all limits are kept.
pub(super) fn markdown(found: &Found) -> (String, bool) {
    let fit = line(&found.samples, found.warm_up);
    let limits = limits(found, fit);
    let passed = limits.iter().all(|l| l.3);
    let mut text = format!(
        "# Soak: {} devices, {:.2} h, seed {}: {}\n\n\
         Simulated devices over CoAP, MQTT and OPC UA, a part of them durable over a foreign \
         broker and on to another. The first {:.0} s of each life are left out of the judgement \
         of memory and descriptors.\n\n| what | found | limit | |\n|---|---|---|---|\n",
        found.devices,
        found.hours,
        found.seed,
        if passed { "PASS" } else { "FAIL" },
        found.warm_up.as_secs_f64(),
    );
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    for (what, is, limit, kept) in &limits {
        line(format!("| {what} | {is} | {limit} | {} |", if *kept { "ok" } else { "**FAILED**" }));
    }
    if let Some(fit) = fit {
        line(format!(
            "\nMemory: {:+.0} kB/h, {:+.2} %/day of {:.1} MB, least squares within each life over \
             {:.2} h.",
            fit.slope,
            fit.percent_per_day(),
            fit.mean / 1024.0,
            fit.hours,
        ));
    }
    for life in found.samples.chunk_by(|a, b| a.life == b.life) {
        line(course(life));
    }
    let (first, last) = (found.samples.first(), found.samples.last());
    let most = |of: fn(&Sample) -> u64| found.samples.iter().map(of).max().unwrap_or(0);
    if let (Some(first), Some(last)) = (first, last) {
        line(format!(
            "Descriptors: {} first, {} last, {} at most. Threads: {} at most. Lives: {}.",
            first.descriptors,
            last.descriptors,
            most(|s| s.descriptors),
            most(|s| s.threads),
            last.life,
        ));
    }
    line(format!(
        "At most: {} alarms, {} records in the spool, {} twins not shadowed, {} overruns, {} \
         values coalesced and {} shed in one life.",
        most(|s| s.alarms),
        most(|s| s.spooled),
        most(|s| s.not_shadowed),
        most(|s| s.overruns),
        most(|s| s.coalesced),
        most(|s| s.shed),
    ));
    line(format!(
        "Northbound: {} records, {} in gap records, {} told to have been lost before plantwin.",
        found.records, found.in_gaps, found.missing
    ));
    for (title, counts) in [("Commands", &found.commands), ("Troubles", &found.troubles)] {
        let mut all = String::new();
        for (what, count) in counts {
            // Writing into memory cannot fail.
            let _ = write!(all, " {what} {count};");
        }
        line(format!("{title}:{}.", all.trim_end_matches(';')));
    }
    (text, passed)
}
