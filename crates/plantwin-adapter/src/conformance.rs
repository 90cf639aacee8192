//! The conformance kit: what every protocol must do, run by each adapter's tests.
//!
//! [`run`] starts the protocol's hub (if it has one), plays two devices, links to them and walks
//! through the whole contract on real sockets: schema, values, qualities, sequence and time,
//! writes, session bytes, a path that goes down and comes back, a server that dies, and whether
//! anything is left behind. It knows no protocol; where the contract leaves a choice, [`Kit`]
//! says which one the protocol made. Absent: what only one protocol has (wire formats, foreign
//! peers, overload), which belongs into that adapter's own tests.
//!
//! It panics with the step and what was seen. Call it from a test that has a tokio runtime of
//! its own, because it also counts the tasks left behind:
//!
//! ```ignore
//! #[tokio::test]
//! async fn the_adapter_conforms() {
//!     conformance::run(&Coap::default(), Kit::new("coap")).await;
//! }
//!
//! #[tokio::test]
//! async fn the_adapter_carries_sealed_envelopes() {
//!     let kit = Kit { sealed: true, ..Kit::new("coap") };
//!     conformance::run(&Coap::default(), kit).await;
//! }
//! ```

mod sealed;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use plantwin_model::{
    Access, Clock, DeviceId, Flaw, PathSpec, PointIx, PointSpec, Quality, SettingValue, Span,
    Timestamp, Unit,
};
use smallvec::smallvec;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    Connection, DeviceMessage, DevicePort, Frame, Host, HostRequest, HostedDevice, Hub,
    LinkContext, LinkError, LinkEvent, Measurement, PointWrite, Protocol, Sample, SystemClock,
};

/// Longest wait for anything that must happen: generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two measurements of a played device.
const CADENCE: Duration = Duration::from_millis(20);
/// First sequence number, so that an adapter which counts by itself is found out.
const FIRST: u64 = 7;
/// Largest queue an adapter may keep between its socket and its user.
const QUEUE_LIMIT: usize = 4096;

/// What the protocol under test chose where the contract leaves a choice.
#[expect(clippy::struct_excessive_bools, reason = "independent yes-or-no questions")]
pub struct Kit {
    /// How the two devices are reached; `addr` is filled in where absent, as the runtime does
    /// (the hub's address, or else the host's).
    pub paths: [PathSpec; 2],
    /// Whether a write resolves with the device's own answer, so that its refusal is heard.
    pub answers_writes: bool,
    /// Whether a link notices by itself that its device is gone (connection-oriented protocols);
    /// otherwise it must merely fall silent and fail requests.
    pub notices_loss: bool,
    /// Whether session bytes can be exchanged.
    pub sessions: bool,
    /// Whether every frame bears the measurement's sequence number; otherwise a frame may have
    /// none, but never a wrong one.
    pub sequenced: bool,
    /// Whether the devices are sealed: then it is checked how their envelopes travel, and that
    /// nothing bare does, instead of values and writes.
    pub sealed: bool,
    /// [`LinkContext::timeout`].
    pub timeout: Duration,
    /// [`LinkContext::period`] and [`HostedDevice::period`].
    pub period: Duration,
}

impl Kit {
    /// A protocol whose device answers writes, with sessions, without sequence numbers, whose
    /// links do not notice a loss by themselves; paths without settings.
    pub fn new(protocol: &'static str) -> Self {
        let path = PathSpec {
            protocol,
            settings: BTreeMap::new(),
            points: BTreeMap::new(),
            span: Span::default(),
        };
        Self {
            paths: [path.clone(), path],
            answers_writes: true,
            notices_loss: false,
            sessions: true,
            sequenced: false,
            sealed: false,
            timeout: Duration::from_secs(2),
            period: Duration::from_millis(50),
        }
    }
}

/// The points of the kit's devices: two measurements and two setpoints, range 0 to 1e6.
pub fn points() -> Arc<[PointSpec]> {
    let point = |name: &str, unit: &str, access| PointSpec {
        name: name.into(),
        title: name.to_owned(),
        unit: Unit::parse(unit).expect("a unit of the table"),
        range: (0.0, 1e6),
        start: 0.0,
        access,
        stale_after: Duration::from_secs(3),
        noise: 0.0,
        resolution: 0.0,
        safe: None,
        span: Span::default(),
    };
    Arc::new([
        point("level", "cm", Access::Read),
        point("flow", "cm3/s", Access::Read),
        point("voltage", "V", Access::ReadWrite),
        point("split", "1", Access::ReadWrite),
    ])
}

/// Runs the kit. Panics with a message that names the step where the protocol does not conform.
pub async fn run(protocol: &dyn Protocol, kit: Kit) {
    if kit.sealed {
        return sealed::run(protocol, kit).await;
    }
    let tasks = tokio::runtime::Handle::current().metrics();
    let tasks_before = tasks.num_alive_tasks();
    check_schema(protocol, &kit);
    connecting_to_nobody_fails(protocol, &kit).await;

    let mut plant = Plant::start(protocol, kit, None).await;
    let mut links = [plant.connect(0).await, plant.connect(1).await];
    for (ix, link) in links.iter_mut().enumerate() {
        check_values(&mut plant, ix, link).await;
    }
    check_qualities(&mut plant, 0, &mut links[0]).await;
    check_values(&mut plant, 0, &mut links[0]).await;
    check_writes(&mut plant, 0, &mut links[0]).await;
    if plant.kit.sessions {
        check_sessions(&mut plant, 1, &mut links[1]).await;
    }
    check_traffic(&plant, &links[0]);
    check_path_down_and_up(&mut plant, &mut links).await;

    drop(links);
    let mut link = plant.connect(0).await;
    check_values(&mut plant, 0, &mut link).await;
    check_end(protocol, plant, link).await;
    wait_for("every task to end after all was dropped", async {
        while tasks.num_alive_tasks() > tasks_before {
            tokio::time::sleep(CADENCE).await;
        }
    })
    .await;
}

/// Waits for what must happen, or panics naming it.
async fn wait_for<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(out) = timeout(PATIENCE, future).await else {
        panic!("waited {} s in vain for {what}", PATIENCE.as_secs())
    };
    out
}

/// Waits for `future` while the link's events are read and thrown away, as a real user would
/// not let them pile up; the link must not close meanwhile.
async fn beside_events<T>(link: &mut Connection, what: &str, future: impl Future<Output = T>) -> T {
    let work = async {
        tokio::pin!(future);
        loop {
            tokio::select! {
                out = &mut future => break out,
                event = link.events.recv() => match event {
                    Some(LinkEvent::Frame(_) | LinkEvent::Sealed { .. } | LinkEvent::Alive) => {}
                    other => panic!("{what}: the link ended: {other:?}"),
                },
            }
        }
    };
    wait_for(what, work).await
}

/// Starts a server; on a fixed address it tries until that is free, since the sockets of one
/// that was dropped close only when their task is next polled.
async fn patiently<T>(
    what: &str,
    fixed: Option<SocketAddr>,
    mut start: impl FnMut() -> BoxFuture<'static, Result<T, LinkError>>,
) -> T {
    let work = async {
        loop {
            match start().await {
                Ok(server) => return server,
                Err(LinkError::Listen { .. }) if fixed.is_some() => {
                    tokio::time::sleep(CADENCE).await;
                }
                Err(error) => panic!("failed to {error}, trying to {what}"),
            }
        }
    };
    wait_for(&format!("the protocol to {what} (on {fixed:?})"), work).await
}

/// One played device and what it has reported.
struct Played {
    port: DevicePort,
    /// Tells the devices' values apart.
    base: f64,
    times: BTreeMap<u64, Timestamp>,
    next: u64,
}

impl Played {
    /// The value of a point in the measurement `sequence`: exact in binary and decimal, and
    /// different for each device, point and sequence number.
    fn value(&self, point: usize, sequence: u64) -> f64 {
        self.base + 10_000.0 * point as f64 + 0.125 * sequence as f64
    }

    /// Publishes the next measurement and gives its sequence number.
    async fn publish(&mut self, clock: &dyn Clock) -> u64 {
        let (sequence, time) = (self.next, clock.now());
        self.next += 1;
        self.times.insert(sequence, time);
        let values: Vec<f64> = (0..points().len()).map(|p| self.value(p, sequence)).collect();
        self.send(&Measurement::good(time, sequence, &values)).await;
        sequence
    }

    async fn send(&mut self, measurement: &Measurement) {
        let sent = wait_for("a publish to return", self.port.outlet.publish(measurement)).await;
        sent.unwrap_or_else(|e| panic!("failed to {e} while publishing"));
    }

    /// Finds the measurement a sample belongs to; panics if there is none or its time is wrong.
    fn origin(&self, frame: &Frame, sample: &Sample) -> u64 {
        let steps = (sample.value - self.value(sample.point.index(), 0)) / 0.125;
        let sequence = steps.round() as u64;
        let Some(time) = self.times.get(&sequence).filter(|_| (steps - steps.round()).abs() < 1e-6)
        else {
            panic!("{}: a value that was never published: {sample:?}", self.port.device)
        };
        if let Some(claimed) = frame.sequence {
            assert_eq!(claimed, sequence, "{}: sequence of {frame:?}", self.port.device);
        }
        let Some(source) = sample.source_time else {
            panic!("{}: a value without source time: {sample:?}", self.port.device)
        };
        let off = source.since(*time) + time.since(source);
        assert!(
            off <= Duration::from_millis(1),
            "{}: source time off by {off:?}",
            self.port.device
        );
        assert!(sample.quality.is_good(), "{}: a good value came as {sample:?}", self.port.device);
        sequence
    }
}

/// The running servers and the devices they play. Fields are dropped in this order.
struct Plant<'a> {
    protocol: &'a dyn Protocol,
    kit: Kit,
    clock: Arc<dyn Clock>,
    devices: Vec<Played>,
    host: Option<Host>,
    hub: Option<Hub>,
    /// What links are told as `addr`.
    address: SocketAddr,
}

impl<'a> Plant<'a> {
    async fn start(protocol: &'a dyn Protocol, kit: Kit, listen: Option<SocketAddr>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
        let mut hub = None;
        if protocol.start_hub(listen, Vec::new()).is_some() {
            let start = || protocol.start_hub(listen, Vec::new()).expect("it had one a moment ago");
            hub = Some(patiently("start the hub", listen, start).await);
        }
        let device = |(ix, path): (usize, &PathSpec)| HostedDevice {
            sealed: kit.sealed,
            device: DeviceId::from(["alpha", "beta"][ix]),
            points: points(),
            path: path.clone(),
            period: kit.period,
        };
        let request = || HostRequest {
            listen: if hub.is_some() { None } else { listen },
            hub: hub.as_ref().map(|h| h.address.to_string()),
            devices: kit.paths.iter().enumerate().map(device).collect(),
            clock: Arc::clone(&clock),
        };
        let mut host = patiently("host devices", listen, || protocol.host(request())).await;
        let address = hub.as_ref().map_or(host.address, |h| h.address);
        assert_ne!(address.port(), 0, "the server must say on which port it really listens");
        if let Some(fixed) = listen {
            assert_eq!(address, fixed, "the server must listen where it was told to");
        }
        let names: Vec<_> = host.devices.iter().map(|d| d.device.to_string()).collect();
        assert_eq!(names, ["alpha", "beta"], "one port per device, in the order of the request");
        let play = |(ix, port): (usize, DevicePort)| {
            assert!(port.requests.max_capacity() <= QUEUE_LIMIT, "the request queue is too long");
            Played { port, base: 100_000.0 * ix as f64, times: BTreeMap::new(), next: FIRST }
        };
        let devices = std::mem::take(&mut host.devices).into_iter().enumerate().map(play).collect();
        Self { protocol, kit, clock, devices, host: Some(host), hub, address }
    }

    /// Tries once to connect to a device.
    async fn try_connect(&self, ix: usize) -> Result<Connection, LinkError> {
        let context = context(&self.kit, ix, self.address, &self.clock);
        wait_for("a connect to resolve", self.protocol.connect(context)).await
    }

    async fn connect(&self, ix: usize) -> Connection {
        let link = self.try_connect(ix).await;
        let link = link.unwrap_or_else(|e| panic!("failed to {e} while connecting"));
        let bound = link.events.max_capacity();
        assert!(bound <= QUEUE_LIMIT, "the event queue holds {bound}, more than {QUEUE_LIMIT}");
        assert!(!link.endpoint.is_empty(), "a link must say where it is connected to");
        link
    }
}

fn context(kit: &Kit, ix: usize, address: SocketAddr, clock: &Arc<dyn Clock>) -> LinkContext {
    let mut path = kit.paths[ix].clone();
    path.settings.entry("addr".to_owned()).or_insert(SettingValue::Text(address.to_string()));
    LinkContext {
        sealed: kit.sealed,
        device: DeviceId::from(["alpha", "beta"][ix]),
        points: points(),
        path,
        period: kit.period,
        timeout: kit.timeout,
        clock: Arc::clone(clock),
        delivery: plantwin_model::Delivery::Latest,
    }
}

fn check_schema(protocol: &dyn Protocol, kit: &Kit) {
    let schema = protocol.schema();
    for settings in [schema.settings, schema.point_settings] {
        let keys: BTreeSet<_> = settings.iter().map(|s| s.key).collect();
        assert_eq!(keys.len(), settings.len(), "a key of {} is declared twice", schema.name);
        assert!(settings.iter().all(|s| !s.help.is_empty()), "every key explains itself");
    }
    assert!(schema.settings.iter().any(|s| s.key == "addr"), "the runtime fills in `addr`");
    for path in &kit.paths {
        assert_eq!(path.protocol, schema.name, "the kit's path names another protocol");
        let problems = (schema.validate)(path);
        assert!(problems.is_empty(), "the kit's own path is refused: {problems:?}");
    }
    let occupied = |ix: usize, device| (schema.addresses)(device, &kit.paths[ix]);
    let (a, b) = (occupied(0, "alpha"), occupied(1, "beta"));
    assert!(a.iter().all(|x| !b.contains(x)), "two devices claim the same address: {a:?} {b:?}");
}

async fn connecting_to_nobody_fails(protocol: &dyn Protocol, kit: &Kit) {
    // Bound and released: nobody listens there, neither by TCP nor by UDP.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let address = free.unwrap_or_else(|e| panic!("no free loopback port: {e}"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let connecting = protocol.connect(context(kit, 0, address, &clock));
    let Err(error) = wait_for("a connect to nobody to fail", connecting).await else {
        panic!("connected to {address}, where nobody listens")
    };
    let text = error.to_string();
    assert!(text.contains(&address.to_string()), "the error does not name {address}: {text}");
}

/// Values arrive unharmed, in order, from the right device, with the right times.
async fn check_values(plant: &mut Plant<'_>, ix: usize, link: &mut Connection) {
    let sequenced = plant.kit.sequenced;
    let clock = Arc::clone(&plant.clock);
    let begun = clock.now();
    let played = &mut plant.devices[ix];
    let mut seen: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); points().len()];
    let mut last_sequence = None;
    let mut pace = tokio::time::interval(CADENCE);
    let work = async {
        // Three measurements of every point that were taken after the check began.
        let first = played.next;
        while seen.iter().any(|s| s.range(first..).count() < 3) {
            let event = tokio::select! {
                _ = pace.tick() => { played.publish(&*clock).await; continue }
                event = link.events.recv() => event,
            };
            let frame = match event {
                Some(LinkEvent::Frame(frame)) => frame,
                Some(LinkEvent::Alive) => continue,
                ended => panic!("{}: the link ended: {ended:?}", played.port.device),
            };
            assert!(!sequenced || frame.sequence.is_some(), "a frame without sequence: {frame:?}");
            if let (Some(last), Some(now)) = (last_sequence, frame.sequence) {
                assert!(now >= last, "{}: frames out of order: {last} {now}", played.port.device);
            }
            last_sequence = frame.sequence.or(last_sequence);
            assert!(frame.received <= clock.now(), "received in the future: {frame:?}");
            for sample in frame.samples.iter().filter(|s| s.source_time.is_none_or(|t| t >= begun))
            {
                let sequence = played.origin(&frame, sample);
                let of_point = &mut seen[sample.point.index()];
                let last = of_point.last().copied().unwrap_or(0);
                assert!(sequence >= last, "{}: {sequence} after {last}", played.port.device);
                of_point.insert(sequence);
            }
        }
    };
    let name = ["alpha", "beta"][ix];
    wait_for(&format!("three values of every point of {name}"), work).await;
}

/// What a device says of its own values is kept, and a NaN does not end the link.
async fn check_qualities(plant: &mut Plant<'_>, ix: usize, link: &mut Connection) {
    let clock = Arc::clone(&plant.clock);
    let played = &mut plant.devices[ix];
    let (mut nan, mut bad) = (false, false);
    let mut pace = tokio::time::interval(CADENCE);
    let work = async {
        while !(nan && bad) {
            let event = tokio::select! {
                _ = pace.tick() => {
                    let (time, sequence) = (clock.now(), played.next);
                    played.next += 1;
                    played.times.insert(sequence, time);
                    let sample = |point, value, quality| Sample {
                        point: PointIx(point), value, quality, source_time: Some(time),
                    };
                    let samples = smallvec![
                        sample(0, f64::NAN, Quality::Good),
                        sample(1, played.value(1, sequence), Quality::Bad(Flaw::DeviceReported)),
                    ];
                    played.send(&Measurement { time, sequence, samples }).await;
                    continue;
                }
                event = link.events.recv() => event,
            };
            let frame = match event {
                Some(LinkEvent::Frame(frame)) => frame,
                Some(LinkEvent::Alive) => continue,
                ended => panic!("a NaN ended the link: {ended:?}"),
            };
            for sample in &frame.samples {
                let flawed = !sample.value.is_finite() || sample.quality.is_bad();
                nan |= sample.point == PointIx(0) && flawed;
                bad |= sample.point == PointIx(1) && sample.quality.is_bad();
            }
        }
    };
    wait_for("a NaN and a bad value to arrive as such", work).await;
}

/// Writes reach the device with point and value, and its answer comes back.
async fn check_writes(plant: &mut Plant<'_>, ix: usize, link: &mut Connection) {
    let answers = plant.kit.answers_writes;
    let requests = &mut plant.devices[ix].port.requests;
    let want = [(PointIx(2), 3.25), (PointIx(3), 0.7)];
    let writes = want.iter().map(|&(point, value)| PointWrite { point, value }).collect();
    let writing = link.control.write(writes);
    let device = async {
        let mut got = Vec::new();
        while got.len() < want.len() {
            let (point, value, reply) = next_write(requests).await;
            got.push((point, value));
            let _ = reply.send(Ok(()));
        }
        got.sort_by_key(|w| w.0);
        assert_eq!(got, want, "what the device was asked to write");
    };
    let both = async { tokio::join!(writing, device).0 };
    let done = beside_events(link, "a write to be taken", both).await;
    done.unwrap_or_else(|e| panic!("failed to {e} while writing"));

    let writing = link.control.write(vec![PointWrite { point: PointIx(2), value: 9.5 }]);
    let device = async {
        let (.., reply) = next_write(requests).await;
        let _ = reply.send(Err("interlock is open".to_owned()));
    };
    let both = async { tokio::join!(writing, device).0 };
    let done = beside_events(link, "a write to be refused", both).await;
    if answers {
        let Err(LinkError::Refused(reason)) = &done else {
            panic!("the device refused a write, but plantwin heard {done:?}")
        };
        assert!(!reason.is_empty(), "a refusal without a reason");
    }
}

async fn next_write(
    requests: &mut mpsc::Receiver<DeviceMessage>,
) -> (PointIx, f64, tokio::sync::oneshot::Sender<Result<(), String>>) {
    match requests.recv().await {
        Some(DeviceMessage::Write { point, value, reply }) => (point, value, reply),
        other => panic!("a write was sent, but the device got {other:?}"),
    }
}

/// Session bytes make the round trip, also long, empty and crossing ones, and refusals are heard.
async fn check_sessions(plant: &mut Plant<'_>, ix: usize, link: &mut Connection) {
    let requests = &mut plant.devices[ix].port.requests;
    let every_byte: Vec<u8> = (0..=255).collect();
    for request in [every_byte.clone(), every_byte.repeat(16)] {
        let want: Vec<u8> = request.iter().rev().copied().collect();
        let exchange = link.control.exchange(request);
        let both = async { tokio::join!(exchange, answer(requests, 1)).0 };
        let got = beside_events(link, "session bytes to come back", both).await;
        let got = got.unwrap_or_else(|e| panic!("failed to {e} in an exchange"));
        assert!(got == want, "session bytes were changed: {} of {}", got.len(), want.len());
    }

    let (one, two) = (link.control.exchange(vec![1; 9]), link.control.exchange(vec![2, 3]));
    let both = async { tokio::join!(one, two, answer(requests, 2)) };
    let (one, two, ()) = beside_events(link, "two exchanges at once", both).await;
    assert_eq!((one, two), (Ok(vec![1; 9]), Ok(vec![3, 2])), "two exchanges at once were mixed up");

    for refuse in [true, false] {
        let exchange = link.control.exchange(vec![1]);
        let device = async {
            match requests.recv().await {
                Some(DeviceMessage::Exchange { reply, .. }) if refuse => {
                    let _ = reply.send(Err("no session here".to_owned()));
                }
                // Dropping the reply is what a device does that cannot answer.
                Some(DeviceMessage::Exchange { .. }) => {}
                other => panic!("session bytes were sent, but the device got {other:?}"),
            }
        };
        let both = async { tokio::join!(exchange, device).0 };
        let got = beside_events(link, "an exchange to fail", both).await;
        assert!(got.is_err(), "the device gave no answer, but plantwin heard {got:?}");
    }
}

/// Answers with the reversed bytes, and in reversed order.
async fn answer(requests: &mut mpsc::Receiver<DeviceMessage>, count: usize) {
    let mut waiting = Vec::new();
    while waiting.len() < count {
        match requests.recv().await {
            Some(DeviceMessage::Exchange { request, reply }) => waiting.push((request, reply)),
            other => panic!("session bytes were sent, but the device got {other:?}"),
        }
    }
    for (mut request, reply) in waiting.into_iter().rev() {
        request.reverse();
        let _ = reply.send(Ok(request));
    }
}

fn check_traffic(plant: &Plant<'_>, link: &Connection) {
    for (who, t) in [("link", &link.traffic), ("device", &plant.devices[0].port.traffic)] {
        let t = t.snapshot();
        assert!(t.up_packets > 0 && t.down_packets > 0, "the {who} counted no messages: {t:?}");
        assert!(t.up_bytes > t.up_packets, "the {who} counted too few bytes up: {t:?}");
        assert!(t.down_bytes > t.down_packets, "the {who} counted too few bytes down: {t:?}");
    }
}

/// A path that goes down takes its link along, leaves the other device alone, and comes back.
async fn check_path_down_and_up(plant: &mut Plant<'_>, links: &mut [Connection; 2]) {
    let down = wait_for("the path to go down", plant.devices[0].port.outlet.set_up(false)).await;
    down.unwrap_or_else(|e| panic!("failed to {e} while taking a path down"));
    let silent_from = plant.devices[0].next;
    let clock = Arc::clone(&plant.clock);
    for _ in 0..3 {
        plant.devices[0].publish(&*clock).await;
    }
    expect_gone(&plant.kit, &mut links[0], Some((&plant.devices[0], silent_from))).await;
    check_values(plant, 1, &mut links[1]).await;

    let up = wait_for("the path to come up", plant.devices[0].port.outlet.set_up(true)).await;
    up.unwrap_or_else(|e| panic!("failed to {e} while taking a path up"));
    let again = async {
        loop {
            // Some devices need a moment to join their hub again, which a link may notice.
            let Ok(mut link) = plant.try_connect(0).await else {
                tokio::time::sleep(CADENCE).await;
                continue;
            };
            loop {
                plant.devices[0].publish(&*clock).await;
                match timeout(CADENCE, link.events.recv()).await {
                    Err(_) | Ok(Some(LinkEvent::Alive)) => {}
                    Ok(Some(LinkEvent::Frame(_))) => return link,
                    Ok(_) => break,
                }
            }
        }
    };
    links[0] = wait_for("values after the path came back", again).await;
    check_values(plant, 0, &mut links[0]).await;
    check_values(plant, 1, &mut links[1]).await;
}

/// The link ends, or at least is silent and fails requests.
async fn expect_gone(kit: &Kit, link: &mut Connection, silence: Option<(&Played, u64)>) {
    let check = |event: Option<LinkEvent>| match event {
        Some(LinkEvent::Frame(frame) | LinkEvent::Durable { frame, .. }) => {
            let Some((played, from)) = silence else { return false };
            for s in frame.samples.iter().filter(|s| s.quality.is_good() && s.value.is_finite()) {
                let late = played.origin(&frame, s) >= from;
                assert!(!late, "the path is down, but a value came through: {frame:?}");
            }
            false
        }
        // May have been on its way already; that requests fail is what counts.
        Some(LinkEvent::Alive | LinkEvent::Sealed { .. }) => false,
        Some(LinkEvent::Closed(_)) => true,
        None => panic!("the link's events ended without saying why"),
    };
    if kit.notices_loss {
        let closing = async { while !check(link.events.recv().await) {} };
        wait_for("the link to notice that its device is gone", closing).await;
    } else {
        let control = Arc::clone(&link.control);
        let request: BoxFuture<'_, Result<(), LinkError>> = if kit.sessions {
            Box::pin(async move { control.exchange(vec![1]).await.map(|_| ()) })
        } else {
            control.write(vec![PointWrite { point: PointIx(2), value: 1.0 }])
        };
        let work = async {
            tokio::pin!(request);
            loop {
                tokio::select! {
                    out = &mut request => {
                        assert!(out.is_err(), "a device that is gone answered a request");
                        return false;
                    }
                    event = link.events.recv() => if check(event) { return true },
                }
            }
        };
        if !wait_for("a request to a device that is gone to fail", work).await {
            return;
        }
    }
    let after = wait_for("the link's events to end", link.events.recv()).await;
    assert_eq!(after, None, "something came after the link had closed");
}

/// When the servers end, links notice, the address is free again and can be used again.
async fn check_end(protocol: &dyn Protocol, mut plant: Plant<'_>, mut link: Connection) {
    plant.devices.clear();
    plant.host = None;
    let address = plant.address;
    plant.hub = None;
    expect_gone(&plant.kit, &mut link, None).await;
    drop(link);

    let mut plant = Plant::start(protocol, plant.kit, Some(address)).await;
    let mut link = plant.connect(1).await;
    check_values(&mut plant, 1, &mut link).await;
}
