//! What sealing costs, beside the floor that the bare AEAD sets.
//!
//! Run with `cargo bench -p plantwin-seal`. The allocation of the envelope is part of `envelope`;
//! `ring` works in a buffer that it keeps. Say the CPU and the build flags beside every figure.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plantwin_model::Timestamp;
use plantwin_seal::{Content, KeyDistributor, Lane, PartyId, Session};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

const NOW: Timestamp = Timestamp::from_millis(1_000);
const A: PartyId = PartyId(1);
const B: PartyId = PartyId(2);

/// A structured message of about `size` bytes on the wire.
#[derive(Serialize, Deserialize)]
struct Readings {
    values: Vec<f64>,
}

impl Content for Readings {
    const CONTENT_TYPE: u16 = 1;
}

fn sessions() -> (Session, Session) {
    let secret = KeyDistributor::new().expect("randomness").pair_secret(A, B);
    Session::pair(&secret, A, B, NOW).expect("handshake")
}

fn envelopes(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal+open");
    for size in [64_usize, 128, 256, 1024] {
        group.throughput(Throughput::Bytes(size as u64));
        let payload = vec![0x5a; size];

        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("32 bytes");
        let key = LessSafeKey::new(key);
        let mut buffer = Vec::with_capacity(size + 16);
        let mut counter = 0_u64;
        group.bench_function(format!("ring floor/{size}"), |b| {
            b.iter(|| {
                counter += 1;
                let nonce = || {
                    let mut nonce = [0; 12];
                    nonce[4..].copy_from_slice(&counter.to_le_bytes());
                    Nonce::assume_unique_for_key(nonce)
                };
                buffer.clear();
                buffer.extend_from_slice(&payload);
                let aad = [1; 48];
                key.seal_in_place_append_tag(nonce(), Aad::from(&aad), &mut buffer).expect("seal");
                black_box(key.open_in_place(nonce(), Aad::from(&aad), &mut buffer).expect("open"));
            });
        });

        let (mut a, mut b_side) = sessions();
        group.bench_function(format!("envelope of bytes/{size}"), |b| {
            b.iter(|| {
                let sealed = a.sealer.seal_bytes(1, &payload, Lane::Durable, None, NOW);
                let opened = b_side.opener.open_bytes(1, sealed.expect("seal"), NOW);
                black_box(opened.expect("open"));
            });
        });

        let message = Readings { values: vec![1.5; (size - 1) / 8] };
        group.bench_function(format!("typed envelope/{size}"), |b| {
            b.iter(|| {
                let sealed = a.sealer.seal(&message, Lane::Durable, None, NOW);
                black_box(b_side.opener.open(sealed.expect("seal"), NOW).expect("open"));
            });
        });

        let mut scratch = Vec::new();
        group.bench_function(format!("kept and acknowledged/{size}"), |b| {
            b.iter(|| {
                let sealed = a.sealer.seal(&message, Lane::Durable, None, NOW).expect("seal");
                black_box(b_side.opener.open_ref(&sealed, &mut scratch, NOW).expect("open"));
                b_side.opener.acknowledge(sealed.header().sequence).expect("in flight");
            });
        });
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let keys = KeyDistributor::new().expect("randomness");
    c.bench_function("pair secret", |b| b.iter(|| black_box(keys.pair_secret(A, B))));
    let secret = keys.pair_secret(A, B);
    c.bench_function("handshake, both sides", |b| {
        b.iter(|| black_box(Session::pair(&secret, A, B, NOW).expect("handshake")));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = envelopes, handshakes
}
criterion_main!(benches);
