//! Explaining by the rules as they are written, without the tables.
//!
//! It must always agree with [`Policy::decide`]; a property test holds that.

use std::{fmt::Write as _, sync::Arc};

use plantwin_model::{
    Access, Action, CommandSpec, DeviceIx, GrantSpec, ObjectGlob, PointIx, Role, Timestamp, Who,
    glob,
};
use serde::{Deserialize, Serialize};

use super::{Limit, Object, Policy, desk::limit_text};

/// What is asked: `WHO ACTION WHAT`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Question {
    /// A role, a user (`alice`, `user:alice`) or a device (`device:tank1`).
    pub who: String,
    /// What they do.
    pub action: Action,
    /// To what: `plant`, `tank1`, `tank1.level`, `field/tank1/level`, or a command, `tank1.trip`.
    pub what: String,
    /// The value that is written.
    pub value: Option<f64>,
    /// When.
    pub at: Timestamp,
}

/// Where a rule stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleRef {
    /// The plant file; `<built-in>` for a rule that is not written there.
    pub file: Arc<str>,
    /// Line, from 1; 0 for a rule that is not written anywhere.
    pub line: u32,
    /// The rule in short.
    pub text: String,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether it may be done, if need be with a second person.
    pub allowed: bool,
    /// Whether a second person must ask for the same.
    pub second_person: bool,
    /// The rule that allows it, or the nearest one that does not.
    pub rule: Option<RuleRef>,
    /// The answer in a sentence.
    pub text: String,
}

/// Whoever is asked about.
enum Somebody<'p> {
    Role(Role),
    User(&'p str, Role),
    Device(&'p str),
}

/// What a question is about.
struct Targets {
    /// Objects, with the values written to them.
    touches: Vec<(Object, Option<f64>)>,
    /// The least role, whatever the rules say, and what needs it.
    least: Option<(Role, String)>,
    /// The same for something that the question covers among others.
    part: Option<(Role, &'static str)>,
}

/// How far a rule fits, the less the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Miss {
    None,
    Second,
    Limit,
    Object,
    Action,
    Who,
}

impl Policy {
    /// Answers a question; names that do not exist come back as a lowercase fragment. The limit on
    /// how often is told and not judged.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let who = self.somebody(&question.who)?;
        let Targets { mut touches, least, part } = self.targets(question)?;
        let asked = format!("{} {} {}", question.who, question.action, question.what);
        let no = |reason: String| {
            let text = format!("no: {asked}: {reason}");
            Ok(Explanation { allowed: false, second_person: false, rule: None, text })
        };
        if let (Somebody::Device(from), Action::Write) = (&who, question.action) {
            // A flow writes to a twin as a whole.
            for (object, value) in &mut touches {
                if let Object::Point(ix, _) = *object {
                    (*object, *value) = (Object::Device(ix), None);
                }
            }
            if let Some((Object::Device(to), _)) = touches.first()
                && let Some(answer) = self.flow(from, *to, &asked)
            {
                return Ok(answer);
            }
        }
        if let (Some((role, what)), Some(mine)) = (&least, who.role())
            && mine < *role
        {
            return no(format!("{what} needs the role {role}"));
        }
        if question.action == Action::Write
            && let Some(name) = touches.iter().find_map(|(object, _)| self.read_only(*object))
        {
            return no(format!("{name} cannot be written"));
        }
        let device = touches.first().and_then(|(object, _)| match object {
            Object::Device(ix) | Object::Point(ix, _) => Some(*ix),
            Object::Plant => None,
        });
        // A flow writes to a twin, not to its device.
        let to_device = device.filter(|_| !matches!(who, Somebody::Device(_)));
        if let Some(reason) = to_device.and_then(|d| self.unreachable(d, question.action)) {
            return no(reason);
        }
        let mut worst: Option<Explanation> = None;
        for (object, value) in touches {
            let mut next = self.one(&who, question, &asked, object, value);
            if next.second_person && matches!(who, Somebody::Device(_)) {
                (next.allowed, next.second_person) = (false, false);
                next.text = format!("no: {asked}: what takes two persons, no device may");
            }
            let beyond = part.filter(|(role, _)| who.role().is_some_and(|mine| mine < *role));
            if let (true, Some((role, what))) = (next.allowed, beyond) {
                let _ = write!(next.text, "; but {what} needs the role {role}");
            }
            let rank = |e: &Explanation| (!e.allowed, e.second_person);
            if worst.as_ref().is_none_or(|w| rank(&next) > rank(w)) {
                worst = Some(next);
            }
        }
        worst.ok_or_else(|| "nothing is asked for".to_owned())
    }

    /// What the rules for flows say where no grant is asked: a device does nothing to another one
    /// but by a flow of the file.
    fn flow(&self, from: &str, to: DeviceIx, asked: &str) -> Option<Explanation> {
        let devices = &self.plant.devices;
        let from = devices.iter().find(|d| d.id.as_str() == from)?;
        let to = devices.get(to.index())?;
        let answer =
            |allowed, text| Some(Explanation { allowed, second_person: false, rule: None, text });
        let zone = |d: &plantwin_model::DeviceSpec| {
            self.plant.zones.get(d.zone.index()).map_or("", |z| z.id.as_str())
        };
        if !self.has_conduit(from.zone, to.zone) {
            let (a, b) = (zone(from), zone(to));
            return answer(false, format!("no: {asked}: no conduit carries it from {a} to {b}"));
        }
        if self.names_devices {
            return None;
        }
        let file = &self.plant.file;
        if !self.plant.flows.iter().any(|flow| flow.from == from.ix && flow.to == to.ix) {
            return answer(false, format!("no: {asked}: {file} has no [[flow]] for it"));
        }
        answer(
            true,
            format!("yes: {asked}: by a [[flow]]; {file} says of no device what it may do"),
        )
    }

    /// The name of a point that nobody can write.
    fn read_only(&self, object: Object) -> Option<String> {
        let Object::Point(ix, point) = object else { return None };
        let device = self.plant.devices.get(ix.index())?;
        let spec = device.kind.points.get(point.index())?;
        (spec.access != Access::ReadWrite).then(|| format!("{}.{}", device.id, spec.name))
    }

    fn one(
        &self,
        who: &Somebody,
        question: &Question,
        asked: &str,
        object: Object,
        value: Option<f64>,
    ) -> Explanation {
        let action = question.action;
        let mut best: Option<(Miss, Option<Limit>, usize)> = None;
        for (ix, grant) in self.grants.iter().enumerate() {
            let (miss, limit) = self.miss(grant, who, action, object, value, question.at);
            if best.as_ref().is_none_or(|(b, ..)| miss < *b) {
                best = Some((miss, limit, ix));
            }
        }
        let Some((miss, limit, ix)) = best else {
            let text = format!("no: {asked}: {} has no rule at all", self.plant.file);
            return Explanation { allowed: false, second_person: false, rule: None, text };
        };
        let grant = &self.grants[ix];
        let place = self.place(Some(ix as u32));
        let rule = self.rule_ref(grant);
        let shown = format!("{place} ({})", rule.text);
        let allowed = miss <= Miss::Second;
        let text = match (miss, limit) {
            (Miss::None, _) => format!("yes: {asked}: {shown}"),
            (Miss::Second, _) => {
                format!("yes, if a second person asks for the same: {asked}: {shown}")
            }
            (_, Some(limit)) => format!("no: {asked}: {place} {}", limit_text(grant, limit, value)),
            (Miss::Object, _) => format!(
                "no: {asked}: no rule allows it; nearest is {shown}, which is not on {}",
                self.name(object)
            ),
            (Miss::Action, _) => {
                format!(
                    "no: {asked}: no rule allows it; nearest is {shown}, which is not for {action}"
                )
            }
            _ => format!(
                "no: {asked}: no rule allows it; nearest is {shown}, which is not for {}",
                question.who
            ),
        };
        Explanation {
            allowed,
            second_person: miss == Miss::Second,
            // A rule for somebody else altogether explains nothing.
            rule: (miss < Miss::Who).then_some(rule),
            text,
        }
    }

    fn miss(
        &self,
        grant: &GrantSpec,
        who: &Somebody,
        action: Action,
        object: Object,
        value: Option<f64>,
        at: Timestamp,
    ) -> (Miss, Option<Limit>) {
        let fits = grant.who.iter().any(|w| who.is(w));
        if !fits {
            return (Miss::Who, None);
        }
        if !grant.actions.contains(action) {
            return (Miss::Action, None);
        }
        if !grant.on.iter().any(|on| self.covers(on, object)) {
            return (Miss::Object, None);
        }
        if grant.hours.is_some_and(|h| !h.contains(at)) {
            return (Miss::Limit, Some(Limit::Hours));
        }
        let beyond = |(low, high): (f64, f64), v: f64| !(low..=high).contains(&v);
        if grant.range.zip(value).is_some_and(|(range, v)| beyond(range, v)) {
            return (Miss::Limit, Some(Limit::Range));
        }
        if grant.two_persons && action != Action::Read {
            return (Miss::Second, None);
        }
        (Miss::None, None)
    }

    fn covers(&self, on: &ObjectGlob, object: Object) -> bool {
        let device = |ix: DeviceIx| {
            self.plant.devices.get(ix.index()).filter(|d| {
                let zone = self.plant.zones.get(d.zone.index());
                zone.is_some_and(|z| glob(&on.zone, z.id.as_str()))
                    && glob(&on.device, d.id.as_str())
            })
        };
        match object {
            Object::Plant => on.is_all(),
            Object::Device(ix) => device(ix).is_some() && on.point.bytes().all(|b| b == b'*'),
            Object::Point(ix, point) => device(ix)
                .and_then(|d| d.kind.points.get(point.index()))
                .is_some_and(|p| glob(&on.point, &p.name)),
        }
    }

    fn rule_ref(&self, grant: &GrantSpec) -> RuleRef {
        let file = if self.builtin { "<built-in>".into() } else { Arc::clone(&self.plant.file) };
        RuleRef { file, line: grant.line, text: short(grant) }
    }

    fn somebody(&self, who: &str) -> Result<Somebody<'_>, String> {
        if let Some(role) = Role::ALL.into_iter().find(|r| r.word() == who) {
            return Ok(Somebody::Role(role));
        }
        if let Some(name) = who.strip_prefix("device:") {
            let found = self.plant.devices.iter().find(|d| d.id.as_str() == name);
            let found = found.ok_or_else(|| format!("there is no device {name}"))?;
            return Ok(Somebody::Device(found.id.as_str()));
        }
        let name = who.strip_prefix("user:").unwrap_or(who);
        let found = self.users().iter().find(|u| &*u.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.users().iter().map(|u| &*u.name).collect();
            let users = if names.is_empty() { "no users".to_owned() } else { names.join(", ") };
            format!(
                "there is no user {name}; the plant file has {users}; roles are viewer, operator, \
                 engineer, security; devices are written device:NAME"
            )
        })?;
        Ok(Somebody::User(&found.name, found.role))
    }

    /// What `what` means.
    fn targets(&self, question: &Question) -> Result<Targets, String> {
        let Question { what, action, value, .. } = question;
        let by_slash: Vec<&str> = what.split('/').collect();
        let (zone, device, member) = match by_slash[..] {
            [zone, device, member] => (Some(zone), device, Some(member)),
            [zone, device] => (Some(zone), device, None),
            _ => match what.split_once('.') {
                Some((device, member)) => (None, device, Some(member)),
                None => (None, what.as_str(), None),
            },
        };
        let found = self.plant.devices.iter().find(|d| d.id.as_str() == device);
        let Some(spec) = found else {
            if member.is_none()
                && zone.is_none()
                && (device == "plant" || device == self.plant.name)
            {
                // What is asked of the authority has least roles of its own.
                let part = match action {
                    Action::Admin => Some((Role::Security, "what changes trust")),
                    Action::Configure => Some((Role::Engineer, "asking the authority")),
                    _ => None,
                };
                return Ok(Targets { touches: vec![(Object::Plant, None)], least: None, part });
            }
            return Err(format!(
                "there is no device {device}; write DEVICE, DEVICE.POINT, DEVICE.COMMAND, \
                 ZONE/DEVICE/POINT or plant"
            ));
        };
        let own = self.plant.zones.get(spec.zone.index()).map_or("", |z| z.id.as_str());
        if zone.is_some_and(|z| z != own) {
            return Err(format!("{device} is in zone {own}"));
        }
        let Some(member) = member else {
            let touches = vec![(Object::Device(spec.ix), None)];
            let (least, part) = match action {
                Action::Admin => (Some((Role::Security, format!("releasing {device}"))), None),
                Action::Configure => (None, Some((Role::Operator, "confining it"))),
                _ => (None, None),
            };
            return Ok(Targets { touches, least, part });
        };
        let at = |point: PointIx, value| (Object::Point(spec.ix, point), value);
        let command = spec.kind.commands.iter().find(|c| *c.name == *member);
        if let Some(command) = command.filter(|_| *action == Action::Command) {
            let touches = command_targets(command, at, *value);
            let least = Some((command.role, format!("command {}", command.name)));
            return Ok(Targets { touches, least, part: None });
        }
        let bare = |touches| Ok(Targets { touches, least: None, part: None });
        if let Some(point) = spec.kind.point(member) {
            return bare(vec![at(point, *value)]);
        }
        let alarm = spec.kind.alarms.iter().find(|a| *a.name == *member);
        if let Some(alarm) = alarm.filter(|_| *action == Action::Ack) {
            return bare(vec![at(alarm.point, None)]);
        }
        let names: Vec<&str> = spec.kind.points.iter().map(|p| &*p.name).collect();
        Err(format!("{device} has no {member}; its points are {}", names.join(", ")))
    }
}

fn command_targets(
    command: &CommandSpec,
    at: impl Fn(PointIx, Option<f64>) -> (Object, Option<f64>),
    value: Option<f64>,
) -> Vec<(Object, Option<f64>)> {
    let fixed = command.set.iter().map(|(point, value)| at(*point, Some(*value)));
    fixed.chain(command.args.iter().map(|point| at(*point, value))).collect()
}

impl Somebody<'_> {
    fn is(&self, who: &Who) -> bool {
        match (self, who) {
            (Self::Role(mine) | Self::User(_, mine), Who::Role(role)) => mine == role,
            (Self::User(name, _), Who::User(pattern))
            | (Self::Device(name), Who::Device(pattern)) => glob(pattern, name),
            _ => false,
        }
    }

    /// The role; devices have none, and no command's floor lets them pass.
    fn role(&self) -> Option<Role> {
        match self {
            Self::Role(role) | Self::User(_, role) => Some(*role),
            Self::Device(_) => None,
        }
    }
}

/// A grant on one line.
fn short(grant: &GrantSpec) -> String {
    let list = |words: Vec<String>| words.join(", ");
    let mut out = format!(
        "{}: {} on {}",
        list(grant.who.iter().map(ToString::to_string).collect()),
        grant.actions,
        list(grant.on.iter().map(ToString::to_string).collect())
    );
    if let Some((low, high)) = grant.range {
        let _ = write!(out, ", {low} to {high}");
    }
    if let Some(rate) = grant.rate {
        let _ = write!(out, ", at most {rate}");
    }
    if let Some(hours) = grant.hours {
        let _ = write!(out, ", {hours} UTC");
    }
    if grant.two_persons {
        out.push_str(", two persons");
    }
    out
}
