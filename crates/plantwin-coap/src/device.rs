//! The device face: a socket and a task around the server's state machine. Messages and DTLS
//! records share the socket, since they begin differently (RFC 7983 §7).
//!
//! Absent: the protocol itself (see `server`), DTLS (see `doors`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use coap_lite::ResponseType;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use plantwin_adapter::{
    DevicePort, Host, HostRequest, LinkError, Measurement, Outlet, SEALED_LIMIT, Tasks, Traffic,
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    doors::{Doors, Entry},
    message::DATAGRAM,
    secret::Psk,
    server::{Answer, Ask, Outgoing, Reply, Server},
};

/// Orders of all devices that wait for the task; a device that measures faster waits.
const ORDERS: usize = 1024;
/// Requests that wait for one device; what comes beyond is answered with 5.03.
const REQUESTS: usize = 64;
/// Longest that a device may think about a request.
const THINKING: Duration = Duration::from_secs(30);

/// Longest wait for the system to take a datagram; one that it does not take is lost, as any may
/// be.
const SENDING: Duration = Duration::from_secs(1);

/// What an outlet tells the task.
enum Order {
    Publish(usize, Measurement),
    Sealed(usize, Vec<u8>),
    SetUp(usize, bool, oneshot::Sender<()>),
}

/// Plays devices behind one socket.
pub(crate) async fn host(request: HostRequest) -> Result<Host, LinkError> {
    let listen = request.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let fail = |error: std::io::Error| LinkError::Listen {
        address: listen.to_string(),
        cause: error.to_string().to_lowercase(),
    };
    let mut server = Server::default();
    let (orders, orders_rx) = mpsc::channel(ORDERS);
    let mut devices = Vec::new();
    let mut keys = Vec::new();
    for (ix, hosted) in request.devices.iter().enumerate() {
        let key = match Psk::of(&hosted.path)? {
            Some(psk) => Some(number_of(psk, &mut keys)?),
            None => None,
        };
        let (requests_tx, requests) = mpsc::channel(REQUESTS);
        let traffic = Arc::new(Traffic::default());
        server.add(hosted, key, request.clock.speed(), requests_tx, Arc::clone(&traffic))?;
        devices.push(DevicePort {
            device: hosted.device.clone(),
            outlet: Box::new(CoapOutlet {
                device: ix,
                sealed: hosted.sealed,
                orders: orders.clone(),
            }),
            requests,
            traffic,
        });
    }
    let doors = if keys.is_empty() { None } else { Some(Doors::new(keys)?) };
    let socket = UdpSocket::bind(listen).await.map_err(fail)?;
    let address = socket.local_addr().map_err(fail)?;
    let mut tasks = Tasks::new();
    let front = Front { server, doors, socket, answers: FuturesUnordered::new(), out: Vec::new() };
    tasks.spawn(front.serve(orders_rx));
    Ok(Host { address, devices, tasks })
}

/// The number of a key among those of a server. Devices may share one, but then it has one name.
fn number_of(psk: Psk, keys: &mut Vec<Psk>) -> Result<u16, LinkError> {
    let known = keys.iter().position(|k| k.identity == psk.identity);
    let number = known.unwrap_or(keys.len());
    match keys.get(number) {
        Some(same) if *same == psk => {}
        Some(_) => {
            return Err(LinkError::Settings(format!(
                "`psk_identity`: \"{}\" names two different keys on one server: give each its own \
                 name",
                psk.identity
            )));
        }
        None => keys.push(psk),
    }
    u16::try_from(number)
        .map_err(|_| LinkError::Settings("`psk_identity`: too many keys on one server".to_owned()))
}

/// A socket with all that is behind it.
struct Front {
    server: Server,
    /// Where clients with a key come in; without any device that has one there are none.
    doors: Option<Doors>,
    socket: UdpSocket,
    answers: FuturesUnordered<BoxFuture<'static, (u64, Answer)>>,
    out: Outgoing,
}

impl Front {
    async fn serve(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            self.send().await;
            let knock = self.doors.as_ref().and_then(Doors::next_wake);
            let wake = self.server.next_wake().into_iter().chain(knock).min();
            // What is due and what devices say comes first: both are bounded, what comes from
            // the network is not.
            tokio::select! {
                biased;
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    let now = Instant::now();
                    self.server.tick(now, &mut self.out);
                    if let Some(doors) = &mut self.doors {
                        doors.tick(now);
                    }
                }
                Some((number, answer)) = self.answers.next() => {
                    self.server.answered(number, answer, Instant::now(), &mut self.out);
                }
                Some(order) = orders.recv() => self.order(order),
                got = self.socket.recv_from(&mut buffer) => match got {
                    // One that fills the buffer was cut off by the kernel.
                    Ok((length, from)) if length < buffer.len() => {
                        self.datagram(from, &buffer[..length]);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the CoAP socket cannot be read");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    fn order(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Publish(device, measurement) => {
                self.server.publish(device, measurement, now, &mut self.out);
            }
            Order::Sealed(device, envelope) => {
                self.server.publish_sealed(device, &envelope, now, &mut self.out);
            }
            Order::SetUp(device, up, done) => {
                self.server.set_up(device, up);
                let _ = done.send(());
            }
        }
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let now = Instant::now();
        let entries = match &mut self.doors {
            Some(doors) if Doors::is_dtls(bytes) => doors.datagram(from, bytes, now),
            _ => vec![Entry::Message(from.into(), bytes.to_vec())],
        };
        for entry in entries {
            match entry {
                Entry::Gone(peer) => self.server.forget(peer),
                Entry::Message(peer, message) => {
                    let ask = self.server.datagram(peer, &message, now, &mut self.out);
                    self.answers.extend(ask.map(|ask| answer(ask).boxed()));
                }
            }
        }
    }

    async fn send(&mut self) {
        for (to, message) in std::mem::take(&mut self.out) {
            if to.key.is_none() {
                transmit(&self.socket, to.at, &message).await;
            } else if let Some(Entry::Gone(peer)) =
                self.doors.as_mut().and_then(|doors| doors.send(to, &message))
            {
                self.server.forget(peer);
            }
        }
        let records = self.doors.as_mut().map(|d| std::mem::take(&mut d.out));
        for (to, record) in records.unwrap_or_default() {
            transmit(&self.socket, to, &record).await;
        }
    }
}

async fn transmit(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
    let sent = timeout(SENDING, socket.send_to(bytes, to)).await;
    if let Err(error) = sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        tracing::debug!(%to, %error, "a datagram could not be sent");
    }
}

/// Waits for a device's answer.
async fn answer(ask: Ask) -> (u64, Answer) {
    let gone = || (ResponseType::ServiceUnavailable, "the device gave no answer".to_owned());
    let thinking = async {
        match ask.reply {
            Reply::Write(reply) => match reply.await {
                Ok(Ok(())) => Ok((ResponseType::Changed, Vec::new())),
                Ok(Err(reason)) => Err((ResponseType::Conflict, reason)),
                Err(_) => Err(gone()),
            },
            Reply::Exchange(reply) => match reply.await {
                Ok(Ok(bytes)) => Ok((ResponseType::Changed, bytes)),
                Ok(Err(reason)) => Err((ResponseType::Forbidden, reason)),
                Err(_) => Err(gone()),
            },
        }
    };
    let late = || Err((ResponseType::GatewayTimeout, "the device thinks too long".to_owned()));
    (ask.number, timeout(THINKING, thinking).await.unwrap_or_else(|_| late()))
}

/// Where one device reports.
struct CoapOutlet {
    device: usize,
    sealed: bool,
    orders: mpsc::Sender<Order>,
}

impl CoapOutlet {
    async fn order(&self, order: Order) -> Result<(), LinkError> {
        let ended = |_| LinkError::Closed("the server of the devices has ended".to_owned());
        self.orders.send(order).await.map_err(ended)
    }
}

impl Outlet for CoapOutlet {
    fn publish<'a>(&'a mut self, m: &'a Measurement) -> BoxFuture<'a, Result<(), LinkError>> {
        if self.sealed {
            let what = "bare values, this device seals them";
            return std::future::ready(Err(LinkError::Unsupported(what.to_owned()))).boxed();
        }
        self.order(Order::Publish(self.device, m.clone())).boxed()
    }

    fn publish_sealed<'a>(
        &'a mut self,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        let error = if !self.sealed {
            LinkError::Unsupported("sealed envelopes, this device is plain".to_owned())
        } else if envelope.is_empty() || envelope.len() > SEALED_LIMIT {
            LinkError::Refused(format!("an envelope has 1 to {SEALED_LIMIT} bytes"))
        } else {
            return self.order(Order::Sealed(self.device, envelope.to_vec())).boxed();
        };
        std::future::ready(Err(error)).boxed()
    }

    fn set_up(&mut self, up: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        async move {
            let (done, when_done) = oneshot::channel();
            self.order(Order::SetUp(self.device, up, done)).await?;
            let ended = |_| LinkError::Closed("the server of the devices has ended".to_owned());
            when_done.await.map_err(ended)
        }
        .boxed()
    }
}
