//! The vocabulary of plantwin: what a plant, a twin, a value and an alarm *are*.
//!
//! A plant file becomes a [`PlantSpec`] and a list of [`Diagnostic`]s; a running plant becomes a
//! [`PlantView`]. Everything between lives in higher layers. Absent: input and output of any
//! kind, clocks, randomness, actors, protocols.

mod alarm;
mod audit;
mod command;
mod diagnostic;
pub mod file;
mod ids;
pub mod invariant;
mod policy;
mod quality;
mod reload;
mod schema;
mod spec;
mod time;
mod unit;
mod upkeep;
mod view;

pub use alarm::{AlarmSource, AlarmState, AlarmView, Priority};
pub use audit::{AuditEntry, AuditKind, AuditResult, AuditSink, NoAudit};
pub use command::{CommandKey, CommandSender, Outcome, Request, Role};
pub use diagnostic::{Diagnostic, MESSAGE_LIMIT, Severity, Span};
pub use ids::{AlarmId, DeviceId, DeviceIx, PointIx, ZoneId, ZoneIx};
pub use policy::{
    Action, Actions, ConduitSpec, GrantSpec, Hours, ObjectGlob, PlainRule, PolicySpec, Rate,
    UserSpec, Who, glob,
};
pub use quality::{Flaw, Quality};
pub use schema::{ProtocolSchema, SettingKind, SettingSchema};
pub use spec::{
    Access, AlarmSpec, CommandSpec, Compare, DeviceSpec, FaultKind, FlowSource, FlowSpec, Identity,
    InputSpec, Method, Mode, ModelSpec, OutputSpec, Outside, ParamSpec, PathSpec, PlantSpec,
    PointSpec, ScenarioAction, ScenarioStep, SettingValue, SourceText, StateSpec, TableSpec,
    Target, TwinType, ZoneSpec,
};
pub use time::{Clock, Timestamp};
pub use unit::{Dimension, Unit, UnitError};
pub use upkeep::{
    Delivery, DropPolicy, Escalation, NorthboundSpec, RestartStrategy, SpoolSpec, SupervisionSpec,
};
pub use view::{
    CommandInfo, LaneView, LinkView, MailboxView, NorthboundView, PathView, PlantView, PointInfo,
    PointView, SessionView, SetAsideView, SpoolView, TwinState, TwinTable, TwinView, TypeView,
    ZoneView,
};
