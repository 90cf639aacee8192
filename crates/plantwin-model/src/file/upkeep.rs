//! Restart policies, and how durable telemetry waits: `[supervision]` and `[spool]`.
//!
//! Absent: where durable telemetry goes (see [`super::northbound`]), carrying any of it out.

use std::time::Duration;

use super::{
    item::Item,
    quantity::{quoted, show, split},
    table::Table,
};
use crate::{Delivery, DropPolicy, Escalation, RestartStrategy, SpoolSpec, SupervisionSpec};

const DAY: Duration = Duration::from_hours(24);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Fewest and most bytes of a spool: one page, and more than any device has.
const SPOOL_BYTES: (u64, u64) = (4 << 10, 1 << 50);

/// Units of bytes.
const BYTES: [(&str, f64); 9] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

const STRATEGIES: &[(&str, RestartStrategy)] = &[
    ("one_for_one", RestartStrategy::OneForOne),
    ("rest_for_one", RestartStrategy::RestForOne),
    ("one_for_all", RestartStrategy::OneForAll),
];

const ESCALATIONS: &[(&str, Escalation)] =
    &[("give_up", Escalation::GiveUp), ("parent", Escalation::Parent)];

const DROPS: &[(&str, DropPolicy)] = &[
    ("oldest", DropPolicy::Oldest),
    ("newest", DropPolicy::Newest),
    ("decimate", DropPolicy::Decimate),
];

/// Reads the key `delivery` of a device or of the plant.
pub(super) fn delivery(table: &Table) -> Option<Delivery> {
    table.get("delivery")?.choice(&[("latest", Delivery::Latest), ("durable", Delivery::Durable)])
}

/// Reads the table `supervision` of the plant or of a zone, if it is there; what it does not say
/// is as in `default`.
pub(super) fn supervision(owner: &Table, default: &SupervisionSpec) -> Option<SupervisionSpec> {
    let table = owner.table("supervision")?;
    let mut out = default.clone();
    if let Some(strategy) = table.get("strategy").and_then(|i| i.choice(STRATEGIES)) {
        out.strategy = strategy;
    }
    if let Some(n) = table.get("max_restarts").and_then(|i| i.integer(0, 1000)) {
        out.max_restarts = n as u32;
    }
    if let Some(window) = table.get("window").and_then(|i| i.duration(MILLISECOND, DAY)) {
        out.window = window;
    }
    if let Some((min, max)) = table.get("backoff").and_then(|i| backoff(&i)) {
        (out.backoff_min, out.backoff_max) = (min, max);
    }
    if let Some(escalation) = table.get("escalate").and_then(|i| i.choice(ESCALATIONS)) {
        out.escalation = escalation;
    }
    table.close();
    Some(out)
}

/// Reads `["100ms", "30s"]`.
fn backoff(item: &Item) -> Option<(Duration, Duration)> {
    let ends = item.array()?;
    let [min, max] = ends[..] else {
        let help = "write it like [\"100ms\", \"30s\"]".to_owned();
        let message = "`backoff` must be [SHORTEST, LONGEST]";
        item.scope.error_help(item.span, "bad-value", message, help);
        return None;
    };
    let (min, max) = (min.duration(MILLISECOND, DAY), max.duration(MILLISECOND, DAY));
    let (min, max) = (min?, max?);
    if min > max {
        let message = format!("`backoff` begins at {}, above its end {}", show(min), show(max));
        item.error("out-of-range", message);
        return None;
    }
    Some((min, max))
}

/// Reads `[spool]`; what it does not say is the default.
pub(super) fn spool(root: &Table) -> SpoolSpec {
    let mut out = SpoolSpec::default();
    let Some(table) = root.table("spool") else { return out };
    let (device, total) = (table.get("device_bytes"), table.get("total_bytes"));
    let device_bytes = device.map(|i| bytes(&i));
    let total_bytes = total.map(|i| bytes(&i));
    if let Some(age) =
        table.get("max_age").and_then(|i| i.duration(Duration::from_secs(1), 3650 * DAY))
    {
        out.max_age = age;
    }
    if let Some(drop) = table.get("drop").and_then(|i| i.choice(DROPS)) {
        out.drop = drop;
    }
    table.close();
    out.device_bytes = device_bytes.flatten().unwrap_or(out.device_bytes);
    out.total_bytes = total_bytes.flatten().unwrap_or(out.total_bytes);
    // A bound that could not be read is reported already and not compared.
    let unread = device_bytes == Some(None) || total_bytes == Some(None);
    if let Some(at) = total.or(device).filter(|_| !unread && out.total_bytes < out.device_bytes) {
        let default = |given: Option<Item>| if given.is_some() { "" } else { " (the default)" };
        let message = format!(
            "`total_bytes`, {}{}, is less than `device_bytes`, {}{}",
            show_bytes(out.total_bytes),
            default(total),
            show_bytes(out.device_bytes),
            default(device),
        );
        let help = "all devices together need at least what one may have".to_owned();
        at.scope.error_help(at.span, "out-of-range", message, help);
    }
    out
}

/// The value as a count of bytes: a whole number, or text with a unit.
fn bytes(item: &Item) -> Option<u64> {
    let (low, high) = SPOOL_BYTES;
    let count = if item.is_text() {
        let text = item.text()?;
        let read = split(text)
            .and_then(|(n, unit)| Some(n * BYTES.iter().find(|(name, _)| *name == unit)?.1));
        let Some(count) = read else {
            let message = format!("`{}` is not a count of bytes", quoted(text));
            let help = "write a number and kB, MB, GB, KiB, MiB or GiB: \"64 MiB\"".to_owned();
            item.scope.error_help(item.span, "bad-bytes", message, help);
            return None;
        };
        count.round()
    } else {
        item.integer(i64::MIN, i64::MAX)? as f64
    };
    // Exact up to 2^53, far above the bound.
    if count < low as f64 || count > high as f64 {
        let (low, high) = (show_bytes(low), show_bytes(high));
        let message = format!("`{}` must lie within {low} and {high}", quoted(item.key));
        item.error("out-of-range", message);
        return None;
    }
    Some(count as u64)
}

/// Writes a count of bytes the way files do, in the largest unit that leaves it whole.
fn show_bytes(count: u64) -> String {
    let whole =
        |(_, scale): &&(&str, f64)| count >= *scale as u64 && count.is_multiple_of(*scale as u64);
    let (unit, scale) = BYTES.iter().rev().find(whole).copied().unwrap_or(("B", 1.0));
    format!("{} {unit}", count / scale as u64)
}
