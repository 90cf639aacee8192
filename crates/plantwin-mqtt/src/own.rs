//! How plantwin's own connections prove themselves to an embedded broker of the same process.
//!
//! A device may have no password, and then its link would have nothing to show for its client id
//! either. So each broker draws a secret when it starts, and connections of this process find it
//! here by the broker's address. It is never written, dies with the broker, and goes to no other
//! address. Absent: who may do what with it ([`crate::admission`]), played devices, which show
//! what a real one would.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio_rustls::rustls::crypto::ring;
use zeroize::Zeroizing;

/// Bytes of the secret: too many to guess.
const BYTES: usize = 32;

/// The brokers of this process and what opens them.
static BROKERS: Mutex<Vec<(SocketAddr, Weak<Own>)>> = Mutex::new(Vec::new());

/// Under which user they come. Short, since the library adds it to each message that they send.
pub(crate) const USER: &str = "$plantwin";

/// What plantwin's own connections show to one broker.
pub(crate) struct Own {
    /// The secret, in hexadecimal.
    pub(crate) password: Zeroizing<String>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own(..)")
    }
}

impl Own {
    /// Draws a new one; `None` if the operating system has no randomness to give.
    pub(crate) fn draw() -> Option<Arc<Self>> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        ring::default_provider().secure_random.fill(&mut *bytes).ok()?;
        // With room for all of it nothing is moved, which would leave copies behind.
        let mut password = Zeroizing::new(String::with_capacity(2 * BYTES));
        for byte in bytes.iter() {
            // Writing into memory cannot fail.
            let _ = write!(password, "{byte:02x}");
        }
        Some(Arc::new(Self { password }))
    }

    /// Makes it known that the broker at this address takes it, as long as it lives.
    pub(crate) fn announce(self: &Arc<Self>, address: SocketAddr) {
        let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
        brokers.retain(|(at, own)| *at != address && own.strong_count() > 0);
        brokers.push((address, Arc::downgrade(self)));
    }
}

/// What the broker there takes, if it is one of this process. A host name is none: who answers to
/// it is not ours to say.
pub(crate) fn at(host: &str, port: u16) -> Option<Arc<Own>> {
    let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    let is_there = |at: &SocketAddr| {
        // Who listens everywhere is also found on loopback.
        let everywhere = at.ip().is_unspecified() && at.is_ipv4() == ip.is_ipv4();
        at.port() == port && (at.ip() == ip || (everywhere && ip.is_loopback()))
    };
    let brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    brokers.iter().find(|(at, _)| is_there(at))?.1.upgrade()
}
