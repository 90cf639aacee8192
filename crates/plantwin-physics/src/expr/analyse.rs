//! What every node of an equation means: its value if constant, its dimension, what it needs.
//!
//! One pass from the leaves to the root. Absent: code (see [`super::emit`]).

use std::collections::{BTreeSet, HashMap};

use plantwin_model::{Dimension, Span};

use super::{
    code::{Instr, Op, run},
    emit::Place,
    parser::{Infix, Kind, MAX_ARGS, Node},
};
use crate::problem::Complaint;

/// When a value changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    /// Never.
    Constant,
    /// From device to device.
    Parameter,
    /// All the time.
    Dynamic,
}

/// What must be known before an equation can be evaluated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Need {
    /// Input, by place.
    Input(u16),
    /// Equation, by place in the model.
    Equation(u16),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) dimension: Dimension,
    pub(crate) class: Class,
    pub(crate) need: Option<Need>,
}

/// All names an equation may use.
#[derive(Default)]
pub(crate) struct Scope<'s> {
    pub(crate) names: HashMap<&'s str, Entry>,
    /// Place, dimension of the argument and of the result.
    pub(crate) tables: HashMap<&'s str, (u16, Dimension, Dimension)>,
    /// Locals that are declared further down.
    pub(crate) later: BTreeSet<&'s str>,
    /// Locals whose own equation is wrong.
    pub(crate) broken: BTreeSet<&'s str>,
}

/// Code of a complaint that only follows from another one.
pub(crate) const FOLLOW_UP: &str = "follow-up";

/// What became of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meaning {
    pub(super) value: Option<f64>,
    pub(super) place: Option<Place>,
    pub(super) class: Class,
    /// The instruction that computes it, if it is no leaf.
    pub(super) op: Option<(Op, u16)>,
    /// `None`: fits everywhere.
    dimension: Option<Dimension>,
}

/// An analysed equation.
#[derive(Debug)]
pub(crate) struct Analysis {
    pub(super) nodes: Vec<Node>,
    pub(super) meanings: Vec<Meaning>,
    /// What it depends on, each once.
    pub(crate) needs: BTreeSet<Need>,
    /// Names it uses.
    pub(crate) used: BTreeSet<String>,
    /// Dimension of the result; `None`: a literal zero, which fits everywhere.
    pub(crate) dimension: Option<Dimension>,
}

impl Analysis {
    /// The result, if constant.
    pub(crate) fn value(&self) -> Option<f64> {
        self.meanings.last().and_then(|m| m.value)
    }

    /// Whether the equation is one name and nothing else.
    pub(crate) fn is_name(&self) -> bool {
        self.meanings.last().is_some_and(|m| m.place.is_some())
    }
}

/// A function: name, number of arguments.
const FUNCTIONS: &[(&str, usize, Op)] = &[
    ("if", 3, Op::If),
    ("min", 2, Op::Min),
    ("max", 2, Op::Max),
    ("abs", 1, Op::Abs),
    ("sqrt", 1, Op::Sqrt),
    ("exp", 1, Op::Exp),
    ("ln", 1, Op::Ln),
    ("sin", 1, Op::Sin),
    ("cos", 1, Op::Cos),
    ("tanh", 1, Op::Tanh),
    ("clamp", 3, Op::Clamp),
    ("sign", 1, Op::Sign),
    ("floor", 1, Op::Floor),
];

/// Analyses `nodes` of `text`.
pub(crate) fn analyse(
    text: &str,
    nodes: Vec<Node>,
    scope: &Scope<'_>,
) -> Result<Analysis, Complaint> {
    let mut pass = Pass {
        text,
        scope,
        meanings: Vec::with_capacity(nodes.len()),
        needs: BTreeSet::new(),
        used: BTreeSet::new(),
    };
    for node in &nodes {
        let meaning = pass.node(node, &nodes)?;
        pass.meanings.push(meaning);
    }
    let Pass { meanings, needs, used, .. } = pass;
    let root = meanings.last();
    let dimension = root.and_then(|m| m.dimension);
    Ok(Analysis { nodes, meanings, needs, used, dimension })
}

struct Pass<'p, 's> {
    text: &'p str,
    scope: &'p Scope<'s>,
    meanings: Vec<Meaning>,
    needs: BTreeSet<Need>,
    used: BTreeSet<String>,
}

impl Pass<'_, '_> {
    fn word(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn node(&mut self, node: &Node, nodes: &[Node]) -> Result<Meaning, Complaint> {
        let (op, extra, dimension) = match node.kind {
            Kind::Number(value) => {
                return Ok(Meaning {
                    value: Some(value),
                    place: None,
                    class: Class::Constant,
                    op: None,
                    dimension: (value != 0.0).then_some(Dimension::ONE),
                });
            }
            Kind::Name => return self.name(node.span),
            Kind::Neg(a) => (Op::Neg, 0, self.of(a)),
            Kind::Infix(op, a, b) => self.infix(op, (a, b), node.span, nodes)?,
            Kind::Call(name, args, count) => self.call(name, args, usize::from(count), nodes)?,
        };
        let mut args: Vec<_> = node.operands().map(|o| self.meanings[o]).collect();
        let least = if op == Op::Table { Class::Parameter } else { Class::Constant };
        let class = args.iter().map(|m| m.class).max().unwrap_or(least).max(least);
        if matches!(node.kind, Kind::Infix(Infix::Greater | Infix::GreaterEqual, ..)) {
            args.reverse();
        }
        let value = fold(op, extra, &args);
        Ok(Meaning { value, place: None, class, op: Some((op, extra)), dimension })
    }

    fn of(&self, node: u16) -> Option<Dimension> {
        self.meanings[usize::from(node)].dimension
    }

    fn name(&mut self, span: Span) -> Result<Meaning, Complaint> {
        let word = self.word(span);
        let Some(entry) = self.scope.names.get(word) else { return Err(self.unknown(span)) };
        let used = word.to_owned();
        self.used.insert(used);
        self.needs.extend(entry.need);
        Ok(Meaning {
            value: None,
            place: Some(entry.place),
            class: entry.class,
            op: None,
            dimension: Some(entry.dimension),
        })
    }

    fn unknown(&self, span: Span) -> Complaint {
        let word = self.word(span);
        if self.scope.broken.contains(word) {
            return Complaint::new(FOLLOW_UP, span, format!("local `{word}` is wrong"));
        }
        if self.scope.later.contains(word) {
            let message = format!("local `{word}` is used before it is declared");
            return Complaint::new("unknown-name", span, message)
                .help("move its line further up in [model.local]");
        }
        if self.scope.tables.contains_key(word) || FUNCTIONS.iter().any(|f| f.0 == word) {
            let message = format!("`{word}` is a function and needs arguments: `{word}(...)`");
            return Complaint::new("arguments", span, message);
        }
        let known = self.scope.names.keys().copied();
        suggest(Complaint::new("unknown-name", span, format!("unknown name `{word}`")), word, known)
    }

    fn infix(
        &self,
        op: Infix,
        (a, b): (u16, u16),
        span: Span,
        nodes: &[Node],
    ) -> Result<(Op, u16, Option<Dimension>), Complaint> {
        let (left, right) = (self.of(a), self.of(b));
        let one = |d: Option<Dimension>| d.unwrap_or(Dimension::ONE);
        let beyond = || Complaint::new("wrong-dimension", span, "no quantity has this dimension");
        let same = || self.same(&[a, b], nodes);
        Ok(match op {
            Infix::Add => (Op::Add, 0, same()?),
            Infix::Sub => (Op::Sub, 0, same()?),
            Infix::Mul => (Op::Mul, 0, Some(one(left).times(one(right)).ok_or_else(beyond)?)),
            Infix::Div => (Op::Div, 0, Some(one(left).over(one(right)).ok_or_else(beyond)?)),
            Infix::Pow => self.power(a, b, nodes)?,
            // `a > b` is `b < a`: the emitter swaps.
            Infix::Less | Infix::Greater => same().map(|_| (Op::Less, 0, Some(Dimension::ONE)))?,
            Infix::LessEqual | Infix::GreaterEqual => {
                same().map(|_| (Op::LessEqual, 0, Some(Dimension::ONE)))?
            }
            Infix::Equal => same().map(|_| (Op::Equal, 0, Some(Dimension::ONE)))?,
            Infix::NotEqual => same().map(|_| (Op::NotEqual, 0, Some(Dimension::ONE)))?,
        })
    }

    fn power(
        &self,
        base: u16,
        exponent: u16,
        nodes: &[Node],
    ) -> Result<(Op, u16, Option<Dimension>), Complaint> {
        self.pure(exponent, "an exponent", nodes)?;
        let value = self.meanings[usize::from(exponent)].value;
        let at = nodes[usize::from(exponent)].span;
        let dimension = match self.of(base) {
            None | Some(Dimension::ONE) => Some(Dimension::ONE),
            Some(base) => {
                let Some(value) = value else {
                    let message = format!("the exponent of a quantity in {base} must be constant");
                    return Err(Complaint::new("wrong-dimension", at, message));
                };
                let halves = value * 2.0;
                let whole =
                    (halves.fract() == 0.0 && halves.abs() < 256.0).then_some(halves as i32);
                let raised = whole.and_then(|h| base.power(h));
                let message =
                    || format!("a quantity in {base} to the power {value} has no dimension");
                Some(raised.ok_or_else(|| Complaint::new("wrong-dimension", at, message()))?)
            }
        };
        Ok(match value {
            Some(v) if v.fract() == 0.0 && v.abs() <= 64.0 => {
                (Op::PowWhole, (v as i16).cast_unsigned(), dimension)
            }
            Some(0.5) => (Op::Sqrt, 0, dimension),
            _ => (Op::Pow, 0, dimension),
        })
    }

    fn call(
        &self,
        name: Span,
        args: [u16; MAX_ARGS],
        count: usize,
        nodes: &[Node],
    ) -> Result<(Op, u16, Option<Dimension>), Complaint> {
        let word = self.word(name);
        let table = self.scope.tables.get(word);
        let function = FUNCTIONS.iter().find(|f| f.0 == word);
        let wanted = match (table, function) {
            (Some(_), _) => 1,
            (None, Some(f)) => f.1,
            (None, None) => return Err(self.no_function(name)),
        };
        if count != wanted {
            let s = if wanted == 1 { "" } else { "s" };
            let message = format!("`{word}` takes {wanted} argument{s}, not {count}");
            return Err(Complaint::new("arguments", name, message));
        }
        let [a, b, c] = args;
        if let Some(&(place, x, y)) = table {
            let found = self.of(a);
            if found.is_some_and(|d| d != x) {
                return Err(self.mismatch(a, &format!("an argument of `{word}`"), x, nodes));
            }
            return Ok((Op::Table, place, Some(y)));
        }
        // Found above, since there is no table of that name.
        let op = function.map_or(Op::Copy, |f| f.2);
        let dimension = match op {
            Op::If => {
                self.pure(a, "a condition", nodes)?;
                self.same(&[b, c], nodes)?
            }
            Op::Min | Op::Max => self.same(&[a, b], nodes)?,
            Op::Clamp => self.same(&[a, b, c], nodes)?,
            Op::Sqrt => match self.of(a) {
                None => None,
                Some(d) => Some(d.power(1).ok_or_else(|| {
                    let message = format!("the square root of a quantity in {d} has no dimension");
                    Complaint::new("wrong-dimension", nodes[usize::from(a)].span, message)
                })?),
            },
            Op::Abs => self.of(a),
            Op::Sign => Some(Dimension::ONE),
            _ => {
                self.pure(a, &format!("an argument of `{word}`"), nodes)?;
                Some(Dimension::ONE)
            }
        };
        Ok((op, 0, dimension))
    }

    fn no_function(&self, name: Span) -> Complaint {
        let word = self.word(name);
        if self.scope.names.contains_key(word) {
            let message = format!("`{word}` is no function; write `{word} * (...)` to multiply");
            return Complaint::new("unknown-function", name, message);
        }
        let known = FUNCTIONS.iter().map(|f| f.0).chain(self.scope.tables.keys().copied());
        let complaint =
            Complaint::new("unknown-function", name, format!("unknown function `{word}`"));
        suggest(complaint, word, known)
    }

    fn pure(&self, node: u16, what: &str, nodes: &[Node]) -> Result<(), Complaint> {
        match self.of(node) {
            None | Some(Dimension::ONE) => Ok(()),
            Some(_) => Err(self.mismatch(node, what, Dimension::ONE, nodes)),
        }
    }

    fn mismatch(&self, node: u16, what: &str, wanted: Dimension, nodes: &[Node]) -> Complaint {
        let found = self.of(node).unwrap_or(Dimension::ONE);
        let wanted = match wanted {
            Dimension::ONE => "a pure number".to_owned(),
            wanted => format!("in {wanted}"),
        };
        let message = format!("{what} must be {wanted}, but this is in {found}");
        Complaint::new("wrong-dimension", nodes[usize::from(node)].span, message)
    }

    /// The common dimension of `args`; zeros fit everywhere.
    fn same(&self, args: &[u16], nodes: &[Node]) -> Result<Option<Dimension>, Complaint> {
        let mut common: Option<Dimension> = None;
        for &arg in args {
            match (common, self.of(arg)) {
                (Some(first), Some(d)) if first != d => {
                    let message =
                        format!("this is in {d}, but what it is joined with is in {first}");
                    return Err(Complaint::new(
                        "wrong-dimension",
                        nodes[usize::from(arg)].span,
                        message,
                    ));
                }
                (None, found) => common = found,
                _ => {}
            }
        }
        Ok(common)
    }
}

/// The value of a node whose operands are all constant, computed by the very machine.
fn fold(op: Op, extra: u16, args: &[Meaning]) -> Option<f64> {
    if op == Op::Table {
        return None;
    }
    let mut frame = [0.0; MAX_ARGS + 1];
    for (slot, arg) in frame.iter_mut().zip(args) {
        *slot = arg.value?;
    }
    let c = if op == Op::PowWhole { extra } else { 2 };
    run(&[Instr { op, to: 3, a: 0, b: 1, c }], &[], &mut frame);
    Some(frame[3])
}

fn suggest<'k>(
    complaint: Complaint,
    word: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Complaint {
    // Ties go to the name first in the alphabet, so that messages do not depend on hashing.
    let close = known
        .clone()
        .map(|k| (strsim::damerau_levenshtein(word, k), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().max(word.len()) / 4)
        .min();
    if let Some((_, name)) = close {
        return complaint.help(format!("did you mean `{name}`?"));
    }
    let mut all: Vec<_> = known.collect();
    all.sort_unstable();
    all.truncate(12);
    complaint.help(format!("known: {}", all.join(", ")))
}
