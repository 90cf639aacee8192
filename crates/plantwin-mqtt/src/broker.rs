//! The embedded broker, so that a plant runs without installing one.
//!
//! It keeps everything in memory, persistent sessions and what is queued for them too. Who speaks
//! for a device with a `username` must have its password ([`crate::admission`]); all others come
//! anonymously, if any device has none. Absent: TLS,
//! `$SYS` topics, anything that survives its process (a plant that needs those names an external
//! broker by `addr`).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mqtt5::broker::{
    BrokerConfig, MqttBroker,
    config::{StorageBackend, StorageConfig},
};
use plantwin_adapter::{HostedDevice, Hub, LinkError, Tasks};

use crate::{admission::Admission, own::Own};

/// Largest packet a client may send. Payloads are limited to 64 KiB by the convention; the rest
/// is room for topics and for answering an oversized payload with a quality instead of a hang-up.
const MAX_PACKET: usize = 128 * 1024;
/// Clients at once: each played device is one and each link another. The library by itself
/// admits at most 10 000 from one address, and as many new ones a second.
const MAX_CLIENTS: usize = 100_000;
/// Messages that may wait for one slow client before the broker drops some.
const MAX_WAITING: usize = 4096;
/// Messages kept for a client with a persistent session while it is away, and their bytes; the
/// library drops the oldest beyond that.
const MAX_QUEUED: usize = 10_000;
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// Starts the broker for these devices. `None` = a free port on 127.0.0.1.
pub(crate) async fn start(
    listen: Option<SocketAddr>,
    guests: Vec<HostedDevice>,
) -> Result<Hub, LinkError> {
    let wanted = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let failed = |cause: String| LinkError::Listen { address: wanted.to_string(), cause };
    let no_secret = || failed("the operating system gives no randomness".to_owned());
    let own = Own::draw().ok_or_else(no_secret)?;
    let admission = Admission::of(Arc::clone(&own), &guests)?;
    // The library reports an address in use as free text; a bind of our own gives the cause and
    // is closed again at once.
    let probe = tokio::net::TcpListener::bind(wanted).await;
    drop(probe.map_err(|e| failed(crate::cause::io_cause(&e)))?);

    let mut config = BrokerConfig::default().with_bind_address(wanted);
    config.max_clients = MAX_CLIENTS;
    config.max_packet_size = MAX_PACKET;
    config.client_channel_capacity = MAX_WAITING;
    config.sys_topics_enabled = false;
    // The default would write into the working directory; none at all would have no sessions that
    // outlive a connection.
    config.storage_config = StorageConfig {
        backend: StorageBackend::Memory,
        max_queued_messages_per_client: MAX_QUEUED,
        max_queued_bytes_per_client: MAX_QUEUED_BYTES,
        ..StorageConfig::default()
    };
    let broker = MqttBroker::with_config(config).await.map_err(|e| failed(e.to_string()))?;
    let mut broker = broker.with_auth_provider(Arc::new(admission));
    let Some(address) = broker.local_addr() else {
        return Err(failed("the broker has no listener".to_owned()));
    };
    // Connections of ours begin when the hub is there.
    own.announce(address);
    let mut tasks = Tasks::new();
    // Dropping the future of `run` shuts down what it spawned.
    tasks.spawn(async move {
        if let Err(error) = broker.run().await {
            tracing::error!(%address, %error, "the embedded MQTT broker ended");
        }
    });
    Ok(Hub { address, tasks })
}
