//! The embedded broker, so that a plant runs without installing one.
//!
//! It keeps everything in memory, persistent sessions and what is queued for them too. Who speaks
//! for a device with a `username` must have its password ([`crate::admission`]); all others come
//! anonymously, if any device has none. What it holds is bounded ([`crate::bounds`]). Absent: TLS,
//! `$SYS` topics, anything that survives its process (a plant that needs those names an external
//! broker by `addr`).

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mqtt5::broker::{BrokerConfig, MqttBroker};
use plantwin_adapter::{HostedDevice, Hub, LinkError, Tasks};

use crate::{admission::Admission, own::Own};

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
    admission.bounds.apply(&mut config);
    config.sys_topics_enabled = false;
    let broker = MqttBroker::with_config(config).await.map_err(|e| failed(e.to_string()))?;
    admission.watch(&broker);
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
