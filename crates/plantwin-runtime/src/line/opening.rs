//! Opening a connection, and waiting for a sign of life where connecting alone proves nothing.
//!
//! A sign of life is a live value or a confirmation that the old ones hold; what a broker kept is
//! none. Absent: which path, and when (the path's chooser).

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{Connection, LinkContext, LinkError, LinkEvent, Protocol};

use super::TIMEOUT;
use crate::guardian::text_of;

/// Events that are kept until the sign of life comes; as many as an adapter may leave unconfirmed.
const EARLY: usize = plantwin_twin::MAX_RECEIPTS;

/// A connection, and what it said before it counted as up.
pub(super) struct Opened {
    pub(super) rank: usize,
    pub(super) connection: Connection,
    pub(super) early: Vec<LinkEvent>,
}

/// A connection under way.
pub(super) type Opening = BoxFuture<'static, Result<Opened, (usize, Fault)>>;

/// What a path died of, as told to the twin when it changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    Settings,
    Unreachable,
    Timeout,
    Closed,
    Refused,
    Hung,
    Panicked,
}

impl Cause {
    /// As it is told. A device that takes connections and says nothing shows as one or the other,
    /// depending on whether its protocol asks before it counts as connected: for the twin it is
    /// the same silence, told once and in the words in which it began.
    pub(super) const fn told(self) -> Self {
        match self {
            Self::Hung => Self::Timeout,
            other => other,
        }
    }
}

/// Why a path is not up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    /// A lowercase fragment.
    pub(super) reason: String,
}

impl Fault {
    /// It connected, and then nothing came for so long.
    pub(super) fn hung(silence: Duration) -> Self {
        let seconds = (silence.as_secs_f64() * 10.0).round() / 10.0;
        let reason = format!("hung: connected, but nothing came for {seconds} s");
        Self { cause: Cause::Hung, reason }
    }

    /// The adapter's code panicked with this text.
    pub(super) fn panicked(text: &str) -> Self {
        Self { cause: Cause::Panicked, reason: format!("the adapter panicked: {text}") }
    }

    /// Whether trust in the path needs more than a connection.
    pub(super) const fn needs_life(&self) -> bool {
        matches!(self.cause, Cause::Timeout | Cause::Hung | Cause::Panicked)
    }
}

impl From<LinkError> for Fault {
    fn from(error: LinkError) -> Self {
        let cause = match &error {
            LinkError::Settings(_) => Cause::Settings,
            LinkError::Unreachable { .. } | LinkError::Listen { .. } => Cause::Unreachable,
            LinkError::Timeout { .. } => Cause::Timeout,
            LinkError::Closed(_) => Cause::Closed,
            LinkError::Refused(_) | LinkError::Unsupported(_) => Cause::Refused,
        };
        Self { cause, reason: format!("failed to {error}") }
    }
}

/// Whether the device itself spoke.
pub(super) fn is_life(event: &LinkEvent) -> bool {
    match event {
        LinkEvent::Frame(frame) | LinkEvent::Durable { frame, .. } => !frame.is_past(),
        // Anybody can send bytes that do not open; a session that gets nothing else ends by itself.
        LinkEvent::Alive | LinkEvent::Sealed { .. } => true,
        LinkEvent::Closed(_) => false,
    }
}

/// Connects within [`TIMEOUT`]; with `patience`, waits so long for a sign of life as well.
pub(super) fn open(
    rank: usize,
    protocol: Option<Arc<dyn Protocol>>,
    context: LinkContext,
    patience: Option<Duration>,
    panics: Arc<AtomicU64>,
) -> Opening {
    let work = async move {
        let Some(protocol) = protocol else {
            let name = context.path.protocol;
            return Err(
                LinkError::Settings(format!("the protocol {name} is not in this build")).into()
            );
        };
        let endpoint = context.path.text("addr").unwrap_or("the device").to_owned();
        let millis = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let connection = tokio::time::timeout(TIMEOUT, protocol.connect(context))
            .await
            .unwrap_or(Err(LinkError::Timeout { endpoint, millis }))?;
        let mut opened = Opened { rank, connection, early: Vec::new() };
        if let Some(patience) = patience {
            tokio::time::timeout(patience, life(&mut opened))
                .await
                .unwrap_or_else(|_| Err(Fault::hung(patience)))?;
        }
        Ok(opened)
    };
    Box::pin(async move {
        let result = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|payload| {
            panics.fetch_add(1, Relaxed);
            Err(Fault::panicked(&text_of(&*payload)))
        });
        result.map_err(|fault| (rank, fault))
    })
}

/// Waits for a sign of life, which stands last among the early events.
async fn life(opened: &mut Opened) -> Result<(), Fault> {
    loop {
        let Some(event) = opened.connection.events.recv().await else {
            return Err(LinkError::Closed("the link ended".to_owned()).into());
        };
        match event {
            LinkEvent::Closed(error) => return Err(error.into()),
            event if is_life(&event) => {
                opened.early.push(event);
                return Ok(());
            }
            // What somebody keeps until it is confirmed must not get lost here; what a broker
            // kept for everybody may.
            LinkEvent::Durable { .. } => opened.early.push(event),
            _ => {}
        }
        if opened.early.len() >= EARLY {
            std::future::pending::<()>().await;
        }
    }
}
