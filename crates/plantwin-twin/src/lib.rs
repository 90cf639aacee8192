//! The twin: one actor per physical device.
//!
//! A twin holds its device's session, its energy budget, its alarms and its model, and answers
//! one kind of letter: a sealed [`TwinMail`]. What comes off a device's wire, what an operator
//! asks and what flows in from a neighbour all arrive that way, in a bounded mailbox of four
//! lanes ([`mailbox`]) that outlives the actor's restarts. The thinking is in [`TwinCore`], which is pure: mail in, [`Effect`]s out. The
//! actor around it ([`Twin`]) opens envelopes, carries effects out and survives panics:
//! the guardian of `plantwin-runtime` restarts it, it goes back to its last committed state and
//! handles the envelope that was open once more. A letter that crashes it twice is set aside,
//! sealed, for somebody to look at ([`SetAside`]).
//!
//! The core can be tried without any actor:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use plantwin_adapter::{Frame, Sample, TrafficSnapshot};
//! use plantwin_energy::Profile;
//! use plantwin_model::{
//!     PointIx, Quality, Timestamp, TwinState,
//!     file::{Catalog, ReadOptions, read_plant},
//! };
//! use plantwin_twin::{Effects, FrameMail, LinkUpMail, TwinCore, TwinMail, TwinPlan};
//! use plantwin_watch::AlarmPlan;
//! # static WIRE: plantwin_model::ProtocolSchema = plantwin_model::ProtocolSchema::bare("wire");
//!
//! let text = r#"
//! [plant]
//! name = "demo"
//! [zone.field]
//! [type.gauge.twin]
//! type = "gauge"
//! [type.gauge.property.level]
//! unit = "cm"
//! range = [0, 20]
//! [device.gauge1]
//! type = "gauge"
//! zone = "field"
//! mode = "physical"
//! [device.gauge1.wire]
//! "#;
//! let schemas = [&WIRE];
//! let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
//! let plant = read_plant("demo.toml", text, &catalog, &ReadOptions::default()).into_plant().unwrap();
//! let device = plant.devices[0].clone();
//! let plan = TwinPlan {
//!     zone: plant.zones[0].id.clone(),
//!     model: plantwin_physics::compile(&device.kind).unwrap(),
//!     alarms: Arc::new(AlarmPlan::of(&device.kind)),
//!     profile: Profile::by_name("ethernet").unwrap(),
//!     inflows: vec![],
//!     outflows: vec![],
//!     saves: false,
//!     device,
//! };
//! let now = Timestamp::from_millis(1_000);
//! let (mut core, mut effects) = (TwinCore::new(&plan, now), Effects::new());
//!
//! // A path is up; then the device sends 12.4 cm.
//! let up = LinkUpMail { rank: 0, endpoint: "bench".into(), switches: 0, datagrams: false,
//!     patience: Duration::ZERO };
//! core.apply(&plan, TwinMail::LinkUp(up), now, &mut effects);
//! let level = Sample {
//!     point: PointIx(0), value: 12.4, quality: Quality::Good, source_time: Some(now),
//! };
//! let frame = Frame { received: now, sequence: None, samples: [level].into_iter().collect() };
//! let traffic = TrafficSnapshot::default();
//! let mail = FrameMail { frame, traffic, receipt: None, origin: vec![], replaced: false };
//! core.apply(&plan, TwinMail::Frame(mail), now, &mut effects);
//!
//! let seen = core.observed(&plan);
//! assert_eq!(seen.state, TwinState::Shadowed);
//! assert_eq!(seen.points[0].value, Some(12.4));
//! ```
//!
//! Absent: connecting (the device's line in the runtime does), routing, and who may do what.

mod actor;
mod aside;
mod event;
mod init;
mod mail;
mod plan;
mod post;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub use actor::Twin;
pub use event::{
    MAX_RECEIPTS, Observed, ObservedPoint, SetAside, Telemetry, TelemetrySample, TwinEvent,
};
pub use init::{Drill, LinePort, Sealing, TwinInit};
pub use mail::{
    CommandMail, FlowMail, FrameMail, LinkDownMail, LinkUpMail, SessionMail, TwinMail, WriteError,
    WrittenMail,
};
pub use plan::{FlowGate, FlowOutlet, TwinPlan};
pub use post::{Inbox, LaneLimits, Letters, Mail, Mailbox, PATIENCE, PostError, mailbox};
pub use session::{Reading, Recorded, Refused, Session, Taken};
pub use state::{Effect, Effects, TwinCore, Vital};
