//! One value as it may be shown: never more trust than it deserves.
//!
//! A value of good quality over a live link is plain; any other bears a `?`, and what the link
//! no longer confirms is dimmed as well. Absent: where it goes on the screen.

use plantwin_model::PointView;

use super::pen::Pen;
use crate::{
    state::App,
    text::{duration, number},
    theme::Tone,
};

/// Text and tone of a value.
pub(super) struct Shown {
    /// `?` or empty.
    pub(super) mark: &'static str,
    /// The number, or dashes.
    pub(super) text: String,
    /// Tone of both.
    pub(super) tone: Tone,
    /// Tone of the mark.
    pub(super) mark_tone: Tone,
}

/// The measured value of `point`.
pub(super) fn measured(app: &App, point: &PointView) -> Shown {
    let text = point.value.map_or_else(|| "--".into(), number);
    if app.is_lost() {
        Shown { mark: "?", text, tone: Tone::Dim, mark_tone: Tone::Dim }
    } else if point.quality.is_good() {
        Shown { mark: "", text, tone: Tone::Normal, mark_tone: Tone::Normal }
    } else {
        Shown { mark: "?", text, tone: Tone::Bad, mark_tone: Tone::Bad }
    }
}

/// Another number of the point, such as its prediction.
pub(super) fn other(app: &App, value: Option<f64>) -> (String, Tone) {
    let tone = if app.is_lost() { Tone::Dim } else { Tone::Normal };
    (value.map_or_else(|| "--".into(), number), tone)
}

/// Whether the residual left its band.
pub(super) fn leaves_band(point: &PointView) -> bool {
    matches!((point.residual, point.band), (Some(r), Some(b)) if r.abs() > b)
}

/// The age of the value.
pub(super) fn age(app: &App, point: &PointView) -> String {
    app.point_age(point).map_or_else(|| "--".into(), duration)
}

/// Draws a value right-aligned in `max` columns with its mark in front.
pub(super) fn draw(pen: &mut Pen<'_>, x: u16, y: u16, max: u16, shown: &Shown) {
    pen.text(x, y, 1, shown.mark, shown.mark_tone);
    pen.right(x + 1, y, max.saturating_sub(1), &shown.text, shown.tone);
}
