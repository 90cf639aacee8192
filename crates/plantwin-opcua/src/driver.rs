//! The task behind a link: moves the library on and hands out what the feed made of it.
//!
//! It awaits room in the event queue before the next step, so that a slow user stops the socket.
//! It is not ended by force: when the connection is dropped it first closes the session, because
//! small controllers have only a handful of them. Absent: reconnecting.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::BoxStream};
use opcua::{
    client::{Session, SessionPollResult},
    types::StatusCode,
};
use plantwin_adapter::{LinkError, LinkEvent};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::feed::Pending;

/// The library's event loop; nothing happens unless it is polled.
pub(crate) type Steps = BoxStream<'static, Result<SessionPollResult, StatusCode>>;

/// Ends a session in good order, if the server still answers.
pub(crate) async fn close(session: Arc<Session>, mut steps: Steps, wait: Duration) {
    // Not `close_on_drop`: with it the library (0.19) ends its loop before the request to close the
    // session is sent.
    let moving = async { while let Some(Ok(_)) = steps.next().await {} };
    let _ = timeout(wait, async { tokio::join!(session.disconnect(), moving) }).await;
}

/// Moves the library on and hands its events out.
pub(crate) struct Driver {
    pub(crate) session: Arc<Session>,
    pub(crate) steps: Steps,
    pub(crate) events: mpsc::Sender<LinkEvent>,
    pub(crate) pending: Pending,
    /// Resolves when the [`Connection`] was dropped.
    pub(crate) dropped: oneshot::Receiver<()>,
    pub(crate) silence: Duration,
    pub(crate) timeout: Duration,
    pub(crate) endpoint: String,
}

impl Driver {
    /// Until the link ends; then the session is closed.
    pub(crate) async fn run(mut self) {
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
                biased;
                _ = &mut self.dropped => return None,
                step = self.steps.next() => step,
                () = &mut quiet => {
                    let millis = self.silence.as_millis() as u64;
                    return Some(LinkError::Timeout { endpoint: self.endpoint.clone(), millis });
                }
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
                    biased;
                    _ = &mut self.dropped => return None,
                    sent = self.events.send(event) => if sent.is_err() { return None },
                }
            }
        }
    }
}
