//! Register code and its machine.
//!
//! An instruction reads up to three registers of a frame and writes one. A frame is a slice that
//! holds everything one device's model knows, so that operands need no loading. Nothing is
//! allocated, nothing loops back, and every instruction is total: the worst result is `NaN`.

use plantwin_model::Outside;

/// What an instruction does with `a`, `b` and `c`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Copy,
    Neg,
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    /// `a` to the whole power `c as i16`.
    PowWhole,
    Less,
    LessEqual,
    Equal,
    NotEqual,
    /// `b` if `a` is not zero, else `c`; `NaN` if `a` is.
    If,
    Min,
    Max,
    Abs,
    Sqrt,
    Exp,
    Ln,
    Sin,
    Cos,
    Tanh,
    Clamp,
    Sign,
    Floor,
    /// Table `c` at `a`.
    Table,
}

/// One instruction; operands and result are registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Instr {
    pub(crate) op: Op,
    pub(crate) to: u16,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) c: u16,
}

/// A lookup table in SI base units: linear between its points.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) x: Box<[f64]>,
    pub(crate) y: Box<[f64]>,
    pub(crate) outside: Outside,
}

impl Table {
    fn at(&self, x: f64) -> f64 {
        let (Some(first), Some(last)) = (self.y.first(), self.y.last()) else { return f64::NAN };
        let above = self.x.partition_point(|p| *p <= x);
        if self.outside == Outside::Hold && above == 0 {
            return if x.is_nan() { x } else { *first };
        }
        if self.outside == Outside::Hold && above == self.x.len() {
            return *last;
        }
        let i = above.clamp(1, self.x.len().max(2) - 1);
        let (Some(&[x0, x1]), Some(&[y0, y1])) = (
            self.x.get(i - 1..=i).and_then(|s| s.first_chunk()),
            self.y.get(i - 1..=i).and_then(|s| s.first_chunk()),
        ) else {
            return f64::NAN;
        };
        y0 + (y1 - y0) * ((x - x0) / (x1 - x0))
    }
}

/// The smaller one; `NaN` if either is, so that a broken value does not vanish unseen.
fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// The larger one; `NaN` if either is.
fn most(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// Runs `code` on `frame`, which must be as long as the code's registers reach.
#[inline]
pub(crate) fn run(code: &[Instr], tables: &[Table], frame: &mut [f64]) {
    for i in code {
        let a = frame[usize::from(i.a)];
        let b = frame[usize::from(i.b)];
        frame[usize::from(i.to)] = match i.op {
            Op::Copy => a,
            Op::Neg => -a,
            Op::Add => a + b,
            Op::Sub => a - b,
            Op::Mul => a * b,
            Op::Div => a / b,
            Op::Pow => a.powf(b),
            Op::PowWhole => a.powi(i32::from(i.c.cast_signed())),
            Op::Less => f64::from(u8::from(a < b)),
            Op::LessEqual => f64::from(u8::from(a <= b)),
            Op::Equal => f64::from(u8::from(a == b)),
            Op::NotEqual => f64::from(u8::from(a != b)),
            Op::If if a.is_nan() => a,
            Op::If if a == 0.0 => frame[usize::from(i.c)],
            Op::If => b,
            Op::Min => least(a, b),
            Op::Max => most(a, b),
            Op::Abs => a.abs(),
            Op::Sqrt => a.sqrt(),
            Op::Exp => a.exp(),
            Op::Ln => a.ln(),
            Op::Sin => a.sin(),
            Op::Cos => a.cos(),
            Op::Tanh => a.tanh(),
            Op::Clamp => most(b, least(a, frame[usize::from(i.c)])),
            Op::Sign if a == 0.0 => 0.0,
            Op::Sign => a.signum(),
            Op::Floor => a.floor(),
            Op::Table => tables.get(usize::from(i.c)).map_or(f64::NAN, |t| t.at(a)),
        };
    }
}
