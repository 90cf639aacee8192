//! Commands: checked, remembered as desired, written, answered.

use plantwin_model::{Access, Outcome, Timestamp};
use smallvec::SmallVec;

use super::{Effect, Effects, PendingWrite, TwinCore};
use crate::{CommandMail, TwinEvent, TwinMail, TwinPlan, WriteError, WrittenMail};

/// Commands of one twin that may be under way at the same time.
const MAX_WAITING: usize = 16;
/// Commands of one twin that are remembered until they expire.
const MAX_KNOWN: usize = 64;

impl TwinCore {
    pub(super) fn on_command(
        &mut self,
        plan: &TwinPlan,
        mail: &CommandMail,
        now: Timestamp,
        out: &mut Effects,
    ) {
        if now >= mail.expires {
            // A second letter of a command that was carried out in time is answered by the first.
            if !self.knows(mail.key) {
                let outcome = Outcome::Expired;
                out.push(Effect::Tell(TwinEvent::Outcome { key: mail.key, outcome }));
            }
            return;
        }
        self.known.retain(|(_, expires)| now < *expires);
        if self.knows(mail.key) {
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            let reason = format!("{MAX_KNOWN} commands came within their time already");
            return Self::refuse(mail.key, &reason, out);
        }
        self.known.push((mail.key, mail.expires));
        if let Err(reason) = self.admissible(plan, mail, now) {
            return Self::refuse(mail.key, &reason, out);
        }
        self.desire(plan, mail, now);
        let writes: SmallVec<[_; 2]> = mail.writes.iter().copied().collect();
        self.waiting.push(PendingWrite { key: mail.key, writes: writes.clone() });
        out.push(Effect::Write { key: mail.key, writes });
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }

    fn knows(&self, key: u64) -> bool {
        self.known.iter().any(|(k, _)| *k == key) || self.waiting.iter().any(|w| w.key == key)
    }

    fn desire(&mut self, plan: &TwinPlan, mail: &CommandMail, now: Timestamp) {
        for &(point, value) in &mail.writes {
            if point.index() < plan.device.kind.points.len() {
                self.points[point.index()].desired = Some((value, now));
            }
        }
    }

    fn admissible(
        &self,
        plan: &TwinPlan,
        mail: &CommandMail,
        now: Timestamp,
    ) -> Result<(), String> {
        if let Some(why) = &self.confined {
            return Err(format!("the device is confined ({why})"));
        }
        if self.path.is_none() {
            return Err("the device cannot be reached".to_owned());
        }
        if !self.session.is_open(now) {
            return Err("the device's session is not open".to_owned());
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(format!("{MAX_WAITING} commands are under way already"));
        }
        for &(ix, value) in &mail.writes {
            let spec = plan.device.kind.points.get(ix.index()).ok_or("no such point")?;
            if spec.access != Access::ReadWrite {
                return Err(format!("{} cannot be written", spec.name));
            }
            let (low, high) = spec.range;
            if !value.is_finite() || value < low || value > high {
                return Err(format!(
                    "{} must be {low} to {high} {}, not {value}",
                    spec.name, spec.unit
                ));
            }
        }
        Ok(())
    }

    pub(super) fn on_written(
        &mut self,
        plan: &TwinPlan,
        mail: WrittenMail,
        now: Timestamp,
        out: &mut Effects,
    ) {
        let Some(place) = self.waiting.iter().position(|w| w.key == mail.key) else { return };
        let pending = self.waiting.remove(place);
        let outcome = match mail.result {
            Ok(()) => {
                if let Some(predictor) = &mut self.predictor {
                    for &(point, value) in &pending.writes {
                        predictor.set_point(point, value);
                    }
                }
                Outcome::Done
            }
            // What was asked stays desired: reading back shows whether the device acted.
            Err(WriteError::Unknown(reason)) => Outcome::Unknown { reason },
            Err(error @ (WriteError::Refused(_) | WriteError::NotSent(_))) => {
                for (point, _) in pending.writes {
                    self.points[point.index()].desired = None;
                }
                Outcome::Failed { reason: error.to_string() }
            }
        };
        out.push(Effect::Tell(TwinEvent::Outcome { key: mail.key, outcome }));
        self.judge_state(plan, now);
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }

    /// A letter was set aside: whoever waits for its outcome is told. `sent` says whether a
    /// write that it asks for may have reached the line.
    pub(crate) fn on_set_aside(
        &mut self,
        plan: &TwinPlan,
        letter: &TwinMail,
        sent: bool,
        now: Timestamp,
        out: &mut Effects,
    ) {
        match letter {
            TwinMail::Command(mail) if sent => {
                self.known.push((mail.key, mail.expires));
                self.desire(plan, mail, now);
                let reason = "it crashed the twin twice and was set aside; it may have been sent";
                Self::unknown(mail.key, reason, out);
            }
            TwinMail::Command(CommandMail { key, .. })
            | TwinMail::Retry { key, .. }
            | TwinMail::Drop { key, .. }
            | TwinMail::Quarantine { key: Some(key), .. }
            | TwinMail::Release { key }
            | TwinMail::Drain { key } => {
                let reason = "it crashed the twin twice and was set aside; nothing was sent";
                Self::fail(*key, reason, out);
            }
            TwinMail::Written(mail) => {
                if let Some(place) = self.waiting.iter().position(|w| w.key == mail.key) {
                    self.waiting.remove(place);
                    let reason = "the device's answer crashed the twin twice and was set aside";
                    Self::unknown(mail.key, reason, out);
                }
            }
            _ => {}
        }
    }
}
