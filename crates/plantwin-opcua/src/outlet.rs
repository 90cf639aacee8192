//! Where a played device reports: into its variables, and from there to all subscribers.
//!
//! A path that is down shows `BadNoCommunication` on every variable; what is measured meanwhile
//! is kept and shown when the path comes up again, as a real device would have it. A sealed
//! envelope is handed to those who are subscribed and not kept: the variable has no value before
//! and after, so that nobody is given an old envelope as if it were news. Absent: the timing of
//! notifications, which is each subscription's.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use futures_util::future::BoxFuture;
use opcua::{
    nodes::NodeType,
    server::SubscriptionCache,
    types::{AttributeId, ByteString, DataValue, NodeId, StatusCode, TimestampsToReturn, Variant},
};
use plantwin_adapter::{LinkError, Measurement, Outlet, SEALED_LIMIT};
use plantwin_model::{Clock, Timestamp};

use crate::{
    nodes::{DeviceNodes, nothing},
    station::{Desk, StationManager},
    traffic::{beyond_a_number, count_notification},
    value::{date_time, status},
};

/// The outlet of one device.
pub(crate) struct StationOutlet {
    manager: Arc<StationManager>,
    subscriptions: Arc<SubscriptionCache>,
    desks: Arc<[Desk]>,
    device: usize,
    clock: Arc<dyn Clock>,
    /// Last value of each node of the device.
    last: HashMap<NodeId, DataValue>,
}

impl StationOutlet {
    pub(crate) fn new(
        manager: Arc<StationManager>,
        subscriptions: Arc<SubscriptionCache>,
        desks: Arc<[Desk]>,
        device: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let nodes = &manager.inner().layout.devices[device];
        let waiting =
            DataValue { status: Some(StatusCode::BadWaitingForInitialData), ..Default::default() };
        let last = nodes.all().map(|n| (n.clone(), waiting.clone())).collect();
        Self { manager, subscriptions, desks, device, clock, last }
    }

    fn value(&self, value: Variant, code: StatusCode, time: Timestamp) -> DataValue {
        DataValue {
            value: Some(value),
            // Good is what no status means, and saves 4 bytes in every change.
            status: (!code.is_good()).then_some(code),
            source_timestamp: Some(date_time(time)),
            server_timestamp: Some(date_time(self.clock.now())),
            ..Default::default()
        }
    }

    /// Sets variables and tells every subscriber, all under one lock.
    fn show(&self, values: &[(NodeId, DataValue)]) {
        let mut space = self.manager.address_space().write();
        for (node, value) in values {
            if let Some(NodeType::Variable(variable)) = space.find_mut(node) {
                variable.set_data_value(value.clone());
            }
        }
        // Monitored items per node; the node with most is seen by all of them.
        let mut told: HashMap<&NodeId, usize> = HashMap::new();
        {
            let living = self.manager.inner().living();
            // It sends when it is dropped.
            let mut notifier = self.subscriptions.data_notifier();
            for (id, _) in values {
                let Some(mut batch) = notifier.notify_for(id, AttributeId::Value) else { continue };
                let Some(variable) = space.find(id) else { continue };
                for (handle, entry) in batch.entries() {
                    let value = variable.as_node().get_attribute(
                        TimestampsToReturn::Both,
                        AttributeId::Value,
                        &entry.index_range,
                        &entry.data_encoding,
                    );
                    if let Some(value) = value {
                        let counts = living.get(handle).is_some_and(|is_open| is_open());
                        *told.entry(id).or_default() += usize::from(counts);
                        batch.data_value_to_item(value, handle);
                    }
                }
            }
        }
        if matches!(self.nodes(), DeviceNodes::Sealed(_)) {
            for (node, value) in values.iter().filter(|(_, value)| value.status().is_good()) {
                if let Some(NodeType::Variable(variable)) = space.find_mut(node) {
                    let after = nothing(StatusCode::BadWaitingForInitialData);
                    variable.set_data_value(DataValue {
                        source_timestamp: value.source_timestamp,
                        ..after
                    });
                }
            }
        }
        let subscribers = told.values().copied().max().unwrap_or(0);
        let bad = |(node, value): &(NodeId, DataValue)| {
            let items = told.get(node).copied().unwrap_or(0);
            if value.status().is_good() { 0 } else { items }
        };
        let bad = values.iter().map(bad).sum();
        let items = told.values().sum();
        let more = |(node, value): &(NodeId, DataValue)| match &value.value {
            Some(Variant::ByteString(bytes)) => {
                told.get(node).copied().unwrap_or(0) * beyond_a_number(bytes.len())
            }
            _ => 0,
        };
        let more = values.iter().map(more).sum();
        count_notification(&self.desks[self.device].traffic, subscribers, items, bad, more);
    }

    fn nodes(&self) -> &DeviceNodes {
        &self.manager.inner().layout.devices[self.device]
    }

    fn publish_now(&mut self, m: &Measurement) -> Result<(), LinkError> {
        let DeviceNodes::Bare { points, sequence } = self.nodes() else {
            return Err(LinkError::Unsupported("bare values of a sealed device".to_owned()));
        };
        let mut values = Vec::with_capacity(m.samples.len() + 1);
        for sample in &m.samples {
            let Some(node) = points.get(sample.point.index()) else { continue };
            let time = sample.source_time.unwrap_or(m.time);
            let value = Variant::Double(sample.value);
            values.push((node.clone(), self.value(value, status(sample.quality), time)));
        }
        let number = self.value(Variant::UInt64(m.sequence), StatusCode::Good, m.time);
        values.push((sequence.clone(), number));
        if self.desks[self.device].up.load(Relaxed) {
            self.show(&values);
        }
        self.last.extend(values);
        Ok(())
    }

    fn publish_sealed_now(&self, envelope: &[u8]) -> Result<(), LinkError> {
        let DeviceNodes::Sealed(node) = self.nodes() else {
            let what = "sealed envelopes: it is not declared as sealed";
            return Err(LinkError::Unsupported(what.to_owned()));
        };
        if envelope.is_empty() || envelope.len() > SEALED_LIMIT {
            let (got, most) = (envelope.len(), SEALED_LIMIT);
            let why = format!("an envelope has 1 to {most} bytes, this one has {got}");
            return Err(LinkError::Refused(why));
        }
        if self.desks[self.device].up.load(Relaxed) {
            let bytes = Variant::ByteString(ByteString::from(envelope));
            let value = self.value(bytes, StatusCode::Good, self.clock.now());
            self.show(&[(node.clone(), value)]);
        }
        Ok(())
    }

    fn set_up_now(&mut self, up: bool) {
        if self.desks[self.device].up.swap(up, Relaxed) == up {
            return;
        }
        let now = Some(date_time(self.clock.now()));
        // No value: a change even to clients that ask for changes of value only.
        let gone = DataValue {
            source_timestamp: now,
            server_timestamp: now,
            ..nothing(StatusCode::BadNoCommunication)
        };
        let shown = |(node, value): (&NodeId, &DataValue)| {
            (node.clone(), if up { value.clone() } else { gone.clone() })
        };
        let values: Vec<_> = self.last.iter().map(shown).collect();
        self.show(&values);
    }
}

impl Outlet for StationOutlet {
    fn publish<'a>(&'a mut self, m: &'a Measurement) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move { self.publish_now(m) })
    }

    fn publish_sealed<'a>(
        &'a mut self,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move { self.publish_sealed_now(envelope) })
    }

    fn set_up(&mut self, up: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            self.set_up_now(up);
            Ok(())
        })
    }
}
