//! What the process takes, over time: samples, and the line through them.
//!
//! Absent: judging (see `report`).

use std::{fs, time::Duration};

use serde_json::Value;

/// One look at the process and its state.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Since the soak began, hours.
    pub(super) at_h: f64,
    /// Which life of the process.
    pub(super) life: u32,
    /// Since this life began.
    pub(super) age: Duration,
    /// Resident memory, kB.
    pub(super) rss_kb: f64,
    pub(super) threads: u64,
    pub(super) descriptors: u64,
    pub(super) not_shadowed: u64,
    pub(super) alarms: u64,
    /// Deepest mailbox of all twins.
    pub(super) deepest: u64,
    /// Room of a mailbox.
    pub(super) capacity: u64,
    pub(super) crashes: u64,
    pub(super) spooled: u64,
    pub(super) overruns: u64,
    pub(super) coalesced: u64,
    pub(super) shed: u64,
}

impl Sample {
    /// Of the process; `None` once it has ended.
    pub(super) fn take(pid: u32, status: &Value) -> Option<Self> {
        let proc = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = proc.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
        };
        let twins = status["twins"].as_array()?;
        let sum = |name: &str| -> u64 {
            let lanes = twins.iter().filter_map(|t| t["mailbox"]["lanes"].as_array());
            lanes.flatten().filter_map(|l| l[name].as_u64()).sum()
        };
        let most = |name: &str| {
            twins.iter().filter_map(|t| t["mailbox"][name].as_u64()).max().unwrap_or(0)
        };
        let counter = |name: &str| status["counters"][name].as_u64().unwrap_or(0);
        Some(Self {
            rss_kb: field("VmRSS")? as f64,
            threads: field("Threads")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
            not_shadowed: twins.iter().filter(|t| t["state"] != "shadowed").count() as u64,
            alarms: status["alarms"].as_array().map_or(0, Vec::len) as u64,
            deepest: most("depth"),
            capacity: most("capacity"),
            crashes: counter("twin_crashes") + counter("adapter_panics"),
            spooled: status["spool"]["records"].as_u64().unwrap_or(0),
            overruns: counter("plant_overruns"),
            coalesced: sum("coalesced"),
            shed: sum("shed"),
            ..Self::default()
        })
    }
}

/// A line through memory over time, with its own height for each life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Line {
    /// kB per hour.
    pub(super) slope: f64,
    /// Mean memory, kB.
    pub(super) mean: f64,
    /// Hours that were judged, all lives together.
    pub(super) hours: f64,
}

impl Line {
    /// Growth in per cent of the mean, per day.
    pub(super) fn percent_per_day(self) -> f64 {
        100.0 * self.slope * 24.0 / self.mean.max(1.0)
    }

    /// Growth in per cent of the mean over the time that was judged.
    pub(super) fn percent(self) -> f64 {
        100.0 * self.slope * self.hours / self.mean.max(1.0)
    }
}

/// Ordinary least squares within each life, pooled: a restart is no growth. The first `warm_up` of
/// each life is left out.
pub(super) fn line(samples: &[Sample], warm_up: Duration) -> Option<Line> {
    let warm: Vec<_> = samples.iter().filter(|s| s.age >= warm_up).collect();
    let (mut xy, mut xx, mut sum, mut hours) = (0.0, 0.0, 0.0, 0.0);
    for life in warm.chunk_by(|a, b| a.life == b.life) {
        let n = life.len() as f64;
        let x = life.iter().map(|s| s.at_h).sum::<f64>() / n;
        let y = life.iter().map(|s| s.rss_kb).sum::<f64>() / n;
        for s in life {
            xy += (s.at_h - x) * (s.rss_kb - y);
            xx += (s.at_h - x).powi(2);
            sum += s.rss_kb;
        }
        hours += life.last()?.at_h - life.first()?.at_h;
    }
    (xx > 0.0).then(|| Line { slope: xy / xx, mean: sum / warm.len() as f64, hours })
}
