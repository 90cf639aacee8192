//! Units and dimensions.
//!
//! Codes are UCUM's (case sensitive; <https://ucum.org>), with `*` accepted beside `.` for a
//! product, as equations write it. Everything inside plantwin computes in SI base units;
//! a [`Unit`] converts at the edge. Absent: unit arithmetic at run time.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Exponents of m, kg, s, A, K, mol, cd, each doubled so that square roots stay exact.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Dimension([i8; 7]);

/// SI base unit codes, in the order of [`Dimension`].
const BASE: [&str; 7] = ["m", "kg", "s", "A", "K", "mol", "cd"];

impl Dimension {
    /// Of pure numbers.
    pub const ONE: Self = Self([0; 7]);
    /// Of time.
    pub const TIME: Self = Self([0, 0, 2, 0, 0, 0, 0]);

    /// Dimension of a product; `None` if an exponent leaves what a real quantity has.
    pub fn times(self, other: Self) -> Option<Self> {
        self.zip(other, i8::checked_add)
    }

    /// Dimension of a quotient.
    pub fn over(self, other: Self) -> Option<Self> {
        self.zip(other, i8::checked_sub)
    }

    /// Dimension of a power with exponent `halves / 2`.
    pub fn power(self, halves: i32) -> Option<Self> {
        let mut out = [0; 7];
        for (o, e) in out.iter_mut().zip(self.0) {
            let doubled = i32::from(e).checked_mul(halves)?;
            if doubled % 2 != 0 {
                return None;
            }
            *o = i8::try_from(doubled / 2).ok()?;
        }
        Some(Self(out))
    }

    fn zip(self, other: Self, op: fn(i8, i8) -> Option<i8>) -> Option<Self> {
        let mut out = [0; 7];
        for (o, (a, b)) in out.iter_mut().zip(self.0.into_iter().zip(other.0)) {
            *o = op(a, b)?;
        }
        Some(Self(out))
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (e, base) in self.0.into_iter().zip(BASE) {
            if e == 0 {
                continue;
            }
            if !std::mem::take(&mut first) {
                f.write_str(".")?;
            }
            match e {
                2 => f.write_str(base)?,
                e if e % 2 == 0 => write!(f, "{base}{}", e / 2)?,
                e => write!(f, "{base}({e}/2)")?,
            }
        }
        if first { f.write_str("1") } else { Ok(()) }
    }
}

/// A unit: its code, dimension and conversion to SI base units.
#[derive(Clone, PartialEq, Debug)]
pub struct Unit {
    code: Arc<str>,
    dimension: Dimension,
    scale: f64,
    offset: f64,
}

/// Why a unit code was refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UnitError {
    /// Not in the table.
    #[error("unknown unit `{0}`")]
    Unknown(String),
    /// Not of the form `kg.m/s2`.
    #[error("unit `{0}` is not of the form `kg.m/s2`")]
    Syntax(String),
    /// A temperature scale with an offset inside a product.
    #[error("`{0}` has an offset and cannot be part of a product; use K")]
    Offset(String),
}

/// Longest accepted code, in bytes.
const MAX_CODE: usize = 64;

/// `(code, factor to SI base units, exponents of m, kg, s, A, K, mol, cd, takes SI prefixes)`.
type Row = (&'static str, f64, [i8; 7], bool);

/// Units in use in process plants; factors from UCUM 2.1 and the SI brochure (9th edition).
const TABLE: &[Row] = &[
    ("1", 1.0, [0; 7], false),
    ("%", 0.01, [0; 7], false),
    ("[ppm]", 1e-6, [0; 7], false),
    ("[ppth]", 1e-3, [0; 7], false),
    ("rad", 1.0, [0; 7], true),
    ("deg", std::f64::consts::PI / 180.0, [0; 7], false),
    ("{rev}", std::f64::consts::TAU, [0; 7], false),
    ("m", 1.0, [1, 0, 0, 0, 0, 0, 0], true),
    ("[in_i]", 0.0254, [1, 0, 0, 0, 0, 0, 0], false),
    ("[ft_i]", 0.3048, [1, 0, 0, 0, 0, 0, 0], false),
    ("g", 1e-3, [0, 1, 0, 0, 0, 0, 0], true),
    ("t", 1e3, [0, 1, 0, 0, 0, 0, 0], false),
    ("s", 1.0, [0, 0, 1, 0, 0, 0, 0], true),
    ("min", 60.0, [0, 0, 1, 0, 0, 0, 0], false),
    ("h", 3600.0, [0, 0, 1, 0, 0, 0, 0], false),
    ("d", 86400.0, [0, 0, 1, 0, 0, 0, 0], false),
    ("A", 1.0, [0, 0, 0, 1, 0, 0, 0], true),
    ("K", 1.0, [0, 0, 0, 0, 1, 0, 0], true),
    ("mol", 1.0, [0, 0, 0, 0, 0, 1, 0], true),
    ("cd", 1.0, [0, 0, 0, 0, 0, 0, 1], true),
    ("L", 1e-3, [3, 0, 0, 0, 0, 0, 0], true),
    ("l", 1e-3, [3, 0, 0, 0, 0, 0, 0], true),
    ("Hz", 1.0, [0, 0, -1, 0, 0, 0, 0], true),
    ("N", 1.0, [1, 1, -2, 0, 0, 0, 0], true),
    ("Pa", 1.0, [-1, 1, -2, 0, 0, 0, 0], true),
    ("bar", 1e5, [-1, 1, -2, 0, 0, 0, 0], true),
    ("atm", 101_325.0, [-1, 1, -2, 0, 0, 0, 0], false),
    ("[psi]", 6_894.757_293_168_361, [-1, 1, -2, 0, 0, 0, 0], false),
    ("J", 1.0, [2, 1, -2, 0, 0, 0, 0], true),
    ("cal", 4.184, [2, 1, -2, 0, 0, 0, 0], true),
    ("W", 1.0, [2, 1, -3, 0, 0, 0, 0], true),
    ("C", 1.0, [0, 0, 1, 1, 0, 0, 0], true),
    ("V", 1.0, [2, 1, -3, -1, 0, 0, 0], true),
    ("Ohm", 1.0, [2, 1, -3, -2, 0, 0, 0], true),
    ("S", 1.0, [-2, -1, 3, 2, 0, 0, 0], true),
    ("F", 1.0, [-2, -1, 4, 2, 0, 0, 0], true),
    ("H", 1.0, [2, 1, -2, -2, 0, 0, 0], true),
    ("T", 1.0, [0, 1, -2, -1, 0, 0, 0], true),
    ("Wb", 1.0, [2, 1, -2, -1, 0, 0, 0], true),
    ("lm", 1.0, [0, 0, 0, 0, 0, 0, 1], true),
    ("lx", 1.0, [-2, 0, 0, 0, 0, 0, 1], true),
    ("Bq", 1.0, [0, 0, -1, 0, 0, 0, 0], true),
];

/// Units whose zero is not that of the SI unit: `si = value * scale + offset`. Only alone.
const OFFSET: &[(&str, f64, f64)] =
    &[("Cel", 1.0, 273.15), ("[degF]", 5.0 / 9.0, 459.67 * 5.0 / 9.0)];

/// SI prefixes with their factor.
const PREFIXES: &[(&str, f64)] = &[
    ("da", 1e1),
    ("Y", 1e24),
    ("Z", 1e21),
    ("E", 1e18),
    ("P", 1e15),
    ("T", 1e12),
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("h", 1e2),
    ("d", 1e-1),
    ("c", 1e-2),
    ("m", 1e-3),
    ("u", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
    ("f", 1e-15),
];

impl Unit {
    /// The unit of pure numbers.
    pub fn one() -> Self {
        Self { code: "1".into(), dimension: Dimension::ONE, scale: 1.0, offset: 0.0 }
    }

    /// Reads a code such as `cm3/s`, `kJ/(kg.K)` or `Cel`; the empty code is the number one.
    pub fn parse(code: &str) -> Result<Self, UnitError> {
        let code = code.trim();
        if code.is_empty() {
            return Ok(Self::one());
        }
        let refuse = || UnitError::Syntax(code.chars().take(MAX_CODE).collect());
        if code.len() > MAX_CODE {
            return Err(refuse());
        }
        if let Some((_, scale, offset)) = OFFSET.iter().find(|(c, ..)| *c == code) {
            let dimension = Dimension([0, 0, 0, 0, 2, 0, 0]);
            return Ok(Self { code: code.into(), dimension, scale: *scale, offset: *offset });
        }
        let mut rest = code;
        let (dimension, scale) = product(&mut rest)?;
        if !rest.is_empty() || !scale.is_normal() {
            return Err(refuse());
        }
        Ok(Self { code: code.into(), dimension, scale, offset: 0.0 })
    }

    /// The code as written.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The dimension.
    pub const fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// From this unit to SI base units.
    pub fn to_si(&self, value: f64) -> f64 {
        value.mul_add(self.scale, self.offset)
    }

    /// From SI base units to this unit.
    pub fn from_si(&self, si: f64) -> f64 {
        (si - self.offset) / self.scale
    }

    /// SI base units per this unit, for differences and rates.
    pub const fn scale(&self) -> f64 {
        self.scale
    }

    /// All codes of the table, for suggestions.
    pub fn known_codes() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|r| r.0).chain(OFFSET.iter().map(|r| r.0))
    }
}

/// `term (('.' | '*' | '/') term)*`, left to right, as UCUM has it.
fn product(rest: &mut &str) -> Result<(Dimension, f64), UnitError> {
    let (mut dimension, mut scale) =
        if rest.starts_with('/') { (Dimension::ONE, 1.0) } else { term(rest)? };
    while let Some(op) = rest.chars().next().filter(|c| matches!(c, '.' | '*' | '/')) {
        *rest = &rest[1..];
        let (d, s) = term(rest)?;
        let joined = if op == '/' { dimension.over(d) } else { dimension.times(d) };
        dimension = joined.ok_or_else(|| UnitError::Syntax((*rest).to_owned()))?;
        scale = if op == '/' { scale / s } else { scale * s };
    }
    Ok((dimension, scale))
}

fn term(rest: &mut &str) -> Result<(Dimension, f64), UnitError> {
    if let Some(inner) = rest.strip_prefix('(') {
        *rest = inner;
        let out = product(rest)?;
        *rest = rest.strip_prefix(')').ok_or_else(|| UnitError::Syntax((*rest).to_owned()))?;
        return Ok(out);
    }
    let end = rest.find(['.', '*', '/', '(', ')']).unwrap_or(rest.len());
    let (text, tail) = rest.split_at(end);
    *rest = tail;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '+']);
    let (symbol, exponent) =
        if digits.is_empty() { (text, "") } else { text.split_at(digits.len()) };
    let exponent: i32 = if exponent.is_empty() {
        1
    } else {
        exponent.parse().map_err(|_| UnitError::Syntax(text.to_owned()))?
    };
    let (dimension, scale) = symbol_of(symbol)?;
    let raised = dimension.power(exponent.saturating_mul(2));
    Ok((raised.ok_or_else(|| UnitError::Syntax(text.to_owned()))?, scale.powi(exponent)))
}

fn symbol_of(symbol: &str) -> Result<(Dimension, f64), UnitError> {
    let doubled = |e: [i8; 7]| Dimension(e.map(|x| x * 2));
    if let Some(row) = TABLE.iter().find(|r| r.0 == symbol) {
        return Ok((doubled(row.2), row.1));
    }
    for (prefix, factor) in PREFIXES {
        let Some(bare) = symbol.strip_prefix(prefix) else { continue };
        if let Some(row) = TABLE.iter().find(|r| r.3 && r.0 == bare) {
            return Ok((doubled(row.2), row.1 * factor));
        }
    }
    if OFFSET.iter().any(|(c, ..)| *c == symbol) {
        return Err(UnitError::Offset(symbol.to_owned()));
    }
    Err(UnitError::Unknown(symbol.to_owned()))
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, si: f64, dimension: &str) {
        let unit = Unit::parse(code).unwrap();
        assert!((unit.to_si(1.0) - si).abs() <= 1e-12 * si.abs(), "{code}: {}", unit.to_si(1.0));
        assert_eq!(unit.dimension().to_string(), dimension, "{code}");
    }

    #[test]
    fn codes_convert_to_si_base_units_and_dimensions() {
        check("cm3/s", 1e-6, "m3.s-1");
        check("cm3/(V*s)", 1e-6, "m.kg-1.s2.A");
        check("L/min", 1e-3 / 60.0, "m3.s-1");
        check("J/(g.K)", 1e3, "m2.s-2.K-1");
        check("min", 60.0, "s");
        check("mol/L", 1e3, "m-3.mol");
        check("1/min", 1.0 / 60.0, "s-1");
        check("kg.m2/s2", 1.0, "m2.kg.s-2");
        check("Cel", 274.15, "K");
        check("", 1.0, "1");
    }

    #[test]
    fn a_square_root_of_a_dimension_is_exact() {
        let d = Unit::parse("m2/s2").unwrap().dimension();
        assert_eq!(d.power(1).unwrap().to_string(), "m.s-1");
        assert_eq!(Unit::parse("m").unwrap().dimension().power(1).unwrap().to_string(), "m(1/2)");
    }

    #[test]
    fn wrong_codes_say_what_is_wrong() {
        assert_eq!(Unit::parse("furlong"), Err(UnitError::Unknown("furlong".into())));
        assert_eq!(Unit::parse("J/Cel"), Err(UnitError::Offset("Cel".into())));
        assert!(matches!(Unit::parse("m//s"), Err(UnitError::Unknown(_) | UnitError::Syntax(_))));
        assert!(Unit::parse(&"(".repeat(64)).is_err());
    }
}
