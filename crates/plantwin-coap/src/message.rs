//! The message layer: what is common to both faces (RFC 7252 §3 and §4).
//!
//! Packets come from the coap-lite codec; here are the rules around them: which bytes are a
//! message at all, how a rejection looks, when a confirmable message is sent again, when a
//! notification is fresh, and which part of a body a block is. Absent: sockets and clocks, both
//! faces hand in the time.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use coap_lite::{
    CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType,
    block_handler::BlockValue, option_value::OptionValueU32,
};
use tokio::time::Instant;

/// Longest payload of one message, bytes (RFC 7252 §4.6); longer bodies go in blocks.
pub(crate) const BLOCK: usize = 1024;
/// Longest session bytes, each way.
pub(crate) const SESSION_LIMIT: usize = 4 * 1024;
/// Largest datagram that is read, bytes: others may send long bodies whole.
pub(crate) const DATAGRAM: usize = 8 * 1024;
/// Names the blocks that belong to one request (RFC 9175 §3); elective.
pub(crate) const REQUEST_TAG: CoapOption = CoapOption::Unknown(292);
/// `ACK_TIMEOUT` (RFC 7252 §4.8).
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// `MAX_RETRANSMIT` (RFC 7252 §4.8).
const MAX_RETRANSMIT: u8 = 4;
/// `EXCHANGE_LIFETIME` (RFC 7252 §4.8.2): how long a message id must not be used again.
pub(crate) const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);
/// Numbers of content formats (RFC 7252 §12.3).
pub(crate) const TEXT: u16 = 0;
/// `application/link-format`.
pub(crate) const LINK_FORMAT: u16 = 40;
/// `application/octet-stream`.
pub(crate) const OCTETS: u16 = 42;
/// `application/json`.
pub(crate) const JSON: u16 = 50;

/// Reads a datagram. What is no message of version 1 is `Err`, with the reset that a broken
/// confirmable message calls for (RFC 7252 §4.2).
pub(crate) fn parse(bytes: &[u8]) -> Result<Packet, Option<Vec<u8>>> {
    let &[first, _, high, low, ..] = bytes else { return Err(None) };
    if first >> 6 != 1 {
        return Err(None);
    }
    Packet::from_bytes(bytes).map_err(|_| {
        let confirmable = first & 0b0011_0000 == 0;
        confirmable.then(|| empty(MessageType::Reset, u16::from_be_bytes([high, low])))
    })
}

/// An empty message: acknowledgement or reset.
pub(crate) fn empty(kind: MessageType, id: u16) -> Vec<u8> {
    let mut packet = Packet::new();
    packet.header.set_type(kind);
    packet.header.code = MessageClass::Empty;
    packet.header.message_id = id;
    bytes(&packet)
}

/// A confirmable request.
pub(crate) fn request(method: RequestType, path: &[String], id: u16, token: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.header.set_type(MessageType::Confirmable);
    packet.header.code = MessageClass::Request(method);
    packet.header.message_id = id;
    packet.set_token(token.to_vec());
    for segment in path {
        packet.add_option(CoapOption::UriPath, segment.clone().into_bytes());
    }
    packet
}

/// Bytes of a packet. The codec fails only on a size limit, which is not asked for here.
pub(crate) fn bytes(packet: &Packet) -> Vec<u8> {
    packet.to_bytes_unlimited().unwrap_or_default()
}

/// Sets an option that is a whole number, in its shortest form.
pub(crate) fn set_number(packet: &mut Packet, option: CoapOption, value: u32) {
    // The codec's own encoder keeps leading zero bytes away, as RFC 7252 §3.2 wants.
    packet.clear_option(option);
    packet.add_option_as(option, OptionValueU32(value));
}

/// Reads an option that is a whole number; one that is too long counts as absent.
pub(crate) fn number(packet: &Packet, option: CoapOption) -> Option<u32> {
    packet.get_first_option_as::<OptionValueU32>(option)?.ok().map(|v| v.0)
}

/// Class of a code: 0 request, 2 success, 4 and 5 errors.
pub(crate) fn class(packet: &Packet) -> u8 {
    u8::from(packet.header.code) >> 5
}

/// Code and diagnostic payload of an error, for people.
pub(crate) fn diagnosis(packet: &Packet) -> String {
    let text: String = String::from_utf8_lossy(&packet.payload).chars().take(200).collect();
    match text.trim() {
        "" => packet.header.code.to_string(),
        text => format!("{} {text}", packet.header.code),
    }
}

/// The path of a request as its segments joined by `/`; `None` if it is no UTF-8.
pub(crate) fn path(packet: &Packet) -> Option<String> {
    let Some(segments) = packet.get_option(CoapOption::UriPath) else { return Some(String::new()) };
    let segments: Result<Vec<_>, _> = segments.iter().map(|s| std::str::from_utf8(s)).collect();
    Some(segments.ok()?.join("/"))
}

/// The Block2 option (RFC 7959 §2.2): `Err` if it is there but makes no sense.
pub(crate) fn block2(packet: &Packet) -> Result<Option<BlockValue>, ()> {
    block(packet, CoapOption::Block2)
}

/// The Block1 option, likewise.
pub(crate) fn block1(packet: &Packet) -> Result<Option<BlockValue>, ()> {
    block(packet, CoapOption::Block1)
}

fn block(packet: &Packet, option: CoapOption) -> Result<Option<BlockValue>, ()> {
    match packet.get_first_option_as::<BlockValue>(option) {
        None => Ok(None),
        Some(Ok(block)) if block.size_exponent < 7 => Ok(Some(block)),
        Some(_) => Err(()),
    }
}

/// Puts `body` into a response: whole, or the block that was asked for. `false` if there is no
/// such block.
pub(crate) fn put_body(packet: &mut Packet, body: &[u8], asked: Option<&BlockValue>) -> bool {
    let size = asked.map_or(BLOCK, |b| b.size().min(BLOCK));
    let start = asked.map_or(0, |b| usize::from(b.num) * b.size());
    if start > 0 && start >= body.len() {
        return false;
    }
    let end = body.len().min(start + size);
    let more = end < body.len();
    if (more || start > 0 || asked.is_some())
        && let Ok(block) = BlockValue::new(start / size, more, size)
    {
        packet.add_option_as(CoapOption::Block2, block);
    }
    packet.payload = body[start..end].to_vec();
    true
}

/// Whether a notification is newer than the last one (RFC 7641 §3.4).
pub(crate) fn fresher(last: (u32, Instant), new: (u32, Instant)) -> bool {
    const HALF: u32 = 1 << 23;
    let ((v1, t1), (v2, t2)) = (last, new);
    (v1 < v2 && v2 - v1 < HALF) || (v1 > v2 && v1 - v2 > HALF) || t2 > t1 + Duration::from_secs(128)
}

/// Numbers that nobody outside can foresee: tokens, first message ids, jitter.
///
/// The keys of std's hasher come from the operating system; nothing that a simulation computes
/// depends on them, so they need not be injected.
#[derive(Debug, Default)]
pub(crate) struct Dice {
    keys: RandomState,
    count: u64,
}

impl Dice {
    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.count += 1;
        self.keys.hash_one(self.count)
    }

    /// A token of 4 bytes, as RFC 7252 §5.3.1 wants against spoofed answers.
    pub(crate) fn token(&mut self) -> Vec<u8> {
        (self.roll() as u32).to_be_bytes().to_vec()
    }

    /// `base` times 1 to 1.5 (`ACK_RANDOM_FACTOR`).
    fn jitter(&mut self, base: Duration) -> Duration {
        base.mul_f64(1.0 + 0.5 * (self.roll() as f64 / u64::MAX as f64))
    }
}

/// A confirmable message on its way.
#[derive(Debug)]
pub(crate) struct Transmission {
    /// The datagram.
    pub(crate) bytes: Vec<u8>,
    /// When to do something next.
    pub(crate) due: Instant,
    wait: Duration,
    left: u8,
}

/// What is due of a [`Transmission`].
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// Send it again.
    Again,
    /// Nobody acknowledged it.
    GivenUp,
}

impl Transmission {
    /// One that is sent now for the first time.
    pub(crate) fn new(bytes: Vec<u8>, now: Instant, timeout: Duration, dice: &mut Dice) -> Self {
        let wait = dice.jitter(timeout);
        Self { bytes, due: now + wait, wait, left: MAX_RETRANSMIT }
    }

    /// What to do now; binary exponential back-off (RFC 7252 §4.2).
    pub(crate) fn poll(&mut self, now: Instant) -> Due {
        if now < self.due {
            return Due::Nothing;
        }
        let Some(left) = self.left.checked_sub(1) else { return Due::GivenUp };
        self.left = left;
        self.wait *= 2;
        self.due = now + self.wait;
        Due::Again
    }
}

/// A response, not yet with type and message id.
pub(crate) fn response(code: ResponseType, token: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.header.code = MessageClass::Response(code);
    packet.set_token(token.to_vec());
    packet
}
