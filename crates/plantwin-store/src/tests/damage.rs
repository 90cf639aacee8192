//! Damage to the files of a store: found and told, never a panic, never wrong data.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;

use super::{ALARMS, TWINS, open};
use crate::{Store, StoreError, StoreExt, Write, open::HEAD_TREE, record};

const RECORDS: u32 = 300;

fn value(i: u32) -> Vec<u8> {
    (0..200).map(|j| (i.wrapping_mul(31) ^ j) as u8).collect()
}

/// A flushed store of a few hundred records; its files, to be damaged again and again.
fn pristine() -> BTreeMap<String, Vec<u8>> {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for i in 0..RECORDS {
        let tree = if i % 2 == 0 { TWINS } else { ALARMS };
        store.put_batch(tree, &[Write::Put(&format!("{i:05}"), &value(i))]).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    ["state/db", "state/conf", "head"]
        .into_iter()
        .map(|name| (name.to_owned(), fs::read(dir.path().join(name)).unwrap()))
        .collect()
}

fn lay_out(files: &BTreeMap<String, Vec<u8>>) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// Opens a damaged store: it must open, tell of any loss, and hold nothing but true records.
/// Returns whether the damage was told.
fn survives(dir: &Path, what: &str) -> bool {
    let (store, report) = open(dir);
    let mut found = 0;
    for tree in [TWINS, ALARMS] {
        for (key, bytes) in store.scan(tree).unwrap() {
            assert_eq!(bytes, value(key.parse().unwrap()), "{what}: {key}");
            found += 1;
        }
    }
    assert_eq!(found, report.records, "{what}");
    let told = report.set_aside.is_some() || report.missing_batches > 0;
    assert!(told || found == u64::from(RECORDS), "{what}: {found} records and no word of it");
    if let Some(aside) = &report.set_aside {
        assert!(aside.is_dir(), "{what}: {}", aside.display());
        assert!(report.damage.as_ref().is_some_and(|d| !d.is_empty()), "{what}");
        assert_eq!(found, 0, "{what}");
    }
    store.put_value(TWINS, "new", &1).unwrap();
    store.flush().unwrap();
    drop(store);
    let (again, report) = open(dir);
    assert_eq!(report.set_aside, None, "{what}: the second opening is clean");
    assert_eq!(again.get_value::<i32>(TWINS, "new").unwrap(), Some(1), "{what}");
    told
}

#[test]
fn flipped_bits_anywhere_never_panic_and_never_give_wrong_data() {
    let files = pristine();
    let used = files["state/db"].iter().rposition(|b| *b != 0).unwrap();
    let mut told = 0;
    for i in 0..40 {
        let mut damaged = files.clone();
        let at = (used * i / 40 + 13 * i) % used;
        damaged.get_mut("state/db").unwrap()[at] ^= 1 << (i % 8);
        let dir = lay_out(&damaged);
        told += u32::from(survives(dir.path(), &format!("bit of byte {at} of {used}")));
    }
    assert!(told >= 20, "only {told} of 40 flipped bits were told");
}

#[test]
fn cut_or_zeroed_tails_never_panic_and_are_told() {
    let files = pristine();
    let used = files["state/db"].iter().rposition(|b| *b != 0).unwrap();
    for i in 0..24 {
        let mut damaged = files.clone();
        let db = damaged.get_mut("state/db").unwrap();
        let lost = [1, 7, 100, 512, 4096, 20_000, used / 2, used][i % 8];
        let keep = used.saturating_sub(lost);
        match i / 8 {
            0 => db.truncate(keep),
            1 => db[keep..].fill(0),
            _ => db[keep..].fill(0xff),
        }
        let dir = lay_out(&damaged);
        survives(dir.path(), &format!("last {lost} of {used} bytes, way {}", i / 8));
    }
}

#[test]
fn a_garbled_middle_never_panics_and_is_told() {
    let files = pristine();
    let used = files["state/db"].iter().rposition(|b| *b != 0).unwrap();
    for i in 0..48 {
        let mut damaged = files.clone();
        let at = used * (i / 3) / 16;
        let until = (at + [64, 1000, used / 4][i % 3]).min(used);
        damaged.get_mut("state/db").unwrap()[at..until].fill([0, 0x55, 0xff][i % 3]);
        let dir = lay_out(&damaged);
        survives(dir.path(), &format!("bytes {at} to {until} of {used}"));
    }
}

#[test]
fn garbled_side_files_never_panic() {
    let files = pristine();
    for name in ["state/conf", "head"] {
        for bytes in [&b""[..], b"x", &[0xff; 64], &files["state/db"][..64]] {
            let mut damaged = files.clone();
            damaged.insert(name.to_owned(), bytes.to_vec());
            let dir = lay_out(&damaged);
            survives(dir.path(), &format!("{name} of {} bytes", bytes.len()));
        }
    }
}

#[test]
fn a_missing_data_base_is_told_by_the_head() {
    let files = pristine();
    let dir = lay_out(&files);
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (_store, report) = open(dir.path());
    assert_eq!((report.records, report.missing_batches), (0, u64::from(RECORDS)));
}

#[test]
fn damaged_data_bases_are_kept_beside_each_other() {
    let dir = TempDir::new().unwrap();
    for n in 1..=3 {
        let (store, _) = open(dir.path());
        store.put_value(TWINS, "a", &1).unwrap();
        store.db.open_tree(TWINS.name()).unwrap().insert("a", b"nonsense").unwrap();
        drop(store);
        let (_store, report) = open(dir.path());
        assert_eq!(report.set_aside, Some(dir.path().join(format!("state.damaged-{n}"))));
        assert_eq!(report.damage.unwrap(), "record \"a\" of twins: the record is too short");
    }
}

#[test]
fn a_record_that_was_altered_behind_our_back_is_not_read() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.put_value(TWINS, "b", &2).unwrap();
    let tree = store.db.open_tree(TWINS.name()).unwrap();
    let of_b = tree.get("b").unwrap().unwrap();
    tree.insert("a", of_b).unwrap();
    let error = store.get(TWINS, "a").unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { key, .. } if key == "a"), "{error}");
    assert!(store.scan(TWINS).is_err());
    assert_eq!(store.get_value::<i32>(TWINS, "b").unwrap(), Some(2));
    drop((tree, store));
    let (_, report) = open(dir.path());
    assert!(report.damage.unwrap().contains("checksum"), "opening finds it as well");
}

#[test]
fn batches_that_were_promised_and_are_gone_are_counted() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    drop(store);
    fs::write(dir.path().join("head"), record::encode("head", b"", 8, b"")).unwrap();
    let (store, report) = open(dir.path());
    assert_eq!((report.records, report.missing_batches), (1, 7));
    store.put_value(TWINS, "b", &1).unwrap();
    store.flush().unwrap();
    drop(store);
    let (store, report) = open(dir.path());
    assert_eq!(report.missing_batches, 0, "told once; sequences go on after the promised one");
    assert!(store.db.tree_names().iter().any(|n| n == HEAD_TREE.as_bytes()));
}

#[test]
fn an_intact_data_base_that_another_program_holds_is_not_set_aside() {
    let files = pristine();
    let dir = lay_out(&files);
    let other = fs::File::open(dir.path().join("state/db")).unwrap();
    other.lock().unwrap();
    let error = crate::SledStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("open the data base ") && error.contains("lock"), "{error}");
    drop(other);
    assert_eq!(open(dir.path()).1.records, u64::from(RECORDS));
}
