//! An authority far away, asked over a sealed channel that comes back by itself.
//!
//! One task owns the channel. It reconnects with a back-off of 0.1 to 30 s with jitter, makes a new
//! handshake every ten minutes, and keeps the last revocation list whatever happens: an authority
//! that is away takes no rights back and gives none. While it is away, questions are refused at
//! once. The queue of questions is bounded; what finds it full is refused, nothing is dropped.
//! Absent: use of tokens beyond their end while the authority is away ([`crate::pws`] knows).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plantwin_model::{Clock, DeviceId, Timestamp, ZoneId};
use plantwin_seal::{noise::Initiator, random_bytes};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    AuthorityPort, BoxFuture, Credential, GatewayKeys, Health, LIST_STALE,
    channel::{Broken, CLIENT, Frames, Receiver, SERVER, Sender, channel, send_frame},
    wire::{FromClient, FromServer, Hello, PROLOGUE, Refused, SERVER_LIMIT, Welcome},
};
use crate::{
    AuthError,
    pws::{COOKIE_BYTES, DevicePublic, EnrolRequest, Grant, RevocationList, TokenRequest},
    registry::{Actor, AuthorityOp, AuthorityReply, EnrolStatus, PolicyStamp, issuer_mark},
};

/// Questions that wait to be sent.
const QUEUE: usize = 256;
/// Questions that wait for an answer.
const UNDER_WAY: usize = 64;
/// Longest wait for an answer, from the asking on.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for a channel.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The first and the longest pause between attempts.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// When things happen on a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between signs of life.
    pub(crate) ping: Duration,
    /// A server that says nothing for this long is gone.
    pub(crate) silence: Duration,
    /// A new handshake is made after this.
    pub(crate) renew: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(25),
            renew: Duration::from_mins(10),
        }
    }
}

/// An authority far away.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    lists: watch::Sender<Arc<RevocationList>>,
    policy: Mutex<PolicyStamp>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    credential: Credential,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    reachable: bool,
    since: Timestamp,
    reason: String,
    /// When the newest list was confirmed.
    listed: Option<Timestamp>,
    /// Handshakes that succeeded.
    channels: u64,
}

#[derive(Debug)]
struct Ask {
    op: AuthorityOp,
    reply: oneshot::Sender<Result<AuthorityReply, AuthError>>,
}

/// Why a channel was left, if it did not break.
enum Left {
    /// It is time for a new handshake.
    Renew,
    /// Nobody can ask any more.
    Done,
}

impl Remote {
    /// Begins to reach the authority at `address` (`host:port`); to be called within a tokio
    /// runtime. `clock` is wall time: the speed of a simulation has nothing to do with it.
    pub fn start(address: String, credential: Credential, clock: Arc<dyn Clock>) -> Self {
        Self::start_with(address, credential, clock, Pace::default())
    }

    pub(crate) fn start_with(
        address: String,
        credential: Credential,
        clock: Arc<dyn Clock>,
        pace: Pace,
    ) -> Self {
        let (asks, queue) = mpsc::channel(QUEUE);
        let lists = watch::Sender::new(Arc::default());
        let state = State {
            reachable: false,
            since: clock.now(),
            reason: "not reached yet".to_owned(),
            listed: None,
            channels: 0,
        };
        let shared = Arc::new(Shared { address, credential, clock, state: Mutex::new(state) });
        let task = tokio::spawn(run(Arc::clone(&shared), queue, lists.clone(), pace));
        Self { shared, asks, lists, policy: Mutex::default(), task }
    }

    /// How many handshakes succeeded.
    pub fn channels(&self) -> u64 {
        self.shared.state().channels
    }

    async fn ask(&self, op: AuthorityOp) -> Result<AuthorityReply, AuthError> {
        let (reply, answer) = oneshot::channel();
        self.asks
            .try_send(Ask { op, reply })
            .map_err(|_| AuthError::Unavailable("too many questions wait for it".to_owned()))?;
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AuthError::Unavailable("the channel was lost".to_owned())),
            Err(_) => Err(AuthError::Unavailable("it did not answer within 5 s".to_owned())),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it could be reached until now.
    fn lost(&self, reason: &str) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        let was = std::mem::replace(&mut state.reachable, false);
        if was {
            state.since = now;
        }
        reason.clone_into(&mut state.reason);
        was
    }
}

async fn run(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Ask>,
    lists: watch::Sender<Arc<RevocationList>>,
    pace: Pace,
) {
    let mut pause = BACK_OFF.0;
    loop {
        let ended = match timeout(CONNECT_WITHIN, connect(&shared)).await {
            Ok(Ok((sender, receiver))) => {
                shared.state().channels += 1;
                serve(&shared, sender, receiver, &mut queue, &lists, pace).await
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        match ended {
            Ok(Left::Done) => return,
            Ok(Left::Renew) => {}
            Err(error) => {
                let address = &shared.address;
                let reason = format!("the channel to {address} failed: {error}");
                tracing::warn!("authority: {reason}");
                if shared.lost(&reason) {
                    pause = BACK_OFF.0;
                }
                if !rest(jittered(pause), &mut queue, &reason).await {
                    return;
                }
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Waits, refusing what is asked meanwhile; false if nobody can ask any more.
async fn rest(pause: Duration, queue: &mut mpsc::Receiver<Ask>, reason: &str) -> bool {
    let mut over = std::pin::pin!(sleep(pause));
    loop {
        tokio::select! {
            biased;
            () = &mut over => return true,
            ask = queue.recv() => match ask {
                // Whoever asked may have given up.
                Some(ask) => drop(ask.reply.send(Err(AuthError::Unavailable(reason.to_owned())))),
                None => return false,
            }
        }
    }
}

/// Half to all of it, so that gateways that lost the authority together do not come together.
fn jittered(pause: Duration) -> Duration {
    let random = random_bytes().map_or(u16::MAX, u16::from_le_bytes);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u16::MAX))
}

async fn connect(shared: &Shared) -> Result<(Sender, Receiver), Broken> {
    let Shared { address, credential, clock, .. } = shared;
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (read, mut write) = socket.into_split();
    let mut frames = Frames::new(read);
    let Credential { dh, authority, psk, .. } = credential;
    let mut cookie = None;
    loop {
        let (mut initiator, first) = Initiator::start(dh, authority, PROLOGUE, psk, &[])?;
        let hello = Hello::new(authority, cookie.unwrap_or([0; COOKIE_BYTES]), first);
        send_frame(&mut write, &hello.to_bytes()).await?;
        match Welcome::from_bytes(&frames.next().await?)? {
            Welcome::Second(second) => {
                let (_, established) = initiator.finish(&second, CLIENT, SERVER, clock.now())?;
                return Ok(channel(established.session, frames, write, true, SERVER_LIMIT, clock));
            }
            Welcome::Cookie(given) if cookie.is_none() => cookie = Some(given),
            Welcome::Cookie(_) => return Err(AuthError::Cookie.into()),
            Welcome::Refused(Refused::Key) => {
                return Err(AuthError::UnknownGateway(credential.name.clone()).into());
            }
            Welcome::Refused(Refused::Busy) => return Err(AuthError::Busy.into()),
            Welcome::Refused(Refused::Version) => return Err(AuthError::Version(0).into()),
        }
    }
}

async fn serve(
    shared: &Shared,
    mut sender: Sender,
    mut receiver: Receiver,
    queue: &mut mpsc::Receiver<Ask>,
    lists: &watch::Sender<Arc<RevocationList>>,
    pace: Pace,
) -> Result<Left, Broken> {
    let mut waiting: HashMap<u64, oneshot::Sender<_>> = HashMap::new();
    let mut next_id = 0_u64;
    let begun = Instant::now();
    let mut heard = Instant::now();
    let mut ping = interval(pace.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The server says nothing before it is sure of the client: the first ping goes out at once.
    loop {
        let renewing = begun.elapsed() >= pace.renew;
        if renewing && waiting.is_empty() {
            return Ok(Left::Renew);
        }
        tokio::select! {
            biased;
            message = receiver.next::<FromServer>() => {
                let message = message?;
                heard = Instant::now();
                match message {
                    FromServer::Pong => {}
                    FromServer::List(bytes) => take_list(shared, lists, &bytes)?,
                    FromServer::Answer { id, answer } => {
                        if let Some(reply) = waiting.remove(&id) {
                            // Whoever asked may have given up.
                            let _ = reply.send(answer.map_err(Into::into));
                        }
                    }
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > pace.silence {
                    return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                }
                waiting.retain(|_, reply| !reply.is_closed());
                sender.send(&FromClient::Ping).await?;
            }
            ask = queue.recv(), if !renewing && waiting.len() < UNDER_WAY => match ask {
                Some(ask) if ask.reply.is_closed() => {}
                Some(ask) => {
                    next_id += 1;
                    waiting.insert(next_id, ask.reply);
                    sender.send(&FromClient::Ask { id: next_id, op: Box::new(ask.op) }).await?;
                }
                None => return Ok(Left::Done),
            }
        }
    }
}

/// Takes a list that the authority signed, if it is not an older one.
fn take_list(
    shared: &Shared,
    lists: &watch::Sender<Arc<RevocationList>>,
    bytes: &[u8],
) -> Result<(), Broken> {
    let now = shared.clock.now();
    let list = RevocationList::verify(&shared.credential.root, bytes, now)?;
    let (known, replaced) = {
        let held = lists.borrow();
        let issuer = bytes.first_chunk().map(issuer_mark);
        (held.serial, issuer.is_some_and(|mark| held.revoked.contains(&mark)))
    };
    if replaced {
        return Err(AuthError::RevocationsForged.into());
    }
    if list.serial < known {
        return Err(AuthError::RevocationsOld { got: list.serial, known }.into());
    }
    lists.send_if_modified(|held| {
        let newer = list.serial > held.serial;
        if newer {
            *held = Arc::new(list);
        }
        newer
    });
    let mut state = shared.state();
    if !state.reachable {
        state.since = now;
    }
    state.reachable = true;
    state.reason.clear();
    state.listed = Some(now);
    Ok(())
}

impl AuthorityPort for Remote {
    fn token(
        &self,
        request: TokenRequest,
        gateway: &str,
    ) -> BoxFuture<'_, Result<Grant, AuthError>> {
        let policy = *self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let op = AuthorityOp::Token { request, gateway: gateway.to_owned(), policy };
        Box::pin(async move {
            match self.ask(op).await? {
                AuthorityReply::Grant(grant) => Ok(grant),
                _ => Err(AuthError::Unexpected),
            }
        })
    }

    fn enrol(&self, request: EnrolRequest) -> BoxFuture<'_, Result<EnrolStatus, AuthError>> {
        Box::pin(async move {
            match self.ask(AuthorityOp::Enrol { request }).await? {
                AuthorityReply::Enrolment(status) => Ok(status),
                _ => Err(AuthError::Unexpected),
            }
        })
    }

    fn gateway_keys(&self, gateway: &str) -> BoxFuture<'_, Result<GatewayKeys, AuthError>> {
        let op = AuthorityOp::GatewayKeys { gateway: gateway.to_owned() };
        Box::pin(async move {
            match self.ask(op).await? {
                AuthorityReply::GatewayKeys(material) => {
                    GatewayKeys::of(material, self.shared.credential.dh.clone())
                }
                _ => Err(AuthError::Unexpected),
            }
        })
    }

    fn op(
        &self,
        op: AuthorityOp,
        _actor: Actor,
    ) -> BoxFuture<'_, Result<AuthorityReply, AuthError>> {
        Box::pin(self.ask(op))
    }

    fn revocations(&self) -> watch::Receiver<Arc<RevocationList>> {
        self.lists.subscribe()
    }

    fn set_policy(&self, policy: PolicyStamp) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn enrol_simulated(
        &self,
        _device: &DeviceId,
        _zone: &ZoneId,
        _public: DevicePublic,
    ) -> Result<(), AuthError> {
        Err(AuthError::Unavailable(
            "an authority far away knows no devices that are played; run the plant without \
             --authority to play them"
                .to_owned(),
        ))
    }

    fn health(&self) -> Health {
        let now = self.shared.clock.now();
        let state = self.shared.state();
        let list_age = state.listed.map(|at| now.since(at));
        Health {
            reachable: state.reachable,
            since: state.since,
            reason: state.reason.clone(),
            list_age,
            stale: list_age.is_none_or(|age| age > LIST_STALE),
            warnings: Vec::new(),
            advice: Vec::new(),
        }
    }
}
