//! What plantwin's own devices say beyond Modbus, as bytes of a user-defined function.
//!
//! A device that identifies itself (function 43/14) as [`IDENTITY`] answers function 65 with one
//! of four operations, so that nothing is lost against the other protocols:
//!
//! | operation | request after the code | answer after code and operation |
//! |---|---|---|
//! | 1 locate | device name | unit id (1 byte) |
//! | 2 read | table, start, count | time (ns, 8 bytes), sequence (8), flaws (2 bits a register), registers |
//! | 3 put | exchange id, total, offset, bytes | nothing |
//! | 4 get | exchange id, offset | state, total, bytes from the offset |
//!
//! Numbers are big-endian words of 2 bytes where nothing else is said. A foreign device is never
//! sent function 65, because user-defined functions mean something else on each. Absent: who
//! asks and who answers (see `unit` and `session`).

use crate::pdu::{PDU, Table};

/// Vendor, product and revision (objects 0, 1 and 2) of a device that speaks this.
pub(crate) const IDENTITY: [(u8, &str); 3] = [(0, "plantwin"), (1, "device"), (2, "1")];
/// The unit that speaks for the server itself ("non-significant" in the MODBUS Messaging
/// Implementation Guide V1.0b §4.4.2.2).
pub(crate) const SERVER: u8 = 255;
/// Most registers in one native read: 100 with flaws and stamp fit into 253 bytes.
pub(crate) const READ: u16 = 100;
/// Most bytes of an exchange in one message.
pub(crate) const CHUNK: usize = PDU - 8;
/// Longest session message, bytes.
pub(crate) const SESSION_LIMIT: usize = 4 * 1024;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Locate(String),
    Read { table: Table, start: u16, count: u16 },
    Put { id: u16, total: u16, offset: u16, bytes: Vec<u8> },
    Get { id: u16, offset: u16 },
}

/// How an exchange stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// The device thinks.
    Pending,
    /// A part of the answer, which is `total` bytes long.
    Answer { total: u16, bytes: Vec<u8> },
    /// The device refuses, with its reason.
    Refused(String),
}

/// Registers with what the device says of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stamped {
    /// When they were measured, ns since 1970.
    pub(crate) time: i64,
    /// The measurement's number.
    pub(crate) sequence: u64,
    /// One per register.
    pub(crate) flaws: Vec<Flag>,
    /// Bits are 0 or 1.
    pub(crate) registers: Vec<u16>,
}

/// What a device says of a register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Flag {
    Good,
    Uncertain,
    Bad,
    /// Never measured, or no point.
    #[default]
    NoValue,
}

impl Flag {
    fn from_bits(bits: u8) -> Self {
        [Self::Good, Self::Uncertain, Self::Bad, Self::NoValue][usize::from(bits & 3)]
    }
}

const TABLES: [Table; 4] = [Table::Holding, Table::Input, Table::Coil, Table::Discrete];

/// Takes numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn word(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }
}

impl Ask {
    /// The bytes after the function code.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Locate(name) => [&[1], name.as_bytes()].concat(),
            Self::Read { table, start, count } => {
                let table = TABLES.iter().position(|t| t == table).unwrap_or(0) as u8;
                let mut out = vec![2, table];
                out.extend(start.to_be_bytes());
                out.extend(count.to_be_bytes());
                out
            }
            Self::Put { id, total, offset, bytes } => {
                let mut out = vec![3];
                for word in [id, total, offset] {
                    out.extend(word.to_be_bytes());
                }
                out.extend(bytes);
                out
            }
            Self::Get { id, offset } => {
                let mut out = vec![4];
                out.extend(id.to_be_bytes());
                out.extend(offset.to_be_bytes());
                out
            }
        }
    }

    /// Reads what [`bytes`](Self::bytes) wrote.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (operation, rest) = bytes.split_first()?;
        let mut rest = Reader(rest);
        let ask = match operation {
            1 => return Some(Self::Locate(String::from_utf8(rest.0.to_vec()).ok()?)),
            2 => {
                let table = *TABLES.get(usize::from(rest.take::<1>()?[0]))?;
                let (start, count) = (rest.word()?, rest.word()?);
                (1..=READ).contains(&count).then_some(Self::Read { table, start, count })?
            }
            3 => {
                let (id, total, offset) = (rest.word()?, rest.word()?, rest.word()?);
                return Some(Self::Put { id, total, offset, bytes: rest.0.to_vec() });
            }
            4 => Self::Get { id: rest.word()?, offset: rest.word()? },
            _ => return None,
        };
        rest.0.is_empty().then_some(ask)
    }

    /// The beginning of every answer to it.
    fn head(&self) -> [u8; 2] {
        let operation = match self {
            Self::Locate(_) => 1,
            Self::Read { .. } => 2,
            Self::Put { .. } => 3,
            Self::Get { .. } => 4,
        };
        [crate::pdu::NATIVE, operation]
    }

    /// What follows the head in an answer; `None` if it answers something else.
    fn body<'a>(&self, answer: &'a [u8]) -> Option<&'a [u8]> {
        answer.strip_prefix(&self.head())
    }

    /// Answers [`Ask::Locate`].
    pub(crate) fn located(&self, unit: u8) -> Vec<u8> {
        [&self.head()[..], &[unit]].concat()
    }

    /// Answers [`Ask::Put`].
    pub(crate) fn taken(&self) -> Vec<u8> {
        self.head().to_vec()
    }

    /// Answers [`Ask::Read`].
    pub(crate) fn stamped(&self, stamped: &Stamped) -> Vec<u8> {
        let mut out = self.head().to_vec();
        out.extend(stamped.time.to_be_bytes());
        out.extend(stamped.sequence.to_be_bytes());
        let byte = |four: &[Flag]| {
            four.iter().enumerate().fold(0, |byte, (i, &flag)| byte | ((flag as u8) << (2 * i)))
        };
        out.extend(stamped.flaws.chunks(4).map(byte));
        out.extend(stamped.registers.iter().flat_map(|r| r.to_be_bytes()));
        out
    }

    /// Answers [`Ask::Get`].
    pub(crate) fn progress(&self, progress: &Progress) -> Vec<u8> {
        let mut out = self.head().to_vec();
        let (state, total, bytes) = match progress {
            Progress::Pending => (0, 0, &[][..]),
            Progress::Answer { total, bytes } => (1, *total, &bytes[..]),
            Progress::Refused(reason) => (2, 0, reason.as_bytes()),
        };
        out.push(state);
        out.extend(total.to_be_bytes());
        out.extend(&bytes[..bytes.len().min(CHUNK)]);
        out
    }

    /// Reads the answer to [`Ask::Locate`].
    pub(crate) fn read_located(&self, answer: &[u8]) -> Option<u8> {
        match self.body(answer)? {
            [unit] => Some(*unit),
            _ => None,
        }
    }

    /// Reads the answer to [`Ask::Read`].
    pub(crate) fn read_stamped(&self, answer: &[u8]) -> Option<Stamped> {
        let Self::Read { count, .. } = self else { return None };
        let count = usize::from(*count);
        let mut body = Reader(self.body(answer)?);
        let time = i64::from_be_bytes(body.take()?);
        let sequence = u64::from_be_bytes(body.take()?);
        let (flaws, registers) = body.0.split_at_checked(count.div_ceil(4))?;
        if registers.len() != count * 2 {
            return None;
        }
        let flag = |i: usize| Flag::from_bits(flaws[i / 4] >> (2 * (i % 4)));
        let registers =
            registers.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
        Some(Stamped { time, sequence, flaws: (0..count).map(flag).collect(), registers })
    }

    /// Whether this answers [`Ask::Put`].
    pub(crate) fn read_taken(&self, answer: &[u8]) -> Option<()> {
        self.body(answer)?.is_empty().then_some(())
    }

    /// Reads the answer to [`Ask::Get`].
    pub(crate) fn read_progress(&self, answer: &[u8]) -> Option<Progress> {
        let mut body = Reader(self.body(answer)?);
        let [state] = body.take()?;
        let total = body.word()?;
        match state {
            0 => Some(Progress::Pending),
            1 => Some(Progress::Answer { total, bytes: body.0.to_vec() }),
            2 => Some(Progress::Refused(String::from_utf8_lossy(body.0).into_owned())),
            _ => None,
        }
    }
}

/// See [`crate::handle_any_bytes`].
pub(crate) fn handle_any_bytes(bytes: &[u8]) {
    let asks = [
        Ask::Locate(String::new()),
        Ask::Read { table: Table::Holding, start: 0, count: 5 },
        Ask::Put { id: 0, total: 0, offset: 0, bytes: Vec::new() },
        Ask::Get { id: 0, offset: 0 },
    ];
    for ask in asks {
        let _ = ask.read_located(bytes);
        let _ = ask.read_stamped(bytes);
        let _ = ask.read_taken(bytes);
        let _ = ask.read_progress(bytes);
    }
    if let Some(ask) = Ask::parse(bytes) {
        assert_eq!(Ask::parse(&ask.bytes()), Some(ask));
    }
}
