//! Damage to the files of a store: found and told, never a panic, never wrong data.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;

use plantwin_model::Timestamp;

use super::{ALARMS, TWINS, log, open};
use crate::{Finding, LogKind, Store, StoreError, StoreExt, Write};

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
    ["state/db", "state/conf", "marks", "key"]
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
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(dir.path().join("key"), mode).unwrap();
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
    let told = !report.is_clean();
    assert!(told || found == u64::from(RECORDS), "{what}: {found} records and no word of it");
    assert_eq!(found + report.missing(), u64::from(RECORDS), "{what}: {:?}", report.findings);
    for aside in &report.set_aside {
        assert!(aside.is_dir(), "{what}: {}", aside.display());
    }
    store.put_value(TWINS, "new", &1).unwrap();
    store.flush().unwrap();
    drop(store);
    let (again, report) = open(dir);
    assert!(report.is_clean(), "{what}: the second opening found {:?}", report.findings);
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
    for name in ["state/conf", "marks"] {
        for bytes in [&b""[..], b"x", &[0xff; 64], &files["state/db"][..64]] {
            let mut damaged = files.clone();
            damaged.insert(name.to_owned(), bytes.to_vec());
            let dir = lay_out(&damaged);
            survives(dir.path(), &format!("{name} of {} bytes", bytes.len()));
        }
    }
}

#[test]
fn a_snapshot_that_a_kill_left_half_written_costs_nothing() {
    let files = pristine();
    for name in ["snap.00000000FFFFFFFF", "snap.00000000FFFFFFFF.generating"] {
        for bytes in [vec![], vec![7; 57], vec![0; 57_344]] {
            let dir = lay_out(&files);
            fs::write(dir.path().join("state").join(name), bytes).unwrap();
            let (store, report) = open(dir.path());
            assert!(report.is_clean(), "{name}: {:?}", report.findings);
            assert_eq!(report.records, u64::from(RECORDS), "{name}");
            assert_eq!(store.get(TWINS, "00000").unwrap(), Some(value(0)));
        }
    }
}

#[test]
fn a_data_base_that_does_not_open_is_built_anew_from_what_is_intact() {
    let files = pristine();
    let mut damaged = files.clone();
    damaged.get_mut("state/conf").unwrap()[0] ^= 1;
    let dir = lay_out(&damaged);
    let (store, report) = open(dir.path());
    assert_eq!((report.records, report.missing(), report.unsure()), (u64::from(RECORDS), 0, 0));
    assert!(matches!(report.findings[0], Finding::StateDamaged { .. }), "{report:?}");
    assert_eq!(report.set_aside, [dir.path().join("state.damaged-1")]);
    let aside = fs::read(report.set_aside[0].join("db.as-found")).unwrap();
    assert!(aside == files["state/db"], "what was set aside is what was found");
    assert_eq!(store.lost(TWINS), 0);
    assert_eq!(store.get(TWINS, "00008").unwrap(), Some(value(8)));
}

#[test]
fn a_missing_data_base_is_told_by_the_marks() {
    let dir = lay_out(&pristine());
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (store, report) = open(dir.path());
    assert_eq!((report.records, report.missing()), (0, u64::from(RECORDS)));
    assert!(store.lost(TWINS) >= u64::from(RECORDS / 2));
    let of = |tree: &str| Finding::TreeRebuilt {
        tree: tree.to_owned(),
        kept: 0,
        missing: u64::from(RECORDS / 2),
        unsure: 0,
    };
    assert_eq!(report.findings[1..], [of("alarms"), of("twins")]);
}

#[test]
fn missing_marks_are_told_and_nothing_is_lost_by_it() {
    let dir = lay_out(&pristine());
    fs::remove_file(dir.path().join("marks")).unwrap();
    let (_, report) = open(dir.path());
    assert_eq!((report.records, report.missing()), (u64::from(RECORDS), 0));
    assert_eq!(report.findings, [Finding::MarksLost]);
}

/// The tree as sled knows it.
fn tree(store: &crate::SledStore) -> sled::Tree {
    store.with_db(|db| db.open_tree(TWINS.name()).unwrap()).unwrap()
}

#[test]
fn damaged_data_bases_are_kept_beside_each_other() {
    let dir = TempDir::new().unwrap();
    for n in 1..=3 {
        let (store, _) = open(dir.path());
        store.put_value(TWINS, "a", &n).unwrap();
        store.flush().unwrap();
        tree(&store).insert(store.place(TWINS, "a"), b"nonsense").unwrap();
        drop(store);
        let (store, report) = open(dir.path());
        assert_eq!(report.set_aside, [dir.path().join(format!("state.damaged-{n}"))]);
        let told = report.findings[0].to_string();
        assert!(
            told.contains("a record of twins, behind 0 others: the record is too short"),
            "{told}"
        );
        assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(n), "found in the raw bytes");
    }
}

#[test]
fn a_record_that_was_altered_behind_our_back_is_not_read() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.put_value(TWINS, "b", &2).unwrap();
    let tree = tree(&store);
    let of_b = tree.get(store.place(TWINS, "b")).unwrap().unwrap();
    tree.insert(store.place(TWINS, "a"), of_b).unwrap();
    let error = store.get(TWINS, "a").unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { key, .. } if key == "a"), "{error}");
    assert!(store.scan(TWINS).is_err());
    assert!(store.put_value(TWINS, "a", &3).is_err(), "nor is it written over unseen");
    assert_eq!(store.get_value::<i32>(TWINS, "b").unwrap(), Some(2));
    drop((tree, store));
    let (_, report) = open(dir.path());
    assert!(report.findings[0].to_string().contains("another key"), "opening finds it as well");
}

#[test]
fn a_record_that_vanished_inside_a_tree_is_counted() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for i in 0..20 {
        store.put_value(TWINS, &i.to_string(), &i).unwrap();
    }
    store.flush().unwrap();
    tree(&store).remove(store.place(TWINS, "7")).unwrap();
    drop(store);
    let (store, report) = open(dir.path());
    let told = report.findings[0].to_string();
    assert!(told.contains("19 records, and not the 20 it had"), "{told}");
    assert_eq!((report.missing(), report.unsure()), (0, 0), "the raw bytes still had it");
    assert_eq!(store.get_value::<i32>(TWINS, "7").unwrap(), Some(7));
}

#[test]
fn batches_that_were_promised_and_are_gone_are_counted() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    drop(store);
    let older = TempDir::new().unwrap();
    fs::create_dir(older.path().join("state")).unwrap();
    for name in ["state/db", "state/conf"] {
        fs::copy(dir.path().join(name), older.path().join(name)).unwrap();
    }
    let (store, _) = open(dir.path());
    for i in 0..7 {
        store.put_value(TWINS, &format!("later-{i}"), &1).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    // The data base of before, as if the disk had never written the rest.
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    fs::rename(older.path().join("state"), dir.path().join("state")).unwrap();
    let (store, report) = open(dir.path());
    let told = report.findings[0].to_string();
    assert!(told.contains("twins: the last 7 batches are missing"), "{told}");
    assert_eq!((report.records, report.missing(), report.unsure()), (1, 7, 1));
    assert!(store.lost(TWINS) >= 7);
    store.put_value(TWINS, "b", &1).unwrap();
    store.flush().unwrap();
    drop(store);
    let (_, report) = open(dir.path());
    assert!(report.is_clean(), "told once; sequences go on after the promised one");
}

#[test]
fn what_had_been_deleted_does_not_come_back_with_the_records_that_do() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for i in 0..50 {
        store.put_value(TWINS, &i.to_string(), &i).unwrap();
        store.put_batch(TWINS, &[Write::Delete(&(i - 10).to_string())]).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    // One batch more was promised than is there.
    let (store, _) = open(dir.path());
    let mut marks = store.promised();
    marks.trees.get_mut(TWINS.name()).unwrap().sequence += 1;
    marks.trees.get_mut(TWINS.name()).unwrap().writes += 2;
    store.promise(marks);
    drop(store);
    let (store, report) = open(dir.path());
    assert_eq!(store.scan(TWINS).unwrap().len(), 10, "{report:?}");
    assert!(!report.is_clean());
    assert_eq!((report.missing(), report.unsure()), (0, 0), "by the promised digest all is there");
}

#[test]
fn a_crash_between_data_and_marks_is_no_damage() {
    let files = pristine();
    let dir = lay_out(&files);
    let (store, _) = open(dir.path());
    let marks = fs::read(dir.path().join("marks")).unwrap();
    store.put_value(TWINS, "later", &1).unwrap();
    store.append(LogKind::Audit, Timestamp(1), b"later").unwrap();
    store.flush().unwrap();
    drop(store);
    fs::write(dir.path().join("marks"), marks).unwrap();
    let (store, report) = open(dir.path());
    assert_eq!(report.findings, []);
    assert_eq!((report.records, report.log_records), (u64::from(RECORDS) + 1, 1));
    assert_eq!(log(&store, 1).len(), 1);
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

#[test]
fn a_directory_of_before_the_first_version_is_put_aside_whole() {
    let mut files = pristine();
    files.remove("marks");
    files.insert("head".to_owned(), vec![1; 25]);
    let dir = lay_out(&files);
    fs::remove_file(dir.path().join("key")).unwrap();
    let (store, report) = open(dir.path());
    assert_eq!(report.findings, [Finding::OldLayout]);
    assert_eq!(report.set_aside, [dir.path().join("state.damaged-1")]);
    assert!(report.set_aside[0].join("head").exists() && report.set_aside[0].join("db").exists());
    assert_eq!(store.scan(TWINS).unwrap(), []);
    drop(store);
    assert!(open(dir.path()).1.is_clean());
}
