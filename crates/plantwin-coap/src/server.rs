//! The server's side of the protocol as a state machine: many devices behind one socket,
//! datagrams and times in, datagrams out.
//!
//! It answers reads, hands writes and session bytes over and answers them later, keeps
//! observers and finds dead ones, and does a doubled write once. A device with a pre-shared key is
//! there for those only who have proven that key. Absent: sockets, tasks and waiting (see
//! `device`), DTLS itself (see `doors`).

mod blocks;
mod fuzz;
mod list;
mod peer;
mod sealed;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType};
use plantwin_adapter::{DeviceMessage, HostedDevice, LinkError, Measurement, Sample, Traffic};
use plantwin_model::{Access, PointIx, PointSpec};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

#[cfg(test)]
pub(crate) use self::sealed::KEPT;
use self::{
    blocks::{Blocks, Incoming, Session},
    sealed::{Envelopes, Progress},
};
pub(crate) use self::{fuzz::handle_any_datagram, peer::Peer};
use crate::{
    config::{Config, Content},
    message::{self, ACK_TIMEOUT, BLOCK, Dice, Due, EXCHANGE_LIFETIME, Transmission},
    payload,
    represent::{critical, problem, represent},
};

/// Observers of one resource; who comes later is answered, but not notified.
pub(crate) const OBSERVERS: usize = 64;
/// Every so many notifications one is confirmable, so that dead observers are found.
const CONFIRM_EVERY: u8 = 10;
/// And at the latest after so long (RFC 7641 §4.5 asks for once in 24 h).
const CONFIRM_AFTER: Duration = Duration::from_secs(30);
/// Answers that are remembered for doubled writes.
const REMEMBERED: usize = 1024;
/// Requests that wait for their devices.
const PENDING: usize = 256;
/// After this long a waiting client is told that its request has arrived; below `ACK_TIMEOUT`,
/// so that it does not ask twice.
const ACK_AFTER: Duration = Duration::from_millis(500);
/// Clients whose message ids are kept.
const PEERS: usize = 4096;
/// Place of a sealed device's envelopes among its resources: it has no other.
const SEALED: usize = 0;

/// Datagrams to be sent.
pub(crate) type Outgoing = Vec<(Peer, Vec<u8>)>;

/// What a device is asked, and will answer under this number.
pub(crate) struct Ask {
    /// Number for [`Server::answered`].
    pub(crate) number: u64,
    /// Where the answer comes from.
    pub(crate) reply: Reply,
}

/// Where an answer comes from.
pub(crate) enum Reply {
    /// Of a write.
    Write(oneshot::Receiver<Result<(), String>>),
    /// Of session bytes.
    Exchange(oneshot::Receiver<Result<Vec<u8>, String>>),
}

/// What became of an [`Ask`].
pub(crate) type Answer = Result<(ResponseType, Vec<u8>), (ResponseType, String)>;

struct Observer {
    at: Peer,
    token: Vec<u8>,
    unconfirmed: u8,
    confirmed: Instant,
    /// Last message ids, to which a reset may refer.
    recent: VecDeque<u16>,
    /// A confirmable notification is under way.
    in_flight: bool,
    /// How far it has come with sealed envelopes.
    progress: Progress,
}

struct Served {
    content: Content,
    path: String,
    observers: Vec<Observer>,
}

struct Device {
    base: String,
    /// Number of its key; who has not proven it is not served.
    key: Option<u16>,
    /// Its envelopes, if it is sealed.
    sealed: Option<Envelopes>,
    points: Arc<[PointSpec]>,
    up: bool,
    requests: mpsc::Sender<DeviceMessage>,
    traffic: Arc<Traffic>,
    resources: Vec<Served>,
    last: Option<Measurement>,
    latest: Vec<Option<Sample>>,
    /// Observe number, 24 bit (RFC 7641 §4.4).
    number: u32,
    max_age: u32,
}

struct Flight {
    device: usize,
    /// Resource and token of the observer, if it is a notification.
    observer: Option<(usize, Vec<u8>)>,
    transmission: Transmission,
}

struct Pending {
    device: usize,
    from: Peer,
    token: Vec<u8>,
    id: u16,
    confirmable: bool,
    acknowledged: bool,
    acknowledge_at: Instant,
    session: Option<Session>,
}

struct Seen {
    from: Peer,
    id: u16,
    at: Instant,
    /// What was answered; `None` while the device thinks.
    answer: Option<Vec<u8>>,
}

/// All devices behind one socket.
#[derive(Default)]
pub(crate) struct Server {
    devices: Vec<Device>,
    reads: HashMap<String, (usize, usize)>,
    writes: HashMap<String, (usize, PointIx)>,
    sessions: HashMap<String, usize>,
    flights: HashMap<(Peer, u16), Flight>,
    pending: HashMap<u64, Pending>,
    asked: u64,
    seen: VecDeque<Seen>,
    blocks: Blocks,
    ids: HashMap<Peer, u16>,
    dice: Dice,
}

impl Server {
    /// Adds a device; `key` is the number of the one that its clients must have proven.
    pub(crate) fn add(
        &mut self,
        hosted: &HostedDevice,
        key: Option<u16>,
        speed: f64,
        requests: mpsc::Sender<DeviceMessage>,
        traffic: Arc<Traffic>,
    ) -> Result<(), LinkError> {
        let config = Config::new(&hosted.device, &hosted.points, &hosted.path, hosted.sealed)?;
        let device = self.devices.len();
        let base = config.base.join("/");
        let mut resources: Vec<Served> = Vec::new();
        let mut own: Vec<(String, Content)> = Vec::new();
        for resource in &config.resources {
            own.push((resource.path.join("/"), resource.content.clone()));
            if let Content::Native(points) = &resource.content {
                let native = |p: &PointIx| {
                    let path = format!("{base}/{}", hosted.points[p.index()].name);
                    (path, Content::Points(vec![(*p, None)]))
                };
                own.extend(points.iter().map(native));
            }
        }
        for (path, content) in own {
            let same = resources.iter_mut().find(|r| r.path == path);
            match (same.map(|r| &mut r.content), content) {
                // Points of one document, some observed and some not.
                (Some(Content::Points(points)), Content::Points(more)) => points.extend(more),
                (Some(_), _) => return Err(taken(&path)),
                (None, content) => {
                    resources.push(Served { content, path, observers: Vec::new() });
                }
            }
        }
        for (ix, resource) in resources.iter().enumerate() {
            if self.reads.insert(resource.path.clone(), (device, ix)).is_some() {
                return Err(taken(&resource.path));
            }
        }
        for (ix, path) in config.set.iter().enumerate() {
            self.writes.insert(path.join("/"), (device, PointIx(ix as u16)));
        }
        self.sessions.insert(config.session().join("/"), device);
        let period = hosted.period.div_f64(speed.max(1e-6));
        let max_age = (period * 3).max(Duration::from_secs(5)).as_secs_f64().ceil();
        self.devices.push(Device {
            base,
            key,
            sealed: hosted.sealed.then(Envelopes::default),
            points: Arc::clone(&hosted.points),
            up: true,
            requests,
            traffic,
            resources,
            last: None,
            latest: vec![None; hosted.points.len()],
            number: 0,
            max_age: max_age as u32,
        });
        Ok(())
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let flights = self.flights.values().map(|f| f.transmission.due);
        let open = self.pending.values().filter(|p| p.confirmable && !p.acknowledged);
        flights.chain(open.map(|p| p.acknowledge_at)).chain(self.fetches()).min()
    }

    /// Sends again what was not acknowledged, and acknowledges what takes long.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outgoing) {
        let mut dead = Vec::new();
        for (&(to, id), flight) in &mut self.flights {
            match flight.transmission.poll(now) {
                Due::Nothing => {}
                Due::Again => {
                    let length = to.on_the_wire(flight.transmission.bytes.len());
                    self.devices[flight.device].traffic.up(length);
                    out.push((to, flight.transmission.bytes.clone()));
                }
                Due::GivenUp => dead.push((to, id)),
            }
        }
        for key in dead {
            if let Some(flight) = self.flights.remove(&key) {
                self.forget_observer(&flight, key.0);
            }
        }
        for pending in self.pending.values_mut() {
            if pending.confirmable && !pending.acknowledged && pending.acknowledge_at <= now {
                pending.acknowledged = true;
                let bytes = message::empty(MessageType::Acknowledgement, pending.id);
                let is = |s: &&mut Seen| s.from == pending.from && s.id == pending.id;
                if let Some(seen) = self.seen.iter_mut().find(is) {
                    seen.answer = Some(bytes.clone());
                }
                let length = pending.from.on_the_wire(bytes.len());
                self.devices[pending.device].traffic.up(length);
                out.push((pending.from, bytes));
            }
        }
        for device in 0..self.devices.len() {
            self.pump(device, now, out);
        }
    }

    /// A device has measured.
    pub(crate) fn publish(
        &mut self,
        device: usize,
        measurement: Measurement,
        now: Instant,
        out: &mut Outgoing,
    ) {
        let plain = |d: &&mut Device| d.up && d.sealed.is_none();
        let Some(d) = self.devices.get_mut(device).filter(plain) else { return };
        d.number = (d.number + 1) & 0x00FF_FFFF;
        for sample in &measurement.samples {
            if let Some(slot) = d.latest.get_mut(sample.point.index()) {
                *slot = Some(*sample);
            }
        }
        let touched = |content: &Content| match content {
            Content::Native(_) => true,
            Content::Sealed => false,
            Content::Points(points) => {
                points.iter().any(|(p, _)| measurement.samples.iter().any(|s| s.point == *p))
            }
        };
        let watched = |r: &&Served| !r.observers.is_empty() && touched(&r.content);
        let due: Vec<usize> =
            (0..d.resources.len()).filter(|&r| watched(&&d.resources[r])).collect();
        d.last = Some(measurement);
        for resource in due {
            self.notify(device, resource, now, out);
        }
    }

    /// Takes a device's path down or up. Down, it answers nothing and forgets its observers.
    pub(crate) fn set_up(&mut self, device: usize, up: bool) {
        let Some(d) = self.devices.get_mut(device) else { return };
        d.up = up;
        if !up {
            for resource in &mut d.resources {
                resource.observers.clear();
            }
            self.flights.retain(|_, f| f.device != device);
            self.pending.retain(|_, p| p.device != device);
        }
    }

    /// Forgets a client that cannot be reached any more.
    pub(crate) fn forget(&mut self, peer: Peer) {
        for resource in self.devices.iter_mut().flat_map(|d| &mut d.resources) {
            resource.observers.retain(|o| o.at != peer);
        }
        self.flights.retain(|(at, _), _| *at != peer);
        self.pending.retain(|_, p| p.from != peer);
        self.seen.retain(|s| s.from != peer);
        self.blocks.forget(peer);
        self.ids.remove(&peer);
    }

    /// Takes a datagram from a client; may leave something to be asked of a device.
    pub(crate) fn datagram(
        &mut self,
        from: Peer,
        bytes: &[u8],
        now: Instant,
        out: &mut Outgoing,
    ) -> Option<Ask> {
        let packet = match message::parse(bytes) {
            Ok(packet) => packet,
            Err(reset) => {
                out.extend(reset.map(|r| (from, r)));
                return None;
            }
        };
        let (kind, id) = (packet.header.get_type(), packet.header.message_id);
        match (kind, packet.header.code) {
            (MessageType::Acknowledgement | MessageType::Reset, _) => {
                let settled = self.settled(from, id, kind == MessageType::Reset, bytes.len());
                if let Some(device) = settled {
                    self.pump(device, now, out);
                }
                None
            }
            (_, MessageClass::Request(method)) => {
                self.request(from, method, &packet, bytes.len(), now, out)
            }
            // A ping, or a response that nobody asked for.
            (MessageType::Confirmable, _) => {
                out.push((from, message::empty(MessageType::Reset, id)));
                None
            }
            _ => None,
        }
    }

    /// A device has answered what it was asked.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        answer: Answer,
        now: Instant,
        out: &mut Outgoing,
    ) {
        // Gone if the device's path went down meanwhile.
        let Some(mut pending) = self.pending.remove(&number) else { return };
        let (code, body) = match answer {
            Ok((code, body)) => (code, body),
            Err((code, text)) => (code, text.into_bytes()),
        };
        let mut packet = message::response(code, &pending.token);
        if message::class(&packet) == 2 && !body.is_empty() {
            message::set_number(&mut packet, CoapOption::ContentFormat, u32::from(message::OCTETS));
        }
        match pending.session.take().filter(|_| message::class(&packet) == 2) {
            Some(session) => self.blocks.give(session, body, &mut packet, now),
            None => packet.payload = body,
        }
        if pending.confirmable && !pending.acknowledged {
            let bytes = self.reply(&pending, packet, out);
            let is = |s: &&mut Seen| s.from == pending.from && s.id == pending.id;
            if let Some(seen) = self.seen.iter_mut().find(is) {
                seen.answer = Some(bytes);
            }
            return;
        }
        // A separate response, as reliable as the request was (RFC 7252 §5.2.2).
        packet.header.message_id = self.id(pending.from);
        let confirmable = pending.confirmable;
        packet.header.set_type(if confirmable {
            MessageType::Confirmable
        } else {
            MessageType::NonConfirmable
        });
        let bytes = message::bytes(&packet);
        self.devices[pending.device].traffic.up(pending.from.on_the_wire(bytes.len()));
        if confirmable {
            let transmission = Transmission::new(bytes.clone(), now, ACK_TIMEOUT, &mut self.dice);
            let flight = Flight { device: pending.device, observer: None, transmission };
            self.flights.insert((pending.from, packet.header.message_id), flight);
        }
        out.push((pending.from, bytes));
    }

    /// A client acknowledged or reset a message of ours: of which device.
    fn settled(&mut self, from: Peer, id: u16, reset: bool, length: usize) -> Option<usize> {
        let length = from.on_the_wire(length);
        if let Some(flight) = self.flights.remove(&(from, id)) {
            self.devices[flight.device].traffic.down(length);
            if reset {
                self.forget_observer(&flight, from);
            } else if let Some((resource, token)) = &flight.observer {
                let observers = &mut self.devices[flight.device].resources[*resource].observers;
                let is = |o: &&mut Observer| o.at == from && o.token == *token;
                if let Some(observer) = observers.iter_mut().find(is) {
                    observer.in_flight = false;
                }
            }
            return Some(flight.device);
        }
        if !reset {
            return None;
        }
        for device in &mut self.devices {
            for resource in &mut device.resources {
                let before = resource.observers.len();
                resource.observers.retain(|o| o.at != from || !o.recent.contains(&id));
                if resource.observers.len() < before {
                    device.traffic.down(length);
                    return None;
                }
            }
        }
        None
    }

    fn forget_observer(&mut self, flight: &Flight, at: Peer) {
        if let Some((resource, token)) = &flight.observer {
            let observers = &mut self.devices[flight.device].resources[*resource].observers;
            observers.retain(|o| o.at != at || o.token != *token);
        }
    }

    fn request(
        &mut self,
        from: Peer,
        method: RequestType,
        packet: &Packet,
        length: usize,
        now: Instant,
        out: &mut Outgoing,
    ) -> Option<Ask> {
        let path = message::path(packet);
        let device = path.as_deref().and_then(|p| self.device_of(p));
        let id = packet.header.message_id;
        let confirmable = packet.header.get_type() == MessageType::Confirmable;
        match device {
            Some(d) if !self.devices[d].up => return None,
            Some(d) => self.devices[d].traffic.down(from.on_the_wire(length)),
            // Nobody speaks for a server whose devices are all down.
            None if !self.devices.iter().any(|d| d.up) => return None,
            None => {}
        }
        let to = Pending {
            device: device.unwrap_or(usize::MAX),
            from,
            token: packet.get_token().to_vec(),
            id,
            confirmable,
            acknowledged: false,
            acknowledge_at: now + ACK_AFTER,
            session: None,
        };
        let stranger = device.is_some_and(|d| self.devices[d].key != from.key);
        let answer = match path {
            Some(_) if stranger && from.key.is_none() => {
                let text = "it speaks DTLS only: use coaps:// with its pre-shared key";
                problem(packet, ResponseType::Unauthorized, text)
            }
            Some(_) if stranger => {
                problem(packet, ResponseType::Forbidden, "it has another pre-shared key")
            }
            Some(path) => match critical(packet, self.takes_blocks(method, &path)) {
                Ok(()) if method == RequestType::Get => self.read(&path, packet, from, now),
                Ok(()) => return self.act(method, &path, packet, to, now, out),
                Err((code, text)) => problem(packet, code, text),
            },
            None => problem(packet, ResponseType::BadRequest, "the path is not UTF-8"),
        };
        self.reply(&to, answer, out);
        if let Some(device) = device {
            // Whoever has fetched all of an envelope is ready for the next.
            self.pump(device, now, out);
        }
        None
    }

    fn takes_blocks(&self, method: RequestType, path: &str) -> bool {
        method == RequestType::Post && self.sessions.contains_key(path)
    }

    /// Sends an answer at once; gives its bytes.
    fn reply(&mut self, to: &Pending, mut packet: Packet, out: &mut Outgoing) -> Vec<u8> {
        if to.confirmable {
            packet.header.set_type(MessageType::Acknowledgement);
            packet.header.message_id = to.id;
        } else {
            packet.header.set_type(MessageType::NonConfirmable);
            packet.header.message_id = self.id(to.from);
        }
        let bytes = message::bytes(&packet);
        if let Some(device) = self.devices.get(to.device) {
            device.traffic.up(to.from.on_the_wire(bytes.len()));
        }
        out.push((to.from, bytes.clone()));
        bytes
    }

    /// A GET, perhaps with a registration or its end.
    fn read(&mut self, path: &str, request: &Packet, from: Peer, now: Instant) -> Packet {
        let Ok(block) = message::block2(request) else {
            return problem(request, ResponseType::BadRequest, "no such block size");
        };
        if path == ".well-known/core" {
            let list = self.links(from);
            return represent(request, list.as_bytes(), message::LINK_FORMAT, block.as_ref(), None);
        }
        let Some(&(d, r)) = self.reads.get(path) else {
            let known = self.writes.contains_key(path) || self.sessions.contains_key(path);
            return if known {
                problem(request, ResponseType::MethodNotAllowed, "it cannot be read")
            } else {
                problem(request, ResponseType::NotFound, "no such resource")
            };
        };
        let sealed = self.devices[d].sealed.as_ref().map(Envelopes::count);
        if let (Some(_), Some(block)) = (sealed, block.as_ref().filter(|b| b.num > 0)) {
            return self.rest_of_envelope(d, request, from, block);
        }
        let device = &mut self.devices[d];
        let (body, format) = device.body(r);
        let (number, max_age) = (device.number, device.max_age);
        let mut answer = represent(request, &body, format, block.as_ref(), Some(number));
        if message::class(&answer) != 2 {
            return answer;
        }
        message::set_number(&mut answer, CoapOption::MaxAge, max_age);
        let first = block.as_ref().is_none_or(|b| b.num == 0);
        let observers = &mut device.resources[r].observers;
        match message::number(request, CoapOption::Observe).filter(|_| first) {
            Some(0) => {
                let token = request.get_token();
                let known = observers.iter().any(|o| o.at == from && o.token == token);
                if !known && observers.len() < OBSERVERS {
                    observers.push(Observer {
                        at: from,
                        token: token.to_vec(),
                        unconfirmed: 0,
                        confirmed: now,
                        recent: VecDeque::new(),
                        in_flight: false,
                        progress: Progress::at(sealed.unwrap_or(0)),
                    });
                }
                let registered = observers.iter().find(|o| o.at == from && o.token == token);
                if let Some(observer) = registered {
                    // What is still to come must be newer than this answer.
                    let number = if sealed.is_some() { observer.progress.number() } else { number };
                    message::set_number(&mut answer, CoapOption::Observe, number);
                }
            }
            Some(1) => {
                observers.retain(|o| o.at != from || o.token != request.get_token());
            }
            _ => {}
        }
        answer
    }

    /// A PUT or POST.
    fn act(
        &mut self,
        method: RequestType,
        path: &str,
        packet: &Packet,
        mut to: Pending,
        now: Instant,
        out: &mut Outgoing,
    ) -> Option<Ask> {
        while self.seen.front().is_some_and(|s| s.at + EXCHANGE_LIFETIME < now) {
            self.seen.pop_front();
        }
        if let Some(seen) = self.seen.iter().find(|s| s.from == to.from && s.id == to.id) {
            if let (true, Some(answer)) = (to.confirmable, &seen.answer) {
                if let Some(device) = self.devices.get(to.device) {
                    device.traffic.up(to.from.on_the_wire(answer.len()));
                }
                out.push((to.from, answer.clone()));
            }
            return None;
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen { from: to.from, id: to.id, at: now, answer: None });
        let whole = if self.takes_blocks(method, path) {
            match self.blocks.take(to.from, path, packet, now) {
                Incoming::Whole(body, session) => {
                    to.session = Some(session);
                    Ok(body)
                }
                Incoming::Answer(answer) => Err(answer),
            }
        } else {
            Ok(packet.payload.clone())
        };
        let asked = whole.and_then(|body| {
            self.hand_over(method, path, body).map_err(|(code, text)| problem(packet, code, text))
        });
        match asked {
            Ok(reply) => {
                self.asked += 1;
                self.pending.insert(self.asked, to);
                Some(Ask { number: self.asked, reply })
            }
            Err(answer) => {
                let bytes = self.reply(&to, answer, out);
                if let Some(seen) = self.seen.back_mut() {
                    seen.answer = Some(bytes);
                }
                None
            }
        }
    }

    /// Gives a request to its device.
    fn hand_over(
        &self,
        method: RequestType,
        path: &str,
        payload: Vec<u8>,
    ) -> Result<Reply, (ResponseType, &'static str)> {
        let session = self.sessions.get(path).filter(|_| method == RequestType::Post);
        let (device, message, reply) = if let Some(&device) = session {
            let (reply, answer) = oneshot::channel();
            (device, DeviceMessage::Exchange { request: payload, reply }, Reply::Exchange(answer))
        } else if let (Some(&(device, point)), RequestType::Put) = (self.writes.get(path), method) {
            if self.devices[device].points[point.index()].access != Access::ReadWrite {
                return Err((ResponseType::Forbidden, "the point is read only"));
            }
            let Some(value) = payload::number(&payload) else {
                return Err((ResponseType::BadRequest, "the payload is no number as text"));
            };
            let (reply, answer) = oneshot::channel();
            (device, DeviceMessage::Write { point, value, reply }, Reply::Write(answer))
        } else if self.device_of(path).is_some() && self.is_resource(path) {
            return Err((ResponseType::MethodNotAllowed, "not with this method"));
        } else {
            return Err((ResponseType::NotFound, "no such resource"));
        };
        let busy = (ResponseType::ServiceUnavailable, "the device has too many requests");
        if self.pending.len() >= PENDING {
            return Err(busy);
        }
        self.devices[device].requests.try_send(message).map_err(|_| busy)?;
        Ok(reply)
    }

    fn is_resource(&self, path: &str) -> bool {
        self.reads.contains_key(path)
            || self.writes.contains_key(path)
            || self.sessions.contains_key(path)
    }

    /// The device that a path belongs to, also if there is no such resource.
    fn device_of(&self, path: &str) -> Option<usize> {
        let exact = self.reads.get(path).map(|r| r.0);
        let exact = exact.or_else(|| self.writes.get(path).map(|w| w.0));
        exact.or_else(|| self.sessions.get(path).copied()).or_else(|| {
            let below =
                |d: &Device| path.strip_prefix(&*d.base).is_some_and(|p| p.starts_with('/'));
            self.devices.iter().position(below)
        })
    }

    /// Tells the observers of a resource.
    fn notify(&mut self, d: usize, r: usize, now: Instant, out: &mut Outgoing) {
        let device = &mut self.devices[d];
        let (body, format) = device.body(r);
        let (number, max_age) = (device.number, device.max_age);
        let mut observers = std::mem::take(&mut device.resources[r].observers);
        for observer in &mut observers {
            let mut packet = message::response(ResponseType::Content, &observer.token);
            message::set_number(&mut packet, CoapOption::Observe, number);
            message::set_number(&mut packet, CoapOption::ContentFormat, u32::from(format));
            message::set_number(&mut packet, CoapOption::MaxAge, max_age);
            if body.len() > BLOCK {
                packet.add_option(CoapOption::ETag, number.to_be_bytes().to_vec());
            }
            message::put_body(&mut packet, &body, None);
            observer.unconfirmed += 1;
            let confirm = !observer.in_flight
                && (observer.unconfirmed >= CONFIRM_EVERY
                    || now >= observer.confirmed + CONFIRM_AFTER);
            // While a confirmable one is under way the others follow unconfirmed, at the pace of
            // the device.
            observer.unconfirmed = observer.unconfirmed.min(CONFIRM_EVERY);
            let kind = if confirm { MessageType::Confirmable } else { MessageType::NonConfirmable };
            packet.header.set_type(kind);
            packet.header.message_id = self.id(observer.at);
            let bytes = message::bytes(&packet);
            let id = packet.header.message_id;
            if confirm {
                (observer.unconfirmed, observer.confirmed, observer.in_flight) = (0, now, true);
                let transmission =
                    Transmission::new(bytes.clone(), now, ACK_TIMEOUT, &mut self.dice);
                let observer_key = Some((r, observer.token.clone()));
                let flight = Flight { device: d, observer: observer_key, transmission };
                self.flights.insert((observer.at, id), flight);
            } else {
                if observer.recent.len() == usize::from(CONFIRM_EVERY) {
                    observer.recent.pop_front();
                }
                observer.recent.push_back(id);
            }
            self.devices[d].traffic.up(observer.at.on_the_wire(bytes.len()));
            out.push((observer.at, bytes));
        }
        self.devices[d].resources[r].observers = observers;
    }

    /// The next message id towards a client. Each client has its own count, so that none comes
    /// twice within its lifetime below 265 messages a second to one client (65,536 in 247 s).
    fn id(&mut self, to: Peer) -> u16 {
        if self.ids.len() >= PEERS && !self.ids.contains_key(&to) {
            let devices = &self.devices;
            let watches = |at: &Peer| {
                let mut resources = devices.iter().flat_map(|d| &d.resources);
                resources.any(|r| r.observers.iter().any(|o| o.at == *at))
            };
            self.ids.retain(|at, _| watches(at));
        }
        let dice = &mut self.dice;
        let id = self.ids.entry(to).or_insert_with(|| dice.roll() as u16);
        *id = id.wrapping_add(1);
        *id
    }

    /// How many observe a path, for tests.
    #[cfg(test)]
    pub(crate) fn observers(&self, path: &str) -> usize {
        self.reads.get(path).map_or(0, |&(d, r)| self.devices[d].resources[r].observers.len())
    }
}

fn taken(path: &str) -> LinkError {
    LinkError::Settings(format!("path: \"{path}\" is used twice"))
}
