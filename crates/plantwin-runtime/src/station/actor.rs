//! The station as an actor: opens envelopes, publishes snapshots.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, Handler, StreamHandler, Supervised};
use plantwin_field::StepStats;
use plantwin_model::{Clock, DeviceId, DeviceIx, PlantView};
use plantwin_seal::Opener;
use plantwin_twin::{Mail, TwinEvent};
use tokio::sync::watch;

use super::book::Book;
use crate::{colony::twin_of, guardian::GuardEvent, router::Outcomes, saver::Saver};

/// Wall time between snapshots.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// Snapshots between two that are published even if nothing changed (the clock moves).
const FORCE_EVERY: u32 = 10;

/// What else the station is told.
#[derive(Debug)]
pub(crate) enum StationNote {
    /// Of the guardian.
    Guard { device: DeviceIx, event: GuardEvent },
    /// An operator acknowledged the guardian's own alarm.
    AcknowledgeGivenUp { device: DeviceIx },
}

/// What the station is built from.
pub(crate) struct StationInit {
    pub(crate) book: Book,
    /// By [`DeviceIx`].
    pub(crate) openers: Vec<(DeviceId, Opener)>,
    pub(crate) view: watch::Sender<Arc<PlantView>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) saver: Option<Arc<Saver>>,
    pub(crate) steps: Option<Arc<StepStats>>,
    pub(crate) notes: tokio::sync::mpsc::Receiver<StationNote>,
}

/// The station.
pub(crate) struct Station {
    init: StationInit,
    notes: Option<tokio::sync::mpsc::Receiver<StationNote>>,
    beats: u32,
}

impl Station {
    pub(crate) fn new(mut init: StationInit) -> Self {
        let (_, empty) = tokio::sync::mpsc::channel(1);
        let notes = Some(std::mem::replace(&mut init.notes, empty));
        Self { init, notes, beats: 0 }
    }

    fn publish(&mut self) {
        self.beats = self.beats.wrapping_add(1);
        let force = self.beats.is_multiple_of(FORCE_EVERY);
        if force {
            self.count();
            self.init.outcomes.expire();
        }
        let now = self.init.clock.now();
        if let Some(view) = self.init.book.snapshot(now, force) {
            self.init.view.send_replace(view);
        }
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
        if let Some(saver) = &self.init.saver {
            let counts = saver.counts();
            counters.insert("saved".to_owned(), counts.saved.load(Relaxed));
            counters.insert("save_failed".to_owned(), counts.failed.load(Relaxed));
            counters.insert("save_refused".to_owned(), counts.refused.load(Relaxed));
        }
    }
}

impl Actor for Station {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(PUBLISH_EVERY, |station, _| station.publish());
        if let Some(notes) = self.notes.take() {
            ctx.add_stream(tokio_stream::wrappers::ReceiverStream::new(notes));
        }
        self.publish();
    }
}

impl Supervised for Station {}

impl Handler<Mail<TwinEvent>> for Station {
    type Result = ();

    fn handle(&mut self, mail: Mail<TwinEvent>, _: &mut Context<Self>) {
        let now = self.init.clock.now();
        let sender = twin_of(mail.0.header().sender);
        let found = sender.and_then(|ix| Some((ix, self.init.openers.get_mut(ix.index())?)));
        let Some((ix, (id, opener))) = found else {
            self.init.book.report.refused += 1;
            return;
        };
        let event = match opener.open(mail.0, now) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(twin = %id, "failed to {error}");
                self.init.book.report.refused += 1;
                return;
            }
        };
        self.init.book.report.events += 1;
        match event {
            TwinEvent::Observed(observed) => self.init.book.observed(ix, *observed),
            TwinEvent::Alarms(alarms) => self.init.book.alarms(ix, alarms),
            TwinEvent::Outcome { key, outcome } => self.init.outcomes.complete(key, outcome),
            TwinEvent::Save(bytes) => {
                if let Some(saver) = &self.init.saver {
                    saver.save(id.clone(), bytes);
                }
            }
        }
    }
}

impl StreamHandler<StationNote> for Station {
    fn handle(&mut self, note: StationNote, _: &mut Context<Self>) {
        let now = self.init.clock.now();
        match note {
            StationNote::Guard { device, event } => match event {
                GuardEvent::Crashed { panic, wait } => {
                    tracing::error!(device = device.0, ?wait, "twin crashed: {panic}");
                    *self.init.book.counters.entry("twin_crashes".to_owned()).or_default() += 1;
                }
                GuardEvent::Restarted => self.init.book.given_up(device, None, now),
                GuardEvent::GaveUp { panic } => {
                    tracing::error!(device = device.0, "twin given up: {panic}");
                    self.init.book.given_up(device, Some(panic), now);
                }
            },
            StationNote::AcknowledgeGivenUp { device } => {
                self.init.book.acknowledge_given_up(device, now);
            }
        }
    }

    /// The end of the notes is the end of the plant, not of the station.
    fn finished(&mut self, _: &mut Context<Self>) {}
}
