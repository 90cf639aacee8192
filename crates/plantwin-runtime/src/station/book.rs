//! The view as the station builds it: pure bookkeeping.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use plantwin_model::{
    AlarmId, AlarmSource, AlarmView, Delivery, DeviceId, DeviceIx, LinkView, MailboxView, Mode,
    PathView, PlantSpec, PlantView, PointView, SessionView, SetAsideView, SpoolView, Timestamp,
    TwinState, TwinTable, TwinView, TypeView, ZoneView,
};
use plantwin_twin::Observed;
use serde::Serialize;

use super::upkeep::{GAVE_UP, forget_currency};

/// Counters that the station itself keeps, for `status --json` and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct StationReport {
    /// Events opened.
    pub events: u64,
    /// Envelopes that did not open.
    pub refused: u64,
    /// Snapshots published.
    pub snapshots: u64,
}

/// The plant as seen so far.
#[expect(clippy::struct_excessive_bools, reason = "each says which part is to be made anew")]
pub(crate) struct Book {
    pub(super) spec: Arc<PlantSpec>,
    pub(super) view: PlantView,
    /// Alarms by twin, as the twins told them.
    alarms: BTreeMap<u32, Vec<AlarmView>>,
    /// Alarms of those who have no twin to speak for them: the plant as a whole, and twins that
    /// were given up. By the alarm's name.
    pub(super) own: BTreeMap<AlarmId, AlarmView>,
    /// Since they were last put on record.
    pub(super) own_changed: bool,
    /// Those that are on record, and so are shown.
    pub(super) own_shown: Vec<AlarmView>,
    pub(super) alarms_changed: bool,
    /// Letters that lie aside.
    pub(super) letters: BTreeMap<(DeviceIx, u64), SetAsideView>,
    pub(super) letters_changed: bool,
    /// Twins that do not run now. What one of them told before it went is not shown any more.
    pub(super) away: BTreeMap<DeviceIx, Option<Observed>>,
    /// The last panic of each twin that had one.
    pub(super) panics: BTreeMap<DeviceIx, String>,
    /// Devices of durable delivery.
    pub(super) durable: HashMap<DeviceId, DeviceIx>,
    pub(super) changed: bool,
    started: Timestamp,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) report: StationReport,
}

impl Book {
    pub(crate) fn new(
        spec: Arc<PlantSpec>,
        capacity: u32,
        endpoints: Vec<(String, String)>,
        now: Timestamp,
    ) -> Self {
        let mut twins = TwinTable::default();
        for device in &spec.devices {
            twins.push(Arc::new(TwinView {
                id: device.id.clone(),
                zone: spec.zones[usize::from(device.zone.0)].id.clone(),
                kind: device.kind.name.clone(),
                simulated: device.mode == Mode::Simulated,
                state: TwinState::Unbound,
                reason: "starting".to_owned(),
                since: now,
                path: None,
                session: SessionView::None,
                mailbox: MailboxView { capacity, ..MailboxView::default() },
                energy_joules: 0.0,
                budget_joules: device.budget_joules,
                bytes: 0,
                restarts: 0,
                spool: None,
                points: vec![PointView::unknown(); device.kind.points.len()],
                revision: 0,
            }));
        }
        let types: BTreeMap<String, TypeView> = spec
            .devices
            .iter()
            .map(|d| (d.kind.name.clone(), Arc::clone(&d.kind)))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(name, kind)| (name, TypeView::of(&kind)))
            .collect();
        let zones = spec
            .zones
            .iter()
            .map(|z| ZoneView { id: z.id.clone(), title: z.title.clone() })
            .collect();
        let durable: HashMap<_, _> = spec
            .devices
            .iter()
            .filter(|d| d.delivery == Delivery::Durable)
            .map(|d| (d.id.clone(), d.ix))
            .collect();
        let view = PlantView {
            now,
            spool: (!durable.is_empty()).then(SpoolView::default),
            link: LinkView::Live,
            zones,
            types: Arc::new(types),
            twins,
            endpoints: endpoints.into(),
            ..PlantView::empty(&spec.name)
        };
        Self {
            spec,
            view,
            alarms: BTreeMap::new(),
            own: BTreeMap::new(),
            own_changed: false,
            own_shown: Vec::new(),
            alarms_changed: false,
            letters: BTreeMap::new(),
            letters_changed: false,
            away: BTreeMap::new(),
            panics: BTreeMap::new(),
            durable,
            changed: true,
            started: now,
            counters: BTreeMap::new(),
            report: StationReport::default(),
        }
    }

    pub(crate) fn observed(&mut self, ix: DeviceIx, observed: Observed) {
        if let Some(held) = self.away.get_mut(&ix) {
            *held = Some(observed);
            return;
        }
        let Some(old) = self.view.twins.get(ix.index()) else { return };
        let device = &self.spec.devices[ix.index()];
        let path = observed.path.map(|(rank, endpoint, switches)| PathView {
            protocol: device
                .paths
                .get(usize::from(rank))
                .map_or_else(String::new, |p| p.protocol.to_owned()),
            endpoint,
            rank,
            switches,
        });
        let twin = TwinView {
            id: old.id.clone(),
            zone: old.zone.clone(),
            kind: old.kind.clone(),
            simulated: old.simulated,
            state: observed.state,
            reason: observed.reason,
            since: observed.since,
            path,
            session: observed.session,
            mailbox: observed.mailbox,
            energy_joules: observed.energy_joules,
            budget_joules: old.budget_joules,
            bytes: observed.bytes,
            restarts: observed.restarts,
            spool: old.spool,
            points: observed.points,
            revision: self.view.revision + 1,
        };
        self.view.twins.set(ix.index(), Arc::new(twin));
        self.changed = true;
    }

    pub(crate) fn alarms(&mut self, ix: DeviceIx, alarms: Vec<AlarmView>) {
        if ix.index() >= self.spec.devices.len() {
            self.own_shown = alarms;
            self.alarms_changed = true;
            self.changed = true;
            return;
        }
        let changed = if alarms.is_empty() {
            self.alarms.remove(&ix.0).is_some()
        } else {
            self.alarms.insert(ix.0, alarms);
            true
        };
        self.alarms_changed |= changed;
        self.changed |= changed;
    }

    /// The guardian gave a twin up, or has it restarted (`panic` is `None`).
    pub(crate) fn given_up(&mut self, ix: DeviceIx, panic: Option<String>, now: Timestamp) {
        let Some(old) = self.view.twins.get(ix.index()) else { return };
        let (mut twin, restarts) = (TwinView::clone(old), old.restarts);
        twin.revision = self.view.revision + 1;
        let mut held = None;
        if panic.is_some() {
            self.away.entry(ix).or_default();
        } else {
            // Its first word after the restart may have come before this.
            held = self.away.remove(&ix).flatten().filter(|o| o.restarts > restarts);
        }
        let trouble = panic.map(|panic| {
            twin.state = TwinState::GaveUp;
            forget_currency(&mut twin);
            twin.reason = format!("crashed too often: {panic}");
            twin.since = now;
            format!("given up after too many crashes: {panic}")
        });
        let source = AlarmSource::Supervision;
        let response = "find the cause in the log, then restart the twin";
        self.own_alarm(&twin.id, GAVE_UP, source, trouble.as_deref(), response, now);
        self.view.twins.set(ix.index(), Arc::new(twin));
        self.changed = true;
        if let Some(observed) = held {
            self.observed(ix, observed);
        }
    }

    /// A snapshot if anything changed since the last one, or if `force`.
    pub(crate) fn snapshot(&mut self, now: Timestamp, force: bool) -> Option<Arc<PlantView>> {
        if !self.changed && !force {
            return None;
        }
        if std::mem::take(&mut self.alarms_changed) {
            let mut all: Vec<AlarmView> =
                self.alarms.values().flatten().chain(&self.own_shown).cloned().collect();
            all.sort_by(|a, b| b.raised.cmp(&a.raised).then_with(|| a.id.cmp(&b.id)));
            self.view.alarms = all.into();
        }
        if std::mem::take(&mut self.letters_changed) {
            self.view.set_aside = self.letters.values().cloned().collect();
        }
        self.changed = false;
        self.report.snapshots += 1;
        self.view.now = now;
        self.view.uptime_s = now.since(self.started).as_secs_f64();
        self.view.revision += 1;
        let mut counters = self.counters.clone();
        counters.insert("station_events".to_owned(), self.report.events);
        counters.insert("station_refused".to_owned(), self.report.refused);
        self.view.counters = Arc::new(counters);
        Some(Arc::new(self.view.clone()))
    }
}
