//! Keys, certificates and revocation lists by themselves.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use plantwin_seal::{DhPublic, Secret, SigningKey};

use super::rig::{DAY, Issuer, START};
use crate::{
    AuthError, CLOCK_SKEW,
    pws::{
        DeviceKeys, DevicePublic, GATEWAY_NAME_LIMIT, GatewayCert, IssuerCert, RevocationList,
        Revoked, Voucher, fingerprint, token_psk,
    },
};

#[test]
fn kept_keys_are_the_same_keys() {
    let keys = DeviceKeys::generate().unwrap();
    let restored = DeviceKeys::from_bytes(&keys.to_bytes());
    assert_eq!(restored.public(), keys.public());
    assert_eq!(restored.to_bytes(), keys.to_bytes());
    assert_ne!(DeviceKeys::generate().unwrap().public(), keys.public());
}

#[test]
fn public_keys_travel_and_weak_ones_do_not_arrive() {
    let public = DeviceKeys::generate().unwrap().public();
    let mut bytes = postcard::to_stdvec(&public).unwrap();
    assert_eq!(bytes.len(), 64);
    assert_eq!(postcard::from_bytes::<DevicePublic>(&bytes), Ok(public));
    // The neutral point of the curve: whatever it "signs" holds.
    bytes[..32].fill(0);
    bytes[0] = 1;
    assert!(postcard::from_bytes::<DevicePublic>(&bytes).is_err());
}

#[test]
fn a_fingerprint_is_read_aloud_in_eight_groups_and_covers_both_keys() {
    let public = DeviceKeys::generate().unwrap().public();
    let shown = public.fingerprint();
    let groups: Vec<_> = shown.split('-').map(str::len).collect();
    assert_eq!(groups, [4; 8]);
    assert!(shown.chars().all(|c| c == '-' || c.is_ascii_digit() || c.is_ascii_uppercase()));
    let other = DeviceKeys::generate().unwrap().public();
    assert_ne!(DevicePublic { sign: other.sign, ..public }.fingerprint(), shown);
    assert_ne!(DevicePublic { dh: other.dh, ..public }.fingerprint(), shown);
    // Five bits a character, the highest first.
    let mut cnf = [0; 32];
    assert_eq!(fingerprint(&cnf), ["0000"; 8].join("-"));
    (cnf[0], cnf[19]) = (0b0000_1000, 31);
    assert_eq!(fingerprint(&cnf), "1000-0000-0000-0000-0000-0000-0000-000Z");
}

#[test]
fn the_hash_of_the_keys_depends_on_their_order() {
    let sign = SigningKey::from_seed(&[1; 32]).verifying_key();
    let dh = DhPublic::from_bytes(*sign.as_bytes());
    let other = SigningKey::from_seed(&[2; 32]).verifying_key();
    let one = DevicePublic { sign, dh: DhPublic::from_bytes(*other.as_bytes()) };
    let swapped = DevicePublic { sign: other, dh };
    assert_ne!(one.cnf(), swapped.cnf());
}

#[test]
fn a_voucher_tells_neither_its_code_nor_its_secret() {
    let (voucher, same) = (Voucher::from_code(&[9; 16]), Voucher::from_code(&[9; 16]));
    assert_eq!((voucher.id, voucher.secret.expose()), (same.id, same.secret.expose()));
    assert_ne!(voucher.id, Voucher::from_code(&[8; 16]).id);
    assert_ne!(voucher.id, [9; 16]);
    assert_ne!(voucher.secret.expose()[..16], voucher.id);
}

#[test]
fn the_secret_of_a_token_depends_on_all_that_it_is_made_of() {
    let secret = Secret::random().unwrap();
    let psk = |secret: &Secret, id: u8, cnf: u8| *token_psk(secret, &[id; 16], &[cnf; 32]).expose();
    let one = psk(&secret, 1, 1);
    assert_eq!(psk(&secret, 1, 1), one);
    for other in [psk(&secret, 2, 1), psk(&secret, 1, 2), psk(&Secret::random().unwrap(), 1, 1)] {
        assert_ne!(other, one);
    }
}

#[test]
fn an_issuer_is_believed_from_its_beginning_to_its_end() {
    let (root, issuer) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let cert = IssuerCert::sign(&root, issuer.verifying_key(), 7, START, START.plus(DAY));
    let verify = |now| IssuerCert::verify(&root.verifying_key(), &cert.to_bytes(), now);
    assert_eq!(verify(START), Ok(cert.clone()));
    let early = plantwin_model::Timestamp(START.0 - CLOCK_SKEW.as_nanos() as i64);
    assert!(verify(early).is_ok());
    assert_eq!(verify(plantwin_model::Timestamp(early.0 - 1)), Err(AuthError::IssuerExpired));
    assert_eq!(verify(START.plus(DAY)), Err(AuthError::IssuerExpired));
    let stranger = SigningKey::generate().unwrap().verifying_key();
    let refused = IssuerCert::verify(&stranger, &cert.to_bytes(), START);
    assert_eq!(refused, Err(AuthError::IssuerForged));
    let short = IssuerCert::verify(&root.verifying_key(), &cert.to_bytes()[1..], START);
    assert_eq!(short, Err(AuthError::IssuerForged));
}

#[test]
fn an_issuer_signs_with_its_own_certificate_only() {
    let issuer = Issuer::new(SigningKey::generate().unwrap());
    let other = SigningKey::generate().unwrap();
    let list = RevocationList::default();
    assert_eq!(list.sign(&other, &issuer.cert), Err(AuthError::IssuerForged));
    assert_eq!(list.sign(&issuer.key, &issuer.cert[1..]), Err(AuthError::IssuerForged));
}

#[test]
fn two_issuers_of_one_root_are_believed_side_by_side() {
    // The overlap when an issuer's key is rotated.
    let root = SigningKey::generate().unwrap();
    let (old, new) = (Issuer::new(root.clone()), Issuer::new(root.clone()));
    let list = RevocationList { serial: 1, ..RevocationList::default() };
    for issuer in [old, new] {
        let bytes = list.sign(&issuer.key, &issuer.cert).unwrap();
        let verified = RevocationList::verify(&root.verifying_key(), &bytes, START);
        assert_eq!(verified.as_ref(), Ok(&list));
    }
}

#[test]
fn a_gateway_has_a_name_of_bounded_length() {
    let issuer = Issuer::new(SigningKey::generate().unwrap());
    let cert = |length| GatewayCert {
        gateway: "g".repeat(length),
        dh: DhPublic::from_bytes([1; 32]),
        not_after: START.plus(DAY),
    };
    let longest = cert(GATEWAY_NAME_LIMIT).sign(&issuer.key, &issuer.cert).unwrap();
    let root = issuer.root.verifying_key();
    assert_eq!(GatewayCert::verify(&root, &longest, START), Ok(cert(GATEWAY_NAME_LIMIT)));
    let end = GatewayCert::verify(&root, &longest, START.plus(DAY));
    assert_eq!(end, Err(AuthError::GatewayExpired));
    let long = cert(GATEWAY_NAME_LIMIT + 1).sign(&issuer.key, &issuer.cert);
    assert_eq!(long, Err(AuthError::TooLong(GATEWAY_NAME_LIMIT + 1)));
}

#[test]
fn a_revocation_list_with_a_lower_serial_is_refused() {
    let issuer = Issuer::new(SigningKey::generate().unwrap());
    let root = issuer.root.verifying_key();
    let revoked = Revoked::default();
    let list = |serial, keys: &[u8]| {
        let revoked: BTreeSet<_> = keys.iter().map(|key| [*key; 32]).collect();
        let list = RevocationList { serial, issued: START, revoked };
        list.sign(&issuer.key, &issuer.cert).unwrap()
    };
    assert_eq!(revoked.age(START), None);
    assert_eq!(revoked.accept(&root, &list(5, &[1]), START), Ok(()));
    assert!(revoked.contains(&[1; 32]) && !revoked.contains(&[2; 32]));
    let old = revoked.accept(&root, &list(4, &[]), START);
    assert_eq!(old, Err(AuthError::RevocationsOld { got: 4, known: 5 }));
    let changed = revoked.accept(&root, &list(5, &[]), START);
    assert_eq!(changed, Err(AuthError::RevocationsOld { got: 5, known: 5 }));
    assert!(revoked.contains(&[1; 32]));
    // The same once more: it is still the newest.
    let later = START.plus(Duration::from_secs(9));
    assert_eq!(revoked.accept(&root, &list(5, &[1]), later), Ok(()));
    assert_eq!(revoked.age(later.plus(Duration::from_secs(1))), Some(Duration::from_secs(1)));
    let shared = revoked.clone();
    shared
        .adopt(Arc::new(RevocationList { serial: 6, ..RevocationList::default() }), later)
        .unwrap();
    assert!(!revoked.contains(&[1; 32]), "all handles see the same list");
    let other = Issuer::new(SigningKey::generate().unwrap());
    let forged = RevocationList { serial: 9, ..RevocationList::default() };
    let forged = forged.sign(&other.key, &other.cert).unwrap();
    assert_eq!(revoked.accept(&root, &forged, later), Err(AuthError::RevocationsForged));
}

#[test]
fn every_reason_has_a_code_of_its_own() {
    let all = [
        AuthError::Malformed("").reason_code(),
        AuthError::Forged.reason_code(),
        AuthError::Expired.reason_code(),
        AuthError::NotYetValid.reason_code(),
        AuthError::LifeTooLong.reason_code(),
        AuthError::WrongDevice("a".into()).reason_code(),
        AuthError::WrongZone.reason_code(),
        AuthError::WrongKey.reason_code(),
        AuthError::WrongAudience.reason_code(),
        AuthError::Revoked.reason_code(),
        AuthError::NoToken.reason_code(),
        AuthError::NoPossession.reason_code(),
        AuthError::PskMismatch.reason_code(),
        AuthError::Replayed.reason_code(),
        AuthError::Downgraded.reason_code(),
        AuthError::Altered.reason_code(),
        AuthError::Reflected.reason_code(),
        AuthError::LockedOut(Duration::ZERO).reason_code(),
        AuthError::Cookie.reason_code(),
    ];
    let distinct: BTreeSet<_> = all.into_iter().collect();
    assert_eq!(distinct.len(), all.len());
}
