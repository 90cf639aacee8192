//! Whether what is on the screen is current, and how old it is if not.
//!
//! The runtime says so itself while it can ([`LinkView`]); a runtime that fell silent cannot, so
//! the console also counts the time since the last snapshot. Absent: reconnecting.

use std::time::Duration;

use plantwin_model::{LinkView, PointView, Timestamp};

use super::App;

/// The link as the console sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// The last snapshot is this old.
    Live(Duration),
    /// Never reached yet.
    Connecting,
    /// Nothing shown is current.
    Lost {
        /// Wall time of the last word.
        since: Timestamp,
        /// Wall time passed since then.
        ago: Duration,
    },
}

impl App {
    /// The link now.
    pub(crate) fn link(&self) -> Link {
        let age = self.wall.since(self.last_word);
        match self.latest.link {
            LinkView::Lost { since } => Link::Lost { since, ago: self.wall.since(since) },
            _ if self.closed => Link::Lost { since: self.last_word, ago: age },
            LinkView::Connecting => Link::Connecting,
            LinkView::Live if age > self.silence => Link::Lost { since: self.last_word, ago: age },
            LinkView::Live => Link::Live(age),
        }
    }

    /// Whether values must be drawn as old.
    pub(crate) fn is_lost(&self) -> bool {
        !matches!(self.link(), Link::Live(_))
    }

    /// Whether the full-width banner stands.
    pub(crate) fn has_banner(&self) -> bool {
        matches!(self.link(), Link::Lost { .. })
    }

    /// Wall time now.
    pub(crate) fn wall(&self) -> Timestamp {
        self.wall
    }

    /// How long the view has been frozen.
    pub(crate) fn frozen_for(&self) -> Option<Duration> {
        self.frozen_since.map(|t| self.wall.since(t))
    }

    /// Age of something of the shown snapshot: its age then, and the wall time since.
    pub(crate) fn age(&self, at: Timestamp) -> Duration {
        let since = match self.shown.link {
            LinkView::Lost { since } => since,
            _ => self.shown_at,
        };
        self.shown.now.since(at).saturating_add(self.wall.since(since))
    }

    /// Age of a point's value.
    pub(crate) fn point_age(&self, point: &PointView) -> Option<Duration> {
        point.source_time.map(|t| self.age(t))
    }
}
