//! How a number stands in registers: format, word order, scale and offset.
//!
//! The number is `raw * scale + offset`. What does not fit its format is refused, never wrapped
//! or cut. Absent: where the registers are (see `config`).

use smallvec::{SmallVec, smallvec};

/// Registers of one value, or one bit as 0 or 1.
pub(crate) type Registers = SmallVec<[u16; 4]>;

/// How the raw number is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    U16,
    I16,
    U32,
    I32,
    F32,
    F64,
    Bool,
}

impl Format {
    /// All formats by their names in plant files.
    pub(crate) const NAMES: [(&'static str, Self); 7] = [
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("f32", Self::F32),
        ("f64", Self::F64),
        ("bool", Self::Bool),
    ];

    /// The format of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, format)| *format)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, f)| *f == self).map_or("", |(name, _)| name)
    }

    /// How many registers (or bits) one value takes.
    pub(crate) fn width(self) -> u16 {
        match self {
            Self::U16 | Self::I16 | Self::Bool => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::F64 => 4,
        }
    }

    /// Whether NaN can be written in it.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Smallest and largest raw number of a whole-number format.
    fn bounds(self) -> (f64, f64) {
        match self {
            Self::U16 => (0.0, f64::from(u16::MAX)),
            Self::I16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
            Self::U32 => (0.0, f64::from(u32::MAX)),
            Self::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Self::Bool => (0.0, 1.0),
            Self::F32 => (f64::from(f32::MIN), f64::from(f32::MAX)),
            Self::F64 => (f64::MIN, f64::MAX),
        }
    }
}

/// Everything that turns a number into registers and back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Codec {
    pub(crate) format: Format,
    /// Whether the least significant register comes first.
    pub(crate) little: bool,
    /// Not zero, finite.
    pub(crate) scale: f64,
    /// Finite.
    pub(crate) offset: f64,
}

impl Default for Codec {
    fn default() -> Self {
        Self { format: Format::F32, little: false, scale: 1.0, offset: 0.0 }
    }
}

impl Codec {
    /// The number in `registers`, which are as many as the format is wide; `None` otherwise.
    pub(crate) fn decode(self, registers: &[u16]) -> Option<f64> {
        if registers.len() != usize::from(self.format.width()) {
            return None;
        }
        let join = |bits: u64, word: &u16| bits << 16 | u64::from(*word);
        let bits = if self.little {
            registers.iter().rev().fold(0, join)
        } else {
            registers.iter().fold(0, join)
        };
        let raw = match self.format {
            Format::U16 => f64::from(bits as u16),
            Format::I16 => f64::from((bits as u16).cast_signed()),
            Format::U32 => f64::from(bits as u32),
            Format::I32 => f64::from((bits as u32).cast_signed()),
            Format::F32 => f64::from(f32::from_bits(bits as u32)),
            Format::F64 => f64::from_bits(bits),
            Format::Bool => f64::from(u8::from(bits != 0)),
        };
        // 70 hundredths are 0.7, while 70 * 0.01 is not: 0.01 itself is rounded, 100 is exact.
        let inverse = self.scale.recip().round();
        let exact = inverse.abs() > 1.0 && (inverse * self.scale - 1.0).abs() < 1e-12;
        let scaled = if exact { raw / inverse } else { raw * self.scale };
        Some(scaled + self.offset)
    }

    /// The registers of a number. Whole-number formats round to the nearest raw number; what is
    /// beyond a format, or has no meaning in it, is an error fit for "failed to {error}".
    pub(crate) fn encode(self, value: f64) -> Result<Registers, String> {
        let raw = (value - self.offset) / self.scale;
        let refuse = || Err(format!("fit {value} into {}", self.format.name()));
        if !self.format.is_float() {
            let (low, high) = self.format.bounds();
            let whole = raw.round();
            // Written so that NaN is refused.
            if !(whole >= low && whole <= high) {
                return refuse();
            }
            if self.format == Format::Bool && raw != whole {
                return refuse();
            }
            let bits = whole as i64 as u64;
            return Ok(self.split(bits));
        }
        if raw.is_infinite() && value.is_finite() {
            return refuse();
        }
        if self.format == Format::F64 {
            return Ok(self.split(raw.to_bits()));
        }
        let short = raw as f32;
        if short.is_infinite() && raw.is_finite() {
            return refuse();
        }
        Ok(self.split(u64::from(short.to_bits())))
    }

    fn split(self, bits: u64) -> Registers {
        let mut out: Registers = smallvec![];
        for word in (0..self.format.width()).rev() {
            out.push((bits >> (16 * word)) as u16);
        }
        if self.little {
            out.reverse();
        }
        out
    }
}
