//! What becomes of a device's trust, a line each, and the one thing that it changes on disk: a
//! voucher that was used up goes.
//!
//! Absent: what the device measures.

use std::{
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use plantwin_authority::pws::AgentEvent;
use plantwin_field::KeyFile;
use plantwin_model::{Clock, DeviceId, Timestamp};

use super::super::mail::printable;
use crate::control::status::time;

/// The log of one device.
pub(super) struct Log {
    device: DeviceId,
    /// Of its own key, as people compare it.
    fingerprint: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    key: KeyFile,
    token: Option<Timestamp>,
    /// What was told last: what repeats itself is told once.
    last: String,
}

impl Log {
    pub(super) fn new(
        device: DeviceId,
        fingerprint: String,
        key: KeyFile,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let state = Mutex::new(State { key, token: None, last: String::new() });
        Self { device, fingerprint, clock, state }
    }

    /// Takes an event of the device's session.
    pub(super) fn event(&self, event: AgentEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.text(&mut state, event);
        self.tell(&mut state, text);
    }

    /// Tells something.
    pub(super) fn say(&self, text: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(&mut state, text);
    }

    /// Tells once when the token has expired.
    pub(super) fn look_at_token(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.token.is_some_and(|expires| self.clock.now() >= expires) {
            state.token = None;
            self.tell(&mut state, "the token has expired; no gateway renewed it".to_owned());
        }
    }

    fn text(&self, state: &mut State, event: AgentEvent) -> String {
        match event {
            AgentEvent::SessionUp { gateway, .. } => {
                // Each one is news.
                state.last.clear();
                format!("session up with {gateway}")
            }
            AgentEvent::TokenTaken { expires } => {
                state.token = Some(expires);
                if let Err(error) = state.key.forget_voucher() {
                    // It goes with the next token.
                    tracing::warn!("failed to {error}");
                }
                format!("token until {}", time(expires))
            }
            AgentEvent::EnrolPending { fingerprint } if fingerprint == self.fingerprint => {
                format!(
                    "enrolment pending, key {fingerprint}: plantwin authority approve {} \
                     --fingerprint {fingerprint}",
                    self.device
                )
            }
            AgentEvent::EnrolPending { fingerprint } => format!(
                "enrolment pending, but for the key {fingerprint}, which is not this device's: do \
                 not approve it; this device has {}",
                self.fingerprint
            ),
            AgentEvent::Refused(error) => {
                format!("refused what a gateway asked: failed to {error}")
            }
        }
    }

    fn tell(&self, state: &mut State, text: String) {
        if text == state.last {
            return;
        }
        // Whoever read the lines may have gone; the device goes on until it is told to stop.
        let (now, device, line) = (time(self.clock.now()), &self.device, printable(&text));
        let _ = writeln!(io::stdout().lock(), "{now} {device}: {line}");
        state.last = text;
    }
}
