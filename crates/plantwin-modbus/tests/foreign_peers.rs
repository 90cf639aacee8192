//! Against pymodbus, an independent implementation in Python: as the hardware, and as a client of
//! a played device. Skipped with a loud word where it is not installed, except in CI.

use std::{collections::BTreeMap, net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use plantwin_adapter::{
    Connection, DeviceMessage, Frame, HostRequest, HostedDevice, LinkContext, LinkError, LinkEvent,
    Measurement, PointWrite, Protocol, SystemClock, conformance,
};
use plantwin_modbus::Modbus;
use plantwin_model::{Clock, Delivery, PathSpec, PointIx, SettingValue, Span};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_mins(1);
const PERIOD: Duration = Duration::from_millis(50);

/// Whether pymodbus is there, in a version that has the simulator.
async fn available() -> bool {
    let script = "import pymodbus.simulator, pymodbus.server";
    let found = Command::new("python3").args(["-c", script]).output().await;
    if found.is_ok_and(|out| out.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have python3 with pymodbus");
    eprintln!("SKIPPED: python3 with pymodbus is not installed, so interoperability is UNTESTED");
    false
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(out) = timeout(PATIENCE, work).await else { panic!("waited in vain for {what}") };
    out
}

/// A script, killed when dropped, with its output.
struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn peer(script: &str, argument: &str) -> Peer {
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new("python3")
        .args([script.as_str(), argument])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 starts");
    let out = child.stdout.take().expect("its output is piped");
    Peer { child, lines: BufReader::new(out).lines() }
}

impl Peer {
    async fn expect(&mut self, wanted: &str) {
        let line = soon("a line of the peer", self.lines.next_line()).await;
        assert_eq!(line.expect("its output is text").as_deref(), Some(wanted));
    }
}

/// A path, and settings of points given as `(point, key, value)`.
fn path(unit: i64, points: &[(u16, &str, SettingValue)]) -> PathSpec {
    let mut path = PathSpec {
        protocol: "modbus",
        settings: BTreeMap::from([("unit".to_owned(), SettingValue::Integer(unit))]),
        points: BTreeMap::new(),
        span: Span::default(),
    };
    for (point, key, value) in points {
        let settings = path.points.entry(PointIx(*point)).or_default();
        settings.insert((*key).to_owned(), value.clone());
    }
    path
}

fn text(text: &str) -> SettingValue {
    SettingValue::Text(text.to_owned())
}

fn context(path: &PathSpec, points: usize, address: SocketAddr) -> LinkContext {
    let mut path = path.clone();
    path.settings.insert("addr".to_owned(), text(&address.to_string()));
    LinkContext {
        sealed: false,
        device: "rig".into(),
        points: conformance::points()[..points].into(),
        path,
        period: PERIOD,
        timeout: Duration::from_secs(10),
        clock: Arc::new(SystemClock::new(1.0)),
        delivery: Delivery::Latest,
    }
}

async fn frame(link: &mut Connection) -> Frame {
    match soon("a frame", link.events.recv()).await {
        Some(LinkEvent::Frame(frame)) => frame,
        ended => panic!("the link ended: {ended:?}"),
    }
}

#[tokio::test]
async fn a_pymodbus_server_is_read_written_lost_and_found_again() {
    if !available().await {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let address = free.expect("a free port");
    let mut server = peer("peer_server.py", &address.port().to_string());
    server.expect("ready").await;

    let register = |point, register| (point, "register", SettingValue::Integer(register));
    let rig = path(
        1,
        &[
            register(0, 0),
            (0, "table", text("input")),
            (0, "format", text("u16")),
            (0, "scale", SettingValue::Number(0.5)),
            register(1, 10),
            (1, "words", text("little")),
            register(2, 20),
            (2, "format", text("u16")),
            register(3, 3),
            (3, "table", text("coil")),
        ],
    );
    let modbus = Modbus::default();
    let mut link = soon("a link", modbus.connect(context(&rig, 4, address))).await.expect("up");
    let other = path(2, &[(0, "format", text("u16"))]);
    let mut second = soon("a link", modbus.connect(context(&other, 1, address))).await.expect("up");
    assert_eq!(frame(&mut second).await.samples[0].value, 7.0);

    let value = |frame: &Frame, point| {
        frame.samples.iter().find(|s| s.point == PointIx(point)).map(|s| (s.value, s.quality))
    };
    let mut levels = Vec::new();
    for _ in 0..5 {
        let frame = frame(&mut link).await;
        // 10 and 20 are read in one request although 12 to 19 do not exist: only at first.
        if value(&frame, 1).is_some_and(|v| v.1.is_good()) {
            assert_eq!(value(&frame, 1).map(|v| v.0), Some(-1.5));
            assert_eq!(value(&frame, 2).map(|v| v.0), Some(5.0));
            assert_eq!(value(&frame, 3).map(|v| v.0), Some(0.0));
        }
        levels.extend(value(&frame, 0).map(|v| v.0));
    }
    assert!(levels.windows(2).all(|w| w[1] == w[0] + 0.5), "the counter counts: {levels:?}");

    let write =
        |point, value| link.control.write(vec![PointWrite { point: PointIx(point), value }]);
    assert_eq!(soon("a write", write(2, 42.0)).await, Ok(()));
    server.expect("written 6 20 [42]").await;
    assert_eq!(soon("a write", write(3, 1.0)).await, Ok(()));
    server.expect("written 5 3 [1]").await;
    let busy = soon("a write", write(2, 13.0)).await;
    assert_eq!(busy, Err(LinkError::Refused("SERVER DEVICE BUSY".to_owned())));
    let plain = soon("an exchange", link.control.exchange(vec![1])).await;
    assert_eq!(plain, Err(LinkError::Unsupported("a session".to_owned())));
    let now = soon("the new value", async {
        loop {
            let frame = frame(&mut link).await;
            if value(&frame, 2).map(|v| v.0) == Some(42.0) {
                break value(&frame, 3);
            }
        }
    });
    assert_eq!(now.await.map(|v| v.0), Some(1.0));

    server.child.kill().await.expect("it can be killed");
    let ended = async {
        loop {
            if let Some(LinkEvent::Closed(error)) = link.events.recv().await {
                return error;
            }
        }
    };
    assert!(matches!(soon("the end", ended).await, LinkError::Closed(_)));
    assert!(modbus.connect(context(&rig, 4, address)).await.is_err(), "nobody is there");
    let mut server = peer("peer_server.py", &address.port().to_string());
    server.expect("ready").await;
    let mut link = soon("a link", modbus.connect(context(&rig, 4, address))).await.expect("back");
    assert_eq!(frame(&mut link).await.samples.len(), 4);
}

#[tokio::test]
async fn a_pymodbus_client_reads_writes_and_is_refused() {
    if !available().await {
        return;
    }
    let scaled = [(3, "format", text("u16")), (3, "scale", SettingValue::Number(0.01))];
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let device = HostedDevice {
        sealed: false,
        device: "alpha".into(),
        points: conformance::points(),
        path: path(1, &scaled),
        period: PERIOD,
    };
    let request =
        HostRequest { listen: None, hub: None, devices: vec![device], clock: Arc::clone(&clock) };
    let mut host = Modbus::default().host(request).await.expect("it listens");
    let mut device = host.devices.remove(0);
    let measured = Measurement::good(clock.now(), 1, &[12.5, 1.0, 2.0, 0.5]);
    device.outlet.publish(&measured).await.expect("it publishes");

    let mut client = peer("peer_client.py", &host.address.to_string());
    let (mut said, mut taken) = (Vec::new(), Vec::new());
    soon("the client to finish", async {
        loop {
            tokio::select! {
                line = client.lines.next_line() => match line.expect("its output is text") {
                    Some(line) => said.push(line),
                    None => break,
                },
                Some(DeviceMessage::Write { point, value, reply }) = device.requests.recv() => {
                    let fits = value < 0.9 || point == PointIx(2);
                    if fits {
                        taken.push((point.0, value));
                    }
                    let _ = reply.send(if fits { Ok(()) } else { Err("too much".to_owned()) });
                }
            }
        }
    })
    .await;
    let wanted = [
        "level: 12.5",
        "all: 7",
        "split: [50]",
        "who: {0: 'plantwin', 1: 'device', 2: '1'}",
        "write: ok",
        "write one: ok",
        "refused: exception 3",
        "read only: exception 2",
        "half: exception 2",
        "beyond: exception 2",
        "coils: exception 2",
        "stranger: exception 11",
    ];
    assert_eq!(said, wanted);
    assert_eq!(taken, [(2, 2.5), (3, 0.7)]);
}
