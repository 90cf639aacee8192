//! TLS under a client library that takes no stream of ours.
//!
//! rumqttc connects by itself, to a TCP port or a Unix socket, and its own TLS is not used (see
//! the crate's documentation). So it is given a Unix socket in a folder that only this user can
//! enter; the one connection taken there must be of this very process, and the folder is gone
//! as soon as it has come. From there bytes are carried to and from the TLS stream by a future
//! that the connection's owner polls, not by a task: when the connection is dropped, both sockets
//! are closed with it, and while nobody reads, nothing is carried. Absent: MQTT.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use plantwin_adapter::{LinkError, Traffic};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{cause::io_cause, client::Side, tls::Tls};

/// Reads after a failed write, to find what the broker had to say before it hung up.
const LAST_WORDS: usize = 16;

/// A way to a broker through TLS.
pub(crate) struct Tunnel {
    work: BoxFuture<'static, Option<String>>,
    ended: bool,
    reason: Option<String>,
    socket: String,
}

impl Tunnel {
    /// Connects to the broker, which has proved who it is when this resolves.
    pub(crate) async fn open(
        endpoint: &str,
        tls: Tls,
        connector: TlsConnector,
        traffic: Arc<Traffic>,
        side: Side,
    ) -> Result<Self, LinkError> {
        let failed = |cause| LinkError::Unreachable { endpoint: endpoint.to_owned(), cause };
        let tcp = TcpStream::connect(endpoint).await.map_err(|e| failed(io_cause(&e)))?;
        tcp.set_nodelay(true).map_err(|e| failed(io_cause(&e)))?;
        let counted = Counted { tcp, traffic, side };
        let wire = connector.connect(tls.name(), counted).await;
        let wire = wire.map_err(|e| failed(tls.cause(&e)))?;
        let (folder, listener, socket) = private_socket()?;
        let work = Box::pin(carry(folder, listener, wire, tls));
        Ok(Self { work, ended: false, reason: None, socket })
    }

    /// The socket that the client must connect to.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }

    /// Carries bytes until the connection ends; may be cancelled and called again.
    pub(crate) async fn carry(&mut self) {
        self.reason = self.work.as_mut().await;
        self.ended = true;
    }

    /// Whether it has ended.
    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }

    /// What ended it, if that is more than a hang-up.
    pub(crate) fn reason(&mut self) -> Option<String> {
        self.reason.take()
    }
}

/// A socket that only this user can reach.
pub(crate) fn private_socket() -> Result<(TempDir, UnixListener, String), LinkError> {
    let failed = |e: io::Error| LinkError::Listen {
        address: format!("a private socket in {}", std::env::temp_dir().display()),
        cause: format!("{} (TMPDIR names another folder)", io_cause(&e)),
    };
    let folder = tempfile::Builder::new()
        .prefix("plantwin-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(failed)?;
    let path = folder.path().join("mqtt");
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let name = path.to_str().ok_or_else(|| failed(io::Error::other("its name is no text")))?;
    let name = name.to_owned();
    Ok((folder, listener, name))
}

async fn carry(
    folder: TempDir,
    listener: UnixListener,
    mut wire: TlsStream<Counted>,
    tls: Tls,
) -> Option<String> {
    let mut client = match own(&listener).await {
        Ok(client) => client,
        Err(e) => return Some(format!("its private socket failed: {}", io_cause(&e))),
    };
    drop((listener, folder));
    let mut error = copy_bidirectional(&mut client, &mut wire).await.err()?;
    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
        let mut some = [0; 1024];
        for _ in 0..LAST_WORDS {
            match wire.read(&mut some).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(last) => {
                    error = last;
                    break;
                }
            }
        }
    }
    // Brokers hang up without the farewell of TLS: no more than a hang-up.
    (error.kind() != io::ErrorKind::UnexpectedEof).then(|| tls.cause(&error))
}

/// The connection of this process; others are turned away.
pub(crate) async fn own(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (client, _) = listener.accept().await?;
        let who = client.peer_cred()?.pid();
        if who.is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id())) {
            return Ok(client);
        }
        tracing::warn!(?who, "another process came to the private socket of a connection");
    }
}

/// A TCP stream whose bytes are counted: one message for each read and each write.
struct Counted {
    tcp: TcpStream,
    traffic: Arc<Traffic>,
    side: Side,
}

impl Counted {
    fn wrote(&self, poll: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = poll {
            self.side.sent(&self.traffic, *bytes);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.tcp).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            this.side.received(&this.traffic, bytes);
        }
        poll
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.tcp).poll_write(cx, buf);
        this.wrote(&poll);
        poll
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs);
        this.wrote(&poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
