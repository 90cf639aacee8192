//! What sealing costs: a sealed hop between two actors beside a bare actix hop and a tokio
//! channel hop, all on one thread with 128 B of payload.
//!
//! `cargo bench -p plantwin-runtime --bench hop`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler, Message, System};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plantwin_model::Timestamp;
use plantwin_seal::{Content, KeyDistributor, Lane, Opener, PartyId, Sealed, Session};
use plantwin_twin::Mail;
use serde::{Deserialize, Serialize};

/// Messages between two looks at the rest of the thread, as a busy sender would have it.
const BATCH: u64 = 64;

/// Sixteen values, 128 bytes once encoded.
#[derive(Serialize, Deserialize)]
struct Load {
    values: [f64; 16],
}

impl Load {
    fn new(i: u64) -> Self {
        Self { values: [i as f64; 16] }
    }
}

impl Content for Load {
    const CONTENT_TYPE: u16 = 99;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Bare(Vec<u8>);

struct Sink {
    opener: Opener,
    scratch: Vec<u8>,
    seen: u64,
    done: Option<(u64, tokio::sync::oneshot::Sender<()>)>,
}

impl Sink {
    fn count(&mut self) {
        self.seen += 1;
        if let Some((wanted, _)) = &self.done
            && self.seen == *wanted
            && let Some((_, done)) = self.done.take()
        {
            done.send(()).expect("the bench waits");
        }
    }
}

impl Actor for Sink {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(2 * BATCH as usize);
    }
}

impl Handler<Bare> for Sink {
    type Result = ();
    fn handle(&mut self, bare: Bare, _: &mut Context<Self>) {
        black_box(&bare.0);
        self.count();
    }
}

impl Handler<Mail<Load>> for Sink {
    type Result = ();
    fn handle(&mut self, mail: Mail<Load>, _: &mut Context<Self>) {
        // As a twin does it: the envelope stays whole until it is acknowledged.
        let load = self.opener.open_ref(&mail.0, &mut self.scratch, Timestamp(0)).expect("opens");
        black_box(&load);
        self.opener.acknowledge(mail.0.header().sequence).expect("in flight");
        self.count();
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn now() -> Instant {
    Instant::now()
}

fn session() -> (Session, Session) {
    let keys = KeyDistributor::new().expect("randomness");
    let (a, b) = (PartyId(1), PartyId(2));
    Session::pair(&keys.pair_secret(a, b), a, b, Timestamp(0)).expect("two parties")
}

/// Runs `count` hops into a sink on this thread.
fn actix_hops(
    count: u64,
    mut post: impl FnMut(&actix::Addr<Sink>, u64),
    opener: Opener,
) -> Duration {
    System::new().block_on(async move {
        let (done, finished) = tokio::sync::oneshot::channel();
        let sink = Sink { opener, scratch: Vec::new(), seen: 0, done: Some((count, done)) }.start();
        tokio::task::yield_now().await;
        let started = now();
        for i in 0..count {
            post(&sink, i);
            if i % BATCH == BATCH - 1 {
                tokio::task::yield_now().await;
            }
        }
        finished.await.expect("the sink saw all");
        started.elapsed()
    })
}

fn hops(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop_128B_one_arbiter");
    group.throughput(Throughput::Elements(1));
    group.bench_function("tokio_mpsc", |b| {
        b.iter_custom(|count| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(async move {
                let (tx, mut rx) = tokio::sync::mpsc::channel::<Vec<u8>>(2 * BATCH as usize);
                let reader = tokio::task::spawn_local(async move {
                    for _ in 0..count {
                        black_box(rx.recv().await.expect("open"));
                    }
                });
                let started = now();
                for i in 0..count {
                    tx.send(vec![i as u8; 128]).await.expect("open");
                    if i % BATCH == BATCH - 1 {
                        tokio::task::yield_now().await;
                    }
                }
                reader.await.expect("reads all");
                started.elapsed()
            }))
        });
    });
    group.bench_function("bare_actix", |b| {
        b.iter_custom(|count| {
            let (_, theirs) = session();
            let post = |sink: &actix::Addr<Sink>, i: u64| {
                sink.try_send(Bare(vec![i as u8; 128])).expect("room");
            };
            actix_hops(count, post, theirs.opener)
        });
    });
    group.bench_function("sealed", |b| {
        b.iter_custom(|count| {
            let (mut ours, theirs) = session();
            let post = |sink: &actix::Addr<Sink>, i: u64| {
                let sealed: Sealed<Load> = ours
                    .sealer
                    .seal(&Load::new(i), Lane::Latest, None, Timestamp(0))
                    .expect("seals");
                sink.try_send(Mail(sealed)).expect("room");
            };
            actix_hops(count, post, theirs.opener)
        });
    });
    group.finish();
}

criterion_group!(benches, hops);
criterion_main!(benches);
