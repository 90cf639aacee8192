//! The line's end of its device's session: it has the device prove who it is, holds the keys,
//! begins anew in time, opens what the device sealed and seals what is asked of it.
//!
//! The keys live here and nowhere else, and are good for nothing but opening when the connection is
//! gone: after any restart there is a new handshake, and what was under way before it still opens
//! for a moment. What is evidence against the device is told to the twin, which judges it. Of a
//! confined device what opens its envelopes is kept until the session's end, so that what it says
//! reaches the twin, which marks it; what could ask it for anything is not. Whatever an envelope
//! held that nobody opened is counted.
//! Absent: carrying bytes (adapters), the handshake itself (`plantwin_authority::pws`).

mod evidence;
mod proof;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use plantwin_adapter::{Connection, Frame, Sample};
use plantwin_authority::{
    AuthError,
    native::{self, NativeAnswer, NativeFrame, NativeRequest},
    pws::{CHAIN, GatewaySession, OVERLAP, Purpose},
};
use plantwin_field::NativeDevice;
use plantwin_model::{Clock, DeviceId, DeviceSpec, Identity, PointIx, Timestamp, TwinType, ZoneId};
use plantwin_seal::{OriginDigest, SealError};
use plantwin_twin::{SessionMail, Taken};
use tokio::time::Instant;

pub(super) use evidence::Evidence;
use proof::{ASK_AGAIN, Proof, Refusal, Subject, prove};

use crate::{origin::Origins, trust::Trust};

/// A session is begun anew when this share of its life is over.
const RENEW_AT: f64 = 0.5;
/// What a proof may take.
const PROOF_TIME: Duration = Duration::from_secs(5);
/// Envelopes that are kept while the proof is under way: as many as a line of durable delivery may
/// have unconfirmed.
const EARLY: usize = plantwin_twin::MAX_RECEIPTS;

/// The device said so often in a row that it has no session that it has lost the one we know.
/// Once is not enough: the word may have been overtaken by the session.
const FORGOTTEN: u32 = 2;

/// Keys of an open session, shared with what is under way to the device.
pub(super) type Keys = Arc<Mutex<GatewaySession>>;

/// Values out of an envelope.
#[derive(Clone, Debug)]
pub(super) struct OpenedFrame {
    pub(super) frame: Frame,
    pub(super) origin: Vec<Option<OriginDigest>>,
    /// Sealed in a session before the one that is up.
    pub(super) replaced: bool,
}

impl From<Frame> for OpenedFrame {
    /// Of values that came in the open.
    fn from(frame: Frame) -> Self {
        Self { frame, origin: Vec::new(), replaced: false }
    }
}

/// What became of an envelope.
#[derive(Debug)]
pub(super) enum Unsealed {
    /// Values came out of it.
    Opened(OpenedFrame),
    /// The keys are being agreed on: it waits, and is nobody's yet.
    Waits,
    /// Nobody will ever open it, or nobody should believe it.
    Never,
}

/// An envelope that waits for the keys.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) received: Timestamp,
    pub(super) envelope: Vec<u8>,
    pub(super) receipt: Option<u64>,
}

/// The session of one line.
pub(super) struct DeviceSession {
    trust: Option<Trust>,
    device: DeviceId,
    zone: ZoneId,
    identity: Identity,
    clock: Arc<dyn Clock>,
    kind: Arc<TwinType>,
    layout: [u8; 8],
    keys: Option<Keys>,
    /// Those of the connection before: what a broker holds for us was sealed with them.
    past: Option<Keys>,
    /// Keys that were revoked: good for telling the device to be safe, until it proves itself anew.
    last_word: Option<Keys>,
    /// What the confined device's envelopes open with; for nothing else once it was told to be
    /// safe.
    ear: Option<Keys>,
    /// Hash of the keys that the device proved.
    cnf: Option<[u8; 32]>,
    proof: Option<Proof>,
    /// Words in a row of the device that it waits for a session.
    waiting: u32,
    /// It said so again and again.
    waits: bool,
    /// When it was asked last.
    asked: Option<Instant>,
    ask_at: Option<Instant>,
    early: VecDeque<Early>,
    /// Receipts of envelopes that nobody will open any more.
    lost: Vec<u64>,
    /// Envelopes whose values nobody took and nobody will, not told yet.
    shed: u64,
    /// What the device said before its next session is not wanted: it was confined, and has not
    /// heard so.
    discard: Arc<AtomicBool>,
    pub(super) evidence: Evidence,
    confined: bool,
}

impl DeviceSession {
    /// Without `trust` nobody is asked to prove anything.
    pub(super) fn new(
        trust: Option<Trust>,
        device: &DeviceSpec,
        zone: ZoneId,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            trust,
            device: device.id.clone(),
            zone,
            identity: device.identity,
            clock,
            kind: Arc::clone(&device.kind),
            layout: native::layout(&device.kind.points),
            keys: None,
            past: None,
            last_word: None,
            ear: None,
            cnf: None,
            proof: None,
            waiting: 0,
            waits: false,
            asked: None,
            ask_at: None,
            early: VecDeque::new(),
            lost: Vec::new(),
            shed: 0,
            discard: Arc::default(),
            evidence: Evidence::default(),
            confined: false,
        }
    }

    /// Whether the device speaks in sealed envelopes only.
    pub(super) fn is_sealed(&self) -> bool {
        self.identity == Identity::Native
    }

    /// The device's layout, for what is asked of it.
    pub(super) const fn layout(&self) -> [u8; 8] {
        self.layout
    }

    /// The keys to seal a request with: `Ok(None)` for a device that is asked in the open.
    pub(super) fn keys(&self) -> Result<Option<Keys>, &'static str> {
        match (&self.keys, self.is_sealed()) {
            (Some(keys), true) => Ok(Some(Arc::clone(keys))),
            (None, true) => Err("the device's session is not open"),
            (_, false) => Ok(None),
        }
    }

    /// Whether the device is to let go of what it said before its session, until it heard so.
    pub(super) fn discard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.discard)
    }

    /// The keys to have the device brought to its safe state with, revoked or not.
    pub(super) fn safety_keys(&self) -> Result<Option<Keys>, &'static str> {
        self.keys().or_else(|why| self.last_word.clone().map(Some).ok_or(why))
    }

    /// A connection to a device that is free is up: it is asked who it is. It may have been let go
    /// while there was none.
    pub(super) fn begin(&mut self, connection: &Connection) {
        self.confined = false;
        self.end();
        self.ask(connection);
    }

    /// The device's key was revoked. Whether it has another or goes on using this one is found by
    /// asking at once.
    pub(super) fn revoke(&mut self, connection: &Connection) {
        let keys = self.keys.take();
        self.begin(connection);
        self.past = None;
        self.last_word = keys;
    }

    /// The device was confined and let go meanwhile: what it said by then is not to be believed.
    pub(super) fn forget_past(&mut self) {
        self.past = None;
        self.discard.store(true, Relaxed);
    }

    /// Nothing comes any more of what was sealed before: the device says it again.
    pub(super) fn nothing_held(&mut self) {
        abandon(self.past.take());
    }

    /// Whether the device says that it waits, though there is a session.
    pub(super) fn take_waiting(&mut self) -> bool {
        std::mem::take(&mut self.waits)
    }

    /// Forgets keys that open what a device said once their session is over: it may stay away, or
    /// confined, for good.
    pub(super) fn retire(&mut self, now: Timestamp) {
        self.ear.take_if(|keys| now >= lock(keys).expires());
        if self.proof.is_none() {
            self.past.take_if(|keys| now >= lock(keys).expires());
        }
    }

    /// The connection is gone. The keys are left until the next proof, to open what the device sent
    /// before and a broker delivers later; nothing is asked of anybody with them.
    pub(super) fn end(&mut self) {
        if let Some(keys) = self.keys.take() {
            lock(&keys).ask_no_more();
            self.past = Some(keys);
        }
        (self.cnf, self.proof, self.ask_at) = (None, None, None);
        self.last_word = None;
        if let Some(ear) = &self.ear {
            lock(ear).ask_no_more();
        }
        self.ear.take_if(|_| !self.confined);
        self.waiting = 0;
        // Those with a receipt come again, to whoever takes them then.
        self.shed += self.early.drain(..).filter(|early| early.receipt.is_none()).count() as u64;
        self.lost.clear();
    }

    /// The device is confined, or free again. Until [`Self::ask_no_more`] the keys are good for
    /// the request about safety that is under way.
    pub(super) fn confine(&mut self, confined: bool, connection: Option<&Connection>) {
        self.confined = confined;
        self.give_up_early();
        let lost = self.take_lost();
        let ear = self.keys.take().or(self.last_word.take()).or(self.ear.take());
        // It may have been confined while no path was up.
        let ear = ear.or(self.past.take());
        self.end();
        self.past = None;
        self.discard.store(true, Relaxed);
        self.lost = lost;
        self.ear = ear.filter(|_| confined && self.is_sealed());
        self.evidence = Evidence::default();
        if let (false, Some(connection)) = (confined, connection) {
            self.ask(connection);
        }
    }

    /// The confined device was told to be safe, or cannot be: what asks it for anything is dropped.
    pub(super) fn ask_no_more(&self) {
        if let Some(ear) = &self.ear {
            lock(ear).ask_no_more();
        }
    }

    fn ask(&mut self, connection: &Connection) {
        self.ask_at = None;
        if self.confined || self.identity == Identity::Plain {
            return;
        }
        // Of a session that is over nothing opens here: the device must not think that it goes on.
        // Nor with too little left for what a broker holds, or for the proof, or with too many
        // sessions before it: then the device rather says it again.
        let now = self.clock.now();
        abandon(self.past.take_if(|keys| {
            let keys = lock(keys);
            now.plus(OVERLAP) >= keys.expires() || keys.chain() + 1 >= CHAIN
        }));
        abandon(self.keys.take_if(|keys| now.plus(PROOF_TIME) >= lock(keys).expires()));
        if let Some(trust) = &self.trust {
            let subject = Subject {
                device: self.device.clone(),
                zone: self.zone.clone(),
                control: Arc::clone(&connection.control),
                path: connection.endpoint.clone(),
                clock: Arc::clone(&self.clock),
            };
            self.proof = Some(prove(trust, subject));
            self.asked = Some(Instant::now());
        }
    }

    /// Waits for what is to be done next. Cancel safe.
    pub(super) async fn due(&mut self) -> Due {
        match (&mut self.proof, self.ask_at) {
            (Some(proof), _) => Due::Proved(pin!(proof).await),
            (None, Some(at)) => {
                tokio::time::sleep_until(at).await;
                Due::Ask
            }
            (None, None) => std::future::pending().await,
        }
    }

    /// Does what was due; what the twin must know of it.
    pub(super) fn on_due(&mut self, due: Due, connection: &Connection) -> Option<SessionMail> {
        let now = self.clock.now();
        let wall = |plant: Duration| plant.div_f64(self.clock.speed().max(1e-6));
        let result = match due {
            Due::Ask => {
                self.ask(connection);
                return None;
            }
            Due::Proved(result) => result,
        };
        self.proof = None;
        Some(match result {
            Ok(mut session) => {
                let expires = session.expires();
                // What is on its way under the keys before these still opens for a while, also
                // while a request that is under way holds them.
                if let Some(old) = self.keys.take().or(self.past.take()) {
                    // Both are of this device: we asked it.
                    let _ = session.replaces(&old, now);
                }
                (self.past, self.cnf) = (None, Some(session.claims().cnf));
                self.keys = Some(Arc::new(Mutex::new(*session)));
                (self.last_word, self.waiting) = (None, 0);
                self.ask_at = Some(Instant::now() + wall(expires.since(now)).mul_f64(RENEW_AT));
                self.evidence.proved();
                SessionMail::Open { expires, sealed: self.is_sealed() }
            }
            Err(refusal) => {
                let Refusal { code, reason, again } = refusal;
                self.ask_at = again.map(|wait| Instant::now() + wait);
                self.give_up_early();
                self.evidence.refused(code);
                SessionMail::Refused { reason, again: again.is_some() }
            }
        })
    }

    /// The authority's list of revoked keys is now this: whether the session must end.
    pub(super) fn is_revoked(&self, revoked: impl Fn(&[u8; 32]) -> bool) -> bool {
        self.cnf.as_ref().is_some_and(revoked)
    }

    /// The keys that would have opened what waits will never be known here.
    fn give_up_early(&mut self) {
        self.shed += self.early.len() as u64;
        self.lost.extend(self.early.drain(..).filter_map(|early| early.receipt));
    }

    /// Receipts of what nobody will open any more: to be confirmed, or the device would wait for
    /// them for ever.
    pub(super) fn take_lost(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.lost)
    }

    /// How many envelopes were let go, their values untaken, since this was asked last.
    pub(super) fn take_shed(&mut self) -> u64 {
        std::mem::take(&mut self.shed)
    }

    /// What waited for the keys.
    pub(super) fn take_early(&mut self) -> Vec<Early> {
        if self.keys.is_none() { Vec::new() } else { self.early.drain(..).collect() }
    }

    /// Opens an envelope, or keeps it until there are keys. Of more than can be kept the oldest are
    /// let go, and never confirmed: who counts on it sends them again.
    pub(super) fn open(&mut self, envelope: Early, now: Timestamp) -> Unsealed {
        if envelope.envelope == NativeDevice::WAITING {
            self.on_waiting();
            return Unsealed::Never;
        }
        if self.keys.is_none() && self.proof.is_some() {
            if self.early.len() >= EARLY {
                self.early.pop_front();
                self.shed += 1;
            }
            self.early.push_back(envelope);
            return Unsealed::Waits;
        }
        match self.unseal(&envelope.envelope, now) {
            Ok((bytes, replaced)) => {
                let opened = self.read(&bytes, envelope.received);
                let opened = opened.map(|opened| OpenedFrame { replaced, ..opened });
                self.shed += u64::from(opened.is_none());
                opened.map_or(Unsealed::Never, Unsealed::Opened)
            }
            Err(error) => {
                tracing::debug!(device = %self.device, "failed to open an envelope: {error}");
                // What was opened before is lost to nobody: it is known to whoever opened it.
                self.shed += u64::from(!matches!(error, AuthError::Seal(SealError::Replay(_))));
                if is_forgery(&error) {
                    self.evidence.forged(now);
                }
                Unsealed::Never
            }
        }
    }

    /// With the keys of the session, or, of a confined device, with what is left of them.
    fn unseal(&self, envelope: &[u8], now: Timestamp) -> Result<(Vec<u8>, bool), AuthError> {
        let opened = match (&self.keys, &self.ear) {
            (Some(keys), _) => lock(keys).open_telemetry(envelope, now),
            (None, Some(ear)) => lock(ear).open_unbelieved(envelope, now),
            (None, None) => Err(AuthError::NoSession),
        };
        opened.map(|telemetry| (telemetry.payload, telemetry.replaced))
    }

    /// The values in a genuine envelope, if they are such that they may be passed on.
    fn read(&mut self, bytes: &[u8], received: Timestamp) -> Option<OpenedFrame> {
        self.waiting = 0;
        let frame: Option<NativeFrame> = native::from_bytes(bytes);
        let Some(frame) = frame.filter(|f| f.samples.len() <= native::SAMPLES_LIMIT) else {
            self.evidence.unreadable("its sealed values cannot be read");
            return None;
        };
        if frame.layout != self.layout {
            self.evidence.unreadable(
                "its twin type has other points or units than ours: give it the same type",
            );
            return None;
        }
        if let Some(why) = self.misfit(&frame).map(untrue) {
            self.evidence.misfit(why);
            return None;
        }
        let origin = frame.samples.iter().map(|s| s.origin).collect();
        let sample = |s: &native::NativeSample| Sample {
            point: s.point,
            value: s.value,
            quality: s.quality,
            source_time: Some(s.source_time),
        };
        let samples = frame.samples.iter().map(sample).collect();
        let frame = Frame { received, sequence: Some(frame.sequence), samples };
        Some(OpenedFrame { frame, origin, replaced: false })
    }

    /// The device says that it has no session. Where we think there is one, it began anew so fast
    /// that its connection did not break. Anybody may have said so: it costs a handshake in ten
    /// seconds at the most, and the session holds until there is another.
    fn on_waiting(&mut self) {
        self.waiting = self.waiting.saturating_add(1);
        if self.waiting == FORGOTTEN && self.keys.is_some() && self.proof.is_none() {
            self.waits = true;
            let now = Instant::now();
            self.ask_at = Some(self.asked.map_or(now, |asked| now.max(asked + ASK_AGAIN)));
        }
    }

    /// A point whose value is not what the device's own digest says.
    fn misfit(&self, frame: &NativeFrame) -> Option<&str> {
        let authority = &*self.trust.as_ref()?.authority;
        let (device, points) = (&self.device, &*self.kind.points);
        Origins { authority, device, points }.misfit(frame)
    }
}

/// What is held against a device whose value of this point does not fit its digest.
fn untrue(point: &str) -> String {
    format!("a value of {point} is not what the device said")
}

/// Longest time that a command may take to a device: one that somebody held back for longer is
/// refused there. More than all waits for its answer, and than the two ends of a handshake differ.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(10);

/// A sealed word of what was received, and its number, for [`opened`].
///
/// # Errors
/// As [`sealed`].
pub(super) fn sealed_word(
    keys: &Keys,
    taken: Option<Taken>,
    discard: bool,
    now: Timestamp,
) -> Result<(u64, Vec<u8>), String> {
    let after = taken.map(|taken| (taken.sequence, taken.print));
    let request = NativeRequest::Received { after, discard };
    lock(keys)
        .seal_request(Purpose::Read, &native::to_bytes(&request), now)
        .map_err(|e| format!("failed to {e}"))
}

/// A sealed request to write, and its number, for [`opened`].
///
/// # Errors
/// Why the session does not allow it, as a lowercase fragment.
pub(super) fn sealed(
    keys: &Keys,
    purpose: Purpose,
    layout: [u8; 8],
    writes: Vec<(PointIx, f64)>,
    clock: &dyn Clock,
) -> Result<(u64, Vec<u8>), String> {
    let now = clock.now();
    let mut keys = lock(keys);
    let request = if purpose == Purpose::Safety {
        NativeRequest::MakeSafe { layout, writes }
    } else {
        // Networks do not run faster with the plant's clock.
        let within = CARRIED_OUT_WITHIN.mul_f64(clock.speed().max(1.0));
        let until = now.since(keys.started()).saturating_add(within);
        NativeRequest::Write { layout, until, writes }
    };
    keys.seal_request(purpose, &native::to_bytes(&request), now)
        .map_err(|e| format!("failed to {e}"))
}

/// What a device answered to the request of this number.
///
/// # Errors
/// Why it cannot be believed, as a lowercase fragment.
pub(super) fn opened(
    keys: &Keys,
    number: u64,
    answer: &[u8],
    now: Timestamp,
) -> Result<NativeAnswer, String> {
    let plain = lock(keys).open_answer(number, answer, now);
    let plain = plain.map_err(|e| format!("failed to {e}"))?;
    native::from_bytes(&plain).ok_or_else(|| "the device's answer cannot be read".to_owned())
}

/// What is due next.
pub(super) enum Due {
    /// The device is to be asked again.
    Ask,
    /// The proof has ended.
    Proved(Result<Box<GatewaySession>, Refusal>),
}

/// Whether an envelope was made or altered by somebody without the keys.
fn is_forgery(error: &AuthError) -> bool {
    matches!(error, AuthError::Seal(SealError::Tag))
}

/// Whatever request under way still holds them.
fn abandon(keys: Option<Keys>) {
    if let Some(keys) = keys {
        lock(&keys).abandon();
    }
}

fn lock(keys: &Keys) -> MutexGuard<'_, GatewaySession> {
    // Nothing that runs under the lock can leave the counters half moved.
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}
