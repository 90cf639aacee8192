//! What the store promises, on both kinds, and what damage does to the one on disk.

use std::{fs, ops::ControlFlow, path::Path, sync::Arc};

use plantwin_model::Timestamp;
use plantwin_seal::Secret;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{
    KEY_LIMIT, LogKind, MemoryStore, OpenReport, PAYLOAD_LIMIT, SledStore, Store, StoreError,
    StoreExt, Tree, VALUE_LIMIT, Write, record,
};

mod at_rest;
mod damage;
mod hang;
mod key;
mod marks;
mod memory;
mod mend;
mod rewrap;

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
        let (records, boot) = (u64::from(round), u64::from(round) + 1);
        assert_eq!(report, OpenReport { records, boot, ..OpenReport::default() });
        assert_eq!(store.boot(), boot);
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
fn a_scan_from_a_key_keeps_to_its_prefix_its_beginning_and_its_limit() {
    on_both(|store| {
        let keys = ["a", "b/1", "b/2", "b/3", "b/4", "c"];
        let writes: Vec<_> = keys.iter().map(|key| Write::Put(key, key.as_bytes())).collect();
        store.put_batch(TWINS, &writes).unwrap();
        let found = |prefix, from, limit| {
            let found = store.scan_from(TWINS, prefix, from, limit).unwrap();
            found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(found("b/", "", 9), ["b/1", "b/2", "b/3", "b/4"]);
        assert_eq!(found("b/", "b/2", 2), ["b/2", "b/3"]);
        assert_eq!(found("b/", "a", 1), ["b/1"]);
        assert_eq!(found("b/", "b/9", 9), [""; 0]);
        assert_eq!(found("", "b/4", 9), ["b/4", "c"]);
        assert_eq!(found("", "", 0), [""; 0]);
        assert_eq!(store.lost(TWINS), 0);
    });
}

/// The log from a sequence on.
fn log(store: &dyn Store, from: u64) -> Vec<(u64, LogKind, i64, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .read_log(from, &mut |record| {
            found.push((record.sequence, record.kind, record.time.0, record.payload.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn the_log_gives_back_what_was_appended_in_order_and_from_any_sequence() {
    on_both(|store| {
        assert_eq!(log(store, 0), []);
        let kinds = [LogKind::Alarm, LogKind::Command, LogKind::Audit];
        for (i, kind) in kinds.into_iter().enumerate() {
            let payload = vec![i as u8; i];
            assert_eq!(store.append(kind, Timestamp(7), &payload).unwrap(), i as u64 + 1);
            if i == 1 {
                store.flush_log().unwrap();
            }
        }
        let all = [
            (1, LogKind::Alarm, 7, vec![]),
            (2, LogKind::Command, 7, vec![1]),
            (3, LogKind::Audit, 7, vec![2, 2]),
        ];
        assert_eq!(log(store, 0), all);
        assert_eq!(log(store, 3), all[2..]);
        assert_eq!(log(store, 4), []);
        let mut first = None;
        store
            .read_log(1, &mut |record| {
                first = Some(record.sequence);
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(first, Some(1));
    });
}

#[test]
fn who_reads_the_log_may_append_to_it() {
    on_both(|store| {
        store.append(LogKind::Command, Timestamp(1), b"intent").unwrap();
        store
            .read_log(1, &mut |record| {
                store.append(LogKind::Command, record.time, b"outcome").unwrap();
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(log(store, 2), [(2, LogKind::Command, 1, b"outcome".to_vec())]);
    });
}

#[test]
fn a_payload_beyond_the_limit_is_refused_and_takes_no_sequence() {
    on_both(|store| {
        let long = vec![0; PAYLOAD_LIMIT + 1];
        let error = store.append(LogKind::Audit, Timestamp(0), &long).unwrap_err();
        assert!(matches!(error, StoreError::TooLong { tree: "log", .. }), "{error}");
        assert_eq!(store.append(LogKind::Audit, Timestamp(0), &long[1..]).unwrap(), 1);
        store.flush().unwrap();
        assert_eq!(log(store, 1)[0].3.len(), PAYLOAD_LIMIT);
    });
}

#[test]
fn log_kinds_keep_their_numbers() {
    let kinds = [LogKind::Alarm, LogKind::Command, LogKind::Audit, LogKind::Checkpoint];
    for (byte, kind) in (1..).zip(kinds) {
        assert_eq!(kind as u8, byte);
        assert_eq!(LogKind::from_byte(byte), Some(kind));
    }
    assert_eq!(LogKind::from_byte(0), None);
    assert_eq!(LogKind::from_byte(5), None);
}

#[test]
fn many_threads_flush_and_each_finds_its_own_safe() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    std::thread::scope(|scope| {
        for i in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for j in 0..20_u64 {
                    store.put_value(TWINS, &format!("{i}-{j}"), &j).unwrap();
                    store.append(LogKind::Audit, Timestamp(0), &j.to_le_bytes()).unwrap();
                    store.flush().unwrap();
                }
            });
        }
    });
    drop(store);
    let (_, report) = open(dir.path());
    assert_eq!((report.records, report.log_records, report.is_clean()), (80, 80, true));
}

#[test]
fn what_is_sealed_at_rest_opens_in_its_store_and_context_only() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [(a, _), (b, _)] = [open(dirs[0].path()), open(dirs[1].path())];
    let sealed = a.seal_at_rest("letters", b"secret").unwrap();
    assert_eq!(a.open_at_rest("letters", &sealed).unwrap(), b"secret");
    assert!(matches!(a.open_at_rest("other", &sealed), Err(StoreError::Seal(_))));
    assert!(matches!(b.open_at_rest("letters", &sealed), Err(StoreError::Seal(_))));
    drop(a);
    assert_eq!(open(dirs[0].path()).0.open_at_rest("letters", &sealed).unwrap(), b"secret");
}

#[test]
fn values_too_long_for_the_data_bases_own_log_are_kept_and_salvaged_as_well() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let long = |n: u8| vec![n; VALUE_LIMIT];
    for n in 1..5_u8 {
        store.put_batch(TWINS, &[Write::Put(&n.to_string(), &long(n))]).unwrap();
        store.flush().unwrap();
    }
    assert!(fs::read_dir(dir.path().join("state/blobs")).unwrap().count() > 0);
    drop(store);
    let (store, report) = open(dir.path());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(store.get(TWINS, "3").unwrap(), Some(long(3)));
    drop(store);
    fs::remove_file(dir.path().join("state/db")).unwrap();
    let (store, report) = open(dir.path());
    assert_eq!((report.records, report.missing()), (4, 0), "{report:?}");
    for n in 1..5_u8 {
        assert_eq!(store.get(TWINS, &n.to_string()).unwrap(), Some(long(n)));
    }
}

#[test]
fn after_a_panic_of_the_data_base_the_trees_refuse_and_the_log_goes_on() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    let error = store.with_db(|_| -> () { panic!("index out of bounds") });
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "test the store: the data base panicked: index out of bounds");
    assert!(matches!(store.get(TWINS, "a"), Err(StoreError::Failed)));
    assert!(matches!(store.put_value(TWINS, "a", &2), Err(StoreError::Failed)));
    store.append(LogKind::Alarm, Timestamp(1), b"the store failed").unwrap();
    store.flush_log().unwrap();
    assert!(matches!(store.flush(), Err(StoreError::Failed)));
    assert_eq!(log(&store, 1).len(), 1);
    drop(store);
    let (store, report) = open(dir.path());
    assert_eq!((report.is_clean(), report.records, report.log_records), (true, 1, 1));
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(1));
}

fn secret() -> Secret {
    Secret::new([3; 32])
}

proptest! {
    #[test]
    fn any_altered_record_is_found(
        value in prop::collection::vec(any::<u8>(), 0..64), sequence in any::<u64>(),
        at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let secret = secret();
        let good = record::encode(&secret, "twins", (b"key", "name"), sequence, &value).unwrap();
        let (found, content) = record::decode(&secret, "twins", b"key", &good).unwrap();
        prop_assert_eq!((found, content.name(), content.value()), (sequence, "name", &value[..]));
        prop_assert_eq!(content.into_value(), value);
        prop_assert!(record::decode(&secret, "twins", b"other", &good).is_err());
        prop_assert!(record::decode(&secret, "alarms", b"key", &good).is_err());
        prop_assert!(record::decode(&Secret::new([4; 32]), "twins", b"key", &good).is_err());
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= flip;
        prop_assert!(record::decode(&secret, "twins", b"key", &bad).is_err());
        let cut = &good[..at.index(good.len())];
        prop_assert!(record::decode(&secret, "twins", b"key", cut).is_err());
    }

    #[test]
    fn foreign_bytes_are_no_record(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(record::decode(&secret(), "twins", b"key", &bytes).is_err());
    }
}
