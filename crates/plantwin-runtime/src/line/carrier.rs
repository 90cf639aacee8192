//! Sealing and posting, with patience: a full mailbox holds the line up, and so its socket.

use std::{sync::Arc, time::Duration};

use plantwin_model::Clock;
use plantwin_seal::{Lane, Sealer};
use plantwin_twin::{Mail, Mailbox, PostError, TwinMail};

/// Wait before a full mailbox is tried again.
const AGAIN: Duration = Duration::from_millis(1);

/// The line's end of the sealed way to its twin.
pub(crate) struct Carrier {
    pub(crate) mailbox: Mailbox,
    pub(crate) sealer: Sealer,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Carrier {
    /// Seals a letter and posts it, waiting while the mailbox is full.
    pub(crate) async fn carry(&mut self, letter: TwinMail) {
        let lane = lane_of(&letter);
        let sealed = match self.sealer.seal(&letter, lane, None, self.clock.now()) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!("failed to {error}");
                return;
            }
        };
        let mut mail = Mail(sealed);
        loop {
            match self.mailbox.post(mail, lane != Lane::Latest) {
                Ok(()) | Err(PostError::Gone) => return,
                Err(PostError::Full(back)) => {
                    mail = back;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

fn lane_of(letter: &TwinMail) -> Lane {
    match letter {
        TwinMail::Command(_) | TwinMail::Written(_) | TwinMail::Acknowledge(_) => Lane::Command,
        TwinMail::LinkUp(_)
        | TwinMail::LinkDown(_)
        | TwinMail::Session(_)
        | TwinMail::Drain { .. } => Lane::Alarm,
        TwinMail::Frame(_) | TwinMail::Alive | TwinMail::Flow(_) => Lane::Latest,
    }
}
