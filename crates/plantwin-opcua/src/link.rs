//! The link face: a session with one subscription for one device.
//!
//! Steps of a connect: list the endpoints and choose one (see [`crate::choose`]), judge the
//! server's certificate (see [`crate::trust`]), open a session, look up the namespace, read every
//! point once (does it exist, which type, is the device there?), subscribe. Afterwards a driver
//! task (see [`crate::driver`]) moves the library's event loop on. Absent: reconnecting, and what
//! is asked of the server once the session is open (see [`crate::subscribe`]).

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use opcua::{
    client::{Client, ClientBuilder, IdentityToken, Session, SessionPollResult},
    crypto::SecurityPolicy,
    types::{EndpointDescription, StatusCode},
};
use plantwin_adapter::{Connection, LinkContext, LinkError, Tasks, Traffic};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    choose::choose,
    config::PathConfig,
    control::SessionControl,
    driver::{Driver, Steps, close},
    pki::{Face, PkiFolder, with_pki},
    security::{Security, User, allowed},
    subscribe::{SHORTEST_INTERVAL, Subscribed, subscribe},
    transport::CountedConnector,
    trust,
    value::date_time,
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
    let (client, user) = client(&config, &context, Arc::clone(&pki)).await?;
    let attempt = establish(&client, user, &connector, &url, &config, &context, pki);
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
        sealed: context.sealed,
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
        resumed: false,
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

/// The library's client and what it tells the server of the user. On a blocking thread, since
/// there are files to read, and there may be an RSA key to make.
async fn client(
    config: &PathConfig,
    context: &LinkContext,
    shared: Arc<PkiFolder>,
) -> Result<(Client, IdentityToken), LinkError> {
    let protection = config.protection.clone();
    let (device, wait) = (context.device.clone(), context.timeout);
    let make = move || {
        let user = protection.user.identity()?;
        let (security, folder) = (protection.security, protection.pki.as_deref());
        let client = with_pki(&shared, security, folder, Face::Link, |pki| {
            ClientBuilder::new()
                .application_name("plantwin")
                .application_uri("urn:plantwin:link")
                .product_uri("urn:plantwin")
                .session_name(format!("plantwin {device}"))
                .pki_dir(pki.folder)
                .certificate_path(pki.certificate)
                .private_key_path(pki.key)
                .create_sample_keypair(pki.own)
                // They have been judged before the library sees them.
                .trust_server_certs(pki.trust_all)
                .verify_server_certs(false)
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
        })?;
        Ok::<_, String>((client.map_err(|problems| problems.join(", "))?, user))
    };
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|e| LinkError::Settings(e.to_string()))?.map_err(LinkError::Settings)
}

/// Refuses a server that is not the one that was meant.
async fn judge(
    endpoint: &EndpointDescription,
    config: &PathConfig,
    context: &LinkContext,
    shared: Arc<PkiFolder>,
) -> Result<(), LinkError> {
    let protection = config.protection.clone();
    let der = endpoint.server_certificate.value.clone().unwrap_or_default();
    let (host, uri) = (config.host().to_owned(), endpoint.server.application_uri.to_string());
    let now = date_time(context.clock.now());
    let judging = tokio::task::spawn_blocking(move || {
        let own = shared.certificate();
        trust::judge(&protection, own.as_deref(), &der, (&host, &uri), &now)
    });
    let judged = judging.await.map_err(|e| LinkError::Settings(e.to_string()))?;
    judged.map_err(|cause| unreachable(config, cause))
}

/// What a server's refusal to open a session means, where it is known.
fn meaning(status: StatusCode, config: &PathConfig) -> Option<String> {
    let text = match status {
        StatusCode::BadIdentityTokenRejected
        | StatusCode::BadIdentityTokenInvalid
        | StatusCode::BadUserSignatureInvalid
        | StatusCode::BadUserAccessDenied => match &config.protection.user {
            User::Anonymous => "the server admits no anonymous users: set `user`".to_owned(),
            User::Password { name, .. } => {
                format!("the server refused the user `{name}`: check name and password")
            }
            User::Certificate { cert, .. } => {
                let cert = cert.display();
                format!(
                    "the server refused the user with the certificate {cert}: is it known there?"
                )
            }
        },
        StatusCode::BadCertificateUntrusted
        | StatusCode::BadSecurityChecksFailed
        | StatusCode::BadCertificateInvalid
        | StatusCode::BadCertificateTimeInvalid
        | StatusCode::BadCertificateUriInvalid
        | StatusCode::BadCertificateUseNotAllowed
            if config.protection.security != Security::None =>
        {
            let own = match &config.protection.pki {
                Some(pki) => format!("{}", pki.join("own/cert.der").display()),
                None => "a temporary one; set `pki` for a lasting one".to_owned(),
            };
            format!("the server does not accept our certificate ({own}): trust it there")
        }
        StatusCode::BadTcpServerTooBusy => {
            "the server takes no more secure channels now: try again later".to_owned()
        }
        _ => return None,
    };
    Some(format!("{text} ({status})"))
}

async fn establish(
    client: &Client,
    user: IdentityToken,
    connector: &CountedConnector,
    url: &str,
    config: &PathConfig,
    context: &LinkContext,
    shared: Arc<PkiFolder>,
) -> Result<(Arc<Session>, Steps, Subscribed), LinkError> {
    let failed = |status: StatusCode| {
        let known = connector.failure().or_else(|| meaning(status, config));
        unreachable(config, known.unwrap_or_else(|| status.to_string()))
    };
    let endpoints = client.get_server_endpoints_from_url(connector.clone()).await;
    let endpoints = endpoints.map_err(|e| failed(e.status()))?;
    let mut endpoint = choose(endpoints, &config.protection)?;
    if config.protection.security != Security::None {
        judge(&endpoint, config, context, shared).await?;
    }
    endpoint.endpoint_url = url.into();
    let policy = allowed(endpoint.security_policy_uri.as_ref()).unwrap_or(SecurityPolicy::None);
    let built = client
        .session_builder()
        .user_identity_token(user)
        .with_connector(connector.clone().with_policy(policy))
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
