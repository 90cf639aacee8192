//! A table of a file: hands out its keys, knows afterwards which nobody asked for.
//!
//! Absent: values (see [`Item`]).

use std::cell::RefCell;

use toml::de::DeTable;

use super::{item::Item, parse::Scope, quantity::quoted, suggest::suggest};
use crate::Span;

/// One table while it is read. [`Table::close`] at the end reports unknown keys.
pub(super) struct Table<'t, 'i> {
    pub(super) scope: &'t Scope<'t>,
    /// How messages call it, e.g. `[device.tank1]`.
    pub(super) what: String,
    /// Its header, or the whole inline table.
    pub(super) span: Span,
    entries: &'t DeTable<'i>,
    known: RefCell<Vec<&'static str>>,
}

impl<'t, 'i> Table<'t, 'i> {
    /// The whole file.
    pub(super) fn root(scope: &'t Scope<'t>, entries: &'t DeTable<'i>) -> Self {
        Self::new(scope, "this file".into(), Span::default(), entries)
    }

    pub(super) fn new(
        scope: &'t Scope<'t>,
        what: String,
        span: Span,
        entries: &'t DeTable<'i>,
    ) -> Self {
        Self { scope, what, span, entries, known: RefCell::default() }
    }

    /// The value of `key`, if it is there; `key` is known from now on.
    pub(super) fn get(&self, key: &'static str) -> Option<Item<'t, 'i>> {
        self.known.borrow_mut().push(key);
        let (name, value) = self.entries.get_key_value(key)?;
        Some(Item::new(self.scope, name, value))
    }

    /// The value of `key`; its absence is an error.
    pub(super) fn need(&self, key: &'static str) -> Option<Item<'t, 'i>> {
        let item = self.get(key);
        if item.is_none() {
            self.scope.error(self.span, "missing-key", format!("{} needs `{key}`", self.what));
        }
        item
    }

    /// The text of `key`, or `default`.
    pub(super) fn text_or(&self, key: &'static str, default: &str) -> String {
        self.get(key).and_then(|i| i.text()).unwrap_or(default).to_owned()
    }

    /// The text of `key`; absence and blankness are errors.
    pub(super) fn need_text(&self, key: &'static str) -> Option<String> {
        let item = self.need(key)?;
        let text = item.text()?;
        if text.trim().is_empty() {
            item.error("bad-value", format!("`{key}` is empty"));
            return None;
        }
        Some(text.to_owned())
    }

    /// The table at `key`, if it is there.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'t, 'i>> {
        let path = self.path(key);
        self.get(key)?.table(path)
    }

    /// The entries of the table at `key` in file order; none if it is absent.
    pub(super) fn map(&self, key: &'static str) -> Vec<Item<'t, 'i>> {
        self.table(key).map(|t| t.entries()).unwrap_or_default()
    }

    /// The tables in the array at `key` in file order; none if it is absent.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'t, 'i>> {
        let items = self.get(key).and_then(|i| i.array()).unwrap_or_default();
        items.into_iter().filter_map(|i| i.table(format!("[[{key}]]"))).collect()
    }

    /// All entries in file order.
    pub(super) fn entries(&self) -> Vec<Item<'t, 'i>> {
        let mut out: Vec<_> =
            self.entries.iter().map(|(k, v)| Item::new(self.scope, k, v)).collect();
        out.sort_by_key(|i| i.key_span.start);
        out
    }

    /// How messages call the table at `key` of this one.
    pub(super) fn path(&self, key: &str) -> String {
        match self.what.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
            Some(outer) if !outer.starts_with('[') => format!("[{outer}.{}]", quoted(key)),
            _ => format!("[{}]", quoted(key)),
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn close(&self) {
        self.close_with(&[]);
    }

    /// Same, with further keys that are fine.
    pub(super) fn close_with(&self, more: &[&str]) {
        let known = self.known.borrow();
        let names = || known.iter().copied().chain(more.iter().copied());
        for (key, _) in self.entries {
            let name: &str = key.get_ref();
            if names().any(|k| k == name) {
                continue;
            }
            let help = suggest(self.scope.report, name, "keys", names());
            let message = format!("unknown key `{}` in {}", quoted(name), self.what);
            self.scope.error_help(key.span().into(), "unknown-key", message, help);
        }
    }
}
