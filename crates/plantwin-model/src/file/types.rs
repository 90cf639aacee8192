//! The twin types that a plant uses, each read once.
//!
//! Absent: reading one (see [`super::twin`]) and the disk (see [`super::TypeSource`]).

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::{
    Catalog,
    item::Item,
    parse,
    quantity::quoted,
    suggest::suggest,
    table::Table,
    twin::{self, ReadType},
};
use crate::TwinType;

/// A point is stale after this many periods of its device, unless its type says otherwise.
const STALE_PERIODS: u32 = 3;

/// Types by name; one that could not be read is `None`, and its problems are reported.
pub(super) struct Types<'c> {
    catalog: &'c Catalog<'c>,
    read: BTreeMap<String, Option<Rc<ReadType>>>,
    /// Types with `stale_after` filled in, by name and period.
    by_period: HashMap<(String, Duration), Arc<TwinType>>,
}

impl<'c> Types<'c> {
    pub(super) fn new(catalog: &'c Catalog<'c>) -> Self {
        Self { catalog, read: BTreeMap::new(), by_period: HashMap::new() }
    }

    /// Reads the `[type.NAME]` tables of a plant.
    pub(super) fn read_inline(&mut self, root: &Table) {
        for item in root.map("type") {
            let kind = item.name(true).and_then(|name| {
                let table = item.table(format!("[type.{name}]"))?;
                twin::read(item.scope, table, Some(name), self.catalog)
            });
            self.read.insert(item.key.to_owned(), kind.map(Rc::new));
        }
    }

    /// The type `name`, wanted at `item`.
    pub(super) fn find(&mut self, item: &Item, name: &str) -> Option<Rc<ReadType>> {
        if let Some(known) = self.read.get(name) {
            return known.clone();
        }
        let Some((file, text)) = self.catalog.types.load(name) else {
            let names = self.catalog.types.names();
            let known = names.iter().chain(self.read.keys()).map(String::as_str);
            let help = suggest(item.scope.report, name, "types", known);
            let message = format!("unknown type `{}`", quoted(name));
            item.scope.error_help(item.span, "unknown-type", message, help);
            return None;
        };
        let catalog = self.catalog;
        let kind = parse::with_file(item.scope.report, file, text, |scope, root| {
            let kind = twin::read(scope, root, None, catalog)?;
            if kind.kind.name != name {
                let message = format!(
                    "this file should describe type `{}`, but says `{}`",
                    quoted(name),
                    quoted(&kind.kind.name)
                );
                scope.error(crate::Span::default(), "bad-value", message);
                return None;
            }
            Some(kind)
        });
        let kind = kind.flatten().map(Rc::new);
        self.read.insert(name.to_owned(), kind.clone());
        kind
    }

    /// The type for a device that reports every `period`.
    pub(super) fn for_period(&mut self, read: &ReadType, period: Duration) -> Arc<TwinType> {
        if !read.stale_by_period.contains(&true) {
            return read.kind.clone();
        }
        let make = || {
            let mut kind = TwinType::clone(&read.kind);
            for (point, by_period) in kind.points.iter_mut().zip(&read.stale_by_period) {
                if *by_period {
                    point.stale_after = period * STALE_PERIODS;
                }
            }
            Arc::new(kind)
        };
        self.by_period.entry((read.kind.name.clone(), period)).or_insert_with(make).clone()
    }

    /// The types whose points and model are without error, by name.
    pub(super) fn sound(&self) -> Vec<Arc<TwinType>> {
        let read = self.read.values().flatten();
        read.filter(|t| t.is_sound()).map(|t| t.kind.clone()).collect()
    }
}
