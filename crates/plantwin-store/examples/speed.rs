//! How long writing, flushing and opening take, on the disk of the temporary directory.
//!
//! `cargo run -p plantwin-store --example speed` prints CPU-bound work (no flush in it) and flushes
//! apart, and says whether it was built with optimization. Absent: several threads.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use plantwin_model::Timestamp;
use plantwin_store::{LogKind, SledStore, Spool, SpoolLimits, Store, Tree, Write};

const TWINS: Tree = Tree::new("twins");
/// Devices of the plant, bytes of a value and of a log payload: those of a small twin's state.
const DEVICES: usize = 100;
const VALUE_BYTES: usize = 300;
const PAYLOAD_BYTES: usize = 120;
/// Rounds over all devices; each ends in a flush.
const ROUNDS: usize = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (store, _) = SledStore::open(dir.path())?;
    let store = std::sync::Arc::new(store);
    let mut spool = Spool::open(store.clone(), SpoolLimits::default())?;
    let (value, payload) = (vec![7; VALUE_BYTES], vec![7; PAYLOAD_BYTES]);
    let names: Vec<String> = (0..DEVICES).map(|i| format!("device-{i:04}")).collect();
    let [mut put, mut append, mut queued, mut got] = [Duration::ZERO; 4];
    let mut flushes = Vec::new();
    for round in 0..ROUNDS {
        let time = Timestamp::from_millis(round.cast_signed() as i64);
        put += timed(|| {
            names.iter().try_for_each(|name| store.put_batch(TWINS, &[Write::Put(name, &value)]))
        })?;
        append += timed(|| {
            names.iter().try_for_each(|_| store.append(LogKind::Alarm, time, &payload).map(drop))
        })?;
        queued += timed(|| {
            names.iter().try_for_each(|name| spool.append(name, time, &payload).map(drop))
        })?;
        got += timed(|| names.iter().try_for_each(|name| store.get(TWINS, name).map(drop)))?;
        flushes.push(timed(|| store.flush())?);
    }
    drop(spool);
    drop(store);
    let mut records = 0;
    let open = timed(|| {
        SledStore::open(dir.path()).map(|(_, report)| records = report.records + report.log_records)
    })?;
    let each = |all: Duration| all / (ROUNDS * DEVICES) as u32;
    flushes.sort();
    println!(
        "built with {}",
        if cfg!(debug_assertions) { "debug assertions" } else { "--release" }
    );
    println!("put, {VALUE_BYTES} B each in a batch of its own   {:>10.1?}", each(put));
    println!("get                                   {:>10.1?}", each(got));
    println!("log append, {PAYLOAD_BYTES} B                     {:>10.1?}", each(append));
    println!("spool append, {PAYLOAD_BYTES} B                   {:>10.1?}", each(queued));
    println!("flush after {} of each, median        {:>10.1?}", DEVICES, flushes[ROUNDS / 2]);
    println!("opening {records} records               {open:>10.1?}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "wall time is what is measured")]
fn timed<E>(work: impl FnOnce() -> Result<(), E>) -> Result<Duration, E> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
