//! Foreign bytes as certificates, tokens, lists and grants: nothing panics, nothing forged or
//! altered is believed.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use plantwin_authority::{
    TOKEN_LIFE,
    pws::{
        Agent, DeviceIdentity, DeviceKeys, GatewayCert, Grant, IssuerCert, PwsToken,
        RevocationList, TokenClaims,
    },
};
use plantwin_model::Timestamp;
use plantwin_seal::{Secret, SigningKey, VerifyingKey};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// One of each, genuine.
struct Genuine {
    root: VerifyingKey,
    keys: DeviceKeys,
    cert: Vec<u8>,
    list: Vec<u8>,
    grant: Grant,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let (root, issuer) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let day = NOW.plus(Duration::from_hours(24));
    let cert = IssuerCert::sign(&root, issuer.verifying_key(), 1, NOW, day).to_bytes().to_vec();
    let keys = DeviceKeys::from_bytes(&[3; 64]);
    let public = keys.public();
    let gateway = GatewayCert { gateway: "hall".into(), dh: public.dh, not_after: day };
    let gateway = gateway.sign(&issuer, &cert).expect("a short name");
    let list = RevocationList { serial: 1, issued: NOW, revoked: [[4; 32]].into() };
    let list = list.sign(&issuer, &cert).expect("a list");
    let claims = TokenClaims {
        token_id: [5; 16],
        device: "tank1".into(),
        zone: "field".into(),
        gateway: "hall".into(),
        cnf: public.cnf(),
        caps: [6; 32],
        policy_epoch: 1,
        rev_epoch: 1,
        issued: NOW,
        expires: NOW.plus(TOKEN_LIFE),
    };
    let token = PwsToken::issue(&issuer, &cert, claims).expect("a token");
    let grant = Grant::make(&token, &Secret::new([7; 32]), &public.dh, &gateway).expect("a grant");
    Genuine { root: root.verifying_key(), keys, cert, list, grant }
});

/// `original` with the bytes changed that the input names, and longer or shorter.
fn altered(original: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    if let Some((&cut, changes)) = data.split_first() {
        for change in changes.chunks_exact(3).take(8) {
            let place = u16::from_le_bytes([change[0], change[1]]) as usize % bytes.len();
            bytes[place] ^= change[2];
        }
        match cut {
            0..=63 => bytes.truncate(bytes.len().saturating_sub(cut as usize)),
            192..=255 => bytes.resize(bytes.len() + cut as usize - 191, cut),
            _ => {}
        }
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Genuine { root, keys, cert, list, grant } = &*GENUINE;
    for (original, bytes) in [
        (cert, altered(cert, data)),
        (list, altered(list, data)),
        (&grant.token, altered(&grant.token, data)),
        (&grant.gateway, altered(&grant.gateway, data)),
        (cert, data.to_vec()),
    ] {
        let genuine = *original == bytes;
        let believed = [
            IssuerCert::verify(root, &bytes, NOW).is_ok(),
            RevocationList::verify(root, &bytes, NOW).is_ok(),
            PwsToken::verify(root, &bytes, NOW).is_ok(),
            GatewayCert::verify(root, &bytes, NOW).is_ok(),
        ];
        assert_eq!(believed.iter().filter(|yes| **yes).count(), usize::from(genuine));
    }
    let mut agent = Agent::new(DeviceIdentity {
        device: "tank1".into(),
        zone: "field".into(),
        keys: keys.clone(),
        root: *root,
        voucher: None,
    });
    let token = Grant { token: altered(&grant.token, data), ..grant.clone() };
    let psk = Grant { sealed_psk: altered(&grant.sealed_psk, data), ..grant.clone() };
    let gateway = Grant { gateway: altered(&grant.gateway, data), ..grant.clone() };
    for part in [token, psk, gateway] {
        if part != *grant {
            assert!(agent.take(&part, NOW).is_err());
            assert_eq!(agent.token_expires(), None, "a refused grant changes nothing");
        }
    }
    assert_eq!(agent.take(grant, NOW), Ok(NOW.plus(TOKEN_LIFE)));
});
