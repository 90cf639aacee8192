//! plantwin-tui: the operator console.
//!
//! Everything an operator does at a terminal: see the plant by zone, find a twin, look into it,
//! acknowledge an alarm, issue a confirmed command. [`run`] owns the terminal; [`line_mode`]
//! writes the same news as plain lines for logs and screen readers; [`render_frame`] and
//! [`to_svg`] draw one frame into memory for documentation.
//!
//! The screen follows ISA-101 as public guides tell it: what is normal carries no colour, what
//! is abnormal carries a symbol, a word and a colour, always together. What the link no longer
//! confirms is never drawn as live.
//!
//! The core is pure: [`App::update`] turns an [`Event`] into [`Action`]s and [`App::render`]
//! draws; terminal, clock and senders stay outside, in [`run`].
//!
//! ```
//! use plantwin_model::PlantView;
//! use plantwin_tui::{Options, Screen, render_frame};
//! # use plantwin_model::{Clock, Timestamp};
//! # #[derive(Debug)] struct Fixed;
//! # impl Clock for Fixed { fn now(&self) -> Timestamp { Timestamp(0) } }
//! # let clock = std::sync::Arc::new(Fixed);
//! let frame = render_frame(&PlantView::empty("brewery"), 80, 24, Screen::Overview, &Options::new(clock));
//! assert!(plantwin_tui::to_svg(&frame).contains("brewery"));
//! ```
//!
//! Absent: anything that knows actors, sockets or the runtime; authorisation (the runtime
//! decides, the console only hides what a role cannot do); a history longer than what the
//! console saw itself.

mod error;
#[cfg(test)]
mod fixture;
mod keys;
mod layout;
mod line;
mod options;
mod run;
mod state;
mod svg;
mod text;
mod theme;
mod view;
mod waiting;

pub use error::TuiError;
pub use line::line_mode;
pub use options::{Exit, Options};
pub use run::run;
pub use state::{Action, App, Event, Screen};
pub use svg::to_svg;
pub use theme::Theme;
pub use view::{FrameStats, render_frame};
