//! What a twin knows from the plant file: shared, never changed while it runs.

use std::sync::Arc;

use plantwin_energy::Profile;
use plantwin_model::{Delivery, DeviceSpec, FlowSource, Identity, Timestamp, ZoneId};
use plantwin_physics::Model;
use plantwin_watch::AlarmPlan;

/// The fixed part of a twin.
#[derive(Clone)]
pub struct TwinPlan {
    /// The device.
    pub device: Arc<DeviceSpec>,
    /// Its zone's name.
    pub zone: ZoneId,
    /// The type's model, compiled.
    pub model: Option<Arc<Model>>,
    /// The type's alarms.
    pub alarms: Arc<AlarmPlan>,
    /// What the device's radio or wire costs.
    pub profile: &'static Profile,
    /// For each flow into this twin, the input it feeds.
    pub inflows: Vec<u16>,
    /// What this twin feeds into others, in the order of its outlets.
    pub outflows: Vec<FlowSource>,
    /// Whether somebody keeps what the twin saves.
    pub saves: bool,
}

impl TwinPlan {
    /// Whether the device must prove who it is: it holds keys. Others are *plain*.
    pub fn native(&self) -> bool {
        self.device.identity != Identity::Plain
    }

    /// Whether each of the device's values is to be recorded.
    pub fn durable(&self) -> bool {
        self.device.delivery == Delivery::Durable
    }
}

/// Says whether one message of a flow may cross now; each that may counts.
pub type FlowGate = Box<dyn Fn(Timestamp) -> bool + Send + Sync>;

/// Where one of the twin's flows goes.
pub struct FlowOutlet {
    /// The neighbour's mailbox.
    pub mailbox: crate::Mailbox,
    /// Seals for it.
    pub sealer: plantwin_seal::Sealer,
    /// Which of the neighbour's inflows it is.
    pub flow: u16,
    /// Asked before every message of the flow.
    pub gate: Option<FlowGate>,
}
