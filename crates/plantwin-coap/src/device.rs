//! The device face: a socket and a task around the server's state machine.
//!
//! Absent: the protocol itself (see `server`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use coap_lite::ResponseType;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use plantwin_adapter::{
    DevicePort, Host, HostRequest, LinkError, Measurement, Outlet, Tasks, Traffic,
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    message::DATAGRAM,
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
    for (ix, hosted) in request.devices.iter().enumerate() {
        let (requests_tx, requests) = mpsc::channel(REQUESTS);
        let traffic = Arc::new(Traffic::default());
        server.add(hosted, request.clock.speed(), requests_tx, Arc::clone(&traffic))?;
        devices.push(DevicePort {
            device: hosted.device.clone(),
            outlet: Box::new(CoapOutlet { device: ix, orders: orders.clone() }),
            requests,
            traffic,
        });
    }
    let socket = UdpSocket::bind(listen).await.map_err(fail)?;
    let address = socket.local_addr().map_err(fail)?;
    let mut tasks = Tasks::new();
    tasks.spawn(serve(server, socket, orders_rx));
    Ok(Host { address, devices, tasks })
}

async fn serve(mut server: Server, socket: UdpSocket, mut orders: mpsc::Receiver<Order>) {
    let mut buffer = vec![0; DATAGRAM];
    let mut out: Outgoing = Vec::new();
    let mut answers: FuturesUnordered<BoxFuture<'static, (u64, Answer)>> = FuturesUnordered::new();
    loop {
        for (to, bytes) in out.drain(..) {
            let sent = timeout(SENDING, socket.send_to(&bytes, to)).await;
            if let Err(error) = sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                tracing::debug!(%to, %error, "a datagram could not be sent");
            }
        }
        let wake = server.next_wake();
        // What is due and what devices say comes first: both are bounded, what comes from the
        // network is not.
        tokio::select! {
            biased;
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                server.tick(Instant::now(), &mut out);
            }
            Some((number, answer)) = answers.next() => {
                server.answered(number, answer, Instant::now(), &mut out);
            }
            Some(order) = orders.recv() => match order {
                Order::Publish(device, measurement) => {
                    server.publish(device, measurement, Instant::now(), &mut out);
                }
                Order::SetUp(device, up, done) => {
                    server.set_up(device, up);
                    let _ = done.send(());
                }
            },
            got = socket.recv_from(&mut buffer) => match got {
                // One that fills the buffer was cut off by the kernel.
                Ok((length, from)) if length < buffer.len() => {
                    let bytes = &buffer[..length];
                    if let Some(ask) = server.datagram(from, bytes, Instant::now(), &mut out) {
                        answers.push(answer(ask).boxed());
                    }
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
        self.order(Order::Publish(self.device, m.clone())).boxed()
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
