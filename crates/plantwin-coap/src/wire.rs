//! A link's way to its device: a UDP socket, bare or with DTLS on it, every byte counted.
//!
//! Absent: what the messages mean (see `client`), when to connect again (the runtime).

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use plantwin_adapter::{LinkError, Traffic};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    dtls::{Association, Broken, Flow},
    message::DATAGRAM,
    secret::Psk,
};

/// A socket that is connected to a device.
pub(crate) struct Wire {
    socket: UdpSocket,
    traffic: Arc<Traffic>,
    endpoint: String,
    /// Longest wait for the system to take a datagram.
    patience: Duration,
    secure: Option<Association>,
    /// Messages that came in one datagram with another.
    inbox: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens a socket to `endpoint`, of which [`endpoint`](Self::endpoint) may say more later.
    pub(crate) async fn open(
        endpoint: &str,
        traffic: Arc<Traffic>,
        patience: Duration,
    ) -> Result<Self, LinkError> {
        let fail = |error: std::io::Error| unreachable(endpoint, &error);
        let mut found = tokio::net::lookup_host(endpoint).await.map_err(fail)?;
        let none = || LinkError::Unreachable {
            endpoint: endpoint.to_owned(),
            cause: "the name has no address".to_owned(),
        };
        let peer: SocketAddr = found.next().ok_or_else(none)?;
        let local = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(local).await.map_err(fail)?;
        // Connected, so that the kernel drops strangers and reports an unreachable port.
        socket.connect(peer).await.map_err(fail)?;
        let endpoint = if endpoint == peer.to_string() {
            endpoint.to_owned()
        } else {
            format!("{endpoint} ({peer})")
        };
        let buffer = vec![0; DATAGRAM];
        Ok(Self {
            socket,
            traffic,
            endpoint,
            patience,
            secure: None,
            inbox: VecDeque::new(),
            buffer,
        })
    }

    /// Where it goes, for people.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sets up DTLS, within `limit`.
    pub(crate) async fn secure(&mut self, psk: Psk, limit: Duration) -> Result<(), LinkError> {
        let begun = Instant::now();
        let identity = psk.identity.clone();
        let mut association = Association::client(psk, limit, begun)?;
        let mut flow = Flow::default();
        let mut heard = false;
        let mut result = association.tick(begun, &mut flow);
        loop {
            for bytes in flow.packets.drain(..) {
                self.transmit(&bytes).await?;
            }
            if let Err(broken) = result {
                return Err(self.refusal(broken, &identity, heard, limit));
            }
            if flow.connected {
                self.inbox.extend(flow.messages);
                self.secure = Some(association);
                return Ok(());
            }
            let now = Instant::now();
            if now >= begun + limit {
                return Err(self.refusal(Broken::Late, &identity, heard, limit));
            }
            tokio::select! {
                biased;
                got = self.socket.recv(&mut self.buffer) => {
                    let length = got.map_err(|e| unreachable(&self.endpoint, &e))?;
                    self.traffic.up(length);
                    heard = true;
                    let bytes = &self.buffer[..length];
                    result = association.take(bytes, Instant::now(), &mut flow);
                }
                () = sleep_until(association.wake.clamp(now, begun + limit)) => {
                    result = association.tick(Instant::now(), &mut flow);
                }
            }
        }
    }

    /// What a failed handshake means for people.
    fn refusal(&self, broken: Broken, identity: &str, heard: bool, limit: Duration) -> LinkError {
        LinkError::Refused(match broken {
            Broken::Late if !heard => {
                let millis = limit.as_millis() as u64;
                return LinkError::Timeout { endpoint: self.endpoint.clone(), millis };
            }
            Broken::Identity => format!(
                "{} does not know the DTLS identity \"{identity}\": set psk_identity to a name \
                 that it has a key for",
                self.endpoint
            ),
            Broken::Key => format!(
                "the key in psk_file is not the one that {} has for the DTLS identity \
                 \"{identity}\"",
                self.endpoint
            ),
            Broken::Suite => format!(
                "{} does not speak DTLS 1.2 with TLS_PSK_WITH_AES_128_CCM_8, or not with the \
                 identity \"{identity}\"",
                self.endpoint
            ),
            // Servers differ: many do not answer at all what does not decrypt.
            Broken::Late => format!(
                "{} answered the DTLS hello, but not the proof of the key: the key in psk_file \
                 is not the one that it has for the identity \"{identity}\", or it does not know \
                 that identity",
                self.endpoint
            ),
            Broken::Closed | Broken::Used => {
                format!("{} ended the DTLS handshake", self.endpoint)
            }
            Broken::Other(what) => format!("{}: {what}", self.endpoint),
        })
    }

    /// Sends messages.
    pub(crate) async fn send(&mut self, out: &mut Vec<Vec<u8>>) -> Result<(), LinkError> {
        for message in out.drain(..) {
            let Some(association) = &mut self.secure else {
                self.transmit(&message).await?;
                continue;
            };
            let mut flow = Flow::default();
            association.send(&message, &mut flow).map_err(ended)?;
            for bytes in flow.packets {
                self.transmit(&bytes).await?;
            }
        }
        Ok(())
    }

    async fn transmit(&self, bytes: &[u8]) -> Result<(), LinkError> {
        let sent = timeout(self.patience, self.socket.send(bytes)).await;
        let sent = sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        sent.map_err(|e| unreachable(&self.endpoint, &e))?;
        self.traffic.down(bytes.len());
        Ok(())
    }

    /// The next message. Nothing is lost when it is not awaited to its end.
    pub(crate) async fn recv(&mut self) -> Result<Vec<u8>, LinkError> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            let got = self.socket.recv(&mut self.buffer).await;
            let length = got.map_err(|e| unreachable(&self.endpoint, &e))?;
            self.traffic.up(length);
            if length == self.buffer.len() {
                // Cut off by the kernel: what is left of it may mean something else.
                continue;
            }
            let Some(association) = &mut self.secure else {
                return Ok(self.buffer[..length].to_vec());
            };
            let mut flow = Flow::default();
            let taken = association.take(&self.buffer[..length], Instant::now(), &mut flow);
            // The last words of a handshake once more; if they get lost the device asks again.
            self.whisper(&flow.packets);
            taken.map_err(ended)?;
            self.inbox.extend(flow.messages);
            if flow.closed {
                return Err(ended(Broken::Closed));
            }
        }
    }

    /// Sends last messages, as far as the system takes them at once, and takes leave.
    pub(crate) fn farewell(&mut self, messages: Vec<Vec<u8>>) {
        let Some(mut association) = self.secure.take() else {
            self.whisper(&messages);
            return;
        };
        let mut flow = Flow::default();
        for message in messages {
            if association.send(&message, &mut flow).is_err() {
                break;
            }
        }
        association.close(&mut flow);
        self.whisper(&flow.packets);
    }

    fn whisper(&self, packets: &[Vec<u8>]) {
        for bytes in packets {
            if self.socket.try_send(bytes).is_ok() {
                self.traffic.down(bytes.len());
            }
        }
    }
}

fn ended(broken: Broken) -> LinkError {
    LinkError::Closed(match broken {
        Broken::Closed => "the device ended the DTLS session".to_owned(),
        Broken::Used => "the keys of the DTLS session are used up, a new one is due".to_owned(),
        Broken::Other(what) => what,
        other => format!("the DTLS session broke: {other:?}").to_lowercase(),
    })
}

fn unreachable(endpoint: &str, error: &std::io::Error) -> LinkError {
    LinkError::Unreachable {
        endpoint: endpoint.to_owned(),
        cause: error.to_string().to_lowercase(),
    }
}
