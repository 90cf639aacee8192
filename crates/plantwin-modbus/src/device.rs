//! The device face: one listener, and behind it a unit for each played device.
//!
//! Absent: what is answered (see `station`), what registers hold (see `image`).

mod image;
mod station;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use plantwin_adapter::{
    DevicePort, Host, HostRequest, LinkError, Measurement, Outlet, Tasks, Traffic,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use self::{
    image::Image,
    station::{Client, Outcome, Played, Station},
};
use crate::{
    config::Config,
    frame::{Adu, HEADER},
    pdu::{Exception, PDU, refusal},
};

/// Requests that wait for one device; what comes beyond is answered as busy.
const REQUESTS: usize = 64;
/// Clients at once; a new one takes the place of the one that was silent for longest
/// (MODBUS Messaging Implementation Guide V1.0b §4.2.1.3).
const CLIENTS: usize = 64;
/// Writes of one client under way; what comes beyond is answered as busy.
const WRITES: usize = 16;

/// Plays devices behind one listener.
pub(crate) async fn host(request: HostRequest) -> Result<Host, LinkError> {
    let listen = request.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let fail = |error: std::io::Error| LinkError::Listen {
        address: listen.to_string(),
        cause: error.to_string().to_lowercase(),
    };
    let mut configs = Vec::new();
    for hosted in &request.devices {
        if hosted.sealed {
            let device = &hosted.device;
            let problem = format!("{device} is sealed, and modbus cannot carry sealed envelopes");
            return Err(LinkError::Settings(problem));
        }
        configs.push(Config::new(&hosted.points, &hosted.path)?);
    }
    let units = units(&configs)?;
    let mut station = Station::default();
    let mut devices = Vec::new();
    for ((hosted, config), unit) in request.devices.iter().zip(configs).zip(units) {
        let (requests_tx, requests) = mpsc::channel(REQUESTS);
        let traffic = Arc::new(Traffic::default());
        let played = Arc::new(Played {
            image: Mutex::new(Image::new(config.points, &hosted.points)),
            requests: requests_tx,
            traffic: Arc::clone(&traffic),
        });
        station.names.insert(hosted.device.to_string(), unit);
        station.units.insert(unit, Arc::clone(&played));
        let outlet = Box::new(ModbusOutlet(played));
        devices.push(DevicePort { device: hosted.device.clone(), outlet, requests, traffic });
    }
    let listener = TcpListener::bind(listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let mut tasks = Tasks::new();
    tasks.spawn(accept(listener, Arc::new(station)));
    Ok(Host { address, devices, tasks })
}

/// A unit for each device: its own, or the lowest that is free.
fn units(configs: &[Config]) -> Result<Vec<u8>, LinkError> {
    let mut taken: Vec<u8> = Vec::new();
    for unit in configs.iter().filter_map(|c| c.unit) {
        if taken.contains(&unit) {
            let problem = format!("two simulated devices behind one address have unit {unit}");
            return Err(LinkError::Settings(problem));
        }
        taken.push(unit);
    }
    let mut free = (1..=247).filter(|unit| !taken.contains(unit));
    let none = || LinkError::Settings("more than 247 devices behind one address".to_owned());
    configs.iter().map(|c| c.unit.or_else(|| free.next()).ok_or_else(none)).collect()
}

async fn accept(listener: TcpListener, station: Arc<Station>) {
    let mut clients = JoinSet::new();
    let mut known: VecDeque<(AbortHandle, Arc<AtomicU64>)> = VecDeque::new();
    // Counts messages of all clients, so that the one silent for longest is known.
    let messages = Arc::new(AtomicU64::new(0));
    loop {
        let stream = tokio::select! {
            biased;
            // Those who have left make room first; there are at most `CLIENTS` of them.
            Some(_) = clients.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "no client can be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        known.retain(|(client, _)| !client.is_finished());
        if known.len() >= CLIENTS
            && let Some(ix) = (0..known.len()).min_by_key(|&ix| known[ix].1.load(Relaxed))
            && let Some((client, _)) = known.remove(ix)
        {
            client.abort();
        }
        let heard = Arc::new(AtomicU64::new(messages.fetch_add(1, Relaxed)));
        let client = Connection {
            client: Client::new(Arc::clone(&station)),
            station: Arc::clone(&station),
            heard: Arc::clone(&heard),
            messages: Arc::clone(&messages),
        };
        known.push_back((clients.spawn(client.run(stream)), heard));
    }
}

/// A client's connection.
struct Connection {
    client: Client,
    station: Arc<Station>,
    /// When it said something last, as a number of `messages`.
    heard: Arc<AtomicU64>,
    messages: Arc<AtomicU64>,
}

impl Connection {
    /// Serves until the client hangs up or says what is not Modbus.
    async fn run(mut self, stream: TcpStream) {
        if let Err(error) = self.serve(stream).await {
            tracing::debug!(%error, "a client's connection ended");
        }
    }

    async fn serve(&mut self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(2 * (HEADER + PDU));
        let mut later: FuturesUnordered<BoxFuture<'static, Adu>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                // Answers first: there are at most `WRITES` of them, and requests without end.
                Some(adu) = later.next() => self.send(&mut stream, adu).await?,
                read = stream.read_buf(&mut buffer) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Some(adu) = Adu::take(&mut buffer).map_err(std::io::Error::other)? {
                        self.heard.store(self.messages.fetch_add(1, Relaxed), Relaxed);
                        let Adu { transaction, unit, pdu } = adu;
                        if let Some(traffic) = self.traffic(unit) {
                            traffic.down(HEADER + pdu.len());
                        }
                        match self.client.handle(unit, &pdu) {
                            Outcome::Now(pdu) => {
                                self.send(&mut stream, Adu { transaction, unit, pdu }).await?;
                            }
                            Outcome::Later(_) if later.len() >= WRITES => {
                                let pdu = refusal(pdu[0], Exception::SERVER_DEVICE_BUSY);
                                self.send(&mut stream, Adu { transaction, unit, pdu }).await?;
                            }
                            Outcome::Later(answer) => {
                                let adu = async move { Adu { transaction, unit, pdu: answer.await } };
                                later.push(adu.boxed());
                            }
                            Outcome::Silence => {}
                        }
                    }
                }
            }
        }
    }

    fn traffic(&self, unit: u8) -> Option<&Traffic> {
        self.station.units.get(&unit).map(|played| &*played.traffic)
    }

    /// Sends an answer, unless its device has fallen silent meanwhile.
    async fn send(&self, stream: &mut TcpStream, adu: Adu) -> std::io::Result<()> {
        let played = self.station.units.get(&adu.unit);
        if played.is_some_and(|played| !played.image().up) {
            return Ok(());
        }
        let bytes = adu.bytes();
        stream.write_all(&bytes).await?;
        if let Some(played) = played {
            played.traffic.up(bytes.len());
        }
        Ok(())
    }
}

/// Where one device reports: its registers, which clients poll.
struct ModbusOutlet(Arc<Played>);

impl Outlet for ModbusOutlet {
    fn publish<'a>(&'a mut self, m: &'a Measurement) -> BoxFuture<'a, Result<(), LinkError>> {
        self.0.image().publish(m);
        std::future::ready(Ok(())).boxed()
    }

    fn set_up(&mut self, up: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        self.0.image().up = up;
        std::future::ready(Ok(())).boxed()
    }
}

/// See [`crate::handle_any_bytes`].
pub(crate) fn handle_any_bytes(bytes: &[u8]) {
    let (requests, _waiting) = mpsc::channel(1);
    let played = Played {
        image: Mutex::new(Image::new(Vec::new(), &[])),
        requests,
        traffic: Arc::new(Traffic::default()),
    };
    let mut station = Station::default();
    station.units.insert(1, Arc::new(played));
    let mut client = Client::new(Arc::new(station));
    let mut buffer = bytes.to_vec();
    while let Ok(Some(adu)) = Adu::take(&mut buffer) {
        let _ = client.handle(adu.unit, &adu.pdu);
    }
    // Most bytes are no frame: once more without the need for one.
    let _ = client.handle(1, bytes);
}
