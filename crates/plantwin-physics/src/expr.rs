//! Equations: text -> tree -> flat register code.
//!
//! Trees are flat too: a vector in post-order, so that every pass is a loop and no text, however
//! nested, can exhaust the stack. Absent: whole models (see [`crate::model`]).

mod analyse;
mod code;
mod emit;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

pub(crate) use analyse::{Analysis, Class, Entry, FOLLOW_UP, Need, Scope, analyse};
pub(crate) use code::{Instr, Table, run};
pub(crate) use emit::{Draft, Place, Pool};
pub(crate) use parser::parse;
