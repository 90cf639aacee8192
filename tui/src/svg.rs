//! A frame as a picture: SVG that any browser shows, without a font of its own.
//!
//! Used for the screenshots of the documentation, from a console attached to a running plant.
//! Every cell is placed by its own column, so a font of another width cannot shift the grid.
//! Absent: animation.

use std::fmt::Write as _;

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

/// Width and height of a cell in user units.
const CELL: (f64, f64) = (8.4, 17.0);

/// Colours of a dark terminal.
const FOREGROUND: &str = "#d0d0d0";
const BACKGROUND: &str = "#1c1c1c";

/// Draws `buffer` as SVG text.
///
/// Edges are crisp: smoothed ones would leave a seam between neighbouring rectangles.
pub fn to_svg(buffer: &Buffer) -> String {
    let area = buffer.area;
    let (width, height) = (f64::from(area.width) * CELL.0, f64::from(area.height) * CELL.1);
    let mut out = String::with_capacity(64 * 1024);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.1} {height:.1}" font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" shape-rendering="crispEdges">
<rect width="100%" height="100%" fill="{BACKGROUND}"/>
"#
    );
    for y in area.top()..area.bottom() {
        let mut x = area.left();
        while x < area.right() {
            let start = x;
            let look = look_of(&buffer[(x, y)]);
            let mut text = String::new();
            let mut places = String::new();
            while x < area.right() && look_of(&buffer[(x, y)]) == look {
                let symbol = buffer[(x, y)].symbol();
                escape(symbol, &mut text);
                // One place a character, or the browser would lay out the rest by itself.
                for _ in symbol.chars() {
                    let _ = write!(places, "{:.1} ", f64::from(x - area.left()) * CELL.0);
                }
                x += crate::text::width(symbol).max(1) as u16;
            }
            run(
                &mut out,
                &look,
                (start - area.left(), x.min(area.right()) - start),
                y - area.top(),
                &text,
                &places,
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// What neighbouring cells must share to be drawn together.
#[derive(PartialEq)]
struct Look {
    fg: String,
    bg: Option<String>,
    bold: bool,
    dim: bool,
    underlined: bool,
}

fn look_of(cell: &Cell) -> Look {
    let (mut fg, mut bg) = (rgb(cell.fg), rgb(cell.bg));
    if cell.modifier.contains(Modifier::REVERSED) {
        (fg, bg) = (
            Some(bg.unwrap_or_else(|| BACKGROUND.into())),
            Some(fg.unwrap_or_else(|| FOREGROUND.into())),
        );
    }
    Look {
        fg: fg.unwrap_or_else(|| FOREGROUND.into()),
        bg,
        bold: cell.modifier.contains(Modifier::BOLD),
        dim: cell.modifier.contains(Modifier::DIM),
        underlined: cell.modifier.contains(Modifier::UNDERLINED),
    }
}

fn run(
    out: &mut String,
    look: &Look,
    (start, cells): (u16, u16),
    y: u16,
    text: &str,
    places: &str,
) {
    let top = f64::from(y) * CELL.1;
    if let Some(bg) = &look.bg {
        let (x, width) = (f64::from(start) * CELL.0, f64::from(cells) * CELL.0);
        let _ = writeln!(
            out,
            r#"<rect x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{:.1}" fill="{bg}"/>"#,
            CELL.1
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let mut more = String::new();
    for (on, attribute) in [
        (look.bold, r#" font-weight="bold""#),
        (look.dim, r#" opacity="0.6""#),
        (look.underlined, r#" text-decoration="underline""#),
    ] {
        if on {
            more.push_str(attribute);
        }
    }
    let _ = writeln!(
        out,
        r#"<text xml:space="preserve" x="{}" y="{:.1}" fill="{}"{more}>{text}</text>"#,
        places.trim_end(),
        top + 13.0,
        look.fg
    );
}

fn escape(symbol: &str, out: &mut String) {
    for c in symbol.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 allows no other control character, escaped or not.
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
}

/// A colour as `#rrggbb`; `None` for the terminal's own.
fn rgb(color: Color) -> Option<String> {
    let (r, g, b) = match color {
        Color::Reset => return None,
        Color::Rgb(r, g, b) => (r, g, b),
        Color::Indexed(i) => indexed(i),
        Color::Black => indexed(0),
        Color::Red => indexed(1),
        Color::Green => indexed(2),
        Color::Yellow => indexed(3),
        Color::Blue => indexed(4),
        Color::Magenta => indexed(5),
        Color::Cyan => indexed(6),
        Color::Gray => indexed(7),
        Color::DarkGray => indexed(8),
        Color::LightRed => indexed(9),
        Color::LightGreen => indexed(10),
        Color::LightYellow => indexed(11),
        Color::LightBlue => indexed(12),
        Color::LightMagenta => indexed(13),
        Color::LightCyan => indexed(14),
        Color::White => indexed(15),
    };
    Some(format!("#{r:02x}{g:02x}{b:02x}"))
}

/// The 256-colour table of xterm: 16 named, a cube of 6 x 6 x 6, 24 greys (`256colres.pl` of xterm).
const fn indexed(i: u8) -> (u8, u8, u8) {
    const NAMED: [(u8, u8, u8); 16] = [
        (0, 0, 0),
        (205, 0, 0),
        (0, 205, 0),
        (205, 205, 0),
        (0, 0, 238),
        (205, 0, 205),
        (0, 205, 205),
        (229, 229, 229),
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
        (92, 92, 255),
        (255, 0, 255),
        (0, 255, 255),
        (255, 255, 255),
    ];
    const fn level(step: u8) -> u8 {
        if step == 0 { 0 } else { 55 + 40 * step }
    }
    match i {
        0..16 => NAMED[i as usize],
        16..232 => {
            let c = i - 16;
            (level(c / 36), level(c / 6 % 6), level(c % 6))
        }
        _ => {
            let grey = 8 + 10 * (i - 232);
            (grey, grey, grey)
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn text_is_escaped_and_every_character_has_its_column() {
        let svg = to_svg(&Buffer::with_lines(["a<b>&\"c"]));
        assert!(svg.contains("a&lt;b&gt;&amp;&quot;c"), "{svg}");
        assert!(svg.contains(r#"x="0.0 8.4 16.8 25.2 33.6 42.0 50.4""#), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn colours_reversal_and_weight_are_kept() {
        let mut buffer = Buffer::with_lines(["plain alarm"]);
        let alarm =
            Style::new().fg(Color::Indexed(166)).add_modifier(Modifier::REVERSED | Modifier::BOLD);
        buffer.set_style(ratatui::layout::Rect::new(6, 0, 5, 1), alarm);
        let svg = to_svg(&buffer);
        assert!(svg.contains(r##"width="42.0" height="17.0" fill="#d75f00"/>"##), "{svg}");
        assert!(svg.contains(r##"fill="#1c1c1c" font-weight="bold">alarm</text>"##), "{svg}");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let svg = to_svg(&Buffer::with_lines(["冷x"]));
        assert!(svg.contains(r#"x="0.0 16.8""#), "{svg}");
    }
}
