//! The link face: a session with one subscription for one device.
//!
//! Steps of a connect: list the endpoints, open a session, look up the namespace, read every
//! point once (does it exist, which type, is the device there?), subscribe. Afterwards a driver
//! task (see [`crate::driver`]) moves the library's event loop on. Absent: reconnecting, and what
//! is asked of the server once the session is open (see [`crate::subscribe`]).

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::StreamExt;
use opcua::{
    client::{Client, ClientBuilder, IdentityToken, Session, SessionPollResult},
    crypto::SecurityPolicy,
    types::{EndpointDescription, MessageSecurityMode, StatusCode, UserTokenType},
};
use plantwin_adapter::{Connection, LinkContext, LinkError, Tasks, Traffic};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    config::{PathConfig, Security},
    control::SessionControl,
    driver::{Driver, Steps, close},
    pki::{PkiFolder, with_pki},
    subscribe::{SHORTEST_INTERVAL, Subscribed, subscribe},
    transport::CountedConnector,
};

/// Events between the driver and its user.
const EVENT_QUEUE: usize = 64;

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
        std::future::pending::<()>().await;
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

pub(crate) fn unreachable(config: &PathConfig, cause: impl ToString) -> LinkError {
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
    let mut half = HalfOpen { session, steps, wait: context.timeout, done: false };
    let link = {
        let subscribing = subscribe(&half.session, config, context);
        tokio::pin!(subscribing);
        loop {
            tokio::select! {
                biased;
                done = &mut subscribing => break done,
                step = half.steps.next() => match step {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => break Err(failed(status)),
                    None => break Err(unreachable(config, "the server closed the connection")),
                },
            }
        }
    };
    let link = link?;
    let (session, steps) = half.finish();
    Ok((session, steps, link))
}

/// A session that is up without its subscription. Where it is given up before it has one, for an
/// error, a deadline or because nobody waits any more, it is given back to the server, which
/// would otherwise keep it, and what was subscribed in it, until it expires.
struct HalfOpen {
    session: Arc<Session>,
    steps: Steps,
    wait: Duration,
    done: bool,
}

impl HalfOpen {
    fn finish(mut self) -> (Arc<Session>, Steps) {
        self.done = true;
        (Arc::clone(&self.session), self.take_steps())
    }

    fn take_steps(&mut self) -> Steps {
        std::mem::replace(&mut self.steps, futures_util::stream::empty().boxed())
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        if !self.done
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(close(Arc::clone(&self.session), self.take_steps(), self.wait));
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
