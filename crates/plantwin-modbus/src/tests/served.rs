//! Played devices towards a client that speaks plain Modbus, byte by byte.

use std::{net::SocketAddr, time::Duration};

use plantwin_adapter::{
    DeviceMessage, HostRequest, HostedDevice, LinkError, Measurement, Protocol, Sample, conformance,
};
use plantwin_model::{Flaw, PathSpec, PointIx, Quality};
use smallvec::smallvec;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::support::{at, clock, connect, context, frame, host, path, publish, within};
use crate::{
    Modbus,
    frame::Adu,
    native::{Ask, SERVER},
    pdu::{NATIVE, Request, Table},
};

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        Self { stream, buffer: Vec::new() }
    }

    async fn send(&mut self, transaction: u16, unit: u8, pdu: &[u8]) {
        let bytes = Adu { transaction, unit, pdu: pdu.to_vec() }.bytes();
        self.stream.write_all(&bytes).await.expect("sent");
    }

    /// The next answer, or `None` if the server hangs up.
    async fn next(&mut self) -> Option<Adu> {
        within("an answer", async {
            loop {
                if let Some(adu) = Adu::take(&mut self.buffer).expect("modbus") {
                    return Some(adu);
                }
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        })
        .await
    }

    async fn ask(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.send(77, unit, pdu).await;
        let answer = self.next().await.expect("an answer");
        assert_eq!((answer.transaction, answer.unit), (77, unit));
        answer.pdu
    }
}

fn mixed() -> PathSpec {
    let spec = at(path(&[("unit", 4)]), 0, 10, "input", "u16");
    let spec = at(spec, 1, 0, "input", "f32");
    let spec = at(spec, 2, 100, "holding", "f32");
    at(spec, 3, 3, "coil", "bool")
}

#[tokio::test]
async fn a_plain_client_reads_values_and_is_never_given_a_bad_one() {
    let (host, mut port) = host(mixed()).await;
    let mut client = Client::new(host.address).await;
    let input = |start, count| Request::Read { table: Table::Input, start, count }.bytes();
    let coil = Request::Read { table: Table::Coil, start: 3, count: 1 }.bytes();
    // Nothing was measured yet: NaN, or no answer worth the name.
    assert_eq!(client.ask(4, &input(0, 2)).await, [4, 4, 0x7F, 0xC0, 0, 0]);
    assert_eq!(client.ask(4, &input(10, 1)).await, [0x84, 4]);
    assert_eq!(client.ask(4, &coil).await, [0x81, 4]);

    publish(&mut port, 1, &[513.0, 1.5, 2.5, 1.0]).await;
    assert_eq!(client.ask(4, &input(10, 1)).await, [4, 2, 2, 1]);
    assert_eq!(client.ask(4, &coil).await, [1, 1, 1]);
    let all = client.ask(4, &input(0, 11)).await;
    assert_eq!(all[..6], [4, 22, 0x3F, 0xC0, 0, 0], "1.5, then a gap of zeros");
    assert_eq!(all[6..22], [0; 16]);
    assert_eq!(all[22..], [2, 1]);

    // A value that does not fit its register, and one that the device itself calls bad.
    let sample =
        |point, value, quality| Sample { point: PointIx(point), value, quality, source_time: None };
    let samples = smallvec![
        sample(0, 70_000.0, Quality::Good),
        sample(1, 9.0, Quality::Bad(Flaw::DeviceReported)),
    ];
    let bad = Measurement { time: clock().now(), sequence: 2, samples };
    port.outlet.publish(&bad).await.expect("it publishes");
    assert_eq!(client.ask(4, &input(10, 1)).await, [0x84, 4]);
    assert_eq!(client.ask(4, &input(0, 2)).await, [4, 4, 0x7F, 0xC0, 0, 0]);

    for (request, exception) in [
        (input(11, 1), 2),
        (input(10, 2), 2),
        (Request::Read { table: Table::Discrete, start: 0, count: 1 }.bytes(), 2),
        (vec![4, 0, 0, 0, 126], 3),
        (vec![4, 0xFF, 0xFF, 0, 2], 2),
        (vec![7], 1),
        (vec![NATIVE, 99], 3),
    ] {
        assert_eq!(client.ask(4, &request).await, [request[0] | 0x80, exception], "{request:?}");
    }
    assert_eq!(client.ask(5, &input(0, 1)).await, [0x84, 11], "no such unit");
    let identity = client.ask(4, &Request::Identify { code: 1, object: 0 }.bytes()).await;
    assert_eq!(identity[7..17], *b"\x00\x08plantwin");
    let traffic = port.traffic.snapshot();
    assert!(traffic.up_bytes > 100 && traffic.down_packets >= 15, "{traffic:?}");
}

#[tokio::test]
async fn writes_reach_the_simulation_as_whole_values_and_its_refusal_is_an_exception() {
    let (host, mut port) = host(mixed()).await;
    let mut client = Client::new(host.address).await;
    let write = |table, start, values: &[u16], single| {
        Request::Write { table, start, values: values.to_vec(), single }.bytes()
    };
    // 3.25 is 40500000.
    let good = write(Table::Holding, 100, &[0x4050, 0], false);
    client.send(1, 4, &good).await;
    let Some(DeviceMessage::Write { point: PointIx(2), value: 3.25, reply }) =
        within("a write", port.requests.recv()).await
    else {
        panic!("not the write that was sent")
    };
    // While the device thinks, others are served on the same connection.
    let coil = write(Table::Coil, 3, &[1], true);
    client.send(2, 4, &coil).await;
    let Some(DeviceMessage::Write { point: PointIx(3), value: 1.0, reply: other }) =
        within("a write", port.requests.recv()).await
    else {
        panic!("not the write that was sent")
    };
    other.send(Err("interlock is open".to_owned())).expect("it is waited for");
    let refused = client.next().await.expect("an answer");
    assert_eq!((refused.transaction, &refused.pdu[..]), (2, &[0x85, 3][..]));
    reply.send(Ok(())).expect("it is waited for");
    let taken = client.next().await.expect("an answer");
    assert_eq!((taken.transaction, &taken.pdu[..]), (1, &[16, 0, 100, 0, 2][..]));

    for request in [
        write(Table::Holding, 100, &[0x4050], true),
        write(Table::Holding, 101, &[0], true),
        write(Table::Holding, 100, &[0, 0, 0], false),
        write(Table::Holding, 99, &[0, 0, 0], false),
    ] {
        assert_eq!(client.ask(4, &request).await, [request[0] | 0x80, 2], "{request:?}");
    }
    assert_eq!(client.ask(4, &[5, 0, 3, 0x12, 0x34]).await, [0x85, 3]);

    client.send(9, 4, &good).await;
    let Some(DeviceMessage::Write { reply, .. }) = within("a write", port.requests.recv()).await
    else {
        panic!("not the write that was sent")
    };
    port.outlet.set_up(false).await.expect("it goes down");
    reply.send(Ok(())).expect("it is waited for");
    let silence = timeout(Duration::from_millis(200), client.stream.read_u8()).await;
    assert!(silence.is_err(), "a device that is down answered");
}

#[tokio::test]
async fn a_client_that_does_not_speak_modbus_is_hung_up_on() {
    let (host, _port) = host(mixed()).await;
    let mut client = Client::new(host.address).await;
    client.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn a_client_too_many_takes_the_place_of_the_one_silent_for_longest() {
    let (host, mut port) = host(mixed()).await;
    publish(&mut port, 1, &[1.0; 4]).await;
    let read = Request::Read { table: Table::Input, start: 10, count: 1 }.bytes();
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = Client::new(host.address).await;
        client.ask(4, &read).await;
        clients.push(client);
    }
    clients[0].ask(4, &read).await;
    let mut late = Client::new(host.address).await;
    assert_eq!(late.ask(4, &read).await, [4, 2, 0, 1]);
    assert_eq!(clients[1].next().await, None, "it was silent for longest");
    assert_eq!(clients[0].ask(4, &read).await, [4, 2, 0, 1]);
    assert_eq!(clients[63].ask(4, &read).await, [4, 2, 0, 1]);
}

#[tokio::test]
async fn session_parts_out_of_order_are_refused_and_old_exchanges_give_way() {
    let (host, mut port) = host(mixed()).await;
    let mut client = Client::new(host.address).await;
    let native = |ask: Ask| Request::Native(ask.bytes()).bytes();
    let put = |id, total, offset, bytes: &[u8]| {
        native(Ask::Put { id, total, offset, bytes: bytes.to_vec() })
    };
    let refused = [NATIVE | 0x80, 3];
    assert_eq!(client.ask(4, &put(1, 9, 3, b"abc")).await, refused, "it has not begun");
    assert_eq!(client.ask(4, &put(1, 5000, 0, b"abc")).await, refused, "it is too long");
    assert_eq!(client.ask(4, &put(1, 9, 0, b"abc")).await, [NATIVE, 3]);
    assert_eq!(client.ask(4, &put(1, 9, 4, b"abc")).await, refused, "a part is missing");
    assert_eq!(client.ask(4, &put(1, 8, 3, b"abc")).await, refused, "another length");
    assert_eq!(client.ask(4, &put(1, 9, 3, b"abcdefg")).await, refused, "too much");
    assert_eq!(client.ask(4, &native(Ask::Get { id: 1, offset: 0 })).await, refused);
    for id in 2..66 {
        assert_eq!(client.ask(4, &put(id, 9, 0, b"abc")).await, [NATIVE, 3]);
    }
    assert_eq!(client.ask(4, &put(1, 9, 3, b"abc")).await, refused, "it gave way");
    assert_eq!(client.ask(4, &put(2, 9, 3, b"defghi")).await, [NATIVE, 3]);
    let Some(DeviceMessage::Exchange { request, reply }) =
        within("session bytes", port.requests.recv()).await
    else {
        panic!("not the session bytes that were sent")
    };
    assert_eq!(request, b"abcdefghi");
    let get = native(Ask::Get { id: 2, offset: 0 });
    assert_eq!(client.ask(4, &get).await, [NATIVE, 4, 0, 0, 0], "it thinks");
    reply.send(Ok(b"xyz".to_vec())).expect("it is waited for");
    assert_eq!(client.ask(4, &get).await, [NATIVE, 4, 1, 0, 3, b'x', b'y', b'z']);
    assert_eq!(client.ask(4, &get).await, refused, "it was fetched");
}

#[tokio::test]
async fn a_link_finds_its_device_by_name_and_nobody_else_s() {
    let device = |name: &str, settings: &[(&str, i64)]| HostedDevice {
        sealed: false,
        device: name.into(),
        points: conformance::points(),
        path: path(settings),
        period: Duration::from_millis(50),
    };
    let request = |devices| HostRequest { listen: None, hub: None, devices, clock: clock() };
    let devices = vec![device("zeta", &[]), device("beta", &[("unit", 1)]), device("alpha", &[])];
    let modbus = Modbus::default();
    let mut host = modbus.host(request(devices)).await.unwrap_or_else(|e| panic!("failed to {e}"));
    publish(&mut host.devices[2], 5, &[42.0, 0.0, 0.0, 0.0]).await;
    let mut link =
        connect(&modbus, context(path(&[]), host.address, Duration::from_millis(50))).await;
    let values = frame(&mut link).await;
    assert_eq!((values.samples[0].value, values.sequence), (42.0, Some(5)));
    assert_eq!(link.endpoint, format!("{} unit 3", host.address));

    let mut stranger = context(path(&[]), host.address, Duration::from_millis(50));
    stranger.device = "omega".into();
    let refused = within("a connect", modbus.connect(stranger)).await.err();
    assert_eq!(refused, Some(LinkError::Unsupported("a device named omega".to_owned())));
    let mut client = Client::new(host.address).await;
    let read = Request::Read { table: Table::Holding, start: 0, count: 1 }.bytes();
    assert_eq!(client.ask(SERVER, &read).await, [0x83, 11]);

    let twice = vec![device("one", &[("unit", 7)]), device("two", &[("unit", 7)])];
    let refused = modbus.host(request(twice)).await.err().expect("they share a unit");
    let text = "use the path settings: two simulated devices behind one address have unit 7";
    assert_eq!(refused.to_string(), text);
    let many = (0..248).map(|n| device(&format!("d{n}"), &[])).collect();
    assert!(matches!(modbus.host(request(many)).await, Err(LinkError::Settings(_))));
}

#[tokio::test]
async fn many_points_are_read_in_several_requests_of_one_measurement() {
    // 64 points of 4 registers: 256 registers, three native requests.
    let one = &conformance::points()[0];
    let points: Vec<_> = (0..64)
        .map(|n| plantwin_model::PointSpec { name: format!("p{n}").as_str().into(), ..one.clone() })
        .collect();
    let spec = (0..64).fold(path(&[("unit", 1)]), |p, n| {
        let text = plantwin_model::SettingValue::Text("f64".to_owned());
        super::support::map(p, n, "format", text)
    });
    let device = HostedDevice {
        sealed: false,
        device: "alpha".into(),
        points: points.clone().into(),
        path: spec.clone(),
        period: Duration::from_millis(50),
    };
    let request = HostRequest { listen: None, hub: None, devices: vec![device], clock: clock() };
    let modbus = Modbus::default();
    let mut host = modbus.host(request).await.unwrap_or_else(|e| panic!("failed to {e}"));
    let values: Vec<f64> = (0..64).map(|n| f64::from(n) / 3.0).collect();
    publish(&mut host.devices[0], 9, &values).await;
    let mut context = context(spec, host.address, Duration::from_millis(50));
    context.points = points.into();
    let mut link = connect(&modbus, context).await;
    let all = frame(&mut link).await;
    assert_eq!(all.sequence, Some(9));
    let got: Vec<f64> = all.samples.iter().map(|s| s.value).collect();
    assert_eq!(got, values);
}
