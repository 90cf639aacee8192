//! A thousand panics in a running colony: how soon each twin handles mail again, and what the
//! twins that do not panic feel of it.
//!
//! 1,000 twins are fed at a steady pace through short blocks of time, in half of whose pairs 250
//! of them panic, four times each in all, so none past its limit (5 in 60 s). A block with panics
//! is compared with its neighbour without; just as many pairs without any panics, compared in the
//! same way, show what the machine alone makes of it. The wait before a restart is measured away:
//! it is set to nothing. Letters are counted by the traffic that each of them books.
//!
//! `cargo bench -p plantwin-runtime --bench storm`; `-- 3` has three such storms one after the
//! other, for a narrower interval. Ends with an error if a letter is lost or applied twice.

#[path = "shared/machine.rs"]
mod machine;
#[path = "storm/pairs.rs"]
mod pairs;
mod shared;

use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::System;
use plantwin_model::{Clock, DeviceIx, SupervisionSpec, Timestamp};
use plantwin_runtime::TwinHandle;
use plantwin_twin::{Drill, TwinMail};

use machine::{cores, now};
use pairs::{Block, Chance, Change, blocks, quantile};
use shared::{end, frame, link_up, plant, post, settle};

const TWINS: usize = 1_000;
const PANICKING: usize = 250;
/// Panics of each of those twins in a storm.
const PANICS_EACH: usize = 4;
/// Blocks with panics in a storm, each with its share of the panics.
const STORM_BLOCKS: usize = 40;
const PANICS_PER_BLOCK: usize = PANICKING * PANICS_EACH / STORM_BLOCKS;
/// Letters for each twin in a block, one every 100 ms.
const ROUNDS: usize = 4;
const EVERY: Duration = Duration::from_millis(100);
/// What the others' latency may change by.
const AIM: f64 = 0.10;
const SEED: u64 = 4;

/// Two of eight neighbours panic: zones alternate, so both threads have as many of them.
const fn panics(device: usize) -> bool {
    (device / 2).is_multiple_of(4)
}

/// Crashes and clocks the twins.
struct Storm {
    clock: OnceLock<Arc<dyn Clock>>,
    /// One each, so that twins on different threads do not wait for each other here.
    twins: Vec<Mutex<Record>>,
    count: AtomicU64,
}

/// What is noted of a twin.
#[derive(Default)]
struct Record {
    /// Letters that crash it, the next one last.
    mines: Vec<u64>,
    /// When it panicked last, until it handles mail again.
    down: Option<Timestamp>,
    recovered: Vec<Duration>,
    /// Nanoseconds from post to handling, by letter; of twins that never panic.
    latency: Vec<u32>,
}

impl Drill for Storm {
    fn before(&self, device: DeviceIx, letter: &TwinMail) {
        let TwinMail::Frame(mail) = letter else { return };
        let Some(now) = self.clock.get().map(|c| c.now()) else { return };
        let sequence = mail.frame.sequence.unwrap_or(0);
        let mut record = self.twins[device.index()].lock().unwrap();
        if !panics(device.index()) {
            let late = now.since(mail.frame.received).as_nanos();
            record.latency[sequence as usize - 1] = late.min(u128::from(u32::MAX)) as u32;
            return;
        }
        if let Some(since) = record.down.take() {
            record.recovered.push(now.since(since));
        }
        if record.mines.last() == Some(&sequence) {
            record.mines.pop();
            record.down = Some(now);
            // A lock that is held by a panic would be poisoned.
            drop(record);
            self.count.fetch_add(1, Relaxed);
            panic!("a rehearsed panic");
        }
    }
}

impl Storm {
    fn new(order: &[Block], chance: &mut Chance) -> Self {
        let letters = order.len() * ROUNDS;
        let mut twins: Vec<Record> = (0..TWINS).map(|_| Record::default()).collect();
        for (device, record) in twins.iter_mut().enumerate() {
            record.latency = vec![u32::MAX; if panics(device) { 0 } else { letters }];
        }
        // In an order that every storm repeats: the same twin's panics of two storms are then as
        // far apart as the storms, and 60 s never see more than one storm's.
        let all: Vec<usize> = (0..TWINS).filter(|d| panics(*d)).collect();
        let mut victims = Vec::with_capacity(PANICKING * PANICS_EACH);
        for _ in 0..PANICS_EACH {
            let mut once = all.clone();
            chance.shuffle(&mut once);
            victims.extend(once);
        }
        let storms = order.iter().enumerate().filter(|(_, block)| block.storm);
        for ((place, _), victims) in storms.zip(victims.chunks(PANICS_PER_BLOCK).cycle()) {
            for (i, &device) in victims.iter().enumerate() {
                twins[device].mines.push((place * ROUNDS + i % ROUNDS + 1) as u64);
            }
        }
        for record in &mut twins {
            record.mines.reverse();
        }
        let twins = twins.into_iter().map(Mutex::new).collect();
        Self { clock: OnceLock::new(), twins, count: AtomicU64::new(0) }
    }

    /// Whether every letter of the twins that never panic was timed.
    fn complete(&self) -> bool {
        self.twins.iter().all(|r| !r.lock().unwrap().latency.contains(&u32::MAX))
    }

    /// Median and 99th percentile of the calm twins' latency in a block, nanoseconds.
    fn block(&self, place: usize) -> [f64; 2] {
        let mut times: Vec<f64> = Vec::with_capacity((TWINS - PANICKING) * ROUNDS);
        for (device, record) in self.twins.iter().enumerate() {
            if !panics(device) {
                let record = record.lock().unwrap();
                let own = &record.latency[place * ROUNDS..(place + 1) * ROUNDS];
                times.extend(own.iter().map(|ns| f64::from(*ns)));
            }
        }
        [quantile(&mut times, 0.5), quantile(&mut times, 0.99)]
    }
}

fn main() -> ExitCode {
    // A thousand panics are the point of it: their texts are not.
    std::panic::set_hook(Box::new(|_| {}));
    let storms = std::env::args().find_map(|a| a.parse::<usize>().ok()).unwrap_or(1).max(1);
    let mut chance = Chance::new(SEED);
    let order = blocks(STORM_BLOCKS * storms, &mut chance);
    let storm = Arc::new(Storm::new(&order, &mut chance));
    let length = EVERY * ROUNDS as u32;
    println!(
        "storm: {TWINS} twins, 10 letters a second each; {} blocks of {length:?}, {} of them with \
         {PANICS_PER_BLOCK} panics; seed {SEED}; {}; {} cores; load {}",
        order.len(),
        STORM_BLOCKS * storms,
        if cfg!(debug_assertions) { "DEBUG BUILD" } else { "bench profile" },
        cores(),
        load(),
    );
    let (lost, doubled) = run(&storm, order.len() * ROUNDS);
    let count = storm.count.load(Relaxed);
    println!("{count} panics; letters lost {lost}, applied twice {doubled}; load now {}", load());

    let records = storm.twins.iter().map(|r| r.lock().unwrap().recovered.clone());
    let mut recovered: Vec<f64> = records.flatten().map(|d| d.as_nanos() as f64).collect();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| micros(quantile(&mut recovered, share)));
    let times = recovered.len();
    println!(
        "from panic to the next message handled, {times} times: p50 {p50}, p99 {p99}, max {max}"
    );

    compare(&storm, &order, &mut chance);
    let expected = (PANICKING * PANICS_EACH * storms) as u64;
    let whole = lost == 0 && doubled == 0 && count == expected && times as u64 == count;
    if !whole || !storm.complete() {
        println!("FAILED: {expected} panics were due, each with a recovery, and no letter lost");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prints what the untouched twins felt.
fn compare(storm: &Storm, order: &[Block], chance: &mut Chance) {
    let times: Vec<[f64; 2]> = (0..order.len()).map(|place| storm.block(place)).collect();
    let typical = |rank: usize, with: bool| {
        let mut all: Vec<f64> = order
            .iter()
            .zip(&times)
            .filter(|(b, _)| b.storm == with)
            .map(|(_, t)| t[rank])
            .collect();
        micros(quantile(&mut all, 0.5))
    };
    println!("the other {} twins, from post to handling:", TWINS - PANICKING);
    let mut verdicts = Vec::new();
    for (rank, name) in ["p50", "p99"].into_iter().enumerate() {
        let change = |with_panics: bool, chance: &mut Chance| {
            let mut pairs = vec![(0.0, 0.0, false); order.len() / 2];
            for (block, time) in order.iter().zip(&times) {
                let pair = &mut pairs[block.pair];
                pair.2 |= block.storm;
                if block.over { pair.0 = time[rank] } else { pair.1 = time[rank] }
            }
            let chosen: Vec<(f64, f64)> = pairs
                .iter()
                .filter(|(_, _, storm)| *storm == with_panics)
                .map(|(over, under, _)| (*over, *under))
                .collect();
            Change::of(&chosen, chance)
        };
        let (felt, noise) = (change(true, chance), change(false, chance));
        println!(
            "  {name}: median block {} without, {} with panics",
            typical(rank, false),
            typical(rank, true)
        );
        println!("    with panics against its neighbour without:  {felt}");
        println!("    without against its neighbour without:      {noise}");
        if noise.low > 0.0 || noise.high < 0.0 {
            println!("    (the second should hold 0: once in twenty times it does not)");
        }
        let word = match felt {
            Change { high, .. } if high <= AIM => "WITHIN",
            Change { low, .. } if low > AIM => "ABOVE",
            _ => "UNDECIDED about",
        };
        verdicts.push(format!(
            "{name} {word} {:.0} % ({:+.1} %)",
            AIM * 100.0,
            felt.median * 100.0
        ));
    }
    println!("verdict, by the upper end of the interval: {}", verdicts.join(", "));
}

/// Feeds the colony; letters lost, and applied twice.
fn run(storm: &Arc<Storm>, letters: usize) -> (u64, u64) {
    let mut spec = plant(TWINS);
    spec.supervision = SupervisionSpec {
        backoff_min: Duration::ZERO,
        backoff_max: Duration::ZERO,
        ..SupervisionSpec::default()
    };
    let drill: Arc<dyn Drill> = Arc::clone(storm) as _;
    System::new().block_on(async {
        let (mut colony, clock) = settle(spec, Some(drill));
        assert!(storm.clock.set(Arc::clone(&clock)).is_ok(), "it runs once");
        for twin in &mut colony.twins {
            assert!(post(twin, &link_up(), &clock));
        }
        let mut twins = std::mem::take(&mut colony.twins);
        let started = now();
        for round in 0..letters as u32 {
            for (i, chunk) in (0_u32..).zip(twins.chunks_mut(10)) {
                // The feeder spreads its letters over the period, as devices would.
                let due = EVERY * round + EVERY / 100 * i;
                if let Some(wait) = due.checked_sub(started.elapsed()) {
                    tokio::time::sleep(wait).await;
                }
                for twin in chunk {
                    let letter = frame(u64::from(round) + 1, 1, &clock);
                    assert!(post(twin, &letter, &clock), "a mailbox is full");
                }
            }
        }
        let handled = |t: &TwinHandle| t.mailbox.view().depth == 0;
        while !twins.iter().all(handled) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut view = colony.view.clone();
        let expected = letters as u64 * 64;
        let deadline = now() + Duration::from_secs(20);
        let judged = loop {
            let bytes: Vec<u64> = view.borrow_and_update().twins.iter().map(|t| t.bytes).collect();
            let missing: u64 = bytes.iter().map(|b| expected.saturating_sub(*b) / 64).sum();
            let extra: u64 = bytes.iter().map(|b| b.saturating_sub(expected) / 64).sum();
            if missing == 0 || now() > deadline {
                break (missing, extra);
            }
            view.changed().await.expect("the station lives");
        };
        end(colony);
        judged
    })
}

fn micros(nanos: f64) -> String {
    format!("{:.1} us", nanos / 1_000.0)
}

/// The machine's load averages: what else wants its cores.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
