//! A device's key file: what it keeps, for whom, and what it refuses.

use std::{fs, os::unix::fs::PermissionsExt as _};

use plantwin_seal::SigningKey;
use proptest::prelude::*;

use super::*;

const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 8, passes: 1, lanes: 1 };

fn me() -> DeviceIdentity {
    DeviceIdentity {
        device: "tank1".into(),
        zone: "field".into(),
        keys: DeviceKeys::generate().unwrap(),
        root: SigningKey::generate().unwrap().verifying_key(),
        voucher: Some(Voucher::from_code(&[7; 16])),
    }
}

fn same(a: &DeviceIdentity, b: &DeviceIdentity) {
    assert_eq!((&a.device, &a.zone, a.root), (&b.device, &b.zone, b.root));
    assert_eq!(*a.keys.to_bytes(), *b.keys.to_bytes());
    let voucher = |v: &Voucher| (v.id, *v.secret.expose());
    assert_eq!(a.voucher.as_ref().map(voucher), b.voucher.as_ref().map(voucher));
}

#[test]
fn keys_come_back_with_and_without_a_passphrase_from_a_file_for_their_owner_alone() {
    for passphrase in [None, Some("correct horse")] {
        let folder = tempfile::tempdir().unwrap();
        let (home, me) = (folder.path().join("new").join("device"), me());
        KeyFile::with_cost(&home, &me, passphrase, CHEAP).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home), mode(&home.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing lies beside it");
        let file = KeyFile::read(&home).unwrap();
        assert_eq!(file.is_sealed(), passphrase.is_some());
        same(&file.open(passphrase).unwrap(), &me);
        let text = fs::read_to_string(file.path()).unwrap();
        let seed = hex(me.keys.sign.expose_seed());
        assert_eq!(text.contains(&**seed), passphrase.is_none());
        assert!(!format!("{file:?}").contains(&**seed));
    }
}

#[test]
fn a_wrong_passphrase_or_none_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::with_cost(folder.path(), &me(), Some("right"), CHEAP).unwrap();
    for wrong in [None, Some("wrong"), Some("")] {
        let error = file.open(wrong).unwrap_err();
        assert!(matches!(error, FieldError::WrongPassphrase { .. }), "{error}");
    }
}

#[test]
fn a_key_file_is_never_overwritten_and_what_a_crash_left_beside_it_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (me(), me());
    fs::write(folder.path().join("device.key.new"), "half").unwrap();
    KeyFile::create(folder.path(), &first, None).unwrap();
    let error = KeyFile::create(folder.path(), &second, None).unwrap_err();
    assert!(matches!(error, FieldError::KeyFileThere { .. }), "{error}");
    same(&KeyFile::read(folder.path()).unwrap().open(None).unwrap(), &first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_voucher_that_was_used_goes_and_the_keys_stay() {
    for passphrase in [None, Some("secret")] {
        let folder = tempfile::tempdir().unwrap();
        let mut me = me();
        let mut file = KeyFile::with_cost(folder.path(), &me, passphrase, CHEAP).unwrap();
        file.forget_voucher().unwrap();
        file.forget_voucher().unwrap();
        me.voucher = None;
        same(&KeyFile::read(folder.path()).unwrap().open(passphrase).unwrap(), &me);
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_sealed_secret_in_the_place_of_another_or_under_another_name_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::with_cost(folder.path(), &me(), Some("secret"), CHEAP).unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let mut swapped = words.clone();
    swapped.swap(9, 10);
    for altered in [swapped.join(" "), text.replace(" tank1 ", " tank2 ")] {
        fs::write(file.path(), altered).unwrap();
        let error = KeyFile::read(folder.path()).unwrap().open(Some("secret")).unwrap_err();
        assert!(error.to_string().contains("altered"), "{error}");
    }
}

#[test]
fn a_file_that_others_may_read_that_is_none_or_that_is_not_there_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let told = || KeyFile::read(folder.path()).unwrap_err().to_string();
    assert!(told().contains("device.key"), "{}", told());
    let file = KeyFile::create(folder.path(), &me(), None).unwrap();
    let mode = |mode| fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    assert!(told().contains("chmod 600"), "{}", told());
    mode(0o600);
    fs::write(file.path(), "plantwin-device-9 a b c").unwrap();
    assert!(told().contains("no key file"), "{}", told());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(plantwin-device-1 )?([0-9a-zA-Z]{0,70} ?){0,12}") {
        if let Some(file) = KeyFile::parse(PathBuf::new(), &text)
            && !file.is_sealed()
        {
            let _ = file.open(None);
        }
    }
}
