//! Foreign and altered bytes at every point of a handshake, to both sides: nothing panics, no
//! session comes of it, and the true message still succeeds after it.
#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use plantwin_authority::{
    TOKEN_LIFE,
    pws::{
        Agent, AgentEvent, Answer, DeviceIdentity, DeviceKeys, Gateway, GatewayCert,
        GatewayCredential, Grant, IssuerCert, PwsToken, Revoked, Step, TokenClaims,
    },
};
use plantwin_model::{NoAudit, Timestamp};
use plantwin_seal::{DhKey, Lane, Secret, SigningKey};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

struct Plant {
    root: SigningKey,
    credential: GatewayCredential,
    keys: DeviceKeys,
    grant: Grant,
}

static PLANT: LazyLock<Plant> = LazyLock::new(|| {
    let (root, issuer) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let day = NOW.plus(Duration::from_hours(24));
    let cert = IssuerCert::sign(&root, issuer.verifying_key(), 1, NOW, day).to_bytes();
    let (dh, secret) = (DhKey::from_bytes(&[3; 32]), Secret::new([4; 32]));
    let gateway = GatewayCert { gateway: "hall".into(), dh: dh.public(), not_after: day };
    let certificate = gateway.sign(&issuer, &cert).expect("a short name");
    let keys = DeviceKeys::from_bytes(&[5; 64]);
    let public = keys.public();
    let claims = TokenClaims {
        token_id: [6; 16],
        device: "tank1".into(),
        zone: "field".into(),
        gateway: "hall".into(),
        cnf: public.cnf(),
        caps: [7; 32],
        policy_epoch: 1,
        rev_epoch: 1,
        issued: NOW,
        expires: NOW.plus(TOKEN_LIFE),
    };
    let token = PwsToken::issue(&issuer, &cert, claims).expect("a token");
    let grant = Grant::make(&token, &secret, &public.dh, &certificate).expect("a grant");
    Plant { root, credential: GatewayCredential { dh, certificate, secret }, keys, grant }
});

/// What goes on the path in place of `original`: nothing if it would be the same.
fn instead(original: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let (&how, rest) = data.split_first()?;
    let bytes = match how {
        // Anything at all, or any body behind a genuine frame.
        0..=63 => rest.to_vec(),
        64..=127 => [&b"PWS\x01"[..], rest].concat(),
        // The genuine message with some bytes changed, and longer or shorter.
        _ => {
            let mut bytes = original.to_vec();
            for change in rest.chunks_exact(3).take(8) {
                let place = u16::from_le_bytes([change[0], change[1]]) as usize % bytes.len();
                bytes[place] ^= change[2];
            }
            match how {
                128..=159 => bytes.truncate(bytes.len().saturating_sub(how as usize - 127)),
                160..=191 => bytes.resize(bytes.len() + how as usize - 159, how),
                _ => {}
            }
            bytes
        }
    };
    (bytes != original).then_some(bytes)
}

fn ask(agent: &mut Agent, question: &[u8]) -> (Vec<u8>, Option<AgentEvent>) {
    match agent.on_exchange(question, NOW) {
        Answer::Send { bytes, event } => (bytes, event),
        Answer::Request { .. } => panic!("nobody has sealed a request"),
    }
}

/// No session comes of what somebody else said; it may end the handshake: a device that has "noted"
/// that it waits for approval is asked again later.
fn is_over(step: &Step) -> bool {
    assert!(!matches!(step, Step::Up(_) | Step::Send(_)), "{step:?}");
    matches!(step, Step::Later)
}

fuzz_target!(|data: &[u8]| {
    let Plant { root, credential, keys, grant } = &*PLANT;
    let root = root.verifying_key();
    let gateway =
        Gateway::new(root, credential.clone(), Revoked::default(), Arc::new(NoAudit), NOW)
            .expect("a gateway");
    let mut agent = Agent::new(DeviceIdentity {
        device: "tank1".into(),
        zone: "field".into(),
        keys: keys.clone(),
        root,
        voucher: None,
    });
    agent.take(grant, NOW).expect("a grant");
    let Some((&place, data)) = data.split_first() else { return };

    let (mut handshake, begin) =
        gateway.begin(&"tank1".into(), &"field".into(), "", NOW).expect("the first attempt");
    if place % 4 == 0
        && let Some(bytes) = instead(&begin, data)
    {
        let (answer, _) = ask(&mut agent, &bytes);
        if is_over(&handshake.on_answer(&answer, NOW)) {
            return;
        }
    }
    let (first, _) = ask(&mut agent, &begin);
    if place % 4 == 1
        && let Some(bytes) = instead(&first, data)
    {
        if is_over(&handshake.on_answer(&bytes, NOW)) {
            return;
        }
    }
    let Step::Send(second) = handshake.on_answer(&first, NOW) else { panic!("refused") };
    if place % 4 == 2
        && let Some(bytes) = instead(&second, data)
    {
        ask(&mut agent, &bytes);
        assert!(!agent.is_up(NOW));
    }
    let (proof, event) = ask(&mut agent, &second);
    assert!(matches!(event, Some(AgentEvent::SessionUp { gateway, .. }) if gateway == "hall"));
    if place % 4 == 3
        && let Some(bytes) = instead(&proof, data)
    {
        let step = handshake.on_answer(&bytes, NOW);
        assert!(matches!(step, Step::Failed(_)), "{step:?}");
        assert_eq!(gateway.sessions(), 0);
    }
    let Step::Up(mut session) = handshake.on_answer(&proof, NOW) else { panic!("refused") };
    assert_eq!(gateway.counts().half_open, 0);

    // The session itself, with foreign telemetry and answers.
    let envelope = agent.seal_telemetry(Lane::Durable, data, NOW).expect("a session");
    if let Some(bytes) = instead(&envelope, data) {
        assert!(session.open_telemetry(&bytes, NOW).is_err());
    }
    assert!(session.open_answer(0, data, NOW).is_err());
    assert_eq!(session.open_telemetry(&envelope, NOW).expect("genuine").payload, data);
});
