//! Without the right key nothing is touched.

use std::{collections::BTreeMap, fs, path::Path};

use plantwin_seal::hash;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::{TWINS, open};
use crate::{KeySource, SledStore, Store, StoreError, StoreExt, Wrapping, key_info};

pub(super) fn passphrase(text: &str) -> KeySource {
    KeySource::Passphrase(Zeroizing::new(text.to_owned()))
}

/// A store of one record, and its directory.
pub(super) fn filled_with(source: &KeySource) -> TempDir {
    let dir = TempDir::new().unwrap();
    let (store, _) = SledStore::open_with(dir.path(), source).unwrap();
    store.put_value(TWINS, "a", &1).unwrap();
    store.flush().unwrap();
    dir
}

fn filled() -> TempDir {
    filled_with(&KeySource::Plain)
}

/// Every file below a directory, byte for byte, with its mode.
pub(super) fn contents(dir: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                found.insert(path.display().to_string(), (fs::read(&path).unwrap(), mode));
            }
        }
    }
    found
}

/// Opening is refused, and not a byte of the directory is another one then.
fn refused_with(dir: &Path, source: &KeySource) -> StoreError {
    let before = contents(dir);
    let error = SledStore::open_with(dir, source).unwrap_err();
    assert!(contents(dir) == before, "nothing was touched");
    error
}

fn refused(dir: &Path) -> String {
    let error = refused_with(dir, &KeySource::Plain);
    assert!(matches!(error, StoreError::Key { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&dir.join("key").display().to_string()), "{text}");
    text
}

fn value(dir: &Path, source: &KeySource) -> Option<i32> {
    let (store, report) = SledStore::open_with(dir, source).unwrap();
    assert!(report.is_clean(), "{report:?}");
    store.get_value::<i32>(TWINS, "a").unwrap()
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
    for at in 0..key.len() {
        let mut altered = key.clone();
        altered[at] ^= 4;
        fs::write(&path, altered).unwrap();
        assert!(refused(dir.path()).contains("altered or cut"), "byte {at}");
        fs::write(&path, &key[..at]).unwrap();
        assert!(refused(dir.path()).contains("altered or cut"), "{at} bytes");
    }
    fs::write(&path, &key).unwrap();
    assert_eq!(value(dir.path(), &KeySource::Plain), Some(1));
}

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
fn two_stores_have_two_keys_and_show_which_without_showing_them() {
    let dirs = [filled(), filled()];
    let infos = [0, 1].map(|i| key_info(dirs[i].path()).unwrap());
    assert_ne!(infos[0].id, infos[1].id);
    assert_eq!((infos[0].id.len(), &infos[0].wrapping), (32, &Wrapping::Plain));
    assert_eq!(format!("the key is {}", infos[0].wrapping), "the key is not wrapped");
}

#[test]
fn a_directory_of_the_version_that_did_not_encrypt_is_refused_with_the_cure() {
    let dir = filled();
    let path = dir.path().join("key");
    let mut old = vec![7; 32];
    let check = hash(&[b"plantwin store key check", &old]);
    old.extend(&check[..16]);
    fs::write(&path, old).unwrap();
    let told = refused(dir.path());
    assert!(told.contains("an earlier version") && told.contains("move the directory"), "{told}");
}

#[test]
fn a_wrong_passphrase_says_so_and_touches_nothing_and_the_right_one_opens() {
    let right = passphrase("correct horse battery");
    let dir = filled_with(&right);
    let told = |source: &KeySource| {
        let error = refused_with(dir.path(), source);
        assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
        error.to_string()
    };
    let wrong = told(&passphrase("correct horse batterz"));
    assert!(
        wrong.contains("the passphrase is not the one") && wrong.contains("try again"),
        "{wrong}"
    );
    let none = told(&KeySource::Plain);
    assert!(
        none.contains("wrapped by a passphrase (Argon2id, 64 MiB, 3 passes, 1 lane)"),
        "{none}"
    );
    assert!(told(&KeySource::Keyring("x".to_owned())).contains("the keyring was given"));
    assert_eq!(value(dir.path(), &right), Some(1));
    assert_eq!(format!("{right:?}"), "Passphrase(..)");
}

#[test]
fn a_passphrase_that_is_too_short_is_refused_before_anything_is_made() {
    let dir = TempDir::new().unwrap();
    let error = SledStore::open_with(dir.path(), &passphrase("1234567")).unwrap_err().to_string();
    assert!(error.contains("less than 8 characters"), "{error}");
    assert!(!dir.path().join("key").exists());
}

#[test]
fn a_key_file_is_made_once_and_a_wrong_exposed_short_or_missing_one_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let keys = TempDir::new().unwrap();
    let [path, other] = ["line1.key", "other.key"].map(|name| keys.path().join(name));
    let source = KeySource::File(path.clone());
    let dir = filled_with(&source);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&path).unwrap().len(), 32);
    assert_eq!(value(dir.path(), &source), Some(1));

    fs::write(&other, [1; 40]).unwrap();
    let given = KeySource::File(other.clone());
    assert!(refused_with(dir.path(), &given).to_string().contains("chmod 600"));
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let error = refused_with(dir.path(), &given);
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    assert!(error.to_string().contains("other.key is not the one"), "{error}");
    fs::write(&other, [1; 31]).unwrap();
    assert!(refused_with(dir.path(), &given).to_string().contains("has not 32 to 4096 bytes"));
    fs::remove_file(&other).unwrap();
    let error = refused_with(dir.path(), &given).to_string();
    assert!(error.contains("other.key") && !other.exists(), "not made for a store that has a key");
    assert_eq!(value(dir.path(), &source), Some(1));
}

#[test]
fn a_key_file_inside_the_directory_is_refused_even_behind_a_link() {
    let dir = TempDir::new().unwrap();
    let inside = dir.path().join("inside.key");
    let told = |path: &Path| {
        let source = KeySource::File(path.to_owned());
        SledStore::open_with(dir.path(), &source).unwrap_err().to_string()
    };
    assert!(told(&inside).contains("lies in the directory that it shall protect"));
    assert!(!inside.exists());
    fs::write(&inside, [1; 32]).unwrap();
    let links = TempDir::new().unwrap();
    std::os::unix::fs::symlink(&inside, links.path().join("link.key")).unwrap();
    assert!(told(&links.path().join("link.key")).contains("lies in the directory"));
}

/// A key of the kernel's keyring, taken out again in the end.
#[cfg(target_os = "linux")]
pub(super) struct KernelKey(linux_keyutils::Key);

#[cfg(target_os = "linux")]
impl KernelKey {
    /// `None` where the system gives no keyring (some containers forbid the call).
    pub(super) fn put(name: &str, bytes: &[u8]) -> Option<Self> {
        use linux_keyutils::{KeyRing, KeyRingIdentifier};
        let ring = KeyRing::from_special_id(KeyRingIdentifier::User, true).ok()?;
        ring.add_key(&format!("plantwin:{name}"), bytes).ok().map(Self)
    }
}

#[cfg(target_os = "linux")]
impl Drop for KernelKey {
    fn drop(&mut self) {
        let _ = self.0.invalidate();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_key_of_the_keyring_opens_and_another_or_none_is_refused() {
    // The ring is the user's: a name of this process's own.
    let name = format!("test-{}", std::process::id());
    let source = KeySource::Keyring(name.clone());
    let empty = TempDir::new().unwrap();
    let error = SledStore::open_with(empty.path(), &source).unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    let bad = KeySource::Keyring("a b".to_owned());
    let told = SledStore::open_with(empty.path(), &bad).unwrap_err().to_string();
    assert!(told.contains("\"a b\" is no name for a key"), "{told}");
    assert!(!empty.path().join("key").exists(), "no store is locked under a key that is not there");

    let Some(key) = KernelKey::put(&name, &[5; 32]) else {
        eprintln!("this system gives no keyring: only the refusals were tested");
        return;
    };
    let dir = filled_with(&source);
    assert_eq!(value(dir.path(), &source), Some(1));
    drop(key);
    let told = refused_with(dir.path(), &source).to_string();
    assert!(told.contains(&format!("no key plantwin:{name}")), "{told}");
    assert!(told.contains("keyctl padd user"), "{told}");
    let other = KernelKey::put(&name, &[6; 32]).unwrap();
    let told = refused_with(dir.path(), &source).to_string();
    assert!(told.contains("is not the one that it is wrapped by"), "{told}");
    drop(other);
    let _key = KernelKey::put(&name, &[5; 32]).unwrap();
    assert_eq!(value(dir.path(), &source), Some(1));
}
