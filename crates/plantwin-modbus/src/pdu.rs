//! Messages of the MODBUS Application Protocol V1.1b3.
//!
//! Encodes and decodes what both faces say: reading and writing of the four tables, device
//! identification, exceptions. Every length is checked; no bytes whatsoever make it panic. Absent:
//! the frame around them (see `frame`), what registers mean (see `value`), the native function
//! (see `native`).

use std::fmt;

/// Longest message without its frame, bytes (Application Protocol V1.1b3 §4.1).
pub(crate) const PDU: usize = 253;
/// Most registers in one read (§6.3).
pub(crate) const READ_REGISTERS: u16 = 125;
/// Most bits in one read (§6.1).
pub(crate) const READ_BITS: u16 = 2000;
/// Most registers in one write (§6.12).
const WRITE_REGISTERS: u16 = 123;
/// Most bits in one write (§6.11).
const WRITE_BITS: u16 = 1968;

/// One of the four tables of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Table {
    /// Registers that can be written.
    Holding,
    /// Registers that can only be read.
    Input,
    /// Bits that can be written.
    Coil,
    /// Bits that can only be read.
    Discrete,
}

impl Table {
    /// Whether it holds bits rather than registers.
    pub(crate) fn bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// Whether it can be written.
    pub(crate) fn writable(self) -> bool {
        matches!(self, Self::Holding | Self::Coil)
    }

    /// Function code that reads it.
    pub(crate) fn read_function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }

    /// The table that a reading function code reads.
    pub(crate) fn of_function(code: u8) -> Option<Self> {
        [Self::Coil, Self::Discrete, Self::Holding, Self::Input]
            .into_iter()
            .find(|t| t.read_function() == code)
    }

    /// Most entries in one read.
    pub(crate) fn read_limit(self) -> u16 {
        if self.bits() { READ_BITS } else { READ_REGISTERS }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holding => "holding",
            Self::Input => "input",
            Self::Coil => "coil",
            Self::Discrete => "discrete",
        })
    }
}

/// Why a device refuses (§7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Exception(pub(crate) u8);

impl Exception {
    pub(crate) const ILLEGAL_FUNCTION: Self = Self(1);
    pub(crate) const ILLEGAL_DATA_ADDRESS: Self = Self(2);
    pub(crate) const ILLEGAL_DATA_VALUE: Self = Self(3);
    pub(crate) const SERVER_DEVICE_FAILURE: Self = Self(4);
    pub(crate) const SERVER_DEVICE_BUSY: Self = Self(6);
    pub(crate) const GATEWAY_TARGET: Self = Self(11);

    /// Whether it is a gateway's word that the device itself did not answer.
    pub(crate) fn is_silence(self) -> bool {
        matches!(self.0, 10 | 11)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("ILLEGAL FUNCTION"),
            2 => f.write_str("ILLEGAL DATA ADDRESS"),
            3 => f.write_str("ILLEGAL DATA VALUE"),
            4 => f.write_str("SERVER DEVICE FAILURE"),
            5 => f.write_str("ACKNOWLEDGE"),
            6 => f.write_str("SERVER DEVICE BUSY"),
            8 => f.write_str("MEMORY PARITY ERROR"),
            10 => f.write_str("GATEWAY PATH UNAVAILABLE"),
            11 => f.write_str("GATEWAY TARGET DEVICE FAILED TO RESPOND"),
            other => write!(f, "exception {other}"),
        }
    }
}

/// What a client asks of one unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// Functions 1 to 4.
    Read { table: Table, start: u16, count: u16 },
    /// Functions 5, 6, 15, 16; bits are 0 or 1. `single` tells 5 and 6 from 15 and 16.
    Write { table: Table, start: u16, values: Vec<u16>, single: bool },
    /// Function 43/14: who are you? The code is 1 to 4.
    Identify { code: u8, object: u8 },
    /// The native function with what follows its code.
    Native(Vec<u8>),
}

/// Function code of device identification, and its MEI type (§6.21).
const IDENTIFY: (u8, u8) = (43, 14);
/// The native function code, of those left to users (§5).
pub(crate) const NATIVE: u8 = 65;

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn pack(bits: &[u16]) -> Vec<u8> {
    let byte = |eight: &[u16]| {
        eight.iter().enumerate().fold(0, |byte, (i, &bit)| byte | (u8::from(bit != 0) << i))
    };
    bits.chunks(8).map(byte).collect()
}

fn unpack(bytes: &[u8], count: u16) -> Vec<u16> {
    (0..usize::from(count)).map(|i| u16::from(bytes[i / 8] >> (i % 8) & 1)).collect()
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect()
}

impl Request {
    /// Function code.
    pub(crate) fn function(&self) -> u8 {
        match self {
            Self::Read { table, .. } => table.read_function(),
            Self::Write { table, single, .. } => match (table.bits(), single) {
                (true, true) => 5,
                (false, true) => 6,
                (true, false) => 15,
                (false, false) => 16,
            },
            Self::Identify { .. } => IDENTIFY.0,
            Self::Native(_) => NATIVE,
        }
    }

    /// The message.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.function()];
        match self {
            Self::Read { start, count, .. } => {
                out.extend(start.to_be_bytes());
                out.extend(count.to_be_bytes());
            }
            Self::Write { table, start, values, single } => {
                out.extend(start.to_be_bytes());
                if *single {
                    let value = values.first().copied().unwrap_or(0);
                    let value = match (table.bits(), value) {
                        (true, 0) => 0,
                        (true, _) => 0xFF00,
                        (false, value) => value,
                    };
                    out.extend(value.to_be_bytes());
                } else {
                    out.extend((values.len() as u16).to_be_bytes());
                    let data = if table.bits() {
                        pack(values)
                    } else {
                        values.iter().flat_map(|v| v.to_be_bytes()).collect()
                    };
                    out.push(data.len() as u8);
                    out.extend(data);
                }
            }
            Self::Identify { code, object } => out.extend([IDENTIFY.1, *code, *object]),
            Self::Native(body) => out.extend(body),
        }
        out
    }

    /// Reads a message, or says with which exception to answer it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Exception> {
        let malformed = Exception::ILLEGAL_DATA_VALUE;
        let code = *bytes.first().ok_or(Exception::ILLEGAL_FUNCTION)?;
        let arguments = || Some((word(bytes, 1)?, word(bytes, 3)?));
        if let Some(table) = Table::of_function(code) {
            let (start, count) = arguments().ok_or(malformed)?;
            if bytes.len() != 5 || count == 0 || count > table.read_limit() {
                return Err(malformed);
            }
            in_range(start, count)?;
            return Ok(Self::Read { table, start, count });
        }
        match code {
            5 | 6 => {
                let (start, value) = arguments().ok_or(malformed)?;
                let value = match (code, value) {
                    (5, 0) => 0,
                    (5, 0xFF00) => 1,
                    (5, _) => return Err(malformed),
                    (_, value) => value,
                };
                if bytes.len() != 5 {
                    return Err(malformed);
                }
                let table = if code == 5 { Table::Coil } else { Table::Holding };
                Ok(Self::Write { table, start, values: vec![value], single: true })
            }
            15 | 16 => {
                let (start, count) = arguments().ok_or(malformed)?;
                let (table, limit, length) = if code == 15 {
                    (Table::Coil, WRITE_BITS, usize::from(count).div_ceil(8))
                } else {
                    (Table::Holding, WRITE_REGISTERS, usize::from(count) * 2)
                };
                let fits = bytes.get(5).is_some_and(|&n| usize::from(n) == length)
                    && bytes.len() == 6 + length;
                if count == 0 || count > limit || !fits {
                    return Err(malformed);
                }
                in_range(start, count)?;
                let data = &bytes[6..];
                let values = if code == 15 { unpack(data, count) } else { words(data) };
                Ok(Self::Write { table, start, values, single: false })
            }
            43 => match bytes {
                [_, 14, code @ 1..=4, object] => {
                    Ok(Self::Identify { code: *code, object: *object })
                }
                [_, 14, ..] => Err(malformed),
                _ => Err(Exception::ILLEGAL_FUNCTION),
            },
            NATIVE => Ok(Self::Native(bytes[1..].to_vec())),
            _ => Err(Exception::ILLEGAL_FUNCTION),
        }
    }
}

fn in_range(start: u16, count: u16) -> Result<(), Exception> {
    let end = u32::from(start) + u32::from(count);
    if end > 0x1_0000 { Err(Exception::ILLEGAL_DATA_ADDRESS) } else { Ok(()) }
}

/// The answer to a read: `values` of the table, bits as 0 or 1.
pub(crate) fn read_answer(table: Table, values: &[u16]) -> Vec<u8> {
    let data: Vec<u8> = if table.bits() {
        pack(values)
    } else {
        values.iter().flat_map(|v| v.to_be_bytes()).collect()
    };
    let mut out = vec![table.read_function(), data.len() as u8];
    out.extend(data);
    out
}

/// The answer to a write that was taken.
pub(crate) fn write_answer(request: &Request) -> Vec<u8> {
    // All four begin like the request: function, address, and the value or the count.
    let mut out = request.bytes();
    out.truncate(5);
    out
}

/// The answer of a device that refuses.
pub(crate) fn refusal(function: u8, exception: Exception) -> Vec<u8> {
    vec![function | 0x80, exception.0]
}

/// The basic objects of a device (§6.21), as one answer.
pub(crate) fn identity_answer(code: u8, objects: &[(u8, &str)]) -> Vec<u8> {
    // Conformity: basic identification, as a stream and object by object.
    let mut out = vec![IDENTIFY.0, IDENTIFY.1, code, 0x81, 0, 0, objects.len() as u8];
    for (id, text) in objects {
        out.extend([*id, text.len() as u8]);
        out.extend(text.as_bytes());
    }
    out
}

/// What an answer to a read holds; `None` if it does not fit the request.
pub(crate) fn read_values(table: Table, count: u16, answer: &[u8]) -> Option<Vec<u16>> {
    let length = if table.bits() { usize::from(count).div_ceil(8) } else { usize::from(count) * 2 };
    match answer {
        [function, size, data @ ..]
            if *function == table.read_function()
                && usize::from(*size) == length
                && data.len() == length =>
        {
            Some(if table.bits() { unpack(data, count) } else { words(data) })
        }
        _ => None,
    }
}

/// The objects of an identification; `None` if the answer is none.
pub(crate) fn identity(answer: &[u8]) -> Option<Vec<(u8, String)>> {
    let [43, 14, _code, _conformity, _more, _next, count, rest @ ..] = answer else { return None };
    let mut rest = rest;
    let mut objects = Vec::new();
    for _ in 0..*count {
        let [id, length, tail @ ..] = rest else { return None };
        let (text, tail) = tail.split_at_checked(usize::from(*length))?;
        objects.push((*id, String::from_utf8_lossy(text).into_owned()));
        rest = tail;
    }
    Some(objects)
}

/// See [`crate::handle_any_bytes`].
pub(crate) fn handle_any_bytes(bytes: &[u8]) {
    let _ = identity(bytes);
    for table in [Table::Holding, Table::Coil] {
        for count in [1, 5, table.read_limit()] {
            let _ = read_values(table, count, bytes);
        }
    }
    if let Ok(request) = Request::parse(bytes) {
        // What can be read can be said again, and reads the same.
        assert_eq!(Request::parse(&request.bytes()), Ok(request));
    }
}
