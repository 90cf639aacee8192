//! A client that says just what it is told to, byte for byte, and shows what the broker answers.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::within;

/// The answer that lets a client in.
pub(super) const WELCOME: u8 = 0;
/// The quota is exceeded (MQTT 5 §2.4).
pub(super) const FULL: u8 = 0x97;
/// Not authorized.
pub(super) const REFUSED: u8 = 0x87;
/// Bad user name or password.
pub(super) const UNKNOWN: u8 = 0x86;

/// What a client says of itself (MQTT 5 §3.1).
#[derive(Clone, Copy)]
pub(super) struct Greeting<'a> {
    pub(super) id: &'a str,
    pub(super) clean: bool,
    /// Seconds for which its session shall be kept.
    pub(super) expiry: u32,
    pub(super) login: Option<(&'a str, &'a str)>,
}

impl<'a> Greeting<'a> {
    /// Of a client that wants nothing to be kept.
    pub(super) fn of(id: &'a str) -> Self {
        Self { id, clean: true, expiry: 0, login: None }
    }

    /// Comes and waits for the answer: its reason code, the seconds that were granted if they are
    /// others, and the connection.
    pub(super) async fn say(self, to: SocketAddr) -> (u8, Option<u32>, TcpStream) {
        let flags = u8::from(self.clean) << 1 | if self.login.is_some() { 0xc0 } else { 0 };
        let mut rest = vec![0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 60, 5, 0x11];
        rest.extend(self.expiry.to_be_bytes());
        let login = self.login.iter().flat_map(|(user, password)| [*user, *password]);
        for text in std::iter::once(self.id).chain(login) {
            rest.extend((text.len() as u16).to_be_bytes());
            rest.extend(text.as_bytes());
        }
        assert!(rest.len() < 128, "its length has one byte");
        let mut packet = vec![0x10, rest.len() as u8];
        packet.extend(rest);
        let answering = async {
            let mut socket = TcpStream::connect(to).await.unwrap();
            socket.write_all(&packet).await.unwrap();
            let mut head = [0; 2];
            socket.read_exact(&mut head).await.unwrap();
            assert_eq!(head[0], 0x20, "a CONNACK");
            let mut body = vec![0; usize::from(head[1])];
            socket.read_exact(&mut body).await.unwrap();
            (body, socket)
        };
        let (body, socket) = within("an answer", answering).await;
        let granted = property(&body[3..], 0x11)
            .map(|seconds| u32::from_be_bytes(seconds.try_into().expect("four bytes")));
        (body[1], granted, socket)
    }

    /// Only the reason code; the connection is closed.
    pub(super) async fn answer(self, to: SocketAddr) -> u8 {
        self.say(to).await.0
    }
}

/// The value of a property of a CONNACK, where each has a width of its own (MQTT 5 §3.2.2.3).
fn property(mut all: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [id, rest @ ..] = all {
        let width = match id {
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x24 | 0x25 | 0x28..=0x2a => 1,
            // A text: the reason of a refusal.
            0x1f => 2 + usize::from(rest[1]),
            other => panic!("property {other:#x}"),
        };
        if *id == wanted {
            return Some(&rest[..width]);
        }
        all = &rest[width..];
    }
    None
}
