//! The state of the console and how events change it.
//!
//! [`App::update`] is pure: the same events give the same state and the same actions. Absent:
//! terminal, threads, clocks (time comes as [`Event::Tick`]), drawing (see `view`).

mod act;
mod alarms;
mod dialog;
mod filter;
mod history;
mod index;
mod link;
mod operate;
#[cfg(test)]
pub(crate) mod tests;

use std::{sync::Arc, time::Duration};

use crossterm::event::KeyEvent;
use plantwin_model::{
    AlarmId, DeviceId, LinkView, Outcome, PlantView, Request, Role, Timestamp, TwinView,
};

pub(crate) use self::operate::role_name;
pub(crate) use self::{
    alarms::{AlarmCounts, AlarmIndex},
    dialog::Dialog,
    filter::Filter,
    history::{History, Sample},
    index::{TwinIndex, ZoneCount, state_slot},
    link::Link,
};
use crate::{
    Options, Theme,
    keys::{Access, Context},
    theme::Mark,
};

/// Lengths of the trend in seconds, shortest first.
const SPANS: [u64; 5] = [30, 60, 120, 300, 600];

/// A failure stays in the message line at least this long.
const FAILURE_STAYS: Duration = Duration::from_secs(10);

/// For this long after another alarm slid under the selection it is not acknowledged.
const SLID_GUARD: Duration = Duration::from_secs(1);

/// What happens to the console.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new snapshot came.
    View(Arc<PlantView>),
    /// No snapshot will come any more: the runtime is gone.
    Closed,
    /// Wall time passed.
    Tick(Timestamp),
    /// A key.
    Key(KeyEvent),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// The request with this label came to an end.
    Outcome(String, Outcome),
}

/// What the console asks of its surroundings.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Close.
    Quit,
    /// Draw every cell again.
    Redraw,
    /// Send a request and report its outcome under this label.
    Send(String, Request),
}

/// The screens, in the order of their keys `1` to `4`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Screen {
    /// Zones, latest alarms, servers and counters.
    #[default]
    Overview,
    /// List of twins.
    Twins,
    /// One twin.
    Twin,
    /// List of alarms.
    Alarms,
}

/// The message line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// Wall time.
    pub(crate) at: Timestamp,
    /// What happened.
    pub(crate) text: String,
    /// Whether something failed.
    pub(crate) failed: bool,
}

/// The whole state of the console.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that are true or not, independently")]
pub struct App {
    pub(crate) access: Access,
    pub(crate) role: Role,
    pub(crate) theme: Theme,
    pub(crate) ascii: bool,
    silence: Duration,
    /// The newest snapshot.
    pub(crate) latest: Arc<PlantView>,
    /// The snapshot on the screen; the newest unless the view is frozen.
    pub(crate) shown: Arc<PlantView>,
    /// Wall time at which the snapshot on the screen came.
    shown_at: Timestamp,
    frozen_since: Option<Timestamp>,
    wall: Timestamp,
    last_word: Timestamp,
    closed: bool,
    size: (u16, u16),
    pub(crate) screen: Screen,
    came_from: Screen,
    /// First line of the help, while it is open.
    pub(crate) help: Option<usize>,
    pub(crate) dialog: Option<Dialog>,
    typing_filter: bool,
    pub(crate) index: TwinIndex,
    /// Counts of the newest snapshot: the alarm bar lives on in a frozen view.
    pub(crate) counts: AlarmCounts,
    /// Alarms of the snapshot on the screen.
    pub(crate) alarms: AlarmIndex,
    pub(crate) filter: Filter,
    pub(crate) history: History,
    /// Selected row of the zones.
    pub(crate) zone: usize,
    /// Selected row of the twins that pass the filter.
    pub(crate) row: usize,
    twin: Option<DeviceId>,
    /// Selected row of the alarms.
    pub(crate) alarm: usize,
    alarm_id: Option<AlarmId>,
    /// When the selected alarm went away and another took its place, in wall time.
    alarm_slid: Option<Timestamp>,
    /// The alarm acknowledged last: that it goes away surprises nobody.
    acknowledged: Option<AlarmId>,
    /// Selected point of the twin.
    pub(crate) point: usize,
    span: usize,
    /// Whether the trend is scaled to the point's whole range.
    pub(crate) whole_range: bool,
    pub(crate) message: Option<Message>,
    dirty: bool,
}

impl App {
    /// The console as it opens on `view`.
    pub fn new(view: Arc<PlantView>, options: &Options) -> Self {
        let now = options.clock.now();
        let empty = Arc::new(PlantView::empty(&view.plant));
        let mut app = Self {
            access: options.access(),
            role: options.role,
            theme: options.theme,
            ascii: options.ascii,
            silence: options.silence,
            latest: empty.clone(),
            shown: empty,
            shown_at: now,
            frozen_since: None,
            wall: now,
            last_word: now,
            closed: false,
            size: (80, 24),
            screen: Screen::Overview,
            came_from: Screen::Overview,
            help: None,
            dialog: None,
            typing_filter: false,
            index: TwinIndex::default(),
            counts: AlarmCounts::default(),
            alarms: AlarmIndex::default(),
            filter: Filter::default(),
            history: History::default(),
            zone: 0,
            row: 0,
            twin: None,
            alarm: 0,
            alarm_id: None,
            alarm_slid: None,
            acknowledged: None,
            point: 0,
            span: 2,
            whole_range: false,
            message: None,
            dirty: true,
        };
        app.take_view(view);
        app
    }

    /// Takes an event in and says what is to be done.
    pub fn update(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::View(view) => {
                self.take_view(view);
            }
            Event::Closed => {
                self.dirty |= !self.closed;
                self.closed = true;
            }
            Event::Tick(now) => {
                let second = |t: Timestamp| t.0.div_euclid(1_000_000_000);
                self.dirty |= second(now) != second(self.wall);
                self.wall = now;
            }
            Event::Resize(width, height) => {
                self.dirty |= self.size != (width, height);
                self.size = (width, height);
            }
            Event::Outcome(label, outcome) => self.take_outcome(&label, outcome),
            Event::Key(key) => return self.key(&key),
        }
        Vec::new()
    }

    /// Opens a screen, as its key does.
    pub fn open(&mut self, screen: Screen) {
        self.dirty = true;
        if screen == Screen::Twin {
            if self.screen != Screen::Twin {
                self.came_from = self.screen;
            }
            self.point = 0;
        }
        if screen == Screen::Alarms && self.screen != Screen::Alarms {
            self.select_alarm(0);
        }
        self.screen = screen;
    }

    /// Selects a twin for the list and for the screen of one twin; an unknown name is ignored.
    pub fn select(&mut self, twin: &DeviceId) {
        if let Some(ix) = self.index.find(twin) {
            if self.twin.as_ref() != Some(twin) {
                self.twin = Some(twin.clone());
                self.point = 0;
                self.history.record(&self.latest, &self.latest, Some(ix));
            }
            if let Ok(row) = self.filter.visible().binary_search(&(ix as u32)) {
                self.row = row;
            }
            self.dirty = true;
        }
    }

    /// Whether something changed since the last call that must be drawn.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Where the keyboard goes.
    pub(crate) fn context(&self) -> Context {
        match (&self.dialog, self.help, self.typing_filter, self.screen) {
            (Some(Dialog::Choose { .. }), ..) => Context::Choose,
            (Some(Dialog::Arguments { .. }), ..) => Context::Arguments,
            (Some(Dialog::Confirm { .. }), ..) => Context::Confirm,
            (None, Some(_), ..) => Context::Help,
            (None, None, true, _) => Context::Filter,
            (_, _, _, Screen::Overview) => Context::Overview,
            (_, _, _, Screen::Twins) => Context::Twins,
            (_, _, _, Screen::Twin) => Context::Twin,
            (_, _, _, Screen::Alarms) => Context::Alarms,
        }
    }

    /// The twin selected in the list or shown on its own screen.
    pub(crate) fn selected_twin(&self) -> Option<&Arc<TwinView>> {
        let ix = self.index.find(self.twin.as_ref()?)?;
        self.shown.twins.get(ix)
    }

    /// The mark of the twin at `ix`.
    pub(crate) fn mark(&self, ix: usize, twin: &TwinView) -> Mark {
        if let Some((priority, state)) = self.alarms.twin(&twin.id) {
            return Mark::alarm(priority, state);
        }
        if self.index.class(ix).is_abnormal() { Mark::BAD } else { Mark::NONE }
    }

    /// Length of the trend.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(SPANS[self.span])
    }

    fn take_view(&mut self, view: Arc<PlantView>) {
        self.dirty = true;
        if !Arc::ptr_eq(&view.alarms, &self.latest.alarms) {
            self.counts = AlarmCounts::of(&view.alarms);
        }
        let watched = self.twin.as_ref().and_then(|id| self.index.find(id));
        self.history.record(&self.latest, &view, watched);
        if view.link == LinkView::Live {
            self.last_word = self.wall;
        }
        self.latest = view;
        if self.frozen_since.is_none() {
            self.show_latest();
        }
    }

    fn show_latest(&mut self) {
        self.shown_at = self.last_word;
        let old = std::mem::replace(&mut self.shown, self.latest.clone());
        let set_changed = self.index.sync(&old, &self.shown);
        let alarms_changed = !Arc::ptr_eq(&old.alarms, &self.shown.alarms);
        if set_changed || alarms_changed {
            self.alarms = AlarmIndex::of(&self.shown.alarms, &self.index);
        }
        if set_changed {
            self.filter.rebuild(&self.shown, &self.index);
            self.zone = self.zone.min(self.index.zones().len().saturating_sub(1));
            self.reselect();
        }
        if alarms_changed {
            // The selection stays with its alarm, however many newer ones push it down.
            let found = self
                .alarm_id
                .as_ref()
                .and_then(|id| self.shown.alarms.iter().position(|a| a.id == *id));
            if found.is_none() && self.alarm_id.is_some() && self.alarm_id != self.acknowledged {
                self.alarm_slid = Some(self.wall);
            }
            self.select_alarm(found.unwrap_or(self.alarm));
        }
    }

    /// Finds the selected twin in the list again after list or set changed.
    fn reselect(&mut self) {
        let place = self.twin.as_ref().and_then(|id| self.index.find(id));
        let row = place.and_then(|ix| self.filter.visible().binary_search(&(ix as u32)).ok());
        match row {
            Some(row) => self.row = row,
            None if place.is_some() && self.screen == Screen::Twin => {}
            None => self.select_row(self.row),
        }
    }

    fn select_row(&mut self, row: usize) {
        self.row = row.min(self.filter.visible().len().saturating_sub(1));
        let ix = self.filter.visible().get(self.row).map(|ix| *ix as usize);
        if let Some(id) = ix.and_then(|ix| self.shown.twins.get(ix)).map(|t| t.id.clone()) {
            self.select(&id);
        }
    }

    fn select_alarm(&mut self, row: usize) {
        self.alarm = row.min(self.shown.alarms.len().saturating_sub(1));
        self.alarm_id = self.shown.alarms.get(self.alarm).map(|a| a.id.clone());
    }

    fn take_outcome(&mut self, label: &str, outcome: Outcome) {
        let (text, failed) = match outcome {
            Outcome::Done => (format!("{label}: done"), false),
            Outcome::Refused { reason } => (format!("{label}: refused: {reason}"), true),
            Outcome::Failed { reason } => (format!("{label}: failed: {reason}"), true),
            Outcome::Expired => (format!("{label}: expired before it was sent"), true),
            Outcome::Unknown { reason } => (format!("{label}: unknown: {reason}"), true),
        };
        // One failure among many acknowledgements must not be swept away by the next success.
        let keep = |m: &Message| m.failed && self.wall.since(m.at) < FAILURE_STAYS;
        if failed || !self.message.as_ref().is_some_and(keep) {
            self.say(text, failed);
        }
    }

    fn say(&mut self, text: impl Into<String>, failed: bool) {
        self.message = Some(Message { at: self.wall, text: text.into(), failed });
        self.dirty = true;
    }
}
