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

/// Why a policy was not taken, as a lowercase fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotTaken {
    /// The running plant cannot take the file.
    Unfit(String),
    /// Whoever asked may not, or not yet.
    Refused(String),
}

/// Something that is done to the plant itself, as the policy and the record know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deed {
    /// What kind of right it takes.
    pub action: Action,
    /// Least role, whatever the rules say.
    pub least: Role,
    /// The kind of record.
    pub kind: AuditKind,
    /// What it is done to, for the record.
    pub object: String,
    /// All that matters of it, starting with a verb: a second person must ask for the same text.
    pub text: String,
    /// Whether it changes nothing; being allowed to do it does not go on record then.
    pub only_looks: bool,
}

const RELOAD: &str = "reload the policy";

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

    /// Whether `who` may reload the policy at all; a refusal goes on record. Whether they may take
    /// a certain file is asked by [`Self::reload`].
    pub fn may_reload(&self, who: &Principal) -> Result<(), String> {
        let errand = Errand::on_plant(Action::Admin, Role::Viewer, RELOAD);
        // A mere look: it uses up no rate and is no request that waits for a second person.
        let ruling = self.0.policy.rule(who, &errand, true, self.now());
        if let Err(reason) = ruling.answer {
            self.on_record(who, AuditResult::Refused, format!("{RELOAD}: {reason}"));
            return Err(reason);
        }
        self.0.on_record()
    }

    /// Whether `who` may do something to the plant itself. A refusal goes on record, and so does
    /// by which rule and which first person it is allowed, unless it only looks.
    pub fn may(&self, who: &Principal, deed: &Deed) -> Result<(), String> {
        let Deed { action, least, kind, object, text, only_looks } = deed;
        let errand = Errand::on_plant(*action, *least, text.as_str());
        let ruling = self.0.policy.rule(who, &errand, false, self.now());
        let (result, detail) = match &ruling.answer {
            Ok(()) if *only_looks => return Ok(()),
            // What decided comes first: it must not be cut off behind a long text.
            Ok(()) => (AuditResult::Done, format!("by {}: allowed to {text}", ruling.rule)),
            Err(reason) => (AuditResult::Refused, format!("{reason}: {text}")),
        };
        let (kind, object) = (*kind, printable(object));
        let (actor, detail) = (who.to_string(), printable(&detail));
        self.record(AuditEntry { kind, actor, object, result, detail });
        ruling.answer
    }

    /// Takes policy, users and conduits of `file` in one step; everything else stays as it runs
    /// and is named. Whoever calls has asked [`Self::may_reload`]. A file that the running plant
    /// cannot take is refused with the reason, and nothing changes. A second person must ask for
    /// the very same rules.
    pub fn reload(&self, who: &Principal, file: &PlantSpec) -> Result<Reloaded, NotTaken> {
        let running = self.policy();
        let taken = running.plant().with_policy_of(file);
        let (plant, left) = match taken {
            Ok(taken) => taken,
            Err(reason) => {
                self.on_record(who, AuditResult::Refused, reason.clone());
                return Err(NotTaken::Unfit(reason));
            }
        };
        let text = format!("{RELOAD}, content {}", digest_of(&plant));
        let errand = Errand::on_plant(Action::Admin, Role::Viewer, text.as_str());
        let ruling = self.0.policy.rule(who, &errand, false, self.now());
        if let Err(reason) = ruling.answer {
            self.on_record(who, AuditResult::Refused, format!("{text}: {reason}"));
            return Err(NotTaken::Refused(reason));
        }
        let epoch = self.0.policy.swap(Arc::new(plant));
        self.0.stamp();
        let mut detail = format!("epoch {epoch} from {}, by {}", file.file, ruling.rule);
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

/// All of a plant that a reload takes over, as a hash that differs where the rules do.
fn digest_of(plant: &PlantSpec) -> String {
    let text = format!("{:?}{:?}", plant.policy, plant.conduits);
    // What `Debug` hides of a user decides who that is.
    let passphrases = plant.policy.users.iter().map(|u| u.passphrase.as_deref());
    let passphrases = format!("{:?}", passphrases.collect::<Vec<_>>());
    let parts: [&[u8]; 3] = [b"plantwin v1 reload", text.as_bytes(), passphrases.as_bytes()];
    let hash = plantwin_seal::hash(&parts);
    hash.iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// At most 512 characters, none of which drives a terminal.
fn printable(text: &str) -> String {
    text.chars().take(512).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
