//! A type's description into a [`Model`], or everything that is wrong with it.
//!
//! Absent: what only a simulation can find (see [`crate::check`]).

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use plantwin_model::{
    Access, Dimension, Method, ModelSpec, PointIx, SourceText, Span, Target, TwinType,
};

use super::{Equation, Layout, Model, Point, Role, State};
use crate::{
    Problem,
    expr::{Analysis, Class, Draft, Entry, Instr, Need, Place, Pool, Scope, Table, analyse, parse},
};

/// Most registers of one frame, so that every number of one fits an instruction.
const REGISTER_LIMIT: usize = 60_000;

/// The model, if nothing is wrong, and every problem.
pub(super) fn build(kind: &TwinType) -> (Option<Model>, Vec<Problem>) {
    let nothing = nothing();
    let spec = kind.model.as_ref().unwrap_or(&nothing);
    let mut builder = Builder {
        kind,
        spec,
        problems: Vec::new(),
        scope: Scope::default(),
        used: BTreeSet::new(),
        roles: roles(kind, spec),
    };
    let model = builder.build();
    (model, builder.problems)
}

/// The model of a type that has none: points keep what they are given.
fn nothing() -> ModelSpec {
    ModelSpec {
        method: Method::Euler,
        step: Duration::from_hours(1),
        params: Vec::new(),
        inputs: Vec::new(),
        states: Vec::new(),
        tables: Vec::new(),
        locals: Vec::new(),
        ders: Vec::new(),
        algebraic: Vec::new(),
        outputs: Vec::new(),
        correction: 0.0,
        span: Span::default(),
    }
}

/// What the model does with each point; computed ones by their place among all equations.
fn roles(kind: &TwinType, spec: &ModelSpec) -> Vec<Role> {
    let mut roles: Vec<_> = kind
        .points
        .iter()
        .map(|p| if p.access == Access::ReadWrite { Role::Setpoint } else { Role::Measured })
        .collect();
    for (i, (point, _)) in spec.algebraic.iter().enumerate() {
        if let Some(role) = roles.get_mut(point.index()) {
            *role = Role::Computed((spec.locals.len() + i) as u16);
        }
    }
    for (target, _) in &spec.ders {
        if let Target::Point(point) = target
            && let Some(role) = roles.get_mut(point.index())
        {
            *role = Role::State;
        }
    }
    roles
}

struct Builder<'k> {
    kind: &'k TwinType,
    spec: &'k ModelSpec,
    problems: Vec<Problem>,
    scope: Scope<'k>,
    used: BTreeSet<String>,
    roles: Vec<Role>,
}

/// First registers of the parts that names stand for, and how many registers there are.
struct Named {
    layout: Layout,
    points: Vec<u16>,
    hidden: Vec<u16>,
    equations: u16,
    total: usize,
}

impl<'k> Builder<'k> {
    fn problem(&mut self, code: &'static str, span: Span, message: String) {
        self.problems.push(Problem::error(code, &self.kind.file, span, message));
    }

    fn build(&mut self) -> Option<Model> {
        let spec = self.spec;
        for (i, state) in spec.states.iter().enumerate() {
            if !spec.ders.iter().any(|(t, _)| *t == Target::State(i as u16)) {
                let message = format!("state `{}` has no derivative", state.name);
                let problem = Problem::error("no-derivative", &self.kind.file, state.span, message);
                self.problems.push(problem.help("add it to [model.der], or make it a param"));
            }
        }
        let named = self.name_registers();
        if named.total > REGISTER_LIMIT / 2 {
            self.problem("too-large", spec.span, "the model has too many names".into());
            return None;
        }
        self.declare(&named);
        let locals = self.locals(&named);
        let algebraic: Vec<_> = spec
            .algebraic
            .iter()
            .map(|(point, text)| {
                let point = self.kind.points.get(point.index())?;
                let wanted = (point.unit.dimension(), format!("point `{}`", point.name));
                self.equation(text, Some(wanted))
            })
            .collect();
        let outputs: Vec<_> = spec
            .outputs
            .iter()
            .map(|o| {
                let wanted = (o.unit.dimension(), format!("output `{}`", o.name));
                self.equation(&o.expr, Some(wanted))
            })
            .collect();
        let ders: Vec<_> = spec.ders.iter().map(|(t, text)| self.derivative(*t, text)).collect();
        self.unused();
        let whole = |list: Vec<Option<Analysis>>| list.into_iter().collect::<Option<Vec<_>>>();
        let mut inner = whole(locals)?;
        inner.extend(whole(algebraic)?);
        let order = self.order(&inner)?;
        if self.problems.iter().any(|p| p.severity == plantwin_model::Severity::Error) {
            return None;
        }
        self.assemble(&named, &inner, &order, &whole(outputs)?, &whole(ders)?)
    }

    fn name_registers(&self) -> Named {
        let spec = self.spec;
        let mut total = 0;
        let mut take = |count: usize| {
            let first = total;
            total += count;
            first.min(REGISTER_LIMIT) as u16
        };
        // The states themselves come first.
        take(spec.ders.len());
        let mut layout = Layout { slopes: take(3 * spec.ders.len()), ..Layout::default() };
        let equations = take(spec.locals.len() + spec.algebraic.len() + spec.outputs.len());
        let mut points = Vec::with_capacity(self.roles.len());
        for (i, role) in self.roles.iter().enumerate() {
            let target = Target::Point(PointIx(i as u16));
            points.push(match role {
                Role::State => state_register(spec, target).unwrap_or(0),
                Role::Setpoint | Role::Measured => take(1),
                Role::Computed(e) => equations.saturating_add(*e),
            });
        }
        let hidden = (0..spec.states.len() as u16)
            .map(|i| state_register(spec, Target::State(i)).unwrap_or(0))
            .collect();
        layout.inputs = take(spec.inputs.len());
        layout.time = take(1);
        layout.params = take(spec.params.len());
        Named { layout, points, hidden, equations, total }
    }

    /// Fills the scope with everything but locals.
    fn declare(&mut self, named: &Named) {
        let (kind, spec) = (self.kind, self.spec);
        let mut add = |name: &'k str, register: u16, dimension, class, need| {
            let entry = Entry { place: Place::Named(register), dimension, class, need };
            self.scope.names.insert(name, entry);
        };
        add("t", named.layout.time, Dimension::TIME, Class::Dynamic, None);
        for ((point, role), register) in kind.points.iter().zip(&self.roles).zip(&named.points) {
            let need = match role {
                Role::Computed(e) => Some(Need::Equation(*e)),
                _ => None,
            };
            add(&point.name, *register, point.unit.dimension(), Class::Dynamic, need);
        }
        for (state, register) in spec.states.iter().zip(&named.hidden) {
            add(&state.name, *register, state.unit.dimension(), Class::Dynamic, None);
        }
        for (i, input) in (0_u16..).zip(&spec.inputs) {
            let need = Some(Need::Input(i));
            let register = named.layout.inputs + i;
            add(&input.name, register, input.unit.dimension(), Class::Dynamic, need);
        }
        for (i, param) in (0_u16..).zip(&spec.params) {
            let register = named.layout.params + i;
            add(&param.name, register, param.unit.dimension(), Class::Parameter, None);
        }
        for (i, table) in (0_u16..).zip(&spec.tables) {
            let entry = (i, table.x_unit.dimension(), table.y_unit.dimension());
            self.scope.tables.insert(&table.name, entry);
        }
        self.scope.later.extend(spec.locals.iter().map(|(name, _)| &**name));
    }

    fn locals(&mut self, named: &Named) -> Vec<Option<Analysis>> {
        let mut out = Vec::with_capacity(self.spec.locals.len());
        for (i, (name, text)) in (0_u16..).zip(&self.spec.locals) {
            let analysis = self.equation(text, None);
            self.scope.later.remove(&**name);
            if let Some(analysis) = &analysis {
                let entry = Entry {
                    place: Place::Named(named.equations + i),
                    dimension: analysis.dimension.unwrap_or(Dimension::ONE),
                    class: Class::Dynamic,
                    need: Some(Need::Equation(i)),
                };
                self.scope.names.insert(name, entry);
            } else {
                self.scope.broken.insert(name);
            }
            out.push(analysis);
        }
        out
    }

    fn derivative(&mut self, target: Target, text: &SourceText) -> Option<Analysis> {
        let (name, unit) = match target {
            Target::Point(p) => {
                let point = self.kind.points.get(p.index())?;
                (&point.name, &point.unit)
            }
            Target::State(s) => {
                let state = self.spec.states.get(usize::from(s))?;
                (&state.name, &state.unit)
            }
        };
        let dimension = unit.dimension().over(Dimension::TIME)?;
        self.equation(text, Some((dimension, format!("the derivative of `{name}`"))))
    }

    /// Analyses one equation, whose result must have a dimension if one is `wanted`.
    fn equation(
        &mut self,
        text: &SourceText,
        wanted: Option<(Dimension, String)>,
    ) -> Option<Analysis> {
        let analysed = parse(&text.text).and_then(|nodes| analyse(&text.text, nodes, &self.scope));
        match analysed {
            Ok(analysis) => {
                self.used.extend(analysis.used.iter().cloned());
                if let (Some((wanted, what)), Some(found)) = (wanted, analysis.dimension)
                    && wanted != found
                {
                    let message = format!("{what} is in {wanted}, but its equation in {found}");
                    self.problem("wrong-dimension", text.span, message);
                }
                if analysis.value().is_some_and(|v| !v.is_finite()) {
                    self.problem("not-finite", text.span, "the result is never finite".into());
                }
                Some(analysis)
            }
            Err(complaint) => {
                // A use of a broken local is no problem of its own.
                if complaint.code != crate::expr::FOLLOW_UP {
                    self.problems.push(complaint.at(&self.kind.file, text.span));
                }
                // Names in an equation that is wrong elsewhere still count as used.
                let words = text.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                self.used.extend(words.map(str::to_owned));
                None
            }
        }
    }

    fn unused(&mut self) {
        let spec = self.spec;
        let params = spec.params.iter().map(|p| ("parameter", &p.name, p.span));
        let inputs = spec.inputs.iter().map(|i| ("input", &i.name, i.span));
        let tables = spec.tables.iter().map(|t| ("table", &t.name, t.span));
        let locals = spec.locals.iter().map(|(name, text)| ("local", name, text.span));
        for (what, name, span) in params.chain(inputs).chain(tables).chain(locals) {
            if !self.used.contains(&**name) {
                let message = format!("no equation uses {what} `{name}`");
                let problem = Problem::error("unused-name", &self.kind.file, span, message);
                self.problems.push(problem.warning());
            }
        }
    }

    /// An order of locals and computed points in which each finds its needs done.
    fn order(&mut self, inner: &[Analysis]) -> Option<Vec<usize>> {
        let mut waiting = vec![0_usize; inner.len()];
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); inner.len()];
        for (i, analysis) in inner.iter().enumerate() {
            for need in &analysis.needs {
                if let Need::Equation(e) = need {
                    waiting[i] += 1;
                    users[usize::from(*e)].push(i);
                }
            }
        }
        let mut ready: BTreeSet<usize> = (0..inner.len()).filter(|i| waiting[*i] == 0).collect();
        let mut order = Vec::with_capacity(inner.len());
        while let Some(next) = ready.pop_first() {
            order.push(next);
            for &user in &users[next] {
                waiting[user] -= 1;
                if waiting[user] == 0 {
                    ready.insert(user);
                }
            }
        }
        if order.len() == inner.len() {
            return Some(order);
        }
        let stuck: Vec<_> = (0..inner.len()).filter(|i| waiting[*i] > 0).collect();
        let locals = self.spec.locals.len();
        let names: Vec<_> = stuck.iter().take(6).map(|&i| self.equation_name(i)).collect();
        let span = stuck.first().map_or(self.spec.span, |&i| {
            let computed = i.checked_sub(locals).and_then(|i| self.spec.algebraic.get(i));
            computed
                .map(|(_, t)| t.span)
                .or(self.spec.locals.get(i).map(|(_, t)| t.span))
                .unwrap_or_default()
        });
        self.problem("cycle", span, format!("these need one another: {}", names.join(", ")));
        None
    }

    fn equation_name(&self, equation: usize) -> String {
        let locals = &self.spec.locals;
        if let Some((name, _)) = locals.get(equation) {
            return format!("local `{name}`");
        }
        let point = self.spec.algebraic.get(equation - locals.len()).map(|(p, _)| p.index());
        let name = point.and_then(|p| self.kind.points.get(p)).map_or("", |p| &p.name);
        format!("point `{name}`")
    }

    fn assemble(
        &mut self,
        named: &Named,
        inner: &[Analysis],
        order: &[usize],
        outputs: &[Analysis],
        ders: &[Analysis],
    ) -> Option<Model> {
        let (kind, spec) = (self.kind, self.spec);
        let mut pool = Pool::default();
        let mut drafts = Vec::new();
        // Place in the file's order -> place in the model's order.
        let place: HashMap<u16, u16> =
            order.iter().enumerate().map(|(new, old)| (*old as u16, new as u16)).collect();
        let inner_in_order = order.iter().map(|&i| (i, &inner[i]));
        let last = outputs.iter().enumerate().map(|(o, a)| (inner.len() + o, a));
        let (mut equations, mut output_places) = (Vec::new(), Vec::new());
        for (i, analysis) in inner_in_order.chain(last) {
            let is_output = i >= inner.len();
            let to = Place::Named(named.equations + i as u16);
            let start = drafts.len() as u32;
            // Nothing refers to an output by name, so it may be another name for a register.
            let to = (!is_output || !analysis.is_name()).then_some(to);
            let at = self.complain(i, pool.emit(analysis, to, &mut drafts))?;
            if is_output {
                output_places.push(at);
            }
            let renumbered = analysis.needs.iter().map(|need| match need {
                Need::Equation(e) => Need::Equation(place.get(e).copied().unwrap_or(*e)),
                Need::Input(_) => *need,
            });
            equations
                .push(Equation { code: start..drafts.len() as u32, needs: renumbered.collect() });
        }
        for (i, analysis) in ders.iter().enumerate() {
            let to = Place::Named(named.layout.slopes + i as u16);
            let emitted = pool.emit(analysis, Some(to), &mut drafts);
            self.complain(inner.len() + outputs.len() + i, emitted)?;
        }
        let constants = named.total;
        let hoisted = constants + pool.constants.len();
        let scratch = hoisted + usize::from(pool.hoisted);
        let length = scratch + usize::from(pool.scratch);
        if length > REGISTER_LIMIT {
            self.problem("too-large", spec.span, format!("the model needs {length} registers"));
            return None;
        }
        let number = |place: Place| match place {
            Place::Named(n) => n,
            Place::Constant(n) => constants as u16 + n,
            Place::Hoisted(n) => hoisted as u16 + n,
            Place::Scratch(n) => scratch as u16 + n,
        };
        let finish = |drafts: &[Draft]| -> Vec<Instr> {
            let one = |d: &Draft| {
                let [a, b, c] = d.args.map(number);
                Instr { op: d.op, to: number(d.to), a, b, c: d.extra.unwrap_or(c) }
            };
            drafts.iter().map(one).collect()
        };
        let points = kind.points.iter().zip(&self.roles).zip(&named.points);
        let points = points.map(|((p, role), register)| Point {
            role: match role {
                Role::Computed(e) => Role::Computed(place.get(e).copied().unwrap_or(*e)),
                other => *other,
            },
            register: *register,
            unit: p.unit.clone(),
            start: p.start,
            range: p.range,
        });
        Some(Model {
            name: kind.name.clone(),
            file: kind.file.clone(),
            span: spec.span,
            step: spec.step,
            method: spec.method,
            correction: spec.correction,
            points: points.collect(),
            outputs: output_places.into_iter().map(number).collect(),
            states: spec.ders.iter().map(|(target, _)| self.state(*target)).collect(),
            inputs: spec.inputs.iter().map(|i| i.default).collect(),
            params: spec.params.iter().map(|p| p.value).collect(),
            layout: Layout { constants: constants as u16, length: length as u16, ..named.layout },
            init: finish(&pool.init),
            code: finish(&drafts),
            constants: pool.constants,
            equations,
            tables: spec
                .tables
                .iter()
                .map(|t| Table {
                    x: t.x.as_slice().into(),
                    y: t.y.as_slice().into(),
                    outside: t.outside,
                })
                .collect(),
            uses_time: self.used.contains("t"),
        })
    }

    fn state(&self, target: Target) -> State {
        match target {
            Target::Point(p) => {
                State { name: self.kind.points[p.index()].name.clone(), origin: Ok(p.index()) }
            }
            Target::State(s) => {
                let state = &self.spec.states[usize::from(s)];
                State { name: state.name.clone(), origin: Err(state.start) }
            }
        }
    }

    /// Reports what emitting the equation at `place` (locals, computed, outputs, derivatives) found.
    fn complain(
        &mut self,
        place: usize,
        emitted: Result<Place, crate::problem::Complaint>,
    ) -> Option<Place> {
        let spec = self.spec;
        let locals = spec.locals.iter().map(|(_, t)| t);
        let mut texts = locals
            .chain(spec.algebraic.iter().map(|(_, t)| t))
            .chain(spec.outputs.iter().map(|o| &o.expr))
            .chain(spec.ders.iter().map(|(_, t)| t));
        let text = texts.nth(place).map_or(spec.span, |t| t.span);
        emitted.map_err(|c| self.problems.push(c.at(&self.kind.file, text))).ok()
    }
}

fn state_register(spec: &ModelSpec, target: Target) -> Option<u16> {
    spec.ders.iter().position(|(t, _)| *t == target).map(|i| i as u16)
}
