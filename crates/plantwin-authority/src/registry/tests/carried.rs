//! What people carry: vouchers, and the file of an offline root.

use plantwin_seal::{PassphraseCost, SealError};
use proptest::prelude::*;

use super::*;
use crate::registry::{RootFile, disk::read_private, hex, write_new};

#[test]
fn a_voucher_reads_as_it_was_printed_and_as_people_type_it() {
    let root = SigningKey::generate().unwrap().verifying_key();
    let code = VoucherCode::generate(&root).unwrap();
    let text = code.to_string();
    assert_eq!(text.len(), "PWV1".len() + 8 * 6);
    assert!(text.starts_with("PWV1-"), "{text}");
    let typed = text.to_lowercase().replace('-', " ").replace('0', "o");
    for text in [&text, &typed, &format!("  {text}\n")] {
        assert!(text.parse::<VoucherCode>().unwrap() == code, "{text}");
    }
    assert!(code.is_of(&root));
    assert!(!code.is_of(&SigningKey::generate().unwrap().verifying_key()));
    assert_eq!(format!("{code:?}"), "VoucherCode(..)");
}

proptest! {
    #[test]
    fn one_wrong_symbol_or_two_swapped_ones_are_always_found(at in 0_usize..40, to in 0_usize..32) {
        let root = SigningKey::from_seed(&[7; 32]).verifying_key();
        let code = VoucherCode::generate(&root).unwrap();
        let bare: Vec<char> = code.to_string()[4..].chars().filter(|c| *c != '-').collect();
        let read = |symbols: &[char]| {
            format!("PWV1{}", symbols.iter().collect::<String>()).parse::<VoucherCode>()
        };
        prop_assert!(read(&bare).unwrap() == code);
        let mut wrong = bare.clone();
        wrong[at] = char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[to]);
        prop_assert_eq!(read(&wrong).is_ok(), wrong == bare);
        let mut swapped = bare.clone();
        swapped.swap(at, (at + 1) % 40);
        prop_assert_eq!(read(&swapped).is_ok(), swapped == bare);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(PWV1-)?[0-9A-Za-z*~$=U -]{0,60}", any in ".*") {
        let _ = text.parse::<VoucherCode>();
        let _ = any.parse::<VoucherCode>();
        let _ = RootFile::from_text(&any);
        let _ = crate::service::Credential::from_text(&any);
    }
}

#[test]
fn a_root_file_opens_with_its_passphrase_alone() {
    let root = SigningKey::generate().unwrap();
    let cheap = PassphraseCost { memory_kib: 8, passes: 1, lanes: 1 };
    let plain = RootFile::new(&root, None).unwrap();
    let sealed = RootFile::with_cost(&root, Some("correct horse"), cheap).unwrap();
    assert!(!plain.is_sealed() && sealed.is_sealed());
    for file in [&plain, &sealed] {
        let read = RootFile::from_text(&file.to_text()).unwrap();
        assert_eq!(*read.public(), root.verifying_key());
        let opened = read.open(Some("correct horse")).unwrap();
        assert_eq!(opened.verifying_key(), root.verifying_key());
    }
    for wrong in [None, Some("correct mare")] {
        let error = sealed.open(wrong).unwrap_err();
        assert_eq!(error, AuthError::Seal(SealError::WrongKey));
    }
    assert!(!sealed.to_text().contains(hex(root.expose_seed()).as_str()));
    // Whose root it is cannot be changed.
    let other = hex(SigningKey::generate().unwrap().verifying_key().as_bytes());
    for file in [plain, sealed] {
        let swapped = file.to_text().replace(hex(root.verifying_key().as_bytes()).as_str(), &other);
        let swapped = RootFile::from_text(&swapped).unwrap();
        let error = swapped.open(Some("correct horse")).unwrap_err();
        assert_eq!(error, AuthError::Seal(SealError::Tag));
    }
}

#[test]
#[cfg(unix)]
fn files_of_secrets_are_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    write_new(&path, b"secret").unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(write_new(&path, b"other").is_err());
    assert_eq!(&*read_private(&path, 10).unwrap(), b"secret");
    assert!(read_private(&path, 5).is_err());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = read_private(&path, 10).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}
