//! The device's side: answers what its gateway asks, and keeps what it needs for that.
//!
//! A pure state machine: a request in, an answer out. It trusts the plant's root key and nothing
//! else; a gateway must show a certificate, and a grant must be for this device, these keys and
//! that gateway. A grant is kept until half of its life is over and then renewed; it is used
//! beyond that only when the gateway says that the authority cannot be reached.
//!
//! Anybody who can write on the path can ask. So a request that is refused changes nothing: the
//! sessions that are up, the grant and a handshake under way stay as they were. Only a Begin with a
//! genuine certificate ends the handshake before it, since a gateway that begins anew has given the
//! old one up. The last answer is kept, so that a request that a protocol sends twice gets the same
//! one and is not carried out twice.
//!
//! **Renewal**: what the device sends goes on in the old session until the gateway has sealed
//! something in the new one, or [`SWITCH_AFTER`], whichever comes first, so that nothing overtakes
//! the proof. Absent: input and output, storage (after a restart there is a new handshake and a new
//! token), carrying commands out.

use std::{fmt, time::Duration};

use plantwin_model::{DeviceId, Timestamp};
use plantwin_seal::{Lane, Sealed, Secret, Session, constant_time_eq, hash, noise, random_bytes};

use super::{
    DeviceIdentity, EnrolRequest, GatewayCert, Grant, PwsToken, Refusal, TokenClaims, TokenRequest,
    gate::{RATE, RATE_INTERVAL},
    session::{GRACE, SESSION_LIFE, answer_body},
    wire::{
        self, ANSWER, Begin, First, FirstPayload, Message, NONCE_BYTES, PROOF, REQUEST, SUITE,
        TELEMETRY, VERSION, Withheld,
    },
};
use crate::AuthError;

/// First messages without a session after which a device asks for a new token, though its own
/// seems good: the gateway may have another secret by now.
const FRUITLESS: u8 = 2;
/// A new session is used for sending after this long at the latest.
pub const SWITCH_AFTER: Duration = Duration::from_secs(5);

/// What happened to a device, for its log and its lamps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentEvent {
    /// A session with this gateway is up.
    SessionUp {
        /// The gateway.
        gateway: String,
        /// It still opens what was sealed in the session before; otherwise it never had that one, or
        /// was started anew.
        continued: bool,
    },
    /// It has a new token.
    TokenTaken {
        /// When it expires.
        expires: Timestamp,
    },
    /// Somebody must approve its keys, by this fingerprint.
    EnrolPending {
        /// As the authority shows it: the two must be the same.
        fingerprint: String,
    },
    /// A request was refused.
    Refused(AuthError),
}

/// What to do with a request.
#[derive(Debug)]
pub enum Answer {
    /// Send this back.
    Send {
        /// The answer.
        bytes: Vec<u8>,
        /// What happened, if anything did.
        event: Option<AgentEvent>,
    },
    /// The gateway asks something of the device itself: work on it and answer with
    /// [`Agent::reply`].
    Request {
        /// What it asks.
        payload: Vec<u8>,
        /// For the reply.
        ticket: Ticket,
    },
}

/// Which request a reply belongs to. One reply for each.
#[derive(Debug)]
pub struct Ticket {
    session: u64,
    number: u64,
    digest: [u8; 32],
    age: Duration,
    commands: bool,
}

impl Ticket {
    /// How long the session has been up, by the device's clock.
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// Whether the token still allows commands: beyond its end it is good for reading alone.
    pub const fn allows_commands(&self) -> bool {
        self.commands
    }
}

/// A grant that was checked.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) token: Vec<u8>,
    pub(crate) claims: TokenClaims,
    pub(crate) psk: Secret,
    pub(crate) origin: Option<Secret>,
}

/// A Begin that was checked.
struct Begun {
    nonce: [u8; NONCE_BYTES],
    held: u64,
    suites: Vec<u16>,
    cert: GatewayCert,
    prologue: Vec<u8>,
    /// Noise, once the first message is on its way.
    noise: Option<noise::Initiator>,
}

/// One end of a session.
struct Link {
    session: Session,
    started: Timestamp,
    /// End of the token that it was begun with.
    expires: Timestamp,
    /// Highest number of a request that had its turn.
    asked: Option<u64>,
}

impl Link {
    fn number(&self) -> u64 {
        self.session.sealer.session()
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.started) >= SESSION_LIFE
    }
}

/// A device's end of PWS/1.
pub struct Agent {
    pub(crate) me: DeviceIdentity,
    pub(crate) grant: Option<Held>,
    /// The authority said that the device is enrolled; a hint until a grant comes.
    enrolled: bool,
    begun: Option<Begun>,
    current: Option<Link>,
    /// A session that the gateway has not used yet.
    fresh: Option<Link>,
    /// Digest of the last request, and its answer.
    last: Option<([u8; 32], Vec<u8>)>,
    /// When the last handshake would have begun at the allowed rate.
    due: Timestamp,
    /// First messages in a row that led to no session.
    fruitless: u8,
}

/// Why a request is refused, for the gateway and for the device's own log.
struct Refused(Refusal, AuthError);

type Reaction = Result<(Message, Option<AgentEvent>), Refused>;

impl Agent {
    /// A device that has keys and nothing else yet.
    pub fn new(identity: DeviceIdentity) -> Self {
        Self {
            me: identity,
            grant: None,
            enrolled: false,
            begun: None,
            current: None,
            fresh: None,
            last: None,
            due: Timestamp(i64::MIN),
            fruitless: 0,
        }
    }

    /// The device it speaks for.
    pub const fn device(&self) -> &DeviceId {
        &self.me.device
    }

    /// Whether a session is up in which something can be sent.
    pub fn is_up(&self, now: Timestamp) -> bool {
        [&self.current, &self.fresh].into_iter().flatten().any(|link| !link.is_over(now))
    }

    /// When its token expires, if it has one.
    pub fn token_expires(&self) -> Option<Timestamp> {
        self.grant.as_ref().map(|held| held.claims.expires)
    }

    /// What it makes digests of its values with: shared with the authority and no gateway.
    pub fn origin_key(&self) -> Option<&Secret> {
        self.grant.as_ref().and_then(|held| held.origin.as_ref())
    }

    /// Answers a request of whoever claims to be the gateway.
    pub fn on_exchange(&mut self, request: &[u8], now: Timestamp) -> Answer {
        let digest = hash(&[b"plantwin v1 exchange", request]);
        if let Some((last, bytes)) = &self.last
            && constant_time_eq(last, &digest)
        {
            return Answer::Send { bytes: bytes.clone(), event: None };
        }
        let seen = request.get(3).copied().unwrap_or(0);
        let reaction = match Message::decode(request) {
            Ok(Message::Request(envelope)) => match self.open_request(envelope, digest, now) {
                Ok(request) => return request,
                Err(refused) => Err(refused),
            },
            Ok(message) => self.react(message, request, now),
            Err(error @ AuthError::Version(_)) => Err(Refused(Refusal::Version, error)),
            Err(error) => Err(Refused(Refusal::Unexpected, error)),
        };
        let reaction = reaction.and_then(|(message, event)| {
            let bytes = message.encode();
            Ok((bytes.map_err(|error| Refused(Refusal::Unexpected, error))?, event))
        });
        match reaction {
            Ok((bytes, event)) => {
                self.last = Some((digest, bytes.clone()));
                Answer::Send { bytes, event }
            }
            Err(Refused(why, error)) => {
                // Two bytes of body always fit.
                let bytes = Message::Refuse { seen, why }.encode().unwrap_or_default();
                Answer::Send { bytes, event: Some(AgentEvent::Refused(error)) }
            }
        }
    }

    /// A request whose order counts has its turn: whether no later one of its session had before.
    pub fn has_turn(&mut self, ticket: &Ticket) -> bool {
        let links = [&mut self.current, &mut self.fresh];
        let link = links.into_iter().flatten().find(|link| link.number() == ticket.session);
        link.is_some_and(|link| {
            let first = link.asked.is_none_or(|asked| ticket.number > asked);
            link.asked = link.asked.max(Some(ticket.number));
            first
        })
    }

    /// The answer to a request of the gateway.
    ///
    /// # Errors
    /// [`AuthError::NoSession`] if its session ended meanwhile, [`AuthError::TooLong`] for more than
    /// one exchange carries, [`AuthError::Seal`].
    pub fn reply(
        &mut self,
        ticket: Ticket,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, AuthError> {
        let links = [&mut self.current, &mut self.fresh];
        let link = links.into_iter().flatten().find(|link| link.number() == ticket.session);
        let link = link.filter(|link| !link.is_over(now)).ok_or(AuthError::NoSession)?;
        let body = answer_body(ticket.number, payload);
        let sealed = link.session.sealer.seal_bytes(ANSWER, &body, Lane::Command, None, now)?;
        let bytes = Message::Answer(sealed.into_bytes()).encode()?;
        self.last = Some((ticket.digest, bytes.clone()));
        Ok(bytes)
    }

    /// Seals what the device reports outside of an exchange.
    ///
    /// # Errors
    /// [`AuthError::NoSession`] if none is up, [`AuthError::Seal`].
    pub fn seal_telemetry(
        &mut self,
        lane: Lane,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, AuthError> {
        let switch = self.fresh.as_ref().is_some_and(|fresh| {
            self.current.as_ref().is_none_or(|current| current.is_over(now))
                || now.since(fresh.started) >= SWITCH_AFTER
        });
        if switch {
            self.current = self.fresh.take();
        }
        let link = self.current.as_mut().filter(|link| !link.is_over(now));
        let sealer = &mut link.ok_or(AuthError::NoSession)?.session.sealer;
        Ok(sealer.seal_bytes(TELEMETRY, payload, lane, None, now)?.into_bytes())
    }

    /// Takes a grant, from the gateway or by hand, in place of an older one.
    ///
    /// # Errors
    /// As [`PwsToken::verify`] and [`GatewayCert::verify`]; [`AuthError::WrongDevice`],
    /// [`AuthError::WrongZone`], [`AuthError::WrongKey`], [`AuthError::WrongAudience`],
    /// [`AuthError::PskMismatch`]; [`AuthError::Replayed`] for one that is not newer.
    pub fn take(&mut self, grant: &Grant, now: Timestamp) -> Result<Timestamp, AuthError> {
        let claims = PwsToken::verify(&self.me.root, &grant.token, now)?;
        if claims.device != self.me.device {
            return Err(AuthError::WrongDevice(claims.device));
        }
        if claims.zone != self.me.zone {
            return Err(AuthError::WrongZone);
        }
        if claims.cnf != self.me.keys.public().cnf() {
            return Err(AuthError::WrongKey);
        }
        let cert = GatewayCert::verify(&self.me.root, &grant.gateway, now)?;
        if cert.gateway != claims.gateway {
            return Err(AuthError::WrongAudience);
        }
        let older = |held: &Held| {
            held.claims.gateway == claims.gateway && held.claims.issued >= claims.issued
        };
        if self.grant.as_ref().is_some_and(older) {
            return Err(AuthError::Replayed);
        }
        let psk = grant.open_psk(&claims, &self.me.keys.dh)?;
        let expires = claims.expires;
        self.fruitless = 0;
        let origin = grant.open_origin(&claims, &self.me.keys.dh)?;
        self.grant = Some(Held { token: grant.token.clone(), claims, psk, origin });
        // Whoever has a grant is enrolled: the voucher is used up.
        self.me.voucher = None;
        Ok(expires)
    }

    fn react(&mut self, message: Message, request: &[u8], now: Timestamp) -> Reaction {
        match message {
            Message::Begin(begin) => self.on_begin(begin, request, now),
            Message::Granted(grant) => self.on_grant(&grant, now),
            Message::Withheld(Withheld::Away) => {
                // A gateway may say so of an authority that has dismissed it.
                self.grant.take_if(|held| now >= held.claims.expires.plus(GRACE));
                Ok((self.first()?, None))
            }
            Message::Withheld(Withheld::Refused) => {
                self.enrolled = false;
                Err(Refused(Refusal::NoToken, AuthError::NoToken))
            }
            Message::EnrolPending(fingerprint) => {
                Ok((Message::Noted, Some(AgentEvent::EnrolPending { fingerprint })))
            }
            Message::Enrolled => {
                self.enrolled = true;
                self.need_token(now)
            }
            Message::Second { nonce, noise } => self.on_second(&nonce, &noise, now),
            _ => Err(Refused(Refusal::Unexpected, AuthError::Reflected)),
        }
    }

    fn on_begin(&mut self, begin: Begin, request: &[u8], now: Timestamp) -> Reaction {
        let due = self.due.min(now.plus(RATE_INTERVAL * RATE)).max(now);
        if due.since(now) > RATE_INTERVAL * (RATE - 1) {
            return Err(Refused(Refusal::Busy, AuthError::RateLimited));
        }
        self.due = due.plus(RATE_INTERVAL);
        if !begin.suites.contains(&SUITE) {
            return Err(Refused(Refusal::Suite, AuthError::Downgraded));
        }
        let cert = GatewayCert::verify(&self.me.root, &begin.certificate, now)
            .map_err(|error| Refused(Refusal::Gateway, error))?;
        let prologue = wire::prologue(&cert.gateway, &begin.suites, request);
        let Begin { nonce, held, suites, .. } = begin;
        let half = |claims: &TokenClaims| claims.expires.since(claims.issued) / 2;
        let usable = self.grant.as_ref().is_some_and(|Held { claims, .. }| {
            claims.gateway == cert.gateway && now.since(claims.issued) < half(claims)
        });
        if self.begun.as_ref().is_some_and(|before| before.noise.is_some()) {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        self.begun = Some(Begun { nonce, held, suites, cert, prologue, noise: None });
        if usable && self.fruitless < FRUITLESS {
            return Ok((self.first()?, None));
        }
        match &self.me.voucher {
            Some(voucher) if !self.enrolled => {
                Ok((Message::Enrol(Box::new(EnrolRequest::build(&self.me, voucher))), None))
            }
            _ => self.need_token(now),
        }
    }

    fn need_token(&self, now: Timestamp) -> Reaction {
        let begun = self.begun.as_ref().ok_or(UNEXPECTED)?;
        let request = TokenRequest::build(&self.me, &begun.cert.gateway, now)
            .map_err(|error| Refused(Refusal::NoToken, error))?;
        Ok((Message::NeedToken(request), None))
    }

    fn on_grant(&mut self, grant: &Grant, now: Timestamp) -> Reaction {
        if self.begun.as_ref().is_none_or(|begun| begun.noise.is_some()) {
            return Err(UNEXPECTED);
        }
        let expires = self.take(grant, now).map_err(|error| Refused(Refusal::Grant, error))?;
        Ok((self.first()?, Some(AgentEvent::TokenTaken { expires })))
    }

    /// The first message, for the Begin that is under way and with the grant that there is.
    fn first(&mut self) -> Result<Message, Refused> {
        let begun = self.begun.as_mut().filter(|begun| begun.noise.is_none());
        let begun = begun.ok_or(UNEXPECTED)?;
        let grant = self.grant.as_ref().filter(|held| held.claims.gateway == begun.cert.gateway);
        let grant = grant.ok_or(Refused(Refusal::NoToken, AuthError::NoToken))?;
        let failed = |error: AuthError| Refused(Refusal::Handshake, error);
        let payload = FirstPayload {
            suite: SUITE,
            nonce: random_bytes().map_err(|error| failed(error.into()))?,
            sign: *self.me.keys.sign.verifying_key().as_bytes(),
            token: grant.token.clone(),
        };
        let payload = postcard::to_stdvec(&payload)
            .map_err(|_| failed(AuthError::Malformed("the token cannot be encoded")))?;
        let keys = &self.me.keys;
        let (initiator, noise) = noise::Initiator::start(
            &keys.dh,
            &begun.cert.dh,
            &begun.prologue,
            &grant.psk,
            &payload,
        )
        .map_err(|error| failed(error.into()))?;
        begun.noise = Some(initiator);
        let (nonce, suites) = (begun.nonce, begun.suites.clone());
        Ok(Message::First(First { nonce, version: VERSION, suites, noise }))
    }

    fn on_second(&mut self, nonce: &[u8; NONCE_BYTES], second: &[u8], now: Timestamp) -> Reaction {
        let begun = self.begun.as_mut().ok_or(UNEXPECTED)?;
        if begun.nonce != *nonce {
            return Err(Refused(Refusal::Unexpected, AuthError::Replayed));
        }
        let gateway = begun.cert.gateway.clone();
        let initiator = begun.noise.as_mut().ok_or(UNEXPECTED)?;
        let me = wire::device_party(self.me.device.as_str());
        let (challenge, established) = initiator
            .finish(second, me, wire::gateway_party(&gateway), now)
            .map_err(|_| Refused(Refusal::Handshake, AuthError::PskMismatch))?;
        // The message was genuine: whatever happens now, this handshake is over.
        let held = begun.held;
        self.begun = None;
        self.fruitless = 0;
        let failed = |error: AuthError| Refused(Refusal::Handshake, error);
        let challenge: [u8; 32] = challenge
            .try_into()
            .map_err(|_| failed(AuthError::Malformed("the challenge has another length")))?;
        let noise::Established { mut session, hash } = established;
        let signed = wire::proof(&hash, &challenge, self.me.device.as_str(), &gateway);
        let signature = self.me.keys.sign.sign(&signed).to_bytes();
        let envelope = session
            .sealer
            .seal_bytes(PROOF, &signature, Lane::Command, None, now)
            .map_err(|error| failed(error.into()))?
            .into_bytes();
        let expires = self.grant.as_ref().map_or(now, |held| held.claims.expires);
        let link = Link { session, started: now, expires, asked: None };
        // A gateway that does not know the old session has been restarted.
        let mut continued = true;
        if self.current.as_ref().is_some_and(|old| old.number() == held && !old.is_over(now)) {
            self.fresh = Some(link);
        } else if self.fresh.as_ref().is_some_and(|old| old.number() == held && !old.is_over(now)) {
            self.current = self.fresh.replace(link);
        } else {
            (self.current, self.fresh) = (Some(link), None);
            continued = false;
        }
        let event = AgentEvent::SessionUp { gateway, continued };
        Ok((Message::Proof { nonce: *nonce, envelope }, Some(event)))
    }

    fn open_request(
        &mut self,
        envelope: Vec<u8>,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Answer, Refused> {
        let refused = |error: AuthError| Refused(Refusal::Session, error);
        let sealed = Sealed::<[u8]>::from_bytes(envelope).map_err(|e| refused(e.into()))?;
        let header = *sealed.header();
        let links = [&mut self.current, &mut self.fresh];
        let link = links.into_iter().flatten().find(|link| link.number() == header.session);
        let link = link.filter(|link| !link.is_over(now)).ok_or(refused(AuthError::NoSession))?;
        let payload = link
            .session
            .opener
            .open_bytes(REQUEST, sealed, now)
            .map_err(|error| refused(error.into()))?;
        let (age, commands) = (now.since(link.started), now < link.expires);
        if self.fresh.as_ref().is_some_and(|fresh| fresh.number() == header.session) {
            self.current = self.fresh.take();
        }
        let (session, number) = (header.session, header.sequence);
        let ticket = Ticket { session, number, digest, age, commands };
        Ok(Answer::Request { payload, ticket })
    }
}

const UNEXPECTED: Refused = Refused(Refusal::Unexpected, AuthError::Unexpected);

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("device", &self.me.device)
            .field("token_expires", &self.token_expires())
            .field("handshake", &self.begun.is_some())
            .field("session", &self.current.as_ref().map(Link::number))
            .finish_non_exhaustive()
    }
}
