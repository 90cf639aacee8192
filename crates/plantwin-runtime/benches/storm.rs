//! A thousand panics in a running colony: how soon each twin handles mail again, and what the
//! twins that do not panic feel of it.
//!
//! 1,000 twins are fed at a steady pace; in the second of two runs 250 of them panic four times
//! each, none past its limit. The policy's wait before a restart is measured away: it is set to
//! nothing. Letters are counted by the traffic that each of them books.
//!
//! `cargo bench -p plantwin-runtime --bench storm`

#[path = "shared/machine.rs"]
mod machine;
mod shared;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::System;
use plantwin_model::{Clock, DeviceIx, SupervisionSpec, Timestamp};
use plantwin_runtime::TwinHandle;
use plantwin_twin::{Drill, TwinMail};

use machine::{cores, now};
use shared::{end, frame, link_up, plant, post, settle};

const TWINS: usize = 1_000;
/// Every fourth twin panics.
const PANICKING: usize = 4;
const PANICS_EACH: u64 = 4;
/// Letters for each twin, one every 100 ms.
const LETTERS: u64 = 100;
const EVERY: Duration = Duration::from_millis(100);

/// Crashes and clocks the twins.
struct Storm {
    clock: Mutex<Option<Arc<dyn Clock>>>,
    panics: bool,
    /// Letters that have crashed their twin once.
    crashed: Mutex<HashSet<(u32, u64)>>,
    /// When each twin panicked last, until it handles mail again.
    down: Mutex<Vec<Option<Timestamp>>>,
    count: AtomicU64,
    recovered: Mutex<Vec<Duration>>,
    calm: Mutex<Vec<Duration>>,
}

impl Drill for Storm {
    fn before(&self, device: DeviceIx, letter: &TwinMail) {
        let TwinMail::Frame(mail) = letter else { return };
        let Some(now) = self.clock.lock().unwrap().as_ref().map(|c| c.now()) else { return };
        let sequence = mail.frame.sequence.unwrap_or(0);
        if !device.index().is_multiple_of(PANICKING) {
            self.calm.lock().unwrap().push(now.since(mail.frame.received));
            return;
        }
        if let Some(since) = self.down.lock().unwrap()[device.index()].take() {
            self.recovered.lock().unwrap().push(now.since(since));
        }
        // Spread over the run, at another time for each twin.
        let mine = (sequence + device.index() as u64).is_multiple_of(LETTERS / PANICS_EACH);
        if self.panics && mine && self.crashed.lock().unwrap().insert((device.0, sequence)) {
            self.down.lock().unwrap()[device.index()] = Some(now);
            self.count.fetch_add(1, Relaxed);
            panic!("a rehearsed panic");
        }
    }
}

fn main() {
    // A thousand panics are the point of it: their texts are not.
    std::panic::set_hook(Box::new(|_| {}));
    let flags = if cfg!(debug_assertions) { "DEBUG BUILD" } else { "bench profile" };
    println!("storm: {TWINS} twins, {LETTERS} letters each at 10/s; {flags}; {} cores", cores());
    let first = run(false);
    let storm = run(true);
    let calm = run(false);
    let change = |a: Duration, b: Duration| (b.as_secs_f64() / a.as_secs_f64() - 1.0) * 100.0;
    println!(
        "noise, two runs without panics: p50 {:+.1} %, p99 {:+.1} %",
        change(first.0, calm.0),
        change(first.1, calm.1)
    );
    println!(
        "the other {} twins: p50 {:.1?} -> {:.1?} ({:+.1} %), p99 {:.1?} -> {:.1?} ({:+.1} %)",
        TWINS - TWINS / PANICKING,
        calm.0,
        storm.0,
        change(calm.0, storm.0),
        calm.1,
        storm.1,
        change(calm.1, storm.1),
    );
}

/// Median and 99th percentile of the calm twins' latency from post to handling.
fn run(panics: bool) -> (Duration, Duration) {
    let mut spec = plant(TWINS);
    spec.supervision = SupervisionSpec {
        backoff_min: Duration::ZERO,
        backoff_max: Duration::ZERO,
        ..SupervisionSpec::default()
    };
    let storm = Arc::new(Storm {
        clock: Mutex::new(None),
        panics,
        crashed: Mutex::default(),
        down: Mutex::new(vec![None; TWINS]),
        count: AtomicU64::new(0),
        recovered: Mutex::default(),
        calm: Mutex::default(),
    });
    let drill: Arc<dyn Drill> = Arc::clone(&storm) as _;
    System::new().block_on(async {
        let (mut colony, clock) = settle(spec, Some(drill));
        *storm.clock.lock().unwrap() = Some(Arc::clone(&clock));
        for twin in &mut colony.twins {
            assert!(post(twin, &link_up(), &clock));
        }
        let mut twins = std::mem::take(&mut colony.twins);
        let started = now();
        for sequence in 1..=LETTERS {
            for (i, chunk) in twins.chunks_mut(10).enumerate() {
                // The feeder spreads its letters over the period, as devices would.
                let due = EVERY * (sequence as u32 - 1) + EVERY / 100 * i as u32;
                if let Some(wait) = due.checked_sub(started.elapsed()) {
                    tokio::time::sleep(wait).await;
                }
                for twin in chunk {
                    assert!(post(twin, &frame(sequence, 1, &clock), &clock), "a mailbox is full");
                }
            }
        }
        let handled = |t: &TwinHandle| t.mailbox.view().depth == 0;
        while !twins.iter().all(handled) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut view = colony.view.clone();
        let expected = LETTERS * 64;
        let deadline = now() + Duration::from_secs(20);
        let (lost, doubled) = loop {
            let bytes: Vec<u64> = view.borrow_and_update().twins.iter().map(|t| t.bytes).collect();
            let missing: u64 = bytes.iter().map(|b| expected.saturating_sub(*b) / 64).sum();
            let extra: u64 = bytes.iter().map(|b| b.saturating_sub(expected) / 64).sum();
            if missing == 0 || now() > deadline {
                break (missing, extra);
            }
            view.changed().await.expect("the station lives");
        };
        end(colony);
        println!(
            "{}: {} panics; letters lost {lost}, applied twice {doubled}",
            if panics { "with panics" } else { "without" },
            storm.count.load(Relaxed),
        );
    });
    let recovered = storm.recovered.lock().unwrap().clone();
    if panics {
        let (p50, p99, max) =
            (rank(&recovered, 0.5), rank(&recovered, 0.99), rank(&recovered, 1.0));
        println!(
            "from panic to the next message handled, {} times: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}",
            recovered.len()
        );
    }
    let calm = storm.calm.lock().unwrap();
    (rank(&calm, 0.5), rank(&calm, 0.99))
}

fn rank(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = ((times.len().max(1) - 1) as f64 * share).round() as usize;
    times.get(place).copied().unwrap_or_default()
}
