//! One MQTT connection: accounting of bytes, and which acknowledgement belongs to which message.
//!
//! The client library takes messages through a queue and only tells the packet identifier it
//! gave to each, in the order of the queue. So [`Publisher`] notes each message in the same
//! order under one lock, and [`Pump`] pairs notes with identifiers and identifiers with
//! acknowledgements. Absent: topics, payloads, reconnecting.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use plantwin_adapter::{LinkError, Traffic};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, LastWill, MqttOptions,
    NetworkOptions, Outgoing, Publish, QoS, StateError, SubscribeFilter, SubscribeReasonCode,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::config::Config;

/// Messages that may wait for the socket; whoever wants to send more waits.
const QUEUE: usize = 64;
/// Messages that may wait for their acknowledgement at once.
const INFLIGHT: u16 = 32;
/// Largest packet read: a broker that sends more is cut off. Payloads are limited much lower,
/// by a quality instead of a hang-up.
const MAX_INCOMING: usize = 1024 * 1024;
/// Largest packet written.
const MAX_OUTGOING: usize = 128 * 1024;
/// Silence after which either side checks whether the other is still there; a broker declares
/// a client dead, and publishes its last will, after one and a half times this.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Which way the client's own messages go in the counters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client is plantwin: what it sends goes down.
    Plantwin,
    /// The client is a device: what it sends goes up.
    Device,
}

/// A message on its way into the socket.
struct Note {
    bytes: usize,
    acked: oneshot::Sender<()>,
    _room: OwnedSemaphorePermit,
}

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    client: AsyncClient,
    /// `None` once the connection has ended.
    notes: Arc<Mutex<Option<VecDeque<Note>>>>,
    room: Arc<Semaphore>,
}

impl Publisher {
    /// Hands a message to the connection, waiting for room. What is returned resolves when the
    /// broker has acknowledged it (QoS 0: when it was sent), or fails when the connection ends.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<oneshot::Receiver<()>, LinkError> {
        let ended = || LinkError::Closed("it has ended".to_owned());
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ended())?;
        let bytes = publish_size(topic, payload.len(), qos);
        let (acked, ack) = oneshot::channel();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = notes.as_mut().ok_or_else(ended)?;
        // Cannot be full: there are as many permits as places in the queue.
        self.client.try_publish(topic, qos, retain, payload).map_err(|_| ended())?;
        notes.push_back(Note { bytes, acked, _room: room });
        Ok(ack)
    }
}

/// Turns the connection's wheel. Dropping it closes the socket without a DISCONNECT.
pub(crate) struct Pump {
    events: EventLoop,
    publisher: Publisher,
    inflight: HashMap<u16, oneshot::Sender<()>>,
    traffic: Arc<Traffic>,
    side: Side,
    endpoint: String,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.publisher.room.close();
        *self.publisher.notes.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Pump {
    /// Connects and waits for the broker's consent, at most `timeout`.
    pub(crate) async fn connect(
        config: &Config,
        client_id: &str,
        will: Option<LastWill>,
        side: Side,
        traffic: Arc<Traffic>,
        timeout: Duration,
    ) -> Result<Self, LinkError> {
        let mut options = MqttOptions::new(client_id, &config.host, config.port);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_inflight(INFLIGHT);
        options.set_max_packet_size(MAX_INCOMING, MAX_OUTGOING);
        if let Some((user, password)) = &config.login {
            options.set_credentials(user, password);
        }
        if let Some(will) = will {
            options.set_last_will(will);
        }
        let connect_size = connect_size(&options);
        // One place more than there are permits, for the subscriptions.
        let (client, mut events) = AsyncClient::new(options, QUEUE + 1);
        let mut network = NetworkOptions::new();
        // Without this each acknowledged message waits for Nagle's algorithm: 40 ms (measured).
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(timeout.as_secs().max(1));
        events.set_network_options(network);
        let publisher = Publisher {
            client,
            notes: Arc::new(Mutex::new(Some(VecDeque::new()))),
            room: Arc::new(Semaphore::new(QUEUE)),
        };
        let endpoint = config.endpoint();
        let inflight = HashMap::new();
        let mut pump = Self { events, publisher, inflight, traffic, side, endpoint };
        match tokio::time::timeout(timeout, pump.events.poll()).await {
            Err(_) | Ok(Err(ConnectionError::NetworkTimeout)) => {
                let millis = timeout.as_millis() as u64;
                Err(LinkError::Timeout { endpoint: pump.endpoint.clone(), millis })
            }
            Ok(Err(error)) => Err(LinkError::Unreachable {
                endpoint: pump.endpoint.clone(),
                cause: cause(&error),
            }),
            Ok(Ok(_)) => {
                pump.sent(connect_size);
                pump.received(4);
                Ok(pump)
            }
        }
    }

    /// Where messages are handed in.
    pub(crate) fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Subscribes and waits for the broker's consent. Messages that arrive meanwhile are handed
    /// to `early`.
    pub(crate) async fn subscribe(
        &mut self,
        topics: impl IntoIterator<Item = (String, QoS)>,
        mut early: impl FnMut(Publish),
    ) -> Result<(), LinkError> {
        let filters: Vec<_> =
            topics.into_iter().map(|(topic, qos)| SubscribeFilter::new(topic, qos)).collect();
        let bytes = 2 + filters.iter().map(|f| 3 + f.path.len()).sum::<usize>();
        self.publisher
            .client
            .try_subscribe_many(filters)
            .map_err(|_| LinkError::Settings("a topic cannot be subscribed".to_owned()))?;
        self.sent(packet_size(bytes));
        loop {
            match self.next().await? {
                Incoming::SubAck(ack) => {
                    let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
                    return if refused {
                        Err(LinkError::Refused(format!(
                            "the broker {} refused a subscription",
                            self.endpoint
                        )))
                    } else {
                        Ok(())
                    };
                }
                Incoming::Publish(message) => early(message),
                _ => {}
            }
        }
    }

    /// The next packet from the broker. May not be cancelled and called again, since the library
    /// could lose an acknowledgement half written.
    pub(crate) async fn next(&mut self) -> Result<Incoming, LinkError> {
        loop {
            let event = self.events.poll().await.map_err(|error| {
                LinkError::Closed(format!("{}: {}", self.endpoint, cause(&error)))
            })?;
            match event {
                Event::Outgoing(out) => self.note_outgoing(&out),
                Event::Incoming(packet) => {
                    self.received(packet.size());
                    if let Incoming::PubAck(ack) = &packet
                        && let Some(acked) = self.inflight.remove(&ack.pkid)
                    {
                        // Nobody may be waiting any more.
                        let _ = acked.send(());
                    }
                    return Ok(packet);
                }
            }
        }
    }

    fn note_outgoing(&mut self, out: &Outgoing) {
        match out {
            Outgoing::Publish(id) => {
                let mut notes = self.publisher.notes.lock().unwrap_or_else(PoisonError::into_inner);
                let note = notes.as_mut().and_then(VecDeque::pop_front);
                drop(notes);
                let Some(note) = note else { return };
                self.sent(note.bytes);
                if *id == 0 {
                    let _ = note.acked.send(());
                } else {
                    self.inflight.insert(*id, note.acked);
                }
            }
            Outgoing::PubAck(_) => self.sent(4),
            Outgoing::PingReq => self.sent(2),
            _ => {}
        }
    }

    fn sent(&self, bytes: usize) {
        match self.side {
            Side::Plantwin => self.traffic.down(bytes),
            Side::Device => self.traffic.up(bytes),
        }
    }

    fn received(&self, bytes: usize) {
        match self.side {
            Side::Plantwin => self.traffic.up(bytes),
            Side::Device => self.traffic.down(bytes),
        }
    }
}

/// A word that no other client uses.
pub(crate) fn unique_word() -> String {
    use std::hash::{BuildHasher, RandomState};
    // The keys of the standard hasher are drawn from the operating system. This names a
    // connection and has no part in the simulation, whose randomness is seeded.
    format!("{:016x}", RandomState::new().hash_one("plantwin"))
}

/// Bytes of a PUBLISH packet (MQTT 3.1.1 §3.3).
pub(crate) fn publish_size(topic: &str, payload: usize, qos: QoS) -> usize {
    packet_size(2 + topic.len() + payload + if qos == QoS::AtMostOnce { 0 } else { 2 })
}

/// Bytes of a CONNECT packet (MQTT 3.1.1 §3.1).
pub(crate) fn connect_size(options: &MqttOptions) -> usize {
    let text = |s: &str| 2 + s.len();
    let will = options.last_will().map_or(0, |w| text(&w.topic) + 2 + w.message.len());
    let login = options.credentials().map_or(0, |l| text(&l.username) + text(&l.password));
    packet_size(10 + text(&options.client_id()) + will + login)
}

/// Bytes of a packet with `rest` bytes after the fixed header (MQTT 3.1.1 §2.2.3).
fn packet_size(rest: usize) -> usize {
    let length = match rest {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    };
    1 + length + rest
}

/// Why a connection failed, as a lowercase fragment.
fn cause(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(e) | ConnectionError::MqttState(StateError::Io(e)) => io_cause(e),
        ConnectionError::ConnectionRefused(code) => format!("the broker refused: {code:?}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker hung up".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker no longer answers".to_owned()
        }
        other => lowercase(&other.to_string()),
    }
}

/// Why the operating system refused, as a lowercase fragment.
pub(crate) fn io_cause(error: &io::Error) -> String {
    lowercase(&error.to_string())
}

fn lowercase(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |c| c.to_lowercase().chain(rest).collect())
}
