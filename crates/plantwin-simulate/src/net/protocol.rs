//! The network as a protocol: what plantwin's lines and its way northbound hold of it.
//!
//! Absent: the device face, because simulated devices are part of the world.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{
    Connection, Control, ForwardContext, Host, HostRequest, HostedDevice, Hub, LinkContext,
    LinkError, Outbound, PointWrite, Protocol, ProtocolSchema, Tasks, Traffic,
};
use plantwin_model::{Clock, Delivery};
use tokio::sync::{mpsc, oneshot};

use super::{Due, EVENTS, Link, Net, Reply, Wire};

/// Name of the first way to a device in plant files.
const WIRE: &str = "wire";
/// Name of the second.
const RADIO: &str = "radio";

const fn schema(name: &'static str) -> ProtocolSchema {
    ProtocolSchema { acknowledges: true, ..ProtocolSchema::bare(name) }
}

static SCHEMAS: [ProtocolSchema; 2] = [schema(WIRE), schema(RADIO)];

/// One of the two ways to every device of a simulated network.
pub struct SimProtocol {
    net: Net,
    wire: usize,
}

impl SimProtocol {
    pub(crate) fn both(net: &Net) -> [Self; super::WIRES] {
        [0, 1].map(|wire| Self { net: net.clone(), wire })
    }

    /// Both schemas, for reading plant files.
    pub(crate) fn schemas() -> [&'static ProtocolSchema; super::WIRES] {
        [&SCHEMAS[0], &SCHEMAS[1]]
    }
}

impl Protocol for SimProtocol {
    fn schema(&self) -> &'static ProtocolSchema {
        &SCHEMAS[self.wire]
    }

    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        connect(self.net.clone(), self.wire, context).boxed()
    }

    fn host(&self, _: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        let error = LinkError::Unsupported("a simulated network to host devices".to_owned());
        std::future::ready(Err(error)).boxed()
    }

    fn start_hub(
        &self,
        _: Option<SocketAddr>,
        _: Vec<HostedDevice>,
    ) -> Option<BoxFuture<'static, Result<Hub, LinkError>>> {
        None
    }

    fn forward(
        &self,
        context: ForwardContext,
    ) -> Option<BoxFuture<'static, Result<Outbound, LinkError>>> {
        Some(self.net.connect_cloud(context))
    }
}

async fn connect(net: Net, wire: usize, context: LinkContext) -> Result<Connection, LinkError> {
    let endpoint = format!("{}/{wire}", context.device);
    let delay = net.state().delay();
    tokio::time::sleep(delay).await;
    let ix = net.state().names.get(context.device.as_str()).copied();
    let refused = |cause: &str| LinkError::Unreachable {
        endpoint: endpoint.clone(),
        cause: cause.to_owned(),
    };
    let ix = ix.ok_or_else(|| refused("there is no such device"))?;
    let mode = net.state().wires[ix][wire];
    match mode {
        Wire::Good | Wire::Hangs => {}
        Wire::Refuses => return Err(refused("connection refused")),
        Wire::Dead => std::future::pending().await,
    }
    let (events, receiver) = mpsc::channel(EVENTS);
    let traffic = Arc::new(Traffic::default());
    let connection = {
        let mut state = net.state();
        if !state.alive {
            return Err(refused("the process is dead"));
        }
        let id = state.next;
        state.next += 1;
        let link = Link {
            device: ix,
            wire,
            events,
            traffic: Arc::clone(&traffic),
            unconfirmed: Vec::new(),
            next_receipt: 1,
            sent: 0,
            last: Duration::ZERO,
        };
        state.links.insert(id, link);
        if context.delivery == Delivery::Durable && state.devices[ix].durable {
            state.choose_outlet(ix);
            state.empty_outbox(ix, net.0.clock.world(), net.0.clock.now());
        }
        id
    };
    net.0.wake.notify_one();
    let control = SimControl { net, connection, device: ix, wire, timeout: context.timeout };
    Ok(Connection {
        events: receiver,
        control: Arc::new(control),
        traffic,
        resumed: true,
        endpoint,
        tasks: Tasks::new(),
    })
}

struct SimControl {
    net: Net,
    connection: u64,
    device: usize,
    wire: usize,
    timeout: Duration,
}

impl SimControl {
    /// Sends a request and waits for what becomes of it.
    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Due + Send + 'static,
    ) -> BoxFuture<'static, Result<T, LinkError>> {
        let net = self.net.clone();
        let (connection, timeout) = (self.connection, self.timeout);
        let endpoint = format!("device {}/{}", self.device, self.wire);
        async move {
            let (reply, answer) = oneshot::channel();
            // What is lost on its way is waited for all the same.
            let mut lost = None;
            {
                let mut state = net.state();
                let open = state.links.contains_key(&connection);
                if !state.alive || !open {
                    return Err(LinkError::Closed("the connection is gone".to_owned()));
                }
                state.links[&connection].traffic.down(40);
                let share = state.weather.loss;
                if state.chance.happens(share) {
                    lost = Some(reply);
                } else {
                    let delay = state.delay();
                    let at = net.0.clock.world() + delay;
                    state.schedule(at, request(reply));
                }
            }
            net.0.wake.notify_one();
            let heard = tokio::time::timeout(timeout, async {
                match answer.await {
                    Ok(result) => result,
                    // Swallowed: only the clock ends the wait.
                    Err(_) => std::future::pending().await,
                }
            })
            .await;
            drop(lost);
            heard.unwrap_or_else(|_| {
                let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                Err(LinkError::Timeout { endpoint, millis })
            })
        }
        .boxed()
    }
}

impl Control for SimControl {
    fn write(&self, writes: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        let (device, wire) = (self.device, self.wire);
        self.ask(move |reply| Due::Write { device, wire, writes, reply })
    }

    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let (device, wire) = (self.device, self.wire);
        self.ask(move |reply| Due::Exchange { device, wire, request, reply })
    }

    fn confirm(&self, receipt: u64) {
        let at = self.net.0.clock.world();
        let time = self.net.0.clock.now();
        let mut state = self.net.state();
        let (device, wire) = (self.device, self.wire);
        if !state.alive || state.wires[device][wire] != Wire::Good {
            return;
        }
        let Some(link) = state.links.get_mut(&self.connection) else { return };
        let Some(place) = link.unconfirmed.iter().position(|(r, _)| *r == receipt) else { return };
        let (_, number) = link.unconfirmed.remove(place);
        state.devices[device].relieve(number);
        {
            let mut journal = self.net.0.journal.open();
            let name = &state.devices[device].name;
            journal.line(at, format_args!("confirmed {name} {number}"));
            journal.count("values_confirmed");
            journal.confirmed[device].insert(number, at);
        }
        state.empty_outbox(device, at, time);
        drop(state);
        self.net.0.wake.notify_one();
    }
}

#[cfg(test)]
pub(super) fn context(device: &str, clock: Arc<dyn Clock>, delivery: Delivery) -> LinkContext {
    use plantwin_model::{PathSpec, Span};
    LinkContext {
        sealed: false,
        device: device.into(),
        points: plantwin_adapter::conformance::points(),
        path: PathSpec {
            protocol: WIRE,
            settings: std::collections::BTreeMap::new(),
            points: std::collections::BTreeMap::new(),
            span: Span::default(),
        },
        period: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        clock,
        delivery,
    }
}
