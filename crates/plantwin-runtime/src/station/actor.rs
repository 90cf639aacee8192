//! The station as an actor: opens envelopes, publishes snapshots.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};
use plantwin_authority::service::AuthorityPort;
use plantwin_field::StepStats;
use plantwin_model::{AlarmId, Clock, DeviceId, DeviceIx, Outcome, PlantView, invariant};
use plantwin_seal::Opener;
use plantwin_twin::{Inbox, Mail, Observed, SetAside, Telemetry, TwinEvent};
use tokio::sync::{mpsc::Sender, watch};

use super::{
    alarms::AlarmDesk,
    book::Book,
    notes::{Notes, StationNote},
    slot::Slot,
};
use crate::{
    commands::{CommandDesk, PointSeen},
    guardian::GuardEvent,
    keeper::{DurableJob, Keeper, LetterChange, Receipted},
    line::{Burden, Confirmed, LineOrder},
    northbound::{NorthboundStatus, PointRecord, TelemetryRecord},
    origin::Origins,
    router::Outcomes,
};

/// Counters that tell a present number and so may fall.
const GAUGES: [&str; 2] = ["commands_open", "commands_unknown"];
/// Counts durable frames that came again.
const REPEATED: &str = "telemetry_repeated";
/// Wall time between snapshots.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// Snapshots between two that are published even if nothing changed (the clock moves).
const FORCE_EVERY: u32 = 10;
/// Snapshots between two looks for telemetry that is too old to keep.
const EXPIRE_EVERY: u32 = 600;
/// Stands for the plant as a whole among those who have alarms, and for the station among those
/// who crash.
pub(crate) const PLANT: DeviceIx = DeviceIx(u32::MAX);
/// The alarm of a disk that fails.
const DISK: &str = "store";

/// What the station is built from.
pub(crate) struct StationInit {
    pub(crate) book: Book,
    pub(crate) inbox: Inbox<TwinEvent>,
    /// By [`DeviceIx`].
    pub(crate) openers: Vec<(DeviceId, Opener)>,
    /// By [`DeviceIx`]: where receipts of durable telemetry are confirmed.
    pub(crate) confirmed: Vec<Option<Arc<Confirmed>>>,
    pub(crate) view: watch::Sender<Arc<PlantView>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) commands: Arc<CommandDesk>,
    pub(crate) keeper: Option<Arc<Keeper>>,
    pub(crate) northbound: Option<NorthboundStatus>,
    pub(crate) steps: Option<Arc<StepStats>>,
    /// Panics of adapters.
    pub(crate) panics: Arc<AtomicU64>,
    /// Tells whether recorded values are what the devices said.
    pub(crate) authority: Option<Arc<dyn AuthorityPort>>,
    /// The lines, by device; none for a twin that is fed in process.
    pub(crate) orders: Vec<Option<Sender<LineOrder>>>,
    pub(crate) notes: Notes,
}

/// The station.
pub(crate) struct Station {
    pub(super) init: StationInit,
    alarms: AlarmDesk,
    beats: u32,
    /// Alarms that were acknowledged and are not shown so yet, and who waits for it.
    acknowledging: Vec<(AlarmId, u64)>,
    /// What it is at work on.
    pub(super) slot: Option<Slot>,
    /// Where letters are opened.
    pub(super) scratch: Vec<u8>,
}

impl Station {
    pub(crate) fn new(init: StationInit) -> Self {
        let (alarms, scratch) = (AlarmDesk::default(), Vec::new());
        Self { init, alarms, beats: 0, acknowledging: Vec::new(), slot: None, scratch }
    }

    pub(super) fn publish(&mut self) {
        self.beats = self.beats.wrapping_add(1);
        let force = self.beats.is_multiple_of(FORCE_EVERY);
        // One by one: what is left when one crashes the station waits.
        while let Some(note) = self.init.notes.take() {
            self.note(note);
        }
        if let Some(keeper) = &self.init.keeper {
            keeper.watch();
        }
        for (ix, alarms) in self.alarms.ready(self.init.keeper.as_deref()) {
            self.init.book.alarms(ix, alarms);
        }
        if force {
            self.count();
            self.watch_disk();
            self.init.outcomes.expire();
            self.init.commands.on_time();
        }
        if self.beats.is_multiple_of(EXPIRE_EVERY)
            && let Some(keeper) = &self.init.keeper
        {
            keeper.expire();
        }
        if let Some((plant, alarms)) = self.init.book.changed_own() {
            let keeper = self.init.keeper.as_deref();
            if let Some(shown) = self.alarms.take(keeper, PLANT, &plant, alarms) {
                self.init.book.alarms(PLANT, shown);
            }
        }
        let now = self.init.clock.now();
        if let Some(view) = self.init.book.snapshot(now, force) {
            debug_assert_eq!(
                invariant::view_follows(&self.init.view.borrow(), &view, &GAUGES),
                Ok(())
            );
            self.init.view.send_replace(view);
        }
        self.answer_acknowledged();
    }

    /// What is shown is on record, or cannot be.
    fn answer_acknowledged(&mut self) {
        if self.acknowledging.is_empty() {
            return;
        }
        let (open, outcomes) = (self.init.book.unacknowledged(), &self.init.outcomes);
        self.acknowledging.retain(|(alarm, key)| {
            let waits = open.contains(alarm);
            if !waits {
                outcomes.complete(*key, Outcome::Done);
            }
            waits && outcomes.is_awaited(*key)
        });
    }

    fn count(&mut self) {
        let counters = &mut self.init.book.counters;
        if let Some(steps) = &self.init.steps {
            let s = steps.snapshot();
            counters.insert("plant_steps".to_owned(), s.executed);
            counters.insert("plant_steps_skipped".to_owned(), s.skipped);
            counters.insert("plant_overruns".to_owned(), s.overruns);
            counters.insert("plant_measurements_dropped".to_owned(), s.dropped);
            let late = u64::try_from(s.late_max.as_micros()).unwrap_or(u64::MAX);
            counters.insert("plant_late_max_us".to_owned(), late);
        }
        counters.insert("adapter_panics".to_owned(), self.init.panics.load(Relaxed));
        let (open, watched) = self.init.commands.counts();
        counters.insert("commands_open".to_owned(), open as u64);
        counters.insert("commands_unknown".to_owned(), watched as u64);
        if let Some(keeper) = &self.init.keeper {
            let status = keeper.status();
            counters.insert("saved".to_owned(), status.saved);
            counters.insert("save_failed".to_owned(), status.failures);
            counters.insert("log_records".to_owned(), status.appended);
            counters.insert("telemetry_stored".to_owned(), status.telemetry);
        }
    }

    /// What the keeper and the way out say, into the view.
    fn watch_disk(&mut self) {
        let now = self.init.clock.now();
        let book = &mut self.init.book;
        if let Some(keeper) = &self.init.keeper {
            let mut status = keeper.status();
            let failing = status.failing.as_ref().map(|(_, why)| {
                format!("the store fails to {why}; what must be kept waits in memory")
            });
            let changed = std::mem::take(&mut status.changed);
            let queues: Vec<_> = changed
                .into_iter()
                .filter_map(|device| Some((status.queues.get(&device)?.view, device)))
                .collect();
            let total = status.total.view;
            let damage = std::mem::take(&mut status.damage);
            drop(status);
            if !damage.is_empty() {
                book.damage(&damage, now);
            }
            let response = "make room on the disk or mend it; nothing needs to be restarted";
            book.plant_alarm(DISK, failing.as_deref(), response, now);
            book.spool(total, queues);
        }
        if let Some(northbound) = &self.init.northbound {
            let view = northbound.lock().unwrap_or_else(PoisonError::into_inner).clone();
            book.northbound(view);
        }
    }

    fn observed(&mut self, ix: DeviceIx, observed: Observed) {
        if self.init.commands.watches() {
            let points = observed.points.iter().enumerate();
            let seen: Vec<PointSeen> = points
                .filter_map(|(i, point)| {
                    Some(PointSeen {
                        point: plantwin_model::PointIx(i as u16),
                        value: point.value.filter(|_| !point.quality.is_bad())?,
                        received: point.received_time?,
                    })
                })
                .collect();
            self.init.commands.observed(ix, &seen);
        }
        self.init.book.observed(ix, observed);
    }

    pub(super) fn receipt(&self, ix: DeviceIx, receipt: Option<u64>) -> Option<Receipted> {
        let confirmed = self.init.confirmed.get(ix.index())?.clone()?;
        Some(Receipted { confirmed, receipt: receipt? })
    }

    fn telemetry(&mut self, ix: DeviceIx, telemetry: Telemetry) {
        let receipt = self.receipt(ix, telemetry.receipt);
        // Without a store nothing outlives the process.
        let Some(keeper) = &self.init.keeper else {
            if let Some(receipt) = receipt {
                receipt.confirmed.confirm(receipt.receipt);
            }
            return;
        };
        let device = self.init.openers[ix.index()].0.clone();
        if telemetry.duplicate {
            *self.init.book.counters.entry(REPEATED.to_owned()).or_default() += 1;
            // What was told before may still be on its way to the disk.
            if let Some(receipt) = receipt {
                keeper.keep(DurableJob::Again { device, receipt });
            }
            return;
        }
        self.check_origin(ix, &device, &telemetry);
        let names = self.init.book.points_of(ix);
        let points = telemetry
            .samples
            .iter()
            .filter_map(|s| {
                let spec = names.get(s.point.index())?;
                Some(PointRecord {
                    name: spec.name.to_string(),
                    unit: s.origin.map(|_| spec.unit.to_string()),
                    value: s.value,
                    quality: s.quality,
                    measured: Some(s.source_time),
                    origin: s.origin,
                })
            })
            .collect();
        let record = TelemetryRecord {
            sequence: telemetry.sequence,
            received: telemetry.received,
            missing: telemetry.missing,
            points,
        };
        let confirmed = self.init.confirmed.get(ix.index()).and_then(Option::as_ref);
        let burden = confirmed.filter(|_| receipt.is_none()).map(Burden::on);
        let recorded = telemetry.recorded;
        keeper.keep(DurableJob::Telemetry { device, record, recorded, receipt, burden });
    }

    /// What is about to be recorded must be what the device said.
    fn check_origin(&self, ix: DeviceIx, device: &DeviceId, telemetry: &Telemetry) {
        let Some(authority) = &self.init.authority else { return };
        let points = self.init.book.points_of(ix);
        let origins = Origins { authority: &**authority, device, points };
        if let Some(point) = origins.altered(telemetry) {
            let reason = format!("a value of {point} is not what the device said");
            if let Some(Some(orders)) = self.init.orders.get(ix.index()) {
                // A line that is busy hears of it with the next value.
                let _ = orders.try_send(LineOrder::Accuse { reason });
            }
        }
    }

    fn set_aside(&mut self, ix: DeviceIx, letter: SetAside) {
        let receipt = self.receipt(ix, letter.receipt);
        let device = self.init.openers[ix.index()].0.clone();
        match &self.init.keeper {
            Some(keeper) => keeper.keep(DurableJob::Letter {
                device,
                id: letter.id,
                change: LetterChange::Aside(postcard::to_allocvec(&letter).unwrap_or_default()),
                receipt,
            }),
            None => {
                if let Some(receipt) = receipt {
                    receipt.confirmed.confirm(receipt.receipt);
                }
            }
        }
        self.init.book.set_aside(ix, &letter);
    }

    fn released(&mut self, ix: DeviceIx, id: u64) {
        if let Some(keeper) = &self.init.keeper {
            let device = self.init.openers[ix.index()].0.clone();
            let change = LetterChange::Released;
            keeper.keep(DurableJob::Letter { device, id, change, receipt: None });
        }
        self.init.book.released(ix, id);
    }

    /// A twin says something.
    pub(super) fn event(&mut self, ix: DeviceIx, event: TwinEvent) {
        match event {
            TwinEvent::Observed(observed) => self.observed(ix, *observed),
            TwinEvent::Alarms(alarms) => {
                let keeper = self.init.keeper.as_deref();
                let id = &self.init.openers[ix.index()].0;
                if let Some(shown) = self.alarms.take(keeper, ix, id, alarms) {
                    self.init.book.alarms(ix, shown);
                }
            }
            TwinEvent::Outcome { key, outcome } => {
                if !self.init.commands.outcome(key, &outcome) {
                    self.init.outcomes.complete(key, outcome);
                }
            }
            TwinEvent::Save(bytes) => {
                if let Some(keeper) = &self.init.keeper {
                    keeper.save(self.init.openers[ix.index()].0.clone(), bytes);
                }
            }
            TwinEvent::Telemetry(telemetry) => self.telemetry(ix, telemetry),
            TwinEvent::SetAside(letter) => self.set_aside(ix, letter),
            TwinEvent::Released { id } => self.released(ix, id),
        }
    }

    fn note(&mut self, note: StationNote) {
        let now = self.init.clock.now();
        let book = &mut self.init.book;
        match note {
            // Its own.
            StationNote::Guard { device: PLANT, event } => {
                if let GuardEvent::Crashed { panic, wait } = event {
                    tracing::error!(?wait, "the station crashed: {panic}");
                    *book.counters.entry("station_crashes".to_owned()).or_default() += 1;
                }
            }
            StationNote::Guard { device, event } => match event {
                GuardEvent::Crashed { panic, wait } => {
                    tracing::error!(device = device.0, ?wait, "twin crashed: {panic}");
                    *book.counters.entry("twin_crashes".to_owned()).or_default() += 1;
                    book.crashed(device, panic, wait);
                }
                GuardEvent::Restarted => book.given_up(device, None, now),
                GuardEvent::GaveUp { panic } => {
                    tracing::error!(device = device.0, "twin given up: {panic}");
                    book.given_up(device, Some(panic), now);
                }
            },
            StationNote::Acknowledge { alarm, key, own } => {
                if own {
                    book.acknowledge_own(&alarm, now);
                }
                self.acknowledging.push((alarm, key));
            }
            StationNote::Amiss { name, trouble, response } => {
                book.plant_alarm(name, trouble.as_deref(), response, now);
            }
        }
    }
}

impl Actor for Station {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(PUBLISH_EVERY, |station, _| station.publish());
        // Made again after a restart; the letters themselves wait in the inbox.
        ctx.add_message_stream(self.init.inbox.letters());
        self.publish();
    }
}

impl Supervised for Station {
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        // `wait` keeps other letters out until the interrupted one was handled again.
        ctx.wait(async {}.into_actor(self).map(|(), station, _| station.recover()));
    }
}

impl Handler<Mail<TwinEvent>> for Station {
    type Result = ();

    fn handle(&mut self, mail: Mail<TwinEvent>, _: &mut Context<Self>) {
        self.take_in(mail);
    }
}
