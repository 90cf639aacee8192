//! What the embedded broker holds at most.
//!
//! Whoever reaches its port may come, and it lives in the plant's process: what strangers can make
//! it remember must end somewhere. Some bounds grow with the plant, so that its own devices always
//! fit. There is no bound on messages a second: what is under way is bounded by places and bytes,
//! and the plant's own links carry tens of thousands a second. Absent: who may come
//! ([`crate::admission`]), whose sessions are kept ([`crate::sessions`]).

use std::time::Duration;

use mqtt5::broker::{
    BrokerConfig,
    config::{StorageBackend, StorageConfig},
};

use crate::config::{MAX_TOPIC, Topics};

/// Largest packet a client may send. Payloads are limited to 64 KiB by the convention; the rest
/// is room for topics and for answering an oversized payload with a quality instead of a hang-up.
const MAX_PACKET: usize = 128 * 1024;
/// Longest topic or filter: twice what a plant file may name, which is room for what we append.
pub(crate) const MAX_NAME: usize = 2 * MAX_TOPIC;
/// Clients at once for each device: itself, its link, and one of each that has not been missed yet.
const CLIENTS_EACH: usize = 4;
/// How many of those are kept free of clients without a user: they have the others, for devices
/// that have none.
const KEPT_FREE_EACH: usize = 2;
/// Clients at once beside those. The library by itself admits at most 10 000 from one address, and
/// as many new ones a second. Tests do not open so many sockets.
const MORE_CLIENTS: usize = if cfg!(test) { 600 } else { 2000 };
/// Messages that may wait for one slow client before the broker drops some.
const MAX_WAITING: usize = 4096;
/// Messages kept for a client with a persistent session while it is away, and their bytes; the
/// library drops the oldest beyond that.
const MAX_QUEUED: usize = 10_000;
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;
/// How long a session is kept for a client that is away. A link of ours is back within seconds, a
/// device that sleeps within minutes; and the broker forgets everything with its process anyway.
const SESSION_EXPIRY: Duration = Duration::from_hours(1);
/// How often what has expired is thrown away; until then it takes its place in memory.
const CLEANUP: Duration = Duration::from_mins(1);
/// Topics with a retained message beside those of the plant's devices, and the largest payload of
/// one: some times a report of a device with a hundred points. (User properties do not count as
/// payload; with them it is [`MAX_PACKET`].)
const MORE_RETAINED: usize = 1000;
const MAX_RETAINED_BYTES: usize = 16 * 1024;
/// Filters that any client may subscribe to; more only if a device or its link needs more.
const SUBSCRIPTIONS: usize = 256;
/// Messages of quality of service 2 that a client may leave half sent. Of quality of service 1
/// there is never more than one, since each is answered before the next is read.
const MAX_HALF_SENT: u16 = 64;
/// Topics that a client may have the broker remember by number.
const TOPIC_ALIASES: u16 = 16;

/// What grows with the plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Clients at once.
    pub(crate) clients: usize,
    /// Clients at once beyond which none comes without a user.
    pub(crate) strangers: usize,
    /// Topics with a retained message.
    pub(crate) retained: usize,
    /// Filters of one client.
    pub(crate) subscriptions: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            clients: MORE_CLIENTS,
            strangers: MORE_CLIENTS,
            retained: MORE_RETAINED,
            subscriptions: SUBSCRIPTIONS,
        }
    }
}

impl Bounds {
    /// Makes room for a device that will come.
    pub(crate) fn admit(&mut self, topics: &Topics) {
        let (values, writes) = (topics.routes.len(), topics.set.iter().flatten().count());
        self.clients += CLIENTS_EACH;
        self.strangers += CLIENTS_EACH - KEPT_FREE_EACH;
        // Beside values and writes: its status and envelopes.
        self.retained += values + writes + 2;
        // The link follows values or envelopes, status, answers and refusals; the device itself
        // writes, questions and its status.
        self.subscriptions = self.subscriptions.max(values.max(writes) + 4);
    }

    /// Sets all bounds.
    pub(crate) fn apply(self, config: &mut BrokerConfig) {
        config.max_clients = self.clients;
        config.max_retained_messages = self.retained;
        config.max_retained_message_size = MAX_RETAINED_BYTES;
        // The library looks through all subscriptions for each new one: some microseconds for each
        // thousand, which a plant of thousands of devices feels at its start and not later.
        config.max_subscriptions_per_client = self.subscriptions;
        config.session_expiry_interval = SESSION_EXPIRY;
        config.max_packet_size = MAX_PACKET;
        config.client_channel_capacity = MAX_WAITING;
        config.server_receive_maximum = Some(MAX_HALF_SENT);
        config.topic_alias_maximum = TOPIC_ALIASES;
        // The default would write into the working directory; none at all would have no sessions
        // that outlive a connection.
        config.storage_config = StorageConfig {
            backend: StorageBackend::Memory,
            cleanup_interval: CLEANUP,
            max_queued_messages_per_client: MAX_QUEUED,
            max_queued_bytes_per_client: MAX_QUEUED_BYTES,
            ..StorageConfig::default()
        };
    }
}
