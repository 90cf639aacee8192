//! How long a store with a full spool takes to open, and what it takes on the disk.
//!
//! `cargo run --release -p plantwin-store --example opening -- RECORDS PAYLOAD_BYTES` fills the
//! spool of ten devices as a long outage would, opens the store again, and then once more with the
//! file `rebuild` in it. Absent: a limit on any of these times.

use std::{
    env,
    error::Error,
    fmt, fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use plantwin_model::Timestamp;
use plantwin_store::{SledStore, Spool, SpoolLimits, Store};

const DEVICES: usize = 10;
/// Values between two flushes, as in the keeper.
const GROUP: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut asked = env::args().skip(1).map(|n| n.parse::<usize>());
    let records = asked.next().transpose()?.unwrap_or(100_000);
    let payload = vec![7; asked.next().transpose()?.unwrap_or(80)];
    let limits =
        SpoolLimits { device_bytes: u64::MAX, total_bytes: u64::MAX, ..Default::default() };
    let dir = tempfile::tempdir()?;
    let (store, _) = SledStore::open(dir.path())?;
    let store = Arc::new(store);
    let mut spool = Spool::open(store.clone(), limits)?;
    let names: Vec<String> = (0..DEVICES).map(|i| format!("device-{i:02}")).collect();
    let ((), filled) = timed(|| {
        for from in (0..records).step_by(GROUP) {
            let group = from..(from + GROUP).min(records);
            let item = |i: usize| {
                (names[i % DEVICES].as_str(), Timestamp(i.cast_signed() as i64), &payload[..])
            };
            let items: Vec<_> = group.map(item).collect();
            spool.append_batch(&items)?;
            store.flush()?;
        }
        Ok(())
    })?;
    let counted = spool.totals().bytes;
    drop(spool);
    drop(store);
    let mega = |bytes: u64| bytes as f64 / 1e6;
    let on_disk = size(&dir.path().join("state"))?;
    println!(
        "built with {}",
        if cfg!(debug_assertions) { "debug assertions" } else { "--release" }
    );
    println!("{records} values of {} bytes, filled in {filled}", payload.len());
    println!("counted by the spool   {:>8.2} MB", mega(counted));
    println!(
        "on the disk            {:>8.2} MB, {:.1} times",
        mega(on_disk),
        on_disk as f64 / counted as f64
    );
    for (what, rebuild) in [("as it is", false), ("built anew", true)] {
        if rebuild {
            fs::write(dir.path().join("rebuild"), b"")?;
        }
        let ((store, report), store_took) = timed(|| Ok(SledStore::open(dir.path())?))?;
        let (spool, spool_took) = timed(|| Ok(Spool::open(Arc::new(store), limits)?))?;
        println!("{what:<10} store {store_took}, spool {spool_took}");
        println!(
            "           {} records, {} missing, most memory {}",
            report.records,
            report.missing(),
            memory()
        );
        assert_eq!(spool.totals().records, records as u64);
    }
    Ok(())
}

fn size(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

/// Processor time of this process so far, which other programs on the machine do not change much.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = behind_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // A hundred a second, on every Linux.
    Duration::from_millis(10 * ticks)
}

/// The most memory of this process so far, as the kernel says.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |kb| kb.trim().to_owned())
}

/// What something took: on the clock, and of processors.
struct Took(Duration, Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2?} (processor {:.2?})", self.0, self.1)
    }
}

#[expect(clippy::disallowed_methods, reason = "wall time is what is measured")]
fn timed<T>(work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<(T, Took), Box<dyn Error>> {
    let (start, before) = (Instant::now(), cpu());
    let outcome = work()?;
    Ok((outcome, Took(start.elapsed(), cpu().saturating_sub(before))))
}
