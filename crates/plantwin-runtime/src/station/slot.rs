//! The letter that the station is at work on: a crash of the station does not lose it.
//!
//! Its envelope stays in the slot until it was handled. After a restart it is handled once more,
//! first; one that crashes the station [`ATTEMPTS`] times is dropped, with an alarm, and whoever
//! waits for its receipt waits no longer: it would come again and crash the station again. Absent:
//! setting it aside, as twins do: what the station cannot work on no twin can take back.

use plantwin_model::{DeviceIx, Timestamp};
use plantwin_seal::{Opener, SealError, Sealed};
use plantwin_twin::{Mail, TwinEvent};

use super::actor::Station;
use crate::colony::twin_of;

/// A letter is tried this often before it is dropped.
const ATTEMPTS: u8 = 2;

/// The letter, and how often it was tried.
pub(super) struct Slot {
    sealed: Sealed<TwinEvent>,
    attempts: u8,
}

impl Slot {
    const fn new(sealed: Sealed<TwinEvent>) -> Self {
        Self { sealed, attempts: 0 }
    }

    fn sender(&self) -> Option<DeviceIx> {
        twin_of(self.sealed.header().sender)
    }

    fn open(
        &self,
        opener: &mut Opener,
        scratch: &mut Vec<u8>,
        now: Timestamp,
    ) -> Result<TwinEvent, SealError> {
        match opener.reopen(&self.sealed, scratch, now) {
            // New, or interrupted before it was opened.
            Err(SealError::NotInFlight(_)) => opener.open_ref(&self.sealed, scratch, now),
            opened => opened,
        }
    }
}

impl Station {
    /// Handles a letter.
    pub(super) fn take_in(&mut self, mail: Mail<TwinEvent>) {
        self.slot = Some(Slot::new(mail.0));
        self.handle_slot();
    }

    /// Handles the letter in the slot. A panic leaves it there.
    fn handle_slot(&mut self) {
        let Some(slot) = &mut self.slot else { return };
        slot.attempts += 1;
        let now = self.init.clock.now();
        let sender = slot.sender();
        let found = sender.and_then(|ix| Some((ix, self.init.openers.get_mut(ix.index())?)));
        match found.map(|(ix, (id, opener))| (ix, id, slot.open(opener, &mut self.scratch, now))) {
            Some((ix, _, Ok(event))) => {
                self.init.book.report.events += 1;
                self.event(ix, event);
            }
            Some((_, id, Err(error))) => {
                tracing::error!(twin = %id, "failed to {error}");
                self.init.book.report.refused += 1;
            }
            None => self.init.book.report.refused += 1,
        }
        self.empty_slot();
    }

    fn empty_slot(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let opener = slot.sender().and_then(|ix| self.init.openers.get_mut(ix.index()));
        if let Some((_, opener)) = opener {
            // One that did not open is not in flight.
            let _ = opener.acknowledge(slot.sealed.header().sequence);
        }
    }

    /// After a panic: drops the letter that crashed the station too often, or tries it again.
    pub(super) fn recover(&mut self) {
        let Some(slot) = self.slot.as_ref().filter(|slot| slot.attempts >= ATTEMPTS) else {
            return self.handle_slot();
        };
        let now = self.init.clock.now();
        let sender = slot.sender();
        let found = sender.and_then(|ix| Some((ix, self.init.openers.get_mut(ix.index())?)));
        let opened = found.map(|(ix, (_, opener))| (ix, slot.open(opener, &mut self.scratch, now)));
        self.empty_slot();
        *self.init.book.counters.entry("station_dropped".to_owned()).or_default() += 1;
        let Some((ix, event)) = opened else { return };
        let twin = &self.init.openers[ix.index()].0;
        tracing::error!(%twin, "a letter that crashed the station {ATTEMPTS} times was dropped");
        let text = format!("a letter of {twin} crashed the station {ATTEMPTS} times");
        self.init.book.letter_dropped(&text, now);
        let receipt = match event {
            Ok(TwinEvent::Telemetry(telemetry)) => telemetry.receipt,
            Ok(TwinEvent::SetAside(letter)) => letter.receipt,
            _ => None,
        };
        if let Some(receipt) = self.receipt(ix, receipt) {
            receipt.confirmed.confirm(receipt.receipt);
        }
    }
}
