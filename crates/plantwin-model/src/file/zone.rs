//! Zones, and the short form of conduits between them.
//!
//! Absent: the long form (see [`super::conduit`]).

use std::collections::HashMap;

use super::{quantity::quoted, suggest::suggest, table::Table, upkeep};
use crate::{Action, Actions, ConduitSpec, PlainRule, SupervisionSpec, ZoneIx, ZoneSpec};

/// Most zones of one plant.
const ZONE_LIMIT: usize = 10_000;

/// Words for the treatment of devices without keys.
const PLAIN: &[(&str, PlainRule)] =
    &[("allow", PlainRule::Allow), ("confine", PlainRule::Confine), ("refuse", PlainRule::Refuse)];

/// The zones of a plant while it is read.
#[derive(Default)]
pub(super) struct Zones {
    pub(super) list: Vec<ZoneSpec>,
    by_name: HashMap<String, ZoneIx>,
    pub(super) conduits: Vec<ConduitSpec>,
}

impl Zones {
    /// Reads `[zone.*]`; `plant` is what a zone's restarts are like where it says nothing.
    pub(super) fn read(root: &Table, plant: &SupervisionSpec) -> Self {
        let mut zones = Self::default();
        let mut peers = Vec::new();
        for item in root.map("zone") {
            if zones.list.len() == ZONE_LIMIT {
                let message = format!("more than {ZONE_LIMIT} zones");
                item.scope.error(item.key_span, "too-many", message);
                break;
            }
            let ix = ZoneIx(zones.list.len() as u16);
            // A zone with problems exists all the same: whoever names it is right.
            zones.by_name.insert(item.key.to_owned(), ix);
            item.name(true);
            let table = item.table(root.path(&format!("zone.{}", item.key)));
            let title = table.as_ref().map(|t| t.text_or("title", item.key)).unwrap_or_default();
            let sl_t = table.as_ref().and_then(|t| t.get("sl_t")?.integer(0, 4)).unwrap_or(0);
            let plain = table.as_ref().and_then(|t| t.get("plain")?.choice(PLAIN));
            zones.list.push(ZoneSpec {
                id: item.key.into(),
                title,
                peers: Vec::new(),
                sl_t: sl_t as u8,
                plain: plain.unwrap_or_default(),
                supervision: table.as_ref().and_then(|t| upkeep::supervision(t, plant)),
            });
            if let Some(table) = table {
                peers.push((ix, table.get("peers")));
                table.close();
            }
        }
        for (ix, peers) in peers {
            for item in peers.and_then(|p| p.array()).unwrap_or_default() {
                let Some(name) = item.text() else { continue };
                let Some(peer) = zones.find(&item, name) else { continue };
                if peer == ix {
                    item.error("bad-value", format!("zone `{}` lists itself", quoted(name)));
                } else if !zones.list[ix.index()].peers.contains(&peer) {
                    zones.list[ix.index()].peers.push(peer);
                    zones.conduits.push(ConduitSpec {
                        from: ix,
                        to: peer,
                        protocols: None,
                        actions: Actions::ALL,
                        max_rate: None,
                        line: item.scope.report.line(&item.scope.file, item.span.start),
                        span: item.span,
                    });
                } else {
                    item.error(
                        "duplicate-name",
                        format!("zone `{}` is listed twice", quoted(name)),
                    );
                }
            }
        }
        zones
    }

    /// The zone `name`, wanted at `item`.
    pub(super) fn find(&self, item: &super::item::Item, name: &str) -> Option<ZoneIx> {
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            let known = self.list.iter().map(|z| z.id.as_str());
            let help = if self.list.is_empty() {
                Some(format!("add [zone.{}]", quoted(name)))
            } else {
                suggest(item.scope.report, name, "zones", known)
            };
            let message = format!("unknown zone `{}`", quoted(name));
            item.scope.error_help(item.span, "unknown-zone", message, help);
        }
        found
    }

    /// Whether a flow may go from `from` to `to`.
    pub(super) fn joined(&self, from: ZoneIx, to: ZoneIx) -> bool {
        from == to || self.conduits.iter().any(|c| c.carries(from, to, None, Action::Read))
    }
}
