//! What waits on its way to the twin, in two rows: values with all that tells of the link, and
//! commands with their results. Neither holds the other up.
//!
//! What a full lane does to the values depends on their promise. Of latest values at most two
//! merged frames wait: one on each side of the newest word of the link. Durable ones wait one by
//! one, and the line takes nothing more from its connection meanwhile. Words of the link, of
//! the session and of confining that a newer one makes idle are taken back; orders are not taken while too many letters of the second
//! row wait. So what waits is bounded, however long the twin is away. Absent: the mailbox itself.

use std::collections::VecDeque;

use plantwin_model::Delivery;
use plantwin_seal::Lane;
use plantwin_twin::{FrameMail, Mail, Mailbox, PostError, SessionMail, TwinMail};

use super::{Carrier, merge::merge};

/// Letters of commands that may wait before no more orders are taken.
const COMMANDS: usize = 64;

/// One row of letters.
#[derive(Default)]
struct Row {
    letters: VecDeque<TwinMail>,
    /// Sealed already when another sender took its place.
    sealed: Option<Mail<TwinMail>>,
}

impl Row {
    fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.sealed.is_none()
    }

    /// Posts what fits.
    fn flush(&mut self, lane: Lane, carrier: &mut Carrier) {
        loop {
            if let Some(mail) = self.sealed.take() {
                match carrier.mailbox.post(mail) {
                    Ok(()) => {}
                    Err(PostError::Full(back)) => {
                        self.sealed = Some(back);
                        return;
                    }
                    // The plant is stopping: nobody will read any of it.
                    Err(PostError::Gone) => self.letters.clear(),
                }
            }
            if !carrier.mailbox.has_room(lane) {
                return;
            }
            let Some(letter) = self.letters.pop_front() else { return };
            self.sealed = carrier.seal(&letter, lane);
        }
    }
}

/// Both rows.
pub(super) struct Outbox {
    delivery: Delivery,
    values: Row,
    commands: Row,
}

impl Outbox {
    pub(super) fn new(delivery: Delivery) -> Self {
        Self { delivery, values: Row::default(), commands: Row::default() }
    }

    const fn values_lane(&self) -> Lane {
        match self.delivery {
            Delivery::Latest => Lane::Latest,
            Delivery::Durable => Lane::Durable,
        }
    }

    /// Puts a letter into its row. Returns how many values were replaced by newer ones.
    pub(super) fn push(&mut self, letter: TwinMail) -> u64 {
        if letter.lane(self.delivery) == Lane::Command {
            if matches!(letter, TwinMail::MadeSafe(_)) {
                // One comes with each connection of a confined device: the newest counts.
                self.commands.letters.retain(|l| !matches!(l, TwinMail::MadeSafe(_)));
            }
            self.commands.letters.push_back(letter);
            return 0;
        }
        let letters = &mut self.values.letters;
        let mut replaced = 0;
        match letter {
            TwinMail::Frame(frame) if self.delivery == Delivery::Latest => {
                return join(letters, frame);
            }
            TwinMail::Alive
                if letters.iter().rev().take_while(|l| !is_of_link(l)).any(is_alive) =>
            {
                return 0;
            }
            TwinMail::Session(ref news) => forget_session(letters, news),
            TwinMail::LinkUp(_) | TwinMail::LinkDown(_) => {
                // What was said of the link before, and on it, is idle now.
                letters.retain(|l| {
                    !(is_of_link(l) || is_alive(l) || matches!(l, TwinMail::Session(_)))
                });
                if self.delivery == Delivery::Latest {
                    for letter in std::mem::take(letters) {
                        match letter {
                            TwinMail::Frame(frame) => replaced += join(letters, frame),
                            letter => letters.push_back(letter),
                        }
                    }
                }
            }
            _ => {}
        }
        self.values.letters.push_back(letter);
        replaced
    }

    /// Posts what the mailbox has room for.
    pub(super) fn flush(&mut self, carrier: &mut Carrier) {
        let lane = self.values_lane();
        self.commands.flush(Lane::Command, carrier);
        self.values.flush(lane, carrier);
    }

    /// Whether values wait.
    pub(super) fn holds_values(&self) -> bool {
        !self.values.is_empty()
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.commands.is_empty()
    }

    /// What waits: words of the link and values, and commands with their results.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> (&VecDeque<TwinMail>, &VecDeque<TwinMail>) {
        (&self.values.letters, &self.commands.letters)
    }

    /// Whether more orders may be taken.
    pub(super) fn takes_orders(&self) -> bool {
        self.commands.letters.len() < COMMANDS
    }

    /// Waits until something of what waits can be posted. Cancel safe.
    pub(super) async fn room(&self, mailbox: &Mailbox) {
        let wait = async |row: &Row, lane| {
            if row.is_empty() {
                std::future::pending::<()>().await;
            }
            mailbox.room(lane).await;
        };
        tokio::select! {
            biased;
            () = wait(&self.commands, Lane::Command) => {}
            () = wait(&self.values, self.values_lane()) => {}
        }
    }

    /// The connection is gone: what its adapter keeps until it is confirmed comes again on the
    /// next one.
    pub(super) fn forget_receipted(&mut self) {
        let receipted = |l: &TwinMail| matches!(l, TwinMail::Frame(f) if f.receipt.is_some());
        self.values.letters.retain(|l| !receipted(l));
    }
}

/// Adds a frame to the one that waits behind the last word of the link, if there is one.
fn join(letters: &mut VecDeque<TwinMail>, frame: FrameMail) -> u64 {
    for letter in letters.iter_mut().rev() {
        match letter {
            TwinMail::Frame(waiting) => return merge(waiting, frame),
            letter if is_of_link(letter) => break,
            _ => {}
        }
    }
    letters.push_back(TwinMail::Frame(frame));
    0
}

/// Takes back words of the session that a newer one makes idle. Those before values stand: these
/// are judged by them.
fn forget_session(letters: &mut VecDeque<TwinMail>, news: &SessionMail) {
    let delay = |news: &SessionMail| matches!(news, SessionMail::Refused { again: true, .. });
    // A session that is open stays so when beginning anew is only delayed.
    let idle = |old: &SessionMail| delay(old) || !delay(news);
    let from = letters.iter().rposition(|l| !matches!(l, TwinMail::Session(_) | TwinMail::Alive));
    let from = from.map_or(0, |last| last + 1);
    let words = letters.split_off(from).into_iter();
    letters.extend(words.filter(|l| !matches!(l, TwinMail::Session(old) if idle(old))));
}

const fn is_of_link(letter: &TwinMail) -> bool {
    matches!(letter, TwinMail::LinkUp(_) | TwinMail::LinkDown(_))
}

const fn is_alive(letter: &TwinMail) -> bool {
    matches!(letter, TwinMail::Alive)
}
