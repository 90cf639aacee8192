//! The link face: a session with one subscription for one device.
//!
//! Steps of a connect: list the endpoints, open a session, look up the namespace, read every
//! point once (does it exist, which type, is the device there?), subscribe. Afterwards a driver
//! task moves the library's event loop on and hands out what the [`Feed`] made of it. It awaits
//! room in the event queue before the next step, so that a slow user stops the socket.
//!
//! The driver is not ended by force: when the [`Connection`] is dropped it first closes the
//! session, because small controllers have only a handful of them. Absent: reconnecting.

use std::{
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::BoxStream};
use opcua::{
    client::{Client, ClientBuilder, IdentityToken, Session, SessionPollResult},
    crypto::SecurityPolicy,
    types::{
        AttributeId, DataChangeFilter, DataChangeTrigger, EndpointDescription, Error,
        ExtensionObject, MessageSecurityMode, MonitoredItemCreateRequest, MonitoringMode,
        MonitoringParameters, NodeId, ReadValueId, StatusCode, TimestampsToReturn, UserTokenType,
        Variant,
    },
};
use plantwin_adapter::{Connection, LinkContext, LinkError, LinkEvent, Tasks, Traffic};
use plantwin_model::{Access, PointIx};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    config::{PathConfig, Security},
    control::{SessionControl, Target},
    feed::{Feed, Pending, Slot},
    pki::{PkiFolder, with_pki},
    transport::CountedConnector,
    value::{Kind, is_device_gone},
};

/// Events between the driver and its user.
const EVENT_QUEUE: usize = 64;
/// Values a server keeps per point between two notifications.
const ITEM_QUEUE: u32 = 10;
/// Shortest publishing and sampling interval asked for.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

type Steps = BoxStream<'static, Result<SessionPollResult, StatusCode>>;

/// Connects to the device of `context`.
pub(crate) async fn connect(
    context: LinkContext,
    pki: Arc<PkiFolder>,
) -> Result<Connection, LinkError> {
    let config = PathConfig::read(&context.device, &context.points, &context.path)
        .map_err(LinkError::Settings)?;
    let url = config.url.clone().ok_or_else(|| LinkError::Settings("`addr` is missing".into()))?;
    let traffic = Arc::new(Traffic::default());
    let connector = CountedConnector::new(&url, Arc::clone(&traffic));
    let client = client(&config, &context, pki).await?;
    let attempt = establish(&client, &connector, &url, &config, &context);
    let Ok(made) = timeout(context.timeout, attempt).await else {
        return Err(late(&config, context.timeout));
    };
    let (session, steps, link) = made?;

    let (events, receiver) = mpsc::channel(EVENT_QUEUE);
    let (alive, dropped) = oneshot::channel::<()>();
    let mut tasks = Tasks::new();
    tasks.spawn(async move {
        let _alive = alive;
        std::future::pending().await
    });
    let control = SessionControl {
        session: Arc::clone(&session),
        targets: link.targets.into(),
        exchange: link.exchange,
        endpoint: config.endpoint.clone(),
        timeout: context.timeout,
    };
    let silence = link.silence;
    let driver = Driver {
        session,
        steps,
        events,
        pending: link.pending,
        dropped,
        silence,
        timeout: context.timeout,
        endpoint: config.endpoint.clone(),
    };
    tokio::spawn(driver.run());
    Ok(Connection {
        events: receiver,
        control: Arc::new(control),
        traffic,
        endpoint: config.endpoint,
        tasks,
    })
}

fn late(config: &PathConfig, wait: Duration) -> LinkError {
    LinkError::Timeout { endpoint: config.endpoint.clone(), millis: wait.as_millis() as u64 }
}

fn unreachable(config: &PathConfig, cause: impl ToString) -> LinkError {
    LinkError::Unreachable { endpoint: config.endpoint.clone(), cause: cause.to_string() }
}

/// The library's client. On a blocking thread, since it may have to make an RSA key.
async fn client(
    config: &PathConfig,
    context: &LinkContext,
    shared: Arc<PkiFolder>,
) -> Result<Client, LinkError> {
    let (security, folder) = (config.security, config.pki.clone());
    let (device, wait) = (context.device.clone(), context.timeout);
    let make = move || {
        with_pki(&shared, security, folder.as_deref(), |pki| {
            ClientBuilder::new()
                .application_name("plantwin")
                .application_uri("urn:plantwin:link")
                .product_uri("urn:plantwin")
                .session_name(format!("plantwin {device}"))
                .pki_dir(pki.folder)
                .certificate_path(Path::new("own/cert.der"))
                .private_key_path(Path::new("private/private.pem"))
                .create_sample_keypair(pki.own)
                .trust_server_certs(pki.trust_all)
                .verify_server_certs(!pki.trust_all)
                // The caller decides when to try again.
                .session_retry_limit(0)
                .recreate_subscriptions(false)
                .request_timeout(wait)
                .publish_timeout(wait * 4)
                .session_timeout((wait * 4).max(Duration::from_secs(10)).as_millis() as u32)
                .min_publish_interval(SHORTEST_INTERVAL)
                // The subscription's own keep-alives prove that the server lives; reads beside
                // them would only cost energy.
                .keep_alive_interval(Duration::from_hours(24))
                .client()
        })
    };
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(Ok(client))) => Ok(client),
        Ok(Ok(Err(problems))) => Err(LinkError::Settings(problems.join(", "))),
        Ok(Err(problem)) => Err(LinkError::Settings(problem)),
        Err(error) => Err(LinkError::Settings(error.to_string())),
    }
}

/// What the steps after the session yield.
struct Subscribed {
    pending: Pending,
    targets: Vec<Option<Target>>,
    exchange: Option<(NodeId, NodeId)>,
    /// Longest silence of a healthy subscription.
    silence: Duration,
}

async fn establish(
    client: &Client,
    connector: &CountedConnector,
    url: &str,
    config: &PathConfig,
    context: &LinkContext,
) -> Result<(Arc<Session>, Steps, Subscribed), LinkError> {
    let failed = |status: StatusCode| {
        unreachable(config, connector.failure().unwrap_or_else(|| status.to_string()))
    };
    let endpoints = client.get_server_endpoints_from_url(connector.clone()).await;
    let endpoints = endpoints.map_err(|e| failed(e.status()))?;
    let mut endpoint = choose(endpoints, config)?;
    endpoint.endpoint_url = url.into();
    let identity = config.user.as_ref().map_or(IdentityToken::Anonymous, |(user, password)| {
        IdentityToken::UserName(user.clone(), password.as_str().into())
    });
    let built = client
        .session_builder()
        .user_identity_token(identity)
        .with_connector(connector.clone())
        .connect_to_endpoint_directly(endpoint)
        .and_then(|b| b.build(Arc::clone(client.certificate_store())));
    let (session, event_loop) = built.map_err(|e| unreachable(config, e))?;
    session.disable_reconnects();
    let mut steps: Steps = event_loop.enter().boxed();
    loop {
        match steps.next().await {
            Some(Ok(SessionPollResult::Reconnected(_))) => break,
            Some(Ok(_)) => {}
            Some(Err(status)) => return Err(failed(status)),
            None => return Err(unreachable(config, "the server closed the connection")),
        }
    }
    let link = {
        let subscribing = subscribe(&session, config, context);
        tokio::pin!(subscribing);
        loop {
            tokio::select! {
                done = &mut subscribing => break done,
                step = steps.next() => match step {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => break Err(failed(status)),
                    None => break Err(unreachable(config, "the server closed the connection")),
                },
            }
        }
    };
    match link {
        Ok(link) => Ok((session, steps, link)),
        Err(error) => {
            // Give the session back before giving up.
            tokio::spawn(close(session, steps, context.timeout));
            Err(error)
        }
    }
}

/// The endpoint with the wanted security and kind of user; of several the most secure.
fn choose(
    endpoints: Vec<EndpointDescription>,
    config: &PathConfig,
) -> Result<EndpointDescription, LinkError> {
    let user =
        if config.user.is_some() { UserTokenType::UserName } else { UserTokenType::Anonymous };
    let fits = |e: &EndpointDescription| {
        let policy = SecurityPolicy::from_uri(e.security_policy_uri.as_ref());
        let secure = match config.security {
            Security::None => e.security_mode == MessageSecurityMode::None,
            Security::SignEncrypt => {
                e.security_mode == MessageSecurityMode::SignAndEncrypt
                    && matches!(
                        policy,
                        SecurityPolicy::Basic256Sha256 | SecurityPolicy::Aes256Sha256RsaPss
                    )
            }
        };
        secure && e.find_policy(user).is_some()
    };
    let found = endpoints.into_iter().filter(fits).max_by_key(|e| e.security_level);
    found.ok_or_else(|| {
        let (security, user) = match (config.security, &config.user) {
            (Security::None, None) => ("no security", "anonymous users"),
            (Security::None, Some(_)) => ("no security", "user names"),
            (Security::SignEncrypt, None) => ("sign-encrypt", "anonymous users"),
            (Security::SignEncrypt, Some(_)) => ("sign-encrypt", "user names"),
        };
        LinkError::Unsupported(format!("an endpoint with {security} for {user}"))
    })
}

fn read_id(node: NodeId, attribute: AttributeId) -> ReadValueId {
    ReadValueId { node_id: node, attribute_id: attribute as u32, ..Default::default() }
}

async fn subscribe(
    session: &Session,
    config: &PathConfig,
    context: &LinkContext,
) -> Result<Subscribed, LinkError> {
    let broken = |error: Error| unreachable(config, error);
    let namespaces = session.read_namespace_array().await.map_err(broken)?;
    let namespace = namespaces.get_index(&config.namespace);
    let nodes: Vec<Option<NodeId>> = config.points.iter().map(|n| n.resolve(namespace)).collect();
    let sequence = config.own("sequence").resolve(namespace);

    // One request: the values of all points, the data types of all points, the sequence.
    let mut ids = Vec::new();
    for attribute in [AttributeId::Value, AttributeId::DataType] {
        ids.extend(nodes.iter().flatten().map(|n| read_id(n.clone(), attribute)));
    }
    ids.extend(sequence.iter().map(|n| read_id(n.clone(), AttributeId::Value)));
    let asked = ids.len();
    let read = session.read(&ids, TimestampsToReturn::Neither, 0.0).await.map_err(broken)?;
    if read.len() != asked {
        return Err(unreachable(config, "the server answered a read with too few values"));
    }
    let known = nodes.iter().flatten().count();
    let absent = |status: StatusCode| {
        status == StatusCode::BadNodeIdUnknown || status == StatusCode::BadNodeIdInvalid
    };

    let (mut slots, mut watched) = (Vec::new(), Vec::new());
    let mut targets: Vec<Option<Target>> = vec![None; nodes.len()];
    let mut gone = 0;
    for (at, (ix, node)) in
        nodes.iter().enumerate().filter_map(|(ix, n)| Some((ix, n.clone()?))).enumerate()
    {
        let value = &read[at];
        if absent(value.status()) {
            continue;
        }
        gone += usize::from(is_device_gone(value.status()));
        slots.push(Slot::Point(PointIx(ix as u16)));
        watched.push(node.clone());
        if context.points[ix].access == Access::ReadWrite {
            let declared = match &read[known + at].value {
                Some(Variant::NodeId(kind)) => Kind::of_type(kind),
                _ => None,
            };
            let kind = declared.or_else(|| value.value.as_ref().and_then(Kind::of_value));
            targets[ix] = Some(Target { node, name: Arc::clone(&context.points[ix].name), kind });
        }
    }
    let missing: Vec<String> = (0..nodes.len())
        .filter(|&ix| !slots.contains(&Slot::Point(PointIx(ix as u16))))
        .map(|ix| format!("{} ({})", context.points[ix].name, config.points[ix]))
        .collect();
    if slots.is_empty() {
        return Err(LinkError::Unsupported(format!("any of its points: {}", missing.join(", "))));
    }
    if !missing.is_empty() {
        tracing::warn!(device = %context.device, "no nodes for {}", missing.join(", "));
    }
    if gone == slots.len() {
        return Err(unreachable(config, "the server has no communication with the device"));
    }
    let numbered = sequence.filter(|_| read.last().is_some_and(|v| !absent(v.status())));
    if let Some(node) = &numbered {
        slots.push(Slot::Sequence);
        watched.push(node.clone());
    }

    let pending = Pending::default();
    let feed = Feed::new(slots, Arc::clone(&pending), Arc::clone(&context.clock));
    let silence = monitor(session, context, feed, watched, numbered.is_some()).await;
    let exchange = config
        .own("session")
        .resolve(namespace)
        .and_then(|method| Some((NodeId::new(namespace?, config.prefix.as_str()), method)));
    Ok(Subscribed { pending, targets, exchange, silence: silence.map_err(broken)? })
}

/// Creates the subscription and gives the longest silence to expect of it.
///
/// Values are sampled once a period, or as they come where the server numbers its measurements.
/// They are published ten times as often, because the publishing cycle is not in step with the
/// device and would delay values by up to its length; an empty cycle sends nothing.
async fn monitor(
    session: &Session,
    context: &LinkContext,
    feed: Feed,
    nodes: Vec<NodeId>,
    numbered: bool,
) -> Result<Duration, Error> {
    let publishing = (context.period / 10).min(context.timeout / 4).max(SHORTEST_INTERVAL);
    let keep_alive = (context.timeout.as_millis() / 3 / publishing.as_millis()).max(1) as u32;
    let lifetime = keep_alive.saturating_mul(10);
    let subscription =
        session.create_subscription(publishing, lifetime, keep_alive, 0, 0, true, feed).await?;
    let sampling =
        if numbered { 0.0 } else { context.period.max(SHORTEST_INTERVAL).as_secs_f64() * 1000.0 };
    let timestamps = DataChangeFilter {
        // An unchanged value with a new time is news: the device still measures.
        trigger: DataChangeTrigger::StatusValueTimestamp,
        deadband_type: 0,
        deadband_value: 0.0,
    };
    let item = |(ix, node): (usize, &NodeId), filter: ExtensionObject| {
        MonitoredItemCreateRequest::new(
            read_id(node.clone(), AttributeId::Value),
            MonitoringMode::Reporting,
            MonitoringParameters {
                client_handle: ix as u32 + 1,
                sampling_interval: sampling,
                filter,
                queue_size: ITEM_QUEUE,
                discard_oldest: true,
            },
        )
    };
    let wanted = nodes
        .iter()
        .enumerate()
        .map(|n| item(n, ExtensionObject::from_message(timestamps.clone())))
        .collect();
    let made =
        session.create_monitored_items(subscription, TimestampsToReturn::Source, wanted).await?;
    // Simple servers know no filter: take every change of value then.
    let refused: Vec<_> = nodes
        .iter()
        .enumerate()
        .zip(&made)
        .filter(|(_, made)| made.result.status_code.is_bad())
        .map(|(n, _)| item(n, ExtensionObject::null()))
        .collect();
    if !refused.is_empty() {
        let again = session
            .create_monitored_items(subscription, TimestampsToReturn::Source, refused)
            .await?;
        if let Some(bad) = again.iter().find(|m| m.result.status_code.is_bad()) {
            return Err(Error::new(bad.result.status_code, "a point cannot be monitored"));
        }
    }
    let (interval, count) = {
        let state = session.subscription_state.lock();
        state.get(subscription).map_or((publishing, keep_alive), |s| {
            (s.publishing_interval(), s.max_keep_alive_count())
        })
    };
    // The server may have revised both; a healthy one is never silent for longer than this.
    Ok(context.timeout.max(interval.saturating_mul(count).saturating_mul(2)))
}

/// Ends a session in good order, if the server still answers.
async fn close(session: Arc<Session>, mut steps: Steps, wait: Duration) {
    drop(session.close_on_drop());
    let end = async { while let Some(Ok(_)) = steps.next().await {} };
    let _ = timeout(wait, end).await;
}

/// Moves the library on and hands its events out.
struct Driver {
    session: Arc<Session>,
    steps: Steps,
    events: mpsc::Sender<LinkEvent>,
    pending: Pending,
    /// Resolves when the [`Connection`] was dropped.
    dropped: oneshot::Receiver<()>,
    silence: Duration,
    timeout: Duration,
    endpoint: String,
}

impl Driver {
    async fn run(mut self) {
        let end = self.drive().await;
        let Self { session, steps, events, timeout, .. } = self;
        let closing = close(session, steps, timeout);
        if let Some(error) = end {
            // The session is closed beside, so that a user who does not read holds up nothing.
            let tell = async move {
                let _ = tokio::time::timeout(timeout, events.send(LinkEvent::Closed(error))).await;
            };
            tokio::join!(tell, closing);
        } else {
            drop(events);
            closing.await;
        }
    }

    /// Until the link ends; `None` when nobody wants it any more.
    async fn drive(&mut self) -> Option<LinkError> {
        let quiet = tokio::time::sleep(self.silence);
        tokio::pin!(quiet);
        loop {
            let step = tokio::select! {
                step = self.steps.next() => step,
                () = &mut quiet => {
                    let millis = self.silence.as_millis() as u64;
                    return Some(LinkError::Timeout { endpoint: self.endpoint.clone(), millis });
                }
                _ = &mut self.dropped => return None,
            };
            match step {
                Some(Ok(SessionPollResult::Subscription(activity))) => {
                    if matches!(activity, opcua::client::SubscriptionActivity::Publish) {
                        quiet.as_mut().reset(tokio::time::Instant::now() + self.silence);
                    }
                }
                Some(Ok(SessionPollResult::ConnectionLost(status)) | Err(status)) => {
                    return Some(LinkError::Closed(status.to_string()));
                }
                Some(Ok(_)) => {}
                None => return Some(LinkError::Closed("the server closed it".to_owned())),
            }
            let news =
                std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
            for event in news {
                if let LinkEvent::Closed(error) = event {
                    return Some(error);
                }
                tokio::select! {
                    sent = self.events.send(event) => if sent.is_err() { return None },
                    _ = &mut self.dropped => return None,
                }
            }
        }
    }
}
