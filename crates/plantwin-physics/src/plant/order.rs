//! The order in which a plant's equations are evaluated, so that each finds its needs done.
//!
//! The graph is over single equations, not devices: a tank that feeds a pump that feeds the tank
//! is no loop, because the tank's outflow follows from its state. Absent: solving loops that
//! have no state; they are refused.

use std::{collections::HashMap, ops::Range};

use plantwin_model::PlantSpec;

use super::{Job, Unit};
use crate::{Problem, expr::Need};

/// What must be done: an input summed or an equation run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Node {
    Input(u32, u16),
    Equation(u32, u16),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

struct Graph<'g> {
    units: &'g [Unit],
    /// First node number of each unit: inputs, then equations.
    first: Vec<usize>,
    /// By input that something flows into: flows as `(giver, place of the value, equation)`.
    flows: HashMap<(u32, u16), Vec<Feed>>,
}

/// One flow into an input.
struct Feed {
    unit: u32,
    value: usize,
    equation: Option<u16>,
    /// Place in [`PlantSpec::flows`].
    flow: usize,
}

/// Jobs of one evaluation, and the places that sums add up.
pub(super) fn schedule(
    plant: &PlantSpec,
    units: &[Unit],
    unit_of: &[Option<u32>],
) -> Result<(Vec<Job>, Vec<usize>), Problem> {
    let graph = Graph::new(plant, units, unit_of);
    let (mut jobs, mut sources) = (Vec::new(), Vec::new());
    let count = graph.first.last().copied().unwrap_or(0);
    let mut marks = vec![Mark::New; count];
    let mut stack: Vec<(Node, Vec<Node>)> = Vec::new();
    for (unit, Unit { model, .. }) in (0_u32..).zip(units) {
        for equation in 0..model.equations().len() as u16 {
            let root = Node::Equation(unit, equation);
            if marks[graph.number(root)] == Mark::New {
                marks[graph.number(root)] = Mark::Open;
                stack.push((root, graph.needs(root)));
            }
            // Depth first without recursion: a chain of ten thousand devices is no deep stack.
            while let Some((node, needs)) = stack.last_mut() {
                let node = *node;
                if let Some(need) = needs.pop() {
                    match marks[graph.number(need)] {
                        Mark::Done => {}
                        Mark::New => {
                            marks[graph.number(need)] = Mark::Open;
                            stack.push((need, graph.needs(need)));
                        }
                        Mark::Open => {
                            let path: Vec<_> = stack.iter().map(|(n, _)| *n).collect();
                            return Err(graph.cycle(plant, unit_of, &path, need));
                        }
                    }
                } else {
                    marks[graph.number(node)] = Mark::Done;
                    graph.emit(node, &mut jobs, &mut sources);
                    stack.pop();
                }
            }
        }
    }
    for (unit, Unit { model, .. }) in (0_u32..).zip(units) {
        // Inputs that only derivatives use are no equation's need.
        for input in 0..model.input_count() as u16 {
            let node = Node::Input(unit, input);
            if marks[graph.number(node)] == Mark::New {
                graph.emit(node, &mut jobs, &mut sources);
            }
        }
    }
    for (unit, Unit { model, .. }) in (0_u32..).zip(units) {
        let code = model.derivatives();
        push(&mut jobs, unit, code.start as u32..code.end as u32);
    }
    Ok((jobs, sources))
}

/// Appends a run, joined to the last one where it goes on in the same code.
fn push(jobs: &mut Vec<Job>, unit: u32, code: Range<u32>) {
    if code.is_empty() {
        return;
    }
    if let Some(Job::Run { unit: last, code: before }) = jobs.last_mut()
        && *last == unit
        && before.end == code.start
    {
        before.end = code.end;
        return;
    }
    jobs.push(Job::Run { unit, code });
}

impl<'g> Graph<'g> {
    fn new(plant: &PlantSpec, units: &'g [Unit], unit_of: &[Option<u32>]) -> Self {
        let mut first = vec![0];
        for Unit { model, .. } in units {
            let before = first.last().copied().unwrap_or(0);
            first.push(before + model.input_count() + model.equations().len());
        }
        let unit = |d: plantwin_model::DeviceIx| unit_of.get(d.index()).copied().flatten();
        let mut flows: HashMap<_, Vec<Feed>> = HashMap::new();
        for (place, flow) in plant.flows.iter().enumerate() {
            let (Some(from), Some(to)) = (unit(flow.from), unit(flow.to)) else { continue };
            let giver = &units[from as usize];
            let Some(register) = giver.model.source_register(flow.source) else { continue };
            if units[to as usize].model.input_register(flow.input).is_none() {
                continue;
            }
            flows.entry((to, flow.input)).or_default().push(Feed {
                unit: from,
                value: giver.frame.start + register,
                equation: giver.model.source_equation(flow.source),
                flow: place,
            });
        }
        Self { units, first, flows }
    }

    fn number(&self, node: Node) -> usize {
        match node {
            Node::Input(unit, input) => self.first[unit as usize] + usize::from(input),
            Node::Equation(unit, equation) => {
                let unit = unit as usize;
                self.first[unit] + self.units[unit].model.input_count() + usize::from(equation)
            }
        }
    }

    /// What must be done first; the one to do first stands last.
    fn needs(&self, node: Node) -> Vec<Node> {
        match node {
            Node::Input(unit, input) => {
                let feeds = self.flows.get(&(unit, input)).into_iter().flatten();
                feeds.rev().filter_map(|f| Some(Node::Equation(f.unit, f.equation?))).collect()
            }
            Node::Equation(unit, equation) => {
                let model = &self.units[unit as usize].model;
                let needs = model.equations()[usize::from(equation)].needs.iter().rev();
                needs
                    .map(|need| match need {
                        Need::Input(i) => Node::Input(unit, *i),
                        Need::Equation(e) => Node::Equation(unit, *e),
                    })
                    .collect()
            }
        }
    }

    fn emit(&self, node: Node, jobs: &mut Vec<Job>, sources: &mut Vec<usize>) {
        match node {
            Node::Equation(unit, equation) => {
                let model = &self.units[unit as usize].model;
                push(jobs, unit, model.equations()[usize::from(equation)].code.clone());
            }
            Node::Input(unit, input) => {
                let Some(feeds) = self.flows.get(&(unit, input)) else { return };
                let to = &self.units[unit as usize];
                let Some(register) = to.model.input_register(input) else { return };
                let start = sources.len() as u32;
                sources.extend(feeds.iter().map(|f| f.value));
                jobs.push(Job::Sum {
                    to: to.frame.start + register,
                    sources: start..sources.len() as u32,
                });
            }
        }
    }

    /// The problem that `need`, which is on `path`, is needed by the end of `path`.
    fn cycle(
        &self,
        plant: &PlantSpec,
        unit_of: &[Option<u32>],
        path: &[Node],
        need: Node,
    ) -> Problem {
        let from = path.iter().position(|n| *n == need).unwrap_or(0);
        let ring = &path[from..];
        // The path goes from user to giver; people read along the flow.
        let mut devices: Vec<u32> = Vec::new();
        for node in ring.iter().rev() {
            let (Node::Input(unit, _) | Node::Equation(unit, _)) = *node;
            if devices.last() != Some(&unit) {
                devices.push(unit);
            }
        }
        if devices.len() > 1 && devices.first() == devices.last() {
            devices.pop();
        }
        let name = |unit: u32| {
            let device = unit_of.iter().position(|u| *u == Some(unit));
            device.and_then(|d| plant.devices.get(d)).map_or("", |d| d.id.as_str())
        };
        let mut names: Vec<_> = devices.iter().take(8).map(|u| name(*u)).collect();
        if devices.len() > names.len() {
            names.push("...");
        }
        names.extend(devices.first().map(|u| name(*u)));
        let flow = ring.iter().find_map(|node| match node {
            Node::Input(unit, input) => {
                let feeds = self.flows.get(&(*unit, *input))?;
                let inside = |f: &&Feed| devices.contains(&f.unit) && f.equation.is_some();
                feeds.iter().find(inside).map(|f| f.flow)
            }
            Node::Equation(..) => None,
        });
        let span = flow.and_then(|f| plant.flows.get(f)).map(|f| f.span).unwrap_or_default();
        let message =
            format!("these devices need one another at the same instant: {}", names.join(" -> "));
        Problem::error("cycle", &plant.file, span, message)
            .help("give one of them a state, for example a first-order lag")
    }
}
