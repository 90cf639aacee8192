//! Against asyncua, an independent implementation of OPC UA in Python: as the hardware, and as a
//! client of a played device. Skipped with a loud word where it is not installed, except in CI.

mod common;

use std::{process::Stdio, sync::Arc, time::Duration};

use common::{PATIENCE, answer, available, closed, context, frame, host, path, soon};
use plantwin_adapter::{LinkEvent, Measurement, PointWrite, Protocol};
use plantwin_model::{Flaw, PointIx, Quality, Timestamp};
use plantwin_opcua::OpcUa;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

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
    async fn line(&mut self) -> Option<String> {
        soon("a line of the peer", self.lines.next_line()).await.expect("its output is text")
    }

    async fn expect(&mut self, wanted: &str) {
        assert_eq!(self.line().await.as_deref(), Some(wanted));
    }
}

#[tokio::test]
async fn an_asyncua_server_is_read_written_lost_and_found_again() {
    if !available().await {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let address = free.expect("a free port");
    let mut server = peer("peer_server.py", &address.port().to_string());
    server.expect("ready").await;

    // level: a number by its default name; flow: doubtful; voltage: Int16; split: Boolean.
    let path = path(
        &[("node", "rig"), ("namespace", "urn:peer")],
        &[(1, "ns=2;s=rig.doubtful"), (2, "ns=2;s=rig.valve"), (3, "ns=2;s=rig.pump")],
    );
    let protocol = OpcUa::new();
    let mut link = protocol.connect(context("rig", &path, address)).await.expect("it connects");
    let mut levels: Vec<(f64, Timestamp)> = Vec::new();
    let mut doubtful = None;
    while levels.len() < 5 || doubtful.is_none() {
        for s in frame(&mut link).await.samples {
            match s.point.0 {
                0 => levels.push((s.value, s.source_time.expect("asyncua gives source times"))),
                1 => doubtful = Some((s.value, s.quality)),
                _ => assert_eq!(s.quality, Quality::Good),
            }
        }
    }
    assert!(levels.windows(2).all(|w| w[0] < w[1]), "level rises: {levels:?}");
    assert_eq!(doubtful, Some((1.5, Quality::Uncertain(Flaw::DeviceReported))));

    let write =
        |point, value| link.control.write(vec![PointWrite { point: PointIx(point), value }]);
    assert_eq!(write(2, 42.0).await, Ok(()));
    server.expect("written rig.valve 42").await;
    assert_eq!(write(3, 1.0).await, Ok(()));
    server.expect("written rig.pump True").await;
    let too_much = write(2, 40_000.0).await.expect_err("it does not fit Int16").to_string();
    assert!(too_much.contains("40000 does not fit Int16"), "{too_much}");
    let plain = link.control.exchange(vec![1]).await.expect_err("asyncua has no session method");
    assert!(plain.to_string().contains("session"), "{plain}");

    server.child.kill().await.expect("it can be killed");
    closed(&mut link).await;
    assert!(protocol.connect(context("rig", &path, address)).await.is_err(), "nobody is there");

    let mut server = peer("peer_server.py", &address.port().to_string());
    server.expect("ready").await;
    let mut link = protocol.connect(context("rig", &path, address)).await.expect("it is back");
    assert!(!frame(&mut link).await.samples.is_empty());
}

#[tokio::test]
async fn a_text_of_an_asyncua_server_is_malformed_and_its_keep_alives_are_heard() {
    if !available().await {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let address = free.expect("a free port");
    let mut server = peer("peer_server.py", &address.port().to_string());
    server.expect("ready").await;
    let nodes = [(0, "ns=2;s=rig.label"), (1, "ns=2;s=rig.doubtful")];
    let path = path(&[("node", "rig"), ("namespace", "urn:peer")], &nodes);
    let mut link = OpcUa::new().connect(context("rig", &path, address)).await.expect("connects");
    let label = soon("the label", async {
        loop {
            let all = frame(&mut link).await.samples;
            if let Some(s) = all.iter().find(|s| s.point == PointIx(0)) {
                break *s;
            }
        }
    });
    let label = label.await;
    assert_eq!(label.quality, Quality::Bad(Flaw::Malformed));
    assert!(label.value.is_nan());
    let alive = async { while !matches!(link.events.recv().await, Some(LinkEvent::Alive)) {} };
    soon("a keep-alive", alive).await;
}

#[tokio::test]
async fn an_asyncua_client_browses_reads_subscribes_writes_and_is_refused() {
    if !available().await {
        return;
    }
    let mut host = host("alpha", path(&[], &[])).await;
    let mut device = host.devices.remove(0);
    let clock = Arc::new(plantwin_adapter::SystemClock::new(1.0));
    let mut sequence = 0;
    let mut publish = async |outlet: &mut Box<dyn plantwin_adapter::Outlet>| {
        sequence += 1;
        let time = plantwin_model::Clock::now(&*clock);
        let values = [10.0 + f64::from(sequence as u32), 1.0, 2.0, 0.5];
        outlet.publish(&Measurement::good(time, sequence, &values)).await.expect("it publishes");
    };
    publish(&mut device.outlet).await;

    let mut client = peer("peer_client.py", &format!("opc.tcp://{}/", host.address));
    let (mut said, mut taken) = (Vec::new(), Vec::new());
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let deadline = tokio::time::sleep(PATIENCE);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            line = client.lines.next_line() => match line.expect("its output is text") {
                Some(line) => said.push(line),
                None => break,
            },
            Some(message) = device.requests.recv() => taken.extend(answer(message)),
            _ = tick.tick() => publish(&mut device.outlet).await,
            () = &mut deadline => panic!("the client hangs after {said:?}"),
        }
    }
    let level = said.iter().find_map(|l| l.strip_prefix("level: ")).and_then(|v| v.parse().ok());
    assert!(level.is_some_and(|v: f64| v > 10.0), "{said:?}");
    said.retain(|l| !l.starts_with("level: "));
    let objects = said.remove(0);
    assert!(objects.contains("Server") && objects.contains("alpha"), "{objects}");
    let wanted = [
        "alpha: flow level sequence session split voltage",
        "description: level [cm]",
        "unit: cm",
        "subscription: rising",
        "write: ok",
        "write refused by the device: BadOutOfRange",
        "write NaN: BadOutOfRange",
        "write to a measurement: BadUserAccessDenied",
        "write of a text: BadTypeMismatch",
        "write of a whole number: BadTypeMismatch",
        "write to nowhere: BadNodeIdUnknown",
        "session: cba",
    ];
    assert_eq!(said, wanted);
    assert_eq!(taken, [2.5]);
}
