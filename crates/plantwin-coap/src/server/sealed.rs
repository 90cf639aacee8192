//! Sealed envelopes on their way to observers.
//!
//! An observed resource promises only its newest state (RFC 7641 §1.2), but each envelope must
//! arrive. So each is a confirmable notification of its own, sent in order, one at a time to an
//! observer (`NSTART`, RFC 7252 §4.7): the next one goes out when the last was acknowledged and,
//! if it was long, fetched. What waits is limited: of a device the last [`KEPT`] envelopes are
//! kept; an observer that falls back further loses the oldest, which its session sees as a gap in
//! its sequence. One that acknowledges nothing at all is forgotten, as with any confirmable
//! notification. Envelopes from before a registration are not sent again.
//!
//! Absent: what is in an envelope, and who may open it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use coap_lite::{CoapOption, MessageType, Packet, ResponseType, block_handler::BlockValue};
use tokio::time::Instant;

use super::{Flight, Observer, Outgoing, Peer, Server};
use crate::{
    message::{self, ACK_TIMEOUT, BLOCK, Transmission},
    represent::{problem, represent},
};

/// Envelopes of a device that wait for observers.
pub(crate) const KEPT: usize = 64;
/// Longest wait for an observer to fetch the rest of a long envelope.
const FETCHING: Duration = Duration::from_secs(10);

/// The last envelopes of a device.
#[derive(Default)]
pub(super) struct Envelopes {
    kept: VecDeque<Arc<[u8]>>,
    /// How many came before the first that is kept.
    before: u64,
}

impl Envelopes {
    fn push(&mut self, envelope: &[u8]) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.before += 1;
        }
        self.kept.push_back(envelope.into());
    }

    /// How many there have been.
    pub(super) fn count(&self) -> u64 {
        self.before + self.kept.len() as u64
    }
}

/// How far an observer has come.
#[derive(Default)]
pub(super) struct Progress {
    /// How many envelopes were sent to it or passed it by.
    pub(super) done: u64,
    /// The last long one, for as long as it may be fetched, and its observe number.
    long: Option<(u32, Arc<[u8]>)>,
    /// Until when its fetching is waited for.
    fetch_by: Option<Instant>,
}

impl Progress {
    /// For an observer that has just registered.
    pub(super) fn at(done: u64) -> Self {
        Self { done, ..Self::default() }
    }

    /// Observe number (24 bit, RFC 7641 §4.4) of the last one.
    pub(super) fn number(&self) -> u32 {
        self.done as u32 & 0x00FF_FFFF
    }
}

impl Server {
    /// A device has sealed something.
    pub(crate) fn publish_sealed(
        &mut self,
        device: usize,
        envelope: &[u8],
        now: Instant,
        out: &mut Outgoing,
    ) {
        let Some(d) = self.devices.get_mut(device).filter(|d| d.up) else { return };
        let Some(envelopes) = &mut d.sealed else { return };
        envelopes.push(envelope);
        self.pump(device, now, out);
    }

    /// Sends every observer of a sealed device what it is ready for.
    pub(super) fn pump(&mut self, d: usize, now: Instant, out: &mut Outgoing) {
        let Some(device) = self.devices.get_mut(d) else { return };
        let Some(envelopes) = &device.sealed else { return };
        let max_age = device.max_age;
        let mut due: Vec<(Peer, Packet)> = Vec::new();
        for observer in device.resources.iter_mut().flat_map(|r| &mut r.observers) {
            let Observer { in_flight, progress, token, .. } = observer;
            if *in_flight || progress.fetch_by.is_some_and(|by| by > now) {
                continue;
            }
            progress.fetch_by = None;
            if progress.done < envelopes.before {
                let lost = envelopes.before - progress.done;
                tracing::debug!(observer = %observer.at.at, lost, "sealed envelopes passed it by");
                progress.done = envelopes.before;
            }
            let next = (progress.done - envelopes.before) as usize;
            let Some(envelope) = envelopes.kept.get(next) else { continue };
            progress.done += 1;
            let number = progress.number();
            let mut packet = message::response(ResponseType::Content, token);
            packet.header.set_type(MessageType::Confirmable);
            message::set_number(&mut packet, CoapOption::Observe, number);
            message::set_number(&mut packet, CoapOption::ContentFormat, u32::from(message::OCTETS));
            message::set_number(&mut packet, CoapOption::MaxAge, max_age);
            if envelope.len() > BLOCK {
                packet.add_option(CoapOption::ETag, number.to_be_bytes().to_vec());
                progress.long = Some((number, Arc::clone(envelope)));
                progress.fetch_by = Some(now + FETCHING);
            }
            message::put_body(&mut packet, envelope, None);
            *in_flight = true;
            due.push((observer.at, packet));
        }
        for (to, mut packet) in due {
            packet.header.message_id = self.id(to);
            let bytes = message::bytes(&packet);
            let transmission = Transmission::new(bytes.clone(), now, ACK_TIMEOUT, &mut self.dice);
            let observer = Some((super::SEALED, packet.get_token().to_vec()));
            let flight = Flight { device: d, observer, transmission };
            self.flights.insert((to, packet.header.message_id), flight);
            self.devices[d].traffic.up(to.on_the_wire(bytes.len()));
            out.push((to, bytes));
        }
    }

    /// A further block of the envelope that an observer was last notified of.
    pub(super) fn rest_of_envelope(
        &mut self,
        d: usize,
        request: &Packet,
        from: Peer,
        block: &BlockValue,
    ) -> Packet {
        let observers = self.devices[d].resources.iter_mut().flat_map(|r| &mut r.observers);
        let mut own = observers.filter(|o| o.at == from).map(|o| &mut o.progress);
        let Some(progress) = own.find(|p| p.long.is_some()) else {
            return problem(request, ResponseType::BadRequest, "no such block");
        };
        let Some((number, envelope)) = progress.long.clone() else {
            return problem(request, ResponseType::BadRequest, "no such block");
        };
        let answer = represent(request, &envelope, message::OCTETS, Some(block), Some(number));
        if message::class(&answer) == 2
            && message::block2(&answer).is_ok_and(|b| b.is_none_or(|b| !b.more))
            && progress.number() == number
        {
            progress.fetch_by = None;
        }
        answer
    }

    /// When a wait for somebody who does not fetch ends.
    pub(super) fn fetches(&self) -> impl Iterator<Item = Instant> {
        let sealed = self.devices.iter().filter(|d| d.sealed.is_some());
        let observers = sealed.flat_map(|d| &d.resources).flat_map(|r| &r.observers);
        observers.filter(|o| !o.in_flight).filter_map(|o| o.progress.fetch_by)
    }
}
