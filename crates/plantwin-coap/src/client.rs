//! The client's side of the protocol as a state machine: datagrams and times in, datagrams and
//! events out.
//!
//! It registers observations, matches answers by token, drops what is stale or doubled, fetches
//! the rest of long answers, and knows when to ask again. Absent: sockets, tasks and waiting
//! (see `link`).

mod transfer;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use coap_lite::{
    CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType,
    block_handler::BlockValue,
};
use plantwin_adapter::{Frame, LinkError, LinkEvent, SEALED_LIMIT, Sample};
use plantwin_model::{Flaw, PointSpec, Timestamp};
use smallvec::SmallVec;
use tokio::{sync::oneshot, time::Instant};

use self::transfer::Transfer;
use crate::{
    config::{Content, Path, Resource},
    message::{self, ACK_TIMEOUT, BLOCK, Dice, Due, Transmission},
    payload,
};

/// Requests of the control that may be under way at once. RFC 7252 §4.7 leaves it to one
/// (`NSTART`) only where nothing is known of the network; crossing exchanges must not wait for
/// each other.
pub(crate) const COMMANDS: usize = 16;
/// Longest body put together from blocks, bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// Message ids of confirmable messages remembered, so that a doubled one is acknowledged again.
const REMEMBERED: usize = 64;

/// A request of the control.
pub(crate) struct Command {
    /// PUT, or POST for session bytes.
    pub(crate) method: RequestType,
    /// Where.
    pub(crate) path: Path,
    /// Content format.
    pub(crate) format: u16,
    /// Body.
    pub(crate) payload: Vec<u8>,
    /// The answer.
    pub(crate) reply: oneshot::Sender<Result<Packet, LinkError>>,
}

/// Times of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Report period, wall time.
    pub(crate) period: Duration,
    /// Longest wait for an answer.
    pub(crate) timeout: Duration,
}

impl Times {
    /// `ACK_TIMEOUT`, shortened to a quarter of the link's timeout so that a lost message can
    /// be made good within it, but never below the second that RFC 7252 §4.8.1 asks for.
    fn ack(self) -> Duration {
        (self.timeout / 4).clamp(Duration::from_secs(1), ACK_TIMEOUT)
    }

    /// Silence after which a resource is asked again.
    fn quiet(self, max_age: Option<u32>) -> Duration {
        let most = (self.period * 3).max(self.timeout);
        max_age.map_or(most, |s| Duration::from_secs(u64::from(s)).clamp(self.period, most))
    }
}

struct Subscription {
    resource: Resource,
    token: Vec<u8>,
    observing: bool,
    fresh: Option<(u32, Instant)>,
    sequence: Option<u64>,
    /// When to ask (again).
    next: Instant,
    failed: bool,
}

/// A long answer that is put together from blocks.
struct Assembly {
    /// Which subscription.
    of: usize,
    /// Version of the resource: blocks of different versions do not fit together.
    etag: Option<Vec<u8>>,
    body: Vec<u8>,
}

enum Purpose {
    Resource(usize),
    Block(Assembly),
    Command(oneshot::Sender<Result<Packet, LinkError>>),
    Transfer(Box<Transfer>),
}

impl Purpose {
    /// Whoever waits for the answer, if it is a request of the control.
    fn asker(&self) -> Option<&oneshot::Sender<Result<Packet, LinkError>>> {
        match self {
            Self::Command(reply) => Some(reply),
            Self::Transfer(transfer) => Some(&transfer.reply),
            Self::Resource(_) | Self::Block(_) => None,
        }
    }
}

struct Exchange {
    id: u16,
    token: Vec<u8>,
    begun: Instant,
    deadline: Instant,
    /// `None` once it was acknowledged and a separate response is awaited.
    transmission: Option<Transmission>,
    purpose: Purpose,
}

/// State of a link.
pub(crate) struct Client {
    points: Arc<[PointSpec]>,
    endpoint: String,
    times: Times,
    subscriptions: Vec<Subscription>,
    exchanges: Vec<Exchange>,
    acknowledged: VecDeque<u16>,
    next_id: u16,
    dice: Dice,
    heard: Instant,
    /// Whether some resource was read.
    pub(crate) up: bool,
    /// Why the link cannot be used, once that is clear.
    pub(crate) failure: Option<LinkError>,
}

impl Client {
    /// A link that will ask for all `resources` at its first [`tick`](Self::tick).
    pub(crate) fn new(
        points: Arc<[PointSpec]>,
        resources: Vec<Resource>,
        endpoint: String,
        times: Times,
        now: Instant,
    ) -> Self {
        let mut dice = Dice::default();
        let subscribe = |resource| Subscription {
            resource,
            token: dice.token(),
            observing: false,
            fresh: None,
            sequence: None,
            next: now,
            failed: false,
        };
        let subscriptions = resources.into_iter().map(subscribe).collect();
        let next_id = dice.roll() as u16;
        Self {
            points,
            endpoint,
            times,
            subscriptions,
            exchanges: Vec::new(),
            acknowledged: VecDeque::new(),
            next_id,
            dice,
            heard: now,
            up: false,
            failure: None,
        }
    }

    /// Whether there is room for another [`Command`].
    pub(crate) fn takes_commands(&self) -> bool {
        self.exchanges.iter().filter(|e| e.purpose.asker().is_some()).count() < COMMANDS
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let exchanges = self
            .exchanges
            .iter()
            .map(|e| e.transmission.as_ref().map_or(e.deadline, |t| t.due.min(e.deadline)));
        let asks = (0..self.subscriptions.len())
            .filter(|&ix| !self.asking(ix))
            .map(|ix| self.subscriptions[ix].next);
        exchanges.chain(asks).min()
    }

    /// Does what is due: repeats, gives up, asks again.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let mut ix = 0;
        while ix < self.exchanges.len() {
            let exchange = &mut self.exchanges[ix];
            let abandoned = exchange.purpose.asker().is_some_and(oneshot::Sender::is_closed);
            let due = exchange.transmission.as_mut().map_or(Due::Nothing, |t| t.poll(now));
            if abandoned || due == Due::GivenUp || now >= exchange.deadline {
                let exchange = self.exchanges.swap_remove(ix);
                self.unanswered(exchange, now);
                continue;
            }
            if let (Due::Again, Some(transmission)) = (due, &exchange.transmission) {
                out.push(transmission.bytes.clone());
            }
            ix += 1;
        }
        for ix in 0..self.subscriptions.len() {
            if self.subscriptions[ix].next <= now && !self.asking(ix) {
                self.ask(ix, now, out);
            }
        }
    }

    /// Forgives the device all silence up to now, because nobody listened.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.heard = now;
        for exchange in &mut self.exchanges {
            exchange.begun = now;
            exchange.deadline = now + self.times.timeout;
        }
    }

    /// Sends a request of the control.
    pub(crate) fn command(&mut self, command: Command, now: Instant, out: &mut Vec<Vec<u8>>) {
        if command.method == RequestType::Post {
            return self.transfer(command, now, out);
        }
        let token = self.dice.token();
        let id = self.id();
        let mut packet = message::request(command.method, &command.path, id, &token);
        message::set_number(&mut packet, CoapOption::ContentFormat, u32::from(command.format));
        packet.payload = command.payload;
        self.send(packet, Purpose::Command(command.reply), now, out);
    }

    /// The datagrams that end all observations (RFC 7641 §3.6), for a link that is dropped.
    pub(crate) fn farewell(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for ix in 0..self.subscriptions.len() {
            if self.subscriptions[ix].observing {
                let id = self.id();
                let s = &self.subscriptions[ix];
                let mut packet = message::request(RequestType::Get, &s.resource.path, id, &s.token);
                // Nobody will wait for the answer.
                packet.header.set_type(MessageType::NonConfirmable);
                message::set_number(&mut packet, CoapOption::Observe, 1);
                out.push(message::bytes(&packet));
            }
        }
        out
    }

    /// Takes a datagram from the device.
    pub(crate) fn datagram(
        &mut self,
        bytes: &[u8],
        now: Instant,
        received: Timestamp,
        out: &mut Vec<Vec<u8>>,
    ) -> Option<LinkEvent> {
        let packet = match message::parse(bytes) {
            Ok(packet) => packet,
            Err(reset) => {
                out.extend(reset);
                return None;
            }
        };
        self.heard = now;
        let (kind, id) = (packet.header.get_type(), packet.header.message_id);
        match (packet.header.code, kind) {
            (MessageClass::Empty, MessageType::Acknowledgement) => {
                if let Some(e) = self.exchanges.iter_mut().find(|e| e.id == id) {
                    e.transmission = None;
                }
                return None;
            }
            (MessageClass::Empty, MessageType::Reset) => {
                if let Some(ix) = self.exchanges.iter().position(|e| e.id == id) {
                    let exchange = self.exchanges.swap_remove(ix);
                    self.refused(exchange.purpose, "a reset", now);
                }
                return None;
            }
            (MessageClass::Response(_) | MessageClass::Reserved(_), _) => {}
            // A ping or a request: nothing of that is served here.
            (_, MessageType::Confirmable) => {
                out.push(message::empty(MessageType::Reset, id));
                return None;
            }
            _ => return None,
        }

        let token = packet.get_token();
        let asked = self.exchanges.iter().position(|e| e.token == token);
        let subscription = self.subscriptions.iter().position(|s| s.token == token);
        if asked.is_none() && subscription.is_none() {
            // Doubled answers are acknowledged again; notifications nobody asked for are refused.
            match kind {
                MessageType::Confirmable if self.acknowledged.contains(&id) => {
                    out.push(message::empty(MessageType::Acknowledgement, id));
                }
                MessageType::Confirmable | MessageType::NonConfirmable => {
                    out.push(message::empty(MessageType::Reset, id));
                }
                _ => {}
            }
            return None;
        }
        if kind == MessageType::Confirmable {
            out.push(message::empty(MessageType::Acknowledgement, id));
            if self.acknowledged.len() == REMEMBERED {
                self.acknowledged.pop_front();
            }
            self.acknowledged.push_back(id);
        }

        let observing = subscription.is_some_and(|s| self.subscriptions[s].observing);
        let answered = asked.filter(|&ix| {
            let exchange = &self.exchanges[ix];
            match kind {
                MessageType::Acknowledgement => exchange.id == id,
                // Before the acknowledgement it may as well be a notification.
                _ => !observing || exchange.transmission.is_none(),
            }
        });
        let purpose = match answered {
            Some(ix) => Some(self.exchanges.swap_remove(ix).purpose),
            None if kind == MessageType::Acknowledgement => return None,
            None => None,
        };
        match (purpose, subscription) {
            (Some(Purpose::Command(reply)), _) => {
                // Whoever asked may have given up meanwhile.
                let _ = reply.send(Ok(packet));
                None
            }
            (Some(Purpose::Transfer(transfer)), _) => {
                self.transferred(transfer, packet, now, out);
                None
            }
            (Some(Purpose::Block(assembly)), _) => {
                self.block(assembly, &packet, now, received, out)
            }
            (Some(Purpose::Resource(ix)), _) => self.content(ix, true, &packet, now, received, out),
            (None, Some(ix)) => self.content(ix, false, &packet, now, received, out),
            (None, None) => None,
        }
    }

    /// An answer or a notification of a resource.
    fn content(
        &mut self,
        ix: usize,
        answer: bool,
        packet: &Packet,
        now: Instant,
        received: Timestamp,
        out: &mut Vec<Vec<u8>>,
    ) -> Option<LinkEvent> {
        if message::class(packet) != 2 {
            return self.unreadable(ix, message::diagnosis(packet), now, received);
        }
        let subscription = &mut self.subscriptions[ix];
        let number = message::number(packet, CoapOption::Observe);
        if let (false, Some(last), Some(new)) = (answer, subscription.fresh, number)
            && !message::fresher(last, (new, now))
        {
            return None;
        }
        subscription.fresh = number.map(|n| (n, now));
        subscription.observing = subscription.resource.observe && number.is_some();
        subscription.failed = false;
        let wait = if subscription.observing {
            self.times.quiet(message::number(packet, CoapOption::MaxAge))
        } else {
            self.times.period
        };
        subscription.next = now + wait;
        self.up = true;
        match message::block2(packet) {
            Ok(Some(block)) if block.more && block.num == 0 => {
                let etag = packet.get_first_option(CoapOption::ETag).cloned();
                let assembly = Assembly { of: ix, etag, body: packet.payload.clone() };
                self.fetch_block(assembly, &block, now, out);
                None
            }
            Ok(None) => self.deliver(ix, &packet.payload, received),
            Ok(Some(block)) if block.num == 0 => self.deliver(ix, &packet.payload, received),
            _ => self.all_bad(ix, Flaw::Malformed, received),
        }
    }

    fn fetch_block(
        &mut self,
        assembly: Assembly,
        last: &BlockValue,
        now: Instant,
        out: &mut Vec<Vec<u8>>,
    ) {
        // A newer notification begins the body anew.
        let of = assembly.of;
        self.exchanges.retain(|e| !matches!(&e.purpose, Purpose::Block(a) if a.of == of));
        let (id, token) = (self.id(), self.dice.token());
        let path = &self.subscriptions[of].resource.path;
        let mut packet = message::request(RequestType::Get, path, id, &token);
        // At most BODY_LIMIT / 16, so it fits.
        let number = (assembly.body.len() / last.size()) as u16;
        let block = BlockValue { num: number, more: false, size_exponent: last.size_exponent };
        packet.add_option_as(CoapOption::Block2, block);
        self.send(packet, Purpose::Block(assembly), now, out);
    }

    /// A further block of a long answer.
    fn block(
        &mut self,
        mut assembly: Assembly,
        packet: &Packet,
        now: Instant,
        received: Timestamp,
        out: &mut Vec<Vec<u8>>,
    ) -> Option<LinkEvent> {
        let block = message::block2(packet).ok().flatten()?;
        let of = assembly.of;
        let changed = assembly.etag.as_ref() != packet.get_first_option(CoapOption::ETag);
        let fits = usize::from(block.num) * block.size() == assembly.body.len();
        if message::class(packet) != 2 || changed || !fits {
            // The resource has changed meanwhile: ask for it as a whole again.
            self.subscriptions[of].next = now + self.times.period;
            return None;
        }
        assembly.body.extend_from_slice(&packet.payload);
        if !block.more {
            return self.deliver(of, &assembly.body, received);
        }
        if packet.payload.len() != block.size() || assembly.body.len() > BODY_LIMIT - BLOCK {
            return self.all_bad(of, Flaw::Malformed, received);
        }
        self.fetch_block(assembly, &block, now, out);
        None
    }

    /// Makes an event of a whole body.
    fn deliver(&mut self, ix: usize, body: &[u8], received: Timestamp) -> Option<LinkEvent> {
        let subscription = &mut self.subscriptions[ix];
        let (sequence, samples) = match &subscription.resource.content {
            Content::Native(wanted) => match payload::decode(body, &self.points, wanted) {
                Some(native) => (native.sequence, native.samples),
                None => return self.all_bad(ix, Flaw::Malformed, received),
            },
            // Nothing has been sealed since it was last asked.
            Content::Sealed if body.is_empty() => return Some(LinkEvent::Alive),
            Content::Sealed if body.len() > SEALED_LIMIT => {
                tracing::debug!(endpoint = %self.endpoint, bytes = body.len(), "not an envelope");
                return None;
            }
            Content::Sealed => {
                let envelope = body.to_vec();
                return Some(LinkEvent::Sealed { received, envelope, receipt: None });
            }
            Content::Points(points) => {
                let decode = |(point, pointer): &(_, Option<String>)| {
                    payload::decode_point(body, *point, pointer.as_deref())
                };
                (None, points.iter().filter_map(decode).collect())
            }
        };
        let known = sequence.is_some() && sequence == subscription.sequence;
        subscription.sequence = sequence;
        if samples.is_empty() || known {
            return Some(LinkEvent::Alive);
        }
        Some(LinkEvent::Frame(Frame { received, sequence, samples }))
    }

    /// A resource that answers with an error: its points have no value, and it is tried again.
    fn unreadable(
        &mut self,
        ix: usize,
        reason: String,
        now: Instant,
        received: Timestamp,
    ) -> Option<LinkEvent> {
        self.lost(ix, &reason, now);
        if self.up { self.all_bad(ix, Flaw::DeviceReported, received) } else { None }
    }

    fn lost(&mut self, ix: usize, reason: &str, now: Instant) {
        let subscription = &mut self.subscriptions[ix];
        (subscription.observing, subscription.fresh, subscription.failed) = (false, None, true);
        subscription.next = now + self.times.quiet(None);
        if !self.up && self.subscriptions.iter().all(|s| s.failed) {
            let Resource { path, content, .. } = &self.subscriptions[ix].resource;
            let what = format!("GET /{}: {reason}", path.join("/"));
            self.failure = Some(match content {
                Content::Sealed => LinkError::Unsupported(format!("sealed telemetry ({what})")),
                _ => LinkError::Refused(what),
            });
        }
    }

    /// Says of all points of a resource that they have no value. Of sealed ones nobody here can
    /// say anything.
    fn all_bad(&self, ix: usize, flaw: Flaw, received: Timestamp) -> Option<LinkEvent> {
        let samples: SmallVec<[Sample; 4]> = match &self.subscriptions[ix].resource.content {
            Content::Native(points) => points.iter().map(|&p| payload::bad(p, flaw)).collect(),
            Content::Points(points) => points.iter().map(|(p, _)| payload::bad(*p, flaw)).collect(),
            Content::Sealed => return None,
        };
        Some(LinkEvent::Frame(Frame { received, sequence: None, samples }))
    }

    /// Nobody answered.
    fn unanswered(&mut self, exchange: Exchange, now: Instant) {
        let millis = self.times.timeout.as_millis() as u64;
        let error = LinkError::Timeout { endpoint: self.endpoint.clone(), millis };
        match exchange.purpose {
            Purpose::Command(reply) => {
                let _ = reply.send(Err(error));
            }
            Purpose::Transfer(transfer) => {
                let _ = transfer.reply.send(Err(error));
            }
            Purpose::Resource(_) | Purpose::Block(_) if self.heard <= exchange.begun => {
                self.failure = Some(error);
            }
            // Others of its resources still speak: try again.
            Purpose::Resource(ix) => self.subscriptions[ix].next = now + self.times.quiet(None),
            Purpose::Block(Assembly { of, .. }) => self.subscriptions[of].next = now,
        }
    }

    fn refused(&mut self, purpose: Purpose, reason: &str, now: Instant) {
        match purpose {
            Purpose::Command(reply) => {
                let _ = reply.send(Err(LinkError::Refused(reason.to_owned())));
            }
            Purpose::Transfer(transfer) => {
                let _ = transfer.reply.send(Err(LinkError::Refused(reason.to_owned())));
            }
            Purpose::Resource(ix) | Purpose::Block(Assembly { of: ix, .. }) => {
                self.lost(ix, reason, now);
            }
        }
    }

    fn asking(&self, ix: usize) -> bool {
        self.exchanges.iter().any(
            |e| matches!(e.purpose, Purpose::Resource(i) | Purpose::Block(Assembly { of: i, .. }) if i == ix),
        )
    }

    fn ask(&mut self, ix: usize, now: Instant, out: &mut Vec<Vec<u8>>) {
        let id = self.id();
        let Subscription { resource, token, .. } = &self.subscriptions[ix];
        let mut packet = message::request(RequestType::Get, &resource.path, id, token);
        if resource.observe {
            // The same token again refreshes a registration (RFC 7641 §3.3.1).
            message::set_number(&mut packet, CoapOption::Observe, 0);
        }
        self.send(packet, Purpose::Resource(ix), now, out);
    }

    fn send(&mut self, packet: Packet, purpose: Purpose, now: Instant, out: &mut Vec<Vec<u8>>) {
        let bytes = message::bytes(&packet);
        out.push(bytes.clone());
        let transmission = Transmission::new(bytes, now, self.times.ack(), &mut self.dice);
        self.exchanges.push(Exchange {
            id: packet.header.message_id,
            token: packet.get_token().to_vec(),
            begun: now,
            deadline: now + self.times.timeout,
            transmission: Some(transmission),
            purpose,
        });
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// What the answer to session bytes means: a device without the resource has no sessions.
pub(crate) fn session_outcome(packet: &Packet) -> Result<(), LinkError> {
    match (message::class(packet), packet.header.code) {
        (2, _) => Ok(()),
        (_, MessageClass::Response(ResponseType::NotFound | ResponseType::MethodNotAllowed)) => {
            Err(LinkError::Unsupported(format!("a session ({})", message::diagnosis(packet))))
        }
        _ => Err(LinkError::Refused(message::diagnosis(packet))),
    }
}

/// See [`crate::handle_any_datagram`].
pub(crate) fn handle_any_datagram(bytes: &[u8]) {
    let now = Instant::now();
    let resource = |content| Resource { path: vec!["a".to_owned()], content, observe: true };
    let point = plantwin_model::PointIx(0);
    let resources = vec![
        resource(Content::Native(vec![point])),
        resource(Content::Points(vec![(point, Some("/a".to_owned()))])),
        resource(Content::Points(vec![(point, None)])),
        resource(Content::Sealed),
    ];
    let times = Times { period: Duration::from_secs(1), timeout: Duration::from_secs(1) };
    let mut client = Client::new(Arc::new([]), resources, String::new(), times, now);
    let mut out = Vec::new();
    client.tick(now, &mut out);
    let (reply, _kept) = oneshot::channel();
    let (path, payload) = (vec!["a".to_owned()], vec![0; 2 * BLOCK]);
    let command = Command { method: RequestType::Post, path, format: 0, payload, reply };
    client.command(command, now, &mut out);
    client.datagram(bytes, now, Timestamp(0), &mut out);
    // The same as an answer to each of its requests, so that the token lets it through.
    for ix in 0..client.subscriptions.len() {
        if let Ok(mut packet) = message::parse(bytes) {
            packet.set_token(client.subscriptions[ix].token.clone());
            let bytes = message::bytes(&packet);
            client.datagram(&bytes, now, Timestamp(0), &mut out);
        }
        client.deliver(ix, bytes, Timestamp(0));
    }
    let open: Vec<_> = client.exchanges.iter().map(|e| (e.id, e.token.clone())).collect();
    for (id, token) in open {
        if let Ok(mut packet) = message::parse(bytes) {
            packet.header.message_id = id;
            packet.set_token(token);
            client.datagram(&message::bytes(&packet), now, Timestamp(0), &mut out);
        }
    }
    client.tick(now + Duration::from_secs(10), &mut out);
}
