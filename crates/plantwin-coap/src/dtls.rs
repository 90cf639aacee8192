//! One DTLS 1.2 association with a pre-shared key, as a state machine: datagrams and times in,
//! datagrams and messages out.
//!
//! The protocol is dimpl's; here are the rules around it: which cipher suite
//! (`TLS_PSK_WITH_AES_128_CCM_8`, mandatory for CoAP by RFC 7252 §9.1.3.1, with the extended
//! master secret of RFC 7627), one message a record and one record a datagram, how long keys are
//! used, and what a failure means. Absent: sockets, and whose datagram it is (see `wire` and
//! `doors`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use dimpl::{
    Config, CryptoError, Dtls, Error, Output, PskResolver, SecurityError, crypto::Dtls12CipherSuite,
};
use plantwin_adapter::LinkError;
use tokio::time::Instant;

use crate::secret::Psk;

/// What a record adds to a message, bytes: header 13, explicit nonce 8, tag 8 (RFC 6655 §3).
pub(crate) const OVERHEAD: usize = 13 + 8 + 8;
/// Records that are sent with one set of keys. The library draws the 64-bit nonce of each at
/// random; after this many the chance that two were alike is 2^-25.
const RECORDS: u64 = 1 << 20;
/// Largest datagram of a handshake, bytes: what IPv6 carries everywhere (1280) less its headers.
const MTU: usize = 1232;
/// First wait for an answer within a handshake (RFC 6347 §4.2.4.1).
const FLIGHT: Duration = Duration::from_secs(1);
/// Longest that a server waits for a handshake to end.
pub(crate) const JOINING: Duration = Duration::from_secs(15);

/// Keys by identity. Keeps in mind which one was asked for last, because the library does not
/// say whose association it has set up.
pub(crate) struct Keyring {
    keys: Vec<Psk>,
    asked: AtomicU32,
}

/// What a handshake asked the [`Keyring`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// Nothing.
    Nothing,
    /// An identity that it does not have.
    Unknown,
    /// The key of this number.
    Key(u16),
}

impl Keyring {
    /// Holds these keys; their numbers are their places.
    pub(crate) fn new(keys: Vec<Psk>) -> Self {
        Self { keys, asked: AtomicU32::new(0) }
    }

    /// What was asked for since this was last called.
    pub(crate) fn asked(&self) -> Asked {
        match self.asked.swap(0, Relaxed) {
            0 => Asked::Nothing,
            1 => Asked::Unknown,
            n => Asked::Key((n - 2) as u16),
        }
    }

    /// Name of a key.
    pub(crate) fn identity(&self, key: u16) -> &str {
        self.keys.get(usize::from(key)).map_or("", |k| &k.identity)
    }
}

impl PskResolver for Keyring {
    fn resolve(&self, identity: &[u8]) -> Option<Vec<u8>> {
        let found = self.keys.iter().position(|k| k.identity.as_bytes() == identity);
        self.asked.store(found.map_or(1, |n| n as u32 + 2), Relaxed);
        Some(self.keys[found?].key.to_vec())
    }
}

/// Why an association cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// The other side does not know the identity.
    Identity,
    /// The two sides have different keys.
    Key,
    /// The other side does not speak the cipher suite.
    Suite,
    /// The other side has ended it.
    Closed,
    /// A handshake took too long.
    Late,
    /// The keys have been used long enough.
    Used,
    /// Something else.
    Other(String),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match &error {
            // Numbers of alerts: RFC 5246 §7.2, RFC 4279 §6.
            Error::SecurityError(SecurityError::FatalAlert { description }) => match description {
                115 => Self::Identity,
                20 | 21 | 51 => Self::Key,
                40 | 70 | 71 => Self::Suite,
                n => Self::Other(format!("it sent the DTLS alert {n}")),
            },
            Error::SecurityError(
                SecurityError::ServerFinishedVerificationFailed
                | SecurityError::ClientFinishedVerificationFailed,
            )
            | Error::CryptoError(CryptoError::OperationFailed(_)) => Self::Key,
            Error::SecurityError(
                SecurityError::NoMutuallyAcceptableCipherSuite
                | SecurityError::ServerSelectedUnknownCipherSuite
                | SecurityError::ServerSelectedIncompatibleCipherSuite(_)
                | SecurityError::ServerSelectedDisallowedCipherSuite(_)
                | SecurityError::UnsupportedServerVersion(_)
                | SecurityError::UnsupportedClientVersion(_),
            ) => Self::Suite,
            Error::SecurityError(SecurityError::ExtendedMasterSecretNotNegotiated) => Self::Other(
                "its DTLS lacks the extended master secret (RFC 7627), without which no session \
                 is accepted"
                    .to_owned(),
            ),
            Error::ConnectionClosed => Self::Closed,
            Error::Timeout(_) => Self::Late,
            other => Self::Other(format!("DTLS failed: {other}")),
        }
    }
}

/// What an association wants done.
#[derive(Default)]
pub(crate) struct Flow {
    /// Datagrams to be sent.
    pub(crate) packets: Vec<Vec<u8>>,
    /// Messages that have arrived.
    pub(crate) messages: Vec<Vec<u8>>,
    /// The handshake has ended well.
    pub(crate) connected: bool,
    /// The other side has taken leave.
    pub(crate) closed: bool,
}

/// One association.
pub(crate) struct Association {
    dtls: Dtls,
    buffer: Vec<u8>,
    sent: u64,
    /// When [`tick`](Self::tick) has something to do, while the handshake lasts.
    pub(crate) wake: Instant,
}

impl Association {
    /// A client, which says hello at its first [`tick`](Self::tick) and gives up after `limit`.
    pub(crate) fn client(psk: Psk, limit: Duration, now: Instant) -> Result<Self, LinkError> {
        let identity = psk.identity.clone().into_bytes();
        let keys = Arc::new(Keyring::new(vec![psk]));
        let limit = limit.clamp(Duration::from_millis(1), Duration::from_hours(24));
        let builder = Config::builder().with_psk_client(identity, keys);
        let mut dtls = Dtls::new_12_psk(configure(builder, limit)?, now.into_std());
        dtls.set_active(true);
        Ok(Self::new(dtls, now))
    }

    /// The side of a server, with the configuration of [`server`].
    pub(crate) fn server(config: &Arc<Config>, now: Instant) -> Self {
        Self::new(Dtls::new_12_psk(Arc::clone(config), now.into_std()), now)
    }

    fn new(dtls: Dtls, now: Instant) -> Self {
        Self { dtls, buffer: vec![0; 2048], sent: 0, wake: now }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, flow: &mut Flow) -> Result<(), Broken> {
        let done = self.dtls.handle_timeout(now.into_std());
        self.drain(flow);
        Ok(done?)
    }

    /// Takes a datagram.
    pub(crate) fn take(
        &mut self,
        datagram: &[u8],
        now: Instant,
        flow: &mut Flow,
    ) -> Result<(), Broken> {
        self.dtls.handle_timeout(now.into_std())?;
        self.drain(flow);
        let done = self.dtls.handle_packet(datagram);
        self.drain(flow);
        Ok(done?)
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &[u8], flow: &mut Flow) -> Result<(), Broken> {
        if self.sent >= RECORDS {
            return Err(Broken::Used);
        }
        self.sent += 1;
        self.dtls.send_application_data(message)?;
        self.drain(flow);
        Ok(())
    }

    /// Takes leave.
    pub(crate) fn close(&mut self, flow: &mut Flow) {
        // It can only fail if there is nobody left to take leave of.
        let _ = self.dtls.close();
        self.drain(flow);
    }

    fn drain(&mut self, flow: &mut Flow) {
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(bytes) => flow.packets.push(bytes.to_vec()),
                Output::ApplicationData(bytes) => flow.messages.push(bytes.to_vec()),
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::Connected => flow.connected = true,
                Output::CloseNotify => flow.closed = true,
                Output::Timeout(at) => {
                    self.wake = Instant::from_std(at);
                    return;
                }
                _ => {}
            }
        }
    }
}

/// What all associations of a server share.
pub(crate) fn server(keys: Arc<Keyring>) -> Result<Arc<Config>, LinkError> {
    configure(Config::builder().with_psk_server(None, keys), JOINING)
}

fn configure(builder: dimpl::ConfigBuilder, limit: Duration) -> Result<Arc<Config>, LinkError> {
    builder
        .dtls12_cipher_suites(&[Dtls12CipherSuite::PSK_AES128_CCM_8])
        .dtls13_cipher_suites(&[])
        .mtu(MTU)
        .flight_start_rto(FLIGHT)
        .handshake_timeout(limit)
        .build()
        .map(Arc::new)
        .map_err(|e| LinkError::Settings(format!("DTLS cannot be set up: {e}")))
}
