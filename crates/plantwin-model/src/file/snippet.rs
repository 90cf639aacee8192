//! A line of a file with a caret below one column, fit for a terminal.
//!
//! Absent: colour, line numbers (the caller has them).

/// Columns shown at most.
const WIDTH: usize = 100;

/// Characters shown before the place when a line is cut.
const BEFORE: usize = 50;

/// Renders `line` with carets below `length` characters from `column` (from 1).
pub(super) fn render(line: &str, column: usize, length: usize) -> String {
    let place = column.saturating_sub(1);
    let skipped = place.saturating_sub(BEFORE);
    // One look beyond the width tells whether anything was cut.
    let shown: Vec<char> = line.chars().skip(skipped).take(WIDTH + 1).map(visible).collect();
    let (mut text, mut pad, mut carets, mut used) = (String::new(), 0, 0, 0);
    if skipped > 0 {
        text.push('…');
        pad = 1;
        used = 1;
    }
    let last = WIDTH - 1;
    let mut cut = false;
    for (i, c) in shown.iter().enumerate() {
        let width = columns(*c);
        if used + width > last {
            cut = true;
            break;
        }
        text.push(*c);
        used += width;
        let at = skipped + i;
        if at < place {
            pad += width;
        } else if at < place + length.max(1) {
            carets += width;
        }
    }
    if cut {
        text.push('…');
    }
    format!("{text}\n{}{}", " ".repeat(pad), "^".repeat(carets.max(1)))
}

/// What is shown for a character: nothing that could move the cursor or turn the direction.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if super::quantity::is_unsafe(c) => '\u{fffd}',
        c => c,
    }
}

/// Terminal columns of a character: the wide blocks of UAX #11, and combining marks.
fn columns(c: char) -> usize {
    match c as u32 {
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
