//! Sealing: the line's end of the sealed way to its twin.
//!
//! Two sessions, so that a twin which is away for long finds values that waited all the while
//! still within reach of their session's keys, whatever urgent letters overtook them.
//!
//! Absent: what waits while the mailbox has no room ([`super::outbox`]).

use std::sync::Arc;

use plantwin_model::Clock;
use plantwin_seal::{Lane, Sealer};
use plantwin_twin::{Mail, Mailbox, TwinMail};

/// The line's end of the sealed way to its twin.
pub(crate) struct Carrier {
    pub(super) mailbox: Mailbox,
    /// For lanes A and C, and for values.
    sealers: [Sealer; 2],
    clock: Arc<dyn Clock>,
}

impl Carrier {
    /// Posts to `mailbox` what the sealers sealed: urgent letters, and values.
    pub(crate) fn new(mailbox: Mailbox, sealers: [Sealer; 2], clock: Arc<dyn Clock>) -> Self {
        Self { mailbox, sealers, clock }
    }

    /// Seals a letter; `None`, logged, if that cannot be.
    pub(super) fn seal(&mut self, letter: &TwinMail, lane: Lane) -> Option<Mail<TwinMail>> {
        let [urgent, values] = &mut self.sealers;
        let sealer = match lane {
            Lane::Alarm | Lane::Command => urgent,
            Lane::Durable | Lane::Latest => values,
        };
        match sealer.seal(letter, lane, None, self.clock.now()) {
            Ok(sealed) => Some(Mail(sealed)),
            Err(error) => {
                tracing::error!("failed to {error}");
                None
            }
        }
    }
}
