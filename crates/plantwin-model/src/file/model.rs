//! The model of a type: names, units and the equations as text with their place.
//!
//! Absent: the equations' meaning (the physics layer compiles them).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    item::Item,
    property::{find_point, parts},
    quantity::quoted,
    table::Table,
};
use crate::{
    Access, InputSpec, Method, ModelSpec, OutputSpec, Outside, ParamSpec, SourceText, StateSpec,
    TableSpec, Target, TwinType, Unit,
};

/// Shortest and longest step of a model.
pub(super) const STEP: (Duration, Duration) = (Duration::from_micros(10), Duration::from_hours(1));

/// Most supporting points of a lookup table.
const TABLE_LIMIT: usize = 10_000;

/// Words that equations use themselves.
const RESERVED: [&str; 14] = [
    "t", "if", "min", "max", "abs", "sqrt", "exp", "ln", "sin", "cos", "tanh", "clamp", "sign",
    "floor",
];

/// The names that equations of one model know.
struct Names<'b> {
    taken: HashMap<String, &'static str>,
    broken: &'b mut BTreeSet<String>,
}

impl Names<'_> {
    /// Takes the key of `item` as the name of a `what`; reports a name that is taken.
    fn take(&mut self, item: &Item, what: &'static str) -> Option<Arc<str>> {
        let Some(name) = item.name(false) else {
            self.broken.insert(item.key.to_owned());
            return None;
        };
        if RESERVED.contains(&name) {
            let message = format!("`{name}` has a meaning of its own in equations");
            item.scope.error(item.key_span, "reserved-name", message);
            self.broken.insert(name.to_owned());
            return None;
        }
        if let Some(other) = self.taken.insert(name.to_owned(), what) {
            let article = if other.starts_with(['i', 'o']) { "an" } else { "a" };
            let message = format!("{what} `{name}` has the name of {article} {other}");
            item.scope.error(item.key_span, "duplicate-name", message);
            self.broken.insert(name.to_owned());
            return None;
        }
        Some(name.into())
    }

    /// Keeps what was read, or else remembers that its name is broken.
    fn keep<T>(&mut self, item: &Item, read: Option<T>) -> Option<T> {
        if read.is_none() {
            self.broken.insert(item.key.to_owned());
        }
        read
    }
}

/// Reads `[model]`. Names that could not be read are added to `broken`.
pub(super) fn read(
    table: &Table,
    kind: &TwinType,
    broken: &mut BTreeSet<String>,
    input_has_default: &mut Vec<bool>,
) -> Option<ModelSpec> {
    let before = table.scope.report.errors();
    let method = table
        .get("method")
        .map_or(Some(Method::Rk4), |i| i.choice(&[("rk4", Method::Rk4), ("euler", Method::Euler)]));
    let step = table.need("step").and_then(|i| i.duration(STEP.0, STEP.1));
    let correction = table.get("correction").map_or(Some(0.05), |i| {
        let share = i.number()?;
        if !(0.0..=1.0).contains(&share) {
            i.error("out-of-range", "`correction` must lie within 0 and 1");
            return None;
        }
        Some(share)
    });
    let mut taken: HashMap<String, &'static str> = HashMap::new();
    for point in &kind.points {
        taken.insert(point.name.to_string(), "point");
    }
    let mut names = Names { taken, broken };
    for point in &kind.points {
        if RESERVED.contains(&&*point.name) {
            let message = format!("`{}` has a meaning of its own in equations", point.name);
            table.scope.error(point.span, "reserved-name", message);
            names.broken.insert(point.name.to_string());
        }
    }
    let params = params(table, &mut names);
    let inputs = inputs(table, &mut names, input_has_default);
    let states = states(table, &mut names);
    let tables = tables(table, &mut names);
    let mut locals = Vec::new();
    for item in parts(table, "local") {
        let name = names.take(&item, "local");
        if let Some((name, text)) = name.zip(names.keep(&item, equation(&item))) {
            locals.push((name, text));
        }
    }
    let outputs = outputs(table, &mut names);
    let ders = ders(table, kind, &states, names.broken);
    let algebraic = algebraic(table, kind, &ders, names.broken);
    table.close();
    if table.scope.report.errors() > before {
        // A missing part makes equations wrong that are not: they are not judged.
        names.broken.insert("[model]".into());
    }
    Some(ModelSpec {
        method: method?,
        step: step?,
        params,
        inputs,
        states,
        tables,
        locals,
        ders,
        algebraic,
        outputs,
        correction: correction?,
        span: table.span,
    })
}

fn params(table: &Table, names: &mut Names) -> Vec<ParamSpec> {
    let mut out = Vec::new();
    for item in parts(table, "param") {
        let Some(name) = names.take(&item, "parameter") else { continue };
        let read = item.amount().and_then(|(n, unit)| Some((item.finite(unit.to_si(n))?, unit)));
        let Some((value, unit)) = names.keep(&item, read) else { continue };
        out.push(ParamSpec { name, value, unit, span: item.key_span });
    }
    out
}

fn inputs(table: &Table, names: &mut Names, has_default: &mut Vec<bool>) -> Vec<InputSpec> {
    let mut out = Vec::new();
    for item in parts(table, "input") {
        let Some(name) = names.take(&item, "input") else { continue };
        let read = input(&item, table);
        let Some((unit, default)) = names.keep(&item, read) else { continue };
        has_default.push(default.is_some());
        out.push(InputSpec { name, unit, default: default.unwrap_or(0.0), span: item.key_span });
    }
    out
}

/// Reads `"cm3/s"` or `{ unit = "cm3/s", default = 0 }`.
fn input(item: &Item, table: &Table) -> Option<(Unit, Option<f64>)> {
    if item.is_text() {
        return Some((item.unit()?, None));
    }
    let inner = item.table(table.path(&format!("input.{}", item.key)))?;
    let (unit, default) = (inner.need("unit").and_then(|u| u.unit()), inner.get("default"));
    inner.close();
    let unit = unit?;
    let default = match default {
        Some(default) => Some(default.si(&unit)?),
        None => None,
    };
    Some((unit, default))
}

fn states(table: &Table, names: &mut Names) -> Vec<StateSpec> {
    let mut out = Vec::new();
    for item in parts(table, "state") {
        let Some(name) = names.take(&item, "state") else { continue };
        let read = item.table(table.path(&format!("state.{}", item.key))).and_then(|inner| {
            let unit = inner.need("unit").and_then(|u| u.unit());
            let start = inner.need("start");
            inner.close();
            let unit = unit?;
            Some((start?.si(&unit)?, unit))
        });
        let Some((start, unit)) = names.keep(&item, read) else { continue };
        out.push(StateSpec { name, unit, start, span: item.key_span });
    }
    out
}

fn tables(table: &Table, names: &mut Names) -> Vec<TableSpec> {
    let mut out = Vec::new();
    for item in parts(table, "table") {
        let Some(name) = names.take(&item, "table") else { continue };
        let read = item
            .table(table.path(&format!("table.{}", item.key)))
            .and_then(|inner| lookup(name, &inner, &item));
        out.extend(names.keep(&item, read));
    }
    out
}

fn lookup(name: Arc<str>, inner: &Table, item: &Item) -> Option<TableSpec> {
    let unit = |key| inner.get(key).map_or(Some(Unit::one()), |i| i.unit());
    let (x_unit, y_unit) = (unit("x_unit"), unit("y_unit"));
    let (x, y) = (inner.need("x"), inner.need("y"));
    let outside = inner.get("outside").map_or(Some(Outside::Hold), |i| {
        i.choice(&[("hold", Outside::Hold), ("extend", Outside::Extend)])
    });
    inner.close();
    let column = |list: Option<Item>, unit: Option<&Unit>| -> Option<Vec<f64>> {
        let (list, unit) = (list?, unit?);
        let items = list.array()?;
        if items.len() < 2 || items.len() > TABLE_LIMIT {
            let message = format!("`{}` must have 2 to {TABLE_LIMIT} numbers", list.key);
            list.error("out-of-range", message);
            return None;
        }
        items.iter().map(|i| i.si(unit)).collect()
    };
    let (xs, ys) = (column(x, x_unit.as_ref()), column(y, y_unit.as_ref()));
    let (x_item, y_item) = (x?, y?);
    let (xs, ys) = (xs?, ys?);
    if xs.len() != ys.len() {
        let message = format!("`x` has {} numbers, `y` has {}", xs.len(), ys.len());
        y_item.error("bad-value", message);
        return None;
    }
    if !xs.is_sorted_by(|a, b| a < b) {
        x_item.error("bad-value", "`x` must grow from each number to the next");
        return None;
    }
    Some(TableSpec {
        name,
        x: xs,
        x_unit: x_unit?,
        y: ys,
        y_unit: y_unit?,
        outside: outside?,
        span: item.key_span,
    })
}

fn outputs(table: &Table, names: &mut Names) -> Vec<OutputSpec> {
    let mut out = Vec::new();
    for item in parts(table, "out") {
        // Flows name outputs and points alike; equations do not see outputs.
        let Some(name) = item.name(false) else { continue };
        if names.taken.get(name) == Some(&"point") {
            let message = format!("output `{name}` has the name of a point");
            item.scope.error(item.key_span, "duplicate-name", message);
            continue;
        }
        let read = item.table(table.path(&format!("out.{name}"))).and_then(|inner| {
            let (unit, value) = (inner.need("unit").and_then(|u| u.unit()), inner.need("value"));
            inner.close();
            Some((unit?, equation(&value?)?))
        });
        let Some((unit, expr)) = names.keep(&item, read) else { continue };
        out.push(OutputSpec { name: name.into(), unit, expr });
    }
    out
}

fn ders(
    table: &Table,
    kind: &TwinType,
    states: &[StateSpec],
    broken: &BTreeSet<String>,
) -> Vec<(Target, SourceText)> {
    let mut out = Vec::new();
    for item in parts(table, "der") {
        let text = equation(&item);
        let point = kind.point(item.key).map(Target::Point);
        let state = || states.iter().position(|s| &*s.name == item.key);
        let target = point.or_else(|| state().map(|i| Target::State(i as u16)));
        if target.is_none() && !broken.contains(item.key) {
            let known = kind.points.iter().map(|p| &*p.name).chain(states.iter().map(|s| &*s.name));
            let help =
                super::suggest::suggest(item.scope.report, item.key, "points and states", known);
            let message = format!("derivative of unknown point or state `{}`", quoted(item.key));
            item.scope.error_help(item.key_span, "unknown-point", message, help);
        }
        out.extend(target.zip(text));
    }
    out
}

fn algebraic(
    table: &Table,
    kind: &TwinType,
    ders: &[(Target, SourceText)],
    broken: &BTreeSet<String>,
) -> Vec<(crate::PointIx, SourceText)> {
    let mut out = Vec::new();
    for item in parts(table, "point") {
        let text = equation(&item);
        let Some(point) = find_point(&item.at_key(), item.key, kind, broken) else { continue };
        if ders.iter().any(|(target, _)| *target == Target::Point(point)) {
            let message = format!("point `{}` has a derivative and an equation", item.key);
            item.scope.error(item.key_span, "duplicate-name", message);
        }
        if kind.points[point.index()].access == Access::ReadWrite {
            let message =
                format!("point `{}` can be written, but its equation would undo it", item.key);
            item.scope.error(item.key_span, "bad-value", message);
        }
        out.extend(text.map(|text| (point, text)));
    }
    out
}

/// Reads the text of an equation.
fn equation(item: &Item) -> Option<SourceText> {
    let source = item.source()?;
    if source.text.trim().is_empty() {
        item.error("bad-value", format!("`{}` is empty", quoted(item.key)));
        return None;
    }
    Some(source)
}
