//! Letters that crashed the twin twice: kept, sealed at rest, until somebody decides.
//!
//! Absent: deciding when one is put here (the actor), and the disk (the runtime).

use std::panic::{AssertUnwindSafe, catch_unwind};

use plantwin_model::{DeviceId, Timestamp};
use plantwin_seal::{SealError, Sealed, Secret, open_at_rest, seal_at_rest};

use crate::{Sealing, SetAside, TwinMail};

/// Letters set aside that are kept; beyond that the oldest makes room, with an alarm.
const KEPT: usize = 64;
/// Longest text of a letter, in characters.
const TEXT: usize = 200;

/// A letter being handled.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) letter: Letter,
    /// How often it was tried.
    pub(crate) attempts: u8,
    /// Whether a write of it may have reached the line.
    pub(crate) sent: bool,
    /// Whether the line took its write: it is not handed over again.
    pub(crate) written: bool,
}

impl Slot {
    pub(crate) const fn new(letter: Letter) -> Self {
        Self { letter, attempts: 0, sent: false, written: false }
    }
}

/// Where a letter came from.
#[derive(Debug)]
pub(crate) enum Letter {
    /// The mailbox.
    Sealed(Sealed<TwinMail>),
    /// It had been set aside; `key` asked for it again.
    Again { aside: SetAside, key: u64 },
}

/// What was put away, and what that means.
pub(crate) struct Put {
    pub(crate) aside: SetAside,
    /// The letter, if it can be read.
    pub(crate) letter: Option<TwinMail>,
    /// An older one that made room.
    pub(crate) dropped: Option<u64>,
    /// What the alarm says.
    pub(crate) text: String,
}

/// Letters set aside of one twin.
pub(crate) struct Asides {
    key: Secret,
    device: DeviceId,
    /// By id.
    kept: Vec<SetAside>,
    next: u64,
    dropped: u64,
}

impl Asides {
    pub(crate) fn new(key: Secret, device: DeviceId, mut kept: Vec<SetAside>) -> Self {
        kept.sort_by_key(|aside| aside.id);
        let next = kept.last().map_or(1, |last| last.id.saturating_add(1));
        Self { key, device, kept, next, dropped: 0 }
    }

    /// Puts the letter of a slot away.
    pub(crate) fn put(&mut self, slot: &Slot, sealing: &Sealing, now: Timestamp) -> Put {
        let (mut aside, plain) = match &slot.letter {
            Letter::Again { aside, .. } => (aside.clone(), self.plain(aside)),
            Letter::Sealed(sealed) => {
                let aside = SetAside {
                    id: self.next,
                    lane: sealed.header().lane,
                    since: now,
                    sealed: Vec::new(),
                    text: String::new(),
                    receipt: None,
                    sent: false,
                };
                (aside, sealing.bytes(sealed))
            }
        };
        let mut letter = None;
        match &plain {
            Ok(plain) => {
                // It has crashed the twin twice: reading it may be what does.
                let read = catch_unwind(AssertUnwindSafe(|| {
                    let letter: Option<TwinMail> = postcard::from_bytes(plain).ok();
                    letter.map(|letter| (shortened(&format!("{letter:?}")), letter))
                }));
                match read {
                    Ok(Some((text, read))) => {
                        aside.text = text;
                        letter = Some(read);
                    }
                    Ok(None) => "its bytes are no letter".clone_into(&mut aside.text),
                    Err(_) => "reading it crashes the twin".clone_into(&mut aside.text),
                }
                if aside.sealed.is_empty() {
                    match seal_at_rest(&self.key, &self.context(aside.id), plain) {
                        Ok(sealed) => aside.sealed = sealed,
                        Err(error) => aside.text = format!("failed to {error}; {}", aside.text),
                    }
                }
            }
            Err(error) => aside.text = format!("failed to {error}"),
        }
        if let Some(TwinMail::Frame(frame)) = &letter {
            aside.receipt = frame.receipt;
        }
        aside.sent |= slot.sent;
        let dropped = self.keep(aside.clone());
        let mut text = "a letter crashed the twin twice and was set aside".to_owned();
        if self.dropped > 0 {
            text = format!("{text}; {} older ones made room and are lost", self.dropped);
        }
        Put { aside, letter, dropped, text }
    }

    /// Takes a letter out to be handled again.
    pub(crate) fn take_for_retry(&mut self, id: u64) -> Result<SetAside, &'static str> {
        let place = self.kept.iter().position(|aside| aside.id == id).ok_or("no such letter")?;
        if self.kept[place].sent {
            return Err("its write may have been sent: it can only be dropped");
        }
        if self.open(&self.kept[place]).is_err() {
            return Err("it cannot be read: it can only be dropped");
        }
        Ok(self.kept.remove(place))
    }

    /// Forgets a letter; whether it was there.
    pub(crate) fn forget(&mut self, id: u64) -> bool {
        let before = self.kept.len();
        self.kept.retain(|aside| aside.id != id);
        self.kept.len() < before
    }

    /// The letter itself.
    pub(crate) fn open(&self, aside: &SetAside) -> Result<TwinMail, SealError> {
        postcard::from_bytes(&self.plain(aside)?).map_err(|_| SealError::Decode)
    }

    fn plain(&self, aside: &SetAside) -> Result<Vec<u8>, SealError> {
        open_at_rest(&self.key, &self.context(aside.id), &aside.sealed)
    }

    /// Sealed for this twin and this name: what is copied elsewhere does not open.
    fn context(&self, id: u64) -> Vec<u8> {
        [b"plantwin v1 set aside ", &id.to_le_bytes()[..], self.device.as_str().as_bytes()].concat()
    }

    fn keep(&mut self, aside: SetAside) -> Option<u64> {
        self.next = self.next.max(aside.id.saturating_add(1));
        let place = self.kept.partition_point(|kept| kept.id < aside.id);
        self.kept.insert(place, aside);
        if self.kept.len() <= KEPT {
            return None;
        }
        self.dropped += 1;
        Some(self.kept.remove(0).id)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
