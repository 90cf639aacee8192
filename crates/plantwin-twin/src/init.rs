//! What a twin is built from, and how it opens its mail.
//!
//! Absent: making any of it (the runtime's colony).

use std::{cell::RefCell, sync::Arc};

use plantwin_model::{AlarmView, Clock, DeviceIx, PointIx, Timestamp};
use plantwin_seal::{Opener, SealError, Sealed, Sealer, Secret};

use crate::{
    FlowOutlet, Inbox, Mailbox, Recorded, SetAside, Taken, TwinEvent, TwinMail, TwinPlan, Vital,
};

thread_local! {
    /// Where letters are opened: one buffer for all twins of a thread. A panic while a letter is
    /// open costs the buffer, nothing else.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The way from the twin to its device, held by the twin's line.
pub trait LinePort: Send {
    /// Writes points; `false` if the line is too busy or gone.
    fn write(&self, key: u64, writes: Vec<(PointIx, f64)>) -> bool;
    /// Confines the device, after these writes, or (`None`) lets it go. Never refused: the line
    /// looks before it does anything else.
    fn confine(&self, safe: Option<Vec<(PointIx, f64)>>);
    /// The values with these receipts were not kept: nobody will confirm them. Never refused.
    fn let_go(&self, receipts: &[u64]);
    /// Tells the device up to where its frames were received; it hears of it with its next session
    /// if the line is too busy.
    fn tell_taken(&self, taken: Option<Taken>);
}

/// Rehearses crashes, for simulations and storms of panics.
pub trait Drill: Send + Sync {
    /// Called before each letter is handled; may panic.
    fn before(&self, device: DeviceIx, letter: &TwinMail);
}

/// Keys of the twin's correspondence.
pub struct Sealing {
    /// Opens what the line and the neighbours post, by session id of the header.
    pub openers: Vec<Opener>,
    /// Seals for the station.
    pub station: Sealer,
}

impl Sealing {
    /// Opens a letter, `again` if its handling was interrupted.
    pub(crate) fn open(
        &mut self,
        sealed: &Sealed<TwinMail>,
        again: bool,
        now: Timestamp,
    ) -> Result<TwinMail, SealError> {
        let opener = self.of(sealed).ok_or(SealError::Session)?;
        let mut scratch = SCRATCH.take();
        let mut opened = Err(SealError::NotInFlight(sealed.header().sequence));
        if again {
            opened = opener.reopen(sealed, &mut scratch, now);
        }
        // New, or interrupted before it was opened.
        if matches!(opened, Err(SealError::NotInFlight(_))) {
            opened = opener.open_ref(sealed, &mut scratch, now);
        }
        SCRATCH.set(scratch);
        opened
    }

    /// The bytes of a letter whose handling was interrupted.
    pub(crate) fn bytes(&self, sealed: &Sealed<TwinMail>) -> Result<Vec<u8>, SealError> {
        let session = sealed.header().session;
        let opener = self.openers.iter().find(|o| o.session() == session);
        opener.ok_or(SealError::Session)?.reopen_bytes(sealed)
    }

    pub(crate) fn acknowledge(&mut self, sealed: &Sealed<TwinMail>) {
        if let Some(opener) = self.of(sealed) {
            // One that never opened is not in flight.
            let _ = opener.acknowledge(sealed.header().sequence);
        }
    }

    fn of(&mut self, sealed: &Sealed<TwinMail>) -> Option<&mut Opener> {
        let session = sealed.header().session;
        self.openers.iter_mut().find(|o| o.session() == session)
    }
}

/// What a twin is built from.
pub struct TwinInit {
    /// What it knows from the plant file.
    pub plan: Arc<TwinPlan>,
    /// Keys.
    pub sealing: Sealing,
    /// Where its letters wait.
    pub inbox: Inbox<TwinMail>,
    /// The station's mailbox.
    pub station: Mailbox<TwinEvent>,
    /// Neighbours that this twin feeds, in the order of the plan's outflows.
    pub outlets: Vec<FlowOutlet>,
    /// The line, if the twin has one (a twin fed in process has none).
    pub line: Option<Box<dyn LinePort>>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// What survived from the last run.
    pub restored: Option<Vital>,
    /// Which frames of the device are on record: they may be newer than what survived of the twin.
    pub recorded: Option<Recorded>,
    /// Alarms that were told in the last run and are not known to be normal again.
    pub restored_alarms: Vec<AlarmView>,
    /// Seals letters that are set aside; the same in each run.
    pub aside_key: Secret,
    /// Letters set aside in earlier runs, oldest first.
    pub set_aside: Vec<SetAside>,
    /// Rehearses crashes.
    pub drill: Option<Arc<dyn Drill>>,
}
