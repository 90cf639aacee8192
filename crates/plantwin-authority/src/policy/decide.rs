//! Deciding by the tables.

use plantwin_model::{Action, DeviceIx, GrantSpec, PointIx, Role, Timestamp};

use super::{Policy, Principal, Rates, bits::common, compile::Clause, principal::Kind};

/// Whoever acts, found in a policy; only of use with that one.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'p> {
    id: u32,
    rules: &'p [u64],
}

/// What is acted on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Object {
    /// The plant itself: only a rule on everything covers it.
    Plant,
    /// A device as a whole: a rule on some of its points does not cover it.
    Device(DeviceIx),
    /// A point of a device.
    Point(DeviceIx, PointIx),
}

/// Why a rule that fits does not allow it all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Not at this hour.
    Hours,
    /// Not this value.
    Range,
    /// Not so often.
    Rate,
}

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// It may be done once a second person asks for the same.
    Second,
    /// It must not be done.
    Deny,
}

/// A decision, and where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What.
    pub verdict: Verdict,
    /// The place, among the policy's grants, of the one that allows it; for a denial the first
    /// one that fits but for a limit, if there is any.
    pub rule: Option<u32>,
    /// That limit.
    pub limit: Option<Limit>,
}

impl Decision {
    /// Nothing fits.
    pub(super) const NOTHING: Self = Self { verdict: Verdict::Deny, rule: None, limit: None };
}

impl Policy {
    /// Finds whoever asks: a user by name, anybody else by role. Who was a user and is one no
    /// longer may do nothing.
    pub fn subject(&self, who: &Principal) -> Subject<'_> {
        let Kind::User(name) = who.kind() else { return self.role(self.role_of(who)) };
        let (id, rules) = self.user_row(name).unwrap_or((u32::MAX, &[]));
        Subject { id, rules }
    }

    /// The role in which somebody acts under this policy.
    pub fn role_of(&self, who: &Principal) -> Role {
        match who.kind() {
            Kind::User(name) => {
                let user = self.users().iter().find(|u| u.name == *name);
                user.map_or(Role::Viewer, |u| u.role)
            }
            Kind::Owner(role) if self.users().is_empty() => *role,
            Kind::Owner(_) | Kind::Stranger(_) => Role::Viewer,
        }
    }

    /// Everybody of a role, as somebody who is no user of the plant file.
    pub fn role(&self, role: Role) -> Subject<'_> {
        let (id, rules) = self.role_row(role);
        Subject { id, rules }
    }

    /// A device that acts; one that does not exist may do nothing.
    pub fn device(&self, device: DeviceIx) -> Subject<'_> {
        let (id, rules) = self.device_row(device).unwrap_or((u32::MAX, &[]));
        Subject { id, rules }
    }

    /// Decides, and counts what is allowed for its rate. The first rule of the file that allows
    /// it alone wins; one that asks for a second person counts if there is no such.
    pub fn decide(
        &self,
        who: Subject,
        action: Action,
        object: Object,
        value: Option<f64>,
        now: Timestamp,
        rates: &mut Rates,
    ) -> Decision {
        let decision = self.judge(who, action, object, value, now, Some(rates));
        if decision.verdict == Verdict::Allow {
            self.count(who, action, &decision, now, rates);
        }
        decision
    }

    /// Decides without counting; without `rates` the limit on them is left out.
    pub(super) fn judge(
        &self,
        who: Subject,
        action: Action,
        object: Object,
        value: Option<f64>,
        now: Timestamp,
        rates: Option<&Rates>,
    ) -> Decision {
        // Only a point has a value.
        let value = value.filter(|_| matches!(object, Object::Point(..)));
        let mut best = Decision::NOTHING;
        let acting = &self.by_action[action as usize];
        for clause in common(who.rules, acting, self.object_row(object)) {
            let clause = &self.clauses[clause];
            let rule = Some(clause.grant);
            match clause.limit(who.id, action, value, now, rates) {
                None if !clause.two_persons || action == Action::Read => {
                    return Decision { verdict: Verdict::Allow, rule, limit: None };
                }
                None if best.verdict == Verdict::Deny => {
                    best = Decision { verdict: Verdict::Second, rule, limit: None };
                }
                Some(limit) if best.rule.is_none() => {
                    best = Decision { verdict: Verdict::Deny, rule, limit: Some(limit) };
                }
                _ => {}
            }
        }
        best
    }

    /// Counts one use of the rule that was decided by; `false` if its rate is used up.
    pub(super) fn count(
        &self,
        who: Subject,
        action: Action,
        decision: &Decision,
        now: Timestamp,
        rates: &mut Rates,
    ) -> bool {
        let rated = decision.rule.filter(|_| action != Action::Read);
        let rate = rated.and_then(|ix| Some((ix, self.grant(ix)?.rate?)));
        rate.is_none_or(|(ix, rate)| rates.take((ix, who.id), rate, now))
    }

    /// A grant by its place.
    pub fn grant(&self, rule: u32) -> Option<&GrantSpec> {
        self.grants.get(rule as usize)
    }
}

impl Clause {
    /// The first limit that it is beyond.
    fn limit(
        &self,
        who: u32,
        action: Action,
        value: Option<f64>,
        now: Timestamp,
        rates: Option<&Rates>,
    ) -> Option<Limit> {
        if self.hours.is_some_and(|hours| !hours.contains(now)) {
            return Some(Limit::Hours);
        }
        if let (Some((low, high)), Some(value)) = (self.range, value)
            && !(low..=high).contains(&value)
        {
            return Some(Limit::Range);
        }
        let rated = self.rate.filter(|_| action != Action::Read).zip(rates);
        let used_up =
            rated.is_some_and(|(rate, rates)| !rates.has_room((self.grant, who), rate, now));
        used_up.then_some(Limit::Rate)
    }
}
