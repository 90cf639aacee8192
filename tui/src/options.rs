//! How the console is started and how it ended. Absent: parsing of arguments and environment.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use plantwin_model::{Clock, Role};

use crate::{Theme, keys::Access};

/// How the console is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Makes everything that acts on the plant absent, from the keys as well as from the help.
    pub readonly: bool,
    /// Colours; the caller picks [`Theme::Mono`] when `NO_COLOR` is set.
    pub theme: Theme,
    /// Draws with ASCII only: no box drawing, no braille.
    pub ascii: bool,
    /// Role of the person at the console; what it may not do is absent.
    pub role: Role,
    /// Wall clock, for the header and for the age of the last word from the runtime.
    pub clock: Arc<dyn Clock>,
    /// Set by the caller (on SIGTERM or SIGHUP) to end the console within about 100 ms.
    pub stop: Arc<AtomicBool>,
    /// Without a new snapshot for longer than this a live link counts as lost.
    pub silence: Duration,
}

impl Options {
    /// An operator's console with the default theme; lost after 5 s without a snapshot.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            readonly: false,
            theme: Theme::Default,
            ascii: false,
            role: Role::Operator,
            clock,
            stop: Arc::default(),
            silence: Duration::from_secs(5),
        }
    }

    /// What the keys may do.
    pub(crate) fn access(&self) -> Access {
        if self.readonly || self.role < Role::Operator { Access::Look } else { Access::Operate }
    }
}

/// Why [`crate::run`] returned without an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The operator closed the console; the plant runs on.
    Quit,
    /// [`Options::stop`] was set.
    Stopped,
}
