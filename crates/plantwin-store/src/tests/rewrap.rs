//! The wrapping changes under a running store, and a crash at any moment leaves one of the two.

use std::{fs, io};

use tempfile::TempDir;

use super::{
    TWINS,
    key::{contents, filled_with, passphrase},
};
use crate::{
    KeySource, SledStore, Store, StoreError, StoreExt, Wrapping, key_file::Step, key_info, rewrap,
    rewrap::rewrap_stepwise,
};

fn read(dir: &TempDir, source: &KeySource) -> Result<Option<i32>, StoreError> {
    let (store, report) = SledStore::open_with(dir.path(), source)?;
    assert!(report.is_clean(), "{report:?}");
    store.get_value::<i32>(TWINS, "a")
}

#[test]
fn a_running_store_is_not_disturbed_and_the_next_opening_needs_the_new_key() {
    let keys = TempDir::new().unwrap();
    let dir = filled_with(&KeySource::Plain);
    let (store, _) = SledStore::open(dir.path()).unwrap();
    let letters = store.seal_at_rest("letters", b"text").unwrap();
    let id = key_info(dir.path()).unwrap().id;
    let ways = [
        KeySource::Plain,
        passphrase("first passphrase"),
        KeySource::File(keys.path().join("key")),
        passphrase("second passphrase"),
        KeySource::Plain,
    ];
    for (i, pair) in ways.windows(2).enumerate() {
        rewrap(dir.path(), &pair[0], &pair[1]).unwrap();
        // It goes on to read, to write, to flush and to be opened anew.
        let n = i32::try_from(i).unwrap() + 2;
        store.put_value(TWINS, "a", &n).unwrap();
        store.flush().unwrap();
        assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(n));
        assert_eq!(store.open_at_rest("letters", &letters).unwrap(), b"text");
        assert_eq!(key_info(dir.path()).unwrap().id, id, "the data key is the same");
        let again = rewrap(dir.path(), &pair[0], &pair[1]);
        assert!(matches!(again, Err(StoreError::WrongKey { .. })), "the old key is of no use now");
    }
    drop(store);
    assert_eq!(read(&dir, &KeySource::Plain).unwrap(), Some(5));
    rewrap(dir.path(), &KeySource::Plain, &ways[1]).unwrap();
    assert!(matches!(read(&dir, &KeySource::Plain), Err(StoreError::WrongKey { .. })));
    assert_eq!(read(&dir, &ways[1]).unwrap(), Some(5));
}

#[test]
fn whoever_does_not_know_the_old_key_cannot_change_it_and_touches_nothing() {
    let dir = filled_with(&passphrase("right passphrase"));
    let before = contents(dir.path());
    for from in [KeySource::Plain, passphrase("wrong passphrase")] {
        let error = rewrap(dir.path(), &from, &KeySource::Plain).unwrap_err();
        assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
        assert!(contents(dir.path()) == before, "nothing was touched");
    }
    // Nor is a store locked under what cannot unlock it.
    let right = passphrase("right passphrase");
    for to in [passphrase("short"), KeySource::Keyring("never-put-there".to_owned())] {
        assert!(rewrap(dir.path(), &right, &to).is_err());
        assert!(contents(dir.path()) == before, "nothing was touched");
    }
}

#[test]
fn a_crash_after_any_step_leaves_the_old_wrapping_or_the_new_one() {
    let keys = TempDir::new().unwrap();
    let [old, new] = ["old", "new"].map(|name| KeySource::File(keys.path().join(name)));
    let steps = [Step::Opened, Step::Written, Step::Synced, Step::Renamed, Step::DirSynced];
    for crash in steps {
        let dir = filled_with(&old);
        let error = rewrap_stepwise(dir.path(), &old, &new, &mut |step| {
            if step == crash { Err(io::Error::other("crash")) } else { Ok(()) }
        });
        assert!(error.is_err());
        let renamed = matches!(crash, Step::Renamed | Step::DirSynced);
        let left = dir.path().join("key.new");
        assert_eq!(left.exists(), !renamed, "as a crash would leave it");
        let (right, wrong) = if renamed { (&new, &old) } else { (&old, &new) };
        assert!(matches!(read(&dir, wrong), Err(StoreError::WrongKey { .. })), "{crash:?}");
        assert_eq!(read(&dir, right).unwrap(), Some(1), "{crash:?}");
        assert!(!left.exists(), "what a crash left is removed");
        if !renamed {
            // And doing it again is not hindered by what was left.
            fs::write(&left, "half").unwrap();
            rewrap(dir.path(), &old, &new).unwrap();
            assert_eq!(read(&dir, &new).unwrap(), Some(1), "{crash:?}");
        }
    }
}

#[test]
fn two_cannot_change_the_key_at_once() {
    let dir = filled_with(&KeySource::Plain);
    let to = passphrase("some passphrase");
    let mut second = None;
    rewrap_stepwise(dir.path(), &KeySource::Plain, &to, &mut |step| {
        if step == Step::Written {
            second = Some(rewrap(dir.path(), &KeySource::Plain, &KeySource::Plain));
        }
        Ok(())
    })
    .unwrap();
    let error = second.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::File { action: "hold the directory", .. }), "{error}");
    assert!(matches!(key_info(dir.path()).unwrap().wrapping, Wrapping::Passphrase(_)));
}

#[test]
fn every_altered_byte_of_a_wrapped_key_is_found() {
    let keys = TempDir::new().unwrap();
    let source = KeySource::File(keys.path().join("key"));
    let dir = filled_with(&source);
    let path = dir.path().join("key");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        fs::write(&path, bad).unwrap();
        let error = read(&dir, &source).unwrap_err();
        assert!(matches!(error, StoreError::Key { .. }), "byte {at}: {error}");
    }
    fs::write(&path, good).unwrap();
    assert_eq!(read(&dir, &source).unwrap(), Some(1));
}
