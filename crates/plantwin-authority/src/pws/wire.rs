//! The messages of PWS/1, byte by byte.
//!
//! Each is `"PWS" | version u8 | kind u8 | body`, at most [`MESSAGE_LIMIT`] bytes, and travels as a
//! request of the gateway or the device's answer to it. Numbers are little-endian.
//!
//! | kind | message | body |
//! |---|---|---|
//! | 1 | Begin | nonce 16, held session u64, count u8, that many suites u16, gateway certificate |
//! | 2 | Granted | [`Grant`] (postcard) |
//! | 3 | Withheld | reason u8 |
//! | 4 | EnrolPending | fingerprint, the rest |
//! | 5 | Enrolled | |
//! | 6 | Second | nonce 16, Noise message 2 |
//! | 7 | Sealed request | envelope |
//! | 129 | First | nonce 16, version seen u8, count u8, suites seen, Noise message 1 |
//! | 130 | NeedToken | [`TokenRequest`] (postcard) |
//! | 131 | Enrol | [`EnrolRequest`] (postcard) |
//! | 132 | Refuse | version seen u8, reason u8 |
//! | 133 | Proof | nonce 16, envelope |
//! | 134 | Sealed answer | envelope |
//! | 135 | Noted | |
//!
//! The nonce is that of Begin: it tells a replayed message from an altered one, and whoever has
//! not seen this Begin costs no key agreement. Nothing here is believed: what counts is bound by
//! the handshake, whose prologue holds the whole Begin. Absent: telemetry, which is an envelope
//! without this frame; fragments, which no adapter needs below [`MESSAGE_LIMIT`].

use std::fmt;

use plantwin_seal::{PartyId, hash};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{EnrolRequest, Grant, TokenRequest};
use crate::AuthError;

/// Longest message, in bytes: what an adapter's `exchange` carries.
pub const MESSAGE_LIMIT: usize = 4096;
/// The version that is spoken here.
pub(crate) const VERSION: u8 = 1;
/// The one suite there is: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, Ed25519, BLAKE3.
pub(crate) const SUITE: u16 = 1;
pub(crate) const NONCE_BYTES: usize = 16;
const MAGIC: &[u8; 3] = b"PWS";
/// Most suites in an offer.
const SUITES_LIMIT: usize = 16;
/// Kinds from here on are the device's.
const FROM_DEVICE: u8 = 128;

/// Content types inside a session, so that nothing sealed for one purpose serves another.
pub(crate) const PROOF: u16 = 0x5001;
pub(crate) const REQUEST: u16 = 0x5002;
pub(crate) const ANSWER: u16 = 0x5003;
pub(crate) const TELEMETRY: u16 = 0x5004;

/// Why a device refused. A hint: anybody could have said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// It does not speak this version.
    Version = 1,
    /// It speaks none of the suites.
    Suite = 2,
    /// It does not trust the gateway.
    Gateway = 3,
    /// It has no token, and no voucher to get one with.
    NoToken = 4,
    /// It cannot use the grant.
    Grant = 5,
    /// The handshake message does not belong to its keys and its token's secret.
    Handshake = 6,
    /// It did not expect the message now, or cannot read it.
    Unexpected = 7,
    /// It has no such session, or the envelope did not open.
    Session = 8,
    /// Too many handshakes a second.
    Busy = 9,
}

impl Refusal {
    const ALL: [Self; 9] = [
        Self::Version,
        Self::Suite,
        Self::Gateway,
        Self::NoToken,
        Self::Grant,
        Self::Handshake,
        Self::Unexpected,
        Self::Session,
        Self::Busy,
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "it does not speak this version",
            Self::Suite => "it speaks none of the suites offered",
            Self::Gateway => "it does not trust this gateway",
            Self::NoToken => "it has no token and no voucher",
            Self::Grant => "it cannot use the token",
            Self::Handshake => "the handshake does not fit its keys and token",
            Self::Unexpected => "it did not expect the message",
            Self::Session => "it has no such session",
            Self::Busy => "too many handshakes a second",
        })
    }
}

/// Why a device gets no token now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Withheld {
    /// The authority cannot be reached: the token that the device has must do.
    Away = 1,
    /// The authority refused.
    Refused = 2,
}

/// The gateway's offer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Begin {
    pub(crate) nonce: [u8; NONCE_BYTES],
    /// The session that the gateway still has with the device; 0 for none.
    pub(crate) held: u64,
    pub(crate) suites: Vec<u16>,
    pub(crate) certificate: Vec<u8>,
}

/// The device's choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct First {
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) version: u8,
    pub(crate) suites: Vec<u16>,
    pub(crate) noise: Vec<u8>,
}

/// What the first Noise message carries.
#[derive(Serialize, Deserialize)]
pub(crate) struct FirstPayload {
    pub(crate) suite: u16,
    /// Fresh, so that no two first messages are the same.
    pub(crate) nonce: [u8; NONCE_BYTES],
    /// The device's signing key.
    pub(crate) sign: [u8; 32],
    pub(crate) token: Vec<u8>,
}

/// All messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Begin(Begin),
    Granted(Grant),
    Withheld(Withheld),
    EnrolPending(String),
    Enrolled,
    Second { nonce: [u8; NONCE_BYTES], noise: Vec<u8> },
    Request(Vec<u8>),
    First(First),
    NeedToken(TokenRequest),
    Enrol(Box<EnrolRequest>),
    Refuse { seen: u8, why: Refusal },
    Proof { nonce: [u8; NONCE_BYTES], envelope: Vec<u8> },
    Answer(Vec<u8>),
    Noted,
}

impl Message {
    pub(crate) const fn kind(&self) -> u8 {
        match self {
            Self::Begin(_) => 1,
            Self::Granted(_) => 2,
            Self::Withheld(_) => 3,
            Self::EnrolPending(_) => 4,
            Self::Enrolled => 5,
            Self::Second { .. } => 6,
            Self::Request(_) => 7,
            Self::First(_) => 129,
            Self::NeedToken(_) => 130,
            Self::Enrol(_) => 131,
            Self::Refuse { .. } => 132,
            Self::Proof { .. } => 133,
            Self::Answer(_) => 134,
            Self::Noted => 135,
        }
    }

    /// Whether devices say it, and gateways never do.
    pub(crate) const fn is_from_device(&self) -> bool {
        self.kind() >= FROM_DEVICE
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, AuthError> {
        let mut out = MAGIC.to_vec();
        out.extend([VERSION, self.kind()]);
        match self {
            Self::Begin(begin) => {
                out.extend(begin.nonce);
                out.extend(begin.held.to_le_bytes());
                put_suites(&mut out, &begin.suites);
                out.extend(&begin.certificate);
            }
            Self::Granted(grant) => put(&mut out, grant)?,
            Self::Withheld(why) => out.push(*why as u8),
            Self::EnrolPending(fingerprint) => out.extend(fingerprint.as_bytes()),
            Self::Enrolled | Self::Noted => {}
            Self::Second { nonce, noise: rest } | Self::Proof { nonce, envelope: rest } => {
                out.extend(nonce);
                out.extend(rest);
            }
            Self::Request(envelope) | Self::Answer(envelope) => out.extend(envelope),
            Self::First(first) => {
                out.extend(first.nonce);
                out.push(first.version);
                put_suites(&mut out, &first.suites);
                out.extend(&first.noise);
            }
            Self::NeedToken(request) => put(&mut out, request)?,
            Self::Enrol(request) => put(&mut out, &**request)?,
            Self::Refuse { seen, why } => out.extend([*seen, *why as u8]),
        }
        if out.len() > MESSAGE_LIMIT {
            return Err(AuthError::TooLong(out.len()));
        }
        Ok(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, AuthError> {
        if bytes.len() > MESSAGE_LIMIT {
            return Err(AuthError::Malformed("the message is too long"));
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(AuthError::Malformed("no session message"))?;
        let (kind, body) = match rest {
            [VERSION, kind, body @ ..] => (*kind, body),
            [VERSION] | [] => return Err(SHORT),
            [version, ..] => return Err(AuthError::Version(*version)),
        };
        Ok(match kind {
            1 => {
                let (nonce, body) = body.split_first_chunk().ok_or(SHORT)?;
                let (held, body) = body.split_first_chunk().ok_or(SHORT)?;
                let (suites, certificate) = take_suites(body)?;
                Self::Begin(Begin {
                    nonce: *nonce,
                    held: u64::from_le_bytes(*held),
                    suites,
                    certificate: certificate.to_vec(),
                })
            }
            2 => Self::Granted(take(body)?),
            3 => Self::Withheld(match body {
                [1] => Withheld::Away,
                [2] => Withheld::Refused,
                _ => return Err(AuthError::Malformed("an unknown reason")),
            }),
            4 => Self::EnrolPending(
                str::from_utf8(body)
                    .map_err(|_| AuthError::Malformed("the fingerprint is no text"))?
                    .to_owned(),
            ),
            5 if body.is_empty() => Self::Enrolled,
            6 => {
                let (nonce, noise) = body.split_first_chunk().ok_or(SHORT)?;
                Self::Second { nonce: *nonce, noise: noise.to_vec() }
            }
            7 => Self::Request(body.to_vec()),
            129 => {
                let (nonce, body) = body.split_first_chunk().ok_or(SHORT)?;
                let (version, body) = body.split_first().ok_or(SHORT)?;
                let (suites, noise) = take_suites(body)?;
                Self::First(First {
                    nonce: *nonce,
                    version: *version,
                    suites,
                    noise: noise.to_vec(),
                })
            }
            130 => Self::NeedToken(take(body)?),
            131 => Self::Enrol(Box::new(take(body)?)),
            132 => {
                let [seen, why] = body else { return Err(SHORT) };
                let why = Refusal::ALL.into_iter().find(|known| *known as u8 == *why);
                let why = why.ok_or(AuthError::Malformed("an unknown reason"))?;
                Self::Refuse { seen: *seen, why }
            }
            133 => {
                let (nonce, envelope) = body.split_first_chunk().ok_or(SHORT)?;
                Self::Proof { nonce: *nonce, envelope: envelope.to_vec() }
            }
            134 => Self::Answer(body.to_vec()),
            135 if body.is_empty() => Self::Noted,
            _ => return Err(AuthError::Malformed("an unknown kind of message")),
        })
    }
}

const SHORT: AuthError = AuthError::Malformed("the message is too short");

fn put<T: Serialize>(out: &mut Vec<u8>, body: &T) -> Result<(), AuthError> {
    let bytes = postcard::to_stdvec(body);
    out.extend(bytes.map_err(|_| AuthError::Malformed("the message cannot be encoded"))?);
    Ok(())
}

pub(crate) fn take<T: DeserializeOwned>(body: &[u8]) -> Result<T, AuthError> {
    match postcard::take_from_bytes(body) {
        Ok((body, [])) => Ok(body),
        _ => Err(AuthError::Malformed("the content cannot be read")),
    }
}

fn put_suites(out: &mut Vec<u8>, suites: &[u16]) {
    let suites = &suites[..suites.len().min(SUITES_LIMIT)];
    out.push(suites.len() as u8);
    out.extend(suites.iter().flat_map(|suite| suite.to_le_bytes()));
}

fn take_suites(body: &[u8]) -> Result<(Vec<u16>, &[u8]), AuthError> {
    let (count, body) = body.split_first().ok_or(SHORT)?;
    let count = usize::from(*count);
    if count > SUITES_LIMIT {
        return Err(AuthError::Malformed("too many suites"));
    }
    let (suites, rest) = body.split_at_checked(2 * count).ok_or(SHORT)?;
    let suites = suites.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    Ok((suites.collect(), rest))
}

/// What both sides must have seen alike before a word of the handshake is believed: the names of
/// protocol and gateway, the suites, and the whole Begin by its hash.
pub(crate) fn prologue(gateway: &str, suites: &[u16], begin: &[u8]) -> Vec<u8> {
    let mut out = b"plantwin/1".to_vec();
    out.extend((gateway.len() as u64).to_le_bytes());
    out.extend(gateway.as_bytes());
    put_suites(&mut out, suites);
    out.extend(hash(&[b"plantwin v1 begin", begin]));
    out
}

/// What the device signs: this handshake with this challenge, between these two, and for no other
/// purpose.
pub(crate) fn proof(
    handshake: &[u8; 32],
    challenge: &[u8; 32],
    device: &str,
    gateway: &str,
) -> [u8; 32] {
    let (device, gateway) = (device.as_bytes(), gateway.as_bytes());
    hash(&[b"plantwin v1 session proof", handshake, challenge, device, gateway])
}

/// A device's number in the headers of its session.
pub(crate) fn device_party(device: &str) -> PartyId {
    party(b"device", device)
}

/// A gateway's number in the headers of its sessions.
pub(crate) fn gateway_party(gateway: &str) -> PartyId {
    party(b"gateway", gateway)
}

fn party(role: &[u8], name: &str) -> PartyId {
    let digest = hash(&[b"plantwin v1 party", role, name.as_bytes()]);
    let mut number = [0; 8];
    number.copy_from_slice(&digest[..8]);
    PartyId(u64::from_le_bytes(number))
}
