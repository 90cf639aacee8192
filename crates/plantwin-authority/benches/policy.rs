//! What one decision costs: 10,000 devices, 200 grants, every kind of limit.
//!
//! `cargo bench -p plantwin-authority --bench policy`; the aim is at most 200 ns a decision.

use std::{fmt::Write as _, hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use plantwin_authority::policy::{Object, Policy, PolicyDesk, Principal, Rates};
use plantwin_model::{
    Action, DeviceIx, PlantSpec, PointIx, ProtocolSchema, Role, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};

static WIRE: ProtocolSchema = ProtocolSchema::bare("wire");

const DEVICES: usize = 10_000;
const GRANTS: usize = 200;

fn plant() -> Arc<PlantSpec> {
    let mut text = String::from("[plant]\nname = \"bench\"\n");
    for zone in 0..20 {
        let _ = writeln!(text, "[zone.z{zone}]");
    }
    text.push_str("[type.t.twin]\ntype = \"t\"\n");
    for point in 0..8 {
        let _ = writeln!(
            text,
            "[type.t.property.p{point}]\nunit = \"1\"\nrange = [0, 100]\naccess = \"rw\""
        );
    }
    for device in 0..DEVICES {
        let zone = device % 20;
        let _ = writeln!(
            text,
            "[device.d{device}]\ntype = \"t\"\nzone = \"z{zone}\"\npaths = [\"wire\"]"
        );
    }
    for user in 0..50 {
        let _ = writeln!(text, "[policy.user.u{user}]\nrole = \"operator\"\nuid = {user}");
    }
    for grant in 0..GRANTS {
        let limits = match grant % 4 {
            0 => "range = [0, 50]",
            1 => "hours = \"06:00-22:00\"",
            2 => "rate = \"1000000/s\"",
            _ => "two_persons = true",
        };
        // The last ones are those that allow: everything before them is looked at first.
        let who = if grant + 1 == GRANTS { "operator" } else { "engineer\", \"user:u1*" };
        let _ = writeln!(
            text,
            "[[policy.grant]]\nwho = [\"{who}\"]\naction = [\"write\", \"command\"]\n\
             on = \"z{}*/d*{}/p*\"\n{}",
            grant % 2,
            grant % 10,
            if grant + 1 == GRANTS { "range = [0, 100]" } else { limits }
        );
    }
    let _ = writeln!(text, "[[policy.grant]]\nwho = \"operator\"\naction = \"write\"\non = \"*\"");
    let schemas = [&WIRE];
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let checked = read_plant("bench.toml", &text, &catalog, &ReadOptions::default());
    Arc::new(checked.into_plant().unwrap())
}

fn decisions(c: &mut Criterion) {
    let plant = plant();
    let user = Principal::user(&plant.policy.users[12]);
    let desk = PolicyDesk::new(Arc::clone(&plant));
    let policy = desk.policy();
    let now = Timestamp::from_millis(12 * 3_600_000);
    let mut rates = Rates::default();
    let mut at = 0_u32;
    let mut next = || {
        at = (at.wrapping_mul(7919).wrapping_add(13)) % DEVICES as u32;
        Object::Point(DeviceIx(at), PointIx((at % 8) as u16))
    };
    c.bench_function("decide: a user, 200 grants, 10,000 devices", |b| {
        b.iter(|| {
            let subject = policy.subject(black_box(&user));
            policy.decide(subject, Action::Write, next(), Some(75.0), now, &mut rates)
        });
    });
    c.bench_function("decide: the policy fetched anew each time", |b| {
        b.iter(|| {
            let policy = desk.policy();
            let subject = policy.subject(black_box(&user));
            policy.decide(subject, Action::Write, next(), Some(75.0), now, &mut rates)
        });
    });
    c.bench_function("decide: denied", |b| {
        b.iter(|| {
            let subject = policy.role(Role::Viewer);
            policy.decide(subject, Action::Write, next(), Some(75.0), now, &mut rates)
        });
    });
    let mut group = c.benchmark_group("slow");
    group.sample_size(10);
    group.bench_function("compile: 200 grants, 10,000 devices", |b| {
        b.iter(|| Policy::compile(Arc::clone(&plant)));
    });
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
