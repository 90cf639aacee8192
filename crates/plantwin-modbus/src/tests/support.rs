//! What the tests share: paths, contexts, a played device, a scripted server.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use plantwin_adapter::{
    Connection, DevicePort, Frame, Host, HostRequest, HostedDevice, LinkContext, LinkError,
    LinkEvent, Measurement, Protocol, SystemClock, Tasks, conformance,
};
use plantwin_model::{Clock, Delivery, PathSpec, PointIx, SettingValue, Span};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    Modbus,
    frame::Adu,
    pdu::{self, Exception, Request},
};

/// Longest wait for anything that must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn path(settings: &[(&str, i64)]) -> PathSpec {
    let number = |(k, v): &(&str, i64)| ((*k).to_owned(), SettingValue::Integer(*v));
    PathSpec {
        protocol: "modbus",
        settings: settings.iter().map(number).collect(),
        points: BTreeMap::new(),
        span: Span::default(),
    }
}

/// Adds a setting of a point.
pub(super) fn map(mut path: PathSpec, point: u16, key: &str, value: SettingValue) -> PathSpec {
    path.points.entry(PointIx(point)).or_default().insert(key.to_owned(), value);
    path
}

/// Maps a point: `register`, table, format.
pub(super) fn at(path: PathSpec, point: u16, register: i64, table: &str, format: &str) -> PathSpec {
    let text = |t: &str| SettingValue::Text(t.to_owned());
    let path = map(path, point, "register", SettingValue::Integer(register));
    let path = map(path, point, "table", text(table));
    map(path, point, "format", text(format))
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new(1.0))
}

pub(super) fn context(mut path: PathSpec, addr: SocketAddr, period: Duration) -> LinkContext {
    path.settings.insert("addr".to_owned(), SettingValue::Text(addr.to_string()));
    LinkContext {
        sealed: false,
        device: "alpha".into(),
        points: conformance::points(),
        path,
        period,
        timeout: Duration::from_secs(5),
        clock: clock(),
        delivery: Delivery::Latest,
    }
}

pub(super) async fn connect(protocol: &Modbus, context: LinkContext) -> Connection {
    let link = within("a connect", protocol.connect(context)).await;
    link.unwrap_or_else(|e| panic!("failed to {e}"))
}

/// Plays `alpha`.
pub(super) async fn host(path: PathSpec) -> (Host, DevicePort) {
    let period = Duration::from_millis(50);
    let device = HostedDevice {
        sealed: false,
        device: "alpha".into(),
        points: conformance::points(),
        path,
        period,
    };
    let request = HostRequest { listen: None, hub: None, devices: vec![device], clock: clock() };
    let host = Modbus::default().host(request).await;
    let mut host = host.unwrap_or_else(|e| panic!("failed to {e}"));
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
    match within("a frame", link.events.recv()).await {
        Some(LinkEvent::Frame(frame)) => frame,
        ended => panic!("the link ended: {ended:?}"),
    }
}

/// Why the link ended; frames before do not matter.
pub(super) async fn end(link: &mut Connection) -> LinkError {
    within("the end of the link", async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Closed(error)) => return error,
                Some(_) => {}
                None => panic!("the link ended without a word"),
            }
        }
    })
    .await
}

/// What a scripted server has been asked, and how it behaves.
#[derive(Default)]
pub(super) struct Script {
    /// Every request with its unit and time.
    pub(super) asked: Vec<(u8, Instant, Request)>,
    /// Connections that were accepted.
    pub(super) connections: usize,
    /// Units that never answer.
    pub(super) mute: BTreeSet<u8>,
    /// Units for which a gateway says that they do not answer.
    pub(super) dead_behind_gateway: BTreeSet<u8>,
    /// Units that answer late.
    pub(super) slow: BTreeMap<u8, Duration>,
    /// What single registers hold; others hold their own address.
    pub(super) registers: BTreeMap<u16, u16>,
    /// Registers that do not exist.
    pub(super) missing: BTreeSet<u16>,
    /// Whether it hangs up when asked who it is.
    pub(super) touchy: bool,
    /// Exception to all reads.
    pub(super) refuse_reads: Option<Exception>,
    /// Exception to all writes.
    pub(super) refuse_writes: Option<Exception>,
}

pub(super) type Shared = Arc<Mutex<Script>>;

/// A foreign Modbus server that does what the script says.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) script: Shared,
    hang_up: watch::Sender<usize>,
    _tasks: Tasks,
}

impl Server {
    pub(super) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let script = Arc::new(Mutex::new(script));
        let shared = Arc::clone(&script);
        let (hang_up, hung_up) = watch::channel(0);
        let mut tasks = Tasks::new();
        tasks.spawn(async move {
            let mut clients = Tasks::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("no test panics in it").connections += 1;
                let (script, mut end) = (Arc::clone(&shared), hung_up.clone());
                end.mark_unchanged();
                clients.spawn(async move {
                    tokio::select! {
                        () = serve(stream, script) => {}
                        _ = end.changed() => {}
                    }
                });
            }
        });
        Self { address, script, hang_up, _tasks: tasks }
    }

    /// Ends the connections of all clients.
    pub(super) fn hang_up(&self) {
        self.hang_up.send_modify(|times| *times += 1);
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Script) -> T) -> T {
        look(&mut self.script.lock().expect("no test panics in it"))
    }

    /// How often a unit was asked to read.
    pub(super) fn reads(&self, unit: u8) -> usize {
        self.with(|s| {
            let read = |r: &Request| matches!(r, Request::Read { .. });
            s.asked.iter().filter(|(u, _, r)| *u == unit && read(r)).count()
        })
    }
}

async fn serve(mut stream: TcpStream, script: Shared) {
    let mut buffer = Vec::new();
    let mut late = Tasks::new();
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(64);
    loop {
        tokio::select! {
            read = stream.read_buf(&mut buffer) => {
                if !matches!(read, Ok(n) if n > 0) {
                    return;
                }
                while let Some(adu) = Adu::take(&mut buffer).expect("the link speaks modbus") {
                    let identify = adu.pdu[0] == 43;
                    if identify && script.lock().expect("no test panics in it").touchy {
                        return;
                    }
                    let Some((answer, delay)) = react(&script, &adu) else { continue };
                    let bytes = Adu { pdu: answer, ..adu }.bytes();
                    let answers = answers.clone();
                    late.spawn(async move {
                        tokio::time::sleep(delay).await;
                        let _ = answers.send(bytes).await;
                    });
                }
            }
            Some(bytes) = ready.recv() => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn react(script: &Shared, adu: &Adu) -> Option<(Vec<u8>, Duration)> {
    let mut script = script.lock().expect("no test panics in it");
    let request = Request::parse(&adu.pdu).expect("the link asks what there is");
    script.asked.push((adu.unit, Instant::now(), request.clone()));
    if script.mute.contains(&adu.unit) {
        return None;
    }
    let refuse = |exception| pdu::refusal(request.function(), exception);
    let answer = match &request {
        _ if script.dead_behind_gateway.contains(&adu.unit) => refuse(Exception::GATEWAY_TARGET),
        Request::Read { .. } if script.refuse_reads.is_some() => {
            refuse(script.refuse_reads.unwrap_or(Exception(0)))
        }
        Request::Read { table, start, count } => {
            let range = *start..start + count;
            if range.clone().any(|r| script.missing.contains(&r)) {
                refuse(Exception::ILLEGAL_DATA_ADDRESS)
            } else {
                let value = |r| script.registers.get(&r).copied().unwrap_or(r);
                pdu::read_answer(*table, &range.map(value).collect::<Vec<_>>())
            }
        }
        Request::Write { .. } => match script.refuse_writes {
            Some(exception) => refuse(exception),
            None => pdu::write_answer(&request),
        },
        Request::Identify { .. } | Request::Native(_) => refuse(Exception::ILLEGAL_FUNCTION),
    };
    Some((answer, script.slow.get(&adu.unit).copied().unwrap_or_default()))
}
