//! Who may do what, as a plant file says it: grants, users, conduits, and how devices prove who
//! they are.
//!
//! Absent: parsing (see [`crate::file`]) and deciding (the authority's policy).

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Role, Span, Timestamp, ZoneIx};

/// How a zone treats devices that hold no keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainRule {
    /// Like any other, and shown as plain.
    #[default]
    Allow,
    /// They may report; nothing is written to them.
    Confine,
    /// They are not let in.
    Refuse,
}

/// What somebody does to something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Sees values and state.
    Read,
    /// Writes a point directly.
    Write,
    /// Runs a command of a device.
    Command,
    /// Acknowledges an alarm.
    Ack,
    /// Restarts a twin, retries or drops a letter that was set aside.
    Configure,
    /// Releases a quarantine, reloads the policy.
    Admin,
}

impl Action {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::Command, Self::Ack, Self::Configure, Self::Admin];

    /// The word in plant files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Command => "command",
            Self::Ack => "ack",
            Self::Configure => "configure",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of actions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Actions(u8);

impl Actions {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self((1 << Action::ALL.len()) - 1);

    /// This set and one more.
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | 1 << action as u8)
    }

    /// Whether an action is in it.
    pub const fn contains(self, action: Action) -> bool {
        self.0 >> (action as u8) & 1 == 1
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Action::ALL.into_iter().filter(|a| self.contains(*a)).map(Action::word);
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

/// Whom a grant is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Who {
    /// Everybody who acts in this role, and nobody else: a higher role is not meant along.
    Role(Role),
    /// Users of the plant file whose name matches.
    User(Arc<str>),
    /// Devices whose name matches.
    Device(Arc<str>),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "{role}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Device(name) if &**name == "*" => f.write_str("device"),
            Self::Device(name) => write!(f, "device:{name}"),
        }
    }
}

/// What a grant is on: `ZONE/DEVICE/POINT`, each with `*` for any text within it. A part that is
/// not written is `*`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObjectGlob {
    /// Zone.
    pub zone: Arc<str>,
    /// Device.
    pub device: Arc<str>,
    /// Point.
    pub point: Arc<str>,
}

impl ObjectGlob {
    /// Everything, the plant itself among it.
    pub fn all() -> Self {
        let any: Arc<str> = "*".into();
        Self { zone: any.clone(), device: any.clone(), point: any }
    }

    /// Whether it covers everything: only then does it cover the plant itself, which is in no zone.
    pub fn is_all(&self) -> bool {
        [&self.zone, &self.device, &self.point].iter().all(|part| part.bytes().all(|b| b == b'*'))
    }
}

impl fmt::Display for ObjectGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.zone)?;
        if &*self.point != "*" {
            write!(f, "/{}/{}", self.device, self.point)
        } else if &*self.device != "*" {
            write!(f, "/{}", self.device)
        } else {
            Ok(())
        }
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text, even none.
///
/// Takes time in proportion to the product of both lengths at worst.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and up to where it was taken to reach.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, reach)) = star else { return false };
                star = Some((at, reach + 1));
                (p, t) = (at + 1, reach + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// At most so many in so long, all of which may come at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    /// How many, 1 to 1,000,000.
    pub count: u32,
    /// In how long: a second, a minute or an hour.
    pub per: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            _ => "h",
        };
        write!(f, "{}/{per}", self.count)
    }
}

/// Hours of the day, UTC: from the first minute up to, but not with, the last one. Reaches over
/// midnight if it ends before it begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Hours {
    /// First minute of the day, 0 to 1439.
    pub from: u16,
    /// Minute at which it ends, 0 to 1440.
    pub to: u16,
}

impl Hours {
    /// Whether a time lies in it.
    pub const fn contains(self, time: Timestamp) -> bool {
        let minute = (time.0.div_euclid(60_000_000_000)).rem_euclid(1440) as u16;
        if self.from < self.to {
            self.from <= minute && minute < self.to
        } else {
            self.from <= minute || minute < self.to
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        write!(f, "{}-{}", part(self.from), part(self.to))
    }
}

/// A rule that allows something; what no rule allows is denied.
#[derive(Clone, PartialEq, Debug)]
pub struct GrantSpec {
    /// Whom: at least one.
    pub who: Vec<Who>,
    /// What: at least one.
    pub actions: Actions,
    /// On what: at least one.
    pub on: Vec<ObjectGlob>,
    /// Values that may be written, inclusive, in the unit of the point.
    pub range: Option<(f64, f64)>,
    /// How often, for each who on its own.
    pub rate: Option<Rate>,
    /// When.
    pub hours: Option<Hours>,
    /// Whether a second, different person must ask for the same.
    pub two_persons: bool,
    /// Line of its header, from 1; 0 for a rule of the built-in policy.
    pub line: u32,
    /// Where in the file.
    pub span: Span,
}

/// Somebody the plant knows.
#[derive(Clone, PartialEq, Eq)]
pub struct UserSpec {
    /// Name, an identifier.
    pub name: Arc<str>,
    /// Role in which they act.
    pub role: Role,
    /// Number at the operating system, as the control socket sees it.
    pub uid: Option<u32>,
    /// Argon2id hash of a passphrase in PHC form.
    pub passphrase: Option<Arc<str>>,
    /// Line of the header, from 1.
    pub line: u32,
    /// Where in the file.
    pub span: Span,
}

impl fmt::Debug for UserSpec {
    /// Says whether there is a passphrase and not its hash: that can be guessed against.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSpec")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("uid", &self.uid)
            .field("passphrase", &self.passphrase.as_ref().map(|_| "(redacted)"))
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// `[policy]`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PolicySpec {
    /// Rules in file order; absent = the built-in ones.
    pub grants: Option<Vec<GrantSpec>>,
    /// Users in file order; without any, the owner of the process may act in every role.
    pub users: Vec<UserSpec>,
}

/// A way from zone to zone; without one nothing crosses.
#[derive(Clone, PartialEq, Debug)]
pub struct ConduitSpec {
    /// Giving zone.
    pub from: ZoneIx,
    /// Receiving zone.
    pub to: ZoneIx,
    /// Protocols that may cross, by name; absent = all.
    pub protocols: Option<Vec<&'static str>>,
    /// What may cross.
    pub actions: Actions,
    /// How much may cross: messages of all flows through it together.
    pub max_rate: Option<Rate>,
    /// Line of its header or of its place in `peers`, from 1.
    pub line: u32,
    /// Where in the file.
    pub span: Span,
}

impl ConduitSpec {
    /// Whether it lets an action over a protocol cross from one zone to another. A flow inside
    /// plantwin goes over no protocol.
    pub fn carries(
        &self,
        from: ZoneIx,
        to: ZoneIx,
        protocol: Option<&str>,
        action: Action,
    ) -> bool {
        self.from == from
            && self.to == to
            && self.actions.contains(action)
            && match (&self.protocols, protocol) {
                (Some(allowed), Some(protocol)) => allowed.contains(&protocol),
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_within_a_part() {
        for (pattern, text) in [
            ("tank*", "tank1"),
            ("*", ""),
            ("*1", "tank1"),
            ("t*k*", "tank"),
            ("**", "x"),
            ("a", "a"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("tank*", "pump"), ("", "x"), ("*1", "tank2"), ("a*b*c", "acb")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn hours_may_reach_over_midnight() {
        let at = |h: i64, m: i64| Timestamp::from_millis((h * 60 + m) * 60_000);
        let day = Hours { from: 360, to: 1320 };
        let seen = [(5, 59), (6, 0), (21, 59), (22, 0)].map(|(h, m)| day.contains(at(h, m)));
        assert_eq!(seen, [false, true, true, false]);
        let night = Hours { from: 1320, to: 360 };
        let seen = [(5, 59), (6, 0), (21, 59), (22, 0)].map(|(h, m)| night.contains(at(h, m)));
        assert_eq!(seen, [true, false, false, true]);
        assert_eq!(night.to_string(), "22:00-06:00");
        // Before 1970 days have hours as well.
        assert!(day.contains(at(-12, 0)));
    }

    #[test]
    fn an_object_is_shown_as_it_may_be_written() {
        let object = |zone: &str, device: &str, point: &str| ObjectGlob {
            zone: zone.into(),
            device: device.into(),
            point: point.into(),
        };
        assert_eq!(object("field", "*", "*").to_string(), "field");
        assert_eq!(object("field", "t*", "*").to_string(), "field/t*");
        assert_eq!(object("*", "*", "level").to_string(), "*/*/level");
        assert!(ObjectGlob::all().is_all() && !object("*", "*", "level").is_all());
    }

    #[test]
    fn the_hash_of_a_passphrase_is_not_shown() {
        let user = UserSpec {
            name: "alice".into(),
            role: Role::Operator,
            uid: None,
            passphrase: Some("$argon2id$v=19$secret".into()),
            line: 1,
            span: Span::default(),
        };
        assert!(!format!("{user:?}").contains("secret"));
    }
}
