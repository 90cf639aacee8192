//! Which rows of the terminal belong to what, as pure arithmetic.
//!
//! State and drawing both ask here, so that "acknowledge the page" means exactly the alarms that
//! are on the screen. Absent: drawing.

use ratatui::layout::Rect;

/// Below this many columns or rows nothing but a notice is drawn.
pub(crate) const SMALLEST: (u16, u16) = (60, 15);

/// Rows under the alarm list that show the selected alarm in full.
pub(crate) const ALARM_DETAIL: u16 = 4;

/// Lines about a twin that are always there.
pub(crate) const TWIN_FACTS: u16 = 5;

/// Lines about a twin that are there when there is something to say and room to say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TwinExtras {
    /// Its newest alarm.
    pub(crate) alarm: u16,
    /// Letters set aside, with their heading.
    pub(crate) letters: u16,
    /// Its durable telemetry.
    pub(crate) spool: u16,
    /// The lanes of its mailbox.
    pub(crate) lanes: u16,
}

/// The frame around every screen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Plant, role, time and link.
    pub(crate) header: Rect,
    /// Counts of alarms and twins.
    pub(crate) bar: Rect,
    /// The banner of a lost link.
    pub(crate) banner: Option<Rect>,
    /// The screen itself.
    pub(crate) body: Rect,
    /// What became of the last request.
    pub(crate) message: Rect,
    /// Keys.
    pub(crate) footer: Rect,
}

impl Layout {
    /// Cuts `area`; `None` if it is too small.
    pub(crate) fn of(area: Rect, lost: bool) -> Option<Self> {
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            return None;
        }
        let row = |y| Rect { x: area.x, y: area.y + y, width: area.width, height: 1 };
        let top = if lost { 3 } else { 2 };
        Some(Self {
            header: row(0),
            bar: row(1),
            banner: lost.then(|| row(2)),
            body: Rect { y: area.y + top, height: area.height - top - 2, ..area },
            message: row(area.height - 2),
            footer: row(area.height - 1),
        })
    }

    /// Rows of the list of twins, under its heading.
    pub(crate) fn twin_rows(&self) -> usize {
        usize::from(self.body.height - 1)
    }

    /// Rows of the help, under its heading.
    pub(crate) fn help_rows(&self) -> usize {
        usize::from(self.body.height - 1)
    }

    /// Rows of the list of alarms, between its heading and the selected alarm in full.
    pub(crate) fn alarm_rows(&self) -> usize {
        usize::from(self.body.height - 1 - ALARM_DETAIL)
    }

    /// Rows of the table of zones, under its heading.
    pub(crate) fn zone_rows(&self, zones: usize) -> usize {
        zones.clamp(1, usize::from(self.body.height / 2))
    }

    /// Rows of the table of points, under the heading and `facts` lines about the twin.
    pub(crate) fn point_rows(&self, points: usize, facts: u16) -> usize {
        points.clamp(1, usize::from(self.body.height.saturating_sub(facts) / 2).max(1))
    }

    /// Lines of the twin's screen under its [`TWIN_FACTS`] facts, so that heading and one row of
    /// the points always have room: the newest alarm, letters set aside, spool, lanes.
    pub(crate) fn twin_extras(&self, want: TwinExtras) -> TwinExtras {
        let mut spare = self.body.height.saturating_sub(TWIN_FACTS + 2);
        let mut take = |n: u16, least: u16| {
            let n = if spare < least { 0 } else { n.min(spare) };
            spare -= n;
            n
        };
        // In the order of what must not be missed.
        let alarm = take(want.alarm, 1);
        // A heading and at least one letter.
        let letters = take(want.letters, 2);
        let spool = take(want.spool, 1);
        let lanes = take(want.lanes, 1);
        TwinExtras { alarm, letters, spool, lanes }
    }
}

/// First item shown of a list of `len` in `rows` rows so that `selected` is in the middle where
/// the ends of the list allow it.
pub(crate) fn offset(selected: usize, len: usize, rows: usize) -> usize {
    selected.saturating_sub(rows / 2).min(len.saturating_sub(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_item_is_always_inside_the_window() {
        for len in 0..40 {
            for rows in 1..20 {
                for selected in 0..len {
                    let first = offset(selected, len, rows);
                    assert!((first..first + rows).contains(&selected), "{selected} {len} {rows}");
                    assert!(
                        first == 0 || first + rows <= len,
                        "empty rows: {selected} {len} {rows}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_smallest_terminal_still_has_room_for_every_part() {
        let area = Rect::new(0, 0, SMALLEST.0, SMALLEST.1);
        for lost in [false, true] {
            let l = Layout::of(area, lost).expect("large enough");
            assert!(l.alarm_rows() >= 3 && l.twin_rows() >= 8 && l.point_rows(9, 6) >= 1);
        }
        let all = TwinExtras { alarm: 1, letters: 4, spool: 1, lanes: 3 };
        for lost in [false, true] {
            let l = Layout::of(area, lost).expect("large enough");
            let extras = l.twin_extras(all);
            let lines = extras.alarm + extras.letters + extras.spool + extras.lanes;
            assert_eq!(extras.alarm, 1, "an alarm is never crowded out");
            assert!(TWIN_FACTS + lines + 2 <= l.body.height, "{extras:?}");
        }
        assert!(Layout::of(Rect { width: 59, ..area }, false).is_none());
        assert!(Layout::of(Rect { height: 14, ..area }, false).is_none());
    }
}
