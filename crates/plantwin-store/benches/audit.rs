//! How fast an audit trail is written and verified: `cargo bench -p plantwin-store --bench audit`.
//!
//! The aim is 1,000,000 records verified in 2 s. One number of records may be
//! given as an argument. Files are in the page cache when they are verified, and the disk's own
//! speed comes on top when they are not. Absent: a comparison over time, which criterion would do.

use std::{env, fs, thread, time::Duration};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};
use plantwin_seal::Secret;
use plantwin_store::audit::{AuditTrail, Verdict, VerifyOptions, verify};

#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = std::time::Instant::now();
    let done = work();
    (done, begin.elapsed())
}

/// Processor time of this process so far, in s: what counts where others compute beside it.
fn processor_time() -> f64 {
    // proc_pid_stat(5): fields 14 and 15, user and system time, in ticks of 10 ms.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn entry(n: u64) -> AuditEntry {
    AuditEntry {
        kind: AuditKind::Command,
        actor: format!("user:operator{}", n % 20),
        object: format!("tank{}.valve", n % 500),
        result: AuditResult::Done,
        detail: format!("set to {}.{} %, was {}", n % 100, n % 10, n % 97),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: u64 = env::args().find_map(|a| a.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir()?;
    let key = Secret::random()?;
    let (mut trail, _) = AuditTrail::open(dir.path(), &key, Timestamp(0))?;
    let (written, writing) = timed(|| -> Result<(), plantwin_store::StoreError> {
        for n in 0..records {
            trail.append(Timestamp(n.cast_signed()), &entry(n))?;
        }
        trail.close(Timestamp(records.cast_signed()))
    });
    written?;
    let bytes: u64 = fs::read_dir(dir.path())?
        .map(|e| e.and_then(|e| e.metadata()).map_or(0, |m| m.len()))
        .sum();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    println!("{records} records, {} MB, {threads} hardware threads", bytes / 1_000_000);
    let rate = |time: Duration| records as f64 / time.as_secs_f64();
    println!("written in {:.2} s: {:.0} records/s", writing.as_secs_f64(), rate(writing));
    for round in 1..=5 {
        let before = processor_time();
        let (report, time) = timed(|| verify(dir.path(), &VerifyOptions::default()));
        let report = report?;
        assert_eq!((report.verdict, report.records), (Verdict::Intact, records));
        let checkpoints = report.checkpoints;
        println!(
            "verified, round {round}: {:.2} s ({:.2} s of processor time): {:.0} records/s, \
             {checkpoints} checkpoints",
            time.as_secs_f64(),
            processor_time() - before,
            rate(time)
        );
    }
    Ok(())
}
