//! Nothing that was written can be read in the files, and nothing of it is lost by that.

use std::{fs, path::Path, sync::Arc};

use plantwin_model::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{ALARMS, TWINS, log, open};
use crate::{
    LogKind, MemoryStore, SledStore, Spool, SpoolLimits, Store, StoreExt, Tree, Write,
    spool::DropPolicy,
};

/// What must be found in no file: a device, a point, a value, an alarm's text, an argument.
const MARKERS: [&str; 7] = [
    "pump-marker-7731",
    "level-marker-5520",
    "value-marker-9914",
    "alarm-marker-3368",
    "argument-marker-4471",
    "queued-marker-8080",
    "deleted-marker-6612",
];

/// All bytes of all files below a directory, with their paths in front of them.
fn all_bytes(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.display().to_string();
                found.push((name, fs::read(path).unwrap()));
            }
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Nothing is found as it is, nor in UTF-16, nor the first half of it.
fn assert_sealed(dir: &Path) {
    let files = all_bytes(dir);
    assert!(
        files.iter().any(|(name, _)| name.contains("/state/db")),
        "the data base was looked at"
    );
    assert!(files.iter().any(|(name, _)| name.contains("/log/")), "the log was looked at");
    for (name, bytes) in files {
        for marker in MARKERS {
            let start = &marker[..marker.len() / 2];
            assert!(!holds(&bytes, start) && !holds(name.as_bytes(), start), "{marker} in {name}");
        }
    }
}

/// Writes all markers by all ways there are; the spool drops some, so that it writes gaps as well.
fn plant_markers(store: &Arc<SledStore>) {
    let [device, point, value, alarm, argument, queued, deleted] = MARKERS;
    store.put_value(TWINS, device, &(value, 12.5_f64)).unwrap();
    store.put_value(TWINS, &format!("{device}.{point}"), &value).unwrap();
    store.put_value(ALARMS, &format!("{device}/{alarm}"), &alarm).unwrap();
    store.put_batch(TWINS, &[Write::Put(deleted, deleted.as_bytes())]).unwrap();
    store.flush().unwrap();
    store.put_batch(TWINS, &[Write::Delete(deleted)]).unwrap();
    // Too long for sled's own log: a file of its own.
    let long = argument.repeat(20_000);
    store.put_batch(TWINS, &[Write::Put("long", long.as_bytes())]).unwrap();
    store.append(LogKind::Alarm, Timestamp(1), alarm.as_bytes()).unwrap();
    store.append(LogKind::Command, Timestamp(2), argument.as_bytes()).unwrap();
    store.append(LogKind::Audit, Timestamp(3), device.as_bytes()).unwrap();
    let limits =
        SpoolLimits { device_bytes: 700, drop: DropPolicy::Oldest, ..SpoolLimits::default() };
    let mut spool = Spool::open(store.clone(), limits).unwrap();
    for i in 0..30 {
        spool.append(device, Timestamp(i), queued.as_bytes()).unwrap();
    }
    spool.acknowledge(device, 25).unwrap();
    assert!(spool.totals().dropped > 0 && spool.totals().records > 0);
    store.flush().unwrap();
}

#[test]
fn no_name_value_text_or_argument_is_found_in_any_file_while_it_runs_nor_afterwards() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(dir.path()).0);
    plant_markers(&store);
    assert_sealed(dir.path());
    drop(store);
    assert_sealed(dir.path());
    let (store, report) = open(dir.path());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(store.scan(TWINS).unwrap().len(), 3);
    assert_eq!(log(&store, 1)[1].3, MARKERS[4].as_bytes());
    assert_sealed(dir.path());
}

#[test]
fn what_is_set_aside_is_as_sealed_as_the_rest_and_what_is_built_anew_too() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(dir.path()).0);
    plant_markers(&store);
    drop(store);
    for (file, at) in [("state/conf", 0), ("log/00000001.seg", 60)] {
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let (store, report) = open(dir.path());
    assert_eq!(report.set_aside.len(), 2, "{report:?}");
    assert!(store.scan(TWINS).unwrap().len() >= 3, "{report:?}");
    let key = format!("{}.{}", MARKERS[0], MARKERS[1]);
    assert_eq!(store.get_value::<String>(TWINS, &key).unwrap().as_deref(), Some(MARKERS[2]));
    assert_sealed(dir.path());
}

#[test]
fn the_same_name_has_another_place_in_another_tree_and_another_store() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let [(a, _), (b, _)] = [open(dirs[0].path()), open(dirs[1].path())];
    assert_ne!(a.place(TWINS, "tank1"), a.place(ALARMS, "tank1"));
    assert_ne!(a.place(TWINS, "tank1"), b.place(TWINS, "tank1"));
    assert_eq!(a.place(TWINS, "tank1\x00007")[16..], *b"\x00007");
    assert_eq!(a.place(TWINS, "tank1\x00007")[..16], a.place(TWINS, "tank1"));
}

#[test]
fn an_older_record_or_log_record_does_not_pass_for_the_newest() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    let place = store.place(TWINS, "a");
    let tree = store.with_db(|db| db.open_tree(TWINS.name()).unwrap()).unwrap();
    store.put_value(TWINS, "a", &1).unwrap();
    let older = tree.get(&place).unwrap().unwrap();
    store.put_value(TWINS, "a", &2).unwrap();
    store.flush().unwrap();
    tree.insert(&place, older).unwrap();
    drop(tree);
    drop(store);
    let (store, report) = open(dir.path());
    assert!(!report.is_clean(), "{report:?}");
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(2), "found in the raw bytes");
}

const KEYS: Tree = Tree::new("keys");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn scans_give_what_a_store_in_memory_gives_whatever_the_keys_are(
        batches in prop::collection::vec(
            prop::collection::vec(("[\0\u{1}aäb/]{0,5}", any::<bool>()), 1..8), 1..6),
        asked in prop::collection::vec(("[\0ab]{0,2}", "[\0\u{1}ab/]{0,4}", 0..9_usize), 8),
    ) {
        let dir = TempDir::new().unwrap();
        let (disk, memory) = (open(dir.path()).0, MemoryStore::new());
        for batch in &batches {
            let writes: Vec<_> = batch
                .iter()
                .map(|(key, put)| if *put { Write::Put(key, key.as_bytes()) } else { Write::Delete(key) })
                .collect();
            disk.put_batch(KEYS, &writes).unwrap();
            memory.put_batch(KEYS, &writes).unwrap();
        }
        prop_assert_eq!(disk.scan(KEYS).unwrap(), memory.scan(KEYS).unwrap());
        let same = |disk: &SledStore| {
            for (prefix, from, limit) in &asked {
                let [a, b] = [disk as &dyn Store, &memory]
                    .map(|store| store.scan_from(KEYS, prefix, from, *limit).unwrap());
                prop_assert_eq!(a, b, "{:?} from {:?}", prefix, from);
            }
            Ok(())
        };
        same(&disk)?;
        drop(disk);
        // The index of names is another one now.
        same(&open(dir.path()).0)?;
    }
}
