//! A twin type: `[twin]`, and the parts read by [`super::property`] and [`super::model`].
//!
//! Absent: finding the text of a type (see [`super::types`]).

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Catalog, model, parse::Scope, property, quantity::quoted, suggest::suggest, table::Table,
};
use crate::TwinType;

/// A type as it was read, with what the plant's checks need beyond [`TwinType`].
pub(super) struct ReadType {
    pub(super) kind: Arc<TwinType>,
    /// Names that are declared but could not be read: whoever refers to them is not to blame.
    pub(super) broken: BTreeSet<String>,
    /// By point: whether `stale_after` was left to the device's period.
    pub(super) stale_by_period: Vec<bool>,
    /// By input: whether the file gives a default.
    pub(super) input_has_default: Vec<bool>,
}

impl ReadType {
    /// Whether points and model were read without an error.
    pub(super) fn is_sound(&self) -> bool {
        self.broken.is_empty()
    }
}

/// Reads a type. `own_name` is the name of `[type.NAME]` in a plant; a file names itself.
pub(super) fn read(
    scope: &Scope,
    root: Table,
    own_name: Option<&str>,
    catalog: &Catalog,
) -> Option<ReadType> {
    let head = root.table("twin");
    if head.is_none() && own_name.is_none() {
        scope.error(root.span, "missing-key", "a twin file needs [twin] with `type = \"NAME\"`");
    }
    let mut name = own_name.map(str::to_owned);
    let mut kind = TwinType {
        name: String::new(),
        version: 1,
        title: String::new(),
        file: scope.file.clone(),
        points: Vec::new(),
        commands: Vec::new(),
        alarms: Vec::new(),
        model: None,
        energy_profile: "ethernet".into(),
    };
    if let Some(head) = head {
        let given = if own_name.is_some() { head.get("type") } else { head.need("type") };
        if let Some((item, given)) = given.and_then(|i| Some((i, i.text_name(true)?))) {
            if own_name.is_some_and(|own| own != given) {
                let own = quoted(own_name.unwrap_or_default());
                item.error("bad-value", format!("this is type `{own}`, but says `{given}`"));
            }
            name.get_or_insert_with(|| given.to_owned());
        }
        if let Some(version) = head.get("version").and_then(|i| i.integer(1, u32::MAX.into())) {
            kind.version = version as u32;
        }
        kind.title = head.text_or("title", "");
        if let Some(item) = head.get("energy")
            && let Some(profile) = energy(&item, catalog)
        {
            kind.energy_profile = profile;
        }
        head.close();
    }
    let mut broken = BTreeSet::new();
    let (points, stale_by_period) = property::points(&root, &mut broken);
    kind.points = points;
    if kind.points.is_empty() && broken.is_empty() {
        let message = "a type needs at least one point: [property.NAME]";
        scope.error(root.span, "missing-key", message);
    }
    kind.commands = property::commands(&root, &kind, &broken);
    kind.alarms = property::alarms(&root, &kind, &broken);
    let mut input_has_default = Vec::new();
    if let Some(table) = root.table("model") {
        kind.model = model::read(&table, &kind, &mut broken, &mut input_has_default);
    }
    root.close();
    if scope.report.damaged(&scope.file) {
        // No name has brackets, so this excuses no name in particular.
        broken.insert("[syntax]".into());
    }
    kind.name = name?;
    Some(ReadType { kind: Arc::new(kind), broken, stale_by_period, input_has_default })
}

/// Reads the name of an energy profile.
pub(super) fn energy(item: &super::item::Item, catalog: &Catalog) -> Option<String> {
    let name = item.text()?;
    if catalog.energy_profiles.is_empty() || catalog.energy_profiles.contains(&name) {
        return Some(name.to_owned());
    }
    let known = catalog.energy_profiles.iter().copied();
    let help = suggest(item.scope.report, name, "energy profiles", known);
    let message = format!("unknown energy profile `{}`", quoted(name));
    item.scope.error_help(item.span, "unknown-energy-profile", message, help);
    None
}
