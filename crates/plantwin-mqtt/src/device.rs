//! The device face: each played device is a client of its own, as a real one would be.
//!
//! It reports under its topics, takes writes and session questions, leaves a last will, and
//! joins its broker again by itself with a growing, jittered pause. One that speaks in sealed
//! envelopes only has no other way to report and takes no bare writes. Absent: what the device
//! does with all this (see `plantwin-field`), what is in an envelope.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    DeviceMessage, DevicePort, Host, HostRequest, HostedDevice, LinkError, Measurement, Outlet,
    SEALED_LIMIT, Tasks, Traffic,
};
use rumqttc::v5::{
    Incoming,
    mqttbytes::{
        QoS,
        v5::{LastWill, Publish},
    },
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    client::{
        Ack, INFLIGHT, Joining, Publisher, Pump, QUEUE, Session, Side, topic, unique_word, verdict,
    },
    config::Config,
    link::MAX_EXCHANGE,
    payload,
};

/// Envelopes that may be sent and not acknowledged: with the next one as many as a gateway knows when
/// they come again.
const UNDER_WAY: usize = 63;
/// Requests that may wait for the device; when it takes none, its socket is not read.
const REQUESTS: usize = 64;
/// Session questions that may wait for the device's answer at once.
const ASKED: usize = 64;
/// Longest wait for the broker's consent.
const JOIN: Duration = Duration::from_secs(10);
/// Devices of one host that join at the same time: a broker's accept queue is short.
const JOINING: usize = 64;
/// First and longest pause before joining again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Longest time a device may think about a session question.
const THINKING: Duration = Duration::from_secs(30);
/// Longest wait for room in the queue before a measurement is dropped.
const ROOM: Duration = Duration::from_secs(1);

/// Plays devices; resolves when all have joined their broker.
pub(crate) async fn host(request: HostRequest) -> Result<Host, LinkError> {
    let mut tasks = Tasks::new();
    let joining = Arc::new(Semaphore::new(JOINING));
    let (mut devices, mut joined, mut endpoint) = (Vec::new(), Vec::new(), request.hub.clone());
    for device in request.devices {
        let hub = request.hub.as_deref();
        let (id, sealed) = (&device.device, device.sealed);
        let config = Config::read(id, &device.points, &device.path, hub, sealed)?;
        endpoint.get_or_insert_with(|| config.endpoint());
        let (port, result) = start(device, config, Arc::clone(&joining), &mut tasks);
        devices.push(port);
        joined.push(result);
    }
    let address = resolve(endpoint).await?;
    for result in joined {
        result
            .await
            .map_err(|_| LinkError::Closed("a device ended while joining".to_owned()))??;
    }
    Ok(Host { address, devices, tasks })
}

async fn resolve(endpoint: Option<String>) -> Result<SocketAddr, LinkError> {
    let Some(endpoint) = endpoint else {
        return Err(LinkError::Settings("there is no broker to join".to_owned()));
    };
    let failed = |cause| LinkError::Unreachable { endpoint: endpoint.clone(), cause };
    let mut found =
        tokio::net::lookup_host(&endpoint).await.map_err(|e| failed(crate::cause::io_cause(&e)))?;
    found.next().ok_or_else(|| failed("the name has no address".to_owned()))
}

fn start(
    device: HostedDevice,
    config: Config,
    joining: Arc<Semaphore>,
    tasks: &mut Tasks,
) -> (DevicePort, oneshot::Receiver<Result<(), LinkError>>) {
    let config = Arc::new(config);
    let traffic = Arc::new(Traffic::default());
    let (requests, taken) = mpsc::channel(REQUESTS);
    let (up, up_seen) = watch::channel(true);
    let (current, current_seen) = watch::channel(None);
    let (first, joined) = oneshot::channel();
    let player = Player {
        client_id: device.device.to_string(),
        config: Arc::clone(&config),
        requests,
        up: up_seen,
        current,
        joining,
        traffic: Arc::clone(&traffic),
    };
    tasks.spawn(player.run(first));
    let outlet = MqttOutlet { config, under_way: VecDeque::new(), up, current: current_seen };
    let port =
        DevicePort { device: device.device, outlet: Box::new(outlet), requests: taken, traffic };
    (port, joined)
}

struct MqttOutlet {
    config: Arc<Config>,
    /// Envelopes that the broker has not acknowledged.
    under_way: VecDeque<Ack>,
    up: watch::Sender<bool>,
    /// The connection in use; `None` while the device is away.
    current: watch::Receiver<Option<Publisher>>,
}

/// Topics and payloads of one report.
type Messages<'a> = smallvec::SmallVec<[(&'a str, Vec<u8>); 2]>;

impl MqttOutlet {
    /// Waits at most a second for room in the queue, then drops the report: a device does not
    /// hoard what its broker does not take. The gap shows in the sequence numbers.
    async fn report(&self, publisher: Publisher, messages: Messages<'_>) -> Result<(), LinkError> {
        let sending = async {
            for (topic, load) in messages {
                publisher.publish(topic, self.config.qos, false, load).await?;
            }
            Ok::<_, LinkError>(())
        };
        match tokio::time::timeout(ROOM, sending).await {
            // A connection that has just ended is a device that is away.
            Ok(Ok(()) | Err(LinkError::Closed(_))) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                tracing::debug!(
                    status = self.config.topics.status,
                    "the broker takes no more: a report was dropped"
                );
                Ok(())
            }
        }
    }
}

impl MqttOutlet {
    /// Sends an envelope, or says that it was not taken, or that one before it was lost with its
    /// connection.
    async fn send(
        &mut self,
        publisher: Publisher,
        topic: &str,
        envelope: Vec<u8>,
    ) -> Result<(), LinkError> {
        loop {
            let full = self.under_way.len() >= UNDER_WAY;
            let Some(ack) = self.under_way.front_mut() else { break };
            let told = match ack.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) if !full => break,
                // The first must be there before another may go.
                Err(oneshot::error::TryRecvError::Empty) => {
                    let Ok(told) = tokio::time::timeout(ROOM, ack).await else {
                        let why = "the broker acknowledges nothing any more";
                        return Err(LinkError::Closed(why.to_owned()));
                    };
                    told.ok()
                }
                told => told.ok(),
            };
            match told {
                Some(Ok(())) => drop(self.under_way.pop_front()),
                Some(Err(why)) => {
                    self.under_way.clear();
                    return Err(LinkError::Refused(format!("the broker did not take it: {why}")));
                }
                None => {
                    self.under_way.clear();
                    let why = "it broke before the broker had acknowledged all";
                    return Err(LinkError::Closed(why.to_owned()));
                }
            }
        }
        let sent = publisher.publish(topic, self.config.qos, false, envelope);
        let full = |_| LinkError::Closed("the broker takes no more".to_owned());
        let ack = tokio::time::timeout(ROOM, sent).await.map_err(full)??;
        self.under_way.push_back(ack);
        Ok(())
    }
}

impl Outlet for MqttOutlet {
    /// A sealed device has no topics for bare values: nothing is sent, and that is an error.
    fn publish<'a>(&'a mut self, m: &'a Measurement) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            if self.config.topics.sealed.is_some() {
                return Err(LinkError::Unsupported("bare values of a sealed device".to_owned()));
            }
            let Some(publisher) = self.current.borrow().clone() else { return Ok(()) };
            let mut messages = Messages::new();
            payload::encode(&self.config.topics, m, |topic, load| messages.push((topic, load)));
            self.report(publisher, messages).await
        })
    }

    fn publish_sealed<'a>(
        &'a mut self,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            let config = Arc::clone(&self.config);
            let Some(topic) = config.topics.sealed.as_deref() else {
                return Err(LinkError::Unsupported(
                    "sealed envelopes of a plain device".to_owned(),
                ));
            };
            let bytes = envelope.len();
            if bytes > SEALED_LIMIT {
                let why = format!("an envelope has {bytes} bytes, more than {SEALED_LIMIT}");
                return Err(LinkError::Refused(why));
            }
            let Some(publisher) = self.current.borrow().clone() else {
                return Err(LinkError::Closed("it is not connected to the broker".to_owned()));
            };
            self.send(publisher, topic, envelope.to_vec()).await
        })
    }

    /// Down: resolves when the socket is closed, without a DISCONNECT. Up: the device joins
    /// again in the background.
    fn set_up(&mut self, up: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            self.up.send_replace(up);
            if !up {
                // Fails only when the host has been dropped, and the socket with it.
                let _ = self.current.wait_for(Option::is_none).await;
            }
            Ok(())
        })
    }
}

/// One played device on the network.
struct Player {
    client_id: String,
    config: Arc<Config>,
    requests: mpsc::Sender<DeviceMessage>,
    up: watch::Receiver<bool>,
    current: watch::Sender<Option<Publisher>>,
    joining: Arc<Semaphore>,
    traffic: Arc<Traffic>,
}

impl Player {
    async fn run(self, first: oneshot::Sender<Result<(), LinkError>>) {
        let (mut up, mut first) = (self.up.clone(), Some(first));
        let mut pause = PAUSE.0;
        loop {
            if up.wait_for(|up| *up).await.is_err() {
                return;
            }
            let ended = tokio::select! {
                biased;
                ended = self.play(&mut first, &mut pause) => Some(ended),
                _ = up.wait_for(|up| !*up) => None,
            };
            self.current.send_replace(None);
            let Some(error) = ended else { continue };
            tracing::debug!(device = self.client_id, "failed to {error}");
            if let Some(first) = first.take() {
                // A device that cannot join at all is the host's failure.
                let _ = first.send(Err(error));
                return;
            }
            tokio::select! {
                biased;
                _ = up.changed() => {}
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Joins and serves until the connection ends.
    async fn play(
        &self,
        first: &mut Option<oneshot::Sender<Result<(), LinkError>>>,
        pause: &mut Duration,
    ) -> LinkError {
        let (mut pump, early) = match self.join().await {
            Ok(joined) => joined,
            Err(error) => return error,
        };
        *pause = PAUSE.0;
        let publisher = pump.publisher();
        self.current.send_replace(Some(publisher.clone()));
        if let Some(first) = first.take() {
            // The host may have given up waiting.
            let _ = first.send(Ok(()));
        }
        let mut answers = JoinSet::new();
        for message in early {
            self.take(message, &publisher, &mut answers).await;
        }
        loop {
            match pump.next().await {
                Ok(Incoming::Publish(message)) => {
                    self.take(message, &publisher, &mut answers).await;
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Connects, subscribes and tells everybody that the device is there.
    async fn join(&self) -> Result<(Pump, Vec<Publish>), LinkError> {
        let Ok(_turn) = self.joining.acquire().await else {
            return Err(LinkError::Closed("the host has ended".to_owned()));
        };
        let topics = &self.config.topics;
        let will = LastWill::new(&topics.status, "offline", QoS::AtLeastOnce, true, None);
        let counted = Arc::clone(&self.traffic);
        let joining = Joining {
            config: &self.config,
            client_id: &self.client_id,
            will: Some(will),
            side: Side::Device,
            session: Session::Prompt,
            queue: QUEUE,
            inflight: INFLIGHT,
            timeout: JOIN,
        };
        let mut pump = Pump::connect(joining, counted).await?;
        let mut early = Vec::new();
        let rest = async {
            let writes = topics.set.iter().flatten().cloned();
            let others = [format!("{}ask/+/+", topics.session), topics.status.clone()];
            let all = writes.chain(others).map(|topic| (topic, QoS::AtLeastOnce));
            let mut keep = |m| {
                if early.len() < REQUESTS {
                    early.push(m);
                }
            };
            pump.subscribe(all, &mut keep).await?;
            self.greet(&pump.publisher()).await?;
            // The first acknowledgement is that of the greeting: from now on, links find the
            // device online.
            loop {
                match pump.next().await? {
                    Incoming::PubAck(ack) => {
                        let status = &topics.status;
                        return verdict(ack.reason).map_err(|why| {
                            LinkError::Refused(format!("no message to `{status}`: {why}"))
                        });
                    }
                    Incoming::Publish(message) => keep(message),
                    _ => {}
                }
            }
        };
        let late = LinkError::Timeout {
            endpoint: self.config.endpoint(),
            millis: JOIN.as_millis() as u64,
        };
        tokio::time::timeout(JOIN, rest).await.unwrap_or(Err(late))?;
        Ok((pump, early))
    }

    async fn greet(&self, publisher: &Publisher) -> Result<(), LinkError> {
        let status = &self.config.topics.status;
        publisher.publish(status, QoS::AtLeastOnce, true, b"online".to_vec()).await.map(|_| ())
    }

    async fn take(&self, message: Publish, publisher: &Publisher, answers: &mut JoinSet<()>) {
        while answers.try_join_next().is_some() {}
        // A retained request is one of the past: carrying it out at each joining would be wrong.
        if message.retain {
            return;
        }
        let (topics, topic) = (&self.config.topics, topic(&message));
        let asked = topic.strip_prefix(&topics.session).and_then(|t| t.strip_prefix("ask/"));
        if let Some(who) = asked {
            self.asked(who, &message, publisher, answers).await;
        } else if let Some(point) = topics.written_by(topic) {
            let Some(value) = payload::decode_write(&message.payload) else {
                tracing::debug!(device = self.client_id, topic, "unreadable write");
                return;
            };
            // MQTT has no answer to a write; that it was taken shows in the next report.
            let (reply, _) = oneshot::channel();
            let _ = self.requests.send(DeviceMessage::Write { point, value, reply }).await;
        } else if topic == topics.status && &*message.payload == b"offline" {
            // The last will of an earlier connection came late: correct it.
            let _ = self.greet(publisher).await;
        }
    }

    async fn asked(
        &self,
        who: &str,
        message: &Publish,
        publisher: &Publisher,
        answers: &mut JoinSet<()>,
    ) {
        if message.payload.len() > MAX_EXCHANGE || answers.len() >= ASKED {
            tracing::debug!(device = self.client_id, "a session question too long or too many");
            return;
        }
        let (reply, answer) = oneshot::channel();
        let request = message.payload.to_vec();
        if self.requests.send(DeviceMessage::Exchange { request, reply }).await.is_err() {
            return;
        }
        let session = &self.config.topics.session;
        let (yes, no) = (format!("{session}answer/{who}"), format!("{session}refuse/{who}"));
        let publisher = publisher.clone();
        answers.spawn(async move {
            let (topic, load) = match tokio::time::timeout(THINKING, answer).await {
                Ok(Ok(Ok(answer))) => (yes, answer),
                Ok(Ok(Err(reason))) => (no, reason.into_bytes()),
                Ok(Err(_)) | Err(_) => (no, b"the device gave no answer".to_vec()),
            };
            // A link that loses its answer asks again.
            let _ = publisher.publish(&topic, QoS::AtLeastOnce, false, load).await;
        });
    }
}

/// Between half of `pause` and all of it, so that devices that lost their broker together do
/// not all come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = u64::from_str_radix(&unique_word(), 16).unwrap_or(0);
    pause.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}
