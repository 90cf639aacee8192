//! What must always be true, as pure functions over plain histories.
//!
//! The deterministic simulation, tests of the real runtime and debug assertions ask the same
//! functions, so that "nothing lost" has one meaning. A history is what a bystander saw and
//! wrote down in order; every function says which [`Rule`] it breaks, if any. Absent: recording
//! histories, and waiting for a plant to settle.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, time::Duration};

use crate::{AlarmState, Outcome, PlantView, Timestamp, TwinState, TwinView};

/// A promise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// A supervisor restarts no more often than its policy allows.
    Restarts,
    /// A command has one outcome, acts at most once, and its outcome tells what it did.
    Commands,
    /// What the device was relieved of arrives, in order, or lies in a gap that is told.
    Telemetry,
    /// Alarms move as ISA-18.2 says, and none that was shown is forgotten.
    Alarms,
    /// Sequences of the store have no holes but those that are told.
    Store,
    /// Views grow, and so do their counters.
    Views,
    /// What is not confirmed is not shown as current.
    Current,
    /// When nothing disturbs it any more, the plant comes to rest.
    Settles,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 8] = [
        Self::Restarts,
        Self::Commands,
        Self::Telemetry,
        Self::Alarms,
        Self::Store,
        Self::Views,
        Self::Current,
        Self::Settles,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restarts => "restarts stay within the policy",
            Self::Commands => "a command acts at most once and its outcome is true",
            Self::Telemetry => "confirmed telemetry arrives in order or in a recorded gap",
            Self::Alarms => "alarms move legally and are never forgotten",
            Self::Store => "sequences are dense except for recorded gaps",
            Self::Views => "views and counters only grow",
            Self::Current => "what is not confirmed is not shown as current",
            Self::Settles => "an undisturbed plant comes to rest",
        })
    }
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// Whose: a device, a command's key, a counter.
    pub subject: String,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// A broken promise, with what was seen.
    pub fn new(rule: Rule, subject: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self { rule, subject: subject.to_string(), detail: detail.to_string() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.subject, self.detail)
    }
}

impl std::error::Error for Violation {}

/// What a function of this module gives.
pub type Verdict = Result<(), Violation>;

fn broken<T>(rule: Rule, subject: &str, detail: impl fmt::Display) -> Result<T, Violation> {
    Err(Violation::new(rule, subject, detail))
}

/// A moment in the life of a supervised child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// It crashed, in plant time.
    Crashed(Timestamp),
    /// It was seen at work.
    Alive,
    /// Its crashes were forgotten: an operator or its supervisor's supervisor started it anew.
    Forgiven,
}

/// Of the crashes within any `window`, at most `max` were answered by a restart. A crash was
/// answered if the child was seen alive, or crashed once more, after it.
pub fn restarts(
    subject: &str,
    max: usize,
    window: Duration,
    life: impl IntoIterator<Item = Life>,
) -> Verdict {
    let mut answered: Vec<Timestamp> = Vec::new();
    let mut down = None;
    for moment in life {
        let crash = match moment {
            Life::Crashed(at) => down.replace(at),
            Life::Alive => down.take(),
            Life::Forgiven => {
                answered.clear();
                down = None;
                None
            }
        };
        let Some(at) = crash else { continue };
        answered.retain(|&before| at.since(before) < window);
        answered.push(at);
        if answered.len() > max {
            let count = answered.len();
            let detail = format!("{count} restarts within {window:?}, where {max} are allowed");
            return broken(Rule::Restarts, subject, detail);
        }
    }
    Ok(())
}

/// A moment in the life of a command, seen from both ends.
#[derive(Clone, PartialEq, Debug)]
pub enum CommandEvent {
    /// Whoever asked (the first time or again) heard this.
    Answered(Outcome),
    /// The device acted on it.
    Acted,
}

/// A command acts at most once; `Done` comes after the act; `Refused`, `Expired` and `Failed` say
/// that it did not act and never will under this answer; a final answer is repeated, never
/// changed. `Unknown` may still become `Done` or `Failed`; a refused command was never accepted,
/// so asking again may have it accepted.
pub fn command(subject: &str, events: &[CommandEvent]) -> Verdict {
    let mut acted = 0;
    let mut last: Option<&Outcome> = None;
    for event in events {
        match event {
            CommandEvent::Acted => {
                acted += 1;
                if acted > 1 {
                    return broken(Rule::Commands, subject, "the device acted on it twice");
                }
                if let Some(told @ (Outcome::Failed { .. } | Outcome::Expired)) = last {
                    return broken(Rule::Commands, subject, format!("acted on after {told:?}"));
                }
            }
            CommandEvent::Answered(outcome) => {
                let untrue = match outcome {
                    Outcome::Done => acted == 0,
                    Outcome::Refused { .. } | Outcome::Failed { .. } | Outcome::Expired => {
                        acted > 0
                    }
                    Outcome::Unknown { .. } => false,
                };
                if untrue {
                    let detail = format!("answered {outcome:?}, but acted {acted} times");
                    return broken(Rule::Commands, subject, detail);
                }
                if let Some(before) = last
                    && !may_become(before, outcome)
                {
                    let detail = format!("answered {before:?} first and {outcome:?} then");
                    return broken(Rule::Commands, subject, detail);
                }
                last = Some(outcome);
            }
        }
    }
    Ok(())
}

fn may_become(before: &Outcome, after: &Outcome) -> bool {
    match before {
        Outcome::Refused { .. } => true,
        Outcome::Unknown { .. } => {
            matches!(after, Outcome::Unknown { .. } | Outcome::Done | Outcome::Failed { .. })
        }
        Outcome::Done | Outcome::Failed { .. } | Outcome::Expired => {
            std::mem::discriminant(before) == std::mem::discriminant(after)
        }
    }
}

/// Once the plant is at rest, [`command`] holds, the command was answered, and an act shows as
/// `Done` or `Unknown`.
pub fn command_at_rest(subject: &str, events: &[CommandEvent]) -> Verdict {
    command(subject, events)?;
    let answer = events.iter().rev().find_map(|event| match event {
        CommandEvent::Answered(outcome) => Some(outcome),
        CommandEvent::Acted => None,
    });
    let acted = events.contains(&CommandEvent::Acted);
    match answer {
        None => broken(Rule::Commands, subject, "it never had an outcome"),
        Some(Outcome::Done | Outcome::Unknown { .. }) => Ok(()),
        Some(outcome) if acted => broken(
            Rule::Commands,
            subject,
            format!("the device acted, yet the end was {outcome:?}"),
        ),
        Some(_) => Ok(()),
    }
}

/// What came out northbound of one device's numbered telemetry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// The value with this number.
    Value(u64),
    /// Word that the values from the first to the last number, both inclusive, never come.
    Gap(u64, u64),
}

/// First deliveries come in the order of their numbers; what was delivered before may be repeated.
pub fn telemetry_in_order(subject: &str, delivered: &[Delivered]) -> Verdict {
    let mut seen = BTreeSet::new();
    for item in delivered {
        let Delivered::Value(number) = *item else { continue };
        if !seen.insert(number) {
            continue;
        }
        if let Some(last) = seen.last().filter(|&&last| last != number) {
            let detail = format!("number {number} arrived for the first time after {last}");
            return broken(Rule::Telemetry, subject, detail);
        }
    }
    Ok(())
}

/// Each number that was confirmed to the device was delivered or lies in a gap that was told.
pub fn telemetry_complete(
    subject: &str,
    confirmed: impl IntoIterator<Item = u64>,
    delivered: &[Delivered],
) -> Verdict {
    let mut values = BTreeSet::new();
    let mut gaps = Vec::new();
    for item in delivered {
        match *item {
            Delivered::Value(number) => {
                values.insert(number);
            }
            Delivered::Gap(from, to) => gaps.push(from..=to),
        }
    }
    for number in confirmed {
        if !values.contains(&number) && !gaps.iter().any(|gap| gap.contains(&number)) {
            let detail = format!("number {number} was confirmed and never arrived, nor in a gap");
            return broken(Rule::Telemetry, subject, detail);
        }
    }
    Ok(())
}

/// A moment in the life of an alarm as its operator sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlarmEvent {
    /// It is shown in this state; `None` = it is normal, so not shown.
    Shown(Option<AlarmState>),
    /// Its operator acknowledged it.
    Acknowledged,
}

/// What is shown follows ISA-18.2: an alarm leaves the screen only when it was acknowledged, and
/// is shown as acknowledged only then. Views are samples, so moves that need no operator may lie
/// unseen between two of them. An acknowledgement may take effect at any time after it.
pub fn alarm(subject: &str, events: &[AlarmEvent]) -> Verdict {
    use AlarmState::{Acknowledged, ReturnedUnacknowledged, Unacknowledged};
    let mut state = None;
    let mut acknowledged = false;
    for event in events {
        let next = match *event {
            AlarmEvent::Acknowledged => {
                acknowledged = true;
                continue;
            }
            AlarmEvent::Shown(next) => next,
        };
        if next == state {
            continue;
        }
        let needs_operator = match (state, next) {
            (None | Some(Unacknowledged | ReturnedUnacknowledged), Some(Acknowledged))
            | (Some(Unacknowledged | ReturnedUnacknowledged), None) => true,
            (_, None | Some(Unacknowledged | Acknowledged | ReturnedUnacknowledged)) => false,
        };
        if needs_operator {
            if !acknowledged {
                let detail = format!("went from {state:?} to {next:?} without its operator");
                return broken(Rule::Alarms, subject, detail);
            }
            acknowledged = false;
        }
        state = next;
    }
    Ok(())
}

/// Numbers rise from `first` by one, except over ranges (both ends inclusive) that are told as
/// gaps.
pub fn dense(
    subject: &str,
    first: u64,
    numbers: impl IntoIterator<Item = u64>,
    gaps: &[(u64, u64)],
) -> Verdict {
    let mut expected = first;
    for number in numbers {
        if number < expected {
            let detail = format!("{number} came where {expected} was due");
            return broken(Rule::Store, subject, detail);
        }
        while expected < number {
            let gap = gaps.iter().find(|(from, to)| (*from..=*to).contains(&expected));
            let Some((_, to)) = gap else {
                let detail = format!("{expected} is missing before {number}, and in no gap");
                return broken(Rule::Store, subject, detail);
            };
            expected = to.saturating_add(1);
        }
        expected = number.saturating_add(1);
    }
    Ok(())
}

/// `after` is a later view of the same run: its revision and its counters did not fall, but for
/// those among the counters that tell a present number (`gauges`).
pub fn view_follows(before: &PlantView, after: &PlantView, gauges: &[&str]) -> Verdict {
    if after.revision <= before.revision {
        let detail = format!("revision {} after {}", after.revision, before.revision);
        return broken(Rule::Views, "view", detail);
    }
    if after.now < before.now {
        return broken(Rule::Views, "view", "its time ran backwards");
    }
    for (name, &was) in before.counters.iter().filter(|(n, _)| !gauges.contains(&n.as_str())) {
        let is = after.counters.get(name).copied();
        if is.is_none_or(|is| is < was) {
            return broken(Rule::Views, name, format!("fell from {was} to {is:?}"));
        }
    }
    for (was, is) in before.twins.iter().zip(after.twins.iter()) {
        if is.mailbox.handled < was.mailbox.handled || is.mailbox.refused < was.mailbox.refused {
            return broken(Rule::Views, was.id.as_str(), "a count of its mailbox fell");
        }
    }
    Ok(())
}

/// What the twin shows at `now` as good was received or confirmed lately: `heard` is when its
/// device was last heard of, `stale_after` the age from which each point is stale, `slack` what
/// timers and snapshots may add. A twin that is down shows nothing as good.
pub fn twin_is_current(
    twin: &TwinView,
    now: Timestamp,
    heard: Timestamp,
    stale_after: &[Duration],
    slack: Duration,
) -> Verdict {
    for (point, &limit) in twin.points.iter().zip(stale_after) {
        if !point.quality.is_good() {
            continue;
        }
        let id = twin.id.as_str();
        if twin.state == TwinState::Down {
            return broken(Rule::Current, id, "it is down and shows a good value");
        }
        let word = point.received_time.map_or(heard, |received| received.max(heard));
        let age = now.since(word);
        if age > limit.saturating_add(slack) {
            let detail = format!("shows a value as good that nothing confirmed for {age:?}");
            return broken(Rule::Current, id, detail);
        }
    }
    Ok(())
}
