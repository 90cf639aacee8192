//! Names of devices, points and alarms are as telling as their values, and sled keeps keys as they
//! are. So a record does not stand under its key but at a *place*: a keyed hash (16 bytes) of the
//! key up to its first NUL, followed by the rest of the key as it is. The name that was hashed is
//! sealed in the record.
//!
//! A hash keeps no order. What is read in the order of its keys is found by an index of all names,
//! built when the store is opened and reads every record anyway; behind a name, sled's own order
//! holds. NUL sorts before every other byte, so both together are the order of the keys. The index
//! takes the length of each name and about 100 bytes; the records of a queue share one.
//!
//! Whoever reads the files still learns how many names there are, how many records each has, how
//! long they are and which are written when, and what stands behind a NUL (in a queue: sequences).
//! Absent: hiding that.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use plantwin_seal::mac;

use crate::key::{Keys, short};

/// The hash of a name.
pub(crate) type NameId = [u8; 16];

/// A key as its name and what is not hidden.
pub(crate) fn split(key: &str) -> (&str, &str) {
    key.split_at(key.find('\0').unwrap_or(key.len()))
}

/// The hash of a name in a tree.
pub(crate) fn id_of(keys: &Keys, tree: &str, name: &str) -> NameId {
    short(&mac(&keys.name, &[tree.as_bytes(), name.as_bytes()]))
}

/// Where the record of a key stands.
pub(crate) fn place(id: NameId, rest: &str) -> Vec<u8> {
    let mut place = Vec::with_capacity(id.len() + rest.len());
    place.extend(id);
    place.extend(rest.as_bytes());
    place
}

/// The names of one tree, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(BTreeMap<Arc<str>, (NameId, u64)>);

impl Names {
    /// A record of that name is there.
    pub(crate) fn add(&mut self, name: &str, id: NameId) {
        match self.0.get_mut(name) {
            Some((_, records)) => *records += 1,
            None => drop(self.0.insert(Arc::from(name), (id, 1))),
        }
    }

    /// A record of that name is gone.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some((_, records)) = self.0.get_mut(name) {
            *records -= 1;
            if *records == 0 {
                self.0.remove(name);
            }
        }
    }

    /// The first name from there on.
    pub(crate) fn first(&self, from: Bound<&str>) -> Option<(Arc<str>, NameId)> {
        let (name, (id, _)) = self.0.range::<str, _>((from, Bound::Unbounded)).next()?;
        Some((Arc::clone(name), *id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_in_order_and_behind_each_its_rests_in_order_are_the_order_of_the_keys(
            mut keys in prop::collection::vec("[\0\u{1}ab]{0,6}", 0..20),
        ) {
            let mut by_parts = keys.clone();
            by_parts.sort_by(|a, b| split(a).cmp(&split(b)));
            keys.sort();
            prop_assert_eq!(by_parts, keys);
        }

        #[test]
        fn a_name_is_known_as_long_as_it_has_records(
            changes in prop::collection::vec(("[ab]{1,2}", any::<bool>()), 0..40),
        ) {
            let mut names = Names::default();
            let mut counts: BTreeMap<String, i32> = BTreeMap::new();
            for (name, add) in changes {
                let count = counts.entry(name.clone()).or_default();
                if add {
                    names.add(&name, [1; 16]);
                    *count += 1;
                } else if *count > 0 {
                    names.remove(&name);
                    *count -= 1;
                }
            }
            let known: Vec<String> = names.0.keys().map(ToString::to_string).collect();
            let expected: Vec<String> =
                counts.into_iter().filter(|(_, n)| *n > 0).map(|(name, _)| name).collect();
            let first = names.first(Bound::Included("")).map(|(name, _)| name.to_string());
            prop_assert_eq!(first.as_ref(), expected.first());
            prop_assert_eq!(known, expected);
        }
    }
}
