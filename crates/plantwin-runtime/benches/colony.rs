//! Start-up, memory and throughput of many twins, fed in process.
//!
//! There are no sockets here: a feeder seals frames straight into the twins' mailboxes, as their
//! lines would. That is allowed for this measurement only, and this is where it says so.
//!
//! `cargo bench -p plantwin-runtime --bench colony [-- SIZE ...]`

use std::{
    env,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::System;
use plantwin_adapter::{Frame, Sample, SystemClock, TrafficSnapshot};
use plantwin_authority::Authority;
use plantwin_model::{
    Clock, DeviceId, DeviceIx, DeviceSpec, PlantSpec, PointIx, ProtocolSchema, Quality, TwinState,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_runtime::{Colony, ColonyRequest, Place, Restored, TwinHandle};
use plantwin_seal::{Lane, Secret};
use plantwin_twin::{FrameMail, LinkUpMail, Mail, TwinMail};

/// How long the throughput is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// Twins of the throughput measurement: enough to leave the caches, few enough for one machine.
const BUSY_TWINS: usize = 1_000;
/// Twins that are fed at the same time while starting.
const AT_ONCE: usize = 250;
/// Letters that the feeder posts to one twin before it turns to the next.
const BURST: usize = 16;

static WIRE: ProtocolSchema = ProtocolSchema {
    name: "wire",
    settings: &[],
    point_settings: &[],
    needs_addr: false,
    datagrams: false,
    acknowledges: false,
    validate: |_| Vec::new(),
    addresses: |_, _| Vec::new(),
};

const TANK: &str = include_str!("../../../twins/tank.toml");

#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let sizes: Vec<usize> = env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    if env::var_os("PLANTWIN_COLONY").is_some() {
        let size = sizes[0];
        if env::args().any(|a| a == "busy") {
            busy(size);
        } else {
            idle(size);
        }
        return;
    }
    let flags = if cfg!(debug_assertions) { "DEBUG BUILD" } else { "bench profile" };
    println!("colony: fed in process, no sockets; {flags}; {} cores", cores());
    println!("twins      seated    all shadowed   RSS/twin idle");
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 100_000] } else { sizes };
    // A process each: what one run leaves behind must not count for the next.
    for size in sizes {
        again(&[&size.to_string()]);
    }
    println!("throughput: readings sealed, opened, applied and compared with the model");
    again(&[&BUSY_TWINS.to_string(), "busy"]);
}

fn again(args: &[&str]) {
    let me = env::current_exe().expect("a bench is a program");
    let status = Command::new(me).args(args).env("PLANTWIN_COLONY", "1").status();
    assert!(status.is_ok_and(|s| s.success()), "the measuring process failed");
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A plant of `size` tanks in two zones. Two are read from a file, the others are copies: a file
/// of this size is longer than what the reader takes.
fn plant(size: usize) -> PlantSpec {
    let device = |id: &str, zone: &str| {
        format!(
            "[device.{id}]\ntype = \"tank\"\nzone = \"{zone}\"\nmode = \"physical\"\n[device.{id}.wire]\n"
        )
    };
    let text = format!(
        "[plant]\nname = \"colony\"\n[zone.a]\n[zone.b]\n{}{}",
        device("even", "a"),
        device("odd", "b")
    );
    let schemas = [&WIRE];
    let catalog = Catalog { protocols: &schemas, types: &Tank, ..Catalog::default() };
    let checked = read_plant("colony.toml", &text, &catalog, &ReadOptions::default());
    let mut plant = checked.plant.unwrap_or_else(|| panic!("{:?}", checked.diagnostics.first()));
    let pair = std::mem::take(&mut plant.devices);
    plant.devices = (0..size)
        .map(|i| {
            let own = DeviceSpec {
                id: DeviceId::new(format!("t{i}")),
                ix: DeviceIx(i as u32),
                ..DeviceSpec::clone(&pair[i % 2])
            };
            Arc::new(own)
        })
        .collect();
    plant
}

struct Tank;

impl plantwin_model::file::TypeSource for Tank {
    fn load(&self, name: &str) -> Option<(Arc<str>, Arc<str>)> {
        (name == "tank").then(|| ("tank.toml".into(), TANK.into()))
    }
    fn names(&self) -> Vec<String> {
        vec!["tank".to_owned()]
    }
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|k| k.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn settle(spec: PlantSpec) -> (Colony, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let authority = Authority::generate().expect("randomness");
    let colony = Colony::start(ColonyRequest {
        plant: Arc::new(spec),
        clock: Arc::clone(&clock),
        verifier: Arc::new(authority.verifier("bench")),
        restored: Restored::default(),
        aside_key: Secret::random().expect("randomness"),
        endpoints: vec![],
        place: Place::Threads(cores().min(2)),
        lines: false,
        drill: None,
        findings: vec![],
    })
    .expect("a colony");
    (colony, clock)
}

fn post(twin: &mut TwinHandle, letter: &TwinMail, clock: &Arc<dyn Clock>) -> bool {
    let sealed = twin.sealer.seal(letter, Lane::Latest, None, clock.now()).expect("seals");
    twin.mailbox.post(Mail(sealed)).is_ok()
}

fn link_up() -> TwinMail {
    TwinMail::LinkUp(LinkUpMail {
        rank: 0,
        endpoint: "in process".to_owned(),
        switches: 0,
        datagrams: false,
    })
}

fn frame(sequence: u64, points: usize, clock: &Arc<dyn Clock>) -> TwinMail {
    let time = clock.now();
    let sample = |i: usize| Sample {
        point: PointIx(i as u16),
        value: 12.0 + (sequence % 7) as f64 * 1e-3,
        quality: Quality::Good,
        source_time: Some(time),
    };
    TwinMail::Frame(FrameMail {
        frame: Frame {
            received: time,
            sequence: Some(sequence),
            samples: (0..points).map(sample).collect(),
        },
        traffic: TrafficSnapshot { up_bytes: 64, up_packets: 1, ..TrafficSnapshot::default() },
        receipt: None,
    })
}

fn idle(size: usize) {
    let spec = plant(size);
    let points = spec.devices[0].kind.points.len();
    System::new().block_on(async move {
        let before = resident();
        let started = now();
        let (mut colony, clock) = settle(spec);
        let seated = started.elapsed();
        for twins in colony.twins.chunks_mut(AT_ONCE) {
            for twin in twins.iter_mut() {
                assert!(post(twin, &link_up(), &clock));
                assert!(post(twin, &frame(1, points, &clock), &clock));
            }
            // Letters that wait are not memory of an idle twin.
            while twins.iter().any(|t| t.mailbox.view().depth > 0) {
                tokio::task::yield_now().await;
            }
        }
        let mut view = colony.view.clone();
        loop {
            let shadowed = {
                let view = view.borrow_and_update();
                view.twins.iter().filter(|t| t.state == TwinState::Shadowed).count()
            };
            if shadowed == size {
                break;
            }
            assert!(started.elapsed() < Duration::from_mins(2), "{shadowed} of {size} shadowed");
            view.changed().await.expect("the station lives");
        }
        let up = started.elapsed();
        let per_twin = resident().saturating_sub(before) / size as u64;
        println!("{size:<9} {seated:>8.2?}  {up:>10.2?}  {per_twin:>10} B");
        end(colony);
    });
}

fn busy(size: usize) {
    let spec = plant(size);
    let most = spec.devices[0].kind.points.len();
    for points in [1, most] {
        let spec = spec.clone();
        System::new().block_on(async move {
            let (mut colony, clock) = settle(spec);
            for twin in &mut colony.twins {
                assert!(post(twin, &link_up(), &clock));
            }
            let twins = std::mem::take(&mut colony.twins);
            let mut by_arbiter: Vec<Vec<TwinHandle>> =
                colony.arbiters.iter().map(|_| Vec::new()).collect();
            for twin in twins {
                by_arbiter[twin.settlement.arbiter].push(twin);
            }
            let mut feeders = Vec::new();
            for (arbiter, twins) in colony.arbiters.iter().zip(by_arbiter) {
                let (tx, rx) = tokio::sync::oneshot::channel();
                let clock = Arc::clone(&clock);
                arbiter.spawn(async move {
                    let _ = tx.send(feed(twins, points, &clock).await);
                });
                feeders.push(rx);
            }
            let mut total = 0.0;
            for feeder in feeders {
                total += feeder.await.expect("the feeder ends");
            }
            println!(
                "{size} twins, {points} readings an envelope: {:.0} envelopes/s, {:.0} readings/s",
                total,
                total * points as f64
            );
            end(colony);
        });
    }
}

/// Feeds the twins of one arbiter for a while; envelopes handled per second.
async fn feed(mut twins: Vec<TwinHandle>, points: usize, clock: &Arc<dyn Clock>) -> f64 {
    let handled =
        |twins: &[TwinHandle]| -> u64 { twins.iter().map(|t| t.mailbox.view().handled).sum() };
    let mut sequence = 1;
    let (before, started) = (handled(&twins), now());
    while started.elapsed() < MEASURE {
        for twin in &mut twins {
            for i in 0..BURST {
                let letter = frame(sequence + i as u64, points, clock);
                assert!(post(twin, &letter, clock), "the twin keeps up: it has the thread next");
            }
            tokio::task::yield_now().await;
        }
        sequence += BURST as u64;
    }
    (handled(&twins) - before) as f64 / started.elapsed().as_secs_f64()
}

fn end(colony: Colony) {
    for arbiter in &colony.arbiters {
        arbiter.stop();
    }
    for arbiter in colony.arbiters {
        let _ = arbiter.join();
    }
}
