//! The trend of one point: what was measured and what the model foresaw.
//!
//! Braille cells hold two by four dots; with `--ascii` a cell is one dot, `*` measured and `.`
//! foreseen. Absent: samples from before the console was opened.

use plantwin_model::{PointInfo, Timestamp, TwinView};
use ratatui::layout::Rect;

use super::pen::Pen;
use crate::{
    state::{App, Sample},
    text::{clock, duration, number, unit},
    theme::Tone,
};

/// Columns of the numbers beside the plot.
const GUTTER: u16 = 11;

/// Draws the trend of `info`, the selected point.
pub(super) fn draw(app: &App, pen: &mut Pen<'_>, area: Rect, twin: &TwinView, info: &PointInfo) {
    if area.height < 4 || area.width < 2 * GUTTER {
        return;
    }
    let (low, high) = info.range;
    let legend = if pen.ascii { "* measured  . model" } else { "bright measured, dim model" };
    let title = format!(
        " TREND {} {}  {}  range {} to {}  {legend}",
        info.name,
        unit(&info.unit, pen.ascii),
        duration(app.span()),
        number(low),
        number(high)
    );
    pen.heading(Rect { height: 1, ..area }, &title);
    let plot = Rect {
        x: area.x + GUTTER,
        y: area.y + 1,
        width: area.width - GUTTER - 1,
        height: area.height - 2,
    };
    let end = app.shown.now;
    let span = i64::try_from(app.span().as_nanos()).unwrap_or(i64::MAX);
    let start = Timestamp(end.0.saturating_sub(span));
    let axis = area.bottom() - 1;
    pen.text(plot.x, axis, 10, &clock(start), Tone::Dim);
    pen.right(plot.x, axis, plot.width, &clock(end), Tone::Dim);

    let samples: Vec<Sample> = app
        .history
        .of(&twin.id, app.point)
        .map(|ring| ring.iter().filter(|s| s.at >= start && s.at <= end).copied().collect())
        .unwrap_or_default();
    let Some((bottom, top)) = scale(&samples, info.range, app.whole_range) else {
        pen.text(plot.x, plot.y, plot.width, "no samples in this window yet", Tone::Dim);
        return;
    };
    pen.right(area.x, plot.y, GUTTER - 1, &number(top), Tone::Dim);
    pen.right(area.x, plot.bottom() - 1, GUTTER - 1, &number(bottom), Tone::Dim);

    let mut grid = Grid::new(plot, pen.ascii);
    let x = |at: Timestamp| (at.0 - start.0) as f64 / span as f64;
    let y = |v: f64| (v - bottom) / (top - bottom);
    for pair in samples.windows(2) {
        // A pause as long as a tenth of the window is a gap, not a line.
        if pair[1].at.0 - pair[0].at.0 > span / 10 {
            continue;
        }
        let (x0, x1) = (x(pair[0].at), x(pair[1].at));
        grid.line(Layer::Model, (x0, y(pair[0].predicted)), (x1, y(pair[1].predicted)));
        grid.line(Layer::Measured, (x0, y(pair[0].measured)), (x1, y(pair[1].measured)));
    }
    for s in &samples {
        grid.line(Layer::Model, (x(s.at), y(s.predicted)), (x(s.at), y(s.predicted)));
        grid.line(Layer::Measured, (x(s.at), y(s.measured)), (x(s.at), y(s.measured)));
    }
    for (limit, name) in [(low, "lo"), (high, "hi")] {
        if (bottom..=top).contains(&limit) {
            let row = grid.row(y(limit));
            let line = pen.rule().repeat(usize::from(plot.width));
            pen.text(plot.x, plot.y + row, plot.width, &line, Tone::Dim);
            pen.text(area.x, plot.y + row, 2, name, Tone::Dim);
        }
    }
    grid.draw(pen, app.is_lost());
}

/// Lowest and highest value of the axis; `None` without a sample.
fn scale(samples: &[Sample], range: (f64, f64), whole: bool) -> Option<(f64, f64)> {
    let values = samples.iter().flat_map(|s| [s.measured, s.predicted]).filter(|v| v.is_finite());
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return None;
    }
    let width = (range.1 - range.0).abs();
    let (low, high) = if whole && width.is_finite() {
        (low.min(range.0), high.max(range.1))
    } else {
        (low, high)
    };
    // A steady value gets an axis around it: a hundredth of the range, at the least what f64 resolves.
    let least = if width.is_finite() && width > 0.0 { width / 100.0 } else { 1.0 };
    let least = least.max(high.abs().max(low.abs()) * 1e-9);
    let pad = ((high - low) * 0.05).max((least - (high - low)).max(0.0) / 2.0);
    let (low, high) = (low - pad, high + pad);
    (low.is_finite() && high.is_finite() && high > low).then_some((low, high))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layer {
    Measured,
    Model,
}

/// Dots in the cells of the plot, one byte a cell and layer in the order of braille dots.
struct Grid {
    plot: Rect,
    /// Dots a cell, across and down.
    fine: (i64, i64),
    measured: Vec<u8>,
    model: Vec<u8>,
}

impl Grid {
    fn new(plot: Rect, ascii: bool) -> Self {
        let cells = usize::from(plot.width) * usize::from(plot.height);
        let fine = if ascii { (1, 1) } else { (2, 4) };
        Self { plot, fine, measured: vec![0; cells], model: vec![0; cells] }
    }

    fn size(&self) -> (i64, i64) {
        (i64::from(self.plot.width) * self.fine.0, i64::from(self.plot.height) * self.fine.1)
    }

    /// Row of cells for a height of 0 (bottom) to 1 (top).
    fn row(&self, y: f64) -> u16 {
        let rows = self.plot.height;
        (((1.0 - y) * f64::from(rows - 1)).round() as u16).min(rows - 1)
    }

    /// A line between two places, each 0 to 1 across and up.
    fn line(&mut self, layer: Layer, from: (f64, f64), to: (f64, f64)) {
        let (w, h) = self.size();
        let dot = |(x, y): (f64, f64)| ((x * (w - 1) as f64), ((1.0 - y) * (h - 1) as f64));
        let ((x0, y0), (x1, y1)) = (dot(from), dot(to));
        if !(x0.is_finite() && x1.is_finite() && y0.is_finite() && y1.is_finite()) {
            return;
        }
        // Never more steps than the plot has dots on both sides, whatever the numbers are.
        let steps = (x1 - x0).abs().max((y1 - y0).abs()).ceil().clamp(1.0, (w + h) as f64) as i64;
        for i in 0..=steps {
            let t = i as f64 / steps as f64;
            self.dot(
                layer,
                (x0 + (x1 - x0) * t).round() as i64,
                (y0 + (y1 - y0) * t).round() as i64,
            );
        }
    }

    fn dot(&mut self, layer: Layer, x: i64, y: i64) {
        let (w, h) = self.size();
        if !(0..w).contains(&x) || !(0..h).contains(&y) {
            return;
        }
        let cell =
            (y / self.fine.1) as usize * usize::from(self.plot.width) + (x / self.fine.0) as usize;
        let bit = braille_bit((x % self.fine.0) as usize, (y % self.fine.1) as usize);
        match layer {
            Layer::Measured => self.measured[cell] |= bit,
            Layer::Model => self.model[cell] |= bit,
        }
    }

    fn draw(&self, pen: &mut Pen<'_>, old: bool) {
        for (i, (measured, model)) in self.measured.iter().zip(&self.model).enumerate() {
            if measured | model == 0 {
                continue;
            }
            let x = self.plot.x + (i % usize::from(self.plot.width)) as u16;
            let y = self.plot.y + (i / usize::from(self.plot.width)) as u16;
            let tone = if *measured == 0 || old { Tone::Dim } else { Tone::Normal };
            let symbol = match (pen.ascii, *measured) {
                (true, 0) => '.',
                (true, _) => '*',
                (false, _) => char::from_u32(0x2800 + u32::from(measured | model)).unwrap_or(' '),
            };
            pen.text(x, y, 1, symbol.encode_utf8(&mut [0; 4]), tone);
        }
    }
}

/// Bit of a dot in U+2800 (Unicode chapter "Braille Patterns": dots 1 to 3 and 7 on the left,
/// 4 to 6 and 8 on the right).
const fn braille_bit(x: usize, y: usize) -> u8 {
    const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    BITS[x & 1][y & 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(measured: f64) -> Sample {
        Sample { at: Timestamp(0), measured, predicted: f64::NAN }
    }

    #[test]
    fn a_steady_value_still_gets_an_axis_around_it() {
        for v in [0.0, 5.0, -1e12, 1e300] {
            let (low, high) = scale(&[sample(v)], (0.0, 10.0), false).expect("an axis");
            assert!(low < v && v < high, "{v}: {low} {high}");
        }
        assert_eq!(scale(&[], (0.0, 10.0), false), None);
        assert_eq!(scale(&[sample(f64::NAN)], (0.0, 10.0), false), None);
    }

    #[test]
    fn a_line_goes_from_corner_to_corner_and_never_outside() {
        let mut grid = Grid::new(Rect::new(0, 0, 3, 2), false);
        grid.line(Layer::Measured, (0.0, 0.0), (1.0, 1.0));
        assert_eq!(grid.measured[3] & braille_bit(0, 3), braille_bit(0, 3));
        assert_eq!(grid.measured[2] & braille_bit(1, 0), braille_bit(1, 0));
        grid.line(Layer::Model, (-1e300, 1e300), (f64::NAN, 0.0));
        grid.line(Layer::Model, (-5.0, 9.0), (7.0, -9e18));
        assert_eq!(grid.measured.len(), 6);
    }
}
