//! The gate before a server that has a private key: what may reach the library, and how often.
//!
//! Every OpenSecureChannel costs the server RSA with its private key, before it knows who asks, and
//! the library (0.19) neither limits that nor refuses the policies that are off (see `opn`). So
//! connections come in here and are handed on to the library's own listener on the loopback:
//! a policy that is not on the list ends the connection, and each source has [`BURST`] channels and
//! then [`PER_SECOND`] new ones a second. A process on the same host that finds the inner port
//! passes the gate by. What the library writes down of strangers is kept short as well. Absent:
//! everything behind the header of OpenSecureChannel.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use opcua::{crypto::SecurityPolicy, server::ServerInfo, types::StatusCode};
use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{opn::OpnWatch, pki::keep_newest, security::allowed};

/// Secure channels a source may open at once: a fleet of played devices starts without delay.
pub(crate) const BURST: f64 = 100.0;
/// Secure channels a source may open per second after that (`PWS/1` limits handshakes alike).
pub(crate) const PER_SECOND: f64 = 10.0;
/// Sources that are told apart; all others share one allowance.
const SOURCES: usize = 1024;
/// Connections at once; more are closed at once.
const CONNECTIONS: usize = 1024;

/// How many channels each source may still open.
#[derive(Default)]
pub(crate) struct Allowance(HashMap<IpAddr, (f64, Instant)>);

impl Allowance {
    /// Whether `source` may open one more channel now.
    pub(crate) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let refilled = |&(left, at): &(f64, Instant)| {
            let gained = now.saturating_duration_since(at).as_secs_f64() * PER_SECOND;
            (left + gained).min(BURST)
        };
        let mut source = group(source);
        if !self.0.contains_key(&source) && self.0.len() >= SOURCES {
            self.0.retain(|_, known| refilled(known) < BURST);
            if self.0.len() >= SOURCES {
                source = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let known = self.0.entry(source).or_insert((BURST, now));
        let left = refilled(known);
        let allowed = left >= 1.0;
        *known = (if allowed { left - 1.0 } else { left }, now);
        allowed
    }
}

/// One source: an IPv4 address, or the network of an IPv6 address, of which one host has many.
fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What the library is not shown, as the client is told.
struct Refusal(StatusCode, String);

/// Stands between clients and the library's listener.
pub(crate) struct Gate {
    /// Where the library listens.
    pub(crate) inner: SocketAddr,
    /// The library's idea of where it listens, to be mended: it tells clients.
    pub(crate) info: Arc<ServerInfo>,
    /// Where clients come in.
    pub(crate) port: u16,
}

impl Gate {
    /// Serves until dropped.
    pub(crate) async fn run(self, listener: TcpListener) {
        let gate = Arc::new((self, Mutex::new(Allowance::default())));
        let mut relays = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = relays.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((client, peer)) if relays.len() < CONNECTIONS => {
                        let gate = Arc::clone(&gate);
                        relays.spawn(async move {
                            if let Err(error) = gate.0.relay(client, peer.ip(), &gate.1).await {
                                tracing::debug!(%error, %peer, "a connection ended");
                            }
                            gate.0.tidy().await;
                        });
                    }
                    Ok((_, peer)) => tracing::warn!(%peer, "too many connections, closed"),
                    Err(error) => {
                        tracing::warn!(%error, "no client can be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    /// Keeps the folders small into which the library writes certificates of strangers.
    async fn tidy(&self) {
        let config = &self.info.config;
        let mut folders = vec![config.pki_dir.join("rejected")];
        // Without a list of trusted clients it takes everyone into one.
        if config.certificate_validation.trust_client_certs {
            folders.push(config.pki_dir.join("trusted"));
        }
        let tidying = move || folders.iter().for_each(|folder| keep_newest(folder));
        if let Err(error) = tokio::task::spawn_blocking(tidying).await {
            tracing::warn!(%error, "old certificates could not be removed");
        }
    }

    async fn relay(
        &self,
        mut client: TcpStream,
        peer: IpAddr,
        allowance: &Mutex<Allowance>,
    ) -> io::Result<()> {
        let server = TcpStream::connect(self.inner).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut from_server, mut to_server) = server.into_split();
        let refusal = {
            let (mut from_client, mut to_client) = client.split();
            let up = async {
                let mut watch = OpnWatch::default();
                let mut buffer = vec![0; 8192];
                loop {
                    let n = from_client.read(&mut buffer).await?;
                    if n == 0 {
                        return to_server.shutdown().await.map(|()| None);
                    }
                    if let Err(refusal) = inspect(&mut watch, &buffer[..n], peer, allowance) {
                        return Ok(Some(refusal));
                    }
                    to_server.write_all(&buffer[..n]).await?;
                }
            };
            let down = async {
                let mut buffer = vec![0; 8192];
                loop {
                    let n = from_server.read(&mut buffer).await?;
                    if n == 0 {
                        return to_client.shutdown().await;
                    }
                    // The library sets it when it begins, so not before its first answer.
                    self.info.port.store(self.port, Relaxed);
                    to_client.write_all(&buffer[..n]).await?;
                }
            };
            tokio::pin!(up, down);
            // A side that ends its half lets the other one finish.
            tokio::select! {
                biased;
                up = &mut up => match up? {
                    Some(refusal) => Some(refusal),
                    None => return down.await,
                },
                down = &mut down => return down,
            }
        };
        let Some(Refusal(code, reason)) = refusal else { return Ok(()) };
        tracing::warn!(%peer, %reason, "a secure channel was refused");
        client.write_all(&error_message(code, &reason)).await?;
        client.shutdown().await
    }
}

/// Whether bytes of a client may go on to the library.
fn inspect(
    watch: &mut OpnWatch,
    bytes: &[u8],
    peer: IpAddr,
    allowance: &Mutex<Allowance>,
) -> Result<(), Refusal> {
    let garbled = |_| Refusal(StatusCode::BadTcpMessageTypeInvalid, "not opc ua".to_owned());
    for policy in watch.feed(bytes).map_err(garbled)? {
        if policy == SecurityPolicy::None.to_uri() {
            continue;
        }
        if allowed(&policy).is_none() {
            let why = format!("the security policy {policy:?} is not offered");
            return Err(Refusal(StatusCode::BadSecurityPolicyRejected, why));
        }
        let mut left = allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if !left.take(peer, Instant::now()) {
            let why = "too many secure channels, try again later".to_owned();
            return Err(Refusal(StatusCode::BadTcpServerTooBusy, why));
        }
    }
    Ok(())
}

/// An error message as the library would send it (OPC UA Part 6, 7.1.2.5).
pub(crate) fn error_message(code: StatusCode, reason: &str) -> Vec<u8> {
    let length = 16 + reason.len() as u32;
    let mut bytes = b"ERRF".to_vec();
    for number in [length, code.bits(), reason.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(reason.as_bytes());
    bytes
}
