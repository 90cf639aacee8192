//! The simulated network: devices, two ways to each, and the way northbound, in virtual time.
//!
//! All of it is one agenda of events that a single task works off ([`Net::drive`]), so that what
//! is under way outlives a crash of the simulated process, as bytes on a wire do. It has the
//! shape of a protocol towards plantwin ([`SimProtocol`]). Durable values travel as over MQTT
//! with QoS 1: in order, at most [`WINDOW`] of them unconfirmed, and once more over the next
//! connection as long as they are not confirmed. Latest values may be delayed, lost, doubled and
//! overtaken. Absent: real sockets, the playing of devices for others.

mod cloud;
mod device;
mod protocol;
pub(crate) mod read;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plantwin_adapter::{Frame, LinkError, LinkEvent, PointWrite, Traffic};
use plantwin_authority::pws::Answer;
use plantwin_model::{Clock, invariant::CommandEvent};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    clock::VirtualClock, journal::SharedJournal, operator::SPREAD, random::Chance, world::Planted,
};
use cloud::Cloud;
pub(crate) use device::{Device, SETPOINT};
pub use protocol::SimProtocol;

/// Durable values that may be unconfirmed on a connection.
const WINDOW: usize = 32;
/// Events that a connection holds for its user; room for the window and its end.
const EVENTS: usize = 64;
/// Ways to each device.
pub(crate) const WIRES: usize = 2;

/// How a way to a device behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wire {
    /// It carries.
    Good,
    /// Connections end and new ones are refused.
    Refuses,
    /// New connections come up, but nothing is ever heard over any.
    Hangs,
    /// A connection is not even answered.
    Dead,
}

/// What the network does to what it carries.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Weather {
    /// Longest delay, milliseconds.
    pub(crate) delay_ms: u64,
    /// Share of latest values and of requests that is lost.
    pub(crate) loss: f64,
    /// Share of latest values that comes twice.
    pub(crate) doubled: f64,
    /// Share of answers that is lost after the request took effect.
    pub(crate) lost_answers: f64,
}

impl Weather {
    /// Nothing is lost.
    pub(crate) const CALM: Self = Self { delay_ms: 5, loss: 0.0, doubled: 0.0, lost_answers: 0.0 };
}

/// Something that will happen.
enum Due {
    Measure(usize),
    Deliver { connection: u64, frame: Frame, durable: Option<u64> },
    Write { device: usize, wire: usize, writes: Vec<PointWrite>, reply: Reply<()> },
    Written { result: Result<(), LinkError>, reply: Reply<()> },
    Exchange { device: usize, wire: usize, request: Vec<u8>, reply: Reply<Vec<u8>> },
    Exchanged { result: Result<Vec<u8>, LinkError>, reply: Reply<Vec<u8>> },
    Arrive { connection: u64, record: plantwin_adapter::ForwardRecord, reply: Reply<()> },
    Acknowledge { connection: u64, reply: Reply<()> },
}

type Reply<T> = oneshot::Sender<Result<T, LinkError>>;

/// A connection to a device.
struct Link {
    device: usize,
    wire: usize,
    events: mpsc::Sender<LinkEvent>,
    traffic: Arc<Traffic>,
    /// Sent and not confirmed: receipt and number.
    unconfirmed: Vec<(u64, u64)>,
    next_receipt: u64,
    /// Numbers up to this one were sent on this connection.
    sent: u64,
    /// Nothing is delivered before what was delivered before it.
    last: Duration,
}

struct State {
    devices: Vec<Device>,
    names: BTreeMap<String, usize>,
    wires: Vec<[Wire; WIRES]>,
    links: BTreeMap<u64, Link>,
    agenda: BTreeMap<(Duration, u64), Due>,
    next: u64,
    weather: Weather,
    chance: Chance,
    /// Whether the process that holds the connections runs; one that died does nothing more.
    alive: bool,
    cloud: Cloud,
    planted: Option<Planted>,
}

struct Shared {
    state: Mutex<State>,
    wake: Notify,
    clock: Arc<VirtualClock>,
    journal: SharedJournal,
}

/// The simulated network; copies share it.
#[derive(Clone)]
pub(crate) struct Net(Arc<Shared>);

impl Net {
    pub(crate) fn new(
        seed: u64,
        devices: Vec<Device>,
        clock: Arc<VirtualClock>,
        journal: SharedJournal,
        planted: Option<Planted>,
    ) -> Self {
        let mut chance = Chance::new(seed, "network");
        let names = devices.iter().enumerate().map(|(i, d)| (d.name.clone(), i)).collect();
        let mut state = State {
            wires: vec![[Wire::Good; WIRES]; devices.len()],
            names,
            links: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next: 1,
            weather: Weather::CALM,
            chance: chance.clone(),
            alive: false,
            cloud: Cloud::default(),
            planted,
            devices,
        };
        for ix in 0..state.devices.len() {
            let period = state.devices[ix].period.as_millis() as u64;
            let first = chance.millis(1, period);
            state.schedule(first, Due::Measure(ix));
        }
        let wake = Notify::new();
        Self(Arc::new(Shared { state: Mutex::new(state), wake, clock, journal }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works the agenda off, for as long as it is polled.
    pub(crate) async fn drive(self) {
        loop {
            let due = {
                let mut state = self.state();
                self.work(&mut state);
                state.agenda.first_key_value().map(|((at, _), _)| *at)
            };
            let woken = self.0.wake.notified();
            match due {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = woken => {}
                        () = tokio::time::sleep_until(self.0.clock.instant_of(at)) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// What became due while no process ran.
    pub(crate) fn catch_up(&self) {
        let mut state = self.state();
        self.work(&mut state);
    }

    fn work(&self, state: &mut State) {
        let now = self.0.clock.world();
        while let Some(entry) = state.agenda.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), due) = entry.remove_entry();
            self.happen(state, at, due);
        }
    }

    fn happen(&self, state: &mut State, at: Duration, due: Due) {
        match due {
            Due::Measure(ix) => self.measure(state, at, ix),
            Due::Deliver { connection, frame, durable } => {
                state.deliver(connection, frame, durable);
            }
            Due::Write { device, wire, writes, reply } => {
                self.write(state, at, device, wire, &writes, reply);
            }
            Due::Written { result, reply } => {
                let _ = reply.send(result);
            }
            Due::Exchange { device, wire, request, reply } => {
                self.exchange(state, at, device, wire, &request, reply);
            }
            Due::Exchanged { result, reply } => {
                let _ = reply.send(result);
            }
            Due::Arrive { connection, record, reply } => {
                self.arrive(state, at, connection, record, reply);
            }
            Due::Acknowledge { connection, reply } => {
                if state.cloud.connection == Some(connection) {
                    let _ = reply.send(Ok(()));
                }
            }
        }
    }

    fn measure(&self, state: &mut State, at: Duration, ix: usize) {
        let time = self.0.clock.now();
        let measured = state.devices[ix].measure(time);
        let period = state.devices[ix].period;
        state.schedule(at + period, Due::Measure(ix));
        if state.devices[ix].durable {
            state.empty_outbox(ix, at, time);
            return;
        }
        let mine: Vec<u64> =
            state.links.iter().filter(|(_, l)| l.device == ix).map(|(id, _)| *id).collect();
        for connection in mine {
            let copies = 1 + usize::from(state.chance.happens(state.weather.doubled));
            for _ in 0..copies {
                if state.chance.happens(state.weather.loss) {
                    self.0.journal.open().count("values_lost");
                    continue;
                }
                let delay = state.delay();
                let frame = measured.frame(time);
                state.schedule(at + delay, Due::Deliver { connection, frame, durable: None });
            }
        }
    }

    fn write(
        &self,
        state: &mut State,
        at: Duration,
        ix: usize,
        wire: usize,
        writes: &[PointWrite],
        reply: Reply<()>,
    ) {
        // A request that the wire swallowed is never heard of again.
        if state.wires[ix][wire] != Wire::Good {
            return;
        }
        let result = if state.devices[ix].busy {
            Err(LinkError::Refused("the device is busy".to_owned()))
        } else {
            let twice = state.planted == Some(Planted::DoubledWrites) && state.chance.happens(0.1);
            for write in writes.iter().chain(writes.iter().filter(|_| twice)) {
                state.devices[ix].write(write.point, write.value);
                let mut journal = self.0.journal.open();
                let (name, value) = (&state.devices[ix].name, write.value);
                journal.line(at, format_args!("effect {name} {} = {value}", write.point.0));
                if write.point == SETPOINT {
                    journal.count("effects");
                    let number = value as u64 / SPREAD;
                    journal.commands.entry(number).or_default().push(CommandEvent::Acted);
                }
            }
            Ok(())
        };
        if state.chance.happens(state.weather.lost_answers) {
            self.0.journal.open().count("answers_lost");
            return;
        }
        let delay = state.delay();
        state.schedule(at + delay, Due::Written { result, reply });
    }

    fn exchange(
        &self,
        state: &mut State,
        at: Duration,
        ix: usize,
        wire: usize,
        request: &[u8],
        reply: Reply<Vec<u8>>,
    ) {
        if state.wires[ix][wire] != Wire::Good {
            return;
        }
        let now = self.0.clock.now();
        let device = &mut state.devices[ix];
        let result = match &mut device.agent {
            None => Err(LinkError::Unsupported("a session".to_owned())),
            Some(agent) => match agent.on_exchange(request, now) {
                Answer::Send { bytes, .. } => Ok(bytes),
                Answer::Request { .. } => {
                    Err(LinkError::Refused("it takes its requests in the open".to_owned()))
                }
            },
        };
        let delay = state.delay();
        state.schedule(at + delay, Due::Exchanged { result, reply });
    }

    /// The simulated process starts or dies. What a dead one still tries has no effect.
    pub(crate) fn set_alive(&self, alive: bool) {
        let mut state = self.state();
        state.alive = alive;
        if !alive {
            state.links.clear();
            for device in &mut state.devices {
                device.outlet = None;
            }
            state.cloud.disconnect();
        }
    }

    /// The wire of a device behaves differently from now on.
    pub(crate) fn set_wire(&self, ix: usize, wire: usize, mode: Wire) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.wires[ix][wire], mode);
        if before == mode {
            return;
        }
        // A refusing wire ends its connections, and so does one that comes back: what hung until
        // then is told so by the other side. Otherwise they stay, silent.
        let ends = mode == Wire::Refuses || (mode == Wire::Good && state.devices[ix].durable);
        if ends {
            let mine = state.links.iter().filter(|(_, l)| l.device == ix && l.wire == wire);
            for id in mine.map(|(id, _)| *id).collect::<Vec<_>>() {
                state.end(id, LinkError::Closed("the wire was cut".to_owned()));
            }
            state.choose_outlet(ix);
            let (at, time) = (self.0.clock.world(), self.0.clock.now());
            state.empty_outbox(ix, at, time);
        }
        self.0.wake.notify_one();
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    pub(crate) fn set_busy(&self, ix: usize, busy: bool) {
        self.state().devices[ix].busy = busy;
    }

    pub(crate) fn blind(&self, ix: usize, measurements: u32) {
        self.state().devices[ix].blind = measurements;
    }

    /// A device starts anew.
    pub(crate) fn restart(&self, ix: usize, clock: bool) {
        self.state().devices[ix].restart(clock);
    }

    /// Whether the way northbound is open.
    pub(crate) fn set_cloud(&self, up: bool) {
        self.state().cloud.set_up(up);
        self.0.wake.notify_one();
    }

    /// Values that durable devices still keep.
    pub(crate) fn kept(&self) -> usize {
        self.state().devices.iter().map(|d| d.outbox.len()).sum()
    }
}

impl State {
    fn schedule(&mut self, at: Duration, due: Due) {
        let id = self.next;
        self.next += 1;
        self.agenda.insert((at, id), due);
    }

    fn delay(&mut self) -> Duration {
        self.chance.millis(1, self.weather.delay_ms)
    }

    /// Hands a frame to the user of its connection.
    fn deliver(&mut self, connection: u64, frame: Frame, durable: Option<u64>) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        if self.wires[link.device][link.wire] != Wire::Good {
            return;
        }
        link.traffic.up(40);
        let event = match durable {
            Some(receipt) => LinkEvent::Durable { frame, receipt },
            None => LinkEvent::Frame(frame),
        };
        match link.events.try_send(event) {
            // Nobody reads: of the latest values a socket's buffer holds so many. Durable ones
            // always have room, because the window is smaller.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => {
                let device = link.device;
                self.links.remove(&connection);
                self.choose_outlet(device);
            }
        }
    }

    fn end(&mut self, connection: u64, error: LinkError) {
        if let Some(link) = self.links.remove(&connection) {
            // When it is full, its end is told by the channel's end.
            let _ = link.events.try_send(LinkEvent::Closed(error));
        }
    }

    /// The newest connection that still has a user takes the outbox over.
    fn choose_outlet(&mut self, ix: usize) {
        self.links.retain(|_, link| !link.events.is_closed());
        let newest = self.links.iter().rev().find(|(_, link)| link.device == ix);
        let newest = newest.map(|(id, _)| *id);
        if self.devices[ix].outlet == newest {
            return;
        }
        self.devices[ix].outlet = newest;
        if let Some(link) = newest.and_then(|id| self.links.get_mut(&id)) {
            // What is not confirmed is sent again.
            link.unconfirmed.clear();
            link.sent = 0;
        }
    }

    /// Sends what the window allows.
    fn empty_outbox(&mut self, ix: usize, at: Duration, time: plantwin_model::Timestamp) {
        if self.devices[ix]
            .outlet
            .is_none_or(|id| self.links.get(&id).is_none_or(|link| link.events.is_closed()))
        {
            self.choose_outlet(ix);
        }
        let Some(connection) = self.devices[ix].outlet else { return };
        loop {
            let delay = self.chance.millis(1, self.weather.delay_ms);
            let Some(link) = self.links.get_mut(&connection) else { return };
            if link.unconfirmed.len() >= WINDOW {
                return;
            }
            let sent = link.sent;
            let Some(next) = self.devices[ix].outbox.iter().find(|m| m.number > sent) else {
                return;
            };
            let receipt = link.next_receipt;
            link.next_receipt += 1;
            link.sent = next.number;
            link.unconfirmed.push((receipt, next.number));
            link.last = link.last.max(at + delay);
            let due = Due::Deliver { connection, frame: next.frame(time), durable: Some(receipt) };
            let last = link.last;
            self.schedule(last, due);
        }
    }
}
