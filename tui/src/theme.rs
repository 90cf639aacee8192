//! Colour, reserved for the abnormal.
//!
//! A normal plant is drawn without a single colour: plain, dim, bold and reversed only. What is
//! abnormal gets a colour of the Okabe-Ito palette (M. Okabe, K. Ito, "Color Universal Design",
//! 2008), which people with colour vision deficiency tell apart, in the nearest entry of the
//! 256-colour table that nearly every terminal has. A colour never stands alone: [`Mark`] joins
//! it to a symbol, and the screens add the word. Absent: colours chosen by the user.

use plantwin_model::{AlarmState, Priority};
use ratatui::style::{Color, Modifier, Style};

/// Choice of colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Theme {
    /// Okabe-Ito colours for the abnormal.
    #[default]
    Default,
    /// No colour at all: bold, underlined and reversed carry the difference.
    Mono,
    /// The terminal's own bright colours, nothing dimmed.
    HighContrast,
}

/// What a piece of text means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// Normal.
    Normal,
    /// Normal and of lesser weight: labels, frames, what is old.
    Dim,
    /// Normal and of greater weight: titles.
    Strong,
    /// An alarm of this priority; `true` while it is not acknowledged.
    Alarm(Priority, bool),
    /// A value or twin that is not to be trusted.
    Bad,
    /// The banner of a lost link and other messages that must not be missed.
    Banner,
}

impl Theme {
    /// The style of `tone`.
    pub(crate) fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (self, tone) {
            (_, Tone::Normal) | (Self::HighContrast, Tone::Dim) => plain,
            (_, Tone::Dim) => plain.add_modifier(Modifier::DIM),
            (_, Tone::Strong) => plain.add_modifier(Modifier::BOLD),
            (Self::Mono, Tone::Banner) => plain.add_modifier(Modifier::BOLD | Modifier::REVERSED),
            (Self::Mono, Tone::Bad) => plain.add_modifier(Modifier::UNDERLINED),
            (Self::Mono, Tone::Alarm(priority, open)) => {
                let weight =
                    if priority <= Priority::High { Modifier::BOLD } else { Modifier::empty() };
                let urge = if open { Modifier::REVERSED } else { Modifier::UNDERLINED };
                plain.add_modifier(weight | urge)
            }
            (_, Tone::Banner) => plain
                .fg(self.colour(Tone::Banner))
                .add_modifier(Modifier::BOLD | Modifier::REVERSED),
            (_, Tone::Alarm(priority, open)) => {
                let style = plain.fg(self.colour(tone));
                let style = if self == Self::HighContrast {
                    style.add_modifier(Modifier::BOLD)
                } else {
                    style
                };
                match (priority, open) {
                    (Priority::Critical, true) => {
                        style.add_modifier(Modifier::BOLD | Modifier::REVERSED)
                    }
                    (_, true) => style.add_modifier(Modifier::BOLD),
                    (_, false) => style,
                }
            }
            (_, Tone::Bad) => plain.fg(self.colour(tone)),
        }
    }

    /// The colour of an abnormal tone.
    fn colour(self, tone: Tone) -> Color {
        let bright = self == Self::HighContrast;
        match tone {
            // Vermillion (213, 94, 0).
            Tone::Alarm(Priority::Critical, _) | Tone::Banner => {
                if bright {
                    Color::LightRed
                } else {
                    Color::Indexed(166)
                }
            }
            // Orange (230, 159, 0).
            Tone::Alarm(Priority::High, _) => {
                if bright {
                    Color::LightYellow
                } else {
                    Color::Indexed(178)
                }
            }
            // Yellow (240, 228, 66).
            Tone::Alarm(Priority::Medium, _) => {
                if bright {
                    Color::Yellow
                } else {
                    Color::Indexed(227)
                }
            }
            // Sky blue (86, 180, 233).
            Tone::Alarm(Priority::Low, _) => {
                if bright {
                    Color::LightCyan
                } else {
                    Color::Indexed(74)
                }
            }
            // Reddish purple (204, 121, 167).
            Tone::Bad => {
                if bright {
                    Color::LightMagenta
                } else {
                    Color::Indexed(175)
                }
            }
            Tone::Normal | Tone::Dim | Tone::Strong => Color::Reset,
        }
    }
}

/// A symbol with its tone: the two are never used apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// At most two columns.
    pub(crate) symbol: &'static str,
    /// Its tone.
    pub(crate) tone: Tone,
}

impl Mark {
    /// Nothing abnormal.
    pub(crate) const NONE: Self = Self { symbol: "", tone: Tone::Normal };
    /// A value or twin that is not to be trusted.
    pub(crate) const BAD: Self = Self { symbol: "?", tone: Tone::Bad };

    /// The mark of an alarm.
    pub(crate) const fn alarm(priority: Priority, state: AlarmState) -> Self {
        let open = !matches!(state, AlarmState::Acknowledged);
        let symbol = match (state, priority) {
            (AlarmState::ReturnedUnacknowledged, _) => "~",
            (_, Priority::Critical) => "!!",
            (_, Priority::High | Priority::Medium) => "!",
            (_, Priority::Low) => "i",
        };
        // Returned alarms still ask for an acknowledgement, but nothing is wrong any more.
        let urgent = open && !matches!(state, AlarmState::ReturnedUnacknowledged);
        Self { symbol, tone: Tone::Alarm(priority, urgent) }
    }
}

/// `P1` to `P4`.
pub(crate) const fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical => "P1",
        Priority::High => "P2",
        Priority::Medium => "P3",
        Priority::Low => "P4",
    }
}

/// The word for an alarm's state, at most five columns.
pub(crate) const fn alarm_state_name(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Unacknowledged => "UNACK",
        AlarmState::Acknowledged => "ACK",
        AlarmState::ReturnedUnacknowledged => "RTN",
    }
}
