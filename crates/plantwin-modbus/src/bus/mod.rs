//! Buses: one TCP connection to each address, shared by all units behind it.
//!
//! Gateways often serve few connections (some only one), and the units behind them share a
//! serial line anyway. A bus lives as long as a link that uses it; the next link's connect opens
//! it again. Absent: who may speak when (see `schedule`), the wire (see `wire`).

mod schedule;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use plantwin_adapter::{LinkError, Tasks, Traffic};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::{Notify, oneshot, watch},
    time::timeout,
};

use schedule::Schedule;

/// A request on its way to a unit.
pub(crate) struct Job {
    pub(crate) pdu: Vec<u8>,
    /// Longest wait for the answer once it is sent.
    pub(crate) patience: Duration,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) reply: oneshot::Sender<Result<Vec<u8>, LinkError>>,
}

/// What links and the bus's task share.
pub(crate) struct State {
    pub(crate) endpoint: String,
    schedule: Mutex<Schedule<Job>>,
    wake: Notify,
    /// Why the bus ended, once it has.
    ended: watch::Sender<Option<LinkError>>,
}

impl State {
    fn new(endpoint: String) -> Arc<Self> {
        let (ended, _) = watch::channel(None);
        Arc::new(Self {
            endpoint,
            schedule: Mutex::new(Schedule::default()),
            wake: Notify::new(),
            ended,
        })
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<Job>> {
        // Nothing that panics runs under the lock, and a schedule is whole at any time.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> LinkError {
        let ended = self.ended.borrow().clone();
        ended.unwrap_or_else(|| LinkError::Closed("the bus has ended".to_owned()))
    }
}

/// A connection that units share. Dropping the last use of it closes it.
pub(crate) struct Bus {
    state: Arc<State>,
    exchanges: AtomicU16,
    _tasks: Tasks,
}

impl Bus {
    /// Runs a bus over a connection.
    fn start(endpoint: String, stream: TcpStream) -> Arc<Self> {
        let state = State::new(endpoint);
        let mut tasks = Tasks::new();
        tasks.spawn(wire::run(stream, Arc::clone(&state)));
        Arc::new(Self { state, exchanges: AtomicU16::new(0), _tasks: tasks })
    }

    /// Asks a unit and waits for its turn and its answer, which may be an exception.
    ///
    /// [`LinkError::Timeout`] when it was asked and did not answer within `patience`.
    pub(crate) async fn call(
        &self,
        unit: u8,
        pdu: Vec<u8>,
        patience: Duration,
        traffic: &Arc<Traffic>,
    ) -> Result<Vec<u8>, LinkError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { pdu, patience, traffic: Arc::clone(traffic), reply };
        if self.state.ended.borrow().is_some() {
            return Err(self.state.end());
        }
        if self.state.schedule().push(unit, job).is_err() {
            let reason = format!("too many requests wait for unit {unit}");
            return Err(LinkError::Refused(reason));
        }
        self.state.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(self.state.end()))
    }

    /// A number for an exchange, different from those of the others under way.
    pub(crate) fn exchange_id(&self) -> u16 {
        self.exchanges.fetch_add(1, Ordering::Relaxed)
    }

    /// Resolves with the reason when the bus ends.
    pub(crate) async fn ended(&self) -> LinkError {
        let mut ended = self.state.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await.map(|reason| (*reason).clone());
        reason.ok().flatten().unwrap_or_else(|| self.state.end())
    }

    fn is_open(&self) -> bool {
        self.state.ended.borrow().is_none()
    }
}

type Opening = BoxFuture<'static, Result<Arc<Bus>, LinkError>>;

/// Where one address stands.
#[derive(Default)]
struct Place {
    bus: Weak<Bus>,
    /// An attempt under way, which all who want this bus join.
    opening: Option<WeakShared<Opening>>,
}

/// An endpoint, and the addresses that it may have: a link never uses a connection that was made
/// under another list than its own.
type PlaceKey = (String, Vec<IpAddr>);

/// All buses by endpoint.
#[derive(Default)]
pub(crate) struct Buses(Mutex<HashMap<PlaceKey, Place>>);

impl Buses {
    /// The bus to `endpoint`, opened within `limit` if it is not open, at one of the addresses
    /// `allow` (any, if there are none).
    pub(crate) async fn get(
        &self,
        endpoint: &str,
        allow: &[IpAddr],
        limit: Duration,
    ) -> Result<Arc<Bus>, LinkError> {
        let key: PlaceKey = (endpoint.to_owned(), allow.to_vec());
        let opening: Shared<Opening> = {
            let mut places = self.places();
            // Forgets the addresses that nobody uses any more.
            places.retain(|other, place| {
                *other == key
                    || place.bus.strong_count() > 0
                    || place.opening.as_ref().is_some_and(|o| o.upgrade().is_some())
            });
            let place = places.entry(key.clone()).or_default();
            if let Some(bus) = place.bus.upgrade().filter(|bus| bus.is_open()) {
                return Ok(bus);
            }
            let joined = place.opening.as_ref().and_then(WeakShared::upgrade);
            if let Some(joined) = joined.filter(|o| o.peek().is_none()) {
                joined
            } else {
                let new = open(key.clone(), limit).boxed().shared();
                place.opening = new.downgrade();
                new
            }
        };
        let bus = opening.await?;
        if let Some(place) = self.places().get_mut(&key) {
            place.bus = Arc::downgrade(&bus);
        }
        Ok(bus)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<PlaceKey, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open((endpoint, allow): PlaceKey, limit: Duration) -> Result<Arc<Bus>, LinkError> {
    let fail = |error: std::io::Error| LinkError::Unreachable {
        endpoint: endpoint.clone(),
        cause: error.to_string().to_lowercase(),
    };
    let connecting = async {
        let resolved: Vec<SocketAddr> = lookup_host(&endpoint).await?.collect();
        let stream = TcpStream::connect(&*permitted(resolved, &allow)?).await?;
        // The same question to the connection itself, whatever became of the list on the way.
        permitted(vec![stream.peer_addr()?], &allow)?;
        // Requests are small and each waits for its answer: Nagle would only delay them.
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let late =
        || LinkError::Timeout { endpoint: endpoint.clone(), millis: limit.as_millis() as u64 };
    let stream = timeout(limit, connecting).await.map_err(|_| late())?.map_err(fail)?;
    Ok(Bus::start(endpoint, stream))
}

/// Those of the addresses that may be used; the error names the others.
fn permitted(found: Vec<SocketAddr>, allow: &[IpAddr]) -> io::Result<Vec<SocketAddr>> {
    let text = |all: &mut dyn Iterator<Item = IpAddr>| {
        all.map(|ip| ip.to_string()).collect::<Vec<_>>().join(", ")
    };
    let seen = text(&mut found.iter().map(SocketAddr::ip));
    let may = |address: &SocketAddr| allow.contains(&address.ip().to_canonical());
    let usable: Vec<SocketAddr> =
        found.into_iter().filter(|a| allow.is_empty() || may(a)).collect();
    if usable.is_empty() && !allow.is_empty() {
        let allowed = text(&mut allow.iter().copied());
        let why = format!("it is at {seen}, which is not among the addresses allowed: {allowed}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(usable)
}
