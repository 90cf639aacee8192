//! The node manager of played devices: who asks what, and who answers.
//!
//! Reads come from the address space. Writes and calls become [`DeviceMessage`]s, and the
//! simulation's reply decides the status code. Absent: making nodes, setting values.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use opcua::{
    server::{
        CreateMonitoredItem, MonitoredItemHandle,
        address_space::AddressSpace,
        diagnostics::NamespaceMetadata,
        node_manager::{
            MethodCall, MonitoredItemRef, RequestContext, ServerContext, WriteNode,
            memory::{InMemoryNodeManager, InMemoryNodeManagerImpl},
        },
    },
    sync::RwLock,
    types::{AttributeId, ByteString, NumericRange, StatusCode, TimestampsToReturn, Variant},
};
use plantwin_adapter::{DeviceMessage, Traffic};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    nodes::{Layout, Role},
    traffic::{count_exchange, count_write},
};

/// Longest a client waits for the simulation.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest session message, as the contract of `exchange` has it.
pub(crate) const LONGEST_EXCHANGE: usize = 4096;

/// What the manager knows of one device.
pub(crate) struct Desk {
    pub(crate) inbox: mpsc::Sender<DeviceMessage>,
    /// Whether the path is up.
    pub(crate) up: AtomicBool,
    pub(crate) traffic: Arc<Traffic>,
}

/// The devices' nodes and desks.
pub(crate) struct Station {
    pub(crate) layout: Layout,
    pub(crate) desks: Arc<[Desk]>,
    /// Monitored items that somebody still has, with whether their session is open: the library
    /// (0.19) goes on listing those of subscriptions that were deleted or have expired, and of
    /// the latter it tells nobody.
    pub(crate) living: Mutex<Living>,
}

/// Monitored items, each with whether its session is open.
pub(crate) type Living = HashMap<MonitoredItemHandle, Box<dyn Fn() -> bool + Send + Sync>>;

/// Node manager of the played devices.
pub(crate) type StationManager = InMemoryNodeManager<Station>;

impl Station {
    /// The monitored items that somebody still has.
    pub(crate) fn living(&self) -> MutexGuard<'_, Living> {
        // Nothing that panics runs under the lock.
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a device and awaits its reply; the error is the status for the client.
    async fn ask<T>(
        &self,
        device: usize,
        message: impl FnOnce(oneshot::Sender<Result<T, String>>) -> DeviceMessage,
        refused: StatusCode,
    ) -> Result<T, StatusCode> {
        let desk = self.desks.get(device).ok_or(StatusCode::BadNodeIdUnknown)?;
        if !desk.up.load(Relaxed) {
            return Err(StatusCode::BadNoCommunication);
        }
        let (reply, answer) = oneshot::channel();
        desk.inbox.try_send(message(reply)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => StatusCode::BadTooManyOperations,
            mpsc::error::TrySendError::Closed(_) => StatusCode::BadNoCommunication,
        })?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(reason))) => {
                tracing::debug!(%reason, "the device refused");
                Err(refused)
            }
            Ok(Err(_)) => Err(StatusCode::BadDeviceFailure),
            Err(_) => Err(StatusCode::BadTimeout),
        }
    }

    async fn write_one(&self, write: &WriteNode) -> Result<(), StatusCode> {
        let value = write.value();
        let Some(&Role::Point(device, point)) = self.layout.roles.get(&value.node_id) else {
            return Err(StatusCode::BadNotWritable);
        };
        if value.attribute_id != AttributeId::Value {
            return Err(StatusCode::BadNotWritable);
        }
        if value.index_range != NumericRange::None {
            return Err(StatusCode::BadIndexRangeNoData);
        }
        if value.value.status.is_some_and(|s| !s.is_good()) {
            return Err(StatusCode::BadWriteNotSupported);
        }
        // Every point is declared as Double; anything else is a mistake of the client.
        let Some(Variant::Double(number)) = value.value.value else {
            return Err(StatusCode::BadTypeMismatch);
        };
        let ask = |reply| DeviceMessage::Write { point, value: number, reply };
        let done = self.ask(device, ask, StatusCode::BadOutOfRange).await;
        if let Some(desk) = self.desks.get(device) {
            count_write(&desk.traffic, value.node_id.identifier.to_string().len());
        }
        done
    }

    async fn call_one(&self, call: &MethodCall) -> Result<Vec<u8>, StatusCode> {
        let Some(&Role::Session(device)) = self.layout.roles.get(call.method_id()) else {
            return Err(StatusCode::BadMethodInvalid);
        };
        let request = match call.arguments() {
            [] => return Err(StatusCode::BadArgumentsMissing),
            [Variant::ByteString(bytes)] => bytes.value.clone().unwrap_or_default(),
            [_] => return Err(StatusCode::BadInvalidArgument),
            _ => return Err(StatusCode::BadTooManyArguments),
        };
        if request.len() > LONGEST_EXCHANGE {
            return Err(StatusCode::BadRequestTooLarge);
        }
        let length = request.len();
        let ask = |reply| DeviceMessage::Exchange { request, reply };
        let answer = self.ask(device, ask, StatusCode::BadRequestNotAllowed).await;
        if let Some(desk) = self.desks.get(device) {
            let names = call.object_id().identifier.to_string().len()
                + call.method_id().identifier.to_string().len();
            count_exchange(&desk.traffic, names, length, answer.as_ref().map_or(0, Vec::len));
        }
        answer
    }
}

#[async_trait]
impl InMemoryNodeManagerImpl for Station {
    async fn init(&self, _: &mut AddressSpace, _: ServerContext) {}

    fn name(&self) -> &'static str {
        "plantwin devices"
    }

    fn namespaces(&self) -> Vec<NamespaceMetadata> {
        self.layout.namespaces.clone()
    }

    #[expect(clippy::mut_mut, reason = "the library's signature")]
    async fn create_value_monitored_items(
        &self,
        context: &RequestContext,
        space: &RwLock<AddressSpace>,
        items: &mut [&mut &mut CreateMonitoredItem],
    ) {
        let wanted: Vec<_> = items.iter().map(|item| item.item_to_monitor()).collect();
        let times = TimestampsToReturn::Both;
        let values = self.read_values(context, space, &wanted, 0.0, times).await;
        self.living().retain(|_, is_open| is_open());
        for (item, value) in items.iter_mut().zip(values) {
            if value.status() != StatusCode::BadAttributeIdInvalid {
                item.set_initial_value(value);
            }
            item.set_status(StatusCode::Good);
            let session = Arc::clone(&context.session);
            let is_open = Box::new(move || session.read().is_activated());
            self.living().insert(item.handle(), is_open);
        }
    }

    async fn delete_monitored_items(&self, _: &RequestContext, items: &[&MonitoredItemRef]) {
        let mut living = self.living();
        for item in items {
            living.remove(&item.handle());
        }
    }

    async fn write(
        &self,
        context: &RequestContext,
        space: &RwLock<AddressSpace>,
        writes: &mut [&mut WriteNode],
    ) -> Result<(), StatusCode> {
        for write in writes {
            let allowed = {
                let types = context.type_tree.read();
                let mut space = space.write();
                space.validate_node_write(context, write.value(), &*types).map(|_| ())
            };
            let done = match allowed {
                Ok(()) => self.write_one(write).await,
                Err(status) => Err(status),
            };
            write.set_status(done.err().unwrap_or(StatusCode::Good));
        }
        Ok(())
    }

    #[expect(clippy::mut_mut, reason = "the library's signature")]
    async fn call(
        &self,
        _: &RequestContext,
        _: &RwLock<AddressSpace>,
        calls: &mut [&mut &mut MethodCall],
    ) -> Result<(), StatusCode> {
        for call in calls {
            match self.call_one(call).await {
                Ok(answer) => {
                    call.set_outputs(vec![Variant::ByteString(ByteString::from(answer))]);
                    call.set_status(StatusCode::Good);
                }
                Err(status) => call.set_status(status),
            }
        }
        Ok(())
    }
}
