//! Exit codes (after BSD `sysexits.h`), part of the interface.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

/// Writes a line of results to standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::exit::say(format_args!($($text)*)) };
}

/// See the macro. A reader that has had enough (`| head`) is no error: there is nobody left to
/// say anything to.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let written = writeln!(io::stdout().lock(), "{text}");
    if written.is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        std::process::exit(Code::Ok as i32);
    }
}

/// How a run of plantwin ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Code {
    /// All is well.
    Ok = 0,
    /// `audit verify`: records are missing in the middle of the trail. `authority origin`: values
    /// that nothing vouches for.
    Gap = 2,
    /// `audit verify`: something in the trail is not what was written. `authority origin`: a value
    /// is not what its device said.
    Altered = 3,
    /// `audit verify`: the trail ends before a checkpoint, or what it noted as safe, says it did.
    Truncated = 4,
    /// The command line was wrong.
    Usage = 64,
    /// Something needed cannot be reached: the runtime, an address, a folder.
    Unavailable = 69,
    /// Busy now; the same may work later.
    Retry = 75,
    /// Refused for lack of rights.
    Auth = 77,
    /// The plant file has errors.
    Config = 78,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// An error with the code to exit with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) error: anyhow::Error,
}

/// Attaches a code to an error.
pub(crate) trait OrExit<T> {
    fn or_exit(self, code: Code) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure { code, error: error.into() })
    }
}

impl Code {
    /// A failure with this code.
    pub(crate) fn failure(self, text: impl std::fmt::Display) -> Failure {
        Failure { code: self, error: anyhow::anyhow!("{text}") }
    }
}
