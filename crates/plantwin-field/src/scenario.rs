//! The scenario of a plant file as a queue of things that are due.
//!
//! Absent: what the actions mean (see [`crate::plant`]).

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use plantwin_model::{PlantSpec, ScenarioAction};

/// Due actions in order of time; repeated steps come back.
pub(crate) struct Scenario {
    steps: Vec<(ScenarioAction, Option<Duration>)>,
    due: BinaryHeap<Reverse<(Duration, usize)>>,
}

impl Scenario {
    pub(crate) fn new(plant: &PlantSpec) -> Self {
        let steps = plant.scenario.iter().map(|s| (s.action.clone(), s.repeat)).collect();
        let due = plant.scenario.iter().enumerate().map(|(i, s)| Reverse((s.at, i))).collect();
        Self { steps, due }
    }

    /// The next action due at plant time `elapsed` since start, if any.
    pub(crate) fn pop(&mut self, elapsed: Duration) -> Option<ScenarioAction> {
        let &Reverse((at, index)) = self.due.peek()?;
        if at > elapsed {
            return None;
        }
        self.due.pop();
        let (action, repeat) = &self.steps[index];
        if let Some(every) = repeat.filter(|d| !d.is_zero()) {
            self.due.push(Reverse((at + every, index)));
        }
        Some(action.clone())
    }
}
