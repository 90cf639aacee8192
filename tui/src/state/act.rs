//! What each command of the keyboard does to the screen.
//!
//! Absent: which key is which command (see `keys`); what acts on the plant (see `operate`).

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;

use super::{Action, App, SPANS, Screen};
use crate::{
    keys::{self, Command, Context},
    layout::Layout,
};

impl App {
    pub(super) fn key(&mut self, key: &KeyEvent) -> Vec<Action> {
        let Some((command, typed)) = keys::resolve(self.context(), self.access, key) else {
            return Vec::new();
        };
        self.dirty = true;
        match command {
            Command::Quit => return vec![Action::Quit],
            Command::Redraw => return vec![Action::Redraw],
            _ => {}
        }
        if let Some(dialog) = self.dialog.take() {
            return self.in_dialog(dialog, command, typed);
        }
        match self.context() {
            Context::Help => self.in_help(command),
            Context::Filter => self.in_filter(command, typed),
            _ => return self.on_screen(command),
        }
        Vec::new()
    }

    fn in_help(&mut self, command: Command) {
        let at = self.help.unwrap_or_default();
        let rows = self.layout().map_or(1, |l| l.help_rows());
        let last = crate::view::help_lines(self.access).len().saturating_sub(rows);
        self.help = match command {
            Command::Up => Some(at.saturating_sub(1)),
            Command::Down => Some(at + 1),
            Command::PageUp => Some(at.saturating_sub(10)),
            Command::PageDown => Some(at + 10),
            _ => None,
        }
        .map(|line| line.min(last));
    }

    fn in_filter(&mut self, command: Command, typed: char) {
        match command {
            Command::Type => self.filter.push(typed, &self.shown, &self.index),
            Command::Erase => self.filter.pop(&self.shown, &self.index),
            Command::Back => {
                self.filter.clear_text(&self.shown, &self.index);
                self.typing_filter = false;
            }
            _ => self.typing_filter = false,
        }
        self.reselect();
    }

    fn on_screen(&mut self, command: Command) -> Vec<Action> {
        match command {
            Command::Help => self.help = Some(0),
            Command::ShowOverview => self.open(Screen::Overview),
            Command::ShowTwins => self.open(Screen::Twins),
            Command::ShowTwin => {
                if self.selected_twin().is_none() {
                    self.select_row(self.row);
                }
                self.open(Screen::Twin);
            }
            Command::ShowAlarms => self.open(Screen::Alarms),
            Command::Freeze => self.toggle_freeze(),
            Command::Back => self.back(),
            Command::Enter => self.enter(),
            Command::Filter => self.typing_filter = true,
            Command::NextZone => self.turn_zone(true),
            Command::PreviousZone => self.turn_zone(false),
            Command::NextAbnormal => self.find_abnormal(true),
            Command::PreviousAbnormal => self.find_abnormal(false),
            Command::NextTwin => self.select_row(self.row.saturating_add(1)),
            Command::PreviousTwin => self.select_row(self.row.saturating_sub(1)),
            Command::NextPoint => self.select_point(self.point.saturating_add(1)),
            Command::PreviousPoint => self.select_point(self.point.saturating_sub(1)),
            Command::ZoomIn => self.span = self.span.saturating_sub(1),
            Command::ZoomOut => self.span = (self.span + 1).min(SPANS.len() - 1),
            Command::Scale => self.whole_range = !self.whole_range,
            Command::Acknowledge => return self.acknowledge_one(),
            Command::AcknowledgePage => self.ask_acknowledge_page(),
            Command::Operate => self.ask_command(),
            Command::Letters => self.ask_letters(),
            Command::Up => self.walk(|at, _| at.saturating_sub(1)),
            Command::Down => self.walk(|at, _| at.saturating_add(1)),
            Command::PageUp => self.walk(usize::saturating_sub),
            Command::PageDown => self.walk(usize::saturating_add),
            Command::First => self.walk(|_, _| 0),
            Command::Last => self.walk(|_, _| usize::MAX),
            Command::Quit
            | Command::Redraw
            | Command::Type
            | Command::Erase
            | Command::NextField
            | Command::PreviousField => {}
        }
        Vec::new()
    }

    /// Moves the selection of the screen; `step` gets the place and the rows of a page.
    fn walk(&mut self, step: impl Fn(usize, usize) -> usize) {
        let layout = self.layout();
        let page = |rows: fn(&Layout) -> usize| layout.as_ref().map_or(1, rows);
        match self.screen {
            Screen::Overview => {
                let zones = self.index.zones().len();
                let rows = layout.as_ref().map_or(1, |l| l.zone_rows(zones));
                self.zone = step(self.zone, rows).min(zones.saturating_sub(1));
            }
            Screen::Twins => self.select_row(step(self.row, page(Layout::twin_rows))),
            Screen::Twin => self.select_point(step(self.point, 5)),
            Screen::Alarms => self.select_alarm(step(self.alarm, page(Layout::alarm_rows))),
        }
    }

    pub(super) fn layout(&self) -> Option<Layout> {
        Layout::of(Rect::new(0, 0, self.size.0, self.size.1), self.has_banner())
    }

    fn select_point(&mut self, point: usize) {
        let points = self.selected_twin().map_or(0, |t| t.points.len());
        self.point = point.min(points.saturating_sub(1));
    }

    fn toggle_freeze(&mut self) {
        if self.frozen_since.take().is_some() {
            self.show_latest();
        } else {
            self.frozen_since = Some(self.wall);
        }
    }

    fn back(&mut self) {
        match self.screen {
            Screen::Twin => {
                let to = self.came_from;
                self.screen = to;
                self.reselect();
            }
            Screen::Twins if self.filter.is_active() => {
                self.filter.clear(&self.shown, &self.index);
                self.reselect();
            }
            Screen::Twins | Screen::Alarms => self.screen = Screen::Overview,
            Screen::Overview => {}
        }
    }

    fn enter(&mut self) {
        match self.screen {
            Screen::Overview => {
                self.filter.set_zone(Some(self.zone), &self.shown, &self.index);
                self.open(Screen::Twins);
                self.reselect();
            }
            Screen::Twins => {
                if self.selected_twin().is_some() {
                    self.open(Screen::Twin);
                }
            }
            Screen::Alarms => {
                let twin = self.shown.alarms.get(self.alarm).map(|a| a.twin.clone());
                match twin.filter(|id| self.index.find(id).is_some()) {
                    Some(id) => {
                        self.select(&id);
                        self.open(Screen::Twin);
                    }
                    None => self.say("this alarm belongs to no twin", false),
                }
            }
            Screen::Twin => {}
        }
    }

    fn turn_zone(&mut self, forward: bool) {
        let zones = self.index.zones().len();
        let next = match (self.filter.zone(), forward) {
            (None, true) => (zones > 0).then_some(0),
            (None, false) => zones.checked_sub(1),
            (Some(z), true) => (z + 1 < zones).then_some(z + 1),
            (Some(z), false) => z.checked_sub(1),
        };
        self.filter.set_zone(next, &self.shown, &self.index);
        self.reselect();
    }

    fn find_abnormal(&mut self, forward: bool) {
        let visible = self.filter.visible();
        let abnormal = |row: &usize| {
            let Some(ix) = visible.get(*row).map(|ix| *ix as usize) else { return false };
            self.index.class(ix).is_abnormal()
                || self.shown.twins.get(ix).is_some_and(|t| self.alarms.twin(&t.id).is_some())
        };
        let n = visible.len();
        let found = if forward {
            (self.row + 1..n).chain(0..(self.row + 1).min(n)).find(abnormal)
        } else {
            (0..self.row.min(n)).rev().chain((self.row.min(n)..n).rev()).find(abnormal)
        };
        match found {
            Some(row) => self.select_row(row),
            None => self.say("every twin of this list is normal", false),
        }
    }
}
