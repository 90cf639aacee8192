//! The link face: plantwin listens to one device through a broker.
//!
//! One task turns the connection. While nobody takes the events it acknowledges nothing, so that
//! the broker stops after [`RECEIVE_MAXIMUM`](crate::client::RECEIVE_MAXIMUM) messages and its
//! queue and in the end the device feel it; the connection itself is kept alive meanwhile. Only
//! messages of quality of service 0 know no such credit: when too many of them wait, the socket
//! is not read, and a broker cuts off a link that lasts so for one and a half keep-alives (15 s).
//!
//! With [`Delivery::Durable`] a message is acknowledged only when its receipt is confirmed, and
//! the broker keeps the session, so that it sends what was not confirmed again to the next link
//! of the same client. Such a link hears of status and session by quality of service 0, which
//! needs no credit: however many values wait for their confirmation, the device can be talked
//! to.
//!
//! Of a device that speaks in sealed envelopes only, nothing but those is listened to and handed
//! on, unread. Absent: reconnecting, telling apart what comes twice, opening envelopes.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, Control, Frame, LinkContext, LinkError, LinkEvent, PointWrite, SEALED_LIMIT, Tasks,
    Traffic,
};
use plantwin_model::{Clock, Delivery, Flaw, Quality, Timestamp};
use rumqttc::v5::{
    Incoming,
    mqttbytes::{QoS, v5::Publish},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    client::{INFLIGHT, Joining, Publisher, Pump, QUEUE, Session, Side, taken, topic, unique_word},
    config::{Config, Topics, sorted},
    payload,
};

/// Events that may wait for the user of the link.
const EVENTS: usize = 64;
/// Messages that may wait for room among the events while the connection is kept alive. Brokers
/// that keep to their credit fill it only with messages of quality of service 0.
const BACKLOG: usize = 1024;
/// Session questions that may wait for their answer at once.
const ASKED: usize = 64;
/// A retained value with a time of its own counts as live up to this many periods of the device.
const FRESH_PERIODS: f64 = 3.0;
/// Longest session message, bytes.
pub(crate) const MAX_EXCHANGE: usize = 4096;

/// An answer, or the device's reason for giving none.
type Answer = Result<Vec<u8>, String>;
/// Questions without an answer yet, by number.
type Asked = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;
/// Packet identifiers of durable messages not confirmed yet, by receipt.
type Receipts = Arc<Mutex<HashMap<u64, u16>>>;

/// Connects; resolves when the broker has consented to everything.
pub(crate) async fn connect(context: LinkContext) -> Result<Connection, LinkError> {
    let (device, sealed) = (&context.device, context.sealed);
    let config = Config::read(device, &context.points, &context.path, None, sealed)?;
    let endpoint = config.endpoint();
    let late = LinkError::Timeout {
        endpoint: endpoint.clone(),
        millis: context.timeout.as_millis() as u64,
    };
    let limit = context.timeout;
    tokio::time::timeout(limit, join(context, config, endpoint)).await.unwrap_or(Err(late))
}

async fn join(
    context: LinkContext,
    config: Config,
    endpoint: String,
) -> Result<Connection, LinkError> {
    let limit = context.timeout;
    let durable = context.delivery == Delivery::Durable;
    let unique = unique_word();
    let mut client_id = config.fixed_id(&context.device);
    if !durable && config.client_id.is_none() {
        client_id = format!("{client_id}-{unique}");
    }
    // A persistent session keeps its subscriptions, so each of its connections must ask under the
    // same word. Late answers to an earlier one are told apart by the number, which is random.
    let word = if durable { client_id.replace(['/', '+', '#', '$'], "-") } else { unique.clone() };
    let first_number = u64::from_str_radix(&unique, 16).unwrap_or_default();
    let traffic = Arc::new(Traffic::default());
    let joining = Joining {
        config: &config,
        client_id: &client_id,
        will: None,
        side: Side::Plantwin,
        session: if durable { Session::Persistent } else { Session::Held },
        queue: QUEUE,
        inflight: INFLIGHT,
        timeout: limit,
    };
    let mut pump = Pump::connect(joining, Arc::clone(&traffic)).await?;
    let resumed = pump.is_resumed();

    let (sender, events) = mpsc::channel(EVENTS);
    let (asked, receipts) = (Asked::default(), Receipts::default());
    let session = &config.topics.session;
    let listener = Listener {
        answer: format!("{session}answer/{word}/"),
        refuse: format!("{session}refuse/{word}/"),
        asked: Arc::clone(&asked),
        topics: config.topics,
        // The periods of a link are wall time, the times of a plant its own.
        fresh: Duration::try_from_secs_f64(
            context.period.as_secs_f64() * FRESH_PERIODS * context.clock.speed(),
        )
        .unwrap_or_default(),
        clock: context.clock,
        events: sender,
        publisher: pump.publisher(),
        receipts: durable.then(|| Arc::clone(&receipts)),
        last_receipt: 0,
        dropped: 0,
        backlog: VecDeque::new(),
    };
    // What a broker pours in before it consents is bounded by its credit, and beyond that here.
    let mut early = Vec::new();
    let mut keep = |message: Publish| {
        if message.qos != QoS::AtMostOnce || early.len() < EVENTS {
            early.push(message);
        }
    };
    // First the status, by itself: a broker delivers what it retained before it consents to
    // the next subscription, so a device known to be gone is found out before the link is up.
    let words = if durable { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    pump.subscribe([(listener.topics.status.clone(), words)], &mut keep).await?;
    let values = if durable { QoS::AtLeastOnce } else { config.qos };
    let data = sorted(&listener.topics.routes).into_keys();
    let data = data.chain(listener.topics.sealed.as_deref());
    let mut topics: Vec<_> = data.map(|topic| (topic.to_owned(), values)).collect();
    for prefix in [&listener.answer, &listener.refuse] {
        topics.push((format!("{prefix}+"), words));
    }
    pump.subscribe(topics, &mut keep).await?;
    if early.iter().any(|message| listener.is_farewell(message)) {
        let cause = "the device is offline".to_owned();
        return Err(LinkError::Unreachable { endpoint, cause });
    }

    let control = Arc::new(MqttControl {
        publisher: pump.publisher(),
        sealed: listener.topics.sealed.is_some(),
        set: listener.topics.set.clone(),
        ask: format!("{}ask/{word}/", listener.topics.session),
        asked,
        receipts,
        count: AtomicU64::new(first_number),
        timeout: limit,
        endpoint: endpoint.clone(),
    });
    let mut tasks = Tasks::new();
    tasks.spawn(listener.run(pump, early));
    Ok(Connection { events, control, traffic, endpoint, resumed, tasks })
}

/// Makes events of messages.
struct Listener {
    topics: Topics,
    /// Topic of answers without their number.
    answer: String,
    /// Topic of refusals without their number.
    refuse: String,
    asked: Asked,
    /// Greatest age of a retained value that counts as live, in the plant's time.
    fresh: Duration,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<LinkEvent>,
    publisher: Publisher,
    /// `None` where delivery is not durable.
    receipts: Option<Receipts>,
    last_receipt: u64,
    /// Messages that were no envelope of a sealed device.
    dropped: u64,
    /// What waits for room among the events, with the packet identifier to acknowledge then
    /// (0 = none). At most [`BACKLOG`] and what came before the link was up.
    backlog: VecDeque<(LinkEvent, u16)>,
}

impl Listener {
    async fn run(mut self, mut pump: Pump, early: Vec<Publish>) {
        let mut reason = None;
        for message in early {
            reason = reason.or(self.take(&message));
        }
        let reason = loop {
            if let Some(reason) = reason {
                break reason;
            }
            let next = {
                let mut next = pin!(pump.next());
                // One packet after the other; what waits is handed on meanwhile.
                loop {
                    let full = self.backlog.len() >= BACKLOG;
                    tokio::select! {
                        biased;
                        room = self.events.reserve(), if !self.backlog.is_empty() => {
                            let Ok(room) = room else { return };
                            if let Some((event, pkid)) = self.backlog.pop_front() {
                                room.send(event);
                                self.publisher.acknowledge(pkid);
                            }
                        }
                        next = &mut next, if !full => break next,
                    }
                }
            };
            reason = match next {
                Ok(Incoming::Publish(message)) => self.take(&message),
                Ok(_) => None,
                Err(error) => Some(error),
            };
        };
        drop(pump);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let rest = self.backlog.into_iter().map(|(event, _)| event);
        for event in rest.chain([LinkEvent::Closed(reason)]) {
            // Nobody may be listening any more.
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Takes a message in; gives the reason if it ends the link.
    fn take(&mut self, message: &Publish) -> Option<LinkError> {
        if self.is_farewell(message) {
            return Some(LinkError::Closed("the device went offline".to_owned()));
        }
        let event = if self.topics.sealed.as_deref() == Some(topic(message)) {
            self.envelope(message)
        } else {
            self.read(message).map(|frame| match self.receipt(message) {
                Some(receipt) => LinkEvent::Durable { frame, receipt },
                None => LinkEvent::Frame(frame),
            })
        };
        match event {
            None => self.publisher.acknowledge(message.pkid),
            Some(
                event @ (LinkEvent::Durable { .. } | LinkEvent::Sealed { receipt: Some(_), .. }),
            ) => {
                self.backlog.push_back((event, 0));
            }
            Some(event) => self.backlog.push_back((event, message.pkid)),
        }
        None
    }

    /// What names a message that is acknowledged when it is confirmed; `None` for one that is
    /// acknowledged when it is handed on.
    fn receipt(&mut self, message: &Publish) -> Option<u64> {
        let receipts = self.receipts.as_ref()?;
        // What was retained is a value of the past, and what came by quality of service 0 is
        // promised to nobody.
        if message.qos == QoS::AtMostOnce || message.retain {
            return None;
        }
        self.last_receipt += 1;
        let mut receipts = receipts.lock().unwrap_or_else(PoisonError::into_inner);
        receipts.insert(self.last_receipt, message.pkid);
        Some(self.last_receipt)
    }

    /// An envelope, unless it is none that the device would have sent.
    fn envelope(&mut self, message: &Publish) -> Option<LinkEvent> {
        let bytes = message.payload.len();
        if bytes > SEALED_LIMIT || message.retain {
            self.dropped += 1;
            // Whoever floods the topic shall not flood the log.
            if self.dropped.is_power_of_two() {
                tracing::warn!(
                    topic = topic(message),
                    bytes,
                    retained = message.retain,
                    dropped = self.dropped,
                    "dropped what is no envelope of a sealed device"
                );
            }
            return None;
        }
        let (received, envelope) = (self.clock.now(), message.payload.to_vec());
        Some(LinkEvent::Sealed { received, envelope, receipt: self.receipt(message) })
    }

    /// Whether the device, or its last will, says that it is gone.
    fn is_farewell(&self, message: &Publish) -> bool {
        topic(message) == self.topics.status && message.payload.trim_ascii() == b"offline"
    }

    fn read(&self, message: &Publish) -> Option<Frame> {
        let topic = topic(message);
        if let Some(route) = self.topics.routes.get(topic) {
            let now = self.clock.now();
            let mut frame = payload::decode(route, &self.topics.native, &message.payload, now);
            if message.retain {
                mark_retained(&mut frame, self.fresh);
                if frame.samples.is_empty() {
                    tracing::debug!(topic, "a retained message without a value was passed over");
                    return None;
                }
            }
            return Some(frame);
        }
        if let Some(number) = topic.strip_prefix(&self.answer) {
            self.answered(number, Ok(message.payload.to_vec()));
        } else if let Some(number) = topic.strip_prefix(&self.refuse) {
            let reason = String::from_utf8_lossy(&message.payload);
            self.answered(number, Err(reason.chars().take(200).collect()));
        }
        None
    }

    fn answered(&self, number: &str, answer: Answer) {
        let Ok(number) = number.parse() else { return };
        let waiting = self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(waiting) = waiting {
            // Whoever asked may have given up.
            let _ = waiting.send(answer);
        }
    }
}

/// Marks what a broker kept for whoever comes: its device may be long dead, so a value passes as
/// live only if it says itself that it is young. What cannot be used is dropped, since that the
/// device once said something unreadable tells nothing of now.
fn mark_retained(frame: &mut Frame, fresh: Duration) {
    let now = frame.received;
    // A time ahead of the plant's clock by as much is no better than one as far behind.
    let is_young = |t: Timestamp| now.since(t).max(t.since(now)) < fresh;
    frame.samples.retain(|sample| {
        if sample.source_time.is_some_and(is_young) {
            return true;
        }
        let usable = sample.value.is_finite() && !sample.quality.is_bad();
        sample.quality = Quality::Uncertain(Flaw::Stale);
        usable
    });
}

struct MqttControl {
    publisher: Publisher,
    /// Whether the device speaks in sealed envelopes only.
    sealed: bool,
    set: Vec<Option<String>>,
    ask: String,
    asked: Asked,
    receipts: Receipts,
    count: AtomicU64,
    timeout: Duration,
    endpoint: String,
}

impl MqttControl {
    fn within<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, LinkError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, LinkError>> {
        let (timeout, endpoint) = (self.timeout, self.endpoint.clone());
        Box::pin(async move {
            let late = LinkError::Timeout { endpoint, millis: timeout.as_millis() as u64 };
            tokio::time::timeout(timeout, work).await.unwrap_or(Err(late))
        })
    }
}

fn ended<E>(_: E) -> LinkError {
    LinkError::Closed("it ended before the answer".to_owned())
}

/// Forgets a question when whoever asked stops waiting.
struct Forget(Asked, u64);

impl Drop for Forget {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Control for MqttControl {
    /// Resolves when the broker has acknowledged every write: MQTT has no answer of the device.
    fn write(&self, writes: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        if self.sealed {
            let what = "bare writes of a sealed device".to_owned();
            return Box::pin(std::future::ready(Err(LinkError::Unsupported(what))));
        }
        let mut messages = Vec::with_capacity(writes.len());
        for write in writes {
            let Some(topic) = self.set.get(write.point.index()).cloned().flatten() else {
                let what = format!("a writable point {}", write.point.0);
                return Box::pin(std::future::ready(Err(LinkError::Unsupported(what))));
            };
            messages.push((topic, write.value.to_string().into_bytes()));
        }
        let publisher = self.publisher.clone();
        self.within(async move {
            let mut acks = Vec::with_capacity(messages.len());
            for (topic, payload) in messages {
                acks.push(publisher.publish(&topic, QoS::AtLeastOnce, false, payload).await?);
            }
            for ack in acks {
                taken(ack).await?;
            }
            Ok(())
        })
    }

    /// A device that has no sessions does not answer: the question times out.
    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let refused = |why: String| Box::pin(std::future::ready(Err(LinkError::Refused(why))));
        if request.len() > MAX_EXCHANGE {
            return refused(format!("{} bytes, more than {MAX_EXCHANGE}", request.len()));
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.len() >= ASKED {
                return refused(format!("{ASKED} questions are already open"));
            }
            asked.insert(number, sender);
        }
        let forget = Forget(Arc::clone(&self.asked), number);
        let (publisher, topic) = (self.publisher.clone(), format!("{}{number}", self.ask));
        self.within(async move {
            let _forget = forget;
            publisher.publish(&topic, QoS::AtLeastOnce, false, request).await?;
            match answer.await.map_err(ended)? {
                Ok(answer) if answer.len() > MAX_EXCHANGE => {
                    Err(LinkError::Refused(format!("its answer has {} bytes", answer.len())))
                }
                Ok(answer) => Ok(answer),
                Err(reason) => Err(LinkError::Refused(reason)),
            }
        })
    }

    /// After the connection has ended this does nothing: the broker sends the message again.
    fn confirm(&self, receipt: u64) {
        let pkid = self.receipts.lock().unwrap_or_else(PoisonError::into_inner).remove(&receipt);
        if let Some(pkid) = pkid {
            self.publisher.acknowledge(pkid);
        }
    }
}
