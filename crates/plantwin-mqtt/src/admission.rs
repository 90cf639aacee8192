//! Who may speak for which device at the embedded broker.
//!
//! A device whose path names a `username` is spoken for by whoever has its password, and by nobody
//! else: its topics take no message and no last will of another client, and its name is nobody
//! else's client id. Devices without one are spoken for by anybody, as they always were; where
//! there are none of those, nobody comes without a user. Passwords are read anew for each attempt,
//! so that a changed one needs no restart, and cross the network in the clear: the broker has no
//! TLS.
//!
//! plantwin's own connections prove themselves by [`crate::own`] and may do everything. Nobody else
//! gets the client ids of its links, since whoever comes under one ends the link's session and
//! throws away what waits in it. Absent: who may listen (without TLS nothing of a plain device is
//! secret), sealed devices' own proof (their session).

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use mqtt5::{
    MqttError,
    broker::{AuthProvider, AuthResult, MqttBroker, sys_topics::BrokerStats},
    packet::connect::ConnectPacket,
    protocol::v5::reason_codes::ReasonCode,
};
use plantwin_adapter::{HostedDevice, LinkError};
use tokio::time::{Duration, sleep};

use crate::{
    bounds::{Bounds, MAX_NAME},
    config::Config,
    own::{self, Own},
    secret,
    sessions::Sessions,
};

/// How long a wrong password is left without an answer: guessing takes as long.
const WRONG: Duration = Duration::from_secs(1);

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The users of a broker, and what is theirs.
#[derive(Debug)]
pub(crate) struct Admission {
    /// What plantwin's own connections show.
    own: Arc<Own>,
    /// What the broker holds at most.
    pub(crate) bounds: Bounds,
    /// The sessions that it keeps.
    sessions: Sessions,
    /// Its own counters.
    stats: OnceLock<Arc<BrokerStats>>,
    /// Where each user's password is.
    users: HashMap<String, PathBuf>,
    /// Whether a device comes that has no user.
    anonymous: bool,
    /// Client ids of plantwin's links.
    links: HashSet<String>,
    /// Who may come under the name of a device that has users.
    names: HashMap<String, HashSet<String>>,
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
    /// [`LinkError::Settings`]: a user without a password, with two, two users of one
    /// topic, or plantwin's own.
    pub(crate) fn of(own: Arc<Own>, devices: &[HostedDevice]) -> Result<Self, LinkError> {
        let mut all = Self {
            own,
            bounds: Bounds::default(),
            sessions: Sessions::default(),
            stats: OnceLock::new(),
            users: HashMap::new(),
            anonymous: false,
            links: HashSet::new(),
            names: HashMap::new(),
            topics: HashMap::new(),
            bases: Vec::new(),
            refused: AtomicU64::new(0),
        };
        let mut open = HashSet::new();
        for hosted in devices {
            let (device, points) = (&hosted.device, &hosted.points);
            // Any address: only names and topics are of interest.
            let config = Config::read(device, points, &hosted.path, Some("hub:1"), hosted.sealed)?;
            all.links.insert(config.fixed_id(device));
            all.bounds.admit(&config.topics);
            let topics = config.topics;
            let base = topics.session.strip_suffix("session/").unwrap_or(&topics.session);
            let user = config.login.as_ref().map(|login| login.user.clone());
            all.sessions.admit(user.as_deref());
            all.bases.push((base.to_owned(), user));
            let Some(login) = config.login else {
                all.anonymous = true;
                open.insert(device.as_str());
                continue;
            };
            let wrong = |what: String| LinkError::Settings(format!("{device}: {what}"));
            if is_own(Some(&login.user)) {
                return Err(wrong(format!("user `{}` is plantwin itself", login.user)));
            }
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
            all.names.entry(device.to_string()).or_default().insert(login.user.clone());
            let own = topics.routes.into_keys().chain(topics.set.into_iter().flatten());
            for topic in own.filter(|topic| !topic.starts_with(base)) {
                let known = all.topics.insert(topic.clone(), login.user.clone());
                if known.is_some_and(|known| known != login.user) {
                    return Err(wrong(format!("topic `{topic}` belongs to two users")));
                }
            }
        }
        // A device that also comes by a path without a user does so under the same name.
        all.names.retain(|name, _| !open.contains(name.as_str()));
        Ok(all)
    }

    /// Looks into the broker that it is for. Until then nobody is counted.
    pub(crate) fn watch(&self, broker: &MqttBroker) {
        if let Some(storage) = broker.storage() {
            self.sessions.look_into(storage);
        }
        // There is one broker, and it is told once.
        let _ = self.stats.set(broker.stats());
    }

    /// Tells of a refusal; ever more seldom, so that nobody fills the log with them.
    fn complain(&self, what: &str, client: &dyn fmt::Display) {
        let times = self.refused.fetch_add(1, Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(%client, times, "the MQTT broker refused a client: {what}");
        }
    }

    /// Whether a client that proved to be this user may publish there.
    pub(crate) fn may_publish(&self, user: Option<&str>, topic: &str) -> bool {
        if is_own(user) {
            return true;
        }
        if topic.len() > MAX_NAME {
            return false;
        }
        if self.users.is_empty() {
            return true;
        }
        let exact = self.topics.get(topic);
        let owner = exact.or_else(|| {
            // A device may have its base below another's: the nearest counts.
            let above = self.bases.iter().filter(|(base, _)| topic.starts_with(base));
            above.max_by_key(|(base, _)| base.len())?.1.as_ref()
        });
        owner.is_none_or(|owner| user == Some(owner))
    }

    /// Whether a client that proved to be this user may come under this client id.
    pub(crate) fn may_be(&self, user: Option<&str>, id: &str) -> bool {
        if is_own(user) {
            return true;
        }
        let named =
            || self.names.get(id).is_none_or(|users| user.is_some_and(|u| users.contains(u)));
        !self.links.contains(id) && named()
    }

    /// Who the client is; `None`: not who it says, or nobody where all have users.
    fn identify(&self, connect: &ConnectPacket) -> Option<AuthResult> {
        let shown = connect.password.as_deref().unwrap_or_default();
        let name = connect.username.as_ref();
        if is_own(name.map(String::as_str)) {
            let is_ours = is_same(shown, self.own.password.as_bytes());
            return is_ours.then(|| AuthResult::success_with_user(own::USER));
        }
        // Whoever shows a password that nobody asked for is one of all the others.
        let Some(name) = name.filter(|_| !self.users.is_empty()) else {
            let may_come = self.anonymous || self.users.is_empty();
            return may_come.then(AuthResult::success);
        };
        let file = self.users.get(name)?;
        let expected = secret::password(file)
            .map_err(|error| tracing::error!(user = name, "failed to {error}"))
            .ok()?;
        is_same(shown, expected.as_bytes()).then(|| AuthResult::success_with_user(name.clone()))
    }

    /// Why a client that proved to be this user may not come, with the code of it.
    async fn objection(
        &self,
        user: Option<&str>,
        connect: &ConnectPacket,
    ) -> Option<(&'static str, ReasonCode)> {
        if !self.may_be(user, &connect.client_id) {
            return Some(("its client id is another's", ReasonCode::NotAuthorized));
        }
        let will = connect.will.as_ref().map(|will| will.topic.as_str());
        if !will.is_none_or(|topic| self.may_publish(user, topic)) {
            return Some(("its last will is another's to leave", ReasonCode::NotAuthorized));
        }
        let connected = self.stats.get().map_or(0, |stats| stats.clients_connected.load(Relaxed));
        if user.is_none() && connected >= self.bounds.strangers {
            return Some(("too many clients are there already", ReasonCode::QuotaExceeded));
        }
        if !is_own(user) && !self.sessions.may_keep(user, connect).await {
            return Some(("too many sessions are kept already", ReasonCode::QuotaExceeded));
        }
        None
    }
}

/// Whether who proved to be this user is a connection of plantwin's own.
fn is_own(user: Option<&str>) -> bool {
    user == Some(own::USER)
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
            if let Some((why, code)) = self.objection(result.user_id.as_deref(), connect).await {
                self.complain(why, &client);
                return Ok(AuthResult::fail(code));
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
            // Topics that are too long are cut, so that nobody fills the log with them either.
            let topic: String = topic.chars().take(200).collect();
            self.complain(&format!("{topic} belongs to another's device"), &client_id);
        }
        Box::pin(std::future::ready(allowed))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _: &str,
        _: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(std::future::ready(filter.len() <= MAX_NAME))
    }
}
