//! Kills a writing process again and again and looks for what it had acknowledged.
//!
//! `cargo run -p plantwin-store --example kill -- --loops 100 --seed 1`. The writer puts a record,
//! a queue's value and a log record, flushes, and only then says the number; the killer ends it
//! (SIGKILL) at some moment, opens the store and asks for every number that was said. This shows
//! what a crash of the process does, not a failure of the power.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write as _},
    ops::ControlFlow,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use plantwin_model::Timestamp;
use plantwin_store::{LogKind, SledStore, Spool, SpoolLimits, Store, StoreExt, Tree};

const NUMBERS: Tree = Tree::new("numbers");
const DEVICE: &str = "device";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["write", dir, from] = words[..] {
        return write(Path::new(dir), from.parse()?);
    }
    let (mut loops, mut seed) = (100, 1_u64);
    for pair in words.chunks(2) {
        match pair {
            ["--loops", n] => loops = n.parse()?,
            ["--seed", n] => seed = n.parse()?,
            _ => return Err("usage: kill [--loops N] [--seed N]".into()),
        }
    }
    let dir = tempfile::tempdir()?;
    let mut said = 0;
    let mut torn = 0;
    for turn in 0..loops {
        // Knuth's MMIX generator (The Art of Computer Programming, vol. 2, 3.3.4).
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        said = kill_once(dir.path(), said, Duration::from_micros(40_000 + (seed >> 33) % 120_000))?;
        let (store, report) = SledStore::open(dir.path())?;
        torn += u32::from(!report.findings.is_empty());
        if let Err(loss) = check(store, said) {
            println!("loop {turn}: {loss}; {:?}", report.findings);
            return Ok(ExitCode::FAILURE);
        }
        if !report.is_clean() {
            println!("loop {turn}: a crash was taken for damage: {:?}", report.findings);
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("{loops} kills, {said} numbers acknowledged, none lost; {torn} torn ends cut off");
    Ok(ExitCode::SUCCESS)
}

/// Lets a writer live for a while; the last number it said.
fn kill_once(dir: &Path, said: u64, life: Duration) -> Result<u64, Box<dyn Error>> {
    let mut writer = Command::new(std::env::current_exe()?)
        .arg("write")
        .arg(dir)
        .arg(said.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = writer.stdout.take().ok_or("the writer has no output")?;
    let reader = thread::spawn(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        lines.filter_map(|line| line.parse::<u64>().ok()).last()
    });
    thread::sleep(life);
    writer.kill()?;
    writer.wait()?;
    Ok(reader.join().map_err(|_| "the reader failed")?.unwrap_or(said))
}

fn write(dir: &Path, said: u64) -> Result<ExitCode, Box<dyn Error>> {
    let (store, _) = SledStore::open(dir)?;
    let store = Arc::new(store);
    let mut spool = Spool::open(store.clone(), SpoolLimits::default())?;
    let mut out = std::io::stdout();
    for number in said + 1.. {
        store.put_value(NUMBERS, &format!("{number:09}"), &number)?;
        let bytes = number.to_le_bytes();
        spool.append(DEVICE, Timestamp::default(), &bytes)?;
        store.append(LogKind::Command, Timestamp::default(), &bytes)?;
        store.flush()?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether everything up to a number is there.
fn check(store: SledStore, said: u64) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(store);
    let numbers = store.scan_values::<u64>(NUMBERS)?;
    if !(1..=said).all(|n| numbers.get(n as usize - 1).is_some_and(|(_, found)| *found == n)) {
        return Err(format!("of {said} numbers some are lost").into());
    }
    // Numbers that were written and not said may come again: the queue and the log hold more.
    let has = |payloads: &[u64]| {
        let mut wanted = 1;
        for payload in payloads {
            wanted += u64::from(*payload == wanted);
        }
        wanted > said
    };
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let spool = Spool::open(store.clone(), SpoolLimits::default())?;
    let queue: Vec<u64> = spool
        .peek(DEVICE, 0, usize::MAX)?
        .iter()
        .map(|record| match &record.entry {
            plantwin_store::spool::SpoolEntry::Value(bytes) => number(bytes),
            plantwin_store::spool::SpoolEntry::Gap { .. } => 0,
        })
        .collect();
    let mut log = Vec::new();
    store.read_log(1, &mut |record| {
        log.push(number(record.payload));
        ControlFlow::Continue(())
    })?;
    if !has(&queue) || !has(&log) {
        return Err(format!("of {said} numbers the queue or the log lost some").into());
    }
    Ok(())
}
