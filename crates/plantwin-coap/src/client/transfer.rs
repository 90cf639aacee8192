//! Session bytes to and from a device: in one message each where they fit, else in blocks
//! (RFC 7959, Block1 up and Block2 down). Each exchange bears a Request-Tag (RFC 9175 §3), so that
//! the blocks of two at once are not mixed up.
//!
//! Absent: what the bytes say; when an exchange takes too long (see `link`).

use coap_lite::{
    CoapOption, MessageClass, Packet, RequestType, ResponseType, block_handler::BlockValue,
};
use plantwin_adapter::LinkError;
use tokio::{sync::oneshot, time::Instant};

use super::{Client, Command, Purpose};
use crate::{
    config::Path,
    message::{self, BLOCK, REQUEST_TAG, SESSION_LIMIT},
};

/// One exchange under way.
pub(super) struct Transfer {
    path: Path,
    format: u16,
    tag: Vec<u8>,
    body: Vec<u8>,
    /// How much of the body has arrived, bytes.
    sent: usize,
    /// Largest block to send, bytes.
    size: usize,
    answer: Vec<u8>,
    /// Whoever asked.
    pub(super) reply: oneshot::Sender<Result<Packet, LinkError>>,
}

impl Client {
    /// Begins an exchange.
    pub(super) fn transfer(&mut self, command: Command, now: Instant, out: &mut Vec<Vec<u8>>) {
        let Command { path, format, payload: body, reply, .. } = command;
        let tag = self.dice.token();
        let answer = Vec::new();
        let transfer = Transfer { path, format, tag, body, sent: 0, size: BLOCK, answer, reply };
        self.upload(Box::new(transfer), now, out);
    }

    /// Sends the next block.
    fn upload(&mut self, transfer: Box<Transfer>, now: Instant, out: &mut Vec<Vec<u8>>) {
        let Transfer { body, sent, size, .. } = &*transfer;
        let mut packet = self.post(&transfer);
        message::set_number(&mut packet, CoapOption::ContentFormat, u32::from(transfer.format));
        let end = body.len().min(sent + size);
        if body.len() > *size || *sent > 0 {
            if let Ok(block) = BlockValue::new(sent / size, end < body.len(), *size) {
                packet.add_option_as(CoapOption::Block1, block);
            }
            message::set_number(&mut packet, CoapOption::Size1, body.len() as u32);
        }
        packet.payload = body[*sent..end].to_vec();
        self.send(packet, Purpose::Transfer(transfer), now, out);
    }

    fn post(&mut self, transfer: &Transfer) -> Packet {
        let (id, token) = (self.id(), self.dice.token());
        let mut packet = message::request(RequestType::Post, &transfer.path, id, &token);
        packet.add_option(REQUEST_TAG, transfer.tag.clone());
        packet
    }

    /// Takes the answer to a block.
    pub(super) fn transferred(
        &mut self,
        mut transfer: Box<Transfer>,
        mut packet: Packet,
        now: Instant,
        out: &mut Vec<Vec<u8>>,
    ) {
        let unfit = |transfer: Box<Transfer>, what: &str| {
            // Whoever asked may have given up meanwhile.
            let _ = transfer.reply.send(Err(LinkError::Refused(format!("its answer {what}"))));
        };
        if packet.header.code == MessageClass::Response(ResponseType::Continue) {
            let Ok(Some(block)) = message::block1(&packet) else {
                return unfit(transfer, "is 2.31 without a sound Block1");
            };
            transfer.sent += transfer.size;
            // It may want smaller ones.
            transfer.size = transfer.size.min(block.size());
            if transfer.sent >= transfer.body.len() {
                return unfit(transfer, "is 2.31 after the last block");
            }
            return self.upload(transfer, now, out);
        }
        if message::class(&packet) == 2 {
            let Ok(block) = message::block2(&packet) else {
                return unfit(transfer, "has a broken Block2");
            };
            let at = block.as_ref().map_or(0, |b| usize::from(b.num) * b.size());
            if at != transfer.answer.len() || at + packet.payload.len() > SESSION_LIMIT {
                return unfit(transfer, "has blocks that do not fit, or too many");
            }
            transfer.answer.extend_from_slice(&packet.payload);
            if let Some(block) = block.filter(|b| b.more) {
                if packet.payload.len() != block.size() {
                    return unfit(transfer, "has a block that is not full");
                }
                let mut request = self.post(&transfer);
                let num = (transfer.answer.len() / block.size()) as u16;
                let next = BlockValue { num, more: false, size_exponent: block.size_exponent };
                request.add_option_as(CoapOption::Block2, next);
                return self.send(request, Purpose::Transfer(transfer), now, out);
            }
            packet.payload = std::mem::take(&mut transfer.answer);
        }
        let _ = transfer.reply.send(Ok(packet));
    }
}
