//! The gateway's end of a session that is up, and what may still be done with it.
//!
//! A session is renewed after ten minutes at the latest and refused after fifteen, with everything
//! sealed in it; sooner when its token expires or its keys are revoked. While the authority cannot
//! be reached a token is honoured for [`GRACE`] longer, for reading and telemetry alone. Every use
//! checks all that, so that a revocation is effective at once.
//!
//! **Renewal without a gap**: a new session takes over the old one ([`GatewaySession::replaces`]),
//! whose telemetry still opens until that one's own end: a broker delivers later what was sealed in
//! time. The header of an envelope names its session. What
//! was asked in the old one and is not answered yet still holds it, so it is shared, not handed over.
//! Absent: which commands are allowed (the policy decides), queues, audit.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plantwin_model::{DeviceId, Timestamp};
use plantwin_seal::{Lane, Opener, SealError, Sealed, Sealer, Session};

use super::{
    Revoked, TokenClaims,
    wire::{ANSWER, Message, REQUEST, TELEMETRY},
};
use crate::AuthError;

/// A new handshake is due after this long.
pub const RENEW_AFTER: Duration = Duration::from_mins(10);
/// Nothing is accepted any more after this long.
pub const SESSION_LIFE: Duration = Duration::from_mins(15);
/// How long an expired token is honoured while the authority cannot be reached.
pub const GRACE: Duration = Duration::from_hours(1);
/// How long what was asked in a session that was replaced may still be answered, and what a session
/// must have left so that a broker can deliver what was sealed in it.
pub const OVERLAP: Duration = Duration::from_secs(30);
/// Sessions before one that still open: a link that breaks more often than this within a session's
/// life costs what its broker held back.
pub const CHAIN: usize = 8;
/// A session is renewed this long before its token expires.
const TOKEN_MARGIN: Duration = Duration::from_mins(1);
/// And not before it is this old: also how often it is tried whether the authority is back.
const RENEW_FIRST: Duration = Duration::from_secs(30);

/// What a request asks of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To tell something.
    Read,
    /// To do something.
    Command,
    /// To do what the plant lists as a local safety command: goes on when a command does not.
    Safety,
}

/// What a device reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telemetry {
    /// The promise that it travelled under.
    pub lane: Lane,
    /// Its place in the device's order within the session.
    pub sequence: u64,
    /// It was sealed in a session that another took over from.
    pub replaced: bool,
    /// What it said.
    pub payload: Vec<u8>,
}

/// Which sessions there are, so that failures of others do not touch them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live(Arc<Mutex<BTreeMap<DeviceId, Vec<u64>>>>);

impl Live {
    fn table(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Vec<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, device: &DeviceId, session: u64) -> Entered {
        self.table().entry(device.clone()).or_default().push(session);
        Entered { live: self.clone(), device: device.clone(), session, left: false }
    }

    /// The newest session of a device.
    pub(crate) fn newest(&self, device: &DeviceId) -> Option<u64> {
        self.table().get(device).and_then(|sessions| sessions.last().copied())
    }

    pub(crate) fn len(&self) -> usize {
        self.table().values().map(Vec::len).sum()
    }
}

/// An entry among the sessions that are up; leaves when dropped.
#[derive(Debug)]
struct Entered {
    live: Live,
    device: DeviceId,
    session: u64,
    left: bool,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Entered {
    fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let mut table = self.live.table();
        if let Some(sessions) = table.get_mut(&self.device) {
            if let Some(place) = sessions.iter().position(|number| *number == self.session) {
                sessions.remove(place);
            }
            if sessions.is_empty() {
                table.remove(&self.device);
            }
        }
    }
}

/// A session that another took over from.
struct Replaced {
    session: Arc<Mutex<GatewaySession>>,
    /// From when on nothing may be asked in it any more.
    quiet: Timestamp,
    /// From when on nothing opens any more.
    until: Timestamp,
}

/// A session with a device that proved who it is.
pub struct GatewaySession {
    claims: TokenClaims,
    started: Timestamp,
    grace: bool,
    /// None once nothing more may be asked in it.
    sealer: Option<Sealer>,
    opener: Opener,
    revoked: Revoked,
    previous: Option<Replaced>,
    /// The newest request for safety's sake.
    last_word: Option<u64>,
    entered: Entered,
}

impl GatewaySession {
    pub(crate) fn new(
        claims: TokenClaims,
        session: Session,
        grace: bool,
        revoked: Revoked,
        live: &Live,
        now: Timestamp,
    ) -> Self {
        let entered = live.enter(&claims.device, session.sealer.session());
        Self {
            claims,
            started: now,
            grace,
            sealer: Some(session.sealer),
            opener: session.opener,
            revoked,
            previous: None,
            last_word: None,
            entered,
        }
    }

    /// The device.
    pub const fn device(&self) -> &DeviceId {
        &self.claims.device
    }

    /// What the device's token says.
    pub const fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// The session's number, as it stands in each header.
    pub const fn number(&self) -> u64 {
        self.entered.session
    }

    /// When it was begun.
    pub const fn started(&self) -> Timestamp {
        self.started
    }

    /// Whether the token was taken beyond its end because the authority could not be reached.
    pub const fn is_grace(&self) -> bool {
        self.grace
    }

    /// From when on nothing is accepted any more.
    pub fn expires(&self) -> Timestamp {
        let token = if self.grace { self.claims.expires.plus(GRACE) } else { self.claims.expires };
        self.started.plus(SESSION_LIFE).min(token)
    }

    /// From when on [`Purpose::Command`] is refused.
    pub fn commands_until(&self) -> Timestamp {
        self.expires().min(self.claims.expires)
    }

    /// Whether a new handshake is due: early enough that the new session is up before this ends.
    pub fn needs_handshake(&self, now: Timestamp) -> bool {
        let left = self.claims.expires.since(self.started).saturating_sub(TOKEN_MARGIN);
        now.since(self.started) >= left.clamp(RENEW_FIRST, RENEW_AFTER)
    }

    /// Whether the session may still be used at all, and forgets the one before it in time. Ask
    /// every second at least: a session that nobody uses ends by this alone.
    ///
    /// # Errors
    /// [`AuthError::Revoked`], [`AuthError::SessionOver`].
    pub fn check(&mut self, now: Timestamp) -> Result<(), AuthError> {
        if self.revoked.contains(&self.claims.cnf) {
            return Err(AuthError::Revoked);
        }
        self.check_time(now)
    }

    /// The same, whatever became of the device's key.
    fn check_time(&mut self, now: Timestamp) -> Result<(), AuthError> {
        self.forget(now);
        if now >= self.expires() {
            return Err(AuthError::SessionOver);
        }
        Ok(())
    }

    /// Lets go of what the sessions before this one are not good for any more.
    fn forget(&mut self, now: Timestamp) {
        self.previous.take_if(|before| now >= before.until);
        if let Some(before) = &self.previous {
            let mut old = lock(&before.session);
            old.forget(now);
            if now >= before.quiet {
                old.ask_no_more();
            }
        }
    }

    /// Takes over from `old`, the session before it with the same device.
    ///
    /// # Errors
    /// [`AuthError::WrongDevice`].
    pub fn replaces(&mut self, old: &Arc<Mutex<Self>>, now: Timestamp) -> Result<(), AuthError> {
        let mut before = lock(old);
        if before.claims.device != self.claims.device {
            return Err(AuthError::WrongDevice(before.claims.device.clone()));
        }
        // What opens by the one before still does for the rest of its time: links may break often.
        before.forget(now);
        before.cut(CHAIN - 1);
        let (quiet, until) = (now.plus(OVERLAP), before.expires());
        let over = now >= until;
        self.previous = (!over).then(|| Replaced { session: Arc::clone(old), quiet, until });
        Ok(())
    }

    /// Nobody will open anything with this session or one before it any more, whoever else holds it:
    /// the device must not go on in it.
    pub fn abandon(&mut self) {
        self.sealer = None;
        self.previous = None;
        self.entered.leave();
    }

    /// Sessions before this one that still open.
    pub fn chain(&self) -> usize {
        self.previous.as_ref().map_or(0, |before| 1 + lock(&before.session).chain())
    }

    /// Lets go of all sessions before this one but the last `keep`.
    fn cut(&mut self, keep: usize) {
        match &self.previous {
            Some(before) if keep > 0 => lock(&before.session).cut(keep - 1),
            _ => self.previous = None,
        }
    }

    /// Forgets the keys that requests are sealed with, also those of the session before it. What
    /// the device says still opens until the session's end.
    pub fn ask_no_more(&mut self) {
        self.sealer = None;
        if let Some(before) = &self.previous {
            lock(&before.session).ask_no_more();
        }
    }

    /// A request to send to the device, and its number for [`Self::open_answer`]. The device knows
    /// whether it comes in its turn and how old the session is then; a command should say how old
    /// it may be. A device whose key was revoked is still told to be safe, and nothing else.
    ///
    /// # Errors
    /// As [`Self::check`]; [`AuthError::GraceOnly`]; [`AuthError::NoSession`] after
    /// [`Self::ask_no_more`]; [`AuthError::TooLong`] for more than one exchange carries.
    pub fn seal_request(
        &mut self,
        purpose: Purpose,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<(u64, Vec<u8>), AuthError> {
        let safety = purpose == Purpose::Safety;
        if safety {
            self.check_time(now)?;
        } else {
            self.check(now)?;
        }
        if purpose == Purpose::Command && now >= self.claims.expires {
            return Err(AuthError::GraceOnly);
        }
        let sealer = self.sealer.as_mut().ok_or(AuthError::NoSession)?;
        let sealed = sealer.seal_bytes(REQUEST, payload, Lane::Command, None, now)?;
        let number = sealed.header().sequence;
        if safety {
            self.last_word = Some(number);
        }
        Ok((number, Message::Request(sealed.into_bytes()).encode()?))
    }

    /// The device's answer to the request with this number, and to no other.
    ///
    /// # Errors
    /// As [`Self::check`]; [`AuthError::RefusedByDevice`], [`AuthError::Replayed`] for the answer to
    /// another request; [`AuthError::Seal`] for one that does not open.
    pub fn open_answer(
        &mut self,
        number: u64,
        answer: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, AuthError> {
        if self.last_word == Some(number) {
            self.check_time(now)?;
        } else {
            self.check(now)?;
        }
        let envelope = match Message::decode(answer)? {
            Message::Answer(envelope) => envelope,
            Message::Refuse { why, .. } => return Err(AuthError::RefusedByDevice(why)),
            message if !message.is_from_device() => return Err(AuthError::Reflected),
            _ => return Err(AuthError::Unexpected),
        };
        let sealed = Sealed::<[u8]>::from_bytes(envelope)?;
        let plain = self.opener.open_bytes(ANSWER, sealed, now)?;
        let (answered, payload) =
            plain.split_first_chunk().ok_or(AuthError::Malformed("an answer without a number"))?;
        if u64::from_le_bytes(*answered) != number {
            return Err(AuthError::Replayed);
        }
        Ok(payload.to_vec())
    }

    /// Opens an envelope that the device sent outside of an exchange.
    ///
    /// # Errors
    /// As [`Self::check`]; [`AuthError::Seal`] for one that does not open, with
    /// [`SealError::Session`] for one of a session that is not up.
    pub fn open_telemetry(
        &mut self,
        envelope: &[u8],
        now: Timestamp,
    ) -> Result<Telemetry, AuthError> {
        self.check(now)?;
        self.open(Sealed::from_bytes(envelope.to_vec())?, true, now)
    }

    /// The same of a device that is not believed any more, also of one whose key was revoked: for
    /// whoever wants to know what it says, and uses none of it.
    ///
    /// # Errors
    /// [`AuthError::SessionOver`]; [`AuthError::Seal`] as [`Self::open_telemetry`].
    pub fn open_unbelieved(
        &mut self,
        envelope: &[u8],
        now: Timestamp,
    ) -> Result<Telemetry, AuthError> {
        self.check_time(now)?;
        self.open(Sealed::from_bytes(envelope.to_vec())?, false, now)
    }

    /// Opens with the keys that the envelope names: this session's, or those of one before it,
    /// whose time was settled when it was replaced.
    fn open(
        &mut self,
        sealed: Sealed<[u8]>,
        believed: bool,
        now: Timestamp,
    ) -> Result<Telemetry, AuthError> {
        let header = *sealed.header();
        if header.session != self.number() {
            self.forget(now);
            let before = self.previous.as_ref().ok_or(SealError::Session)?;
            let opened = lock(&before.session).open(sealed, believed, now);
            return opened.map(|telemetry| Telemetry { replaced: true, ..telemetry });
        }
        if believed && self.revoked.contains(&self.claims.cnf) {
            return Err(AuthError::Revoked);
        }
        let payload = self.opener.open_bytes(TELEMETRY, sealed, now)?;
        let (lane, sequence) = (header.lane, header.sequence);
        Ok(Telemetry { lane, sequence, replaced: false, payload })
    }
}

impl fmt::Debug for GatewaySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewaySession")
            .field("device", &self.claims.device)
            .field("number", &format_args!("{:016x}", self.number()))
            .field("started", &self.started)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

fn lock(session: &Mutex<GatewaySession>) -> MutexGuard<'_, GatewaySession> {
    // Nothing that runs under the lock can leave the counters half moved.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number in front of an answer: that of the request.
pub(crate) fn answer_body(request: u64, payload: &[u8]) -> Vec<u8> {
    [&request.to_le_bytes()[..], payload].concat()
}
