//! Arguments of the long runs: `--name value` and nothing else.
//!
//! Absent: help beyond one line; people call these through `cargo xtask`, which has it.

use std::{collections::BTreeMap, str::FromStr};

/// Arguments by name.
pub struct Args(BTreeMap<String, String>);

impl Args {
    /// Reads them; each of them must be `known`.
    pub fn read(known: &[&str], args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut found = BTreeMap::new();
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let Some(plain) = name.strip_prefix("--").filter(|n| known.contains(n)) else {
                return Err(format!("`{name}` is not one of --{}", known.join(", --")));
            };
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            found.insert(plain.to_owned(), value);
        }
        Ok(Self(found))
    }

    /// A value, or `default` without it.
    pub fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        text.parse().map_err(|_| format!("--{name} cannot be `{text}`"))
    }
}
