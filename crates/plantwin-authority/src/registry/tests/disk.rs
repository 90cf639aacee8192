//! The sealed file: whole after any death, found when altered or put back.

use std::fs;

use plantwin_seal::Secret;
use tempfile::TempDir;

use super::*;
use crate::registry::{AuthorityStore, disk::faulty::DyingDisk};

fn key() -> Secret {
    Secret::new([7; 32])
}

/// A folder with an authority that knows one device.
fn folder() -> (TempDir, DeviceIdentity) {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let mut opened = AuthorityStore::open(dir.path(), &key()).unwrap();
    assert!(opened.registry.is_none());
    opened.store.write(&mut registry).unwrap();
    (dir, me)
}

fn open(dir: &TempDir) -> Result<(AuthorityStore, Registry), AuthError> {
    let opened = AuthorityStore::open(dir.path(), &key())?;
    Ok((opened.store, opened.registry.expect("an authority")))
}

fn refusal(dir: &TempDir) -> String {
    match open(dir) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_registry_comes_back_as_it_was_written() {
    let (dir, me) = folder();
    let (_store, mut registry) = open(&dir).unwrap();
    token(&mut registry, &me, T0).unwrap();
    let text = fs::read(dir.path().join("state")).unwrap();
    assert!(!text.windows(5).any(|w| w == b"tank1"), "a name lies in the clear");
}

#[test]
fn two_processes_never_hold_one_authority() {
    let (dir, _) = folder();
    let held = open(&dir).unwrap();
    assert!(refusal(&dir).contains("another process holds"));
    drop(held);
    open(&dir).unwrap();
}

#[test]
fn a_death_at_any_step_leaves_the_old_state_or_the_new_one_whole() {
    let mut seen = [false; 2];
    for torn in [false, true] {
        for step in 0..10 {
            let (dir, me) = folder();
            let disk = Box::new(DyingDisk::at(step, torn));
            let opened = AuthorityStore::open_on(disk, dir.path(), &key()).unwrap();
            let (mut store, mut registry) = (opened.store, opened.registry.unwrap());
            ok(&mut registry, &revoke("tank1"));
            let told = store.write(&mut registry).is_ok();
            assert_eq!(told, step >= 8, "there are eight steps");
            drop(store);
            let (_store, mut registry) = open(&dir).unwrap();
            let revoked = token(&mut registry, &me, T0) == Err(AuthError::Revoked);
            assert!(revoked || !told, "step {step}: it was acknowledged and is gone");
            seen[usize::from(revoked)] = true;
        }
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_write_that_failed_is_repeated_without_harm() {
    for step in 0..8 {
        let (dir, me) = folder();
        let disk = Box::new(DyingDisk::at(step, true));
        let opened = AuthorityStore::open_on(disk, dir.path(), &key()).unwrap();
        let (mut store, mut registry) = (opened.store, opened.registry.unwrap());
        ok(&mut registry, &revoke("tank1"));
        store.write(&mut registry).unwrap_err();
        drop(store);
        // The folder is opened, changed and closed by the next process, twice.
        for _ in 0..2 {
            let (mut store, mut registry) = open(&dir).unwrap();
            ok(&mut registry, &revoke("tank1"));
            store.write(&mut registry).unwrap();
        }
        let (_store, mut registry) = open(&dir).unwrap();
        assert_eq!(token(&mut registry, &me, T0).unwrap_err(), AuthError::Revoked);
    }
}

#[test]
fn an_older_state_that_was_put_back_is_refused() {
    let (dir, _) = folder();
    let old = fs::read(dir.path().join("state")).unwrap();
    let (mut store, mut registry) = open(&dir).unwrap();
    ok(&mut registry, &revoke("tank1"));
    store.write(&mut registry).unwrap();
    drop(store);
    fs::write(dir.path().join("state"), &old).unwrap();
    assert!(refusal(&dir).contains("an older state was put back"), "{}", refusal(&dir));
    // Without the mark it opens, and says what cannot be told any more.
    fs::remove_file(dir.path().join("high-water")).unwrap();
    let opened = AuthorityStore::open(dir.path(), &key()).unwrap();
    assert_eq!(opened.findings.len(), 1, "{:?}", opened.findings);
    drop(opened);
    assert!(dir.path().join("high-water").exists());
    fs::remove_file(dir.path().join("state")).unwrap();
    assert!(refusal(&dir).contains("it is gone"));
}

#[test]
fn a_promise_that_was_altered_is_told_and_made_anew_and_with_the_state_gone_it_is_refused() {
    let (dir, _) = folder();
    let path = dir.path().join("high-water");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        let opened = AuthorityStore::open(dir.path(), &Secret::new([7; 32])).unwrap();
        assert!(opened.findings.iter().any(|f| f.contains("altered")), "{:?}", opened.findings);
        drop(opened);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    fs::write(&path, &whole[1..]).unwrap();
    fs::remove_file(dir.path().join("state")).unwrap();
    refusal(&dir);
}

#[test]
fn what_was_altered_or_written_under_another_key_is_refused_and_not_touched() {
    let (dir, _) = folder();
    let path = dir.path().join("state");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len().div_ceil(40)) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, &altered).unwrap();
        refusal(&dir);
        assert_eq!(fs::read(&path).unwrap(), altered);
    }
    for length in [0, 3, 12, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        refusal(&dir);
    }
    fs::write(&path, whole).unwrap();
    let other = AuthorityStore::open(dir.path(), &Secret::new([8; 32])).unwrap_err();
    assert!(other.to_string().contains("another key"), "{other}");
    open(&dir).unwrap();
}
