//! What this crate promises, as tests: transitions, deadband, quality, storing, detection.

use std::{sync::Arc, time::Duration};

use plantwin_model::{
    Access, AlarmSpec, Compare, Method, ModelSpec, PointIx, PointSpec, Priority, Quality,
    SourceText, Span, Target, Timestamp, TwinType, Unit,
};

use crate::{AlarmBank, AlarmChange, AlarmIx, AlarmPlan, Changes};

mod bank;
mod properties;
mod residual;

pub(crate) const LEVEL: PointIx = PointIx(0);
pub(crate) const FLOW: PointIx = PointIx(1);

pub(crate) fn point(name: &str, unit: &str) -> PointSpec {
    PointSpec {
        name: name.into(),
        title: String::new(),
        unit: Unit::parse(unit).unwrap(),
        range: (0.0, 20.0),
        start: 0.0,
        access: Access::Read,
        stale_after: Duration::from_secs(3),
        noise: 0.005,
        resolution: 0.001,
        safe: None,
        span: Span::default(),
    }
}

pub(crate) fn alarm(name: &str, compare: Compare, limit: f64, on_s: u64, off_s: u64) -> AlarmSpec {
    AlarmSpec {
        name: name.into(),
        point: LEVEL,
        compare,
        limit,
        deadband: 0.5,
        on_delay: Duration::from_secs(on_s),
        off_delay: Duration::from_secs(off_s),
        priority: Priority::Critical,
        response: "close the inlet".into(),
        consequence: "overflow".into(),
        span: Span::default(),
    }
}

/// Two points, the first modelled; a prompt high, a delayed high and a low alarm.
pub(crate) fn tank() -> TwinType {
    let span = Span::default();
    let der = SourceText { text: "0".into(), span };
    TwinType {
        name: "tank".into(),
        version: 1,
        title: String::new(),
        file: "tank.toml".into(),
        points: vec![point("level", "cm"), point("share", "1")],
        commands: vec![],
        alarms: vec![
            alarm("level_high", Compare::Above, 18.0, 0, 0),
            alarm("level_slow", Compare::Above, 18.0, 2, 3),
            alarm("level_low", Compare::Below, 2.0, 0, 0),
        ],
        model: Some(ModelSpec {
            method: Method::Rk4,
            step: Duration::from_millis(100),
            params: vec![],
            tables: vec![],
            inputs: vec![],
            states: vec![],
            locals: vec![],
            ders: vec![(Target::Point(LEVEL), der)],
            algebraic: vec![],
            outputs: vec![],
            correction: 0.05,
            span,
        }),
        energy_profile: "ethernet".into(),
    }
}

/// A bank with its changes by name, for short tests.
pub(crate) struct Rig {
    pub(crate) bank: AlarmBank,
    pub(crate) now: Timestamp,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::of(&tank())
    }

    pub(crate) fn of(kind: &TwinType) -> Self {
        let bank = AlarmBank::new(Arc::new(AlarmPlan::of(kind)), "tank1".into());
        Self { bank, now: Timestamp(0) }
    }

    pub(crate) fn ix(&self, name: &str) -> AlarmIx {
        self.bank.plan().find(name).unwrap()
    }

    pub(crate) fn after(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_millis(ms));
        self
    }

    pub(crate) fn run(
        &mut self,
        step: impl FnOnce(&mut AlarmBank, Timestamp, &mut Changes),
    ) -> Vec<String> {
        let mut out = Changes::new();
        step(&mut self.bank, self.now, &mut out);
        out.iter().map(|c| self.word(*c)).collect()
    }

    pub(crate) fn level(&mut self, value: f64) -> Vec<String> {
        self.level_as(value, Quality::Good)
    }

    pub(crate) fn level_as(&mut self, value: f64, quality: Quality) -> Vec<String> {
        self.run(|bank, now, out| bank.on_value(LEVEL, value, quality, now, out))
    }

    pub(crate) fn tick(&mut self) -> Vec<String> {
        self.run(AlarmBank::tick)
    }

    pub(crate) fn ack(&mut self, name: &str) -> Vec<String> {
        self.run(|bank, now, out| bank.acknowledge(name, now, out).unwrap())
    }

    fn word(&self, change: AlarmChange) -> String {
        let name = &self.bank.plan().get(change.alarm()).unwrap().name;
        match change {
            AlarmChange::Raised(_) => format!("raised {name}"),
            AlarmChange::Cleared(_) => format!("cleared {name}"),
            AlarmChange::Acknowledged(_) => format!("acknowledged {name}"),
            AlarmChange::Returned(_) => format!("returned {name}"),
        }
    }
}
