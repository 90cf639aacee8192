//! Frames on a socket, and the sealed channel over them.
//!
//! A frame is a length (u32, little-endian) and at most 64 KiB. Reading one can be given up at any
//! await and taken up again: what came is kept. A length that is too long ends the connection
//! before anything is reserved for it.
//! Absent: who may open a channel ([`super::server`]), reconnecting ([`super::remote`]).

use std::{io, sync::Arc, time::Duration};

use plantwin_model::Clock;
use plantwin_seal::{Lane, Opener, PartyId, SealError, Sealed, Sealer, Session};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    time::timeout,
};

use super::wire::{FRAME_LIMIT, FROM_CLIENT, FROM_SERVER, PIECE};
use crate::AuthError;

/// The two ends of every channel.
pub(crate) const CLIENT: PartyId = PartyId(1);
/// See [`CLIENT`].
pub(crate) const SERVER: PartyId = PartyId(2);
/// Whoever takes nothing for this long is dropped.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The socket.
    Io(io::Error),
    /// What came over it.
    Auth(AuthError),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Auth(error) => write!(f, "failed to {error}"),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<AuthError> for Broken {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

impl From<SealError> for Broken {
    fn from(error: SealError) -> Self {
        Self::Auth(error.into())
    }
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Frames {
    socket: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(socket: OwnedReadHalf) -> Self {
        Self { socket, buffer: Vec::new() }
    }

    /// The next frame; safe to be given up.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some((head, rest)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_le_bytes(*head) as usize;
                if length > FRAME_LIMIT {
                    return Err(AuthError::Malformed("a frame is too long").into());
                }
                if let Some(frame) = rest.get(..length) {
                    let frame = frame.to_vec();
                    self.buffer.drain(..4 + length);
                    return Ok(frame);
                }
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// Writes a frame, within [`WRITE_WITHIN`].
pub(crate) async fn send_frame(socket: &mut OwnedWriteHalf, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let bytes = [&length.to_le_bytes(), frame].concat();
    timeout(WRITE_WITHIN, socket.write_all(&bytes))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends sealed messages.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: OwnedWriteHalf,
    sealer: Sealer,
    content: u16,
    clock: Arc<dyn Clock>,
}

/// Receives sealed messages.
#[derive(Debug)]
pub(crate) struct Receiver {
    frames: Frames,
    opener: Opener,
    content: u16,
    /// Sequence that the next envelope must have: TCP neither loses nor reorders.
    next: u64,
    limit: usize,
    pieces: Vec<u8>,
    clock: Arc<dyn Clock>,
}

/// The two directions of a channel, for the end that is the client's or not; a message that
/// comes may be `limit` bytes long.
pub(crate) fn channel(
    session: Session,
    frames: Frames,
    socket: OwnedWriteHalf,
    client: bool,
    limit: usize,
    clock: &Arc<dyn Clock>,
) -> (Sender, Receiver) {
    let (sends, receives) =
        if client { (FROM_CLIENT, FROM_SERVER) } else { (FROM_SERVER, FROM_CLIENT) };
    let sender =
        Sender { socket, sealer: session.sealer, content: sends, clock: Arc::clone(clock) };
    let receiver = Receiver {
        frames,
        opener: session.opener,
        content: receives,
        next: 0,
        limit,
        pieces: Vec::new(),
        clock: Arc::clone(clock),
    };
    (sender, receiver)
}

impl Sender {
    /// Sends a message, in as many pieces as it needs.
    pub(crate) async fn send(&mut self, message: &impl Serialize) -> Result<(), Broken> {
        let bytes = postcard::to_allocvec(message).map_err(|_| SealError::Encode)?;
        let bytes = zeroize::Zeroizing::new(bytes);
        let mut pieces = bytes.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            let more = u8::from(pieces.peek().is_some());
            let now = self.clock.now();
            let plain = zeroize::Zeroizing::new([&[more], piece].concat());
            let sealed = self.sealer.seal_bytes(self.content, &plain, Lane::Command, None, now)?;
            send_frame(&mut self.socket, sealed.as_bytes()).await?;
        }
        Ok(())
    }
}

impl Receiver {
    /// The next message; safe to be given up.
    pub(crate) async fn next<M: DeserializeOwned>(&mut self) -> Result<M, Broken> {
        loop {
            let frame = self.frames.next().await?;
            let sealed = Sealed::<[u8]>::from_bytes(frame)?;
            let sequence = sealed.header().sequence;
            if sequence != self.next {
                return Err(SealError::Replay(sequence).into());
            }
            let plain = self.opener.open_bytes(self.content, sealed, self.clock.now())?;
            self.next += 1;
            let plain = zeroize::Zeroizing::new(plain);
            let (more, piece) = match plain.split_first() {
                Some((0, piece)) => (false, piece),
                Some((1, piece)) => (true, piece),
                _ => return Err(AuthError::Malformed("a piece of a message makes no sense").into()),
            };
            if self.pieces.len() + piece.len() > self.limit {
                return Err(AuthError::TooLong(self.pieces.len() + piece.len()).into());
            }
            self.pieces.extend_from_slice(piece);
            if more {
                continue;
            }
            let whole = zeroize::Zeroizing::new(std::mem::take(&mut self.pieces));
            return match postcard::take_from_bytes(&whole) {
                Ok((message, [])) => Ok(message),
                _ => Err(AuthError::Malformed("a message makes no sense").into()),
            };
        }
    }
}
