//! What equations and plants cost. Run with `cargo bench -p plantwin-physics`.
//!
//! The reactor's dT/dt is measured through a predictor that is told an input, which evaluates all
//! its equations once, and against the same formula in Rust.

use std::{fmt::Write, hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use plantwin_model::{
    PlantSpec, PointIx, ProtocolSchema,
    file::{Catalog, ReadOptions, TypeSource, read_plant},
};
use plantwin_physics::{PlantSim, Predictor, compile};

const MQTT: ProtocolSchema = ProtocolSchema::bare("mqtt");
const COAP: ProtocolSchema = ProtocolSchema::bare("coap");
const OPCUA: ProtocolSchema = ProtocolSchema::bare("opcua");

struct Twins;

fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).ok()
}

impl TypeSource for Twins {
    fn load(&self, name: &str) -> Option<(Arc<str>, Arc<str>)> {
        let path = format!("twins/{name}.toml");
        Some((path.as_str().into(), text(&path)?.into()))
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

fn plant(text: &str) -> PlantSpec {
    let catalog =
        Catalog { protocols: &[&MQTT, &COAP, &OPCUA], types: &Twins, energy_profiles: &[] };
    let checked = read_plant("bench.toml", text, &catalog, &ReadOptions::default());
    checked.into_plant().unwrap()
}

/// One computed point: the reactor's dT/dt, nothing else.
const REACTOR: &str = r#"
[plant]
name = "p"
[zone.z]
[device.d]
type = "k"
zone = "z"
[device.d.mqtt]
[type.k.property.rise]
unit = "K/s"
range = [-1e6, 1e6]
[type.k.model]
step = "1s"
[type.k.model.param]
flow = "100 L/min"
volume = "100 L"
density = "1000 g/L"
heat_capacity = "0.239 J/(g.K)"
heat_of_reaction = "5e4 J/mol"
activation = "8750 K"
frequency = "7.2e10 1/min"
jacket = "5e4 J/(min.K)"
feed_temperature = "350 K"
[type.k.model.input]
temperature = { unit = "K", default = 324 }
concentration_in = { unit = "mol/L", default = 0.877 }
coolant_in = { unit = "K", default = 300 }
[type.k.model.point]
rise = """
flow / volume * (feed_temperature - temperature)
+ heat_of_reaction / (density * heat_capacity) * frequency * exp(-activation / temperature) * concentration_in
+ jacket / (volume * density * heat_capacity) * (coolant_in - temperature)"""
"#;

struct Constants {
    flow: f64,
    volume: f64,
    density: f64,
    heat_capacity: f64,
    heat: f64,
    activation: f64,
    frequency: f64,
    jacket: f64,
    feed: f64,
}

fn native(c: &Constants, temperature: f64, concentration: f64, coolant: f64) -> f64 {
    c.flow / c.volume * (c.feed - temperature)
        + c.heat / (c.density * c.heat_capacity)
            * c.frequency
            * (-c.activation / temperature).exp()
            * concentration
        + c.jacket / (c.volume * c.density * c.heat_capacity) * (coolant - temperature)
}

fn expressions(c: &mut Criterion) {
    let plant = plant(REACTOR);
    let device = &plant.devices[0];
    let Ok(Some(model)) = compile(&device.kind) else { panic!("the model compiles") };
    let mut predictor = Predictor::new(&model, device);
    c.bench_function("reactor dT/dt, compiled equation", |b| {
        b.iter(|| {
            predictor.set_input(0, black_box(324.5));
            predictor.point(PointIx(0))
        });
    });
    let constants = Constants {
        flow: 0.1 / 60.0,
        volume: 0.1,
        density: 1000.0,
        heat_capacity: 239.0,
        heat: 5e4,
        activation: 8750.0,
        frequency: 7.2e10 / 60.0,
        jacket: 5e4 / 60.0,
        feed: 350.0,
    };
    let told = predictor.point(PointIx(0)).unwrap_or(f64::NAN);
    let own = native(&constants, 324.5, 877.0, 300.0);
    assert!((told - own).abs() < 1e-9 * own.abs(), "{told} {own}");
    c.bench_function("reactor dT/dt, native Rust", |b| {
        b.iter(|| {
            let c = black_box(&constants);
            native(c, black_box(324.5), black_box(877.0), black_box(300.0))
        });
    });
}

fn steps(c: &mut Criterion) {
    let quadruple = plant(&text("plants/quadruple-tank.toml").unwrap_or_default());
    let Ok(mut sim) = PlantSim::new(&quadruple) else { panic!("the plant runs") };
    c.bench_function("quadruple tank, one step", |b| b.iter(|| sim.step()));

    let tank = &quadruple.devices[0];
    let Ok(Some(model)) = compile(&tank.kind) else { panic!("the model compiles") };
    let mut predictor = Predictor::new(&model, tank);
    predictor.set_input(0, 1e-5);
    c.bench_function("one tank, predictor, one step", |b| {
        b.iter(|| predictor.advance(black_box(Duration::from_millis(100))));
    });

    let mut cascade = String::from("[plant]\nname = \"cascade\"\nstep = \"100ms\"\n[zone.z]\n");
    for i in 0..1000 {
        let _ =
            write!(cascade, "[device.t{i}]\ntype = \"tank\"\nzone = \"z\"\n[device.t{i}.mqtt]\n");
    }
    for i in 1..1000 {
        let _ = write!(cascade, "[[flow]]\nfrom = \"t{}.outflow\"\nto = \"t{i}.inflow\"\n", i - 1);
    }
    let cascade = plant(&cascade);
    let Ok(mut sim) = PlantSim::new(&cascade) else { panic!("the plant runs") };
    c.bench_function("1,000 tanks in a row, one step", |b| b.iter(|| sim.step()));
}

criterion_group!(benches, expressions, steps);
criterion_main!(benches);
