//! What a link asks of a server once its session is open: names, types, a subscription.
//!
//! Absent: moving the session on, which whoever awaits this must do.

use std::{sync::Arc, time::Duration};

use opcua::{
    client::Session,
    types::{
        AttributeId, DataChangeFilter, DataChangeTrigger, DataValue, Error, ExtensionObject,
        MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NodeId, ReadValueId,
        StatusCode, TimestampsToReturn, VariableId, Variant,
    },
};
use plantwin_adapter::{LinkContext, LinkError};
use plantwin_model::{Access, PointIx};

use crate::{
    config::PathConfig,
    control::Target,
    feed::{Feed, Pending, Slot},
    link::unreachable,
    nodes::SEALED,
    value::{Kind, is_device_gone},
};

/// Values a server keeps per point between two notifications.
const ITEM_QUEUE: u32 = 10;
/// Envelopes it keeps: the oldest go first, which the session notices by their numbers. As many of
/// the longest fit into one message of the library (5 chunks of 64 KiB).
const SEALED_QUEUE: u32 = 64;
/// Shortest publishing and sampling interval asked for.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// What the steps after the session yield.
pub(crate) struct Subscribed {
    pub(crate) pending: Pending,
    /// By point; `None` where it cannot be written.
    pub(crate) targets: Vec<Option<Target>>,
    /// Object and method of session bytes.
    pub(crate) exchange: Option<(NodeId, NodeId)>,
    /// Longest silence of a healthy subscription.
    pub(crate) silence: Duration,
}

fn read_id(node: NodeId, attribute: AttributeId) -> ReadValueId {
    ReadValueId { node_id: node, attribute_id: attribute as u32, ..Default::default() }
}

/// Looks the device's nodes up, reads them once, and subscribes to all points.
pub(crate) async fn subscribe(
    session: &Session,
    config: &PathConfig,
    context: &LinkContext,
) -> Result<Subscribed, LinkError> {
    let broken = |error: Error| unreachable(config, error);
    let namespace = namespace(session, &config.namespace).await.map_err(broken)?;
    let exchange = config
        .own("session")
        .resolve(namespace)
        .and_then(|method| Some((NodeId::new(namespace?, config.prefix.as_str()), method)));
    if context.sealed {
        return sealed(session, config, context, namespace, exchange).await;
    }
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
    let queue = ITEM_QUEUE;
    let silence = monitor(session, context, feed, watched, numbered.is_some(), queue).await;
    Ok(Subscribed { pending, targets, exchange, silence: silence.map_err(broken)? })
}

/// Subscribes to the envelopes of a sealed device, and to nothing else.
async fn sealed(
    session: &Session,
    config: &PathConfig,
    context: &LinkContext,
    namespace: Option<u16>,
    exchange: Option<(NodeId, NodeId)>,
) -> Result<Subscribed, LinkError> {
    let broken = |error: Error| unreachable(config, error);
    let place = config.own(SEALED);
    let plain = || {
        let what = format!("the variable {place} of sealed envelopes");
        LinkError::Unsupported(format!("{what} (is the device native, and declared as sealed?)"))
    };
    let node = place.resolve(namespace).ok_or_else(plain)?;
    let ids = [read_id(node.clone(), AttributeId::Value)];
    let read = session.read(&ids, TimestampsToReturn::Neither, 0.0).await.map_err(broken)?;
    let status = read.first().map_or(StatusCode::BadNoData, DataValue::status);
    if absent(status) {
        return Err(plain());
    }
    if is_device_gone(status) {
        return Err(unreachable(config, "the server has no communication with the device"));
    }
    let pending = Pending::default();
    let feed = Feed::new(vec![Slot::Sealed], Arc::clone(&pending), Arc::clone(&context.clock));
    let silence = monitor(session, context, feed, vec![node], true, SEALED_QUEUE).await;
    let silence = silence.map_err(broken)?;
    Ok(Subscribed { pending, targets: vec![None; config.points.len()], exchange, silence })
}

/// Whether a status says that there is no such node.
fn absent(status: StatusCode) -> bool {
    status == StatusCode::BadNodeIdUnknown || status == StatusCode::BadNodeIdInvalid
}

/// Index of a namespace on this server, if it has it.
///
/// The library's own look-up panics on an answer without values.
async fn namespace(session: &Session, uri: &str) -> Result<Option<u16>, Error> {
    let id = read_id(VariableId::Server_NamespaceArray.into(), AttributeId::Value);
    let read = session.read(&[id], TimestampsToReturn::Neither, 0.0).await?;
    let Some(Variant::Array(all)) = read.into_iter().next().and_then(|v| v.value) else {
        return Err(Error::new(StatusCode::BadNoValue, "the server names no namespaces"));
    };
    let at = all.values.iter().position(|v| matches!(v, Variant::String(s) if s.as_ref() == uri));
    Ok(at.and_then(|at| u16::try_from(at).ok()))
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
    queue_size: u32,
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
                queue_size,
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
