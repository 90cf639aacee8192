//! What of a twin must survive the process.

use std::time::Duration;

use plantwin_energy::Ledger;
use plantwin_model::{AlarmView, Flaw, Quality, Timestamp, TwinState};
use plantwin_watch::BankSnapshot;
use serde::{Deserialize, Serialize};

use super::{Effect, Effects, Reason, TwinCore, quarantine::safe_state};
use crate::{Recorded, TwinEvent, TwinPlan};

/// Values are saved at most this often; alarm changes at once.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Alarm state, energy ledger, last values with their times, learnt bands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vital {
    alarms: BankSnapshot,
    ledger: Ledger,
    points: Vec<VitalPoint>,
    /// Sequence number and source time of the last frame told, for a device of durable delivery.
    recorded: Option<(u64, Timestamp)>,
    /// Why the device is confined, if it is.
    confined: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct VitalPoint {
    name: String,
    value: Option<f64>,
    source_time: Timestamp,
    received: Timestamp,
}

impl Vital {
    /// As bytes for the store.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serializing these plain types into memory cannot fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// From bytes of the store; `None` if they are of another version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl TwinCore {
    /// What must survive.
    pub fn vital(&self, plan: &TwinPlan) -> Vital {
        Vital {
            alarms: self.alarms.snapshot(),
            ledger: self.ledger,
            points: self
                .points
                .iter()
                .zip(&plan.device.kind.points)
                .map(|(p, spec)| VitalPoint {
                    name: spec.name.to_string(),
                    value: p.value,
                    source_time: p.source_time,
                    received: p.received,
                })
                .collect(),
            recorded: self.recorded(plan).filter(|(_, source)| source.0 > i64::MIN),
            confined: self.confined.clone(),
        }
    }

    /// Takes up what survived. Old values are shown with their age and as stale, never as live.
    pub fn restore(&mut self, plan: &TwinPlan, vital: Vital, now: Timestamp, out: &mut Effects) {
        self.alarms.restore(vital.alarms, now);
        let budget = self.ledger.budget();
        self.ledger = vital.ledger;
        // The plant file may have changed the budget since.
        self.ledger.set_budget(budget);
        for old in vital.points {
            // By name: the type may have gained or lost points since.
            if let Some(ix) = plan.device.kind.point(&old.name) {
                let point = &mut self.points[ix.index()];
                point.value = old.value;
                // The clock may have been ahead in the run before: what comes now is newer.
                point.source_time = old.source_time.min(now);
                point.received = old.received.min(now);
                if old.value.is_some() {
                    point.quality = Quality::Bad(Flaw::Stale);
                }
            }
        }
        if let Some(recorded) = vital.recorded.filter(|_| plan.durable()) {
            self.session.restore(Recorded::of(recorded.0, recorded.1), now);
        }
        if let Some(why) = vital.confined {
            // Its line is told before it can begin a session.
            self.confined = Some(why.clone());
            out.push(Effect::Confine { safe: safe_state(plan) });
            self.enter(TwinState::Quarantined, Reason::Text(why), now);
        }
        let views: Vec<_> = self.alarms.active().collect();
        if !views.is_empty() {
            out.push(Effect::Tell(TwinEvent::Alarms(views)));
        }
        self.observe_now(plan, now, out);
    }

    fn recorded(&self, plan: &TwinPlan) -> Option<(u64, Timestamp)> {
        let recorded = self.session.recorded().filter(|_| plan.durable())?;
        Some((recorded.sequence, recorded.source))
    }

    /// Takes up what is on record with the frames themselves: it is never older than what was
    /// saved, and says more.
    pub fn restore_recorded(&mut self, plan: &TwinPlan, recorded: Recorded, now: Timestamp) {
        if plan.durable() {
            self.session.restore(recorded, now);
        }
    }

    /// Takes up alarms that an earlier run of the process told: what it saved may be older than
    /// they are. Those whose condition is gone return to normal by the usual rules.
    pub fn adopt(
        &mut self,
        plan: &TwinPlan,
        told: &[AlarmView],
        now: Timestamp,
        out: &mut Effects,
    ) {
        let mut adopted = false;
        for view in told {
            adopted |= self.alarms.adopt(view, now);
        }
        if adopted {
            self.tell_alarms(plan, now, out);
        }
    }
}
