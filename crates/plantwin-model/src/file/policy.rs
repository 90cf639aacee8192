//! `[policy]`: grants and users.
//!
//! Absent: conduits (see [`super::conduit`]), the built-in policy, deciding.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    device::Devices,
    item::Item,
    property::{PARTS_LIMIT, ROLES, parts},
    quantity::quoted,
    table::Table,
    zone::Zones,
};
use crate::{
    Action, Actions, GrantSpec, Hours, ObjectGlob, PolicySpec, Rate, Role, UserSpec, Who, glob,
};

/// Most that a rate may allow in its time.
const RATE_LIMIT: u32 = 1_000_000;

/// How the hash of a passphrase begins.
const ARGON2ID: &str = "$argon2id$";

/// Longest hash of a passphrase that is read.
const HASH_LIMIT: usize = 512;

/// Reads `[policy]`; without it: the built-in grants and no users.
pub(super) fn read(root: &Table, devices: &Devices, zones: &Zones) -> PolicySpec {
    let Some(table) = root.table("policy") else { return PolicySpec::default() };
    let users = users(&table);
    let items = table.get("grant").map(|i| i.array().unwrap_or_default());
    let grants = items.map(|items| {
        if let Some(first) = items.get(PARTS_LIMIT) {
            first.error("too-many", format!("more than {PARTS_LIMIT} grants"));
        }
        items
            .iter()
            .take(PARTS_LIMIT)
            .filter_map(|i| grant(&i.table("[[policy.grant]]".to_owned())?, devices, zones, &users))
            .collect()
    });
    table.close();
    PolicySpec { grants, users }
}

fn users(policy: &Table) -> Vec<UserSpec> {
    let mut out: Vec<UserSpec> = Vec::new();
    let mut uids: HashMap<u32, &str> = HashMap::new();
    for item in parts(policy, "user") {
        let name = item.name(true);
        let Some(table) = item.table(policy.path(&format!("user.{}", item.key))) else { continue };
        let role = table.need("role").and_then(|i| i.choice(ROLES));
        let uid = table.get("uid").map(|i| (i, i.integer(0, i64::from(u32::MAX) - 1)));
        let passphrase = table.get("passphrase").map(|i| (i, passphrase(&i)));
        table.close();
        if let Some((at, Some(uid))) = uid
            && let Some(other) = uids.insert(uid as u32, item.key)
        {
            at.error("duplicate-name", format!("uid {uid} is user `{}` already", quoted(other)));
        }
        if uid.is_none() && passphrase.is_none() {
            let message = format!("nobody can be user `{}`", quoted(item.key));
            let help = "give it `uid`, or `passphrase` as `plantwin policy passphrase` prints it";
            table.scope.warn(table.span, "unreachable-user", message, help.to_owned());
        }
        let (Some(name), Some(role)) = (name, role) else { continue };
        out.push(UserSpec {
            name: name.into(),
            role,
            uid: uid.and_then(|(_, uid)| uid).map(|uid| uid as u32),
            passphrase: passphrase.and_then(|(_, hash)| hash),
            line: line(&table),
            span: table.span,
        });
    }
    out
}

fn passphrase(item: &Item) -> Option<Arc<str>> {
    let text = item.text()?;
    // What is wrong is not repeated in the message: it may be the passphrase itself.
    if text.starts_with(ARGON2ID) && text.len() <= HASH_LIMIT && text.is_ascii() {
        return Some(text.into());
    }
    let message = format!("`passphrase` holds a hash that begins with {ARGON2ID}, never the words");
    let help = "`plantwin policy passphrase` asks for the words and prints the hash".to_owned();
    item.scope.error_help(item.span, "bad-value", message, help);
    None
}

fn grant(table: &Table, devices: &Devices, zones: &Zones, users: &[UserSpec]) -> Option<GrantSpec> {
    let who: Option<Vec<Who>> = table.need("who").and_then(|i| {
        words(&i)?.into_iter().map(|(i, word)| who(&i, word, devices, users)).collect()
    });
    let given = table.need("action").and_then(|i| actions(&i));
    let on: Option<Vec<ObjectGlob>> = table.need("on").and_then(|i| {
        words(&i)?.into_iter().map(|(i, word)| object(&i, word, devices, zones)).collect()
    });
    let range = table.get("range").map(|i| (i, range(&i)));
    let rate = table.get("rate").map(|i| (i, self::rate(&i)));
    let hours = table.get("hours").map(|i| hours(&i));
    let two_persons = table.get("two_persons").map(|i| (i, i.flag()));
    table.close();
    let (who, given, on) = (who?, given?, on?);
    let acts = Action::ALL.into_iter().any(|a| a != Action::Read && given.contains(a));
    let writes = given.contains(Action::Write) || given.contains(Action::Command);
    let idle = |item: Option<&Item>, used: bool, what: &str| {
        if let Some(item) = item.filter(|_| !used) {
            let message = format!("`{}` limits nothing here: it is for {what}", item.key);
            item.scope.warn(item.key_span, "unused-limit", message, None);
        }
    };
    idle(range.as_ref().map(|(i, _)| i), writes, "write and command");
    idle(rate.as_ref().map(|(i, _)| i), acts, "all actions but read");
    idle(two_persons.as_ref().map(|(i, _)| i), acts, "all actions but read");
    Some(GrantSpec {
        who,
        actions: given,
        on,
        range: all_or_nothing(range.map(|(_, r)| r))?,
        rate: all_or_nothing(rate.map(|(_, r)| r))?,
        hours: all_or_nothing(hours)?,
        two_persons: all_or_nothing(two_persons.map(|(_, t)| t))?.unwrap_or(false),
        line: line(table),
        span: table.span,
    })
}

/// A limit that could not be read leaves the whole grant out: without it, it would allow more.
#[expect(clippy::option_option, reason = "not given, given and unreadable, given and read")]
fn all_or_nothing<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(some) => Some(some),
    }
}

fn line(table: &Table) -> u32 {
    table.scope.report.line(&table.scope.file, table.span.start)
}

/// One word or a list of at least one, each with its place.
pub(super) fn words<'t, 'i>(item: &Item<'t, 'i>) -> Option<Vec<(Item<'t, 'i>, &'t str)>> {
    if item.is_text() {
        return Some(vec![(*item, item.text()?)]);
    }
    let items = item.array()?;
    if items.is_empty() {
        item.error("bad-value", format!("`{}` is empty", quoted(item.key)));
        return None;
    }
    items.into_iter().map(|i| Some((i, i.text()?))).collect()
}

/// One action or a list.
pub(super) fn actions(item: &Item) -> Option<Actions> {
    let known = Action::ALL.map(|a| (a.word(), a));
    words(item)?.into_iter().map(|(i, _)| i.choice(&known)).collect()
}

fn who(item: &Item, word: &str, devices: &Devices, users: &[UserSpec]) -> Option<Who> {
    if let Some(name) = word.strip_prefix("user:") {
        pattern(item, name)?;
        let names = users.iter().map(|u| &*u.name);
        known(item, name, "user", "unknown-user", names)?;
        return Some(Who::User(name.into()));
    }
    if let Some(name) = word.strip_prefix("device:") {
        pattern(item, name)?;
        let names = devices.list.iter().map(|d| d.name.as_str());
        known(item, name, "device", "unknown-device", names)?;
        return Some(Who::Device(name.into()));
    }
    if word == "device" {
        return Some(Who::Device("*".into()));
    }
    let found = ROLES.iter().find(|(name, _)| *name == word).map(|(_, role)| Who::Role(*role));
    if found.is_none() {
        let message = format!("`{}` is nobody that a grant can be for", quoted(word));
        let roles: Vec<_> = Role::ALL.iter().map(|r| format!("\"{r}\"")).collect();
        let help =
            format!("write {}, \"device\", \"user:NAME\" or \"device:NAME\"", roles.join(", "));
        item.scope.error_help(item.span, "unknown-role", message, help);
    }
    found
}

/// Whether `name` may be a pattern for names.
fn pattern(item: &Item, name: &str) -> Option<()> {
    let fits = !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'*'));
    if !fits {
        let message = format!("`{}` is no name and no pattern for names", quoted(name));
        let help = "letters, digits, `_`, `-`, and `*` for any text".to_owned();
        item.scope.error_help(item.span, "bad-name", message, help);
    }
    fits.then_some(())
}

/// A name that does not exist is an error, a pattern that matches none a warning.
fn known<'k>(
    item: &Item,
    name: &str,
    what: &str,
    code: &'static str,
    names: impl Iterator<Item = &'k str> + Clone,
) -> Option<()> {
    if names.clone().any(|n| glob(name, n)) {
        return Some(());
    }
    if name.contains('*') {
        let message = format!("no {what} matches `{}`", quoted(name));
        item.scope.warn(item.span, "grant-unused", message, None);
        return Some(());
    }
    item.unknown(code, name, what, names);
    None
}

fn object(item: &Item, text: &str, devices: &Devices, zones: &Zones) -> Option<ObjectGlob> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3 {
        let message = format!("`{}` has more than three parts", quoted(text));
        let help = "write ZONE, ZONE/DEVICE or ZONE/DEVICE/POINT".to_owned();
        item.scope.error_help(item.span, "bad-value", message, help);
        return None;
    }
    for part in &parts {
        pattern(item, part)?;
    }
    let part = |ix: usize| parts.get(ix).copied().unwrap_or("*");
    let (zone, device, point) = (part(0), part(1), part(2));
    known(item, zone, "zone", "unknown-zone", zones.list.iter().map(|z| z.id.as_str()))?;
    known(item, device, "device", "unknown-device", devices.list.iter().map(|d| d.name.as_str()))?;
    let glob_of = ObjectGlob { zone: zone.into(), device: device.into(), point: point.into() };
    // Devices and types that could not be read are reported already.
    let hit = devices.list.iter().any(|d| {
        let in_zone = d.zone.is_none_or(|z| glob(zone, zones.list[z.index()].id.as_str()));
        in_zone
            && glob(device, &d.name)
            && d.kind.as_ref().is_none_or(|k| {
                point == "*" || !k.is_sound() || k.kind.points.iter().any(|p| glob(point, &p.name))
            })
    });
    if !hit && !glob_of.is_all() {
        let message = format!("`{}` is on nothing that this plant has", quoted(text));
        let help = "parts are ZONE/DEVICE/POINT, each a name or with `*` in it".to_owned();
        item.scope.warn(item.span, "grant-unused", message, help);
    }
    Some(glob_of)
}

fn range(item: &Item) -> Option<(f64, f64)> {
    let bounds = item.array()?;
    let [low, high] = bounds[..] else {
        item.error("bad-value", "`range` must be [LOW, HIGH]");
        return None;
    };
    let (low, high) = (low.number(), high.number());
    let (low, high) = (low?, high?);
    if low > high {
        item.error("out-of-range", "`range` must not begin above its end");
        return None;
    }
    Some((low, high))
}

/// Reads `10/min`.
pub(super) fn rate(item: &Item) -> Option<Rate> {
    let text = item.text()?;
    let read = text.split_once('/').and_then(|(count, per)| {
        let per = match per.trim() {
            "s" => Duration::from_secs(1),
            "min" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return None,
        };
        Some(Rate { count: count.trim().parse().ok()?, per })
    });
    let Some(rate) = read else {
        let message = format!("`{}` is not a rate", quoted(text));
        let help = "write a whole number per s, min or h: \"10/min\"".to_owned();
        item.scope.error_help(item.span, "bad-rate", message, help);
        return None;
    };
    if rate.count == 0 || rate.count > RATE_LIMIT {
        let message = format!("`{}` must lie within 1 and {RATE_LIMIT}", quoted(item.key));
        item.error("out-of-range", message);
        return None;
    }
    Some(rate)
}

/// Reads `06:00-22:00`.
fn hours(item: &Item) -> Option<Hours> {
    let text = item.text()?;
    let read = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    match read {
        Some((from, to)) if from != to && from < 1440 => Some(Hours { from, to }),
        _ => {
            let message = format!("`{}` are no hours of the day", quoted(text));
            let help = "write HH:MM-HH:MM in UTC, from one time to another: \"06:00-22:00\"";
            item.scope.error_help(item.span, "bad-hours", message, help.to_owned());
            None
        }
    }
}

/// Minute of the day, 0 to 1440.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && hour * 60 + minute <= 1440).then_some(hour * 60 + minute)
}
