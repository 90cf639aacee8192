//! The front desk of a running plant: gives out desks to principals, swaps the policy.

use std::sync::Arc;

use plantwin_authority::policy::{Errand, Explanation, Policy, Principal, Question};
use plantwin_model::{
    Action, AuditEntry, AuditKind, AuditResult, CommandSender, PlantSpec, Role, Timestamp,
};

use super::{Desk, Router};

/// Where whoever lets people in gets what these may use.
#[derive(Clone)]
pub struct FrontDesk(Arc<Router>);

/// A policy that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloaded {
    /// Its epoch.
    pub epoch: u64,
    /// What else changed in the file and was not taken.
    pub left: Vec<String>,
}

impl FrontDesk {
    pub(crate) const fn new(router: Arc<Router>) -> Self {
        Self(router)
    }

    /// A desk at which `who` makes requests.
    pub fn desk(&self, who: Principal) -> Arc<dyn CommandSender> {
        Arc::new(Desk { router: Arc::clone(&self.0), who })
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.policy.policy()
    }

    /// The plant's clock.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Answers whether somebody may do something now, or at the time that is asked for.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        self.policy().explain(question)
    }

    /// Puts something on record that happened at the door.
    pub fn record(&self, entry: AuditEntry) {
        self.0.audit.record(entry);
    }

    /// Whether `who` may reload the policy; a refusal goes on record.
    pub fn may_reload(&self, who: &Principal) -> Result<(), String> {
        self.may(who, Action::Admin, Role::Viewer, "reload the policy")?;
        self.0.on_record()
    }

    /// Whether `who`, of the role `least` or more, may do something to the plant itself; a refusal
    /// goes on record.
    pub fn may(
        &self,
        who: &Principal,
        action: Action,
        least: Role,
        what: &str,
    ) -> Result<(), String> {
        let errand = Errand::on_plant(action, least, what);
        let ruling = self.0.policy.rule(who, &errand, false, self.now());
        if let Err(reason) = &ruling.answer {
            self.on_record(who, AuditResult::Refused, reason.clone());
        }
        ruling.answer
    }

    /// Takes policy, users and conduits of `file` in one step; everything else stays as it runs
    /// and is named. Whoever calls has asked [`Self::may_reload`]. A file that the running plant
    /// cannot take is refused with the reason, and nothing changes.
    pub fn reload(&self, who: &Principal, file: &PlantSpec) -> Result<Reloaded, String> {
        let running = self.policy();
        let taken = running.plant().with_policy_of(file);
        let (plant, left) = match taken {
            Ok(taken) => taken,
            Err(reason) => {
                self.on_record(who, AuditResult::Refused, reason.clone());
                return Err(reason);
            }
        };
        let epoch = self.0.policy.swap(Arc::new(plant));
        self.0.stamp();
        let mut detail = format!("epoch {epoch} from {}", file.file);
        if !left.is_empty() {
            detail.push_str("; not taken: ");
            detail.push_str(&left.join(", "));
        }
        self.on_record(who, AuditResult::Done, detail);
        Ok(Reloaded { epoch, left })
    }

    /// Puts on record that a file could not even be read.
    pub fn reload_failed(&self, who: &Principal, reason: &str) {
        self.on_record(who, AuditResult::Failed, reason.to_owned());
    }

    fn on_record(&self, who: &Principal, result: AuditResult, detail: String) {
        self.record(AuditEntry {
            kind: AuditKind::Policy,
            actor: who.to_string(),
            object: "policy".to_owned(),
            result,
            detail,
        });
    }
}
