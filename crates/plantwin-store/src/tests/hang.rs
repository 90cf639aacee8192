//! A data base that hangs is built anew beside the old one, if its disk is not to blame.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    sync::{Condvar, Mutex},
    time::Duration,
};

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

/// Whether what hangs may end, as if its process had.
type End = (Mutex<bool>, Condvar);

/// Holds sled's lock and stands still until the end.
fn hang_until(end: &End, path: &Path) -> sled::Result<sled::Db> {
    let file = File::open(path.join("db"))?;
    file.lock()?;
    let ended = end.0.lock().unwrap();
    drop(end.1.wait_while(ended, |ended| !*ended).unwrap());
    Err(sled::Error::Unsupported("too late".to_owned()))
}

const SOON: Duration = Duration::from_millis(5);
const NONE: Patience = Patience { first: SOON, step: SOON };

/// Hangs on every data base but the one that is built beside.
fn hanging(open: fn(&Path) -> sled::Result<sled::Db>, disk_answers: bool) -> Opener {
    Opener {
        open,
        // What is built anew begins with nothing, and has time.
        patience: |bytes| if bytes == 0 { (SLED.patience)(0) } else { NONE },
        disk_answers: if disk_answers { SLED.disk_answers } else { |_| false },
    }
}

#[test]
fn a_data_base_that_hangs_with_its_disk_is_left_as_it_is_and_not_called_damaged() {
    static END: End = (Mutex::new(false), Condvar::new());
    let dir = filled();
    let before = files(dir.path());
    let error = open_by(hanging(|path| hang_until(&END, path), false), dir.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Hangs { waited, records: 0, .. } if *waited == SOON),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("left in place") && text.contains("rebuild"), "{text}");
    assert_eq!(files(dir.path()), before, "nothing was touched");
    end(&END, dir.path());
    let (_, report) = open(dir.path());
    assert!(report.is_clean() && report.set_aside.is_empty(), "{report:?}");
    assert_eq!(report.records, u64::from(RECORDS));
}

/// What hangs ends, and lets go of the lock.
fn end(end: &End, dir: &Path) {
    *end.0.lock().unwrap() = true;
    end.1.notify_all();
    File::open(dir.join("state").join("db")).unwrap().lock().unwrap();
}

#[test]
fn a_data_base_that_hangs_though_its_disk_answers_is_built_anew_beside_and_set_aside_once_it_is_free()
 {
    static END: End = (Mutex::new(false), Condvar::new());
    let dir = filled();
    let (state, next) = (dir.path().join("state"), dir.path().join("state.next"));
    let before = files(&state);
    // The one beside it opens.
    let opener = hanging(
        |path| {
            if path.ends_with("state.next") { (SLED.open)(path) } else { hang_until(&END, path) }
        },
        true,
    );
    let report = open_by(opener, dir.path()).unwrap();
    let told = report.findings[0].to_string();
    assert!(told.contains("hangs") && told.contains("left in"), "{told}");
    let exact =
        |kept| Finding::TreeRebuilt { tree: TWINS.name().to_owned(), kept, missing: 0, unsure: 0 };
    assert_eq!(report.findings[1..], [exact(u64::from(RECORDS))]);
    assert!(report.set_aside.is_empty(), "nothing was moved: {report:?}");
    assert_eq!(files(&state), before, "who hangs may still have it open");
    // As long as it is held, the new one is it; what it is given stays.
    let (store, report) = open(dir.path());
    assert!(report.is_clean() && report.set_aside.is_empty(), "{report:?}");
    store.put_value(TWINS, "late", &RECORDS).unwrap();
    crate::Store::flush(&store).unwrap();
    drop(store);
    assert!(next.exists());
    end(&END, dir.path());
    let (store, report) = open(dir.path());
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!(report.set_aside, [dir.path().join("state.damaged-1")], "the operator is told");
    assert!(!next.exists());
    for (name, i) in (0..RECORDS).map(|i| (i.to_string(), i)).chain([("late".to_owned(), RECORDS)])
    {
        assert_eq!(store.get_value::<u32>(TWINS, &name).unwrap(), Some(i));
    }
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
        fs::write(&marker, "state.damaged-1 state\n").unwrap();
        half(&state);
        let (store, report) = open(dir.path());
        assert!(report.is_clean() && report.set_aside.is_empty(), "{report:?}");
        for i in 0..RECORDS {
            assert_eq!(store.get_value::<u32>(TWINS, &i.to_string()).unwrap(), Some(i));
        }
        assert!(!marker.exists() && !aside.exists());
    }
    // Cut before anything was moved.
    for begun in [
        "",
        "state.dam",
        "state.damaged-1 state",
        "state.damaged-1\n",
        "../elsewhere state\n",
        "state.damaged-1 ../elsewhere\n",
        "state.damaged-7 state\n",
    ] {
        let dir = filled();
        fs::create_dir(dir.path().join("state.damaged-1")).unwrap();
        fs::write(dir.path().join("rebuilding"), begun).unwrap();
        let (_, report) = open(dir.path());
        assert!(report.is_clean() && report.records == u64::from(RECORDS), "{report:?}");
        assert!(!dir.path().join("rebuilding").exists());
    }
}

#[test]
fn a_folder_beside_it_that_nobody_vouched_for_is_no_data_base() {
    let dir = filled();
    // What a thread makes that wakes up after it was given up.
    drop(sled::open(dir.path().join("state.next")).unwrap());
    let (_, report) = open(dir.path());
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!(report.records, u64::from(RECORDS));
    assert_eq!(report.set_aside, [dir.path().join("state.next.damaged-1")]);
}

#[test]
fn a_data_base_that_hangs_is_built_anew_also_when_the_first_attempt_found_no_room() {
    static END: End = (Mutex::new(false), Condvar::new());
    let dir = filled();
    let no_room = hanging(
        |path| {
            let beside = path.ends_with("state.next");
            if beside {
                Err(sled::Error::Unsupported("full".to_owned()))
            } else {
                hang_until(&END, path)
            }
        },
        true,
    );
    assert!(open_by(no_room, dir.path()).is_err());
    assert!(!dir.path().join("state.next").exists() && !dir.path().join("rebuilding").exists());
    let (store, report) = open(dir.path());
    assert!(report.findings[0].to_string().contains("hangs"), "{report:?}");
    assert_eq!(store.get_value::<u32>(TWINS, "7").unwrap(), Some(7));
    drop(store);
    end(&END, dir.path());
    let (_, report) = open(dir.path());
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!(report.records, u64::from(RECORDS));
    let aside = dir.path().join("state.damaged-1");
    assert_eq!(report.set_aside, std::slice::from_ref(&aside));
    assert!(aside.join("db.as-found").exists(), "as it was before it was touched");
}

#[test]
fn a_half_beside_one_that_hangs_goes_and_the_one_that_hangs_is_tried_again() {
    let dir = filled();
    fs::write(dir.path().join("rebuilding"), "state state.next\n").unwrap();
    fs::create_dir(dir.path().join("state.next")).unwrap();
    fs::write(dir.path().join("state.next").join("db"), b"the beginning of").unwrap();
    let (_, report) = open(dir.path());
    assert!(report.is_clean() && report.set_aside.is_empty(), "{report:?}");
    assert_eq!(report.records, u64::from(RECORDS));
    assert!(!dir.path().join("state.next").exists() && !dir.path().join("rebuilding").exists());
}

#[test]
fn what_sled_may_take_to_open_grows_with_its_files() {
    let first = |bytes: u64| (SLED.patience)(bytes).first;
    assert_eq!(first(0), Duration::from_mins(1));
    assert_eq!(first(25 << 30), Duration::from_mins(1 + 25 * 6));
    assert_eq!((SLED.patience)(25 << 30).step, Duration::from_mins(1));
}
