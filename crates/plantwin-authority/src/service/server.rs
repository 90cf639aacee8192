//! The service: gateways and people far away reach an embedded authority over sealed channels.
//!
//! A stranger costs little: a seat among those who have shown nothing yet ([`Room`]) for three
//! seconds, one hash before anything else, above 128 handshakes under way a cookie, and then at
//! most ten handshakes a second from one address. Failures lock no address out: whoever makes
//! them may share it with gateways, and keys of 256 bits are not guessed at ten a second. Who is
//! admitted gets the revocation list first, every change of it at once, and a fresh
//! signature of it each minute; a client that is dismissed loses its channel within a second. The
//! channel ends after 15 minutes at the latest; a client makes a new one after ten.
//! Absent: what an operation does and who may ask it ([`crate::registry`]); reconnecting.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Clock};
use plantwin_seal::{
    DhKey,
    noise::{Established, Responder},
};
use tokio::{
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    AuthorityPort as _, Embedded,
    channel::{Broken, CLIENT, Frames, Receiver, SERVER, Sender, channel, send_frame},
    quiet::Quiet,
    room::{Room, Seat},
    wire::{CLIENT_LIMIT, FromClient, FromServer, Hello, PROLOGUE, Refused, Welcome},
};
use crate::{
    AuthError,
    pws::{COOKIES_ABOVE, CookieJar, Gate, Permit, RevocationList, Source, check_mac1},
    registry::{Actor, AuthorityOp, ClientKind, Kept},
};

/// Channels at the same time.
const CLIENTS: usize = 256;
/// Handshakes at the same time, of those who showed that they know whom they talk to.
const HALF_OPEN: usize = 1024;
/// Addresses remembered.
const SOURCES: usize = 16_384;

/// How long things may take, and how many may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A stranger has to be admitted by then.
    pub(crate) handshake: Duration,
    /// A client that says nothing for this long is gone.
    pub(crate) silence: Duration,
    /// The longest life of a channel.
    pub(crate) life: Duration,
    /// Between two signatures of the same list.
    pub(crate) list_every: Duration,
    /// Connections that have shown nothing yet.
    pub(crate) silent: usize,
    /// Those of one address.
    pub(crate) silent_each: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(3),
            silence: Duration::from_mins(1),
            life: Duration::from_mins(15),
            list_every: Duration::from_mins(1),
            silent: 1024,
            silent_each: 32,
        }
    }
}

/// What the service did, for statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceCounts {
    /// Channels that are open.
    pub clients: u64,
    /// Handshakes under way, and connections that have shown nothing yet.
    pub half_open: u64,
    /// Connections that came to nothing: silence, garbage, rate, load, wrong keys.
    pub refused: u64,
    /// Cookies that were asked for.
    pub cookies: u64,
    /// Handshakes for which a key agreement was computed.
    pub agreements: u64,
}

#[derive(Debug, Default)]
struct Counters {
    clients: AtomicU64,
    refused: AtomicU64,
    cookies: AtomicU64,
    agreements: AtomicU64,
}

/// The running service. Dropping it closes everything.
#[derive(Debug)]
pub struct Server {
    desk: Arc<Desk>,
    local: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Desk {
    authority: Embedded,
    key: DhKey,
    room: Arc<Room>,
    gate: Gate,
    jar: CookieJar,
    places: Arc<Semaphore>,
    limits: Limits,
    counters: Counters,
    quiet: std::sync::Mutex<Quiet>,
}

impl Server {
    /// Listens at `address` until it is dropped; to be called within a tokio runtime.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] if it cannot listen there.
    pub async fn start(authority: Embedded, address: SocketAddr) -> Result<Self, AuthError> {
        Self::start_with(authority, address, Limits::default()).await
    }

    pub(crate) async fn start_with(
        authority: Embedded,
        address: SocketAddr,
        limits: Limits,
    ) -> Result<Self, AuthError> {
        let cannot =
            |e: io::Error| AuthError::Unavailable(format!("cannot listen at {address}: {e}"));
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let local = listener.local_addr().map_err(cannot)?;
        let desk = Arc::new(Desk {
            key: authority.service_key(),
            authority,
            room: Room::new(limits.silent, limits.silent_each),
            gate: Gate::new(HALF_OPEN, SOURCES),
            jar: CookieJar::new()?,
            places: Arc::new(Semaphore::new(CLIENTS)),
            limits,
            counters: Counters::default(),
            quiet: std::sync::Mutex::default(),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&desk)));
        Ok(Self { desk, local, task })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What it did.
    pub fn counts(&self) -> ServiceCounts {
        let counters = &self.desk.counters;
        ServiceCounts {
            clients: counters.clients.load(Relaxed),
            half_open: self.desk.under_way() as u64,
            refused: counters.refused.load(Relaxed),
            cookies: counters.cookies.load(Relaxed),
            agreements: counters.agreements.load(Relaxed),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.desk.settle(true);
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, desk: Arc<Desk>) {
    // Dropped with this task, and all clients with it.
    let mut clients = JoinSet::new();
    let mut upkeep = interval(Duration::from_mins(1));
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(_) = clients.join_next() => {}
            _ = upkeep.tick() => {
                desk.settle(false);
                // It may wait for the disk; accepting must not wait for it.
                let authority = desk.authority.clone();
                clients.spawn(async move {
                    // Its failure is in the audit trail, and the next minute tries again.
                    let _ = authority.op(AuthorityOp::Upkeep, Actor::Plant).await;
                });
            }
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => desk.greet(socket, peer, &mut clients),
                Err(error) => {
                    // Out of descriptors, most likely: let clients go on and try again.
                    tracing::warn!("authority service: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// A client that was let in.
struct Guest {
    name: String,
    kind: ClientKind,
    dh: plantwin_seal::DhPublic,
    established: Established,
}

impl Desk {
    fn clock(&self) -> &Arc<dyn Clock> {
        self.authority.clock()
    }

    fn greet(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, clients: &mut JoinSet<()>) {
        let desk = Arc::clone(self);
        clients.spawn(async move { desk.client(socket, peer).await });
    }

    /// Handshakes, and connections that may become some.
    fn under_way(&self) -> usize {
        self.room.waiting() + self.gate.counts().half_open
    }

    async fn client(&self, socket: TcpStream, peer: SocketAddr) {
        // Small messages, each of which somebody waits for.
        let _ = socket.set_nodelay(true);
        let (read, mut write) = socket.into_split();
        let mut frames = Frames::new(read);
        let limit = self.limits.handshake;
        let source = source(peer.ip());
        let (seat, turned_out) = self.room.enter(source);
        let shaken = tokio::select! {
            shaken = timeout(limit, self.handshake(&mut frames, &mut write, peer, source, seat)) => {
                shaken.unwrap_or(Err(io::Error::from(io::ErrorKind::TimedOut).into()))
            }
            Ok(()) = turned_out => Err(AuthError::Busy.into()),
        };
        // Nothing more is said: an answer would be work for whoever sends floods.
        let (guest, permit) = match shaken {
            Ok(shaken) => shaken,
            Err(error) => return self.refuse(peer, &error),
        };
        let Guest { name, kind, dh, established } = guest;
        let (sender, mut receiver) =
            channel(established.session, frames, write, false, CLIENT_LIMIT, self.clock());
        // Until here all may have been a replay. The first sealed message proves the client.
        let first = match timeout(limit, receiver.next::<FromClient>()).await {
            Ok(Ok(first)) => first,
            Ok(Err(error)) => return self.refuse(peer, &error),
            Err(_) => return self.refuse(peer, &io::Error::from(io::ErrorKind::TimedOut).into()),
        };
        drop(permit);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.refuse(peer, &AuthError::Busy.into());
        };
        let actor = match kind {
            ClientKind::Gateway => Actor::Gateway(name.clone()),
            ClientKind::Person(role) => Actor::person(name.clone(), role),
        };
        self.counters.clients.fetch_add(1, Relaxed);
        let object = format!("client:{name}");
        self.tell(&actor, &object, AuditResult::Done, format!("channel from {peer}"));
        let ended = self.serve(sender, receiver, first, &actor, &dh).await;
        self.counters.clients.fetch_sub(1, Relaxed);
        self.tell(&actor, &object, AuditResult::Done, format!("channel ended: {ended}"));
        drop(place);
    }

    async fn handshake(
        &self,
        frames: &mut Frames,
        write: &mut OwnedWriteHalf,
        peer: SocketAddr,
        source: Source,
        seat: Seat,
    ) -> Result<(Guest, Permit), Broken> {
        let address = peer.ip().to_string();
        let mut asked = false;
        loop {
            let hello = match Hello::from_bytes(&frames.next().await?) {
                Ok(hello) => hello,
                Err(error) => {
                    if matches!(error, AuthError::Version(_)) {
                        let sorry = Welcome::Refused(Refused::Version).to_bytes();
                        send_frame(write, &sorry).await?;
                    }
                    return Err(error.into());
                }
            };
            check_mac1(&self.key.public(), &hello.first, &hello.mac1)?;
            let now = self.clock().now();
            if self.under_way() > COOKIES_ABOVE {
                let checked = self.jar.check(address.as_bytes(), &hello.cookie, now);
                if let Err(error) = checked {
                    if asked {
                        return Err(error.into());
                    }
                    asked = true;
                    self.counters.cookies.fetch_add(1, Relaxed);
                    let cookie = self.jar.mint(address.as_bytes(), now);
                    send_frame(write, &Welcome::Cookie(cookie).to_bytes()).await?;
                    continue;
                }
            }
            // Only here it takes a place that others could need. Nobody is locked out: whoever
            // fails may only share this address with whoever does not.
            let permit = self.gate.admit(source, true, now)?;
            drop(seat);
            self.counters.agreements.fetch_add(1, Relaxed);
            let refused = Welcome::Refused(Refused::Key).to_bytes();
            let (responder, dh, _) = match Responder::read(&self.key, PROLOGUE, &hello.first) {
                Ok(read) => read,
                Err(error) => {
                    send_frame(write, &refused).await?;
                    return Err(error.into());
                }
            };
            let Some((name, kind, psk)) = self.authority.client_of(&dh) else {
                send_frame(write, &refused).await?;
                return Err(AuthError::UnknownGateway("with this key".to_owned()).into());
            };
            if self.places.available_permits() == 0 {
                send_frame(write, &Welcome::Refused(Refused::Busy).to_bytes()).await?;
                return Err(AuthError::Busy.into());
            }
            let psk: Kept = psk;
            let (second, established) = responder.answer(psk.secret(), &[], SERVER, CLIENT, now)?;
            send_frame(write, &Welcome::Second(second).to_bytes()).await?;
            return Ok((Guest { name, kind, dh, established }, permit));
        }
    }

    /// Serves a client until it ends, and says why.
    async fn serve(
        &self,
        mut sender: Sender,
        mut receiver: Receiver,
        first: FromClient,
        actor: &Actor,
        dh: &plantwin_seal::DhPublic,
    ) -> String {
        let mut lists = self.authority.revocations();
        let begun = async {
            self.send_list(&mut sender, &mut lists).await?;
            self.answer(&mut sender, first, actor).await
        };
        if let Err(error) = begun.await {
            return error.to_string();
        }
        let end = Instant::now() + self.limits.life;
        let mut heard = Instant::now();
        let mut listed = Instant::now();
        let mut second = interval(Duration::from_secs(1).min(self.limits.list_every));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                biased;
                changed = lists.changed() => match changed {
                    Ok(()) => {
                        listed = Instant::now();
                        self.send_list(&mut sender, &mut lists).await
                    }
                    Err(_) => return "the authority ends".to_owned(),
                },
                _ = second.tick() => {
                    if self.authority.client_of(dh).is_none() {
                        return "it was dismissed".to_owned();
                    }
                    if heard.elapsed() > self.limits.silence {
                        return "it says nothing any more".to_owned();
                    }
                    if listed.elapsed() >= self.limits.list_every {
                        listed = Instant::now();
                        self.send_list(&mut sender, &mut lists).await
                    } else {
                        Ok(())
                    }
                }
                () = sleep_until(end) => return "its time is over".to_owned(),
                message = receiver.next::<FromClient>() => {
                    heard = Instant::now();
                    match message {
                        Ok(_) if self.authority.client_of(dh).is_none() => {
                            return "it was dismissed".to_owned();
                        }
                        Ok(message) => self.answer(&mut sender, message, actor).await,
                        Err(error) => Err(error),
                    }
                }
            };
            if let Err(error) = done {
                return error.to_string();
            }
        }
    }

    async fn send_list(
        &self,
        sender: &mut Sender,
        lists: &mut watch::Receiver<Arc<RevocationList>>,
    ) -> Result<(), Broken> {
        // Seen before it is signed: what is signed is that one or a later one.
        lists.mark_unchanged();
        let signed = self.authority.signed_revocations()?;
        sender.send(&FromServer::List(signed)).await
    }

    async fn answer(
        &self,
        sender: &mut Sender,
        message: FromClient,
        actor: &Actor,
    ) -> Result<(), Broken> {
        let answer = match message {
            FromClient::Ping => FromServer::Pong,
            FromClient::Ask { id, op } => {
                let answer = if op.local_only() {
                    Err(AuthError::NotAllowed(op.needs()))
                } else {
                    self.authority.op(*op, actor.clone()).await
                };
                FromServer::Answer { id, answer: answer.map_err(Into::into) }
            }
        };
        sender.send(&answer).await
    }

    /// Puts on record how many refusals were not written down: of spans that are over, or all.
    fn settle(&self, all: bool) {
        let now = self.clock().now();
        let mut quiet = self.quiet.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entry = if all { quiet.rest() } else { quiet.due(now) };
        drop(quiet);
        if let Some(entry) = entry {
            self.authority.audit().record(entry);
        }
    }

    fn refuse(&self, peer: SocketAddr, error: &Broken) {
        self.counters.refused.fetch_add(1, Relaxed);
        let reason = match error {
            Broken::Io(error) => format!("io: {error}"),
            Broken::Auth(error) => format!("{}: {error}", error.reason_code()),
        };
        let actor = Actor::Plant;
        self.tell(&actor, &format!("peer:{}", peer.ip()), AuditResult::Refused, reason);
    }

    fn tell(&self, actor: &Actor, object: &str, result: AuditResult, detail: String) {
        let actor = actor.to_string();
        let (kind, object) = (AuditKind::Session, object.to_owned());
        let entry = AuditEntry { kind, actor, object, result, detail };
        let mut quiet = self.quiet.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let entries = quiet.filter(entry, self.clock().now());
        drop(quiet);
        for entry in entries {
            self.authority.audit().record(entry);
        }
    }
}

/// A client is told apart by its address; of IPv6 by the half that a provider hands out.
fn source(peer: IpAddr) -> Source {
    match peer.to_canonical() {
        IpAddr::V4(v4) => Source::new(&[b"service", &v4.octets()]),
        IpAddr::V6(v6) => Source::new(&[b"service", &v6.octets()[..8]]),
    }
}
