//! Foreign peers: the mosquitto broker and its command line clients.
//!
//! Where they are not installed the tests say so and pass, except under `CI=true`.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use plantwin_adapter::{LinkEvent, PointWrite};
use plantwin_model::PointIx;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{device, frame, hub, link, measurement, path, within};

/// Whether a tool is missing here; where it must not be, that fails the test.
pub(super) fn missing(tools: &[&str]) -> bool {
    let absent = |tool: &&&str| {
        let mut command = std::process::Command::new(tool);
        command.arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
    };
    let Some(tool) = tools.iter().find(absent) else { return false };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{tool} is not installed");
    eprintln!("SKIPPED: {tool} is not installed");
    true
}

/// The mosquitto broker; killed when dropped.
pub(super) struct Mosquitto {
    pub(super) address: SocketAddr,
    child: Child,
    /// Holds the configuration and what the broker saves.
    folder: tempfile::TempDir,
}

impl Mosquitto {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| "allow_anonymous true\n".to_owned()).await
    }

    /// Starts it with further lines of configuration, for which files may be put into the folder.
    pub(super) async fn start_with(more: impl Fn(&Path) -> String) -> Self {
        // Another process may take the port between our release and its bind: try again.
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let folder = tempfile::tempdir().unwrap();
            let (port, at) = (address.port(), folder.path().display());
            // The user matters only to root, as whom it could not write into the folder otherwise.
            let config = format!(
                "listener {port} 127.0.0.1\nuser root\nmax_queued_messages 0\n\
                 persistence true\npersistence_location {at}/\n{}",
                more(folder.path())
            );
            std::fs::write(folder.path().join("mosquitto.conf"), config).unwrap();
            if let Some(child) = Self::spawn(address, &folder).await {
                return Self { address, child, folder };
            }
        }
        panic!("mosquitto could not listen on any of five free ports");
    }

    async fn spawn(address: SocketAddr, folder: &tempfile::TempDir) -> Option<Child> {
        let mut child = Command::new("mosquitto")
            .arg("-c")
            .arg(folder.path().join("mosquitto.conf"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ready = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                if child.try_wait().unwrap().is_some() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            true
        };
        within("mosquitto to listen", ready).await.then_some(child)
    }

    /// Ends the broker, which saves what it must keep, and starts it again at the same address.
    pub(super) async fn restart(&mut self) {
        self.end().await;
        let again = Self::spawn(self.address, &self.folder).await;
        self.child = again.expect("mosquitto to listen at the same address again");
    }

    /// Asks the broker to end, and waits until it has.
    pub(super) async fn end(&mut self) {
        let id = self.child.id().expect("a running broker").to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        assert!(within("kill", asked).await.unwrap().success());
        within("mosquitto to end", self.child.wait()).await.unwrap();
    }
}

pub(super) async fn mosquitto_pub(to: SocketAddr, topic: &str, payload: &str) {
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-q", "1", "-p", &to.port().to_string()])
        .args(["-t", topic, "-m", payload])
        .kill_on_drop(true)
        .status();
    assert!(within("mosquitto_pub", status).await.unwrap().success());
}

/// Lines of `TOPIC PAYLOAD`; the client is killed when dropped.
pub(super) fn mosquitto_sub(of: SocketAddr, topic: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new("mosquitto_sub")
        .args(["-h", "127.0.0.1", "-q", "1", "-v", "-p", &of.port().to_string(), "-t", topic])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[tokio::test]
async fn values_of_mosquitto_pub_come_in_and_our_writes_go_out_to_mosquitto_sub() {
    if missing(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    let path = path(
        &[("topic", "lab/tank1")],
        &[
            (0, &[("topic", "tele/7/level")]),
            (1, &[("topic", "tele/7/SENSOR"), ("json", "/BME280/Flow")]),
        ],
    );
    let mut link = link(broker.address, path).await;
    mosquitto_pub(broker.address, "tele/7/level", "12.4").await;
    let got = frame(&mut link).await;
    assert_eq!((got.samples[0].point, got.samples[0].value), (PointIx(0), 12.4));
    mosquitto_pub(broker.address, "tele/7/SENSOR", r#"{"Time":"x","BME280":{"Flow":3.1}}"#).await;
    let got = frame(&mut link).await;
    assert_eq!((got.samples[0].point, got.samples[0].value), (PointIx(1), 3.1));
    mosquitto_pub(broker.address, "lab/tank1/data", r#"{"seq":3,"v":{"voltage":9}}"#).await;
    let got = frame(&mut link).await;
    assert_eq!((got.sequence, got.samples[0].value), (Some(3), 9.0));

    let (_child, mut lines) = mosquitto_sub(broker.address, "lab/tank1/set/#");
    let heard = async {
        loop {
            // Writes until the subscriber is there: an earlier one is heard by nobody.
            let write = vec![PointWrite { point: PointIx(3), value: 0.7 }];
            link.control.write(write).await.unwrap();
            let next = tokio::time::timeout(Duration::from_millis(50), lines.next_line()).await;
            if let Ok(line) = next {
                return line.unwrap().unwrap();
            }
        }
    };
    assert_eq!(within("the write", heard).await, "lab/tank1/set/split 0.7");
}

#[tokio::test]
async fn a_played_device_and_its_link_meet_at_the_mosquitto_broker() {
    if missing(&["mosquitto"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    let mut host = device(broker.address, path(&[], &[])).await;
    let mut link = link(broker.address, path(&[], &[])).await;
    host.devices[0].outlet.publish(&measurement(5, &[1.0, 2.0])).await.unwrap();
    assert_eq!(frame(&mut link).await.sequence, Some(5));
    host.devices[0].outlet.set_up(false).await.unwrap();
    let event = within("the last will", link.events.recv()).await;
    assert!(matches!(event, Some(LinkEvent::Closed(_))), "{event:?}");
}

#[tokio::test]
async fn mosquitto_clients_use_our_broker_with_retained_messages_and_quality_of_service_one() {
    if missing(&["mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let hub = hub().await;
    let mut host = device(hub.address, path(&[], &[])).await;
    let (_child, mut lines) = mosquitto_sub(hub.address, "dev/#");
    let status = within("the retained status", lines.next_line()).await.unwrap().unwrap();
    assert_eq!(status, "dev/status online");
    let sent = measurement(12, &[12.4, 3.1]);
    host.devices[0].outlet.publish(&sent).await.unwrap();
    let line = within("the data", lines.next_line()).await.unwrap().unwrap();
    let millis = sent.time.as_millis();
    let want = format!(r#"dev/data {{"seq":12,"t":{millis},"v":{{"level":12.4,"flow":3.1}}}}"#);
    assert_eq!(line, want);
    mosquitto_pub(hub.address, "dev/set/voltage", "4.5").await;
    let asked = within("the write", host.devices[0].requests.recv()).await;
    let plantwin_adapter::DeviceMessage::Write { point, value, .. } = asked.unwrap() else {
        panic!("no write")
    };
    assert_eq!((point, value), (PointIx(2), 4.5));
}
