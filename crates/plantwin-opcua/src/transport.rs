//! The client's TCP connection: counted, without Nagle's algorithm, and held to one policy.
//!
//! The library lets a client bring its own connector; its own one neither counts nor sets
//! `TCP_NODELAY`, and takes whatever security policy the server answers with (see `opn`). Absent:
//! the messages themselves.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use opcua::{
    client::{
        ConnectionSource,
        transport::{
            Connector, SecureChannelState, StreamConnection, StreamConnector, StreamTransport,
            TransportConfiguration,
        },
    },
    core::comms::tcp_codec::TcpCodec,
    crypto::SecurityPolicy,
    types::{DecodingOptions, EndpointDescription, Error, StatusCode},
};
use plantwin_adapter::Traffic;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::codec::FramedRead;

use crate::opn::{NotOpcUa, OpnWatch};

/// Makes counted connections to one server.
#[derive(Clone)]
pub(crate) struct CountedConnector {
    url: String,
    traffic: Arc<Traffic>,
    /// The one that the server must answer with.
    policy: SecurityPolicy,
    failure: Failure,
}

/// Why the last attempt failed, where it was not a message of the server that said so.
type Failure = Arc<Mutex<Option<String>>>;

fn note(failure: &Failure, text: String) {
    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
}

impl CountedConnector {
    /// To the server at `url` (`opc.tcp://host:port/...`).
    pub(crate) fn new(url: &str, traffic: Arc<Traffic>) -> Self {
        let policy = SecurityPolicy::None;
        Self { url: url.to_owned(), traffic, policy, failure: Arc::default() }
    }

    /// For a secure channel with this policy; without it, for one with none.
    pub(crate) fn with_policy(self, policy: SecurityPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Why TCP could not connect, or the server was not listened to, if that was the trouble.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Connector for CountedConnector {
    type Transport = StreamTransport<CountedRead, CountedWrite>;

    async fn connect(
        &self,
        channel: Arc<SecureChannelState>,
        outgoing: opcua::client::transport::RequestRecv,
        config: TransportConfiguration,
    ) -> Result<Self::Transport, Error> {
        let open = |url: String, options: DecodingOptions| async move {
            match open(&url).await {
                Ok(stream) => {
                    let (read, write) = stream.into_split();
                    let read = CountedRead {
                        half: read,
                        traffic: Arc::clone(&self.traffic),
                        watch: OpnWatch::default(),
                        policy: self.policy,
                        failure: Arc::clone(&self.failure),
                    };
                    let write = CountedWrite(write, Arc::clone(&self.traffic));
                    let read = FramedRead::new(read, TcpCodec::new(options));
                    Ok(StreamConnection::new(read, write, url))
                }
                Err(error) => {
                    let text = error.to_string();
                    note(&self.failure, text.clone());
                    Err(Error::new(StatusCode::BadCommunicationError, text))
                }
            }
        };
        StreamConnector::new(open, self.url.clone()).connect(channel, outgoing, config).await
    }

    fn default_endpoint(&self) -> EndpointDescription {
        EndpointDescription::from(self.url.as_str())
    }
}

impl ConnectionSource for CountedConnector {
    type Builder = Self;

    fn get_connector(&self, _: &EndpointDescription) -> Result<Self, Error> {
        // Always the address of the plant file: what a server calls itself is often not reachable.
        Ok(self.clone())
    }
}

/// Connects to the first address that takes the connection.
async fn open(url: &str) -> io::Result<TcpStream> {
    let rest = url.strip_prefix("opc.tcp://").unwrap_or(url);
    let host = rest.split('/').next().unwrap_or(rest).to_owned();
    let mut last = io::Error::other("the name has no address");
    for address in tokio::net::lookup_host(host).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The reading half; what it reads is "up".
pub(crate) struct CountedRead {
    half: OwnedReadHalf,
    traffic: Arc<Traffic>,
    watch: OpnWatch,
    policy: SecurityPolicy,
    failure: Failure,
}

impl AsyncRead for CountedRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.half).poll_read(cx, buf);
        let news = &buf.filled()[before..];
        if !news.is_empty() {
            self.traffic.up(news.len());
            let policies = self.watch.feed(news);
            let wanted = self.policy.to_uri();
            let why = match policies {
                Ok(all) => all.into_iter().find(|p| p != wanted).map(|other| {
                    let wanted = self.policy;
                    format!("the server answers with the security policy {other:?}, not {wanted}")
                }),
                Err(NotOpcUa) => Some("what answers does not speak opc ua".to_owned()),
            };
            if let Some(why) = why {
                note(&self.failure, why.clone());
                return Poll::Ready(Err(io::Error::other(why)));
            }
        }
        polled
    }
}

/// The writing half; what it writes is "down".
pub(crate) struct CountedWrite(OwnedWriteHalf, Arc<Traffic>);

impl AsyncWrite for CountedWrite {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            self.1.down(written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
