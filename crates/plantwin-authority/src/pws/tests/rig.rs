//! A plant with an authority in few lines, a gateway and devices, and what goes between them.

use std::{
    cell::Cell,
    sync::{Arc, Mutex},
    time::Duration,
};

use plantwin_model::{AuditEntry, AuditResult, AuditSink, DeviceId, Timestamp};
use plantwin_seal::{DhKey, Lane, Secret, Session, SigningKey, noise, random_bytes};

use crate::{
    AuthError, TOKEN_LIFE,
    pws::{
        Agent, Answer, AuthorityNeed, DeviceIdentity, DeviceKeys, DevicePublic, Gateway,
        GatewayCert, GatewayCredential, GatewaySession, Grant, Handshake, IssuerCert, PwsToken,
        Revoked, Step, TokenClaims, Withheld,
        device::Held,
        wire::{self, First, FirstPayload, Message},
    },
};

pub(super) const START: Timestamp = Timestamp::from_millis(1_000_000_000);
pub(super) const DAY: Duration = Duration::from_hours(24);
pub(super) const GATEWAY: &str = "hall";

/// Kinds of messages, as in byte 4.
pub(super) const BEGIN: u8 = 1;
pub(super) const SECOND: u8 = 6;
pub(super) const FIRST: u8 = 129;
pub(super) const PROOF: u8 = 133;

#[derive(Default)]
pub(super) struct Log(Mutex<Vec<AuditEntry>>);

impl AuditSink for Log {
    fn record(&self, entry: AuditEntry) {
        self.0.lock().unwrap().push(entry);
    }
}

impl Log {
    pub(super) fn all(&self) -> Vec<AuditEntry> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> AuditEntry {
        self.all().pop().expect("an entry")
    }
}

/// Root, issuer and the issuer's certificate.
pub(super) struct Issuer {
    pub(super) root: SigningKey,
    pub(super) key: SigningKey,
    pub(super) cert: Vec<u8>,
}

impl Issuer {
    pub(super) fn new(root: SigningKey) -> Self {
        let key = SigningKey::generate().unwrap();
        let cert = IssuerCert::sign(&root, key.verifying_key(), 1, START, START.plus(30 * DAY));
        Self { root, key, cert: cert.to_bytes().to_vec() }
    }

    pub(super) fn credential(&self, name: &str) -> GatewayCredential {
        let dh = DhKey::generate().unwrap();
        let cert =
            GatewayCert { gateway: name.into(), dh: dh.public(), not_after: START.plus(10 * DAY) };
        let certificate = cert.sign(&self.key, &self.cert).unwrap();
        GatewayCredential { dh, certificate, secret: Secret::random().unwrap() }
    }
}

pub(super) struct Plant {
    pub(super) issuer: Issuer,
    pub(super) credential: GatewayCredential,
    pub(super) gateway: Arc<Gateway>,
    pub(super) revoked: Revoked,
    pub(super) log: Arc<Log>,
    now: Cell<Timestamp>,
}

impl Plant {
    pub(super) fn new() -> Self {
        Self::with_root(SigningKey::generate().unwrap())
    }

    pub(super) fn with_root(root: SigningKey) -> Self {
        let issuer = Issuer::new(root);
        let credential = issuer.credential(GATEWAY);
        let (revoked, log) = (Revoked::default(), Arc::new(Log::default()));
        let gateway = gateway(&issuer, &credential, &revoked, &log);
        Self { issuer, credential, gateway, revoked, log, now: Cell::new(START) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Lets time pass.
    pub(super) fn wait(&self, time: Duration) -> Timestamp {
        self.now.set(self.now().plus(time));
        self.now()
    }

    pub(super) fn identity(&self, device: &str) -> DeviceIdentity {
        DeviceIdentity {
            device: device.into(),
            zone: "field".into(),
            keys: DeviceKeys::generate().unwrap(),
            root: self.issuer.root.verifying_key(),
            voucher: None,
        }
    }

    pub(super) fn claims(&self, device: &DeviceId, public: &DevicePublic) -> TokenClaims {
        TokenClaims {
            token_id: random_bytes().unwrap(),
            device: device.clone(),
            zone: "field".into(),
            gateway: GATEWAY.into(),
            cnf: public.cnf(),
            caps: [3; 32],
            policy_epoch: 1,
            rev_epoch: 0,
            issued: self.now(),
            expires: self.now().plus(TOKEN_LIFE),
        }
    }

    pub(super) fn grant(&self, claims: TokenClaims, public: &DevicePublic) -> Grant {
        let token = PwsToken::issue(&self.issuer.key, &self.issuer.cert, claims).unwrap();
        let GatewayCredential { secret, certificate, .. } = &self.credential;
        Grant::make(&token, secret, &public.dh, certificate).unwrap()
    }

    /// A device with a token of this moment.
    pub(super) fn agent(&self, device: &str) -> Agent {
        let mut agent = Agent::new(self.identity(device));
        self.renew(&mut agent);
        agent
    }

    pub(super) fn renew(&self, agent: &mut Agent) {
        let public = agent.me.keys.public();
        let grant = self.grant(self.claims(agent.device(), &public), &public);
        agent.take(&grant, self.now()).unwrap();
    }

    /// A handshake with tank1, a second after the last one and on a path of its own, so that
    /// nobody is locked out.
    pub(super) fn begin(&self) -> (Handshake, Vec<u8>) {
        let path = self.wait(Duration::from_secs(1)).0.to_string();
        self.gateway.begin(&"tank1".into(), &"field".into(), &path, self.now()).unwrap()
    }

    /// A whole session start with tank1. Token requests are granted to the agent's true key.
    pub(super) fn connect(&self, agent: &mut Agent) -> Result<GatewaySession, AuthError> {
        self.connect_changed(agent, |_, bytes| bytes)
    }

    /// As [`Self::connect`], each message changed on its way.
    pub(super) fn connect_changed(
        &self,
        agent: &mut Agent,
        mut change: impl FnMut(u8, Vec<u8>) -> Vec<u8>,
    ) -> Result<GatewaySession, AuthError> {
        let (mut handshake, begin) = self.begin();
        let mut question = begin;
        for _ in 0..6 {
            let answer = ask(agent, &change(question[4], question), self.now());
            question = match handshake.on_answer(&change(answer[4], answer), self.now()) {
                Step::Send(bytes) => bytes,
                Step::Ask(AuthorityNeed::Token(request)) => {
                    let public = agent.me.keys.public();
                    request.verify(&public, GATEWAY, self.now()).unwrap();
                    let grant = self.grant(self.claims(&request.device, &public), &public);
                    handshake.granted(grant).unwrap()
                }
                Step::Up(session) => return Ok(*session),
                Step::Failed(error) => return Err(error),
                other => panic!("{other:?}"),
            };
        }
        panic!("no end");
    }

    /// As [`Self::connect`], while the authority cannot be reached.
    pub(super) fn connect_alone(&self, agent: &mut Agent) -> Result<GatewaySession, AuthError> {
        let (mut handshake, mut question) = self.begin();
        for _ in 0..6 {
            let answer = ask(agent, &question, self.now());
            question = match handshake.on_answer(&answer, self.now()) {
                Step::Send(bytes) => bytes,
                Step::Ask(_) => handshake.withheld(Withheld::Away).unwrap(),
                Step::Up(session) => return Ok(*session),
                Step::Failed(error) => return Err(error),
                other @ Step::Later => panic!("{other:?}"),
            };
        }
        panic!("no end");
    }

    /// What a thief can try with these keys, this token and this secret: the gateway's verdict.
    pub(super) fn attack(&self, thief: &Thief) -> AuthError {
        let (mut handshake, begin) = self.begin();
        let error = thief.attack(&mut handshake, &begin, self.now());
        self.assert_refused(&error);
        drop(handshake);
        assert_eq!((self.gateway.counts().half_open, self.gateway.sessions()), (0, 0));
        error
    }

    /// The last thing that was audited is this refusal, or the lock-out that followed from it.
    pub(super) fn assert_refused(&self, error: &AuthError) {
        let mut all = self.log.all();
        let follows = |entry: &AuditEntry| entry.detail.starts_with("locked_out");
        if !matches!(error, AuthError::LockedOut(_)) && all.last().is_some_and(follows) {
            all.pop();
        }
        let last = all.pop().expect("an entry");
        let code = format!("{}: ", error.reason_code());
        assert_eq!(last.result, AuditResult::Refused, "{last:?}");
        assert!(last.detail.starts_with(&code), "{last:?} is not {code}");
        assert_eq!((&*last.actor, &*last.object), ("device:tank1", "gateway:hall"));
    }
}

pub(super) fn gateway(
    issuer: &Issuer,
    credential: &GatewayCredential,
    revoked: &Revoked,
    log: &Arc<Log>,
) -> Arc<Gateway> {
    let sink: Arc<dyn AuditSink> = log.clone();
    let root = issuer.root.verifying_key();
    Gateway::new(root, credential.clone(), revoked.clone(), sink, START).unwrap()
}

/// The device's answer, which must not be a question to its owner.
pub(super) fn ask(agent: &mut Agent, question: &[u8], now: Timestamp) -> Vec<u8> {
    match agent.on_exchange(question, now) {
        Answer::Send { bytes, .. } => bytes,
        request @ Answer::Request { .. } => panic!("{request:?}"),
    }
}

/// Whoever tries to begin a session with what it could get hold of.
pub(super) struct Thief {
    /// Its keys: `dh` shakes hands, `sign` signs.
    pub(super) keys: DeviceKeys,
    /// The signing key that it claims to have.
    pub(super) claimed: DevicePublic,
    pub(super) token: Vec<u8>,
    pub(super) psk: Secret,
    pub(super) suite: u16,
}

impl Thief {
    /// Somebody with everything that `agent` has: the control of the experiments.
    pub(super) fn of(agent: &Agent) -> Self {
        let Held { token, psk, .. } = agent.grant.clone().unwrap();
        let keys = agent.me.keys.clone();
        let claimed = keys.public();
        Self { keys, claimed, token, psk, suite: wire::SUITE }
    }

    /// Tries as far as it gets; whatever it cannot make it makes up.
    fn attack(&self, handshake: &mut Handshake, begin: &[u8], now: Timestamp) -> AuthError {
        let (mut noise, first) = self.first(begin);
        let second = match handshake.on_answer(&first, now) {
            Step::Send(second) => second,
            Step::Failed(error) => return error,
            other => panic!("{other:?}"),
        };
        let proof = self.proof(&mut noise, &second, now);
        match handshake.on_answer(&proof, now) {
            Step::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn first(&self, begin: &[u8]) -> (noise::Initiator, Vec<u8>) {
        let Ok(Message::Begin(offer)) = Message::decode(begin) else { panic!("no begin") };
        // The name and key of the gateway, as everybody can read them.
        let cert: GatewayCert =
            wire::take(&offer.certificate[120..offer.certificate.len() - 64]).unwrap();
        let payload = FirstPayload {
            suite: self.suite,
            nonce: random_bytes().unwrap(),
            sign: *self.claimed.sign.as_bytes(),
            token: self.token.clone(),
        };
        let payload = postcard::to_stdvec(&payload).unwrap();
        let prologue = wire::prologue(&cert.gateway, &offer.suites, begin);
        let (noise, message) =
            noise::Initiator::start(&self.keys.dh, &cert.dh, &prologue, &self.psk, &payload)
                .unwrap();
        let (nonce, suites) = (offer.nonce, offer.suites);
        let first = First { nonce, version: wire::VERSION, suites, noise: message };
        (noise, Message::First(first).encode().unwrap())
    }

    /// The proof with its own signing key, or a made-up one if it cannot finish the handshake.
    pub(super) fn proof(
        &self,
        noise: &mut noise::Initiator,
        second: &[u8],
        now: Timestamp,
    ) -> Vec<u8> {
        let Ok(Message::Second { nonce, noise: second }) = Message::decode(second) else {
            panic!("no second")
        };
        let (me, peer) = (wire::device_party("tank1"), wire::gateway_party(GATEWAY));
        let (mut session, content) =
            if let Ok((challenge, established)) = noise.finish(&second, me, peer, now) {
                let challenge = challenge.try_into().unwrap();
                let signed = wire::proof(&established.hash, &challenge, "tank1", GATEWAY);
                (established.session, self.keys.sign.sign(&signed).to_bytes())
            } else {
                let secret = Secret::random().unwrap();
                (Session::pair(&secret, me, peer, now).unwrap().0, [0; 64])
            };
        let sealed =
            session.sealer.seal_bytes(wire::PROOF, &content, Lane::Command, None, now).unwrap();
        let envelope = sealed.into_bytes();
        Message::Proof { nonce, envelope }.encode().unwrap()
    }
}
