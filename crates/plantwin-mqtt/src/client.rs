//! One MQTT 5 connection: accounting of bytes, which acknowledgement belongs to which message,
//! and the acknowledgements that we owe.
//!
//! The client library takes messages through a queue and only tells the packet identifier it
//! gave to each, in the order of the queue. So [`Publisher`] notes each message in the same
//! order under one lock, and [`Pump`] pairs notes with identifiers and identifiers with
//! acknowledgements. A connection that is not [`Session::Prompt`] acknowledges a message only
//! when [`Publisher::acknowledge`] is called; the broker sends no more than [`RECEIVE_MAXIMUM`]
//! ahead of that, which is the credit that bounds what a link must hold. Where a path wants TLS
//! the library's socket ends in a [`Tunnel`], which the pump turns with it. Absent: topics,
//! payloads, reconnecting.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use plantwin_adapter::{LinkError, Traffic};
use rumqttc::{
    NetworkOptions, Outgoing, Transport,
    v5::{
        AsyncClient, Event, EventLoop, Incoming, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{
                Connect, Filter, LastWill, Login, PubAckReason, Publish, Subscribe,
                SubscribeReasonCode,
            },
        },
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use crate::{cause::Ended, config::Config, own, secret, tls::Tls, tunnel::Tunnel};

/// Messages of quality of service 1 that a broker may send ahead of their acknowledgement
/// (MQTT 5 §3.1.2.11.3).
pub(crate) const RECEIVE_MAXIMUM: u16 = 32;
/// Messages that a broker may in fact be ahead before it is cut off. Mosquitto 2.0.11 keeps to
/// the receive maximum at first, but empties its queue after the first acknowledgements (measured;
/// eclipse-mosquitto/mosquitto#2301).
const MOST_OWED: usize = 4096;
/// Messages that may wait for the socket by default; whoever wants to send more waits.
pub(crate) const QUEUE: u16 = 64;
/// Messages that may wait for their acknowledgement at once by default; a broker may allow less.
pub(crate) const INFLIGHT: u16 = 32;
/// How long a broker keeps a persistent session, and what it owes it, after the connection ended.
const SESSION_EXPIRY: Duration = Duration::from_hours(7 * 24);
/// Largest packet read: a broker may send no larger ones. Payloads are limited much lower,
/// by a quality instead of a hang-up.
const MAX_INCOMING: u32 = 1024 * 1024;
/// Largest packet written; a broker may want smaller ones.
const MAX_OUTGOING: usize = 128 * 1024;
/// Silence after which either side checks whether the other is still there; a broker declares
/// a client dead, and publishes its last will, after one and a half times this. Tests take the
/// shortest that the library allows.
const KEEP_ALIVE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 10 });

/// Which way the client's own messages go in the counters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client is plantwin: what it sends goes down.
    Plantwin,
    /// The client is a device: what it sends goes up.
    Device,
}

impl Side {
    /// Counts what the client sent.
    pub(crate) fn sent(self, traffic: &Traffic, bytes: usize) {
        match self {
            Self::Plantwin => traffic.down(bytes),
            Self::Device => traffic.up(bytes),
        }
    }

    /// Counts what the client received.
    pub(crate) fn received(self, traffic: &Traffic, bytes: usize) {
        match self {
            Self::Plantwin => traffic.up(bytes),
            Self::Device => traffic.down(bytes),
        }
    }
}

/// What becomes of messages that we are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// Acknowledged when read; forgotten with the connection.
    Prompt,
    /// Acknowledged when told; forgotten with the connection.
    Held,
    /// Acknowledged when told; the broker keeps what was not for the next connection of the same
    /// client, and what arrives in between.
    Persistent,
}

/// How to join a broker.
pub(crate) struct Joining<'a> {
    pub(crate) config: &'a Config,
    pub(crate) client_id: &'a str,
    pub(crate) will: Option<LastWill>,
    pub(crate) side: Side,
    pub(crate) session: Session,
    /// Messages that may wait for the socket.
    pub(crate) queue: u16,
    /// Messages that may wait for their acknowledgement.
    pub(crate) inflight: u16,
    /// Longest wait for the broker's consent.
    pub(crate) timeout: Duration,
}

/// What became of a message: taken, or the broker's reason for refusing it. Ends without an
/// answer when the connection does.
pub(crate) type Ack = oneshot::Receiver<Result<(), String>>;

/// Waits until a message has been taken.
pub(crate) async fn taken(ack: Ack) -> Result<(), LinkError> {
    let ended = |_| LinkError::Closed("it ended before the answer".to_owned());
    ack.await.map_err(ended)?.map_err(LinkError::Refused)
}

/// A message on its way into the socket.
struct Note {
    bytes: usize,
    acked: oneshot::Sender<Result<(), String>>,
    _room: OwnedSemaphorePermit,
}

/// A message that the broker waits for us to acknowledge.
struct Owed {
    pkid: u16,
    done: bool,
}

/// Sends messages and acknowledgements. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    client: AsyncClient,
    /// `None` once the connection has ended.
    notes: Arc<Mutex<Option<VecDeque<Note>>>>,
    room: Arc<Semaphore>,
    /// In the order they came, because they must be acknowledged in that order
    /// (MQTT 5 §4.6, \[MQTT-4.6.0-2\]). At most [`MOST_OWED`].
    owed: Arc<Mutex<VecDeque<Owed>>>,
    /// Largest packet that may be sent.
    max_packet: usize,
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
    ) -> Result<Ack, LinkError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ended())?;
        self.hand_in(room, topic, qos, retain, payload)
    }

    /// As [`Self::publish`], with quality of service 1, but refused when there is no room.
    pub(crate) fn try_publish(&self, topic: &str, payload: Vec<u8>) -> Result<Ack, LinkError> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::Closed => ended(),
            TryAcquireError::NoPermits => LinkError::Refused("too many are under way".to_owned()),
        })?;
        self.hand_in(room, topic, QoS::AtLeastOnce, false, payload)
    }

    fn hand_in(
        &self,
        room: OwnedSemaphorePermit,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<Ack, LinkError> {
        let bytes = publish_size(topic, payload.len(), qos);
        // The library would end the connection over it.
        if bytes > self.max_packet {
            let most = self.max_packet;
            return Err(LinkError::Refused(format!("it has {bytes} bytes, more than {most}")));
        }
        let (acked, ack) = oneshot::channel();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = notes.as_mut().ok_or_else(ended)?;
        // Cannot be full: there are as many permits as places in the queue.
        self.client.try_publish(topic, qos, retain, payload).map_err(|_| ended())?;
        notes.push_back(Note { bytes, acked, _room: room });
        Ok(ack)
    }

    /// Acknowledges a message that came with this packet identifier, once those before it have
    /// been; 0 (quality of service 0) and one of an earlier connection are passed over.
    pub(crate) fn acknowledge(&self, pkid: u16) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = owed.iter_mut().find(|owed| owed.pkid == pkid && !owed.done) {
            message.done = true;
        }
        drop(owed);
        self.send_acknowledgements();
    }

    /// Sends the acknowledgements whose turn has come, as far as there is room.
    fn send_acknowledgements(&self) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Owed { pkid, .. }) = owed.front().filter(|owed| owed.done) {
            let message = Publish { qos: QoS::AtLeastOnce, pkid: *pkid, ..Publish::default() };
            // The rest follow when these are on the wire. When the connection has ended the
            // broker sends the messages again.
            if self.client.try_ack(&message).is_err() {
                return;
            }
            owed.pop_front();
        }
    }
}

fn ended() -> LinkError {
    LinkError::Closed("it has ended".to_owned())
}

/// Turns the connection's wheel. Dropping it closes the socket without a DISCONNECT.
pub(crate) struct Pump {
    events: EventLoop,
    publisher: Publisher,
    inflight: HashMap<u16, oneshot::Sender<Result<(), String>>>,
    session: Session,
    /// Where packets are counted; `None` where the tunnel counts what is on the wire.
    traffic: Option<Arc<Traffic>>,
    side: Side,
    endpoint: String,
    tunnel: Option<Tunnel>,
    /// Why there is nothing more, while what came before is still handed on.
    ended: Option<Ended>,
    /// The broker has kept the session of the connection before.
    resumed: bool,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.publisher.room.close();
        *self.publisher.notes.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.publisher.owed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Pump {
    /// Connects and waits for the broker's consent.
    pub(crate) async fn connect(
        joining: Joining<'_>,
        traffic: Arc<Traffic>,
    ) -> Result<Self, LinkError> {
        let limit = joining.timeout;
        let millis = limit.as_millis() as u64;
        let late = LinkError::Timeout { endpoint: joining.config.endpoint(), millis };
        tokio::time::timeout(limit, Self::join(joining, traffic)).await.unwrap_or(Err(late))
    }

    async fn join(joining: Joining<'_>, traffic: Arc<Traffic>) -> Result<Self, LinkError> {
        let Joining { config, timeout, session, side, .. } = joining;
        let endpoint = config.endpoint();
        let (login, tls) = (config.login.clone(), config.tls.clone());
        let ours = side == Side::Plantwin && tls.is_none();
        let own = ours.then(|| own::at(&config.host, config.port)).flatten();
        let login = login.filter(|_| own.is_none());
        // Reading files may take its time.
        let reading = tokio::task::spawn_blocking(move || {
            let login = login.map(|login| {
                let password = login.password_file.as_deref().map(secret::password);
                Ok::<_, LinkError>((login.user, password.transpose()?))
            });
            let connector = tls.as_ref().map(Tls::connector);
            Ok::<_, LinkError>((login.transpose()?, tls.zip(connector.transpose()?)))
        });
        let ended = |_| LinkError::Closed("its files could not be read".to_owned());
        let (login, tls) = reading.await.map_err(ended)??;
        let tunnel = match tls {
            None => None,
            Some((tls, connector)) => {
                let traffic = Arc::clone(&traffic);
                Some(Tunnel::open(&endpoint, tls, connector, traffic, side).await?)
            }
        };
        let mut options = match &tunnel {
            None => MqttOptions::new(joining.client_id, &config.host, config.port),
            Some(tunnel) => {
                let mut options = MqttOptions::new(joining.client_id, tunnel.socket(), config.port);
                options.set_transport(Transport::Unix);
                options
            }
        };
        options.set_keep_alive(KEEP_ALIVE);
        options.set_outgoing_inflight_upper_limit(joining.inflight);
        options.set_max_packet_size(Some(MAX_INCOMING));
        if let Some(own) = own {
            options.set_credentials(own::USER, own.password.as_str());
        } else if let Some((user, password)) = login {
            // The library keeps a copy of its own that is not wiped.
            options.set_credentials(user, password.as_ref().map_or("", |p| p.as_str()));
        }
        if let Some(will) = joining.will {
            options.set_last_will(will);
        }
        if session != Session::Prompt {
            options.set_manual_acks(true);
            options.set_receive_maximum(Some(RECEIVE_MAXIMUM));
        }
        if session == Session::Persistent {
            options.set_clean_start(false);
            options.set_session_expiry_interval(Some(SESSION_EXPIRY.as_secs() as u32));
        }
        let connect_size = connect_size(&options);
        let mut network = NetworkOptions::new();
        // Without this each acknowledged message waits for Nagle's algorithm: 40 ms (measured).
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(timeout.as_secs().max(1));
        options.set_network_options(network);
        options.set_connection_timeout(timeout.as_secs().max(1));
        // One place more than there are permits, for the subscriptions, and some that only
        // acknowledgements use.
        let places = usize::from(joining.queue) + 1 + usize::from(RECEIVE_MAXIMUM);
        let (client, events) = AsyncClient::new(options, places);
        let publisher = Publisher {
            client,
            notes: Arc::new(Mutex::new(Some(VecDeque::new()))),
            room: Arc::new(Semaphore::new(usize::from(joining.queue))),
            owed: Arc::default(),
            max_packet: MAX_OUTGOING,
        };
        let traffic = tunnel.is_none().then_some(traffic);
        let inflight = HashMap::new();
        let mut pump = Self {
            events,
            publisher,
            inflight,
            session,
            traffic,
            side,
            endpoint,
            tunnel,
            resumed: false,
            ended: None,
        };
        match pump.turn().await {
            Err(Ended::Late) => {
                let millis = timeout.as_millis() as u64;
                Err(LinkError::Timeout { endpoint: pump.endpoint.clone(), millis })
            }
            Err(Ended::Because(cause)) => {
                Err(LinkError::Unreachable { endpoint: pump.endpoint.clone(), cause })
            }
            Ok(event) => {
                pump.sent(connect_size);
                if let Event::Incoming(Incoming::ConnAck(consent)) = event {
                    pump.received(consent.size());
                    pump.resumed = consent.session_present;
                    let most = consent.properties.and_then(|p| p.max_packet_size);
                    let most = most.map_or(MAX_OUTGOING, |most| most as usize);
                    pump.publisher.max_packet = most.min(MAX_OUTGOING);
                }
                Ok(pump)
            }
        }
    }

    /// The next event. When the connection has ended, acknowledgements that came in one piece with
    /// its end come first: the library would keep them to itself. (Other messages may be lost with
    /// it; the broker still owes those that it must not lose.)
    async fn turn(&mut self) -> Result<Event, Ended> {
        if self.ended.is_none() {
            match self.poll().await {
                Ok(event) => return Ok(event),
                Err(ended) => self.ended = Some(ended),
            }
        }
        while let Some(event) = self.events.state.events.pop_front() {
            if matches!(event, Event::Incoming(Incoming::PubAck(_)) | Event::Outgoing(_)) {
                return Ok(event);
            }
        }
        Err(self.ended.take().unwrap_or(Ended::Late))
    }

    /// The next event of the library, while the tunnel carries what it needs.
    async fn poll(&mut self) -> Result<Event, Ended> {
        let Some(tunnel) = &mut self.tunnel else {
            return self.events.poll().await.map_err(|e| Ended::of(&e, None));
        };
        let mut polling = pin!(self.events.poll());
        loop {
            let open = !tunnel.ended();
            tokio::select! {
                biased;
                // When it has ended, what it carried before may still be to be read.
                () = tunnel.carry(), if open => {}
                event = &mut polling => {
                    return event.map_err(|e| Ended::of(&e, tunnel.reason()));
                }
            }
        }
    }

    /// Whether the broker has kept the session of the connection before.
    pub(crate) const fn is_resumed(&self) -> bool {
        self.resumed
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
        let wanted: Vec<_> = topics.into_iter().collect();
        let filters: Vec<_> =
            wanted.iter().map(|(topic, qos)| Filter::new(topic.as_str(), *qos)).collect();
        let bytes = Subscribe::new_many(filters.clone(), None).size();
        self.publisher
            .client
            .try_subscribe_many(filters)
            .map_err(|_| LinkError::Settings("a topic cannot be subscribed".to_owned()))?;
        self.sent(bytes);
        loop {
            match self.next().await? {
                Incoming::SubAck(ack) => {
                    // Less than what was asked for would make a durable link lose messages.
                    let durable = self.session == Session::Persistent;
                    let granted = |code: &SubscribeReasonCode, wanted: QoS| match code {
                        SubscribeReasonCode::Success(qos) => *qos >= wanted || !durable,
                        _ => false,
                    };
                    let code = |ix: usize| ack.return_codes.get(ix);
                    let refused = (0..wanted.len())
                        .find(|&ix| !code(ix).is_some_and(|code| granted(code, wanted[ix].1)));
                    let Some(ix) = refused else { return Ok(()) };
                    let (topic, answer) = (&wanted[ix].0, code(ix));
                    let answer = answer.map_or("no word".to_owned(), |code| format!("{code:?}"));
                    return Err(LinkError::Refused(format!(
                        "the broker {} refused the subscription to `{topic}`: {answer}",
                        self.endpoint
                    )));
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
            let event = match self.turn().await {
                Ok(event) => event,
                Err(Ended::Late) => {
                    let endpoint = &self.endpoint;
                    return Err(LinkError::Closed(format!("{endpoint}: it took too long")));
                }
                Err(Ended::Because(cause)) => {
                    return Err(LinkError::Closed(format!("{}: {cause}", self.endpoint)));
                }
            };
            match event {
                Event::Outgoing(out) => self.note_outgoing(&out),
                Event::Incoming(packet) => {
                    self.received(packet.size());
                    match &packet {
                        Incoming::PubAck(ack) => {
                            if let Some(acked) = self.inflight.remove(&ack.pkid) {
                                // Nobody may be waiting any more.
                                let _ = acked.send(verdict(ack.reason));
                            }
                        }
                        Incoming::Publish(message) => self.owe(message)?,
                        _ => {}
                    }
                    return Ok(packet);
                }
            }
        }
    }

    /// Notes that a message must be acknowledged.
    fn owe(&mut self, message: &Publish) -> Result<(), LinkError> {
        if message.qos == QoS::AtMostOnce || self.session == Session::Prompt {
            return Ok(());
        }
        let mut owed = self.publisher.owed.lock().unwrap_or_else(PoisonError::into_inner);
        if owed.len() >= MOST_OWED {
            let endpoint = &self.endpoint;
            return Err(LinkError::Closed(format!(
                "{endpoint}: the broker sent {MOST_OWED} messages without an acknowledgement"
            )));
        }
        owed.push_back(Owed { pkid: message.pkid, done: false });
        Ok(())
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
                    let _ = note.acked.send(Ok(()));
                } else {
                    self.inflight.insert(*id, note.acked);
                }
            }
            Outgoing::PubAck(_) => {
                self.sent(4);
                self.publisher.send_acknowledgements();
            }
            Outgoing::PingReq => self.sent(2),
            _ => {}
        }
    }

    fn sent(&self, bytes: usize) {
        if let Some(traffic) = &self.traffic {
            self.side.sent(traffic, bytes);
        }
    }

    fn received(&self, bytes: usize) {
        if let Some(traffic) = &self.traffic {
            self.side.received(traffic, bytes);
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

/// The broker's word on a message. That nobody listens to its topic is none of ours.
pub(crate) fn verdict(reason: PubAckReason) -> Result<(), String> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
        other => Err(format!("the broker says {other:?}")),
    }
}

/// The topic of a message; empty if it is no text.
pub(crate) fn topic(message: &Publish) -> &str {
    std::str::from_utf8(&message.topic).unwrap_or_default()
}

/// Bytes of a PUBLISH packet without properties (MQTT 5 §3.3).
pub(crate) fn publish_size(topic: &str, payload: usize, qos: QoS) -> usize {
    packet_size(3 + topic.len() + payload + if qos == QoS::AtMostOnce { 0 } else { 2 })
}

/// Bytes of a CONNECT packet (MQTT 5 §3.1).
fn connect_size(options: &MqttOptions) -> usize {
    let packet = Connect {
        keep_alive: options.keep_alive().as_secs() as u16,
        client_id: options.client_id(),
        clean_start: options.clean_start(),
        properties: options.connect_properties(),
    };
    let login: Option<Login> = options.credentials();
    packet.size(&options.last_will(), &login)
}

/// Bytes of a packet with `rest` bytes after the fixed header (MQTT 5 §2.1.4).
fn packet_size(rest: usize) -> usize {
    let length = match rest {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    };
    1 + length + rest
}
