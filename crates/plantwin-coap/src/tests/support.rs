//! What the tests share: points, contexts, a played device, a relay that misbehaves.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use plantwin_adapter::{
    Connection, DeviceMessage, DevicePort, Frame, Host, HostRequest, HostedDevice, LinkContext,
    LinkEvent, Measurement, Protocol, SystemClock, Tasks, conformance,
};
use plantwin_model::{Clock, PathSpec, PointIx, SettingValue, Span};
use tokio::{net::UdpSocket, sync::mpsc, time::timeout};

use crate::Coap;

/// Longest wait for anything that must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn path(settings: &[(&str, &str)]) -> PathSpec {
    let text = |(k, v): &(&str, &str)| ((*k).to_owned(), SettingValue::Text((*v).to_owned()));
    PathSpec {
        protocol: "coap",
        settings: settings.iter().map(text).collect(),
        points: BTreeMap::new(),
        span: Span::default(),
    }
}

/// Adds a text setting of a point.
pub(super) fn map(mut path: PathSpec, point: u16, key: &str, value: &str) -> PathSpec {
    let settings = path.points.entry(PointIx(point)).or_default();
    settings.insert(key.to_owned(), SettingValue::Text(value.to_owned()));
    path
}

pub(super) fn hosted(name: &str, path: PathSpec) -> HostedDevice {
    let period = Duration::from_millis(50);
    HostedDevice { sealed: false, device: name.into(), points: conformance::points(), path, period }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new(1.0))
}

/// A link's context for the device `alpha`.
pub(super) fn context(mut path: PathSpec, addr: SocketAddr, limit: Duration) -> LinkContext {
    path.settings.insert("addr".to_owned(), SettingValue::Text(format!("coap://{addr}")));
    LinkContext {
        sealed: false,
        device: "alpha".into(),
        points: conformance::points(),
        path,
        period: Duration::from_millis(50),
        timeout: limit,
        clock: clock(),
        delivery: plantwin_model::Delivery::Latest,
    }
}

pub(super) async fn connect(context: LinkContext) -> Connection {
    let link = within("a connect", Coap.connect(context)).await;
    link.unwrap_or_else(|e| panic!("failed to {e}"))
}

/// Plays `alpha`.
pub(super) async fn host(listen: Option<SocketAddr>, path: PathSpec) -> (Host, DevicePort) {
    let devices = vec![hosted("alpha", path)];
    let request = HostRequest { listen, hub: None, devices, clock: clock() };
    let mut host = Coap.host(request).await.unwrap_or_else(|e| panic!("failed to {e}"));
    let port = host.devices.remove(0);
    (host, port)
}

/// Plays a sealed `alpha`.
pub(super) async fn host_sealed(path: PathSpec) -> (Host, DevicePort) {
    let devices = vec![HostedDevice { sealed: true, ..hosted("alpha", path) }];
    let request = HostRequest { listen: None, hub: None, devices, clock: clock() };
    let mut host = Coap.host(request).await.unwrap_or_else(|e| panic!("failed to {e}"));
    let port = host.devices.remove(0);
    (host, port)
}

pub(super) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(out) = timeout(PATIENCE, work).await else { panic!("waited in vain for {what}") };
    out
}

pub(super) async fn publish(port: &mut DevicePort, sequence: u64, values: &[f64]) {
    let m = Measurement::good(clock().now(), sequence, values);
    port.outlet.publish(&m).await.unwrap_or_else(|e| panic!("failed to {e}"));
}

/// The next frame; a link that ends meanwhile is a failure.
pub(super) async fn frame(link: &mut Connection) -> Frame {
    within("a frame", async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Frame(frame)) => return frame,
                Some(LinkEvent::Alive) => {}
                ended => panic!("the link ended: {ended:?}"),
            }
        }
    })
    .await
}

/// Takes every write and notes it.
pub(super) fn take_writes(
    mut requests: mpsc::Receiver<DeviceMessage>,
    tasks: &mut Tasks,
) -> Arc<Mutex<Vec<(u16, f64)>>> {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&taken);
    tasks.spawn(async move {
        while let Some(message) = requests.recv().await {
            if let DeviceMessage::Write { point, value, reply } = message {
                notes.lock().expect("no test panics in it").push((point.0, value));
                let _ = reply.send(Ok(()));
            }
        }
    });
    taken
}

/// A network between one client and `server`; `copies` says how often the n-th datagram of
/// both ways together arrives.
pub(super) async fn relay(
    server: SocketAddr,
    tasks: &mut Tasks,
    copies: fn(usize) -> usize,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let front = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let back = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = front.local_addr().expect("it is bound");
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tasks.spawn(async move {
        let (mut one, mut two) = (vec![0; 8192], vec![0; 8192]);
        let mut client = None;
        loop {
            let (length, forward) = tokio::select! {
                got = front.recv_from(&mut one) => {
                    let Ok((length, from)) = got else { continue };
                    client = Some(from);
                    (length, true)
                }
                got = back.recv_from(&mut two) => {
                    let Ok((length, _)) = got else { continue };
                    (length, false)
                }
            };
            for _ in 0..copies(counter.fetch_add(1, Ordering::Relaxed)) {
                if forward {
                    let _ = back.send_to(&one[..length], server).await;
                } else if let Some(client) = client {
                    let _ = front.send_to(&two[..length], client).await;
                }
            }
        }
    });
    (address, count)
}
