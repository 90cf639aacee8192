//! A store that failed is opened anew in place: what was flushed is there, and it goes on.

use std::fs;

use plantwin_model::Timestamp;
use tempfile::TempDir;

use super::{ALARMS, TWINS, log, open};
use crate::{
    Finding, LogKind, SledStore, Store, StoreError, StoreExt,
    sled_store::{Health, lock},
};

/// As after a write that the disk refused.
fn refuse(store: &SledStore) {
    *lock(&store.health) = Health::Refused("IO error: no room".to_owned());
}

fn panic_inside(store: &SledStore) {
    store.with_db(|_| -> () { panic!("index out of bounds") }).unwrap_err();
}

#[test]
fn a_store_that_is_well_is_not_opened_anew() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    assert_eq!(store.mend().unwrap(), None);
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(1));
}

#[test]
fn after_an_error_reads_go_on_and_writes_wait_for_mending() {
    let dir = TempDir::new().unwrap();
    let (store, opened) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    refuse(&store);
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(1));
    for outcome in [store.put_value(TWINS, "a", &2), store.flush()] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.ends_with("the store: IO error: no room"), "{error}");
    }
    let report = store.mend().unwrap().expect("it was opened anew");
    assert!(report.is_clean() && report.set_aside.is_empty(), "{report:?}");
    assert_eq!((report.records, report.boot), (1, opened.boot));
    store.put_value(TWINS, "a", &3).unwrap();
    store.flush().unwrap();
    assert_eq!(store.mend().unwrap(), None);
    drop(store);
    let (store, report) = open(dir.path());
    assert_eq!((report.is_clean(), report.records, report.boot), (true, 1, opened.boot + 1));
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(3));
}

#[test]
fn after_a_panic_everything_flushed_is_there_and_it_goes_on_as_often_as_it_takes() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for round in 0..5 {
        for i in 0..50 {
            store.put_value(TWINS, &format!("{round} {i}"), &i).unwrap();
        }
        store.append(LogKind::Alarm, Timestamp(round), b"alarm").unwrap();
        store.flush().unwrap();
        store.put_value(ALARMS, "not flushed", &round).unwrap();
        panic_inside(&store);
        assert!(matches!(store.get(TWINS, "0 0"), Err(StoreError::Failed)));
        let report = store.mend().unwrap().expect("it was opened anew");
        assert!(report.is_clean(), "{report:?}");
        let expected = 50 * (usize::try_from(round).unwrap() + 1);
        assert_eq!(store.scan(TWINS).unwrap().len(), expected);
        assert_eq!(log(&store, 1).len(), expected / 50);
    }
    drop(store);
    let (_, report) = open(dir.path());
    assert!(report.is_clean() && report.records >= 250 && report.log_records == 5, "{report:?}");
}

#[test]
fn damage_that_is_found_while_mending_is_told_and_set_aside() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for i in 0..20 {
        store.put_value(TWINS, &i.to_string(), &i).unwrap();
    }
    store.flush().unwrap();
    store
        .with_db(|db| {
            let tree = db.open_tree(TWINS.name()).unwrap();
            tree.insert(store.place(TWINS, "7"), b"nonsense").unwrap();
            db.flush().unwrap();
        })
        .unwrap();
    panic_inside(&store);
    let report = store.mend().unwrap().expect("it was opened anew");
    assert!(matches!(report.findings[0], Finding::StateDamaged { .. }), "{report:?}");
    assert_eq!(report.set_aside, [dir.path().join("state.damaged-1")]);
    assert_eq!(store.get_value::<i32>(TWINS, "7").unwrap(), Some(7), "found in the raw bytes");
    store.put_value(TWINS, "7", &8).unwrap();
    store.flush().unwrap();
    drop(store);
    let (store, report) = open(dir.path());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(store.get_value::<i32>(TWINS, "7").unwrap(), Some(8));
}

#[test]
fn mending_without_room_changes_nothing_and_may_be_tried_again() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    refuse(&store);
    // Nothing can be written where a folder is.
    fs::create_dir(dir.path().join("room")).unwrap();
    let error = store.mend().unwrap_err().to_string();
    assert!(error.starts_with("find room for "), "{error}");
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(1), "reads go on");
    fs::remove_dir(dir.path().join("room")).unwrap();
    assert!(store.mend().unwrap().is_some());
    assert!(!dir.path().join("room").exists());
    store.put_value(TWINS, "a", &2).unwrap();
    store.flush().unwrap();
}

#[test]
fn a_data_base_that_cannot_be_opened_anew_stays_failed_until_it_can() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    let held = store.with_db(Clone::clone).unwrap();
    refuse(&store);
    let error = store.mend().unwrap_err().to_string();
    assert!(error.starts_with("open the data base"), "{error}");
    assert!(matches!(store.get(TWINS, "a"), Err(StoreError::Failed)));
    assert!(matches!(store.put_value(TWINS, "a", &1), Err(StoreError::Failed)));
    drop(held);
    assert!(store.mend().unwrap().expect("it was opened anew").is_clean());
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(1));
}

#[test]
fn whoever_uses_the_store_meanwhile_finds_it_failed_or_whole() {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &0_u64).unwrap();
    store.flush().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..200_u64 {
                    // Refused or done: what was flushed without an error must stay.
                    let key = format!("{thread} {i}");
                    if store.put_value(TWINS, &key, &i).is_ok() && store.flush().is_ok() {
                        let _ = store.put_value(ALARMS, &key, &i);
                    }
                    match store.get_value::<u64>(TWINS, "a") {
                        Ok(value) => assert_eq!(value, Some(0)),
                        Err(error) => assert!(matches!(error, StoreError::Failed), "{error}"),
                    }
                }
            });
        }
        for _ in 0..5 {
            refuse(&store);
            assert!(store.mend().unwrap().expect("it was opened anew").is_clean());
        }
    });
    store.flush().unwrap();
    // What a thread noted down, it had flushed before.
    for (key, i) in store.scan_values::<u64>(ALARMS).unwrap() {
        assert_eq!(store.get_value::<u64>(TWINS, &key).unwrap(), Some(i), "{key}");
    }
    drop(store);
    let (_, report) = open(dir.path());
    assert!(report.is_clean(), "{report:?}");
}
