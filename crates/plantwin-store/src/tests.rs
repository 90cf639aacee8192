//! What the store promises, on both kinds, and what damage does to the one on disk.

use std::{fs, path::Path, sync::Arc};

use proptest::prelude::*;
use tempfile::TempDir;

use crate::{
    KEY_LIMIT, MemoryStore, OpenReport, SledStore, Store, StoreError, StoreExt, Tree, VALUE_LIMIT,
    Write, record,
};

mod damage;

const TWINS: Tree = Tree::new("twins");
const ALARMS: Tree = Tree::new("alarms");

fn open(dir: &Path) -> (SledStore, OpenReport) {
    SledStore::open(dir).unwrap()
}

/// Runs a test on both kinds of store.
fn on_both(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::new());
    let dir = TempDir::new().unwrap();
    test(&open(dir.path()).0);
}

#[test]
fn what_was_put_is_got_under_its_tree_and_key_only() {
    on_both(|store| {
        store.put_batch(TWINS, &[Write::Put("a", b"1"), Write::Put("b", b"")]).unwrap();
        assert_eq!(store.get(TWINS, "a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(store.get(TWINS, "b").unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(store.get(TWINS, "c").unwrap(), None);
        assert_eq!(store.get(ALARMS, "a").unwrap(), None);
    });
}

#[test]
fn a_batch_replaces_and_deletes_and_later_writes_win() {
    on_both(|store| {
        store.put_batch(TWINS, &[Write::Put("a", b"1"), Write::Put("b", b"1")]).unwrap();
        let batch = [Write::Delete("a"), Write::Delete("x"), Write::Put("b", b"2")];
        store.put_batch(TWINS, &batch).unwrap();
        store.put_batch(TWINS, &[]).unwrap();
        assert_eq!(store.scan(TWINS).unwrap(), [("b".to_owned(), b"2".to_vec())]);
    });
}

#[test]
fn a_scan_gives_the_keys_in_order() {
    on_both(|store| {
        for key in ["b", "a", "ä", "ab"] {
            store.put_value(TWINS, key, &key.len()).unwrap();
        }
        let keys: Vec<_> = store.scan_values::<usize>(TWINS).unwrap();
        let keys: Vec<_> = keys.iter().map(|(k, n)| (k.as_str(), *n)).collect();
        assert_eq!(keys, [("a", 1), ("ab", 2), ("b", 1), ("ä", 2)]);
    });
}

#[test]
fn typed_values_come_back_and_other_types_are_refused() {
    on_both(|store| {
        store.put_value(TWINS, "tank1", &("text".to_owned(), 12.5_f64)).unwrap();
        let value: Option<(String, f64)> = store.get_value(TWINS, "tank1").unwrap();
        assert_eq!(value, Some(("text".to_owned(), 12.5)));
        assert_eq!(store.get_value::<u8>(TWINS, "nobody").unwrap(), None);
        store.put_batch(TWINS, &[Write::Put("tank1", &[9])]).unwrap();
        let error = store.get_value::<(String, f64)>(TWINS, "tank1").unwrap_err();
        assert!(matches!(error, StoreError::Encoding { .. }));
        assert!(error.to_string().starts_with("decode \"tank1\" of twins: "), "{error}");
    });
}

#[test]
fn too_long_keys_and_values_are_refused_before_anything_is_written() {
    on_both(|store| {
        let (key, value) = ("k".repeat(KEY_LIMIT + 1), vec![0; VALUE_LIMIT + 1]);
        for write in [Write::Put(&key, b""), Write::Delete(&key), Write::Put("v", &value)] {
            let error = store.put_batch(TWINS, &[Write::Put("ok", b""), write]).unwrap_err();
            assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
        }
        assert_eq!(store.scan(TWINS).unwrap(), []);
        let longest = [Write::Put(&key[1..], &value[1..])];
        store.put_batch(TWINS, &longest).unwrap();
    });
}

#[test]
fn a_store_can_be_shared_as_an_object() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    std::thread::scope(|scope| {
        for i in 0..4 {
            let store = &store;
            scope.spawn(move || store.put_value(TWINS, &i.to_string(), &i).unwrap());
        }
    });
    assert_eq!(store.scan(TWINS).unwrap().len(), 4);
}

#[test]
fn what_was_flushed_is_there_after_opening_again() {
    let dir = TempDir::new().unwrap();
    for round in 0..5_u32 {
        let (store, report) = open(dir.path());
        assert_eq!(report, OpenReport { records: u64::from(round), ..OpenReport::default() });
        store.put_value(TWINS, &round.to_string(), &round).unwrap();
        store.flush().unwrap();
    }
    let (store, _) = open(dir.path());
    assert_eq!(store.dir(), dir.path());
    let values = store.scan_values::<u32>(TWINS).unwrap();
    assert_eq!(values.iter().map(|(_, v)| *v).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_second_opener_is_refused_by_name_until_the_first_is_gone() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let error = SledStore::open(dir.path()).unwrap_err();
    let StoreError::InUse { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, std::process::id().to_string());
    assert!(error.to_string().contains(&format!("in use by process {pid}")), "{error}");
    drop(store);
    SledStore::open(dir.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named_with_its_cause() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = SledStore::open(&file.join("store")).unwrap_err().to_string();
    let path = file.join("store").display().to_string();
    assert!(error.starts_with(&format!("create the directory {path}: ")), "{error}");
    assert!(error.contains("os error"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_its_cause() {
    let dir = TempDir::new().unwrap();
    // A directory in the lock file's place fails for every user, root included.
    fs::create_dir(dir.path().join("lock")).unwrap();
    let error = SledStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("open the lock file "), "{error}");
    assert!(error.contains("os error"), "{error}");
}

#[test]
fn a_flush_that_cannot_keep_its_promise_says_so() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    fs::create_dir(dir.path().join("head.new")).unwrap();
    store.put_value(TWINS, "a", &1).unwrap();
    let error = store.flush().unwrap_err().to_string();
    assert!(error.contains("head.new"), "{error}");
}

proptest! {
    #[test]
    fn any_altered_record_is_found(
        value in prop::collection::vec(any::<u8>(), 0..64), sequence in any::<u64>(),
        at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let good = record::encode("twins", b"key", sequence, &value);
        prop_assert_eq!(record::decode("twins", b"key", &good), Ok((sequence, &value[..])));
        prop_assert!(record::decode("twins", b"other", &good).is_err());
        prop_assert!(record::decode("alarms", b"key", &good).is_err());
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= flip;
        prop_assert!(record::decode("twins", b"key", &bad).is_err());
        prop_assert!(record::decode("twins", b"key", &good[..at.index(good.len())]).is_err());
    }

    #[test]
    fn foreign_bytes_are_no_record(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(record::decode("twins", b"key", &bytes).is_err());
    }
}
