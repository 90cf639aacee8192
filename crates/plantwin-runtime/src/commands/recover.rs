//! From the journal of earlier runs to where every command stands.

use std::collections::{BTreeMap, HashMap, HashSet};

use plantwin_model::{CommandKey, Outcome, PlantSpec, PointSpec, Timestamp};

use super::{CommandStep, Commands, Intent, Output, state::Target};

/// A command as the journal tells it.
#[derive(Debug)]
struct Story {
    intent: Intent,
    sent: Option<Timestamp>,
    outcome: Option<(Outcome, Timestamp)>,
}

/// Commands in the order of their intents, and how many steps belong to none of them.
fn stories(steps: impl IntoIterator<Item = CommandStep>) -> (BTreeMap<usize, Story>, usize) {
    let mut stories: BTreeMap<usize, Story> = BTreeMap::new();
    let mut places: HashMap<CommandKey, usize> = HashMap::new();
    let mut orphans = 0;
    for (place, step) in steps.into_iter().enumerate() {
        let key = step.key();
        let story = places.get(&key).and_then(|at| stories.get_mut(at));
        match (step, story) {
            (CommandStep::Intent(intent), None) => {
                places.insert(key, place);
                stories.insert(place, Story { intent, sent: None, outcome: None });
            }
            (CommandStep::Done { intent, sent, outcome, at }, None) => {
                places.insert(key, place);
                stories.insert(place, Story { intent, sent, outcome: Some((outcome, at)) });
            }
            (CommandStep::Sent { at, .. }, Some(story)) => story.sent = Some(at),
            (CommandStep::Outcome { outcome, at, .. }, Some(story)) => {
                story.outcome = Some((outcome, at));
            }
            // One that was told to have failed lay on the disk all the same, and its key was used
            // again.
            (CommandStep::Intent(intent), Some(story))
                if story.sent.is_none() && story.outcome.is_none() =>
            {
                story.intent = intent;
            }
            // What is repeated says nothing new.
            (CommandStep::Intent(_) | CommandStep::Done { .. }, Some(_)) => {}
            (_, None) => orphans += 1,
        }
    }
    (stories, orphans)
}

/// The same commands in as few steps as say the same, and how many steps belong to none.
pub(crate) fn condensed(steps: Vec<CommandStep>) -> (Vec<CommandStep>, usize) {
    let mut out = Vec::new();
    let (stories, orphans) = stories(steps);
    for Story { intent, sent, outcome } in stories.into_values() {
        if let Some((outcome, at)) = outcome {
            out.push(CommandStep::Done { intent, sent, outcome, at });
            continue;
        }
        let key = intent.key;
        out.push(CommandStep::Intent(intent));
        out.extend(sent.map(|at| CommandStep::Sent { key, at }));
    }
    (out, orphans)
}

/// Replays the journal into `commands`. Returns how many steps belong to a command whose intent
/// is not there (the log was pruned or damaged).
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
        match story.outcome {
            Some((outcome, at)) => {
                let written = target.as_ref().filter(|_| story.sent.is_some());
                let written = written.map(|(device, writes, _)| (*device, writes.as_slice(), at));
                commands.recall(story.intent, outcome, written);
            }
            None => commands.resume(story.intent, target, story.sent, now, out),
        }
    }
    orphans
}

/// Commands whose outcome the journal does not tell.
pub(crate) fn open_keys(steps: &[CommandStep]) -> HashSet<CommandKey> {
    let mut open = HashSet::new();
    for step in steps {
        match step {
            CommandStep::Intent(intent) => drop(open.insert(intent.key)),
            CommandStep::Outcome { key, .. } => drop(open.remove(key)),
            CommandStep::Done { intent, .. } => drop(open.remove(&intent.key)),
            CommandStep::Sent { .. } => {}
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
