//! The policy in force, with what must be remembered between decisions.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use plantwin_model::{Action, DeviceIx, Identity, PlainRule, PlantSpec, Timestamp};

use super::{
    Decision, Errand, Limit, Object, PathRight, Policy, Principal, Rates, Verdict,
    second::{Asked, Waiting},
};

/// Holds the policy in force. A decision sees the whole of one policy: the old one or the new one.
#[derive(Debug)]
pub struct PolicyDesk {
    policy: RwLock<Arc<Policy>>,
    epoch: AtomicU64,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    rates: Rates,
    waiting: Waiting,
}

/// What was decided of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruling {
    /// May it be done? If not, why, as a lowercase fragment that names the rule.
    pub answer: Result<(), String>,
    /// The rule and what else decided, for the audit.
    pub rule: String,
}

impl PolicyDesk {
    /// A desk for the rules of a plant.
    pub fn new(plant: Arc<PlantSpec>) -> Arc<Self> {
        Arc::new(Self {
            policy: RwLock::new(Policy::compile(plant)),
            epoch: AtomicU64::new(1),
            memory: Mutex::default(),
        })
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        // The lock only ever guards the exchange of one pointer.
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The epoch of the policy in force: cheaper than the policy, to see whether it is another.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    /// Puts the rules of `plant` in force and returns the new epoch. `plant` must have the
    /// devices and flows of the plant that runs. What was used of rates, and requests that wait
    /// for a second person, are forgotten: they belong to rules that are gone.
    pub fn swap(&self, plant: Arc<PlantSpec>) -> u64 {
        let mut memory = self.memory();
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let epoch = policy.epoch() + 1;
        *policy = Arc::new(Policy::of(plant, epoch));
        self.epoch.store(epoch, Relaxed);
        *memory = Memory::default();
        epoch
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Counters and a list: each entry stands alone, whatever panicked meanwhile.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on a request. `repeat` says that this very request was let through before and
    /// nothing is done anew: then neither rates nor a second person count.
    pub fn rule(&self, who: &Principal, errand: &Errand, repeat: bool, now: Timestamp) -> Ruling {
        // In this order everywhere: with the memory held the policy cannot be another.
        let mut memory = self.memory();
        let policy = self.policy();
        let subject = policy.subject(who);
        let refused = |reason: String, rule: String| Ruling { answer: Err(reason), rule };
        let role = policy.role_of(who);
        if role < errand.least {
            let reason = format!("this needs the role {}; yours is {role}", errand.least);
            return refused(reason.clone(), reason);
        }
        if let Some(reason) = errand.device.and_then(|d| policy.unreachable(d, errand.action)) {
            return refused(reason.clone(), reason);
        }
        let mut decisions: Vec<Decision> = Vec::with_capacity(errand.touches.len());
        for &(object, value) in &errand.touches {
            let judge = |action| {
                let rates = (!repeat).then_some(&memory.rates);
                policy.judge(subject, action, object, value, now, rates)
            };
            let mut decision = judge(errand.action);
            if let (Verdict::Deny, Some(or)) = (decision.verdict, errand.or) {
                let other = judge(or);
                if other.verdict != Verdict::Deny {
                    decision = other;
                }
            }
            if decision.verdict == Verdict::Deny {
                let why = policy.why(&decision, value);
                let what = policy.name(object);
                let reason = format!("{role} may not {} {what}: {why}", errand.action);
                return refused(reason, why);
            }
            if !decisions.iter().any(|d| d.rule == decision.rule) {
                decisions.push(decision);
            }
        }
        let mut rule =
            decisions.iter().map(|d| policy.place(d.rule)).collect::<Vec<_>>().join(", ");
        if let Some(waits) = decisions.iter().find(|d| d.verdict == Verdict::Second && !repeat) {
            let what = format!("{} {}", errand.action, errand.text);
            let place = policy.place(waits.rule);
            match memory.waiting.ask(&what, &who.to_string(), now) {
                Asked::Confirmed(first) => rule = format!("{rule}, asked for by {first} first"),
                Asked::Waits => {
                    let reason = format!(
                        "not yet: {place} wants a second person to ask for the same within 5 min"
                    );
                    return refused(reason.clone(), reason);
                }
                Asked::Full => {
                    let reason = format!(
                        "{place} wants a second person, and too many requests wait for one"
                    );
                    return refused(reason.clone(), reason);
                }
            }
        }
        if !repeat {
            for decision in &decisions {
                policy.count(subject, errand.action, decision, now, &mut memory.rates);
            }
        }
        Ruling { answer: Ok(()), rule }
    }
}

impl Policy {
    /// Why nothing that is done to a device could reach it, whoever does it.
    pub(super) fn unreachable(&self, device: DeviceIx, action: Action) -> Option<String> {
        if !matches!(action, Action::Write | Action::Command) {
            return None;
        }
        let spec = self.plant.devices.get(device.index())?;
        let zone = self.plant.zones.get(spec.zone.index())?;
        if spec.identity == Identity::Plain && zone.plain == PlainRule::Confine {
            let (id, zone) = (&spec.id, &zone.id);
            return Some(format!("{id} holds no keys, and zone {zone} confines such devices"));
        }
        if !self.reaches(device, action) {
            return Some(format!("no conduit carries a {action} to {} on every path", spec.id));
        }
        let closed = |rank| self.permits_path(device, rank) != PathRight::Full;
        (!spec.paths.is_empty() && (0..spec.paths.len()).all(closed))
            .then(|| format!("no conduit carries a {action} to {}", spec.id))
    }

    /// Where a rule stands: `plant.toml:12`, or the built-in policy.
    pub(super) fn place(&self, rule: Option<u32>) -> String {
        match rule.and_then(|r| self.grant(r)) {
            Some(grant) if !self.builtin => format!("{}:{}", self.plant.file, grant.line),
            _ => "the built-in policy".to_owned(),
        }
    }

    /// Why something is denied.
    pub(super) fn why(&self, decision: &Decision, value: Option<f64>) -> String {
        let grant = decision.rule.and_then(|r| self.grant(r));
        let place = self.place(decision.rule);
        match (grant, decision.limit) {
            (Some(grant), Some(limit)) => format!("{place} {}", limit_text(grant, limit, value)),
            _ if self.builtin => "the built-in policy does not allow it".to_owned(),
            _ => format!("no rule of {} allows it", self.plant.file),
        }
    }

    /// An object by its name.
    pub(super) fn name(&self, object: Object) -> String {
        let device = |ix: DeviceIx| {
            let spec = self.plant.devices.get(ix.index())?;
            let zone = self.plant.zones.get(spec.zone.index())?;
            Some((spec, format!("{}/{}", zone.id, spec.id)))
        };
        match object {
            Object::Plant => Some("the plant".to_owned()),
            Object::Device(ix) => device(ix).map(|(_, name)| name),
            Object::Point(ix, point) => device(ix).and_then(|(spec, name)| {
                Some(format!("{name}/{}", spec.kind.points.get(point.index())?.name))
            }),
        }
        .unwrap_or_else(|| "what does not exist".to_owned())
    }
}

/// `allows only 0 to 10, not 12`.
pub(super) fn limit_text(
    grant: &plantwin_model::GrantSpec,
    limit: Limit,
    value: Option<f64>,
) -> String {
    match limit {
        Limit::Hours => {
            grant.hours.map_or_else(String::new, |h| format!("allows it only at {h} UTC"))
        }
        Limit::Range => {
            let (low, high) = grant.range.unwrap_or_default();
            let got = value.map_or_else(String::new, |v| format!(", not {v}"));
            format!("allows only {low} to {high}{got}")
        }
        Limit::Rate => {
            grant.rate.map_or_else(String::new, |r| format!("allows only {r}, which are used up"))
        }
    }
}

/// A flow asks here before every message.
#[derive(Clone, Debug)]
pub struct FlowGate {
    desk: Arc<PolicyDesk>,
    flow: u32,
}

impl FlowGate {
    /// For the flow at this place in the plant.
    pub const fn new(desk: Arc<PolicyDesk>, flow: u32) -> Self {
        Self { desk, flow }
    }

    /// Whether one message may go now. It counts.
    pub fn lets_cross(&self, now: Timestamp) -> bool {
        self.desk.policy().permits_flow(self.flow, now)
    }
}
