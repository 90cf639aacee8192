//! From a voucher to the first session.

use plantwin_seal::Secret;

use super::rig::{GATEWAY, Plant, ask};
use crate::{
    AuthError,
    pws::{
        Agent, AgentEvent, Answer, AuthorityNeed, EnrolRequest, Handshake, REQUEST_SKEW, Step,
        TokenRequest, Voucher, Withheld,
    },
};

fn need(handshake: &mut Handshake, answer: &[u8], plant: &Plant) -> AuthorityNeed {
    match handshake.on_answer(answer, plant.now()) {
        Step::Ask(need) => need,
        other => panic!("{other:?}"),
    }
}

fn invited(plant: &Plant) -> (Agent, Voucher) {
    let voucher = Voucher::from_code(&[9; 16]);
    let mut identity = plant.identity("tank1");
    identity.voucher = Some(voucher.clone());
    (Agent::new(identity), voucher)
}

#[test]
fn a_device_enrols_waits_for_approval_and_then_gets_its_token() {
    let plant = Plant::new();
    let (mut agent, voucher) = invited(&plant);
    let public = agent.me.keys.public();

    let (mut handshake, begin) = plant.begin();
    let asks = ask(&mut agent, &begin, plant.now());
    let AuthorityNeed::Enrol(request) = need(&mut handshake, &asks, &plant) else {
        panic!("a token")
    };
    assert_eq!(request.verify(&voucher.secret), Ok(()));
    assert_eq!((request.public, request.voucher_id), (public, voucher.id));
    let pending = handshake.enrol_pending(&public.fingerprint()).unwrap();
    let Answer::Send { bytes, event } = agent.on_exchange(&pending, plant.now()) else {
        panic!("a request")
    };
    assert_eq!(event, Some(AgentEvent::EnrolPending { fingerprint: public.fingerprint() }));
    assert!(matches!(handshake.on_answer(&bytes, plant.now()), Step::Later));
    assert_eq!(plant.gateway.counts().half_open, 0);

    // Approved meanwhile: the same request again, then the token, in one go.
    let (mut handshake, begin) = plant.begin();
    let asks = ask(&mut agent, &begin, plant.now());
    let AuthorityNeed::Enrol(again) = need(&mut handshake, &asks, &plant) else {
        panic!("a token")
    };
    assert_eq!(again, request);
    let asks = ask(&mut agent, &handshake.enrolled().unwrap(), plant.now());
    let AuthorityNeed::Token(request) = need(&mut handshake, &asks, &plant) else {
        panic!("enrolment")
    };
    assert_eq!(request.verify(&public, GATEWAY, plant.now()), Ok(()));
    assert!(agent.me.voucher.is_some(), "anybody can say that a device is enrolled");
    let grant = plant.grant(plant.claims(&request.device, &public), &public);
    let first = ask(&mut agent, &handshake.granted(grant).unwrap(), plant.now());
    assert!(agent.me.voucher.is_none(), "the authority's signature is proof of it");
    let Step::Send(second) = handshake.on_answer(&first, plant.now()) else { panic!("refused") };
    let proof = ask(&mut agent, &second, plant.now());
    assert!(matches!(handshake.on_answer(&proof, plant.now()), Step::Up(_)));
}

#[test]
fn a_lie_that_a_device_is_enrolled_does_not_keep_it_from_enrolling() {
    let plant = Plant::new();
    let (mut agent, _) = invited(&plant);
    let (mut handshake, begin) = plant.begin();
    ask(&mut agent, &begin, plant.now());
    let lie = handshake.enrolled().unwrap();
    ask(&mut agent, &lie, plant.now());
    let (mut handshake, begin) = plant.begin();
    let asks = ask(&mut agent, &begin, plant.now());
    assert!(matches!(need(&mut handshake, &asks, &plant), AuthorityNeed::Token(_)));
    ask(&mut agent, &handshake.withheld(Withheld::Refused).unwrap(), plant.now());
    let (mut handshake, begin) = plant.begin();
    let asks = ask(&mut agent, &begin, plant.now());
    assert!(matches!(need(&mut handshake, &asks, &plant), AuthorityNeed::Enrol(_)));
}

#[test]
fn a_request_to_enrol_needs_voucher_and_key() {
    let plant = Plant::new();
    let (agent, voucher) = invited(&plant);
    let request = EnrolRequest::build(&agent.me, &voucher);
    assert_eq!(request.verify(&Secret::random().unwrap()), Err(AuthError::VoucherRefused));
    for change in [
        |request: &mut EnrolRequest| request.device = "tank2".into(),
        |request: &mut EnrolRequest| request.zone = "control".into(),
        |request: &mut EnrolRequest| request.voucher_id = [0; 16],
        |request: &mut EnrolRequest| request.voucher_proof[0] ^= 1,
    ] {
        let mut changed = request.clone();
        change(&mut changed);
        assert_eq!(changed.verify(&voucher.secret), Err(AuthError::VoucherRefused));
    }
    // Somebody with the voucher who names keys that are not its own.
    let mut other = plant.identity("tank1");
    other.keys.dh = agent.me.keys.dh.clone();
    let mut forged = EnrolRequest::build(&other, &voucher);
    forged.public.sign = agent.me.keys.sign.verifying_key();
    let mut mended = EnrolRequest::build(&agent.me, &voucher);
    forged.voucher_proof = mended.voucher_proof;
    assert_eq!(forged.verify(&voucher.secret), Err(AuthError::RequestForged));
    mended.voucher_proof = forged.voucher_proof;
    assert_eq!(mended.verify(&voucher.secret), Ok(()));
}

#[test]
fn a_request_is_for_the_device_and_zone_that_were_asked() {
    let plant = Plant::new();
    let (_, voucher) = invited(&plant);
    let mut identity = plant.identity("tank2");
    identity.voucher = Some(voucher.clone());
    let (mut handshake, begin) = plant.begin();
    let asks = ask(&mut Agent::new(identity), &begin, plant.now());
    let step = handshake.on_answer(&asks, plant.now());
    assert!(matches!(step, Step::Failed(AuthError::WrongDevice(_))), "{step:?}");
    let mut identity = plant.identity("tank1");
    (identity.voucher, identity.zone) = (Some(voucher), "control".into());
    let asks = ask(&mut Agent::new(identity), &begin, plant.now());
    let step = handshake.on_answer(&asks, plant.now());
    assert!(matches!(step, Step::Failed(AuthError::WrongZone)), "{step:?}");
    let asks = ask(&mut Agent::new(plant.identity("tank2")), &begin, plant.now());
    let step = handshake.on_answer(&asks, plant.now());
    assert!(matches!(step, Step::Failed(AuthError::WrongDevice(_))), "{step:?}");
}

#[test]
fn a_request_for_a_token_needs_the_key_the_gateway_and_the_time() {
    let plant = Plant::new();
    let me = plant.identity("tank1");
    let (public, now) = (me.keys.public(), plant.now());
    let request = TokenRequest::build(&me, GATEWAY, now).unwrap();
    let with = |change: fn(&mut TokenRequest)| {
        let mut changed = request.clone();
        change(&mut changed);
        changed.verify(&public, GATEWAY, now)
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|request| request.device = "tank2".into()), Err(AuthError::RequestForged));
    assert_eq!(with(|request| request.gateway = "yard".into()), Err(AuthError::RequestForged));
    assert_eq!(with(|request| request.nonce[0] ^= 1), Err(AuthError::RequestForged));
    assert_eq!(with(|request| request.time.0 += 1), Err(AuthError::RequestForged));
    assert_eq!(with(|request| request.cnf[0] ^= 1), Err(AuthError::WrongKey));
    assert_eq!(request.verify(&public, "yard", now), Err(AuthError::WrongAudience));
    let late = now.plus(REQUEST_SKEW);
    assert_eq!(request.verify(&public, GATEWAY, late), Ok(()));
    let later = late.plus(std::time::Duration::from_nanos(1));
    assert_eq!(request.verify(&public, GATEWAY, later), Err(AuthError::RequestStale));
    let ahead = TokenRequest::build(&me, GATEWAY, later).unwrap();
    assert_eq!(ahead.verify(&public, GATEWAY, now), Err(AuthError::RequestStale));
    assert_ne!(ahead.nonce, request.nonce);
}
