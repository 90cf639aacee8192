//! The gateway's side: offers a handshake to a device and judges what comes back.
//!
//! The gateway asks and the device answers, though the device is the initiator of the Noise
//! handshake: it is the one that knows the other's key beforehand, by the gateway's certificate.
//!
//! ```text
//! gateway                                   device
//!   Begin { offer, certificate }    ─────▶
//!                                   ◀─────  NeedToken | Enrol | First { token, in Noise message 1 }
//!   Granted | EnrolPending | ...    ─────▶  (and then First)
//!   Second { Noise message 2 }      ─────▶
//!                                   ◀─────  Proof { signature over the handshake, sealed }
//! ```
//!
//! Nothing of the first message is acted upon before the proof has come: it can be a replay, and
//! its token can be stolen. A message that fails leaves the handshake as it was, so that the true
//! one still succeeds; after [`TRIES`] failures or [`HANDSHAKE_LIFE`] it is over. What is kept of
//! it ends with [`Handshake`], its place at the gate included. Every end is audited with its
//! [`AuthError::reason_code`], except refusals by the gate, which are counted: whoever causes
//! floods shall not fill the audit trail. Absent: sockets, asking the authority, retries.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, AuditSink, DeviceId, Timestamp, ZoneId};
use plantwin_seal::{
    DhKey, DhPublic, SIGNATURE_BYTES, Sealed, Secret, Session, Signature, VerifyingKey, noise,
    random_bytes,
};

use super::{
    DevicePublic, EnrolRequest, Gate, GateCounts, GatewayCert, GatewaySession, Grant, Permit,
    PwsToken, Refusal, Revoked, Source, TokenClaims, TokenRequest, Withheld,
    session::{GRACE, Live},
    token_psk,
    wire::{self, Begin, First, FirstPayload, Message, NONCE_BYTES, PROOF, SUITE, VERSION},
};
use crate::{AuthError, registry::issuer_mark};

/// How long a handshake may take.
pub const HANDSHAKE_LIFE: Duration = Duration::from_secs(30);
/// Failures after which a handshake is over.
pub const TRIES: u8 = 8;
/// Handshakes that a gateway has under way at most.
pub const HALF_OPEN_LIMIT: usize = 1024;
/// Sources that a gateway remembers.
pub const SOURCES_LIMIT: usize = 1 << 16;

/// What a gateway holds: its key, what the authority says of it, and the secret that it shares
/// with the authority.
#[derive(Clone)]
pub struct GatewayCredential {
    /// Shakes hands.
    pub dh: DhKey,
    /// Bytes of its [`GatewayCert`].
    pub certificate: Vec<u8>,
    /// The secrets of tokens come from it.
    pub secret: Secret,
}

impl fmt::Debug for GatewayCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayCredential").field("dh", &self.dh).finish_non_exhaustive()
    }
}

struct Held {
    credential: GatewayCredential,
    name: String,
}

/// One for each process that speaks with devices.
pub struct Gateway {
    root: VerifyingKey,
    held: RwLock<Arc<Held>>,
    revoked: Revoked,
    gate: Gate,
    live: Live,
    audit: Arc<dyn AuditSink>,
}

impl Gateway {
    /// A gateway that believes what `root` says.
    ///
    /// # Errors
    /// As [`Self::adopt`].
    pub fn new(
        root: VerifyingKey,
        credential: GatewayCredential,
        revoked: Revoked,
        audit: Arc<dyn AuditSink>,
        now: Timestamp,
    ) -> Result<Arc<Self>, AuthError> {
        let held = RwLock::new(Arc::new(check(&root, credential, now)?));
        let gate = Gate::new(HALF_OPEN_LIMIT, SOURCES_LIMIT);
        Ok(Arc::new(Self { root, held, revoked, gate, live: Live::default(), audit }))
    }

    /// Takes a newer credential; sessions and handshakes go on with the one they began with.
    ///
    /// # Errors
    /// As [`GatewayCert::verify`], and [`AuthError::WrongKey`] if the certificate is of another key.
    pub fn adopt(&self, credential: GatewayCredential, now: Timestamp) -> Result<(), AuthError> {
        let held = Arc::new(check(&self.root, credential, now)?);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }

    /// Its name, the audience of its tokens.
    pub fn name(&self) -> String {
        self.held().name.clone()
    }

    /// The plant's root key: what devices are given to trust.
    pub const fn root(&self) -> &VerifyingKey {
        &self.root
    }

    /// The keys that are worth nothing any more.
    pub const fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// What the gate holds and refused.
    pub fn counts(&self) -> GateCounts {
        self.gate.counts()
    }

    /// How many sessions are up, those that were replaced and still overlap included.
    pub fn sessions(&self) -> usize {
        self.live.len()
    }

    /// Offers a handshake to a device: the bytes go to it, its answer to [`Handshake::on_answer`].
    /// `path` is what tells one way to the device from another, its endpoint say; failures count
    /// against the device on this path.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub fn begin(
        self: &Arc<Self>,
        device: &DeviceId,
        zone: &ZoneId,
        path: &str,
        now: Timestamp,
    ) -> Result<(Handshake, Vec<u8>), AuthError> {
        let source = Source::new(&[device.as_str().as_bytes(), path.as_bytes()]);
        let session = self.live.newest(device);
        let permit = self.gate.admit(source, session.is_some(), now)?;
        let held = self.held();
        let nonce = random_bytes()?;
        let begin = Message::Begin(Begin {
            nonce,
            held: session.unwrap_or(0),
            suites: OFFER.to_vec(),
            certificate: held.credential.certificate.clone(),
        });
        let begin = begin.encode()?;
        let handshake = Handshake {
            gateway: Arc::clone(self),
            device: device.clone(),
            zone: zone.clone(),
            source,
            made: now,
            nonce,
            prologue: wire::prologue(&held.name, OFFER, &begin),
            held,
            away: false,
            failures: 0,
            state: State::Begun,
            permit: Some(permit),
        };
        Ok((handshake, begin))
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(
        &self,
        kind: AuditKind,
        device: &DeviceId,
        result: AuditResult,
        detail: impl Into<String>,
    ) {
        self.audit.record(AuditEntry {
            kind,
            actor: format!("device:{device}"),
            object: format!("gateway:{}", self.held().name),
            result,
            detail: detail.into(),
        });
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("name", &self.name()).finish_non_exhaustive()
    }
}

const OFFER: &[u16] = &[SUITE];

fn check(
    root: &VerifyingKey,
    credential: GatewayCredential,
    now: Timestamp,
) -> Result<Held, AuthError> {
    let cert = GatewayCert::verify(root, &credential.certificate, now)?;
    if cert.dh != credential.dh.public() {
        return Err(AuthError::WrongKey);
    }
    Ok(Held { credential, name: cert.gateway })
}

/// What the authority must be asked before the handshake can go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthorityNeed {
    /// A token: then [`Handshake::granted`] or [`Handshake::withheld`].
    Token(TokenRequest),
    /// Enrolment: then [`Handshake::enrol_pending`], [`Handshake::enrolled`] or
    /// [`Handshake::withheld`].
    Enrol(Box<EnrolRequest>),
}

/// What to do after an answer of the device.
#[derive(Debug)]
pub enum Step {
    /// Send this to the device and give its answer back.
    Send(Vec<u8>),
    /// Ask the authority; its answer makes the next message.
    Ask(AuthorityNeed),
    /// Nothing more can be done now: begin again later.
    Later,
    /// The device proved who it is. It knows the session already.
    Up(Box<GatewaySession>),
    /// The answer was refused. Begin again later; only where strangers can write on the path is it
    /// worth waiting for a better answer.
    Failed(AuthError),
}

enum State {
    Begun,
    /// The second message is on its way; nothing of this is believed yet.
    Answered(Box<Answered>),
    Over,
}

struct Answered {
    session: Session,
    hash: [u8; 32],
    challenge: [u8; 32],
    claims: TokenClaims,
    sign: VerifyingKey,
}

/// A handshake under way. Dropping it frees all that was kept for it.
pub struct Handshake {
    gateway: Arc<Gateway>,
    held: Arc<Held>,
    device: DeviceId,
    zone: ZoneId,
    source: Source,
    made: Timestamp,
    nonce: [u8; NONCE_BYTES],
    prologue: Vec<u8>,
    away: bool,
    failures: u8,
    state: State,
    permit: Option<Permit>,
}

impl Handshake {
    /// Judges what the device answered.
    pub fn on_answer(&mut self, answer: &[u8], now: Timestamp) -> Step {
        match self.judge(answer, now) {
            Ok(step) => step,
            Err(error) => {
                self.fail(&error, now);
                Step::Failed(error)
            }
        }
    }

    /// The authority has a reason against whoever answers here: the handshake has failed, as if it
    /// had been found here.
    pub fn refused(&mut self, error: &AuthError, now: Timestamp) {
        self.fail(error, now);
        self.end();
    }

    /// What to send when the authority granted a token.
    ///
    /// # Errors
    /// [`AuthError::TooLong`].
    pub fn granted(&mut self, grant: Grant) -> Result<Vec<u8>, AuthError> {
        Message::Granted(grant).encode()
    }

    /// What to send when there is no token now. With [`Withheld::Away`] a token that expired less
    /// than [`GRACE`] ago is good enough for a session that may not command.
    ///
    /// # Errors
    /// None that can happen with these messages.
    pub fn withheld(&mut self, why: Withheld) -> Result<Vec<u8>, AuthError> {
        self.away = why == Withheld::Away;
        Message::Withheld(why).encode()
    }

    /// What to send when somebody must approve the device's keys first.
    ///
    /// # Errors
    /// [`AuthError::TooLong`].
    pub fn enrol_pending(&mut self, fingerprint: &str) -> Result<Vec<u8>, AuthError> {
        Message::EnrolPending(fingerprint.to_owned()).encode()
    }

    /// What to send when the device is enrolled: it will ask for a token.
    ///
    /// # Errors
    /// None that can happen with this message.
    pub fn enrolled(&mut self) -> Result<Vec<u8>, AuthError> {
        Message::Enrolled.encode()
    }

    fn judge(&mut self, answer: &[u8], now: Timestamp) -> Result<Step, AuthError> {
        let over = matches!(self.state, State::Over);
        if over || now.since(self.made) > HANDSHAKE_LIFE || self.failures >= TRIES {
            self.end();
            return Err(AuthError::HandshakeOver);
        }
        let message = match Message::decode(answer) {
            // The version in front of an answer is that of the offer, unless somebody changed it.
            Err(AuthError::Version(_)) => return Err(AuthError::Downgraded),
            other => other?,
        };
        if !message.is_from_device() {
            return Err(AuthError::Reflected);
        }
        match (message, &self.state) {
            (Message::First(first), State::Begun) => self.first(&first, now),
            (Message::First(_), State::Answered(_)) => Err(AuthError::Replayed),
            (Message::Proof { nonce, envelope }, State::Answered(_)) => {
                self.proof(&nonce, envelope, now)
            }
            (Message::NeedToken(request), State::Begun) => {
                self.is_for_us(&request.device)?;
                if request.gateway != self.held.name {
                    return Err(AuthError::WrongAudience);
                }
                Ok(Step::Ask(AuthorityNeed::Token(request)))
            }
            (Message::Enrol(request), State::Begun) => {
                self.is_for_us(&request.device)?;
                if request.zone != self.zone {
                    return Err(AuthError::WrongZone);
                }
                Ok(Step::Ask(AuthorityNeed::Enrol(request)))
            }
            (Message::Noted, State::Begun) => {
                self.end();
                Ok(Step::Later)
            }
            (Message::Refuse { seen, why }, _) => Err(match why {
                Refusal::Version | Refusal::Suite => AuthError::Downgraded,
                _ if seen != VERSION => AuthError::Downgraded,
                why => AuthError::RefusedByDevice(why),
            }),
            _ => Err(AuthError::Unexpected),
        }
    }

    /// The first message: cheap checks, then one key agreement, then the token.
    fn first(&mut self, first: &First, now: Timestamp) -> Result<Step, AuthError> {
        if first.nonce != self.nonce {
            return Err(AuthError::Replayed);
        }
        if first.version != VERSION || first.suites != OFFER {
            return Err(AuthError::Downgraded);
        }
        let credential = &self.held.credential;
        let (responder, dh, payload) =
            noise::Responder::read(&credential.dh, &self.prologue, &first.noise)
                .map_err(|_| AuthError::Altered)?;
        let payload: FirstPayload = wire::take(&payload)?;
        if !OFFER.contains(&payload.suite) {
            return Err(AuthError::Downgraded);
        }
        let claims = self.token(&payload, dh, now)?;
        let sign = VerifyingKey::from_bytes(&payload.sign)?;
        let challenge: [u8; 32] = random_bytes()?;
        let psk = token_psk(&credential.secret, &claims.token_id, &claims.cnf);
        let me = wire::gateway_party(&self.held.name);
        let peer = wire::device_party(self.device.as_str());
        let (noise, established) = responder.answer(&psk, &challenge, me, peer, now)?;
        let second = Message::Second { nonce: self.nonce, noise }.encode()?;
        let noise::Established { session, hash } = established;
        self.state = State::Answered(Box::new(Answered { session, hash, challenge, claims, sign }));
        Ok(Step::Send(second))
    }

    /// The token in the first message, if it is one for this device with these keys, here and now.
    fn token(
        &self,
        payload: &FirstPayload,
        dh: DhPublic,
        now: Timestamp,
    ) -> Result<TokenClaims, AuthError> {
        if payload.token.is_empty() {
            return Err(AuthError::NoToken);
        }
        let grace = if self.away { GRACE } else { Duration::ZERO };
        let root = &self.gateway.root;
        let claims = PwsToken::verify_with_grace(root, &payload.token, now, grace)?;
        self.is_for_us(&claims.device)?;
        if claims.zone != self.zone {
            return Err(AuthError::WrongZone);
        }
        if claims.gateway != self.held.name {
            return Err(AuthError::WrongAudience);
        }
        let sign = VerifyingKey::from_bytes(&payload.sign).map_err(|_| AuthError::WrongKey)?;
        if claims.cnf != (DevicePublic { sign, dh }).cnf() {
            return Err(AuthError::WrongKey);
        }
        // An issuer that another replaced, perhaps because it was stolen, ends before its
        // certificate does. Its key stands in front of what it signed.
        let issuer = payload.token.first_chunk().map(issuer_mark);
        if issuer.is_some_and(|mark| self.gateway.revoked.contains(&mark)) {
            return Err(AuthError::IssuerExpired);
        }
        // Last, so that only the device itself learns that it was revoked.
        if self.gateway.revoked.contains(&claims.cnf) {
            return Err(AuthError::Revoked);
        }
        Ok(claims)
    }

    /// The proof: sealed in the session, so by who holds the token's secret, and signed by the
    /// device's key over this handshake.
    fn proof(
        &mut self,
        nonce: &[u8; NONCE_BYTES],
        envelope: Vec<u8>,
        now: Timestamp,
    ) -> Result<Step, AuthError> {
        let State::Answered(answered) = &mut self.state else { return Err(AuthError::Unexpected) };
        if *nonce != self.nonce {
            return Err(AuthError::Replayed);
        }
        let sealed = Sealed::<[u8]>::from_bytes(envelope)
            .map_err(|_| AuthError::Malformed("the proof is no envelope"))?;
        let plain = answered.session.opener.open_bytes(PROOF, sealed, now);
        let plain = plain.map_err(|_| AuthError::PskMismatch)?;
        let signature: &[u8; SIGNATURE_BYTES] =
            plain.as_slice().try_into().map_err(|_| AuthError::NoPossession)?;
        let signed =
            wire::proof(&answered.hash, &answered.challenge, self.device.as_str(), &self.held.name);
        answered
            .sign
            .verify_strict(&signed, &Signature::from_bytes(signature))
            .map_err(|_| AuthError::NoPossession)?;
        // Time has passed since the first message.
        if self.gateway.revoked.contains(&answered.claims.cnf) {
            return Err(AuthError::Revoked);
        }
        let State::Answered(answered) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(AuthError::Unexpected);
        };
        self.permit = None;
        let Answered { session, claims, .. } = *answered;
        let grace = self.away && now >= claims.expires;
        let gateway = &self.gateway;
        gateway.gate.succeeded(self.source, now);
        if grace {
            let late = now.since(claims.expires).as_secs();
            let detail = format!("token expired {late} s ago, the authority cannot be reached");
            gateway.record(AuditKind::Token, &self.device, AuditResult::Done, detail);
        }
        let revoked = gateway.revoked.clone();
        let session = GatewaySession::new(claims, session, grace, revoked, &gateway.live, now);
        let detail = format!("session {:016x} is up", session.number());
        gateway.record(AuditKind::Session, &self.device, AuditResult::Done, detail);
        Ok(Step::Up(Box::new(session)))
    }

    fn is_for_us(&self, device: &DeviceId) -> Result<(), AuthError> {
        if *device == self.device { Ok(()) } else { Err(AuthError::WrongDevice(device.clone())) }
    }

    fn fail(&mut self, error: &AuthError, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let gateway = &self.gateway;
        let detail = format!("{}: {error}", error.reason_code());
        gateway.record(AuditKind::Session, &self.device, AuditResult::Refused, detail);
        // A refusal proves nothing about who sent it, and a late answer is no attack.
        if matches!(error, AuthError::RefusedByDevice(_) | AuthError::HandshakeOver) {
            return;
        }
        let trusted = gateway.live.newest(&self.device).is_some();
        if let Some(wait) = gateway.gate.failed(self.source, trusted, now) {
            let locked = AuthError::LockedOut(wait);
            let detail = format!("{}: {locked}", locked.reason_code());
            gateway.record(AuditKind::Session, &self.device, AuditResult::Refused, detail);
        }
    }

    fn end(&mut self) {
        self.state = State::Over;
        self.permit = None;
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Begun => "begun",
            State::Answered(_) => "answered",
            State::Over => "over",
        };
        f.debug_struct("Handshake")
            .field("device", &self.device)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
