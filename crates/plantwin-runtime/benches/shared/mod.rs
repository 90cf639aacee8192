//! What the benchmarks of colonies share: a plant of tanks without sockets, and its letters.

use std::{sync::Arc, time::Duration};

use plantwin_adapter::{Frame, Sample, SystemClock, TrafficSnapshot};
use plantwin_model::{
    Clock, DeviceId, DeviceIx, DeviceSpec, PlantSpec, PointIx, ProtocolSchema, Quality,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_runtime::{Colony, ColonyRequest, Place, Restored, TwinHandle};
use plantwin_seal::{Lane, Secret};
use plantwin_twin::{Drill, FrameMail, LinkUpMail, Mail, TwinMail};

static WIRE: ProtocolSchema = ProtocolSchema::bare("wire");

const TANK: &str = include_str!("../../../../twins/tank.toml");

/// A plant of `size` tanks in two zones. Two are read from a file, the others are copies: a file
/// of this size is longer than what the reader takes.
pub(crate) fn plant(size: usize) -> PlantSpec {
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
    let mut plant = checked.into_plant().unwrap();
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

/// Seats all twins of a plant; a drill may make them crash.
pub(crate) fn settle(spec: PlantSpec, drill: Option<Arc<dyn Drill>>) -> (Colony, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let colony = Colony::start(ColonyRequest {
        plant: Arc::new(spec),
        clock: Arc::clone(&clock),
        restored: Restored::default(),
        aside_key: Secret::random().expect("randomness"),
        endpoints: vec![],
        place: Place::Threads(crate::machine::cores().min(2)),
        lines: false,
        drill,
        findings: vec![],
    })
    .expect("a colony");
    (colony, clock)
}

pub(crate) fn post(twin: &mut TwinHandle, letter: &TwinMail, clock: &Arc<dyn Clock>) -> bool {
    let sealed = twin.sealer.seal(letter, Lane::Latest, None, clock.now()).expect("seals");
    twin.mailbox.post(Mail(sealed)).is_ok()
}

pub(crate) fn link_up() -> TwinMail {
    TwinMail::LinkUp(LinkUpMail {
        rank: 0,
        endpoint: "in process".to_owned(),
        switches: 0,
        datagrams: false,
        patience: Duration::ZERO,
    })
}

pub(crate) fn frame(sequence: u64, points: usize, clock: &Arc<dyn Clock>) -> TwinMail {
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
        origin: vec![],
        replaced: false,
    })
}

pub(crate) fn end(colony: Colony) {
    for arbiter in &colony.arbiters {
        arbiter.stop();
    }
    for arbiter in colony.arbiters {
        let _ = arbiter.join();
    }
}
