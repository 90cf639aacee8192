//! Session bytes that come and go in blocks (RFC 7959): what has arrived of a request, and what
//! is left of an answer. Both are kept by client, path and Request-Tag (RFC 9175 §3), a limited
//! number of them for a limited time.
//!
//! Absent: what the bytes say; long answers to GET, which are made anew for each block.

use std::time::Duration;

use coap_lite::{CoapOption, Packet, ResponseType, block_handler::BlockValue};
use tokio::time::Instant;

use super::Peer;
use crate::message::{self, BLOCK, REQUEST_TAG, SESSION_LIMIT};

/// Requests, and answers, kept at once; when there are more, the oldest gives way.
const KEPT: usize = 64;
/// After this long without another block nobody will ask for the rest.
const LIFETIME: Duration = Duration::from_mins(1);

/// Names an exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Key {
    from: Peer,
    path: String,
    tag: Option<Vec<u8>>,
}

/// What an answer must say besides its body.
#[derive(Debug)]
pub(super) struct Session {
    key: Key,
    /// The last block of the request, to be acknowledged.
    echo: Option<BlockValue>,
    /// How large the client wants the blocks of the answer.
    asked: Option<BlockValue>,
}

/// What a request amounts to.
pub(super) enum Incoming {
    /// All of it is there.
    Whole(Vec<u8>, Session),
    /// Something is missing, or it asks for more of an answer: this is to be sent.
    Answer(Packet),
}

struct Part {
    key: Key,
    body: Vec<u8>,
    at: Instant,
}

/// All exchanges that take more than one message.
#[derive(Default)]
pub(super) struct Blocks {
    requests: Vec<Part>,
    answers: Vec<Part>,
}

impl Blocks {
    /// Takes a request with session bytes.
    pub(super) fn take(
        &mut self,
        from: Peer,
        path: &str,
        packet: &Packet,
        now: Instant,
    ) -> Incoming {
        let refuse =
            |code, text: &str| Incoming::Answer(crate::represent::problem(packet, code, text));
        let key =
            Key { from, path: path.to_owned(), tag: packet.get_first_option(REQUEST_TAG).cloned() };
        let (Ok(block1), Ok(block2)) = (message::block1(packet), message::block2(packet)) else {
            return refuse(ResponseType::BadRequest, "no such block size");
        };
        if let Some(block) = block2.as_ref().filter(|b| b.num > 0) {
            let Some(part) = self.answers.iter_mut().find(|p| p.key == key) else {
                return refuse(ResponseType::RequestEntityIncomplete, "no such answer is left");
            };
            part.at = now;
            let mut packet = message::response(ResponseType::Changed, packet.get_token());
            message::set_number(&mut packet, CoapOption::ContentFormat, u32::from(message::OCTETS));
            if !message::put_body(&mut packet, &part.body, Some(block)) {
                return refuse(ResponseType::BadRequest, "no such block");
            }
            return Incoming::Answer(packet);
        }
        let Some(block) = block1 else {
            if packet.payload.len() > SESSION_LIMIT {
                return refuse(ResponseType::RequestEntityTooLarge, "at most 4096 bytes");
            }
            let session = Session { key, echo: None, asked: block2 };
            return Incoming::Whole(packet.payload.clone(), session);
        };
        let known = self.requests.iter().position(|p| p.key == key);
        let mut body = known.map(|ix| self.requests.swap_remove(ix).body).unwrap_or_default();
        if block.num == 0 {
            body.clear();
        }
        if usize::from(block.num) * block.size() != body.len()
            || (block.more && packet.payload.len() != block.size())
        {
            return refuse(ResponseType::RequestEntityIncomplete, "a block is missing");
        }
        if body.len() + packet.payload.len() > SESSION_LIMIT {
            return refuse(ResponseType::RequestEntityTooLarge, "at most 4096 bytes");
        }
        body.extend_from_slice(&packet.payload);
        if !block.more {
            let session = Session { key, echo: Some(block), asked: block2 };
            return Incoming::Whole(body, session);
        }
        keep(&mut self.requests, Part { key, body, at: now });
        let mut go_on = message::response(ResponseType::Continue, packet.get_token());
        go_on.add_option_as(CoapOption::Block1, block);
        Incoming::Answer(go_on)
    }

    /// Puts an answer into a packet, or its first block, whose rest is kept.
    pub(super) fn give(
        &mut self,
        session: Session,
        body: Vec<u8>,
        packet: &mut Packet,
        now: Instant,
    ) {
        if let Some(block) = session.echo {
            packet.add_option_as(CoapOption::Block1, block);
        }
        // Block 0 is always there.
        message::put_body(packet, &body, session.asked.as_ref());
        if packet.payload.len() < body.len() {
            keep(&mut self.answers, Part { key: session.key, body, at: now });
        }
    }

    /// Forgets a client.
    pub(super) fn forget(&mut self, from: Peer) {
        self.requests.retain(|p| p.key.from != from);
        self.answers.retain(|p| p.key.from != from);
    }
}

/// Keeps one more, in place of an older one of the same name.
fn keep(parts: &mut Vec<Part>, part: Part) {
    parts.retain(|p| p.key != part.key && p.at + LIFETIME > part.at);
    if parts.len() >= KEPT
        && let Some(oldest) = (0..parts.len()).min_by_key(|&ix| parts[ix].at)
    {
        parts.swap_remove(oldest);
    }
    parts.push(part);
}

const _: () = assert!(SESSION_LIMIT / BLOCK < u16::MAX as usize, "block numbers fit");
