//! Where durable telemetry goes: takes records in order and acknowledges them, unless it is down.
//!
//! What was under way when the connection ends may have arrived or not; nobody is told. Absent:
//! what a record means (see [`super::read`]).

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{ForwardContext, ForwardRecord, LinkError, Outbound, Sink, Tasks};
use plantwin_model::invariant::{Rule, Violation};
use tokio::sync::oneshot;

use super::{Due, Net, Reply, State};
use crate::world::Planted;

/// The receiving side.
#[derive(Default)]
pub(crate) struct Cloud {
    down: bool,
    pub(super) connection: Option<u64>,
    closed: Option<oneshot::Sender<LinkError>>,
    /// The last connection of which the rest was lost.
    cut: u64,
    /// Nothing arrives before what was sent before it.
    last: Duration,
}

impl Cloud {
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
        if let Some(closed) = self.closed.take() {
            let _ = closed.send(LinkError::Closed("the other side went away".to_owned()));
        }
    }

    pub(super) fn set_up(&mut self, up: bool) {
        self.down = !up;
        if !up {
            self.disconnect();
        }
    }
}

impl Net {
    pub(super) fn connect_cloud(
        &self,
        context: ForwardContext,
    ) -> BoxFuture<'static, Result<Outbound, LinkError>> {
        let net = self.clone();
        async move {
            let endpoint = "cloud".to_owned();
            let delay = net.state().delay();
            tokio::time::sleep(delay).await;
            let mut state = net.state();
            if state.cloud.down || !state.alive {
                let cause = "nobody listens".to_owned();
                return Err(LinkError::Unreachable { endpoint, cause });
            }
            state.cloud.disconnect();
            let connection = state.next;
            state.next += 1;
            let (closed, closes) = oneshot::channel();
            state.cloud.connection = Some(connection);
            state.cloud.closed = Some(closed);
            let sink = CloudSink { net: net.clone(), connection, timeout: context.timeout };
            let sink = Arc::new(sink);
            Ok(Outbound { sink, endpoint, closed: closes, tasks: Tasks::new() })
        }
        .boxed()
    }

    pub(super) fn arrive(
        &self,
        state: &mut State,
        at: Duration,
        connection: u64,
        record: ForwardRecord,
        reply: Reply<()>,
    ) {
        // What was sent before the end may still arrive, up to some point; its acknowledgement
        // does not.
        let open = state.cloud.connection == Some(connection);
        if !open && (state.cloud.cut == connection || state.chance.happens(0.2)) {
            state.cloud.cut = connection;
            return;
        }
        if let Some(&ix) = state.names.get(record.device.as_str()) {
            let mut journal = self.0.journal.open();
            let deaf = state.planted == Some(Planted::DeafCloud) && state.chance.happens(0.02);
            let item = super::read::item(&record.body);
            journal.line(at, format_args!("arrived {} {item:?}", record.device));
            journal.count("records_arrived");
            match item {
                Some(_) if deaf => {}
                Some(item) => journal.arrived(ix, item),
                None => {
                    let body = String::from_utf8_lossy(&record.body);
                    let detail = format!("a record that says nothing: {body}");
                    let odd = Violation::new(Rule::Telemetry, &record.device, detail);
                    journal.judge(Err(odd));
                }
            }
        }
        if open {
            let delay = state.delay();
            state.schedule(at + delay, Due::Acknowledge { connection, reply });
        }
    }
}

struct CloudSink {
    net: Net,
    connection: u64,
    timeout: Duration,
}

impl Sink for CloudSink {
    fn send(&self, record: ForwardRecord) -> BoxFuture<'static, Result<(), LinkError>> {
        let (net, connection, timeout) = (self.net.clone(), self.connection, self.timeout);
        let (reply, answer) = oneshot::channel();
        {
            let mut state = net.state();
            if state.alive && state.cloud.connection == Some(connection) {
                let delay = state.delay();
                let at = (net.0.clock.world() + delay).max(state.cloud.last);
                state.cloud.last = at;
                state.schedule(at, Due::Arrive { connection, record, reply });
                net.0.wake.notify_one();
            }
        }
        async move {
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(LinkError::Closed("the other side went away".to_owned())),
                Err(_) => {
                    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                    Err(LinkError::Timeout { endpoint: "cloud".to_owned(), millis })
                }
            }
        }
        .boxed()
    }
}
