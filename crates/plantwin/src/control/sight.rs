//! What of the plant somebody sees: the view, cut to what the policy lets them read.
//!
//! Who may read everything gets the view itself. A twin shows if any of its points may be read;
//! the other points are as if nothing were known of them. Names of zones and types, servers and
//! counters are no secret.

use std::{collections::HashSet, sync::Arc};

use plantwin_authority::policy::{Object, Policy, Rates, Subject, Verdict};
use plantwin_model::{
    Action, AlarmView, DeviceIx, PlantView, PointIx, PointView, Role, Timestamp, TwinTable,
};
use plantwin_runtime::FrontDesk;

use super::door::Visitor;

/// Cuts views.
pub(super) struct Sight<'p> {
    policy: &'p Policy,
    /// The owner sees what any role sees: they could choose it.
    subjects: Vec<Subject<'p>>,
    now: Timestamp,
}

impl Sight<'_> {
    /// The view as `who` may see it; the reason if that is nothing at all.
    pub(super) fn of(
        front: &FrontDesk,
        who: &Visitor,
        view: &Arc<PlantView>,
    ) -> Result<Arc<PlantView>, String> {
        let policy = front.policy();
        let subjects = match who {
            Visitor::Owner => Role::ALL.iter().map(|r| policy.role(*r)).collect(),
            Visitor::Known(principal) => vec![policy.subject(principal)],
        };
        let sight = Sight { policy: &policy, subjects, now: front.now() };
        if sight.sees(Object::Plant) {
            return Ok(Arc::clone(view));
        }
        let cut = sight.cut(view);
        if cut.twins.is_empty() && !view.twins.is_empty() {
            return Err("the policy lets you read nothing of this plant".to_owned());
        }
        Ok(Arc::new(cut))
    }

    /// Whether two views show the same twins.
    pub(super) fn is_same(a: &PlantView, b: &PlantView) -> bool {
        a.twins.len() == b.twins.len()
            && a.twins.iter().zip(b.twins.iter()).all(|(a, b)| a.id == b.id)
    }

    fn sees(&self, object: Object) -> bool {
        // Reading is not limited by rates.
        let mut rates = Rates::default();
        self.subjects.iter().any(|subject| {
            let decision =
                self.policy.decide(*subject, Action::Read, object, None, self.now, &mut rates);
            decision.verdict == Verdict::Allow
        })
    }

    /// The text of an alarm tells the value of the point that it watches.
    fn sees_alarm(&self, alarm: &AlarmView) -> bool {
        let plant = self.policy.plant();
        let Some(device) = plant.devices.iter().find(|d| d.id == alarm.twin) else { return false };
        let name = alarm.id.as_str().split_once('.').map_or("", |(_, name)| name);
        match device.kind.alarms.iter().find(|a| *a.name == *name) {
            Some(spec) => self.sees(Object::Point(device.ix, spec.point)),
            None => self.sees(Object::Device(device.ix)),
        }
    }

    fn cut(&self, view: &PlantView) -> PlantView {
        let mut twins = TwinTable::default();
        let mut shown = HashSet::new();
        for (ix, twin) in view.twins.iter().enumerate() {
            let device = DeviceIx(ix as u32);
            let sees: Vec<bool> = (0..twin.points.len())
                .map(|p| self.sees(Object::Point(device, PointIx(p as u16))))
                .collect();
            if !sees.contains(&true) && !self.sees(Object::Device(device)) {
                continue;
            }
            shown.insert(twin.id.clone());
            if sees.iter().all(|s| *s) {
                twins.push(Arc::clone(twin));
                continue;
            }
            let mut cut = plantwin_model::TwinView::clone(twin);
            for (point, sees) in cut.points.iter_mut().zip(sees) {
                if !sees {
                    *point = PointView::unknown();
                }
            }
            twins.push(Arc::new(cut));
        }
        let mut cut = view.clone();
        cut.twins = twins;
        cut.alarms = view.alarms.iter().filter(|a| self.sees_alarm(a)).cloned().collect();
        cut.set_aside =
            view.set_aside.iter().filter(|l| shown.contains(&l.twin)).cloned().collect();
        cut
    }
}
