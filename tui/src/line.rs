//! The console for where there is no terminal: one line of text at a time.
//!
//! For logs, pipes and screen readers: every line begins with the plant's time and stands for
//! itself; nothing is ever drawn over. Absent: keys.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use plantwin_model::{
    AlarmId, AlarmState, Clock, LinkView, PlantView, Priority, SetAsideView, Timestamp,
};
use tokio::sync::watch;

use crate::{
    TuiError,
    state::{AlarmCounts, TwinIndex},
    text::{count, date_clock, safe},
    theme::{Mark, alarm_state_name, priority_name},
    view::state_name,
    waiting::{letter_words, reason_words, spool_words, up_word},
};

/// Time between two looks at the view.
const TICK: Duration = Duration::from_millis(100);

/// Most lines of changes a second; what exceeds it is counted in one line.
const CHANGES: usize = 100;

/// Writes a line a second at most about the plant as a whole, and one for every alarm and every
/// twin whose state changed, until `stop` is set or the runtime is gone.
///
/// `clock` is the wall clock that paces it.
pub fn line_mode(
    mut view: watch::Receiver<Arc<PlantView>>,
    out: &mut dyn Write,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<(), TuiError> {
    let mut lines = Lines::new();
    let mut next: Option<Timestamp> = None;
    loop {
        let gone = view.has_changed().is_err();
        let ending = gone || stop.load(Ordering::Relaxed);
        let now = clock.now();
        // The clock may be set back: then the next line is due at once, not in an hour.
        let due = next.is_none_or(|t| now >= t || t.since(now) > Duration::from_secs(1));
        if due || ending {
            let current = view.borrow_and_update().clone();
            for line in lines.of(&current) {
                writeln!(out, "{line}").map_err(TuiError::Line)?;
            }
            if gone {
                writeln!(out, "{} LOST the runtime is gone", date_clock(now))
                    .map_err(TuiError::Line)?;
            }
            out.flush().map_err(TuiError::Line)?;
            next = Some(now.plus(Duration::from_secs(1)));
        }
        if ending {
            return Ok(());
        }
        std::thread::sleep(TICK);
    }
}

/// What was already written, so that only changes follow.
struct Lines {
    last: Option<Arc<PlantView>>,
    index: TwinIndex,
    alarms: HashMap<AlarmId, (Priority, AlarmState)>,
}

impl Lines {
    fn new() -> Self {
        Self { last: None, index: TwinIndex::default(), alarms: HashMap::new() }
    }

    /// The lines for `view`: changes first, then the plant; none if nothing new came.
    fn of(&mut self, view: &Arc<PlantView>) -> Vec<String> {
        if self.last.as_ref().is_some_and(|l| Arc::ptr_eq(l, view)) {
            return Vec::new();
        }
        let time = date_clock(view.now);
        let mut out = Vec::new();
        let more = self.alarm_changes(view, &time, &mut out)
            + self.twin_changes(view, &time, &mut out)
            + self.letter_changes(view, &time, &mut out);
        self.northbound_change(view, &time, &mut out);
        if more > 0 {
            out.push(format!("{time} and {} more changes", count(more as u64)));
        }
        let empty;
        let old = if let Some(old) = &self.last {
            old
        } else {
            empty = Arc::new(PlantView::empty(&view.plant));
            &empty
        };
        self.index.sync(old, view);
        out.push(self.plant_line(view, &time));
        self.last = Some(view.clone());
        out
    }

    fn plant_line(&self, view: &PlantView, time: &str) -> String {
        let link = match view.link {
            LinkView::Live => String::new(),
            LinkView::Connecting => " CONNECTING,".into(),
            LinkView::Lost { since } => {
                format!(" LOST since {}, values are old,", date_clock(since))
            }
        };
        let [ok, bad, stale, idle, doubtful] = self.index.classes();
        let alarms = AlarmCounts::of(&view.alarms);
        let [p1, p2, p3, p4] = alarms.by_priority;
        let mut line = format!(
            "{time} {}{link} twins {ok} ok {bad} bad {stale} stale {doubtful} doubtful {idle} idle, alarms {p1} P1 {p2} P2 {p3} P3 {p4} P4, {} unacknowledged",
            safe(&view.plant),
            alarms.unacknowledged
        );
        if let Some(spool) = &view.spool {
            line.push_str(", spool ");
            line.push_str(&spool_words(spool).replace("  ", " "));
        }
        if let Some(out) = &view.northbound {
            line.push_str(", northbound ");
            line.push_str(up_word(out));
        }
        if !view.set_aside.is_empty() {
            let _ = write!(line, ", {} set aside", count(view.set_aside.len() as u64));
        }
        line
    }

    /// Adds a line for each letter that was set aside or is no longer; returns how many found no
    /// room.
    fn letter_changes(&self, view: &PlantView, time: &str, out: &mut Vec<String>) -> usize {
        if self.last.as_ref().is_some_and(|l| Arc::ptr_eq(&l.set_aside, &view.set_aside)) {
            return 0;
        }
        let old = self.last.as_ref().map_or(&[][..], |l| &l.set_aside);
        let same = |a: &SetAsideView, b: &SetAsideView| a.id == b.id && a.twin == b.twin;
        let fresh = view.set_aside.iter().filter(|n| !old.iter().any(|o| same(o, n))).map(|l| {
            let words = letter_words(l);
            format!("{time} ? SET ASIDE twin {} {}", safe(l.twin.as_str()), safe(&words))
        });
        let gone = old.iter().filter(|o| !view.set_aside.iter().any(|n| same(o, n))).map(|l| {
            format!("{time} twin {} letter {} no longer set aside", safe(l.twin.as_str()), l.id)
        });
        let mut left = 0;
        for line in fresh.chain(gone) {
            if out.len() < CHANGES { out.push(line) } else { left += 1 }
        }
        left
    }

    /// Adds a line if the way out for durable telemetry came up or went down.
    fn northbound_change(&self, view: &PlantView, time: &str, out: &mut Vec<String>) {
        let was = self.last.as_ref().and_then(|l| l.northbound.as_ref());
        if let Some(now) = &view.northbound
            && was.map_or(!now.up, |was| was.up != now.up)
        {
            let mark = if now.up { "" } else { "? " };
            out.push(format!(
                "{time} {mark}northbound {}{}{}",
                up_word(now),
                if now.endpoint.is_empty() {
                    String::new()
                } else {
                    format!(" {}", safe(&now.endpoint))
                },
                safe(&reason_words(now))
            ));
        }
    }

    /// Adds a line for each alarm that changed; returns how many found no room.
    fn alarm_changes(&mut self, view: &PlantView, time: &str, out: &mut Vec<String>) -> usize {
        if self.last.as_ref().is_some_and(|l| Arc::ptr_eq(&l.alarms, &view.alarms)) {
            return 0;
        }
        let mut before = std::mem::take(&mut self.alarms);
        let mut left = 0;
        let mut add = |line: &dyn Fn() -> String| {
            if out.len() < CHANGES { out.push(line()) } else { left += 1 }
        };
        // Oldest first: a log is read downwards.
        for alarm in view.alarms.iter().rev() {
            let is = (alarm.priority, alarm.state);
            if before.remove(&alarm.id) != Some(is) {
                add(&|| {
                    format!(
                        "{time} {} {} {} {}: {}; {}",
                        Mark::alarm(alarm.priority, alarm.state).symbol,
                        priority_name(alarm.priority),
                        alarm_state_name(alarm.state),
                        safe(alarm.id.as_str()),
                        safe(&alarm.text),
                        safe(&alarm.response),
                    )
                });
            }
            self.alarms.insert(alarm.id.clone(), is);
        }
        let mut normal: Vec<_> = before.into_iter().collect();
        normal.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (id, (priority, _)) in normal {
            add(&|| format!("{time} {} NORMAL {}", priority_name(priority), safe(id.as_str())));
        }
        left
    }

    /// Adds a line for each twin whose state changed; returns how many found no room.
    fn twin_changes(&self, view: &PlantView, time: &str, out: &mut Vec<String>) -> usize {
        let mut left = 0;
        for (ix, twin) in view.twins.iter().enumerate() {
            let was = self.last.as_ref().and_then(|l| l.twins.get(ix));
            let changed = match was {
                Some(was) if Arc::ptr_eq(was, twin) => false,
                Some(was) => was.state != twin.state || was.id != twin.id,
                // The first look is no change; the line about the plant counts them.
                None => self.last.is_some(),
            };
            if changed && out.len() >= CHANGES {
                left += 1;
            } else if changed {
                out.push(format!(
                    "{time} twin {} {}: {}",
                    safe(twin.id.as_str()),
                    state_name(twin.state),
                    safe(&twin.reason)
                ));
            }
        }
        left
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
