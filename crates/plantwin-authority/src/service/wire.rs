//! What is said over a channel, and how long messages are cut.
//!
//! Before the channel is sealed: `Hello` (version, cookie, first MAC, Noise message 1), answered by
//! Noise message 2, a cookie or a refusal. After that: postcard inside of envelopes, a message that
//! is longer than an envelope in pieces. Absent: sockets and keys ([`super::channel`]).

use serde::{Deserialize, Serialize};

use crate::{
    AuthError,
    pws::{COOKIE_BYTES, mac1},
    registry::{AuthorityOp, AuthorityReply},
};
use plantwin_seal::DhPublic;

/// The only version there is.
pub(crate) const VERSION: u8 = 1;
/// What both ends mix into the handshake.
pub(crate) const PROLOGUE: &[u8] = b"plantwin authority service/1";
/// Longest frame, in bytes.
pub(crate) const FRAME_LIMIT: usize = 64 * 1024;
/// Longest piece of a message within an envelope, in bytes.
pub(crate) const PIECE: usize = 60 * 1024;
/// Longest message of a client, in bytes: one piece.
pub(crate) const CLIENT_LIMIT: usize = PIECE;
/// Longest message of the server, in bytes: a list of some 250,000 revoked keys.
pub(crate) const SERVER_LIMIT: usize = 8 << 20;
/// Content types of the envelopes.
pub(crate) const FROM_CLIENT: u16 = 0x0A01;
/// See [`FROM_CLIENT`].
pub(crate) const FROM_SERVER: u16 = 0x0A02;

/// The first frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    pub(crate) cookie: [u8; COOKIE_BYTES],
    pub(crate) mac1: [u8; COOKIE_BYTES],
    pub(crate) first: Vec<u8>,
}

/// Length of a hello before its Noise message.
const HELLO_HEAD: usize = 1 + 2 * COOKIE_BYTES;

impl Hello {
    /// With its first MAC, for the holder of `to`.
    pub(crate) fn new(to: &DhPublic, cookie: [u8; COOKIE_BYTES], first: Vec<u8>) -> Self {
        Self { cookie, mac1: mac1(to, &first), first }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&[VERSION], &self.cookie[..], &self.mac1, &self.first].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, AuthError> {
        let short = AuthError::Malformed("a hello is too short");
        let version = *bytes.first().ok_or(short.clone())?;
        if version != VERSION {
            return Err(AuthError::Version(version));
        }
        let (head, first) = bytes.split_at_checked(HELLO_HEAD).ok_or(short)?;
        let (mut cookie, mut mac1) = ([0; COOKIE_BYTES], [0; COOKIE_BYTES]);
        cookie.copy_from_slice(&head[1..=COOKIE_BYTES]);
        mac1.copy_from_slice(&head[1 + COOKIE_BYTES..]);
        Ok(Self { cookie, mac1, first: first.to_vec() })
    }
}

/// What a hello is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Welcome {
    /// Noise message 2.
    Second(Vec<u8>),
    /// Say hello again, with this.
    Cookie([u8; COOKIE_BYTES]),
    /// Go away.
    Refused(Refused),
}

/// Why a client is sent away; only what it may know. All that has to do with keys is one code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// Not admitted, or by other keys.
    Key,
    /// Too many clients.
    Busy,
    /// Another version.
    Version,
}

impl Welcome {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Second(second) => [&[2], second.as_slice()].concat(),
            Self::Cookie(cookie) => [&[3], cookie.as_slice()].concat(),
            Self::Refused(why) => vec![
                4,
                match why {
                    Refused::Key => 1,
                    Refused::Busy => 2,
                    Refused::Version => 3,
                },
            ],
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, AuthError> {
        let wrong = AuthError::Malformed("a welcome makes no sense");
        match bytes {
            [2, second @ ..] => Ok(Self::Second(second.to_vec())),
            [3, cookie @ ..] => Ok(Self::Cookie(cookie.try_into().map_err(|_| wrong)?)),
            [4, 1] => Ok(Self::Refused(Refused::Key)),
            [4, 2] => Ok(Self::Refused(Refused::Busy)),
            [4, 3] => Ok(Self::Refused(Refused::Version)),
            _ => Err(wrong),
        }
    }
}

/// Said by a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum FromClient {
    /// First and every few seconds: I am here.
    Ping,
    /// Do this.
    Ask { id: u64, op: Box<AuthorityOp> },
}

/// Said by the server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum FromServer {
    /// So am I.
    Pong,
    /// The signed revocation list.
    List(Vec<u8>),
    /// Answer to an ask.
    Answer { id: u64, answer: Result<AuthorityReply, Refusal> },
}

/// An error, for somebody far away.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) text: String,
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self { code: error.reason_code().to_owned(), text: error.to_string() }
    }
}

impl From<Refusal> for AuthError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.text.chars().take(512).map(|c| if c.is_control() { ' ' } else { c });
        Self::Told { code: known(&refusal.code), text: text.collect() }
    }
}

/// The codes that a caller may act on; others are told by their words alone.
const CODES: [&str; 26] = [
    "revoked",
    "wrong_key",
    "replayed",
    "unknown_device",
    "already_enrolled",
    "key_in_use",
    "issuer_expired",
    "wrong_gateway",
    "request_forged",
    "request_stale",
    "rate_limited",
    "voucher_refused",
    "voucher_unknown",
    "voucher_used",
    "voucher_expired",
    "voucher_bound",
    "enrolment_refused",
    "not_approved",
    "not_pending",
    "fingerprint_differs",
    "unknown_gateway",
    "client_known",
    "not_allowed",
    "root_elsewhere",
    "storage",
    "unavailable",
];

fn known(code: &str) -> &'static str {
    CODES.into_iter().find(|c| *c == code).unwrap_or("authority_refused")
}
