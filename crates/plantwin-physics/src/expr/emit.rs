//! Analysed equations into drafts of instructions.
//!
//! Constants are pooled; what depends on parameters alone is computed once per device; the rest
//! becomes the equation's code. Registers get their numbers when the whole model is known.

use super::{
    analyse::{Analysis, Class},
    code::Op,
    parser::{Infix, Kind},
};
use crate::problem::Complaint;

/// Most instructions of one equation.
pub(crate) const CODE_LIMIT: usize = 1000;

/// A register whose number is not known yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// Of a name; numbered from the start.
    Named(u16),
    /// In the pool of constants.
    Constant(u16),
    /// Computed once per device.
    Hoisted(u16),
    /// For the moment.
    Scratch(u16),
}

/// An instruction whose registers have no number yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) op: Op,
    pub(crate) to: Place,
    pub(crate) args: [Place; 3],
    /// Exponent or table, instead of the third operand.
    pub(crate) extra: Option<u16>,
}

/// What the equations of one model share.
#[derive(Default, Debug)]
pub(crate) struct Pool {
    pub(crate) constants: Vec<f64>,
    pub(crate) hoisted: u16,
    pub(crate) scratch: u16,
    /// Runs once per device, after the parameters are known.
    pub(crate) init: Vec<Draft>,
}

impl Pool {
    fn constant(&mut self, value: f64) -> Place {
        let found = self.constants.iter().position(|c| c.to_bits() == value.to_bits());
        let place = found.unwrap_or_else(|| {
            self.constants.push(value);
            self.constants.len() - 1
        });
        Place::Constant(place as u16)
    }

    /// Appends the code of `equation` to `code`; its result is wherever the answer says, which is
    /// `to` unless the equation is but another name for something.
    pub(crate) fn emit(
        &mut self,
        equation: &Analysis,
        to: Option<Place>,
        code: &mut Vec<Draft>,
    ) -> Result<Place, Complaint> {
        let (nodes, meanings) = (&equation.nodes, &equation.meanings);
        let Some(root) = nodes.len().checked_sub(1) else { return Ok(self.constant(0.0)) };
        // Only what a living node uses lives; constants use nothing any more.
        let mut live = vec![false; nodes.len()];
        let mut parent = vec![Class::Dynamic; nodes.len()];
        live[root] = true;
        for i in (0..=root).rev().filter(|&i| i < nodes.len()) {
            if live[i] && meanings[i].value.is_none() {
                for operand in used_operands(equation, i) {
                    live[operand] = true;
                    parent[operand] = meanings[i].class;
                }
            }
        }
        let (before, mut busy) = (code.len() + self.init.len(), 0_u16);
        let mut places = vec![Place::Scratch(0); nodes.len()];
        for i in (0..=root).filter(|&i| live[i]) {
            let meaning = &meanings[i];
            if let Some(value) = meaning.value {
                places[i] = self.constant(value);
                continue;
            }
            if let Some(place) = meaning.place {
                places[i] = place;
                continue;
            }
            let Some((op, extra)) = meaning.op else { continue };
            let mut args = [Place::Named(0); 3];
            for (slot, operand) in args.iter_mut().zip(used_operands(equation, i)) {
                *slot = places[operand];
                // Post-order: operands are the top of the stack of scratch registers.
                busy -= u16::from(matches!(places[operand], Place::Scratch(_)));
            }
            if matches!(nodes[i].kind, Kind::Infix(Infix::Greater | Infix::GreaterEqual, ..)) {
                args.swap(0, 1);
            }
            let hoist = meaning.class == Class::Parameter && parent[i] == Class::Dynamic;
            let place = match to {
                _ if hoist => {
                    self.hoisted += 1;
                    Place::Hoisted(self.hoisted - 1)
                }
                Some(to) if i == root => to,
                _ => {
                    busy += 1;
                    self.scratch = self.scratch.max(busy);
                    Place::Scratch(busy - 1)
                }
            };
            places[i] = place;
            let extra = matches!(op, Op::Table | Op::PowWhole).then_some(extra);
            let draft = match (op, extra.map(u16::cast_signed)) {
                (Op::PowWhole, Some(2)) => {
                    Draft { op: Op::Mul, to: place, args: [args[0]; 3], extra: None }
                }
                (Op::PowWhole, Some(1)) => Draft { op: Op::Copy, to: place, args, extra: None },
                _ => Draft { op, to: place, args, extra },
            };
            if meaning.class == Class::Parameter { &mut self.init } else { &mut *code }.push(draft);
        }
        let place = match to {
            Some(to) if places[root] != to => {
                code.push(Draft { op: Op::Copy, to, args: [places[root]; 3], extra: None });
                to
            }
            _ => places[root],
        };
        let length = code.len() + self.init.len() - before;
        if length > CODE_LIMIT {
            let message =
                format!("the equation needs {length} instructions, at most {CODE_LIMIT} fit");
            return Err(Complaint::new("too-long", nodes[root].span, message)
                .help("split it with [model.local]"));
        }
        Ok(place)
    }
}

/// Operands that are read at run time: a constant exponent is part of the instruction.
fn used_operands(equation: &Analysis, i: usize) -> impl Iterator<Item = usize> + use<> {
    let alone = matches!(equation.meanings[i].op, Some((Op::PowWhole | Op::Sqrt | Op::Table, _)));
    equation.nodes[i].operands().take(if alone { 1 } else { usize::MAX })
}
