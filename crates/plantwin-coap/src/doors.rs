//! A server's side of DTLS: the associations of all its clients behind one socket.
//!
//! Who says hello gets a handshake; who ends it well is in, under the number of the key that it
//! has proven to hold. A client that starts anew from the same address replaces its old
//! association only when the new handshake has ended well (RFC 6347 §4.2.8). Both unfinished and
//! finished ones are limited. Absent: the socket, and what a client may do (see `server`).

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use dimpl::Config;
use plantwin_adapter::LinkError;
use tokio::time::Instant;

use crate::{
    dtls::{self, Asked, Association, Broken, Flow, JOINING, Keyring},
    secret::Psk,
    server::Peer,
};

/// Handshakes under way; when there are more, the oldest gives way. Each costs a client two round
/// trips, so a flood must bring that many within that time to keep others out.
const UNFINISHED: usize = 256;
/// Associations; when there are more, the one that was silent longest gives way.
const FINISHED: usize = 1024;

/// What comes in through the doors.
pub(crate) enum Entry {
    /// A message of a client that has proven its key.
    Message(Peer, Vec<u8>),
    /// A client is gone: nothing can reach it any more under this association.
    Gone(Peer),
}

struct Joining {
    association: Association,
    begun: Instant,
    asked: Asked,
}

impl Joining {
    fn wake(&self) -> Instant {
        self.association.wake.min(self.begun + JOINING)
    }
}

#[derive(Default)]
struct Room {
    live: Option<Live>,
    joining: Option<Joining>,
}

struct Live {
    key: u16,
    association: Association,
    heard: Instant,
}

/// All associations of one socket.
pub(crate) struct Doors {
    config: Arc<Config>,
    keys: Arc<Keyring>,
    rooms: HashMap<SocketAddr, Room>,
    /// Datagrams to be sent.
    pub(crate) out: Vec<(SocketAddr, Vec<u8>)>,
}

impl Doors {
    /// Doors for those who hold one of the keys.
    pub(crate) fn new(keys: Vec<Psk>) -> Result<Self, LinkError> {
        let keys = Arc::new(Keyring::new(keys));
        let config = dtls::server(Arc::clone(&keys))?;
        Ok(Self { config, keys, rooms: HashMap::new(), out: Vec::new() })
    }

    /// Whether a datagram is DTLS; messages of CoAP begin otherwise (RFC 7983 §7).
    pub(crate) fn is_dtls(datagram: &[u8]) -> bool {
        matches!(datagram.first(), Some(20..=63))
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.rooms.values().filter_map(|r| r.joining.as_ref()).map(Joining::wake).min()
    }

    /// Repeats and gives up handshakes.
    pub(crate) fn tick(&mut self, now: Instant) {
        for (&at, room) in &mut self.rooms {
            let Some(joining) = room.joining.as_mut().filter(|j| j.wake() <= now) else {
                continue;
            };
            let mut flow = Flow::default();
            let done = joining.association.tick(now, &mut flow);
            self.out.extend(flow.packets.into_iter().map(|p| (at, p)));
            if done.is_err() || now >= joining.begun + JOINING {
                room.joining = None;
            }
        }
        self.rooms.retain(|_, r| r.joining.is_some() || r.live.is_some());
    }

    /// Takes a datagram.
    pub(crate) fn datagram(&mut self, at: SocketAddr, bytes: &[u8], now: Instant) -> Vec<Entry> {
        let mut entries = Vec::new();
        if is_hello(bytes) && self.rooms.get(&at).is_none_or(|r| r.joining.is_none()) {
            self.make_room(now, &mut entries);
            let association = Association::server(&self.config, now);
            let joining = Joining { association, begun: now, asked: Asked::Nothing };
            self.rooms.entry(at).or_default().joining = Some(joining);
        }
        let Some(room) = self.rooms.get_mut(&at) else { return entries };
        // What is encrypted may be for the old association as well as for the new one; the other
        // discards it.
        let is_plain = bytes.get(3..5) == Some(&[0, 0]);
        if let Some(live) = room.live.as_mut().filter(|_| !is_plain || room.joining.is_none()) {
            let peer = Peer { at, key: Some(live.key) };
            let mut flow = Flow::default();
            let taken = live.association.take(bytes, now, &mut flow);
            if !flow.messages.is_empty() {
                live.heard = now;
            }
            self.out.extend(flow.packets.into_iter().map(|p| (at, p)));
            entries.extend(flow.messages.into_iter().map(|m| Entry::Message(peer, m)));
            if taken.is_err() || flow.closed {
                room.live = None;
                entries.push(Entry::Gone(peer));
            }
        }
        if let Some(joining) = &mut room.joining {
            let mut flow = Flow::default();
            self.keys.asked();
            let taken = joining.association.take(bytes, now, &mut flow);
            match self.keys.asked() {
                Asked::Nothing => {}
                asked => joining.asked = asked,
            }
            let asked = joining.asked;
            self.out.extend(flow.packets.into_iter().map(|p| (at, p)));
            if let Err(broken) = taken {
                room.joining = None;
                self.refuse(at, asked, &broken);
            } else if let (true, Asked::Key(key)) = (flow.connected, asked) {
                let association = room.joining.take().map(|j| j.association);
                if let Some(old) = room.live.take() {
                    entries.push(Entry::Gone(Peer { at, key: Some(old.key) }));
                }
                room.live = association.map(|association| Live { key, association, heard: now });
                let peer = Peer { at, key: Some(key) };
                entries.extend(flow.messages.into_iter().map(|m| Entry::Message(peer, m)));
            }
        }
        if self.rooms.get(&at).is_some_and(|r| r.joining.is_none() && r.live.is_none()) {
            self.rooms.remove(&at);
        }
        entries
    }

    /// Sends a message to a client that is in; one that is not misses it, as it may miss any
    /// datagram.
    pub(crate) fn send(&mut self, to: Peer, message: &[u8]) -> Option<Entry> {
        let room = self.rooms.get_mut(&to.at)?;
        let live = room.live.as_mut().filter(|l| Some(l.key) == to.key)?;
        let mut flow = Flow::default();
        let sent = live.association.send(message, &mut flow);
        if sent.is_err() {
            live.association.close(&mut flow);
            room.live = None;
        }
        self.out.extend(flow.packets.into_iter().map(|p| (to.at, p)));
        sent.is_err().then_some(Entry::Gone(to))
    }

    /// Tells a client and the log why it does not get in. The library says nothing to the client,
    /// who would have to guess at silence.
    fn refuse(&mut self, at: SocketAddr, asked: Asked, broken: &Broken) {
        // RFC 4279 §2 leaves it to the server whether to say that an identity is unknown. They
        // travel in the clear, so there is nothing to hide.
        let alert = match (asked, broken) {
            (Asked::Unknown, _) => {
                tracing::info!(client = %at, "DTLS refused: unknown identity");
                115
            }
            (Asked::Key(key), Broken::Key) => {
                let identity = self.keys.identity(key);
                tracing::info!(client = %at, identity, "DTLS refused: wrong key");
                51
            }
            (_, Broken::Suite) => {
                tracing::info!(client = %at, "DTLS refused: no TLS_PSK_WITH_AES_128_CCM_8");
                40
            }
            _ => {
                tracing::debug!(client = %at, ?broken, "DTLS handshake failed");
                return;
            }
        };
        // A fatal alert in the clear (RFC 6347 §4.1, RFC 5246 §7.2), numbered beyond all that
        // the handshake has sent.
        let record = [21, 0xFE, 0xFD, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 2, alert];
        self.out.push((at, record.to_vec()));
    }

    fn make_room(&mut self, now: Instant, entries: &mut Vec<Entry>) {
        let oldest = |r: &Room| r.joining.as_ref().map(|j| j.begun);
        if self.rooms.values().filter(|r| r.joining.is_some()).count() >= UNFINISHED {
            let first = self.rooms.iter().filter_map(|(&a, r)| Some((oldest(r)?, a))).min();
            if let Some(room) = first.and_then(|(_, at)| self.rooms.get_mut(&at)) {
                room.joining = None;
            }
        }
        if self.rooms.values().filter(|r| r.live.is_some()).count() >= FINISHED {
            let heard = |r: &Room| r.live.as_ref().map(|l| l.heard);
            let first = self.rooms.iter().filter_map(|(&a, r)| Some((heard(r)?, a))).min();
            if let Some((_, at)) = first
                && let Some(live) = self.rooms.get_mut(&at).and_then(|r| r.live.take())
            {
                tracing::warn!(client = %at, silent = ?(now - live.heard), "too many DTLS clients");
                entries.push(Entry::Gone(Peer { at, key: Some(live.key) }));
            }
        }
        self.rooms.retain(|_, r| r.joining.is_some() || r.live.is_some());
    }

    /// Handshakes under way and associations, for tests.
    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        let joining = self.rooms.values().filter(|r| r.joining.is_some()).count();
        (joining, self.rooms.values().filter(|r| r.live.is_some()).count())
    }
}

/// Whether a datagram begins with the hello of a client: a handshake record (22) of epoch 0 whose
/// first message is of type 1.
fn is_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [22, _, _, 0, 0, _, _, _, _, _, _, _, _, 1, ..])
}
