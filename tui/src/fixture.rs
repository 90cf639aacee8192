//! Plants for tests and benchmarks; nothing of it is in the product.
//!
//! Built from the public vocabulary only, so that the benchmark can include this file as well.

use std::{collections::BTreeMap, sync::Arc};

use plantwin_model::{
    AlarmId, AlarmSource, AlarmState, AlarmView, Clock, CommandInfo, DeviceId, Flaw, LaneView,
    LinkView, MailboxView, NorthboundView, PathView, PlantView, PointInfo, PointView, Priority,
    Quality, Role, SessionView, SetAsideView, SpoolView, Timestamp, TwinState, TwinView, TypeView,
    ZoneView,
};

/// 2026-11-21 14:02:07Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_269_727_000_000_000);

/// A wall clock that stands still.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// `NOW` and so many seconds.
pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp(NOW.0 + (seconds * 1e9) as i64)
}

fn point(name: &str, unit: &str, range: (f64, f64), writable: bool) -> PointInfo {
    PointInfo { name: name.into(), unit: unit.into(), range, writable }
}

fn types() -> BTreeMap<String, TypeView> {
    let command = |name: &str, title: &str, args: &[&str], role, confirm| CommandInfo {
        name: name.into(),
        title: title.into(),
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        role,
        confirm,
    };
    let tank = TypeView {
        name: "tank".into(),
        title: "Open tank draining by gravity".into(),
        points: vec![
            point("level", "cm", (0.0, 20.0), false),
            point("temperature", "Cel", (0.0, 60.0), false),
        ],
        commands: Vec::new(),
    };
    let pump = TypeView {
        name: "pump".into(),
        title: "Pump with a speed drive".into(),
        points: vec![
            point("flow", "cm3/s", (0.0, 40.0), false),
            point("voltage", "V", (0.0, 10.0), true),
        ],
        commands: vec![
            command("trip", "Stop the pump", &[], Role::Operator, true),
            command("blink", "Flash the lamp", &[], Role::Operator, false),
            command("run", "Run at a voltage", &["voltage"], Role::Operator, true),
            command("calibrate", "Calibrate the flow meter", &[], Role::Engineer, true),
        ],
    };
    [("tank".to_owned(), tank), ("pump".to_owned(), pump)].into()
}

/// A good value with its prediction.
pub(crate) fn good(value: f64, predicted: f64, now: Timestamp) -> PointView {
    PointView {
        value: Some(value),
        quality: Quality::Good,
        source_time: Some(Timestamp(now.0 - 400_000_000)),
        received_time: Some(Timestamp(now.0 - 390_000_000)),
        predicted: Some(predicted),
        residual: Some(value - predicted),
        band: Some(0.05),
        desired: None,
    }
}

/// The `i`-th twin, in good order.
pub(crate) fn twin(i: usize, now: Timestamp) -> TwinView {
    let is_pump = i % 3 == 2;
    let n = i as f64;
    let mut points = if is_pump {
        vec![good(9.0 + n % 7.0, 9.01 + n % 7.0, now), good(3.0, 3.0, now)]
    } else {
        vec![good(12.4 + n % 5.0, 12.38 + n % 5.0, now), good(21.5, 21.49, now)]
    };
    if is_pump {
        points[1].desired = Some(3.0);
    }
    TwinView {
        id: DeviceId::new(format!("{}{i}", if is_pump { "pump" } else { "tank" })),
        zone: ["field", "cellar", "control"][i % 3].into(),
        kind: if is_pump { "pump" } else { "tank" }.into(),
        simulated: i.is_multiple_of(2),
        state: TwinState::Shadowed,
        reason: "values are current".into(),
        since: Timestamp(now.0 - 65_000_000_000),
        path: Some(PathView {
            protocol: if is_pump { "coap" } else { "mqtt" }.into(),
            endpoint: "127.0.0.1:1883".into(),
            rank: 0,
            switches: 0,
        }),
        session: SessionView::Token { expires: at(600.0) },
        mailbox: MailboxView {
            depth: (i % 4) as u32,
            capacity: 256,
            handled: 1_234,
            ..MailboxView::default()
        },
        energy_joules: 12.5 + n,
        budget_joules: is_pump.then_some(5_000.0),
        bytes: 123_456,
        restarts: 0,
        spool: None,
        points,
        revision: 1,
    }
}

/// A plant of `n` twins in good order.
pub(crate) fn normal(n: usize) -> PlantView {
    let zone = |id: &str, title: &str| ZoneView { id: id.into(), title: title.into() };
    let mut view = PlantView::empty("quadruple-tank");
    view.now = NOW;
    view.uptime_s = 3_725.0;
    view.revision = 7;
    view.link = LinkView::Live;
    view.zones =
        [zone("field", "Field"), zone("cellar", "Cellar"), zone("control", "Control room")].into();
    view.types = Arc::new(types());
    for i in 0..n {
        view.twins.push(Arc::new(twin(i, NOW)));
    }
    view.counters = Arc::new(BTreeMap::from([
        ("frames received".to_owned(), 1_234_567),
        ("frames refused".to_owned(), 0),
        ("reroutes".to_owned(), 2),
    ]));
    view.endpoints = [("mqtt".to_owned(), "127.0.0.1:1883".to_owned())].into();
    view
}

/// An alarm of `twin`.
pub(crate) fn alarm(
    twin: &str,
    name: &str,
    priority: Priority,
    state: AlarmState,
    age: f64,
) -> AlarmView {
    AlarmView {
        id: AlarmId::new(format!("{twin}.{name}")),
        twin: twin.into(),
        priority,
        state,
        source: AlarmSource::Threshold,
        since: at(-age),
        raised: at(-age - 1.0),
        text: format!("{name}: 18.4 cm > 18 cm"),
        response: "close the inlet valve, then look at the pump".into(),
    }
}

/// Changes the twin at `ix`.
pub(crate) fn edit(view: &mut PlantView, ix: usize, change: impl FnOnce(&mut TwinView)) {
    let mut twin = view.twins.get(ix).expect("the fixture has this twin").as_ref().clone();
    change(&mut twin);
    view.twins.set(ix, Arc::new(twin));
}

/// A plant of twelve twins in which everything abnormal occurs once.
pub(crate) fn troubled() -> PlantView {
    use AlarmState::{Acknowledged, ReturnedUnacknowledged, Unacknowledged};
    let mut view = normal(12);
    view.alarms = [
        alarm("tank0", "level_high", Priority::Critical, Unacknowledged, 9.0),
        alarm("pump2", "drift", Priority::High, Acknowledged, 61.0),
        alarm("tank3", "level_low", Priority::Medium, Unacknowledged, 130.0),
        alarm("tank4", "level_low", Priority::Medium, ReturnedUnacknowledged, 300.0),
        alarm("pump5", "battery", Priority::Low, Acknowledged, 4_000.0),
    ]
    .into();
    edit(&mut view, 0, |t| {
        t.points[0].value = Some(18.4);
        t.points[0].residual = Some(1.2);
    });
    edit(&mut view, 6, |t| {
        t.state = TwinState::Down;
        t.reason = "no path to the device works".into();
        t.path = None;
        t.session = SessionView::None;
        t.points[0].quality = Quality::Bad(Flaw::CommLost);
        t.points[0].source_time = Some(at(-41.0));
        t.points[1] = PointView::unknown();
    });
    edit(&mut view, 7, |t| {
        t.state = TwinState::OutOfSync;
        t.points[0].quality = Quality::Bad(Flaw::Stale);
        t.points[0].source_time = Some(at(-12.0));
    });
    edit(&mut view, 8, |t| {
        t.state = TwinState::GaveUp;
        t.reason = "crashed 5 times in 60 s".into();
        t.restarts = 5;
    });
    edit(&mut view, 9, |t| t.points[0].quality = Quality::Uncertain(Flaw::OutOfRange));
    view
}

/// Gives the plant durable telemetry: a spool with room and a way out that is up.
pub(crate) fn durable(mut view: PlantView) -> PlantView {
    view.spool = Some(SpoolView {
        records: 1_204,
        bytes: 3_250_586,
        capacity: 4 << 30,
        oldest: Some(at(-75.0)),
        hours_left: Some(19.4),
        dropped: 0,
    });
    view.northbound = Some(Arc::new(NorthboundView {
        endpoint: "broker.example:1883".into(),
        up: true,
        since: at(-12.0),
        reason: String::new(),
        sent: 98_765,
    }));
    edit(&mut view, 0, |t| {
        t.spool = Some(SpoolView {
            records: 804,
            bytes: 2_097_152,
            capacity: 64 << 20,
            oldest: Some(at(-75.0)),
            hours_left: Some(31.5),
            dropped: 0,
        });
    });
    view
}

/// A letter for `twin` that was set aside.
pub(crate) fn letter(twin: &str, id: u64, lane: &str, age: f64) -> SetAsideView {
    SetAsideView {
        id,
        twin: twin.into(),
        since: at(-age),
        lane: lane.into(),
        text: "level 18.4 cm".into(),
        panic: "index out of bounds: the len is 2 but the index is 7".into(),
    }
}

/// The troubled plant with a way out that is down, a spool that fills, letters set aside and
/// overloaded mailboxes.
pub(crate) fn waiting() -> PlantView {
    let mut view = durable(troubled());
    view.northbound = Some(Arc::new(NorthboundView {
        endpoint: "broker.example:1883".into(),
        up: false,
        since: at(-12.0),
        reason: "connection refused".into(),
        sent: 98_765,
    }));
    view.set_aside =
        [letter("tank0", 3, "durable", 95.0), letter("tank0", 4, "latest", 41.0)].into();
    edit(&mut view, 0, |t| {
        t.mailbox.lanes = [
            LaneView::default(),
            LaneView { depth: 1, refused: 2, ..LaneView::default() },
            LaneView { depth: 40, shed: 0, refused: 12, coalesced: 0 },
            LaneView { depth: 2, coalesced: 1_204, shed: 33, refused: 0 },
        ];
        if let Some(spool) = &mut t.spool {
            spool.bytes = 63 << 20;
            spool.hours_left = Some(0.3);
            spool.dropped = 512;
        }
    });
    view
}
