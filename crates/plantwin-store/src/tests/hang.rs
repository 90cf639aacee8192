//! A data base that hangs is no damaged one: it stays where it is, until somebody asks for more.

use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

use tempfile::TempDir;

use super::{TWINS, open};
use crate::{
    Finding, KeySource, OpenReport, StoreError, StoreExt,
    helper::Patience,
    key::Keys,
    state::{self, Opener, SLED},
};

const RECORDS: u32 = 100;

fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    for i in 0..RECORDS {
        store.put_value(TWINS, &i.to_string(), &i).unwrap();
    }
    crate::Store::flush(&store).unwrap();
    dir
}

/// All files and what is in them.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    all
}

fn open_by(opener: Opener, dir: &Path) -> Result<OpenReport, StoreError> {
    let keys = Keys::load(dir, &KeySource::Plain).unwrap().unwrap();
    let mut report = OpenReport::default();
    state::open_by(opener, dir, &keys, None, &mut report).map(|_| report)
}

#[test]
fn a_data_base_that_hangs_while_it_opens_is_left_as_it_is_and_not_called_damaged() {
    let dir = filled();
    let before = files(dir.path());
    let soon = Duration::from_millis(5);
    let hanging = Opener {
        open: |_| {
            loop {
                thread::park();
            }
        },
        patience: |_| Patience { first: Duration::from_millis(5), step: Duration::from_millis(5) },
    };
    let error = open_by(hanging, dir.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Hangs { waited, records: 0, .. } if *waited == soon),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("left in place") && text.contains("rebuild"), "{text}");
    assert_eq!(files(dir.path()), before, "nothing was touched");
    let (_, report) = open(dir.path());
    assert!(report.is_clean() && report.set_aside.is_empty(), "{report:?}");
    assert_eq!(report.records, u64::from(RECORDS));
}

#[test]
fn an_operator_may_ask_for_a_data_base_to_be_built_anew_and_loses_nothing_that_can_be_read() {
    let dir = filled();
    fs::write(dir.path().join("rebuild"), b"").unwrap();
    let (store, report) = open(dir.path());
    let told = report.findings[0].to_string();
    assert!(told.contains("asks for that"), "{told}");
    let exact = Finding::TreeRebuilt {
        tree: TWINS.name().to_owned(),
        kept: u64::from(RECORDS),
        missing: 0,
        unsure: 0,
    };
    assert_eq!(report.findings[1..], [exact]);
    assert_eq!(report.set_aside, [dir.path().join("state.damaged-1")]);
    for i in 0..RECORDS {
        assert_eq!(store.get_value::<u32>(TWINS, &i.to_string()).unwrap(), Some(i));
    }
    drop(store);
    assert!(!dir.path().join("rebuild").exists(), "asked for once");
    let (_, report) = open(dir.path());
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn a_rebuilding_that_was_cut_short_begins_from_the_whole_again() {
    let halves: [fn(&Path); 3] = [
        |_| {},
        // A fresh one, as rebuilding makes first.
        |state| drop(sled::open(state).unwrap()),
        |state| {
            fs::create_dir(state).unwrap();
            fs::write(state.join("db"), b"the beginning of").unwrap();
        },
    ];
    for half in halves {
        let dir = filled();
        let (state, aside) = (dir.path().join("state"), dir.path().join("state.damaged-1"));
        let marker = dir.path().join("rebuilding");
        let image = fs::read(state.join("db")).unwrap();
        fs::rename(&state, &aside).unwrap();
        // What sled made of the main file while it was looked at.
        fs::write(aside.join("db"), b"something else").unwrap();
        fs::write(aside.join("db.as-found"), image).unwrap();
        fs::write(&marker, "state.damaged-1\n").unwrap();
        half(&state);
        let (store, report) = open(dir.path());
        assert!(report.is_clean() && report.set_aside.is_empty(), "{report:?}");
        for i in 0..RECORDS {
            assert_eq!(store.get_value::<u32>(TWINS, &i.to_string()).unwrap(), Some(i));
        }
        assert!(!marker.exists() && !aside.exists());
    }
    // Cut before anything was moved.
    for begun in ["", "state.dam", "state.damaged-1", "../elsewhere\n", "state.damaged-7\n"] {
        let dir = filled();
        fs::create_dir(dir.path().join("state.damaged-1")).unwrap();
        fs::write(dir.path().join("rebuilding"), begun).unwrap();
        let (_, report) = open(dir.path());
        assert!(report.is_clean() && report.records == u64::from(RECORDS), "{report:?}");
        assert!(!dir.path().join("rebuilding").exists());
    }
}

#[test]
fn what_sled_may_take_to_open_grows_with_its_files() {
    let first = |bytes: u64| (SLED.patience)(bytes).first;
    assert_eq!(first(0), Duration::from_mins(1));
    assert_eq!(first(25 << 30), Duration::from_mins(1 + 25 * 6));
    assert_eq!((SLED.patience)(25 << 30).step, Duration::from_mins(1));
}
