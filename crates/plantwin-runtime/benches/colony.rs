//! Start-up, memory and throughput of many twins, fed in process.
//!
//! There are no sockets here: a feeder seals frames straight into the twins' mailboxes, as their
//! lines would. That is allowed for this measurement only, and this is where it says so.
//!
//! `cargo bench -p plantwin-runtime --bench colony [-- SIZE ...]`

#[path = "shared/machine.rs"]
mod machine;
#[path = "shared/memory.rs"]
mod memory;
mod shared;

use std::{env, process::Command, sync::Arc, time::Duration};

use actix::System;
use plantwin_model::{Clock, TwinState};
use plantwin_runtime::TwinHandle;

use machine::{cores, now};
use memory::resident;
use shared::{end, frame, link_up, plant, post, settle};

/// How long the throughput is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// Twins of the throughput measurement: enough to leave the caches, few enough for one machine.
const BUSY_TWINS: usize = 1_000;
/// Twins that are fed at the same time while starting.
const AT_ONCE: usize = 250;
/// Letters that the feeder posts to one twin before it turns to the next.
const BURST: usize = 16;

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

fn idle(size: usize) {
    let spec = plant(size);
    let points = spec.devices[0].kind.points.len();
    System::new().block_on(async move {
        let before = resident();
        let started = now();
        let (mut colony, clock) = settle(spec, None);
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
            let (mut colony, clock) = settle(spec, None);
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
