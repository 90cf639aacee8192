//! Drawing: from [`App`] to cells, nothing else.
//!
//! Every list builds only the rows that are on the screen, so a frame costs the same for thirty
//! twins and for a hundred thousand. Absent: state; a frame leaves no trace but its cells.

mod alarms;
mod bars;
mod dialog;
mod help;
mod mail;
mod overview;
mod pen;
#[cfg(test)]
mod tests;
mod trend;
mod twin;
mod twins;
mod value;

use std::sync::Arc;

use plantwin_model::PlantView;
use ratatui::{buffer::Buffer, layout::Rect};

use self::pen::Pen;
pub(crate) use self::{help::help_lines, twins::state_name};
use crate::{
    Options,
    layout::{Layout, SMALLEST},
    state::{App, Event, Screen},
    theme::Tone,
};

/// What a frame took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FrameStats {
    /// Rows of lists that were built.
    pub rows_built: usize,
}

impl App {
    /// Draws the console over the whole of `buf`.
    pub fn draw(&self, buf: &mut Buffer) -> FrameStats {
        let area = buf.area;
        buf.reset();
        let mut pen = Pen::new(buf, self.theme, self.ascii);
        let Some(layout) = Layout::of(area, self.has_banner()) else {
            too_small(&mut pen, area);
            return FrameStats::default();
        };
        bars::header(self, &mut pen, layout.header);
        bars::alarms(self, &mut pen, layout.bar);
        if let Some(banner) = layout.banner {
            bars::banner(self, &mut pen, banner);
        }
        if let Some(first) = self.help {
            help::draw(self, &mut pen, layout.body, first);
        } else {
            match self.screen {
                Screen::Overview => overview::draw(self, &mut pen, &layout),
                Screen::Twins => twins::draw(self, &mut pen, &layout),
                Screen::Twin => twin::draw(self, &mut pen, &layout),
                Screen::Alarms => alarms::draw(self, &mut pen, &layout),
            }
        }
        if let Some(open) = &self.dialog {
            dialog::draw(self, &mut pen, layout.body, open);
        }
        bars::message(self, &mut pen, layout.message);
        bars::footer(self, &mut pen, layout.footer);
        FrameStats { rows_built: pen.rows }
    }

    /// Draws the console into a new buffer of this size in cells.
    pub fn render(&self, width: u16, height: u16) -> Buffer {
        let mut buf = Buffer::empty(Rect::new(0, 0, width, height));
        self.draw(&mut buf);
        buf
    }
}

/// Draws one screen of `view` into memory, without a terminal.
///
/// The screen of one twin shows the first twin that is not normal, or the first. Trends need
/// more than one snapshot: feed an [`App`] for that.
pub fn render_frame(
    view: &PlantView,
    width: u16,
    height: u16,
    screen: Screen,
    options: &Options,
) -> Buffer {
    let mut app = App::new(Arc::new(view.clone()), options);
    app.update(Event::Resize(width, height));
    app.open(screen);
    if screen == Screen::Twin {
        let abnormal = view.alarms.first().map(|a| a.twin.clone());
        let first = view.twins.get(0).map(|t| t.id.clone());
        if let Some(id) = abnormal.or(first) {
            app.select(&id);
        }
    }
    app.render(width, height)
}

fn too_small(pen: &mut Pen<'_>, area: Rect) {
    let need = format!("need {} x {}", SMALLEST.0, SMALLEST.1);
    let lines = ["terminal too small", &need];
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        pen.text(area.x, y, area.width, line, Tone::Strong);
    }
}
