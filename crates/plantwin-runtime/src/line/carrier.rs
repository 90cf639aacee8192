//! Sealing: the line's end of the sealed way to its twin.
//!
//! Absent: what waits while the mailbox has no room ([`super::outbox`]).

use std::sync::Arc;

use plantwin_model::Clock;
use plantwin_seal::{Lane, Sealer};
use plantwin_twin::{Mail, Mailbox, TwinMail};

/// The line's end of the sealed way to its twin.
pub(crate) struct Carrier {
    pub(super) mailbox: Mailbox,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
}

impl Carrier {
    /// Posts to `mailbox` what `sealer` sealed.
    pub(crate) fn new(mailbox: Mailbox, sealer: Sealer, clock: Arc<dyn Clock>) -> Self {
        Self { mailbox, sealer, clock }
    }

    /// Seals a letter; `None`, logged, if that cannot be.
    pub(super) fn seal(&mut self, letter: &TwinMail, lane: Lane) -> Option<Mail<TwinMail>> {
        match self.sealer.seal(letter, lane, None, self.clock.now()) {
            Ok(sealed) => Some(Mail(sealed)),
            Err(error) => {
                tracing::error!("failed to {error}");
                None
            }
        }
    }
}
