//! The crate's tests, most of them on real sockets.

mod admission;
mod bounds;
mod config;
mod conformance;
mod durable;
mod foreign;
mod forward;
mod greeting;
mod ids;
mod payload;
mod sealed;
mod tls;
mod wire;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use plantwin_adapter::{
    Connection, Frame, Host, HostRequest, HostedDevice, Hub, LinkContext, LinkError, LinkEvent,
    Measurement, Protocol, SystemClock, Traffic, conformance::points,
};
use plantwin_model::{Clock, Delivery, DeviceId, PathSpec, PointIx, SettingValue, Span};
use rumqttc::v5::{
    Incoming,
    mqttbytes::{QoS, v5::Publish},
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    Mqtt,
    client::{INFLIGHT, Joining, Publisher, Pump, QUEUE, Session, Side, taken},
    config::Config,
};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn value(text: &str) -> SettingValue {
    SettingValue::Text(text.to_owned())
}

/// A path with text settings, and text settings of points.
fn path(settings: &[(&str, &str)], mapped: &[(u16, &[(&str, &str)])]) -> PathSpec {
    let of = |list: &[(&str, &str)]| {
        list.iter().map(|(k, v)| ((*k).to_owned(), value(v))).collect::<BTreeMap<_, _>>()
    };
    PathSpec {
        protocol: "mqtt",
        settings: of(settings),
        points: mapped.iter().map(|(point, list)| (PointIx(*point), of(list))).collect(),
        span: Span::default(),
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new(1.0))
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn hub() -> Hub {
    hub_of(Vec::new()).await
}

async fn hub_of(guests: Vec<HostedDevice>) -> Hub {
    within("the hub", Mqtt.start_hub(None, guests).unwrap()).await.unwrap()
}

async fn try_link(address: SocketAddr, path: PathSpec) -> Result<Connection, LinkError> {
    try_link_with(address, path, Delivery::Latest).await
}

async fn try_link_with(
    address: SocketAddr,
    path: PathSpec,
    delivery: Delivery,
) -> Result<Connection, LinkError> {
    try_link_to(address, path, delivery, false).await
}

async fn try_link_to(
    address: SocketAddr,
    mut path: PathSpec,
    delivery: Delivery,
    sealed: bool,
) -> Result<Connection, LinkError> {
    path.settings.insert("addr".to_owned(), value(&address.to_string()));
    let context = LinkContext {
        sealed,
        device: DeviceId::from("dev"),
        points: points(),
        path,
        period: Duration::from_millis(50),
        timeout: Duration::from_secs(10),
        clock: clock(),
        delivery,
    };
    within("a link", Mqtt.connect(context)).await
}

async fn link(address: SocketAddr, path: PathSpec) -> Connection {
    try_link(address, path).await.unwrap()
}

async fn device(address: SocketAddr, path: PathSpec) -> Host {
    try_device(address, path, false).await.unwrap()
}

async fn try_device(address: SocketAddr, path: PathSpec, sealed: bool) -> Result<Host, LinkError> {
    let device = HostedDevice {
        sealed,
        device: DeviceId::from("dev"),
        points: points(),
        path,
        period: Duration::from_millis(50),
    };
    let request = HostRequest {
        listen: None,
        hub: Some(address.to_string()),
        devices: vec![device],
        clock: clock(),
    };
    within("a device", Mqtt.host(request)).await
}

fn measurement(sequence: u64, values: &[f64]) -> Measurement {
    Measurement::good(clock().now(), sequence, values)
}

async fn frame(link: &mut Connection) -> Frame {
    match within("a frame", link.events.recv()).await {
        Some(LinkEvent::Frame(frame)) => frame,
        other => panic!("no frame but {other:?}"),
    }
}

/// The reason why a link ended; frames before it are passed over.
async fn closed(link: &mut Connection) -> LinkError {
    let closing = async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Closed(reason)) => return reason,
                Some(_) => {}
                None => panic!("the events ended without a reason"),
            }
        }
    };
    within("the link to close", closing).await
}

/// A client that has nothing to do with devices or links.
struct Raw {
    publisher: Publisher,
    heard: mpsc::Receiver<Publish>,
    _task: plantwin_adapter::Tasks,
}

impl Raw {
    async fn connect(address: SocketAddr, topic: &str) -> Self {
        let config = Config::read(
            &DeviceId::from("raw"),
            &[],
            &path(&[("addr", &address.to_string())], &[]),
            None,
            false,
        )
        .unwrap();
        let traffic = Arc::new(Traffic::default());
        let joining = Joining {
            config: &config,
            client_id: "raw",
            will: None,
            side: Side::Device,
            session: Session::Prompt,
            queue: QUEUE,
            inflight: INFLIGHT,
            timeout: PATIENCE,
        };
        let mut pump = Pump::connect(joining, traffic).await.unwrap();
        pump.subscribe([(topic.to_owned(), QoS::AtLeastOnce)], |_| {}).await.unwrap();
        let publisher = pump.publisher();
        let (sender, heard) = mpsc::channel(64);
        let mut task = plantwin_adapter::Tasks::new();
        task.spawn(async move {
            while let Ok(packet) = pump.next().await {
                if let Incoming::Publish(message) = packet
                    && sender.send(message).await.is_err()
                {
                    return;
                }
            }
        });
        Self { publisher, heard, _task: task }
    }

    /// Publishes and waits for the broker's acknowledgement.
    async fn publish(&self, topic: &str, retain: bool, payload: impl Into<Vec<u8>>) {
        let sent = self.publisher.publish(topic, QoS::AtLeastOnce, retain, payload.into());
        within("an acknowledgement", taken(sent.await.unwrap())).await.unwrap();
    }
}
