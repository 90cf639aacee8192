//! The link face: a socket and a task around the client's state machine.
//!
//! Absent: the protocol itself (see `client`).

use std::{sync::Arc, time::Duration};

use coap_lite::{Packet, RequestType};
use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{
    Connection, Control, LinkContext, LinkError, LinkEvent, PointWrite, Tasks, Traffic,
};
use plantwin_model::Clock;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    client::{self, Client, Command, Times},
    config::{self, Config, Path},
    message::{self, SESSION_LIMIT},
    payload,
    secret::Psk,
    wire::Wire,
};

/// Events that wait for their reader; when they are as many, the socket is not read.
const EVENTS: usize = 256;

/// Connects, and resolves when the device has answered.
pub(crate) async fn connect(context: LinkContext) -> Result<Connection, LinkError> {
    let config = Config::new(&context.device, &context.points, &context.path, context.sealed)?;
    let addr = context.path.text("addr");
    let addr = addr.ok_or_else(|| LinkError::Settings("addr is missing".to_owned()))?;
    let psk = Psk::of(&context.path)?;
    let endpoint = config::endpoint(addr, psk.is_some());
    let endpoint = endpoint.map_err(|e| LinkError::Settings(format!("addr: {e}")))?;
    let limit = context.timeout;
    let late = |endpoint: &str| LinkError::Timeout {
        endpoint: endpoint.to_owned(),
        millis: limit.as_millis() as u64,
    };
    let traffic = Arc::new(Traffic::default());
    // A name may take a while to be found.
    let opened = timeout(limit, Wire::open(&endpoint, Arc::clone(&traffic), limit)).await;
    let mut wire = opened.unwrap_or_else(|_| Err(late(&endpoint)))?;
    if let Some(psk) = psk {
        wire.secure(psk, limit).await?;
    }
    let endpoint = wire.endpoint().to_owned();

    let times = Times {
        period: context.period.div_f64(context.clock.speed().max(1e-6)),
        timeout: context.timeout,
    };
    let session = config.session();
    let client = Client::new(
        Arc::clone(&context.points),
        config.resources,
        endpoint.clone(),
        times,
        Instant::now(),
    );
    let (events_tx, events) = mpsc::channel(EVENTS);
    let (commands, commands_rx) = mpsc::channel(client::COMMANDS);
    let (ready_tx, ready) = oneshot::channel();
    let driver = Driver {
        client,
        wire,
        endpoint: endpoint.clone(),
        clock: context.clock,
        commands: commands_rx,
    };
    let mut tasks = Tasks::new();
    tasks.spawn(driver.run(events_tx, ready_tx));
    // The client gives up by itself when a request is not answered within the same time; this is
    // for whatever else may hold it up.
    let up = timeout(limit * 2, ready).await.map_err(|_| late(&endpoint))?;
    up.map_err(|_| LinkError::Closed("the link's task ended".to_owned()))??;
    let control = Arc::new(CoapControl {
        commands,
        set: config.set.into(),
        sealed: context.sealed,
        session,
        timeout: times.timeout,
        endpoint: endpoint.clone(),
    });
    Ok(Connection { events, control, traffic, endpoint, resumed: false, tasks })
}

struct Driver {
    client: Client,
    wire: Wire,
    endpoint: String,
    clock: Arc<dyn Clock>,
    commands: mpsc::Receiver<Command>,
}

impl Driver {
    async fn run(
        mut self,
        events: mpsc::Sender<LinkEvent>,
        ready: oneshot::Sender<Result<(), LinkError>>,
    ) {
        let mut ready = Some(ready);
        let Err(error) = self.serve(&events, &mut ready).await;
        tracing::debug!(endpoint = %self.endpoint, %error, "link ended");
        match ready {
            Some(ready) => {
                let _ = ready.send(Err(error));
            }
            None => {
                let _ = events.send(LinkEvent::Closed(error)).await;
            }
        }
    }

    async fn serve(
        &mut self,
        events: &mpsc::Sender<LinkEvent>,
        ready: &mut Option<oneshot::Sender<Result<(), LinkError>>>,
    ) -> Result<std::convert::Infallible, LinkError> {
        let mut out = Vec::new();
        let mut permit = None;
        loop {
            // While nobody takes the events, nobody listens to the device either, and its
            // silence must not be held against it.
            if permit.is_none() {
                permit = match events.try_reserve() {
                    Ok(permit) => Some(permit),
                    Err(mpsc::error::TrySendError::Full(())) => None,
                    Err(mpsc::error::TrySendError::Closed(())) => {
                        return Err(LinkError::Closed("nobody listens".to_owned()));
                    }
                };
            }
            let listening = permit.is_some();
            if listening {
                self.client.tick(Instant::now(), &mut out);
            }
            self.wire.send(&mut out).await?;
            if let Some(failure) = self.client.failure.take() {
                return Err(failure);
            }
            if self.client.up
                && let Some(ready) = ready.take()
                && ready.send(Ok(())).is_err()
            {
                return Err(LinkError::Closed("nobody waits for the link".to_owned()));
            }
            let wake = self.client.next_wake().filter(|_| listening);
            tokio::select! {
                biased;
                // With the control dropped this yields nothing more, but values go on. Commands
                // come first, because there are never many and they must not wait for values.
                Some(command) = self.commands.recv(), if self.client.takes_commands() => {
                    self.client.command(command, Instant::now(), &mut out);
                }
                reserved = events.reserve(), if !listening => {
                    permit = reserved.ok();
                    self.client.resume(Instant::now());
                }
                got = self.wire.recv(), if listening => {
                    let bytes = got?;
                    let received = self.clock.now();
                    let event = self.client.datagram(&bytes, Instant::now(), received, &mut out);
                    if let (Some(event), Some(permit)) = (event, permit.take()) {
                        permit.send(event);
                    }
                }
                // What is due is done at every turn of the loop, so this may come last.
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let last = self.client.farewell();
        self.wire.farewell(last);
    }
}

/// Writes and session bytes.
struct CoapControl {
    commands: mpsc::Sender<Command>,
    set: Arc<[Path]>,
    sealed: bool,
    session: Path,
    timeout: Duration,
    endpoint: String,
}

impl CoapControl {
    /// One request with its answer.
    fn ask(
        &self,
        method: RequestType,
        path: Path,
        format: u16,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<Packet, LinkError>> + Send + use<> {
        let commands = self.commands.clone();
        async move {
            let ended = || LinkError::Closed("the link has ended".to_owned());
            let (reply, answer) = oneshot::channel();
            let command = Command { method, path, format, payload, reply };
            commands.send(command).await.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())?
        }
    }

    fn late(&self) -> LinkError {
        LinkError::Timeout {
            endpoint: self.endpoint.clone(),
            millis: self.timeout.as_millis() as u64,
        }
    }
}

impl Control for CoapControl {
    fn write(&self, writes: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        if self.sealed {
            let what = "bare writes, it takes them sealed";
            return std::future::ready(Err(LinkError::Unsupported(what.to_owned()))).boxed();
        }
        let unknown = writes.iter().find(|w| self.set.get(w.point.index()).is_none());
        if let Some(write) = unknown {
            let error = LinkError::Unsupported(format!("point {}", write.point.0));
            return std::future::ready(Err(error)).boxed();
        }
        let asks: Vec<_> = writes
            .iter()
            .map(|w| {
                let path = self.set[w.point.index()].clone();
                let payload = payload::text(w.value).into_bytes();
                self.ask(RequestType::Put, path, message::TEXT, payload)
            })
            .collect();
        let (late, limit) = (self.late(), self.timeout);
        let all = async move {
            // One after the other, so that the device sees them in the order of the request.
            for ask in asks {
                let answer = ask.await?;
                if message::class(&answer) != 2 {
                    return Err(LinkError::Refused(message::diagnosis(&answer)));
                }
            }
            Ok(())
        };
        async move { timeout(limit, all).await.unwrap_or(Err(late)) }.boxed()
    }

    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        if request.len() > SESSION_LIMIT {
            let error = LinkError::Refused(format!("more than {SESSION_LIMIT} bytes"));
            return std::future::ready(Err(error)).boxed();
        }
        let ask = self.ask(RequestType::Post, self.session.clone(), message::OCTETS, request);
        let (late, limit) = (self.late(), self.timeout);
        let answered = async move {
            let answer = ask.await?;
            client::session_outcome(&answer)?;
            Ok(answer.payload)
        };
        async move { timeout(limit, answered).await.unwrap_or(Err(late)) }.boxed()
    }
}
