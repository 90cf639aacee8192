//! Without the right key nothing is touched.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::TempDir;

use super::{TWINS, open};
use crate::{SledStore, Store, StoreError, StoreExt};

fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    let (store, _) = open(dir.path());
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    dir
}

/// All that opening might touch.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = ["key", "marks", "state/db", "state/conf"];
    names.into_iter().filter_map(|n| Some((n.to_owned(), fs::read(dir.join(n)).ok()?))).collect()
}

fn refused(dir: &Path) -> String {
    let before = contents(dir);
    let error = SledStore::open(dir).unwrap_err();
    assert!(matches!(error, StoreError::Key { .. }), "{error}");
    assert_eq!(contents(dir), before, "nothing was touched");
    assert!(!dir.join("state.damaged-1").exists());
    let text = error.to_string();
    assert!(text.contains(&dir.join("key").display().to_string()), "{text}");
    text
}

#[test]
fn a_key_that_is_gone_altered_cut_or_anothers_is_refused_and_putting_it_back_mends_all() {
    let dir = filled();
    let path = dir.path().join("key");
    let key = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(refused(dir.path()).contains("it is gone"));
    let stranger = filled();
    fs::copy(stranger.path().join("key"), &path).unwrap();
    assert!(refused(dir.path()).contains("not the key that the data"));
    for at in [0, 20, 40] {
        let mut altered = key.clone();
        altered[at] ^= 4;
        fs::write(&path, altered).unwrap();
        assert!(refused(dir.path()).contains("altered or cut"));
    }
    fs::write(&path, &key[..31]).unwrap();
    assert!(refused(dir.path()).contains("altered or cut"));
    fs::write(&path, &key).unwrap();
    let (store, report) = open(dir.path());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(store.get_value::<i32>(TWINS, "a").unwrap(), Some(1));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_refused_with_the_cure() {
    use std::os::unix::fs::PermissionsExt;
    let dir = filled();
    let path = dir.path().join("key");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    mode(0o640);
    assert!(refused(dir.path()).contains("chmod 600"));
    mode(0o400);
    assert!(open(dir.path()).1.is_clean());
}

#[test]
fn two_stores_have_two_keys() {
    let keys = [filled(), filled()].map(|dir| fs::read(dir.path().join("key")).unwrap());
    assert_ne!(keys[0][..32], keys[1][..32]);
    assert_eq!(keys[0].len(), 48);
}
