//! Commands: checked, remembered as desired, written, answered.

use plantwin_model::{Access, Outcome, Timestamp};

use super::{Effect, Effects, PendingWrite, TwinCore};
use crate::{CommandMail, TwinEvent, TwinPlan, WrittenMail};

/// Commands of one twin that may be under way at the same time.
const MAX_WAITING: usize = 16;

impl TwinCore {
    pub(super) fn on_command(
        &mut self,
        plan: &TwinPlan,
        mail: &CommandMail,
        now: Timestamp,
        out: &mut Effects,
    ) {
        if let Err(reason) = self.admissible(plan, mail, now) {
            let outcome = Outcome::Refused { reason };
            out.push(Effect::Tell(TwinEvent::Outcome { key: mail.key, outcome }));
            return;
        }
        for &(point, value) in &mail.writes {
            self.points[point.index()].desired = Some((value, now));
        }
        let writes: smallvec::SmallVec<[_; 2]> = mail.writes.iter().copied().collect();
        self.waiting.push(PendingWrite { key: mail.key, writes: writes.clone() });
        out.push(Effect::Write { key: mail.key, writes });
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }

    fn admissible(
        &self,
        plan: &TwinPlan,
        mail: &CommandMail,
        now: Timestamp,
    ) -> Result<(), String> {
        if self.path.is_none() {
            return Err("the device cannot be reached".to_owned());
        }
        if !self.session.is_open(now) {
            return Err("the device's session is not open".to_owned());
        }
        if now >= mail.expires {
            return Err("the command expired".to_owned());
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
            Err(reason) => {
                for (point, _) in pending.writes {
                    self.points[point.index()].desired = None;
                }
                Outcome::Failed { reason }
            }
        };
        out.push(Effect::Tell(TwinEvent::Outcome { key: mail.key, outcome }));
        self.judge_state(now);
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }
}
