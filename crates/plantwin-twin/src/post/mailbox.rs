//! The two ends of a mailbox.
//!
//! One lock, held for the move of a letter and no longer; the reader is woken outside of it.
//! Absent: the rule of turns (see [`super::lanes`]).

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::{Stream, task::AtomicWaker};
use plantwin_model::MailboxView;
use plantwin_seal::Lane;
use tokio::sync::Notify;

use super::{LaneLimits, Mail, PostError, lanes::Lanes};
use crate::TwinMail;

/// What both ends share.
pub(super) struct Shared<M> {
    lanes: Mutex<Lanes<M>>,
    reader: AtomicWaker,
    /// Told when a full lane has room again, and when the mailbox closes.
    room: Notify,
    /// Ends that can post.
    mailboxes: AtomicUsize,
    closed: AtomicBool,
}

impl<M> Shared<M> {
    fn lanes(&self) -> MutexGuard<'_, Lanes<M>> {
        // Nothing that runs under the lock can panic half-way through a change.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next letter, if one waits.
    fn take(&self) -> Option<Mail<M>> {
        let mut lanes = self.lanes();
        let waiting = Lane::ALL.map(|lane| lanes.has_room(lane));
        let mail = lanes.pop()?;
        let lane = mail.0.header().lane;
        drop(lanes);
        if !waiting[lane as usize] {
            self.room.notify_waiters();
        }
        Some(mail)
    }
}

/// A mailbox as correspondents hold it.
pub struct Mailbox<M = TwinMail> {
    shared: Arc<Shared<M>>,
}

/// The receiving end of a mailbox. When it is dropped the mailbox closes and what waits there
/// goes with it.
pub struct Inbox<M = TwinMail> {
    shared: Arc<Shared<M>>,
}

/// The letters of an [`Inbox`] as an actor's stream: see [`Inbox::letters`].
pub struct Letters<M = TwinMail> {
    shared: Arc<Shared<M>>,
}

/// Makes a mailbox.
pub fn mailbox<M>(limits: LaneLimits) -> (Mailbox<M>, Inbox<M>) {
    let shared = Arc::new(Shared {
        lanes: Mutex::new(Lanes::new(limits)),
        reader: AtomicWaker::new(),
        room: Notify::new(),
        mailboxes: AtomicUsize::new(1),
        closed: AtomicBool::new(false),
    });
    (Mailbox { shared: Arc::clone(&shared) }, Inbox { shared })
}

impl<M> Mailbox<M> {
    /// Posts a letter into the lane that its header names.
    ///
    /// # Errors
    /// [`PostError::Full`] with the letter, [`PostError::Gone`].
    pub fn post(&self, mail: Mail<M>) -> Result<(), PostError<M>> {
        let mut lanes = self.shared.lanes();
        // Looked at under the lock: nothing is posted behind the back of the one who closes.
        if self.shared.closed.load(SeqCst) {
            return Err(PostError::Gone);
        }
        lanes.push(mail).map_err(PostError::Full)?;
        drop(lanes);
        self.shared.reader.wake();
        Ok(())
    }

    /// Whether `lane` takes a letter now.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.shared.lanes().has_room(lane)
    }

    /// Whether whoever read it is gone for good.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(SeqCst)
    }

    /// Waits until `lane` has room, or the mailbox is closed. Another sender may be quicker, so a
    /// post may still be refused: then wait again.
    pub async fn room(&self, lane: Lane) {
        loop {
            let told = self.shared.room.notified();
            tokio::pin!(told);
            // From here on it hears of room, so that none is missed between look and wait.
            told.as_mut().enable();
            if self.is_closed() || self.has_room(lane) {
                return;
            }
            told.await;
        }
    }

    /// Counts values that newer ones replaced before they were posted.
    pub fn note_coalesced(&self, lane: Lane, count: u64) {
        self.shared.lanes().note_coalesced(lane, count);
    }

    /// Counts letters that their sender gave up because of overload.
    pub fn note_shed(&self, lane: Lane, count: u64) {
        self.shared.lanes().note_shed(lane, count);
    }

    /// Its counts.
    pub fn view(&self) -> MailboxView {
        self.shared.lanes().view()
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        self.shared.mailboxes.fetch_add(1, SeqCst);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        if self.shared.mailboxes.fetch_sub(1, SeqCst) == 1 {
            self.shared.reader.wake();
        }
    }
}

impl<M> Inbox<M> {
    /// The letters as they come. An actor loses its streams when it is restarted and asks for
    /// new ones each time it starts: what waits is not touched. It ends when nobody can post any
    /// more. One stream reads at a time: of several only the youngest is woken.
    pub fn letters(&self) -> Letters<M> {
        Letters { shared: Arc::clone(&self.shared) }
    }

    /// Its counts.
    pub fn view(&self) -> MailboxView {
        self.shared.lanes().view()
    }

    /// Counts letters that were given up because of overload.
    pub fn note_shed(&self, lane: Lane, count: u64) {
        self.shared.lanes().note_shed(lane, count);
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        let mut lanes = self.shared.lanes();
        self.shared.closed.store(true, SeqCst);
        let left = lanes.clear();
        drop(lanes);
        // Outside of the lock, for freeing takes its time.
        drop(left);
        self.shared.room.notify_waiters();
        self.shared.reader.wake();
    }
}

impl<M> Stream for Letters<M> {
    type Item = Mail<M>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Mail<M>>> {
        if let Some(mail) = self.shared.take() {
            return Poll::Ready(Some(mail));
        }
        self.shared.reader.register(cx.waker());
        // Once more: a letter may have come before the waker was in place.
        if let Some(mail) = self.shared.take() {
            return Poll::Ready(Some(mail));
        }
        let ended = self.shared.mailboxes.load(SeqCst) == 0 || self.shared.closed.load(SeqCst);
        // The last mailbox may have posted and gone since that look.
        if ended && self.shared.lanes().is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailbox").field(&self.view()).finish()
    }
}

impl<M> fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inbox").field(&self.view()).finish()
    }
}

impl<M> fmt::Debug for Letters<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").finish_non_exhaustive()
    }
}
