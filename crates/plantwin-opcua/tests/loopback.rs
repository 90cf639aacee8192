//! Link and played device over real sockets: what the shared kit does not ask for.

mod common;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{answer, closed, context, frame, host, path, request, soon};
use plantwin_adapter::{LinkError, Measurement, Protocol, SystemClock};
use plantwin_model::{Clock, PointIx, SettingValue};
use plantwin_opcua::OpcUa;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn measured(sequence: u64, values: &[f64]) -> Measurement {
    Measurement::good(SystemClock::new(1.0).now(), sequence, values)
}

#[tokio::test]
async fn garbage_on_the_port_does_not_disturb_the_server() {
    let path = path(&[], &[]);
    let mut host = host("alpha", path.clone()).await;
    let m = measured(1, &[1.0, 2.0, 3.0, 0.5]);
    host.devices[0].outlet.publish(&m).await.expect("it publishes");
    // A fixed multiplicative generator (Lehmer, 1949): the same bytes in every run.
    let mut state: u64 = 88_172_645;
    let mut byte = || {
        state = state * 48_271 % 0x7fff_ffff;
        (state >> 8) as u8
    };
    for round in 0..40 {
        let mut garbage: Vec<u8> = (0..round * 50).map(|_| byte()).collect();
        match round % 4 {
            // A header that promises a message of 4 GiB, of 0 bytes, a Hello cut short.
            1 => garbage.splice(0..0, *b"HELF\xff\xff\xff\xff").for_each(drop),
            2 => garbage.splice(0..0, *b"OPNF\0\0\0\0").for_each(drop),
            3 => garbage.splice(0..0, *b"HELF\x40\0\0\0\0\0\0\0").for_each(drop),
            _ => {}
        }
        let mut socket = TcpStream::connect(host.address).await.expect("it still accepts");
        let _ = socket.write_all(&garbage).await;
        drop(socket);
    }
    let protocol = OpcUa::new();
    let context = context("alpha", &path, host.address);
    let mut link = protocol.connect(context).await.expect("it still serves");
    assert_eq!(frame(&mut link).await.sequence, Some(1));
}

#[tokio::test]
async fn a_device_is_played_at_the_nodes_the_plant_file_maps() {
    let path = path(
        &[("namespace", "urn:maker:plc")],
        &[
            (0, "ns=1;s=Tank.Level"),
            (1, "ns=7;i=1001"),
            (2, "ns=7;g=72962b91-fa75-4ae6-8d28-b404dc7daf63"),
        ],
    );
    let mut host = host("alpha", path.clone()).await;
    let m = measured(9, &[1.25, 2.25, 3.25, 0.75]);
    host.devices[0].outlet.publish(&m).await.expect("it publishes");
    let context = context("alpha", &path, host.address);
    let mut link = OpcUa::new().connect(context).await.expect("it connects");
    let mut samples = frame(&mut link).await.samples;
    samples.sort_by_key(|s| s.point);
    let values: Vec<f64> = samples.iter().map(|s| s.value).collect();
    assert_eq!(values, [1.25, 2.25, 3.25, 0.75]);
    let write =
        link.control.write(vec![plantwin_adapter::PointWrite { point: PointIx(2), value: 8.0 }]);
    let device = async {
        let message = host.devices[0].requests.recv().await.expect("the write arrives");
        assert_eq!(answer(message), Some(8.0));
    };
    assert_eq!(soon("the write", async { tokio::join!(write, device).0 }).await, Ok(()));
}

#[tokio::test]
async fn two_devices_at_one_node_and_nodes_of_the_standard_are_refused() {
    let same = || path(&[], &[(0, "ns=2;s=level")]);
    let refused = async |devices: &[(&str, plantwin_model::PathSpec)]| match OpcUa::new()
        .host(request(devices))
        .await
    {
        Err(LinkError::Settings(why)) => why,
        Err(other) => panic!("refused, but with {other:?}"),
        Ok(_) => panic!("not refused"),
    };
    let why = refused(&[("alpha", same()), ("beta", same())]).await;
    assert!(why.contains("alpha and beta both are at the node"), "{why}");
    let why = refused(&[("alpha", path(&[], &[(0, "i=2253")]))]).await;
    assert!(why.contains("belongs to OPC UA itself"), "{why}");
}

#[tokio::test]
async fn missing_nodes_are_named_and_some_missing_ones_do_not_matter() {
    let mut host = host("alpha", path(&[], &[])).await;
    let m = measured(3, &[1.0, 2.0, 3.0, 0.5]);
    host.devices[0].outlet.publish(&m).await.expect("it publishes");
    let protocol = OpcUa::new();
    let other = context("omega", &path(&[], &[]), host.address);
    let Err(LinkError::Unsupported(what)) = protocol.connect(other).await else {
        panic!("connected to a device that is not there")
    };
    assert!(what.contains("level (s=omega.level)"), "{what}");
    let partly = context("alpha", &path(&[], &[(0, "ns=2;s=alpha.depth")]), host.address);
    let mut link = protocol.connect(partly).await.expect("three of four points are there");
    let mut points: Vec<u16> = frame(&mut link).await.samples.iter().map(|s| s.point.0).collect();
    points.sort_unstable();
    assert_eq!(points, [1, 2, 3]);
}

#[tokio::test]
async fn only_the_right_password_opens_a_session() {
    let secure = ("security", "sign-encrypt");
    let login = |password| path(&[secure, ("user", "op"), ("password", password)], &[]);
    let protocol = OpcUa::new();
    let host = protocol.host(request(&[("alpha", login("secret"))])).await.expect("it starts");
    let connect = |path| {
        let mut context = context("alpha", &path, host.address);
        context.timeout = Duration::from_secs(20);
        protocol.connect(context)
    };
    assert!(connect(login("secret")).await.is_ok());
    let wrong = connect(login("guess")).await.err().expect("a wrong password is refused");
    assert!(wrong.to_string().contains("refused the user `op`"), "{wrong}");
    let nobody = connect(path(&[secure], &[])).await.err().expect("anonymous is refused");
    assert!(nobody.to_string().contains("but not for anonymous users"), "{nobody}");
    let clear = connect(path(&[], &[])).await.err().expect("a client without security is refused");
    assert!(clear.to_string().contains("it demands security"), "{clear}");
    let stranger = OpcUa::new().connect({
        let mut context = context("alpha", &login("secret"), host.address);
        context.timeout = Duration::from_secs(20);
        context
    });
    let why = stranger.await.err().expect("a server that nobody vouches for").to_string();
    assert!(why.contains("does not say whom to trust"), "{why}");
}

#[tokio::test]
async fn with_a_folder_for_certificates_only_trusted_servers_are_accepted() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("another")];
    let secure =
        |pki: &Path| path(&[("security", "sign-encrypt"), ("pki", &pki.to_string_lossy())], &[]);
    let (here, there) = (folders[0].path(), folders[1].path());
    let mut host = host("alpha", secure(there)).await;
    let m = measured(1, &[1.0, 2.0, 3.0, 0.5]);
    host.devices[0].outlet.publish(&m).await.expect("it publishes");
    let protocol = OpcUa::new();
    let connect = || {
        let mut context = context("alpha", &secure(here), host.address);
        context.timeout = Duration::from_secs(20);
        protocol.connect(context)
    };
    // Each side puts the other's certificate into `rejected`; a person moves it to `trusted`.
    for who in ["the server", "the link"] {
        assert!(connect().await.is_err(), "{who} accepted a certificate nobody trusted");
        for folder in [here, there] {
            for file in std::fs::read_dir(folder.join("rejected")).expect("a folder").flatten() {
                let trusted = folder.join("trusted").join(file.file_name());
                std::fs::rename(file.path(), trusted).expect("it can be moved");
            }
        }
    }
    let mut link = connect().await.expect("both trust each other");
    assert_eq!(frame(&mut link).await.sequence, Some(1));
}

#[tokio::test]
async fn without_security_no_certificate_folder_appears() {
    let path = path(&[], &[]);
    let host = host("alpha", path.clone()).await;
    let link = OpcUa::new().connect(context("alpha", &path, host.address)).await;
    assert!(link.is_ok());
    for name in ["pki", "own", "private", "trusted", "rejected"] {
        assert!(!Path::new(name).exists(), "`{name}` appeared in the working directory");
    }
}

#[tokio::test]
async fn link_and_device_count_nearly_the_same_bytes() {
    let path = path(&[], &[]);
    let mut host = host("alpha", path.clone()).await;
    let mut context = context("alpha", &path, host.address);
    // No keep-alives within the test.
    context.timeout = Duration::from_secs(20);
    let mut link = OpcUa::new().connect(context).await.expect("it connects");
    let device = &mut host.devices[0];
    let publish = async |device: &mut plantwin_adapter::DevicePort, n: u64| {
        let m = measured(n, &[n as f64, 2.0, 3.0, 0.5]);
        device.outlet.publish(&m).await.expect("it publishes");
    };
    publish(device, 1).await;
    while frame(&mut link).await.sequence != Some(1) {}
    let (at_link, at_device) = (link.traffic.snapshot(), device.traffic.snapshot());
    for n in 2..=60 {
        publish(device, n).await;
        while frame(&mut link).await.sequence != Some(n) {}
    }
    let (l, d) = (link.traffic.snapshot(), device.traffic.snapshot());
    let check = |way: &str, link: u64, device: u64| {
        println!("{way}: {link} at the socket, {device} computed");
        let off = link.abs_diff(device) as f64 / link as f64;
        assert!(off < 0.03, "{way}: {link} bytes at the socket, {device} computed");
    };
    check("up", l.up_bytes - at_link.up_bytes, d.up_bytes - at_device.up_bytes);
    check("down", l.down_bytes - at_link.down_bytes, d.down_bytes - at_device.down_bytes);
}

#[tokio::test]
async fn a_peer_that_falls_silent_without_closing_is_noticed() {
    let path = path(&[], &[]);
    let host = host("alpha", path.clone()).await;
    let (server, open) = (host.address, Arc::new(AtomicBool::new(true)));
    let relay = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = relay.local_addr().expect("it has one");
    let gate = Arc::clone(&open);
    let relaying = tokio::spawn(async move {
        loop {
            let Ok((client, _)) = relay.accept().await else { return };
            let Ok(server) = TcpStream::connect(server).await else { return };
            let (client, server) = (client.into_split(), server.into_split());
            for (mut from, mut to) in [(client.0, server.1), (server.0, client.1)] {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = from.read(&mut buffer).await {
                        // A closed gate swallows everything, like a pulled cable.
                        if gate.load(Relaxed) && to.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    let mut through = path.clone();
    through.settings.insert("addr".to_owned(), SettingValue::Text(address.to_string()));
    let mut context = context("alpha", &through, address);
    // It bounds the connect as well.
    context.timeout = Duration::from_secs(5);
    let mut link = OpcUa::new().connect(context).await.expect("it connects through the relay");
    open.store(false, Relaxed);
    let why = closed(&mut link).await;
    assert!(why.contains("hear from") && why.contains("5000 ms"), "{why}");
    relaying.abort();
}

/// A relay that holds back what a server says from the moment that it has made monitored items.
async fn stalling(server: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                let mut made = false;
                // OPC UA Part 6, 7.1.2.2: three letters of type, one of chunk, the length of all.
                let mut header = [0; 8];
                while from_server.read_exact(&mut header).await.is_ok() {
                    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
                    let mut body = vec![0; length as usize - header.len()];
                    let Ok(_) = from_server.read_exact(&mut body).await else { return };
                    // After channel, token, number and request the type: here i=754,
                    // CreateMonitoredItemsResponse (Part 6, Annex A).
                    made |=
                        header.starts_with(b"MSG") && body.get(16..20) == Some(&[1, 0, 0xF2, 2]);
                    if made {
                        continue;
                    }
                    let whole = [&header[..], &body].concat();
                    let Ok(()) = to_client.write_all(&whole).await else { return };
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connect_that_is_given_up_leaves_no_subscription_behind() {
    let path = path(&[], &[]);
    let mut host = host("alpha", path.clone()).await;
    let address = stalling(host.address).await;
    let mut context = context("alpha", &path, address);
    context.timeout = Duration::from_secs(1);
    let given_up = OpcUa::new().connect(context).await.err().expect("it is not answered");
    assert!(matches!(given_up, LinkError::Timeout { .. }), "{given_up:?}");
    given_back(&mut host.devices[0]).await;
}

#[tokio::test]
async fn a_link_that_is_dropped_gives_its_session_back() {
    let path = path(&[], &[]);
    let mut host = host("alpha", path.clone()).await;
    let link = OpcUa::new().connect(context("alpha", &path, host.address)).await;
    let mut link = link.expect("it connects");
    host.devices[0].outlet.publish(&measured(1, &[1.0; 4])).await.expect("it publishes");
    while frame(&mut link).await.sequence != Some(1) {}
    drop(link);
    given_back(&mut host.devices[0]).await;
}

/// Waits until no subscriber of a device is left: soon, not when the server's patience of ten
/// seconds is over, the shortest session timeout that is asked for.
async fn given_back(device: &mut plantwin_adapter::DevicePort) {
    let given_back = async {
        for sequence in 2.. {
            let before = device.traffic.snapshot().up_packets;
            let m = measured(sequence, &[1.0, 2.0, 3.0, 0.5]);
            device.outlet.publish(&m).await.expect("it publishes");
            if device.traffic.snapshot().up_packets == before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), given_back).await.expect("it is given back soon");
}
