//! TLS, client certificates and passwords at a mosquitto that asks for all of them.

pub(super) mod authority;
mod refused;

use std::{fs, path::Path, process::Command, time::Duration};

use plantwin_adapter::{Connection, DeviceMessage, LinkError, LinkEvent, PointWrite};
use plantwin_model::{Delivery, PathSpec, PointIx, SettingValue};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};

use self::authority::{Authority, secret};
use super::{
    foreign::{Mosquitto, missing},
    forward::{record, try_forward},
    frame, measurement, path, try_device, try_link, try_link_to, within,
};
use crate::tunnel::{own, private_socket};

const TOOLS: &[&str] = &["mosquitto", "mosquitto_passwd"];

/// What a broker lets its two users do.
const ACL: &str = "user plant\ntopic read dev/#\ntopic write dev/set/#\n\
                   topic write dev/session/ask/#\ntopic write north/#\n\
                   user dev\ntopic readwrite dev/#\n";

/// A broker that knows its clients by certificate and password, and the files of two of them.
struct Guarded {
    broker: Mosquitto,
    folder: TempDir,
    authority: Authority,
}

impl Guarded {
    /// The broker shows a certificate for 127.0.0.1, valid or expired.
    async fn start(valid: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("plant authority");
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        authority.issue(folder.path(), "broker", &["127.0.0.1"], valid);
        for name in ["plant", "dev"] {
            authority.issue(folder.path(), name, &[], true);
            secret(&folder.path().join(format!("{name}.password")), &format!("pass of {name}\n"));
        }
        let from = folder.path().to_owned();
        let broker = Mosquitto::start_with(|own| configuration(&from, own)).await;
        Self { broker, folder, authority }
    }

    /// A file of the folder.
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The settings by which a user gets in, some replaced; `""` takes one away.
    fn path(&self, user: &str, changed: &[(&str, &str)]) -> PathSpec {
        let mut settings = vec![
            ("ca", self.file("ca.pem")),
            ("cert", self.file(&format!("{user}.pem"))),
            ("key", self.file(&format!("{user}.key"))),
            ("username", user.to_owned()),
            ("password_file", self.file(&format!("{user}.password"))),
        ];
        for (key, new) in changed {
            settings.retain(|(known, _)| known != key);
            if !new.is_empty() {
                settings.push((key, (*new).to_owned()));
            }
        }
        let settings: Vec<_> = settings.iter().map(|(key, text)| (*key, text.as_str())).collect();
        path(&settings, &[])
    }

    async fn link(&self, changed: &[(&str, &str)]) -> Result<Connection, LinkError> {
        try_link(self.broker.address, self.path("plant", changed)).await
    }
}

fn configuration(from: &Path, own: &Path) -> String {
    let passwords = own.join("passwords");
    for (user, create) in [("plant", true), ("dev", false)] {
        let mut command = Command::new("mosquitto_passwd");
        command.args(create.then_some("-c")).arg("-b").arg(&passwords);
        let status = command.args([user, &format!("pass of {user}")]).status().unwrap();
        assert!(status.success());
    }
    fs::write(own.join("acl"), ACL).unwrap();
    format!(
        "allow_anonymous false\npassword_file {own}/passwords\nacl_file {own}/acl\n\
         cafile {from}/ca.pem\ncertfile {from}/broker.pem\nkeyfile {from}/broker.key\n\
         require_certificate true\n",
        own = own.display(),
        from = from.display(),
    )
}

#[tokio::test]
async fn whoever_shows_everything_gets_in_and_reports_writes_and_session_bytes_pass() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    let address = guarded.broker.address;
    let mut host = try_device(address, guarded.path("dev", &[]), false).await.unwrap();
    let mut link = guarded.link(&[]).await.unwrap();
    assert_eq!(link.endpoint, address.to_string());
    let outlet = &mut host.devices[0].outlet;
    for sequence in 0..500 {
        outlet.publish(&measurement(sequence, &[1.5])).await.unwrap();
        assert_eq!(frame(&mut link).await.sequence, Some(sequence));
    }
    link.control.write(vec![PointWrite { point: PointIx(2), value: 4.5 }]).await.unwrap();
    let asked = within("the write", host.devices[0].requests.recv()).await;
    assert!(matches!(asked, Some(DeviceMessage::Write { value: 4.5, .. })), "{asked:?}");
    let answering = async {
        match host.devices[0].requests.recv().await {
            Some(DeviceMessage::Exchange { reply, .. }) => reply.send(Ok(vec![1; 4096])).unwrap(),
            other => panic!("no session bytes but {other:?}"),
        }
    };
    let both = async { tokio::join!(link.control.exchange(vec![2; 4096]), answering) };
    assert_eq!(within("an answer", both).await.0, Ok(vec![1; 4096]));
    // Down means that the socket is closed, without a farewell: the broker publishes the will.
    host.devices[0].outlet.set_up(false).await.unwrap();
    let event = within("the last will", link.events.recv()).await;
    let want = LinkError::Closed("the device went offline".to_owned());
    assert_eq!(event, Some(LinkEvent::Closed(want)));
}

#[tokio::test]
async fn sealed_envelopes_pass_through_tls_with_durable_receipts() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    let address = guarded.broker.address;
    let mut host = try_device(address, guarded.path("dev", &[]), true).await.unwrap();
    let link = || try_link_to(address, guarded.path("plant", &[]), Delivery::Durable, true);
    let mut first = link().await.unwrap();
    for number in 0..20_u8 {
        host.devices[0].outlet.publish_sealed(&[number; 4096]).await.unwrap();
    }
    let expect = async |link: &mut Connection, numbers: std::ops::Range<u8>| {
        for (ix, number) in numbers.enumerate() {
            match within("an envelope", link.events.recv()).await {
                Some(LinkEvent::Sealed { envelope, receipt, .. }) => {
                    assert_eq!((envelope, receipt), (vec![number; 4096], Some(ix as u64 + 1)));
                }
                other => panic!("no envelope but {other:?}"),
            }
        }
    };
    expect(&mut first, 0..20).await;
    let before = first.traffic.snapshot().down_bytes;
    first.control.confirm(1);
    // An acknowledgement has 4 bytes, its record in TLS 1.3 at least 5 + 1 + 16 more (RFC 8446).
    let gone = async {
        while first.traffic.snapshot().down_bytes < before + 26 {
            tokio::task::yield_now().await;
        }
    };
    within("the acknowledgement to go out", gone).await;
    drop(first);
    let mut second = link().await.unwrap();
    expect(&mut second, 1..20).await;
}

#[tokio::test]
async fn a_pinned_certificate_is_enough_whatever_its_name_and_dates() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(false).await;
    let pin = guarded.file("broker.pem");
    let changed = [("ca", ""), ("pin", &pin), ("server_name", "elsewhere.example")];
    let mut link = guarded.link(&changed).await.unwrap();
    let dev = guarded.path("dev", &[("ca", ""), ("pin", &pin)]);
    let mut host = try_device(guarded.broker.address, dev, false).await.unwrap();
    host.devices[0].outlet.publish(&measurement(3, &[1.0])).await.unwrap();
    assert_eq!(frame(&mut link).await.sequence, Some(3));
}

/// Passes one connection on and counts its bytes, as (up, down).
async fn counting_proxy(listener: TcpListener, to: std::net::SocketAddr) -> (u64, u64) {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut broker = TcpStream::connect(to).await.unwrap();
    let (mut up, mut down) = (0, 0);
    let (mut one, mut other) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            from_client = client.read(&mut one) => match from_client {
                Ok(0) | Err(_) => return (up, down),
                Ok(bytes) => {
                    down += bytes as u64;
                    broker.write_all(&one[..bytes]).await.unwrap();
                }
            },
            from_broker = broker.read(&mut other) => match from_broker {
                Ok(0) | Err(_) => return (up, down),
                Ok(bytes) => {
                    up += bytes as u64;
                    client.write_all(&other[..bytes]).await.unwrap();
                }
            },
        }
    }
}

#[tokio::test]
async fn the_counters_of_a_link_tell_the_bytes_that_are_on_the_wire() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let counting = tokio::spawn(counting_proxy(listener, guarded.broker.address));
    let mut link = try_link(proxy, guarded.path("plant", &[])).await.unwrap();
    let dev = guarded.path("dev", &[]);
    let mut host = try_device(guarded.broker.address, dev, false).await.unwrap();
    for sequence in 0..50 {
        host.devices[0].outlet.publish(&measurement(sequence, &[1.0, 2.0])).await.unwrap();
        assert_eq!(frame(&mut link).await.sequence, Some(sequence));
    }
    // All that the broker had to send is there, and what we owe for it has gone out, when an
    // answer has come to what followed.
    link.control.write(vec![PointWrite { point: PointIx(2), value: 4.5 }]).await.unwrap();
    let traffic = std::sync::Arc::clone(&link.traffic);
    drop(link);
    let (up, down) = within("the proxy", counting).await.unwrap();
    let counted = traffic.snapshot();
    assert_eq!((counted.up_bytes, counted.down_bytes), (up, down));
    assert!(up > 50 * 60, "{up} bytes are more than a handshake and 50 reports");
}

#[tokio::test]
async fn records_on_their_way_out_are_acknowledged_through_tls_or_refused_by_the_broker() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    let settings = guarded.path("plant", &[]).settings;
    let mut settings: Vec<_> = settings
        .iter()
        .map(|(key, value)| match value {
            SettingValue::Text(text) => (key.as_str(), text.as_str()),
            other => panic!("{key} = {other:?}"),
        })
        .collect();
    settings.push(("topic", "north"));
    let out = try_forward(guarded.broker.address, &settings).await.unwrap();
    for number in 0..200 {
        let sent = out.sink.send(record(number));
        assert_eq!(within("an acknowledgement", sent).await, Ok(()));
    }
    settings.retain(|(key, _)| *key != "topic");
    let out = try_forward(guarded.broker.address, &settings).await.unwrap();
    let refused = within("a refusal", out.sink.send(record(1))).await;
    let want = "the broker says NotAuthorized".to_owned();
    assert_eq!(refused, Err(LinkError::Refused(want)));
}

#[tokio::test]
async fn a_broker_that_ends_is_noticed_through_tls() {
    if missing(TOOLS) {
        return;
    }
    let mut guarded = Guarded::start(true).await;
    let mut link = guarded.link(&[]).await.unwrap();
    guarded.broker.end().await;
    let reason = super::closed(&mut link).await.to_string();
    assert!(reason.contains(&guarded.broker.address.to_string()), "{reason}");
}

#[tokio::test]
async fn the_private_socket_takes_this_process_only_and_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, listener, socket) = private_socket().unwrap();
    let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    if !missing(&["mosquitto_pub"]) {
        let mut foreign = tokio::process::Command::new("mosquitto_pub")
            .args(["--unix", &socket, "-t", "a", "-m", "b"])
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let turned_away = async {
            tokio::select! {
                taken = own(&listener) => panic!("a foreign process was taken: {taken:?}"),
                status = foreign.wait() => assert!(!status.unwrap().success()),
            }
        };
        within("the foreign process to be turned away", turned_away).await;
    }
    let (ours, taken) = tokio::join!(UnixStream::connect(&socket), own(&listener));
    assert!(ours.is_ok() && taken.is_ok());
    let path = folder.path().to_owned();
    drop(folder);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_changed_password_file_is_read_at_the_next_connection() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    let file = guarded.folder.path().join("plant.password");
    secret(&file, "wrong");
    assert!(guarded.link(&[]).await.is_err());
    secret(&file, "pass of plant\r\n");
    let mut link = guarded.link(&[]).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(1), link.events.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}
