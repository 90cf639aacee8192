//! Who may speak for which device at the embedded broker.
//!
//! A device whose path names a `username` is spoken for by whoever has its password, and by nobody
//! else: its topics take no message and no last will of another client. Devices without one are
//! spoken for by anybody, as they always were. Passwords are read anew for each attempt, so that a
//! changed one needs no restart, and cross the network in the clear: the broker has no TLS.
//! Absent: who may listen (without TLS nothing of a plain device is secret), sealed devices' own
//! proof (their session).

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use mqtt5::{
    MqttError,
    broker::{AuthProvider, AuthResult},
    packet::connect::ConnectPacket,
    protocol::v5::reason_codes::ReasonCode,
};
use plantwin_adapter::{HostedDevice, LinkError};
use tokio::time::{Duration, sleep};

use crate::{config::Config, secret};

/// How long a wrong password is left without an answer: guessing takes as long.
const WRONG: Duration = Duration::from_secs(1);

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The users of a broker, and what is theirs.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Where each user's password is.
    users: HashMap<String, PathBuf>,
    /// Whose a topic is.
    topics: HashMap<String, String>,
    /// Whose everything below a base topic is, or anybody's; with their last slash.
    bases: Vec<(String, Option<String>)>,
    /// What was refused so far.
    refused: AtomicU64,
}

impl Admission {
    /// Of the devices that come to this broker.
    ///
    /// # Errors
    /// [`LinkError::Settings`]: a user without a password, with two, or two users of one topic.
    pub(crate) fn of(devices: &[HostedDevice]) -> Result<Self, LinkError> {
        let mut all = Self::default();
        for hosted in devices {
            let (device, points) = (&hosted.device, &hosted.points);
            // Any address: only names and topics are of interest.
            let config = Config::read(device, points, &hosted.path, Some("hub:1"), hosted.sealed)?;
            let topics = config.topics;
            let base = topics.session.strip_suffix("session/").unwrap_or(&topics.session);
            all.bases.push((base.to_owned(), config.login.as_ref().map(|l| l.user.clone())));
            let Some(login) = config.login else { continue };
            let wrong = |what: String| LinkError::Settings(format!("{device}: {what}"));
            let Some(file) = login.password_file else {
                return Err(wrong(
                    "`username` at the embedded broker needs a `password_file`".to_owned(),
                ));
            };
            secret::password(&file)?;
            let known = all.users.insert(login.user.clone(), file.clone());
            if known.is_some_and(|known| known != file) {
                let user = &login.user;
                return Err(wrong(format!("user `{user}` has another `password_file` elsewhere")));
            }
            let own = topics.routes.into_keys().chain(topics.set.into_iter().flatten());
            for topic in own.filter(|topic| !topic.starts_with(base)) {
                let known = all.topics.insert(topic.clone(), login.user.clone());
                if known.is_some_and(|known| known != login.user) {
                    return Err(wrong(format!("topic `{topic}` belongs to two users")));
                }
            }
        }
        Ok(all)
    }

    /// Tells of a refusal; ever more seldom, so that nobody fills the log with them.
    fn complain(&self, what: &str, client: &dyn fmt::Display) {
        let times = self.refused.fetch_add(1, Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(%client, times, "the MQTT broker refused a client: {what}");
        }
    }

    /// Whether there is anything to watch over.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether a client that proved to be this user may publish there.
    pub(crate) fn may_publish(&self, user: Option<&str>, topic: &str) -> bool {
        let exact = self.topics.get(topic);
        let owner = exact.or_else(|| {
            // A device may have its base below another's: the nearest counts.
            let above = self.bases.iter().filter(|(base, _)| topic.starts_with(base));
            above.max_by_key(|(base, _)| base.len())?.1.as_ref()
        });
        owner.is_none_or(|owner| user == Some(owner))
    }

    /// Who the client is; `None`: not who it says.
    fn identify(&self, connect: &ConnectPacket) -> Option<AuthResult> {
        let Some(name) = &connect.username else { return Some(AuthResult::success()) };
        let file = self.users.get(name)?;
        let expected = secret::password(file)
            .map_err(|error| tracing::error!(user = name, "failed to {error}"))
            .ok()?;
        let shown = connect.password.as_deref().unwrap_or_default();
        is_same(shown, expected.as_bytes()).then(|| AuthResult::success_with_user(name.clone()))
    }
}

/// Compares all bytes whatever the first ones say, so that the time tells nothing of them. It may
/// tell the length, and an attempt that fails takes [`WRONG`] anyway.
fn is_same(shown: &[u8], expected: &[u8]) -> bool {
    let differ = |sum, (a, b): (&u8, &u8)| sum | usize::from(a ^ b);
    let sum = shown.iter().zip(expected).fold(shown.len() ^ expected.len(), differ);
    std::hint::black_box(sum) == 0
}

impl AuthProvider for Admission {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        client: SocketAddr,
    ) -> Answer<'a, Result<AuthResult, MqttError>> {
        Box::pin(async move {
            let Some(result) = self.identify(connect) else {
                self.complain("no such user, or another password", &client);
                sleep(WRONG).await;
                return Ok(AuthResult::fail(ReasonCode::BadUsernameOrPassword));
            };
            let will = connect.will.as_ref().map(|will| will.topic.as_str());
            let allowed = will.is_none_or(|to| self.may_publish(result.user_id.as_deref(), to));
            if !allowed {
                self.complain("its last will is another's to leave", &client);
                return Ok(AuthResult::fail(ReasonCode::NotAuthorized));
            }
            Ok(result)
        })
    }

    fn authorize_publish<'a>(
        &'a self,
        client_id: &str,
        user_id: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        let allowed = self.may_publish(user_id, topic);
        if !allowed {
            self.complain(&format!("{topic} belongs to another's device"), &client_id);
        }
        Box::pin(std::future::ready(allowed))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        _: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(std::future::ready(true))
    }
}
