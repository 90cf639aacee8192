//! From the journal of earlier runs to where every command stands.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use plantwin_model::{
    AuditEntry, AuditKind, AuditResult, CommandKey, Outcome, PlantSpec, PointSpec, Timestamp,
};

use super::{
    CommandStep, Commands, Intent, Output,
    state::{Target, Written},
};

/// The audit trail has on the disk what happened this long ago.
const ACCOUNTED_WITHIN: Duration = Duration::from_secs(10);

/// A command as the journal tells it.
#[derive(Debug)]
struct Story {
    intent: Intent,
    actor: Option<String>,
    sent: Option<Timestamp>,
    outcome: Option<(Outcome, Timestamp)>,
}

/// Commands in the order of their intents, and how many steps belong to none of them.
fn stories(steps: impl IntoIterator<Item = CommandStep>) -> (BTreeMap<usize, Story>, usize) {
    let mut stories: BTreeMap<usize, Story> = BTreeMap::new();
    let mut places: HashMap<CommandKey, usize> = HashMap::new();
    let mut orphans = 0;
    let steps = steps.into_iter().filter(|step| *step != CommandStep::Accounted);
    for (place, step) in steps.enumerate() {
        let key = step.key();
        let story = places.get(&key).and_then(|at| stories.get_mut(at));
        match (step, story) {
            (CommandStep::Intent(intent), None) => {
                places.insert(key, place);
                stories.insert(place, Story { intent, actor: None, sent: None, outcome: None });
            }
            (CommandStep::Asked { intent, actor }, None) => {
                places.insert(key, place);
                let actor = Some(actor);
                stories.insert(place, Story { intent, actor, sent: None, outcome: None });
            }
            (CommandStep::Done { intent, sent, outcome, at }, None) => {
                places.insert(key, place);
                stories.insert(
                    place,
                    Story { intent, actor: None, sent, outcome: Some((outcome, at)) },
                );
            }
            (CommandStep::Sent { at, .. }, Some(story)) => story.sent = Some(at),
            (CommandStep::Outcome { outcome, at, .. }, Some(story)) => {
                story.outcome = Some((outcome, at));
            }
            // One that was told to have failed lay on the disk all the same, and its key was used
            // again.
            (CommandStep::Intent(intent) | CommandStep::Asked { intent, .. }, Some(story))
                if story.sent.is_none() && story.outcome.is_none() =>
            {
                story.intent = intent;
            }
            // What is repeated says nothing new.
            (
                CommandStep::Intent(_)
                | CommandStep::Asked { .. }
                | CommandStep::Done { .. }
                | CommandStep::Accounted,
                Some(_),
            ) => {}
            (_, None) => orphans += 1,
        }
    }
    (stories, orphans)
}

/// The same commands in as few steps as say the same, and how many steps belong to none.
pub(crate) fn condensed(steps: Vec<CommandStep>) -> (Vec<CommandStep>, usize) {
    let mut out = Vec::new();
    let (stories, orphans) = stories(steps);
    for Story { intent, actor, sent, outcome } in stories.into_values() {
        if let Some((outcome, at)) = outcome {
            out.push(CommandStep::Done { intent, sent, outcome, at });
            continue;
        }
        let key = intent.key;
        out.push(match actor {
            Some(actor) => CommandStep::Asked { intent, actor },
            None => CommandStep::Intent(intent),
        });
        out.extend(sent.map(|at| CommandStep::Sent { key, at }));
    }
    (out, orphans)
}

/// Replays the journal into `commands`. Returns how many steps belong to a command whose intent
/// is not there (the log was pruned or damaged). What was sent by a clock that was ahead counts as
/// sent now: else nothing the device shows would be newer until that time comes again.
pub(crate) fn recover<R>(
    commands: &mut Commands<R>,
    plant: &PlantSpec,
    steps: impl IntoIterator<Item = CommandStep>,
    now: Timestamp,
    out: &mut Vec<Output<R>>,
) -> usize {
    let (stories, orphans) = stories(steps);
    for story in stories.into_values() {
        let target = target(plant, &story.intent);
        if let Some((outcome, at)) = story.outcome {
            let written = target.as_ref().filter(|_| story.sent.is_some());
            let written = written.map(|(device, writes, _)| Written {
                device: *device,
                writes,
                until: at.min(now),
            });
            commands.recall(story.intent, outcome, written);
        } else {
            // Before what ends now, or it would not count that the other may have undone it.
            let sent = story.sent.map(|at| at.min(Timestamp(now.0.saturating_sub(1))));
            commands.resume(story.intent, target, sent, now, out);
        }
    }
    orphans
}

/// A command of an earlier run, for the audit trail.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct LastAsked {
    /// Who asked.
    pub(crate) actor: String,
    /// What.
    pub(crate) intent: Intent,
    /// What became of it, if the journal tells.
    pub(crate) outcome: Option<Outcome>,
}

impl LastAsked {
    /// As the audit trail tells it.
    pub(crate) fn entry(self) -> AuditEntry {
        let Self { actor, intent, outcome } = self;
        let (result, end) = match outcome {
            Some(Outcome::Done) => (AuditResult::Done, "done".to_owned()),
            Some(Outcome::Refused { reason }) => (AuditResult::Refused, reason),
            Some(Outcome::Failed { reason } | Outcome::Unknown { reason }) => {
                (AuditResult::Failed, reason)
            }
            Some(Outcome::Expired) => {
                (AuditResult::Failed, "expired before it was sent".to_owned())
            }
            None => (AuditResult::Failed, "no outcome is on record".to_owned()),
        };
        let device = &intent.device;
        let each = intent.writes.iter().map(|(point, value)| format!("{device}.{point} = {value}"));
        let writes = each.collect::<Vec<_>>().join(", ");
        AuditEntry {
            kind: AuditKind::Command,
            actor,
            object: device.to_string(),
            result,
            detail: format!("{writes}, asked in an earlier run: {end}"),
        }
    }
}

/// The commands of which the audit trail may have no entry, since the run before may have ended
/// before it wrote one: those that are open, and those that ended in its last moments. Of those
/// that it has it gets a second one, once.
pub(crate) fn last_asked(steps: &[CommandStep]) -> Vec<LastAsked> {
    let accounted = steps.iter().rposition(|step| *step == CommandStep::Accounted);
    let steps = &steps[accounted.map_or(0, |at| at + 1)..];
    // For each step the newest time behind it: the clock may have been set back between two.
    let mut behind = vec![None; steps.len()];
    let mut newest = None;
    for (step, behind) in steps.iter().zip(&mut behind).rev() {
        if let CommandStep::Outcome { at, .. } | CommandStep::Sent { at, .. } = step {
            newest = newest.max(Some(*at));
        }
        *behind = newest;
    }
    let mut last: Vec<LastAsked> = Vec::new();
    let mut places: HashMap<CommandKey, usize> = HashMap::new();
    let mut over = HashSet::new();
    for (step, behind) in steps.iter().zip(behind) {
        match step {
            CommandStep::Asked { intent, actor } if !actor.is_empty() => {
                places.insert(intent.key, last.len());
                let (actor, intent) = (actor.clone(), intent.clone());
                last.push(LastAsked { actor, intent, outcome: None });
            }
            CommandStep::Outcome { key, outcome, at } => {
                let place = places.get(key).and_then(|at| last.get_mut(*at));
                let Some(asked) = place else { continue };
                asked.outcome = Some(outcome.clone());
                if behind.is_some_and(|newest| newest.since(*at) > ACCOUNTED_WITHIN) {
                    over.insert(*key);
                }
            }
            _ => {}
        }
    }
    last.retain(|asked| !over.contains(&asked.intent.key));
    last
}

/// Commands whose outcome the journal does not tell.
pub(crate) fn open_keys(steps: &[CommandStep]) -> HashSet<CommandKey> {
    let mut open = HashSet::new();
    for step in steps {
        match step {
            CommandStep::Intent(intent) | CommandStep::Asked { intent, .. } => {
                open.insert(intent.key);
            }
            CommandStep::Outcome { key, .. } => drop(open.remove(key)),
            CommandStep::Done { intent, .. } => drop(open.remove(&intent.key)),
            CommandStep::Sent { .. } | CommandStep::Accounted => {}
        }
    }
    open
}

fn target(plant: &PlantSpec, intent: &Intent) -> Option<Target> {
    let device = plant.devices.iter().find(|d| d.id == intent.device)?;
    let mut writes = Vec::with_capacity(intent.writes.len());
    let mut tolerances = Vec::with_capacity(intent.writes.len());
    for (name, value) in &intent.writes {
        let ix = device.kind.point(name)?;
        writes.push((ix, *value));
        tolerances.push(tolerance(&device.kind.points[ix.index()]));
    }
    Some((device.ix, writes, tolerances))
}

/// By how much a device may show a point differently from what was written: its resolution, six
/// sigma of its noise, and what a 32-bit float on the way costs.
pub(super) fn tolerance(point: &PointSpec) -> f64 {
    let (low, high) = point.range;
    point.resolution.max(6.0 * point.noise).max((high - low).abs() * 1e-6)
}
