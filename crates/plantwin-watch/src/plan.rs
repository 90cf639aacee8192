//! Which alarms a twin type has: worked out once per type and shared by all its twins.
//!
//! Besides the thresholds of the file every type has one alarm per [`Condition`] and one per
//! modelled point. Their names hold a `-`, which names in files cannot, so they never clash.
//! Absent: anything that differs between two twins of a type.

use std::{sync::Arc, time::Duration};

use plantwin_model::{AlarmSource, AlarmSpec, Compare, PointIx, Priority, Target, TwinType};
use serde::{Deserialize, Serialize};

use crate::BandPlan;

/// Place of an alarm in its [`AlarmPlan`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct AlarmIx(pub u16);

/// A trouble that others find and report with [`crate::AlarmBank::raise`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Condition {
    /// The device cannot be reached.
    CommLoss,
    /// NaN or infinity was received.
    NotFinite,
    /// The device could not authenticate itself.
    Session,
    /// The twin crashed or was given up.
    Supervision,
    /// The device was confined.
    Quarantine,
    /// A confined device did not say that it is in its safe state.
    SafeState,
}

impl Condition {
    /// All of them, in the order in which they appear in a plan.
    pub const ALL: [Self; 6] = [
        Self::CommLoss,
        Self::NotFinite,
        Self::Session,
        Self::Supervision,
        Self::Quarantine,
        Self::SafeState,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::CommLoss => "comm-loss",
            Self::NotFinite => "not-finite",
            Self::Session => "session-refused",
            Self::Supervision => "twin-failure",
            Self::Quarantine => "quarantined",
            Self::SafeState => "safe-state",
        }
    }

    const fn source(self) -> AlarmSource {
        match self {
            Self::CommLoss => AlarmSource::CommLoss,
            Self::NotFinite => AlarmSource::NotFinite,
            Self::Session => AlarmSource::Session,
            Self::Supervision => AlarmSource::Supervision,
            Self::Quarantine | Self::SafeState => AlarmSource::Quarantine,
        }
    }

    const fn response(self) -> &'static str {
        match self {
            Self::CommLoss => "check the device's power and network",
            Self::NotFinite => "check the sensor and its converter",
            Self::Session => "check the device's identity; isolate it if it is not the real one",
            Self::Supervision => "read the log, then restart the twin",
            Self::Quarantine => {
                "find out who speaks for the device; release it when it is the real one"
            }
            Self::SafeState => "bring the device to its safe state by hand",
        }
    }
}

/// When an alarm is active.
#[derive(Clone, PartialEq, Debug)]
pub enum Rule {
    /// While a value is beyond a limit.
    Threshold(Threshold),
    /// While the residual of a modelled point is outside its band.
    Residual {
        /// The modelled point.
        point: PointIx,
        /// Its name.
        point_name: Arc<str>,
        /// Code of its unit.
        unit: Arc<str>,
        /// Floor of its band.
        band: BandPlan,
    },
    /// Between [`crate::AlarmBank::raise`] and [`crate::AlarmBank::clear`].
    Condition(Condition),
}

/// A limit of the twin type.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    /// Watched point.
    pub point: PointIx,
    /// Its name.
    pub point_name: Arc<str>,
    /// Code of its unit.
    pub unit: Arc<str>,
    /// Direction.
    pub compare: Compare,
    /// Limit in the point's unit.
    pub limit: f64,
    /// Distance past the limit to return before the alarm clears, in the point's unit; >= 0.
    pub deadband: f64,
    /// How long the value must be beyond the limit first.
    pub on_delay: Duration,
    /// How long the value must be back first.
    pub off_delay: Duration,
}

impl Threshold {
    /// Whether the value is strictly beyond the limit.
    pub fn beyond(&self, value: f64) -> bool {
        match self.compare {
            Compare::Above => value > self.limit,
            Compare::Below => value < self.limit,
        }
    }

    /// Whether the value is back, on the good side of the deadband.
    pub fn back(&self, value: f64) -> bool {
        match self.compare {
            Compare::Above => value <= self.limit - self.deadband,
            Compare::Below => value >= self.limit + self.deadband,
        }
    }
}

/// One alarm of a type.
#[derive(Clone, PartialEq, Debug)]
pub struct AlarmDef {
    /// Name within the type.
    pub name: Arc<str>,
    /// Priority.
    pub priority: Priority,
    /// What raises it.
    pub source: AlarmSource,
    /// When it is active.
    pub rule: Rule,
    /// What the operator should do.
    pub response: Arc<str>,
}

/// All alarms of a twin type: conditions, then thresholds in file order, then residuals.
#[derive(Clone, PartialEq, Debug)]
pub struct AlarmPlan {
    defs: Box<[AlarmDef]>,
    first_residual: u16,
}

impl AlarmPlan {
    /// Works out the alarms of `kind`. Share the result between all twins of the type.
    pub fn of(kind: &TwinType) -> Self {
        let mut defs: Vec<AlarmDef> = Condition::ALL.into_iter().map(condition).collect();
        defs.extend(kind.alarms.iter().filter_map(|spec| threshold(kind, spec)));
        let first_residual = defs.len() as u16;
        defs.extend(modelled(kind).filter_map(|point| residual(kind, point)));
        Self { defs: defs.into(), first_residual }
    }

    /// The alarm at `ix`.
    pub fn get(&self, ix: AlarmIx) -> Option<&AlarmDef> {
        self.defs.get(usize::from(ix.0))
    }

    /// Finds an alarm by its name within the type.
    pub fn find(&self, name: &str) -> Option<AlarmIx> {
        self.defs.iter().position(|d| &*d.name == name).map(|i| AlarmIx(i as u16))
    }

    /// The delay that may run for an alarm that is raised, or is not; none unless it is a threshold.
    pub(crate) fn delay(&self, ix: AlarmIx, raised: bool) -> Duration {
        match self.get(ix).map(|def| &def.rule) {
            Some(Rule::Threshold(t)) if raised => t.off_delay,
            Some(Rule::Threshold(t)) => t.on_delay,
            _ => Duration::ZERO,
        }
    }

    /// All alarms with their places.
    pub fn iter(&self) -> impl Iterator<Item = (AlarmIx, &AlarmDef)> {
        self.defs.iter().enumerate().map(|(i, d)| (AlarmIx(i as u16), d))
    }

    /// The place of a condition's alarm.
    pub const fn condition(condition: Condition) -> AlarmIx {
        AlarmIx(condition as u16)
    }

    /// The thresholds of `point`.
    pub(crate) fn thresholds(&self, point: PointIx) -> impl Iterator<Item = (AlarmIx, &Threshold)> {
        self.iter().filter_map(move |(ix, def)| match &def.rule {
            Rule::Threshold(t) if t.point == point => Some((ix, t)),
            _ => None,
        })
    }

    /// The residual alarms: place of the band, alarm, point, its name, floor.
    pub(crate) fn residuals(
        &self,
    ) -> impl Iterator<Item = (AlarmIx, PointIx, &Arc<str>, &BandPlan)> {
        self.iter().skip(usize::from(self.first_residual)).filter_map(|(ix, def)| match &def.rule {
            Rule::Residual { point, point_name, band, .. } => Some((ix, *point, point_name, band)),
            _ => None,
        })
    }

    /// Place of the band that belongs to a residual alarm.
    pub(crate) fn band_place(&self, ix: AlarmIx) -> usize {
        usize::from(ix.0.saturating_sub(self.first_residual))
    }
}

fn condition(condition: Condition) -> AlarmDef {
    AlarmDef {
        name: condition.name().into(),
        priority: Priority::High,
        source: condition.source(),
        rule: Rule::Condition(condition),
        response: condition.response().into(),
    }
}

fn threshold(kind: &TwinType, spec: &AlarmSpec) -> Option<AlarmDef> {
    let point = kind.points.get(spec.point.index())?;
    Some(AlarmDef {
        name: spec.name.clone(),
        priority: spec.priority,
        source: AlarmSource::Threshold,
        rule: Rule::Threshold(Threshold {
            point: spec.point,
            point_name: point.name.clone(),
            unit: point.unit.code().into(),
            compare: spec.compare,
            limit: spec.limit,
            deadband: spec.deadband,
            on_delay: spec.on_delay,
            off_delay: spec.off_delay,
        }),
        response: spec.response.as_str().into(),
    })
}

/// Points whose value the model foresees, in the order of the type.
fn modelled(kind: &TwinType) -> impl Iterator<Item = PointIx> {
    (0..kind.points.len() as u16).map(PointIx).filter(|&point| {
        kind.model.as_ref().is_some_and(|m| {
            m.ders.iter().any(|(target, _)| *target == Target::Point(point))
                || m.algebraic.iter().any(|(p, _)| *p == point)
        })
    })
}

fn residual(kind: &TwinType, ix: PointIx) -> Option<AlarmDef> {
    let point = kind.points.get(ix.index())?;
    Some(AlarmDef {
        name: format!("residual-{}", point.name).into(),
        priority: Priority::Medium,
        source: AlarmSource::Residual,
        rule: Rule::Residual {
            point: ix,
            point_name: point.name.clone(),
            unit: point.unit.code().into(),
            band: BandPlan::of(point),
        },
        response: "compare the measurement with the process; check sensor, actuator and model"
            .into(),
    })
}
