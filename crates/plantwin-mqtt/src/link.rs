//! The link face: plantwin listens to one device through a broker.
//!
//! One task turns the connection. When nobody takes the events it stops, so that the broker's
//! own queue and in the end the device feel it; a user who takes nothing for longer than one and
//! a half keep-alives (15 s) is cut off by the broker. Absent: reconnecting.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, Control, Frame, LinkContext, LinkError, LinkEvent, PointWrite, Tasks, Traffic,
};
use plantwin_model::{Clock, Flaw, Quality, Timestamp};
use rumqttc::{Incoming, Publish, QoS};
use tokio::sync::{mpsc, oneshot};

use crate::{
    client::{Publisher, Pump, Side, unique_word},
    config::{Config, Topics, sorted},
    payload,
};

/// Events that may wait for the user of the link.
const EVENTS: usize = 64;
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

/// Connects; resolves when the broker has consented to everything.
pub(crate) async fn connect(context: LinkContext) -> Result<Connection, LinkError> {
    let config = Config::read(&context.device, &context.points, &context.path, None)?;
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
    let word = unique_word();
    let client_id =
        config.client_id.clone().unwrap_or_else(|| format!("plantwin-{}-{word}", context.device));
    let traffic = Arc::new(Traffic::default());
    let counted = Arc::clone(&traffic);
    let mut pump = Pump::connect(&config, &client_id, None, Side::Plantwin, counted, limit).await?;

    let (sender, events) = mpsc::channel(EVENTS);
    let asked = Asked::default();
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
    };
    // First the status, by itself: a broker delivers what it retained before it consents to
    // the next subscription, so a device known to be gone is found out before the link is up.
    let mut early = Vec::new();
    let status = (listener.topics.status.clone(), QoS::AtLeastOnce);
    pump.subscribe([status], |m| early.push(m)).await?;
    let data = sorted(&listener.topics.routes).into_keys();
    let mut topics: Vec<_> = data.map(|topic| (topic.to_owned(), config.qos)).collect();
    for prefix in [&listener.answer, &listener.refuse] {
        topics.push((format!("{prefix}+"), QoS::AtLeastOnce));
    }
    // What a broker pours in before it consents is bounded by the queue of events.
    pump.subscribe(topics, |m| {
        if early.len() < EVENTS {
            early.push(m);
        }
    })
    .await?;
    let mut first = Vec::new();
    for message in early {
        match listener.read(&message) {
            Some(LinkEvent::Closed(_)) => {
                let cause = "the device is offline".to_owned();
                return Err(LinkError::Unreachable { endpoint, cause });
            }
            event => first.extend(event),
        }
    }

    let control = Arc::new(MqttControl {
        publisher: pump.publisher(),
        set: listener.topics.set.clone(),
        ask: format!("{}ask/{word}/", listener.topics.session),
        asked,
        count: AtomicU64::new(0),
        timeout: limit,
        endpoint: endpoint.clone(),
    });
    let mut tasks = Tasks::new();
    tasks.spawn(listener.run(pump, first));
    Ok(Connection { events, control, traffic, endpoint, tasks })
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
}

impl Listener {
    async fn run(self, mut pump: Pump, first: Vec<LinkEvent>) {
        for event in first {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
        let reason = loop {
            let message = match pump.next().await {
                Ok(Incoming::Publish(message)) => message,
                Ok(_) => continue,
                Err(error) => break error,
            };
            let Some(event) = self.read(&message) else { continue };
            if let LinkEvent::Closed(reason) = event {
                break reason;
            }
            // Waits while nobody takes events: the socket is not read meanwhile.
            if self.events.send(event).await.is_err() {
                return;
            }
        };
        drop(pump);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Nobody may be listening any more.
        let _ = self.events.send(LinkEvent::Closed(reason)).await;
    }

    fn read(&self, message: &Publish) -> Option<LinkEvent> {
        let topic = message.topic.as_str();
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
            return Some(LinkEvent::Frame(frame));
        }
        if topic == self.topics.status {
            let gone = message.payload.trim_ascii() == b"offline";
            let reason = || LinkError::Closed("the device went offline".to_owned());
            return gone.then(|| LinkEvent::Closed(reason()));
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
    set: Vec<Option<String>>,
    ask: String,
    asked: Asked,
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
                ack.await.map_err(ended)?;
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
}
