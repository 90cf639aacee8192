//! Watching one twin: its alarms and whether its model still foresees its device.
//!
//! [`AlarmPlan`] says, once per twin type, which alarms there are. [`AlarmBank`] holds what one
//! twin's alarms do: values, residuals, conditions and the passing of time go in, [`AlarmChange`]s
//! come out. [`ResidualBand`] learns how far model and measurement usually lie apart.
//!
//! States follow ISA-18.2: normal, unacknowledged, acknowledged, returned-unacknowledged.
//! Absent so far: shelving, suppression and out-of-service (states E to G), detectors beyond the
//! residual band, SIEM records. Absent by design: clocks (the time is an argument), timers
//! ([`AlarmBank::next_deadline`] tells the owner when it needs one), input and output.
//!
//! ```
//! use std::sync::Arc;
//! # use std::time::Duration;
//! use plantwin_model::{PointIx, Quality, Timestamp};
//! # use plantwin_model::{Access, AlarmSpec, Compare, PointSpec, Priority, Span, TwinType, Unit};
//! use plantwin_watch::{AlarmBank, AlarmPlan, Changes};
//! # let span = Span::default();
//! # let level = PointSpec {
//! #     name: "level".into(), title: String::new(), unit: Unit::parse("cm").unwrap(),
//! #     range: (0.0, 20.0), start: 10.0, access: Access::Read,
//! #     stale_after: Duration::from_secs(3), noise: 0.0, resolution: 0.0, safe: None, span,
//! # };
//! # let high = AlarmSpec {
//! #     name: "level_high".into(), point: PointIx(0), compare: Compare::Above, limit: 18.0,
//! #     deadband: 0.5, on_delay: Duration::ZERO, off_delay: Duration::ZERO,
//! #     priority: Priority::High, response: "close the inlet".into(),
//! #     consequence: "overflow".into(), span,
//! # };
//! # let tank = TwinType {
//! #     name: "tank".into(), version: 1, title: String::new(), file: "tank.toml".into(),
//! #     points: vec![level], commands: vec![], alarms: vec![high], model: None,
//! #     energy_profile: "ethernet".into(),
//! # };
//! let mut bank = AlarmBank::new(Arc::new(AlarmPlan::of(&tank)), "tank1".into());
//! let mut changes = Changes::new();
//! bank.on_value(PointIx(0), 18.4, Quality::Good, Timestamp(0), &mut changes);
//! let alarm = bank.active().next().unwrap();
//! assert_eq!(alarm.text, "level 18.4 cm > 18 cm");
//! assert_eq!(alarm.response, "close the inlet");
//! ```

mod bank;
mod error;
mod plan;
mod residual;
mod snapshot;
mod text;

#[cfg(test)]
mod tests;

pub use bank::{AlarmBank, AlarmChange, Changes};
pub use error::WatchError;
pub use plan::{AlarmDef, AlarmIx, AlarmPlan, Condition, Rule, Threshold};
pub use residual::{BandChange, BandPlan, BandSnapshot, CALIBRATION_SAMPLES, ResidualBand};
pub use snapshot::{AlarmSnapshot, BankSnapshot};
