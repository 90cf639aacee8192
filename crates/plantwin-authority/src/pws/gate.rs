//! Load control: how many handshakes are under way, how often one source may try, who is locked
//! out, and cookies for listeners.
//!
//! **Half-open handshakes** are bounded; each holds a [`Permit`], and dropping it, however the
//! handshake ended, gives the place back. Nothing else is kept of a handshake that is not done.
//!
//! **Rate.** [`RATE`] attempts a second and as many at once from each [`Source`]; a source is what
//! the caller can tell apart: the device and the path it is asked over, or the peer's address.
//!
//! **Lock-out** slows down whoever fails again and again (IEC 62443-3-3 SR 1.11): after
//! [`LOCK_AFTER`] failures in a row a source waits [`LOCK_FIRST`], twice as long after each further
//! one, at most [`LOCK_MAX`]; a success or [`FORGET`] without a failure ends it. Keys of 256 bits
//! cannot be guessed, so this protects the processor and the audit trail, not the keys, and it must
//! not become a weapon: failures are forged easily by whoever can write on a path. Therefore they
//! count against the device *on that path*, not the device; they do not count while the device has
//! a session that is up, so that forged answers to a renewal never lock out who is there already;
//! and refusals, which anybody could have sent, never count. Who can write on the only path of a
//! device without a session can keep it away, as it could by dropping its messages.
//!
//! **Overload rule of the table**: it is bounded; when it is full, entries that are as good as new
//! are swept out at most once in [`RATE_INTERVAL`]; if none are, new sources are refused and known
//! ones go on.
//!
//! **Cookies** ([`CookieJar`]) are for listeners, where strangers speak first: with more than
//! [`COOKIES_ABOVE`] handshakes under way, one is begun only for a peer that repeats the cookie
//! sent to its address. They need no memory. [`check_mac1`] comes before: it costs one hash, and
//! keeps out all who do not know whom they are talking to before any key agreement is done.
//! Absent: sockets, clocks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use plantwin_model::Timestamp;
use plantwin_seal::{DIGEST_BYTES, DhPublic, Secret, derive_key, hash, mac, verify_mac};

use crate::AuthError;

/// Attempts a second from one source, and how many at once.
pub const RATE: u32 = 10;
/// Time in which one more attempt becomes allowed.
pub const RATE_INTERVAL: Duration = Duration::from_millis(1000 / RATE as u64);
/// Failures in a row after which a source is locked out.
pub const LOCK_AFTER: u32 = 5;
/// The first lock-out.
pub const LOCK_FIRST: Duration = Duration::from_secs(1);
/// The longest lock-out.
pub const LOCK_MAX: Duration = Duration::from_mins(5);
/// After this long without a failure a source begins anew.
pub const FORGET: Duration = Duration::from_mins(15);
/// Handshakes under way above which a listener asks for cookies.
pub const COOKIES_ABOVE: usize = 128;
/// Life of the secret behind the cookies; a cookie is good for one to two of these.
pub const COOKIE_LIFE: Duration = Duration::from_secs(128);
/// Length of a cookie and of a first MAC, in bytes.
pub const COOKIE_BYTES: usize = DIGEST_BYTES;

/// Who tries, as far as it can be told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Source([u8; 16]);

impl Source {
    /// The source that these parts name together, say a device and its path.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut name = [0; 16];
        name.copy_from_slice(&hash(parts)[..16]);
        Self(name)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When the last attempt would have come at the allowed rate (generic cell rate algorithm,
    /// ITU-T I.371).
    due: Timestamp,
    failures: u32,
    failed: Timestamp,
    until: Timestamp,
}

impl Entry {
    const fn new(now: Timestamp) -> Self {
        Self { due: now, failures: 0, failed: now, until: now }
    }

    fn is_as_new(&self, now: Timestamp) -> bool {
        self.due <= now
            && self.until <= now
            && (self.failures == 0 || now.since(self.failed) >= FORGET)
    }
}

#[derive(Debug)]
struct Table {
    entries: HashMap<Source, Entry>,
    swept: Option<Timestamp>,
}

/// How many attempts and failures there were, for statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GateCounts {
    /// Handshakes under way.
    pub half_open: usize,
    /// Sources remembered.
    pub sources: usize,
    /// Attempts that were refused before any key was used.
    pub refused: usize,
}

/// The gate before all handshakes of a gateway or a listener.
#[derive(Debug)]
pub struct Gate {
    half_open: Arc<AtomicUsize>,
    half_open_limit: usize,
    table_limit: usize,
    refused: AtomicUsize,
    table: Mutex<Table>,
}

/// One handshake under way. Dropping it ends that.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// A gate for so many handshakes at once and so many sources (about 80 bytes each).
    pub fn new(half_open_limit: usize, table_limit: usize) -> Self {
        Self {
            half_open: Arc::default(),
            half_open_limit,
            table_limit,
            refused: AtomicUsize::new(0),
            table: Mutex::new(Table { entries: HashMap::new(), swept: None }),
        }
    }

    /// Lets one handshake of `source` begin. A source that is `trusted`, since it has a session
    /// that is up, is not held back by a lock-out.
    ///
    /// # Errors
    /// [`AuthError::LockedOut`], [`AuthError::RateLimited`], [`AuthError::Busy`].
    pub fn admit(
        &self,
        source: Source,
        trusted: bool,
        now: Timestamp,
    ) -> Result<Permit, AuthError> {
        let permit = self.try_admit(source, trusted, now);
        if permit.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        permit
    }

    fn try_admit(
        &self,
        source: Source,
        trusted: bool,
        now: Timestamp,
    ) -> Result<Permit, AuthError> {
        let mut table = self.table();
        let entry = table.entry(source, self.table_limit, now).ok_or(AuthError::Busy)?;
        // A clock that was set back must not hold anybody longer than the rules say.
        entry.until = entry.until.min(now.plus(LOCK_MAX));
        entry.due = entry.due.min(now.plus(RATE_INTERVAL * RATE)).max(now);
        if entry.until > now && !trusted {
            return Err(AuthError::LockedOut(entry.until.since(now)));
        }
        if entry.due.since(now) > RATE_INTERVAL * (RATE - 1) {
            return Err(AuthError::RateLimited);
        }
        let taken = self.half_open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < self.half_open_limit).then_some(count + 1)
        });
        if taken.is_err() {
            return Err(AuthError::Busy);
        }
        entry.due = entry.due.plus(RATE_INTERVAL);
        Ok(Permit(Arc::clone(&self.half_open)))
    }

    /// A handshake of `source` failed. Returns how long it is locked out from now on, if it is.
    pub fn failed(&self, source: Source, trusted: bool, now: Timestamp) -> Option<Duration> {
        if trusted {
            return None;
        }
        let mut table = self.table();
        let entry = table.entry(source, self.table_limit, now)?;
        if now.since(entry.failed) >= FORGET {
            entry.failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.failed = now;
        let beyond = entry.failures.checked_sub(LOCK_AFTER)?;
        let wait = LOCK_FIRST.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
        let wait = wait.min(LOCK_MAX);
        entry.until = now.plus(wait);
        Some(wait)
    }

    /// A handshake of `source` succeeded: its failures are forgotten.
    pub fn succeeded(&self, source: Source, now: Timestamp) {
        if let Some(entry) = self.table().entries.get_mut(&source) {
            entry.failures = 0;
            entry.until = now;
        }
    }

    /// Whether so many handshakes are under way that a listener asks for cookies.
    pub fn wants_cookies(&self) -> bool {
        self.half_open.load(Ordering::Relaxed) > COOKIES_ABOVE
    }

    /// What it holds and refused.
    pub fn counts(&self) -> GateCounts {
        GateCounts {
            half_open: self.half_open.load(Ordering::Relaxed),
            sources: self.table().entries.len(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code under the lock leaves the table half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn entry(&mut self, source: Source, limit: usize, now: Timestamp) -> Option<&mut Entry> {
        if self.entries.len() >= limit && !self.entries.contains_key(&source) {
            let due = self
                .swept
                .is_none_or(|swept| now.since(swept).max(swept.since(now)) >= RATE_INTERVAL);
            if due {
                self.swept = Some(now);
                self.entries.retain(|_, entry| !entry.is_as_new(now));
            }
            if self.entries.len() >= limit {
                return None;
            }
        }
        Some(self.entries.entry(source).or_insert(Entry::new(now)))
    }
}

/// Makes and checks cookies without remembering any.
#[derive(Debug)]
pub struct CookieJar(Secret);

impl CookieJar {
    /// A jar whose cookies nobody else can make.
    pub fn new() -> Result<Self, AuthError> {
        Ok(Self(Secret::random()?))
    }

    /// The cookie for `source`: an address that only who receives there can repeat it from.
    pub fn mint(&self, source: &[u8], now: Timestamp) -> [u8; COOKIE_BYTES] {
        mac(&self.secret(period(now)), &[source])
    }

    /// Whether `cookie` was minted for `source` in this period or the one before.
    ///
    /// # Errors
    /// [`AuthError::Cookie`].
    pub fn check(
        &self,
        source: &[u8],
        cookie: &[u8; COOKIE_BYTES],
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let period = period(now);
        [period, period.saturating_sub(1)]
            .into_iter()
            .find(|period| verify_mac(&self.secret(*period), &[source], cookie).is_ok())
            .map(|_| ())
            .ok_or(AuthError::Cookie)
    }

    fn secret(&self, period: i64) -> Secret {
        derive_key("plantwin v1 cookie", &[self.0.expose(), &period.to_le_bytes()])
    }
}

fn period(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(COOKIE_LIFE.as_millis() as i64)
}

/// The first MAC of a message to the holder of `to`: proves only that its sender knows this key.
pub fn mac1(to: &DhPublic, message: &[u8]) -> [u8; COOKIE_BYTES] {
    mac(&derive_key("plantwin v1 first mac", &[to.as_bytes()]), &[message])
}

/// Checks a first MAC, before any key agreement.
///
/// # Errors
/// [`AuthError::Altered`].
pub fn check_mac1(
    me: &DhPublic,
    message: &[u8],
    first: &[u8; COOKIE_BYTES],
) -> Result<(), AuthError> {
    let key = derive_key("plantwin v1 first mac", &[me.as_bytes()]);
    verify_mac(&key, &[message], first).map_err(|_| AuthError::Altered)
}
