//! DTLS with pre-shared keys between our own faces: who gets in, who does not and why, and what
//! strangers can do.

use std::{io::Write as _, net::SocketAddr, sync::atomic::Ordering, time::Duration};

use plantwin_adapter::{
    DevicePort, Host, HostRequest, LinkError, LinkEvent, PointWrite, Protocol, Tasks,
};
use plantwin_model::{PathSpec, PointIx};
use proptest::prelude::*;
use tempfile::NamedTempFile;
use tokio::{net::UdpSocket, time::Instant};

use super::{
    sealed::envelope,
    support::{
        clock, connect, context, frame, host, host_sealed, hosted, path, publish, relay,
        take_writes, within,
    },
};
use crate::{
    Coap,
    doors::{Doors, Entry},
    dtls::{Association, Broken, Flow, JOINING},
    message,
    secret::Psk,
    server::Peer,
};

/// A key in hexadecimal; libcoap wants the same bytes as text.
pub(super) const KEY: &str = "sesame-sesame-16";
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn hexadecimal(key: &str) -> String {
    use std::fmt::Write as _;
    key.bytes().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// A path with a key, and its file, which goes when it is dropped.
pub(super) fn keyed(identity: &str, key: &str) -> (PathSpec, NamedTempFile) {
    let mut file = NamedTempFile::new().expect("a temporary file");
    writeln!(file, "{}", hexadecimal(key)).expect("written");
    let name = file.path().to_str().expect("UTF-8").to_owned();
    (path(&[("psk_identity", identity), ("psk_file", &name)]), file)
}

/// A link's context on that path.
pub(super) fn secured(
    spec: PathSpec,
    at: SocketAddr,
    limit: Duration,
) -> plantwin_adapter::LinkContext {
    let mut context = context(spec, at, limit);
    let addr = plantwin_model::SettingValue::Text(format!("coaps://{at}"));
    context.path.settings.insert("addr".to_owned(), addr);
    context
}

#[tokio::test]
async fn values_and_writes_cross_dtls_over_a_network_that_loses_and_doubles() {
    let (spec, _file) = keyed("alpha", KEY);
    let (host, mut port) = host(None, spec.clone()).await;
    let mut tasks = Tasks::new();
    let (_, spare) = tokio::sync::mpsc::channel(1);
    let taken = take_writes(std::mem::replace(&mut port.requests, spare), &mut tasks);
    // A relay that loses some and doubles some, also within the handshake.
    let (address, count) = relay(host.address, &mut tasks, |n| match n {
        1 | 4 => 0,
        6 | 9 => 2,
        _ => 1,
    })
    .await;
    let mut link = connect(secured(spec, address, LIMIT)).await;
    for n in 1..=30_u32 {
        publish(&mut port, u64::from(n), &[f64::from(n) + 0.5]).await;
        let got = frame(&mut link).await;
        assert_eq!((got.sequence, got.samples[0].value), (Some(u64::from(n)), f64::from(n) + 0.5));
    }
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 3.25 }]);
    within("a write", write).await.unwrap_or_else(|e| panic!("failed to {e}"));
    assert_eq!(*taken.lock().expect("unpoisoned"), [(2, 3.25)]);
    assert!(count.load(Ordering::Relaxed) > 40);
    let (here, there) = (link.traffic.snapshot(), port.traffic.snapshot());
    assert!(here.up_bytes >= there.up_bytes, "records count on both faces: {here:?} {there:?}");
}

#[tokio::test]
async fn a_sealed_device_can_be_behind_dtls_as_well() {
    let (spec, _file) = keyed("alpha", KEY);
    let (host, mut port) = host_sealed(spec.clone()).await;
    let mut context = secured(spec, host.address, LIMIT);
    context.sealed = true;
    let mut link = connect(context).await;
    for n in 0..5_u8 {
        let sent = vec![n; 1500];
        port.outlet.publish_sealed(&sent).await.unwrap_or_else(|e| panic!("failed to {e}"));
        assert!(envelope(&mut link).await == sent);
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_identity_are_told_apart_at_once() {
    let (spec, _file) = keyed("alpha", KEY);
    let (host, _port) = host(None, spec).await;
    let begun = clock().now();
    let hour = Duration::from_hours(1);
    let mut errors = Vec::new();
    for (identity, key) in [("alpha", "another-key-of-16"), ("omega", KEY)] {
        let (wrong, _file) = keyed(identity, key);
        let link = within("a connect", Coap.connect(secured(wrong, host.address, hour))).await;
        let error = link.err().expect("it must not get in");
        assert!(matches!(error, LinkError::Refused(_)), "{error}");
        errors.push(error.to_string());
    }
    assert!(clock().now().since(begun) < Duration::from_secs(25), "known at once");
    let at = host.address;
    assert_eq!(
        errors,
        [
            format!(
                "have it accepted by the device: the key in psk_file is not the one that {at} has \
                 for the DTLS identity \"alpha\""
            ),
            format!(
                "have it accepted by the device: {at} does not know the DTLS identity \"omega\": \
                 set psk_identity to a name that it has a key for"
            ),
        ]
    );
}

#[tokio::test]
async fn a_device_without_dtls_does_not_answer_a_hello() {
    let (host, _port) = host(None, path(&[])).await;
    let (spec, _file) = keyed("alpha", KEY);
    let limit = Duration::from_millis(300);
    let error = Coap.connect(secured(spec, host.address, limit)).await.err().expect("plain only");
    assert!(matches!(error, LinkError::Timeout { millis: 300, .. }), "{error}");
}

/// Two devices with keys of their own and one without, behind one socket.
async fn three() -> (Host, Vec<DevicePort>, [PathSpec; 2], [NamedTempFile; 2]) {
    let ((one, file_one), (two, file_two)) = (keyed("one", KEY), keyed("two", "another-key-of-16"));
    let devices =
        vec![hosted("alpha", one.clone()), hosted("beta", two.clone()), hosted("gamma", path(&[]))];
    let request = HostRequest { listen: None, hub: None, devices, clock: clock() };
    let mut host = Coap.host(request).await.unwrap_or_else(|e| panic!("failed to {e}"));
    let ports = std::mem::take(&mut host.devices);
    (host, ports, [one, two], [file_one, file_two])
}

#[tokio::test]
async fn each_key_opens_its_own_device_and_no_other() {
    let (host, mut ports, [one, two], _files) = three().await;
    for port in &mut ports {
        publish(port, 1, &[1.0]).await;
    }
    let connect_to = async |device: &str, mut spec: PathSpec, keyed: bool| {
        let name = plantwin_model::SettingValue::Text(device.to_owned());
        spec.settings.insert("path".to_owned(), name);
        let context = if keyed {
            secured(spec, host.address, LIMIT)
        } else {
            context(spec, host.address, LIMIT)
        };
        Coap.connect(context).await.map(drop)
    };
    assert_eq!(connect_to("alpha", one.clone(), true).await, Ok(()));
    assert_eq!(connect_to("beta", two.clone(), true).await, Ok(()));
    assert_eq!(connect_to("gamma", path(&[]), false).await, Ok(()));
    for (device, spec, keyed, code) in [
        ("alpha", two, true, "4.03"),
        ("beta", one.clone(), true, "4.03"),
        ("gamma", one, true, "4.03"),
        ("alpha", path(&[]), false, "4.01"),
        ("beta", path(&[]), false, "4.01"),
    ] {
        let error = connect_to(device, spec, keyed).await.expect_err("it must not get in");
        assert!(matches!(&error, LinkError::Refused(t) if t.contains(code)), "{device}: {error}");
    }
}

#[tokio::test]
async fn a_forged_address_does_not_share_in_what_its_owner_has_proven() {
    let (spec, _file) = keyed("alpha", KEY);
    let (host, mut port) = host(None, spec.clone()).await;
    let mut tasks = Tasks::new();
    let (_, spare) = tokio::sync::mpsc::channel(1);
    let taken = take_writes(std::mem::replace(&mut port.requests, spare), &mut tasks);
    // All comes from the address of the relay, the link's as well as the stranger's.
    let (address, _) = relay(host.address, &mut tasks, |_| 1).await;
    let mut link = connect(secured(spec, address, LIMIT)).await;
    publish(&mut port, 1, &[1.0]).await;
    assert_eq!(frame(&mut link).await.sequence, Some(1));
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let to = ["alpha".to_owned(), "voltage".to_owned()];
    let mut put = message::request(coap_lite::RequestType::Put, &to, 7, &[9]);
    put.payload = b"9".to_vec();
    let alert = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40].to_vec();
    for bytes in [message::bytes(&put), alert] {
        stranger.send_to(&bytes, address).await.expect("sent");
    }
    let mut buffer = [0; 256];
    let answer = within("an answer", stranger.recv_from(&mut buffer)).await.expect("an answer");
    let answer = message::parse(&buffer[..answer.0]).expect("a message");
    assert_eq!(answer.header.code.to_string(), "4.01");
    assert!(taken.lock().expect("unpoisoned").is_empty());
}

/// Carries datagrams between a client's state machine and the doors until both are silent.
fn converse(
    client: &mut Association,
    doors: &mut Doors,
    at: SocketAddr,
    flow: &mut Flow,
    now: Instant,
) -> (Vec<Entry>, Result<(), Broken>) {
    let mut entries = Vec::new();
    loop {
        let mut quiet = true;
        for packet in std::mem::take(&mut flow.packets) {
            quiet = false;
            entries.extend(doors.datagram(at, &packet, now));
        }
        for (_, packet) in std::mem::take(&mut doors.out) {
            quiet = false;
            if let Err(broken) = client.take(&packet, now, flow) {
                return (entries, Err(broken));
            }
        }
        if quiet {
            return (entries, Ok(()));
        }
    }
}

fn psk(identity: &str) -> Psk {
    Psk { identity: identity.to_owned(), key: KEY.as_bytes().to_vec().into() }
}

fn join(doors: &mut Doors, at: SocketAddr, now: Instant) -> (Association, Vec<Entry>) {
    let mut client = Association::client(psk("a"), LIMIT, now).expect("a client");
    let mut flow = Flow::default();
    client.tick(now, &mut flow).expect("a hello");
    let (entries, done) = converse(&mut client, doors, at, &mut flow, now);
    assert_eq!(done, Ok(()));
    assert!(flow.connected);
    (client, entries)
}

#[test]
fn a_client_that_starts_anew_replaces_its_old_association_once_it_has_proven_its_key() {
    let now = Instant::now();
    let at = SocketAddr::from(([127, 0, 0, 1], 4000));
    let mut doors = Doors::new(vec![psk("a")]).expect("doors");
    let (mut old, _) = join(&mut doors, at, now);

    // A stranger who forges the address and cannot prove the key changes nothing.
    let mut wrong = psk("a");
    wrong.key[0] ^= 1;
    let mut liar = Association::client(wrong, LIMIT, now).expect("a client");
    let mut flow = Flow::default();
    liar.tick(now, &mut flow).expect("a hello");
    let (entries, done) = converse(&mut liar, &mut doors, at, &mut flow, now);
    assert_eq!((entries.len(), done), (0, Err(Broken::Key)));
    let mut flow = Flow::default();
    old.send(b"still here", &mut flow).expect("sent");
    assert!(flow.packets[0].windows(10).all(|w| w != b"still here"), "it can be read on the way");
    let (entries, _) = converse(&mut old, &mut doors, at, &mut flow, now);
    assert!(matches!(&entries[..], [Entry::Message(_, m)] if m == b"still here"));

    let (mut new, entries) = join(&mut doors, at, now);
    assert!(matches!(entries[..], [Entry::Gone(Peer { key: Some(0), .. })]));
    let mut flow = Flow::default();
    new.send(b"hello", &mut flow).expect("sent");
    let (entries, _) = converse(&mut new, &mut doors, at, &mut flow, now);
    assert!(matches!(&entries[..], [Entry::Message(_, m)] if m == b"hello"));
    let mut flow = Flow::default();
    new.close(&mut flow);
    let (entries, _) = converse(&mut new, &mut doors, at, &mut flow, now);
    assert!(matches!(entries[..], [Entry::Gone(_)]));
    assert_eq!(doors.count(), (0, 0));
}

#[test]
fn a_flood_of_hellos_is_limited_and_keeps_nobody_out() {
    let mut now = Instant::now();
    let mut doors = Doors::new(vec![psk("a")]).expect("doors");
    let mut client = Association::client(psk("b"), LIMIT, now).expect("a client");
    let mut flow = Flow::default();
    client.tick(now, &mut flow).expect("a hello");
    let hello = flow.packets.remove(0);
    for n in 0..2000_u16 {
        doors.datagram(([127, 0, (n >> 8) as u8, n as u8], 9).into(), &hello, now);
    }
    assert_eq!(doors.count(), (256, 0));
    let at = SocketAddr::from(([127, 0, 0, 1], 4000));
    doors.out.clear();
    join(&mut doors, at, now);
    assert_eq!(doors.count().1, 1);
    now += JOINING + Duration::from_secs(1);
    doors.tick(now);
    assert_eq!(doors.count(), (0, 1), "those who do not go on are forgotten");
    for garbage in [&b""[..], &[22], &[0x16, 0xFE, 0xFD, 0, 1, 2, 3], &[25; 40]] {
        doors.datagram(([127, 0, 0, 2], 9).into(), garbage, now);
    }
    assert_eq!(doors.count(), (0, 1), "garbage takes no room");
}

#[test]
fn a_key_file_must_be_private_sound_and_long_enough() {
    let problem = |content: &str| {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(content.as_bytes()).expect("written");
        let name = file.path().to_str().expect("UTF-8").to_owned();
        let spec = path(&[("psk_identity", "a"), ("psk_file", &name)]);
        let error = Psk::of(&spec).expect_err("it is refused").to_string();
        assert!(error.contains(&name) && error.contains("psk_file"), "{error}");
        error
    };
    assert!(problem("00112233445566778899aabbccddeexx").contains("hexadecimal"));
    assert!(problem("").contains("hexadecimal"));
    assert!(problem("001122").contains("3 bytes"));
    assert!(problem(&"00".repeat(65)).contains("65 bytes"));
    assert!(problem(&"00".repeat(600)).contains("too large"));
    let missing = path(&[("psk_identity", "a"), ("psk_file", "/nonexistent/key")]);
    let error = Psk::of(&missing).expect_err("it is refused").to_string();
    assert!(error.contains("/nonexistent/key") && error.contains("cannot be read"), "{error}");

    let (spec, file) = keyed("a", KEY);
    let psk = Psk::of(&spec).expect("a good file").expect("a key");
    assert_eq!(&psk.key[..], KEY.as_bytes());
    assert_eq!(format!("{psk:?}"), "Psk { identity: \"a\", .. }");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(file.path(), open).expect("changed");
        let error = Psk::of(&spec).expect_err("it is refused").to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
    }
    drop(file);
}

#[tokio::test]
async fn one_identity_cannot_name_two_keys_and_a_missing_key_stops_the_server() {
    let ((one, _a), (two, _b)) = (keyed("same", KEY), keyed("same", "another-key-of-16"));
    let serve = async |paths: Vec<PathSpec>| {
        let names = ["alpha", "beta"].into_iter().zip(paths);
        let devices = names.map(|(n, p)| hosted(n, p)).collect();
        let request = HostRequest { listen: None, hub: None, devices, clock: clock() };
        Coap.host(request).await.map(drop)
    };
    assert_eq!(serve(vec![one.clone(), one.clone()]).await, Ok(()), "they may share it");
    let error = serve(vec![one, two]).await.expect_err("two keys");
    assert!(error.to_string().contains("\"same\""), "{error}");
    let missing = path(&[("psk_identity", "a"), ("psk_file", "/nonexistent/key")]);
    let error = serve(vec![missing]).await.expect_err("no key, no server");
    assert!(matches!(error, LinkError::Settings(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_goes_takes_its_link_along() {
    let (spec, _file) = keyed("alpha", KEY);
    let (host, _port) = host(None, spec.clone()).await;
    let mut link = connect(secured(spec, host.address, Duration::from_secs(5))).await;
    drop(host);
    within("the end of the link", async {
        while !matches!(link.events.recv().await, Some(LinkEvent::Closed(_))) {}
    })
    .await;
}

proptest! {
    #[test]
    fn no_record_makes_doors_or_client_panic(
        kind in 18_u8..26, epoch in 0_u16..3, sequence in 0_u8..9,
        body in prop::collection::vec(any::<u8>(), 0..120), cut in any::<bool>(),
    ) {
        let mut record = vec![kind, 0xFE, 0xFD];
        record.extend_from_slice(&epoch.to_be_bytes());
        record.extend_from_slice(&[0, 0, 0, 0, 0, sequence]);
        let length = if cut { body.len() + 1 } else { body.len() } as u16;
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(&body);
        crate::handle_any_datagram(&record);
    }

    #[test]
    fn no_changed_byte_of_a_handshake_makes_either_side_panic_or_lets_it_in(
        flight in 0_usize..6, at in any::<prop::sample::Index>(), flip in 1_u8..=255,
    ) {
        let now = Instant::now();
        let peer = SocketAddr::from(([127, 0, 0, 1], 4000));
        let mut doors = Doors::new(vec![psk("a")]).expect("doors");
        let mut client = Association::client(psk("a"), LIMIT, now).expect("a client");
        let mut flow = Flow::default();
        client.tick(now, &mut flow).expect("a hello");
        let mut count = 0;
        let mut change = |mut packet: Vec<u8>| {
            if count == flight && !packet.is_empty() {
                let ix = at.index(packet.len());
                packet[ix] ^= flip;
            }
            count += 1;
            packet
        };
        for _ in 0..8 {
            for packet in std::mem::take(&mut flow.packets) {
                doors.datagram(peer, &change(packet), now);
            }
            for (_, packet) in std::mem::take(&mut doors.out) {
                let _ = client.take(&change(packet), now, &mut flow);
            }
        }
        // Whatever was changed, the two agree or neither has the other's word.
        if flow.connected {
            let mut sent = Flow::default();
            prop_assert!(client.send(b"word", &mut sent).is_ok());
            let mut heard = Vec::new();
            for packet in sent.packets {
                heard.extend(doors.datagram(peer, &packet, now));
            }
            prop_assert!(heard.iter().all(|e| !matches!(e, Entry::Message(_, m) if m != b"word")));
        }
    }
}
