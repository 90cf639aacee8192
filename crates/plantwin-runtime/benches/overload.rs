//! A producer ten times too fast: what happens to memory, commands and alarms.
//!
//! Eight devices flood their lines with values as fast as the lines take them, at least ten
//! times what their twins can handle, because each letter with values is made to cost 20 us.
//! Meanwhile commands are issued and alarms come and go. Latencies: a command from the request
//! to its outcome (journal included), an alarm from the twin's raising it to the flush of its
//! record. Once with the log in memory and once on the disk of the temporary folder; then with
//! values of durable delivery, whose spool is full after a moment, so that the oldest make room.
//!
//! `cargo bench -p plantwin-runtime --bench overload [-- SECONDS]`

#[path = "shared/machine.rs"]
mod machine;
#[path = "shared/memory.rs"]
mod memory;

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::System;
use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, Control, Frame, Host, HostRequest, LinkContext, LinkError, LinkEvent, PointWrite,
    Protocol, Registry, Sample, SystemClock, Tasks, Traffic,
};
use plantwin_model::{
    AlarmView, Clock, DeviceId, DeviceIx, NoAudit, Outcome, PointIx, ProtocolSchema, Quality,
    Request, Role, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_runtime::{AssemblyRequest, Place, Trust, assemble};
use plantwin_seal::Secret;
use plantwin_store::{LogKind, LogRecord, MemoryStore, SledStore, Store, StoreError, Tree, Write};
use plantwin_twin::{Drill, TwinMail};

use machine::{cores, now};
use memory::resident;

/// What handling a letter with values is made to cost.
const COST: Duration = Duration::from_micros(20);
const DEVICES: usize = 8;
/// Values between two that cross the alarm's limit, and back.
const CROSS_EVERY: Duration = Duration::from_millis(500);

static FLOOD: ProtocolSchema = ProtocolSchema::bare("flood");

/// A protocol whose devices never stop talking.
struct Flood {
    produced: Arc<AtomicU64>,
    durable: bool,
}

struct Yes;

impl Control for Yes {
    fn write(&self, _: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn exchange(&self, _: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        Box::pin(async { Err(LinkError::Unsupported("a session".to_owned())) })
    }
}

impl Protocol for Flood {
    fn schema(&self) -> &'static ProtocolSchema {
        &FLOOD
    }

    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        let (produced, durable) = (Arc::clone(&self.produced), self.durable);
        Box::pin(async move {
            let (events, receiver) = tokio::sync::mpsc::channel(64);
            let clock = Arc::clone(&context.clock);
            let begin = clock.now();
            // A thread of its own: a device does not wait for plantwin's processor.
            std::thread::spawn(move || {
                for sequence in 0.. {
                    let received = clock.now();
                    let phase = received.since(begin).as_millis() / CROSS_EVERY.as_millis();
                    let value = if phase.is_multiple_of(2) { 5.0 } else { 9.5 };
                    let sample = |point: u16, value: f64| Sample {
                        point: PointIx(point),
                        value,
                        quality: Quality::Good,
                        source_time: Some(received),
                    };
                    let samples = [sample(0, value), sample(1, 2.0)].into_iter().collect();
                    let frame = Frame { received, sequence: Some(sequence), samples };
                    let event = if durable {
                        LinkEvent::Durable { frame, receipt: sequence }
                    } else {
                        LinkEvent::Frame(frame)
                    };
                    if events.blocking_send(event).is_err() {
                        return;
                    }
                    produced.fetch_add(1, Relaxed);
                }
            });
            Ok(Connection {
                events: receiver,
                control: Arc::new(Yes),
                traffic: Arc::new(Traffic::default()),
                resumed: true,
                endpoint: "flood".to_owned(),
                tasks: Tasks::new(),
            })
        })
    }

    fn host(&self, _: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        Box::pin(async { Err(LinkError::Unsupported("a played device".to_owned())) })
    }
}

/// Makes letters with values expensive.
struct Slow(AtomicU64);

impl Drill for Slow {
    fn before(&self, _: DeviceIx, letter: &TwinMail) {
        if matches!(letter, TwinMail::Frame(_)) {
            self.0.fetch_add(1, Relaxed);
            let begin = now();
            while begin.elapsed() < COST {
                std::hint::spin_loop();
            }
        }
    }
}

/// A store that clocks alarms.
struct Clocked {
    inner: Box<dyn Store>,
    clock: Arc<dyn Clock>,
    /// When those were raised that are not flushed yet.
    waiting: Mutex<Vec<Timestamp>>,
    alarms: Mutex<Vec<Duration>>,
}

impl Clocked {
    fn new(inner: Box<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, waiting: Mutex::default(), alarms: Mutex::default() }
    }

    /// Everything appended before `flush` began is safe when it has ended.
    fn flushed(
        &self,
        flush: impl FnOnce(&dyn Store) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        flush(&*self.inner)?;
        let now = self.clock.now();
        self.alarms.lock().unwrap().extend(waiting.into_iter().map(|since| now.since(since)));
        Ok(())
    }
}

impl Store for Clocked {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(tree, key)
    }
    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        self.inner.put_batch(tree, writes)
    }
    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner.scan(tree)
    }
    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner.scan_from(tree, prefix, from, limit)
    }
    fn append(&self, kind: LogKind, time: Timestamp, payload: &[u8]) -> Result<u64, StoreError> {
        // An alarm record is a twin's name and its alarms.
        if kind == LogKind::Alarm
            && let Ok((_, alarms)) = postcard::from_bytes::<(DeviceId, Vec<AlarmView>)>(payload)
        {
            let appended = self.inner.append(kind, time, payload);
            self.waiting.lock().unwrap().extend(alarms.iter().map(|a| a.since).max());
            return appended;
        }
        self.inner.append(kind, time, payload)
    }
    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.read_log(from, visit)
    }
    fn prune_log(&self, before: u64) -> Result<(), StoreError> {
        self.inner.prune_log(before)
    }
    fn flush_log(&self) -> Result<(), StoreError> {
        self.flushed(|store| store.flush_log())
    }
    fn flush(&self) -> Result<(), StoreError> {
        self.flushed(|store| store.flush())
    }
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(20);
    let flags = if cfg!(debug_assertions) { "DEBUG BUILD" } else { "bench profile" };
    println!("overload: {DEVICES} devices, {COST:?} a letter; {flags}; {} cores", cores());
    run("the log in memory", Box::new(MemoryStore::new()), false, seconds);
    for (what, durable) in [("the log on the disk", false), ("on the disk, durable", true)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (disk, _) = SledStore::open(folder.path()).expect("a store");
        run(what, Box::new(disk), durable, seconds);
    }
}

fn run(what: &str, store: Box<dyn Store>, durable: bool, seconds: u64) {
    println!("-- {what}");
    let delivery = if durable { "delivery = \"durable\"\n" } else { "" };
    let device = |i: usize| {
        format!(
            "[device.d{i}]\ntype = \"gauge\"\nzone = \"a\"\nmode = \"physical\"\n{delivery}\
             [device.d{i}.flood]\n"
        )
    };
    // Full within seconds.
    let spool = "[spool]\ndevice_bytes = \"256 KiB\"\ntotal_bytes = \"2 MiB\"\n";
    let spool = if durable { spool } else { "" };
    let text = format!(
        "[plant]\nname = \"overload\"\n[zone.a]\n{spool}\
         [type.gauge.twin]\ntype = \"gauge\"\n\
         [type.gauge.property.level]\nunit = \"cm\"\nrange = [0, 10]\n\
         [type.gauge.property.valve]\nunit = \"V\"\nrange = [0, 10]\naccess = \"rw\"\n\
         [type.gauge.alarm.high]\nwhen = \"level > 9\"\nresponse = \"look\"\nconsequence = \"none\"\n{}",
        (0..DEVICES).map(device).collect::<String>()
    );
    let produced = Arc::new(AtomicU64::new(0));
    let registry = Registry::new().with(Flood { produced: Arc::clone(&produced), durable });
    let schemas = registry.schemas();
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let checked = read_plant("overload.toml", &text, &catalog, &ReadOptions::default());
    let plant = Arc::new(checked.into_plant().unwrap());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let store = Arc::new(Clocked::new(store, Arc::clone(&clock)));
    let slow = Arc::new(Slow(AtomicU64::new(0)));
    let drill = Arc::clone(&slow) as Arc<dyn Drill>;
    let kept = Arc::clone(&store) as Arc<dyn Store>;
    let paths = plant.devices.iter().map(|d| d.paths.clone()).collect();
    let planned = Arc::clone(&plant);
    let request = move |clock, trust| AssemblyRequest {
        paths,
        plant: planned,
        registry,
        clock,
        store: Some(kept),
        rest_key: Secret::random().expect("randomness"),
        store_findings: vec![],
        trust,
        endpoints: vec![],
        place: Place::Threads(1),
        disk_hangs: None,
        drill: Some(drill),
        steps: None,
    };
    System::new().block_on(async move {
        let trust = Trust::in_memory(Arc::clone(&clock), Arc::new(NoAudit)).await;
        let trust = trust.expect("an authority");
        let request = request(clock, trust);
        let assembly = assemble(request).expect("a plant");
        let desk = assembly.commands(Role::Engineer);
        let commander = std::thread::spawn(move || {
            let mut times = vec![];
            let begin = now();
            let mut n = 0_usize;
            while begin.elapsed() < Duration::from_secs(seconds) {
                n += 1;
                let asked = now();
                let outcome = desk
                    .send(Request::Write {
                        device: DeviceId::new(format!("d{}", n % DEVICES)),
                        point: "valve".to_owned(),
                        value: (n % 90) as f64 / 10.0,
                    })
                    .recv_timeout(Duration::from_secs(10));
                // Before the first values a device takes no command.
                if outcome == Ok(Outcome::Done) {
                    times.push(asked.elapsed());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            (n, times)
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (handled, made) = (slow.0.load(Relaxed), produced.load(Relaxed));
        let over = seconds.saturating_sub(3).max(1);
        let mut memory = vec![mb(resident())];
        for _ in 0..over {
            tokio::time::sleep(Duration::from_secs(1)).await;
            memory.push(mb(resident()));
        }
        let over = over as f64;
        let handled = (slow.0.load(Relaxed) - handled) as f64 / over;
        let made = (produced.load(Relaxed) - made) as f64 / over;
        let (asked, times) = commander.join().expect("the commander");
        println!(
            "values offered {made:.0}/s, letters handled {handled:.0}/s ({:.0} to 1)",
            made / handled
        );
        println!("memory, a figure a second: {memory:.1?} MB");
        let view = assembly.view.borrow().clone();
        let lanes = |f: fn(&plantwin_model::LaneView) -> u64| {
            view.twins.iter().map(|t| t.mailbox.lanes.map(|l| f(&l))).fold([0; 4], |mut sum, l| {
                sum.iter_mut().zip(l).for_each(|(s, n)| *s += n);
                sum
            })
        };
        println!(
            "lanes A, C, T1, T0: coalesced {:?}, shed {:?}",
            lanes(|l| l.coalesced),
            lanes(|l| l.shed)
        );
        if let Some(spool) = &view.spool {
            println!(
                "spool: {} records, {} bytes, {} dropped",
                spool.records, spool.bytes, spool.dropped
            );
        }
        println!("commands: {asked} asked, {} done, {}", times.len(), spread(&times));
        println!("alarms to the log: {}", spread(&store.alarms.lock().unwrap()));
        for arbiter in &assembly.arbiters {
            arbiter.stop();
        }
    });
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let rank = |share: f64| {
        let place = ((times.len().max(1) - 1) as f64 * share).round() as usize;
        times.get(place).copied().unwrap_or_default()
    };
    format!(
        "n {}, p50 {:.2?}, p99 {:.2?}, max {:.2?}",
        times.len(),
        rank(0.5),
        rank(0.99),
        rank(1.0)
    )
}
