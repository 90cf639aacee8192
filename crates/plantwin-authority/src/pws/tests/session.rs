//! What goes through a session that is up, and how one follows another.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use plantwin_seal::{Lane, SealError};

use super::rig::{Plant, ask, gateway};
use crate::{
    AuthError,
    pws::{
        Agent, Answer, CHAIN, GatewaySession, OVERLAP, Purpose, RENEW_AFTER, Refusal, SESSION_LIFE,
        SWITCH_AFTER, Ticket, wire::Message,
    },
};

fn serve(agent: &mut Agent, request: &[u8], plant: &Plant) -> (Vec<u8>, Ticket) {
    match agent.on_exchange(request, plant.now()) {
        Answer::Request { payload, ticket } => (payload, ticket),
        other @ Answer::Send { .. } => panic!("{other:?}"),
    }
}

fn telemetry(agent: &mut Agent, plant: &Plant) -> Vec<u8> {
    agent.seal_telemetry(Lane::Durable, b"12.4 cm", plant.now()).unwrap()
}

fn shared(session: GatewaySession) -> Arc<Mutex<GatewaySession>> {
    Arc::new(Mutex::new(session))
}

fn opens(session: &mut GatewaySession, envelope: &[u8], plant: &Plant) -> bool {
    match session.open_telemetry(envelope, plant.now()) {
        Ok(telemetry) => telemetry.payload == b"12.4 cm",
        Err(_) => false,
    }
}

#[test]
fn a_request_and_its_answer_go_sealed_both_ways() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let now = plant.now();
    let (number, request) = session.seal_request(Purpose::Command, b"open", now).unwrap();
    assert!(!request.windows(4).any(|window| window == b"open"));
    let (payload, ticket) = serve(&mut agent, &request, &plant);
    assert_eq!(payload, b"open");
    let answer = agent.reply(ticket, b"done", now).unwrap();
    assert_eq!(session.open_answer(number, &answer, now).unwrap(), b"done");
    let again = session.open_answer(number, &answer, now);
    assert!(matches!(again, Err(AuthError::Seal(SealError::Replay(_)))), "{again:?}");
}

#[test]
fn a_request_that_comes_twice_is_carried_out_once_and_answered_alike() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let now = plant.now();
    let (_, request) = session.seal_request(Purpose::Command, b"open", now).unwrap();
    let (_, ticket) = serve(&mut agent, &request, &plant);
    let answer = agent.reply(ticket, b"done", now).unwrap();
    assert_eq!(ask(&mut agent, &request, now), answer);
    // After another one it is a replay.
    let (_, other) = session.seal_request(Purpose::Read, b"level?", now).unwrap();
    let (_, ticket) = serve(&mut agent, &other, &plant);
    agent.reply(ticket, b"12", now).unwrap();
    let refused = ask(&mut agent, &request, now);
    assert_eq!(Message::decode(&refused), Ok(Message::Refuse { seen: 1, why: Refusal::Session }));
    let error = session.open_answer(0, &refused, now).unwrap_err();
    assert_eq!(error, AuthError::RefusedByDevice(Refusal::Session));
}

#[test]
fn an_answer_belongs_to_its_request_alone() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let now = plant.now();
    let (_, held_back) = session.seal_request(Purpose::Read, b"level?", now).unwrap();
    let (_, ticket) = serve(&mut agent, &held_back, &plant);
    let old = agent.reply(ticket, b"12.4", now).unwrap();
    let (number, request) = session.seal_request(Purpose::Read, b"level?", now).unwrap();
    assert_eq!(session.open_answer(number, &old, now), Err(AuthError::Replayed));
    let (_, ticket) = serve(&mut agent, &request, &plant);
    let new = agent.reply(ticket, b"99.9", now).unwrap();
    assert_eq!(session.open_answer(number, &new, now).unwrap(), b"99.9");
    // Our own request is no answer, nor is telemetry.
    let reflected = session.open_answer(number, &request, now);
    assert_eq!(reflected, Err(AuthError::Reflected));
    let envelope = telemetry(&mut agent, &plant);
    let dressed = Message::Answer(envelope.clone()).encode().unwrap();
    let refused = session.open_answer(number, &dressed, now);
    assert!(matches!(refused, Err(AuthError::Seal(SealError::ContentType(_)))), "{refused:?}");
    assert!(opens(&mut session, &envelope, &plant));
}

#[test]
fn a_device_knows_how_old_its_session_is_and_what_came_out_of_turn() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let mut seal = || session.seal_request(Purpose::Command, b"open", plant.now()).unwrap().1;
    let (held_back, later) = (seal(), seal());
    plant.wait(Duration::from_secs(3));
    let (_, ticket) = serve(&mut agent, &later, &plant);
    assert!(agent.has_turn(&ticket) && ticket.allows_commands());
    assert!(ticket.age() >= Duration::from_secs(3), "{:?}", ticket.age());
    let (_, ticket) = serve(&mut agent, &held_back, &plant);
    assert!(!agent.has_turn(&ticket));
}

#[test]
fn a_session_with_a_device_is_that_devices_alone() {
    let plant = Plant::new();
    let (mut agent, mut thief) = (plant.agent("tank1"), Agent::new(plant.identity("tank1")));
    let mut session = plant.connect(&mut agent).unwrap();
    let (_, request) = session.seal_request(Purpose::Read, b"?", plant.now()).unwrap();
    let refused = ask(&mut thief, &request, plant.now());
    assert!(matches!(Message::decode(&refused), Ok(Message::Refuse { .. })));
    let none = thief.seal_telemetry(Lane::Latest, b"1", plant.now());
    assert_eq!(none, Err(AuthError::NoSession));
    let other = Plant::new();
    let mut elsewhere = other.agent("tank1");
    other.connect(&mut elsewhere).unwrap();
    let foreign = telemetry(&mut elsewhere, &other);
    let refused = session.open_telemetry(&foreign, plant.now());
    assert_eq!(refused, Err(AuthError::Seal(SealError::Session)));
}

#[test]
fn a_renewal_loses_nothing_that_is_on_its_way() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let old = plant.connect(&mut agent).unwrap();
    let end = old.expires();
    let on_its_way = telemetry(&mut agent, &plant);
    plant.wait(Duration::from_mins(6));
    let mut session = plant.connect(&mut agent).unwrap();
    let old = shared(old);
    session.replaces(&old, plant.now()).unwrap();
    assert_eq!(plant.gateway.sessions(), 2);
    // The device goes on in the old session until the gateway uses the new one.
    let [after, much_later, too_late] = [(); 3].map(|()| telemetry(&mut agent, &plant));
    assert!(opens(&mut session, &on_its_way, &plant) && opens(&mut session, &after, &plant));
    assert!(!opens(&mut session, &after, &plant), "once");
    let (_, request) = session.seal_request(Purpose::Read, b"?", plant.now()).unwrap();
    serve(&mut agent, &request, &plant);
    let in_new = telemetry(&mut agent, &plant);
    assert!(opens(&mut session, &in_new, &plant));
    // After a while nothing is asked in the old one, and what it was told may still come.
    plant.wait(OVERLAP);
    assert_eq!(session.check(plant.now()), Ok(()));
    let asked = old.lock().unwrap().seal_request(Purpose::Read, b"?", plant.now());
    assert_eq!(asked, Err(AuthError::NoSession));
    drop(old);
    plant.wait(end.since(plant.now()).saturating_sub(Duration::from_millis(1)));
    assert!(opens(&mut session, &much_later, &plant), "a broker held it back");
    assert_eq!(plant.gateway.sessions(), 2);
    // At its own end it is forgotten, keys and all.
    plant.wait(Duration::from_millis(1));
    assert_eq!(session.check(plant.now()), Ok(()));
    assert_eq!(plant.gateway.sessions(), 1);
    assert_eq!(
        session.open_telemetry(&too_late, plant.now()),
        Err(AuthError::Seal(SealError::Session))
    );
}

#[test]
fn a_renewal_while_a_request_is_under_way_loses_nothing_and_the_request_is_answered() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let old = shared(plant.connect(&mut agent).unwrap());
    let under_way = Arc::clone(&old);
    let request = under_way.lock().unwrap().seal_request(Purpose::Read, b"?", plant.now());
    let (number, request) = request.unwrap();
    let mut session = plant.connect(&mut agent).unwrap();
    session.replaces(&old, plant.now()).unwrap();
    drop(old);
    let after = telemetry(&mut agent, &plant);
    assert!(opens(&mut session, &after, &plant), "still in the old one");
    let (_, ticket) = serve(&mut agent, &request, &plant);
    let answer = agent.reply(ticket, b"!", plant.now()).unwrap();
    let answer = under_way.lock().unwrap().open_answer(number, &answer, plant.now());
    assert_eq!(answer.as_deref(), Ok(&b"!"[..]));
}

#[test]
fn who_may_ask_no_more_still_hears_what_the_device_says_until_the_sessions_end() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let old = shared(plant.connect(&mut agent).unwrap());
    let mut session = plant.connect(&mut agent).unwrap();
    session.replaces(&old, plant.now()).unwrap();
    session.ask_no_more();
    for purpose in [Purpose::Read, Purpose::Command, Purpose::Safety] {
        let asked = session.seal_request(purpose, b"?", plant.now());
        assert_eq!(asked, Err(AuthError::NoSession));
        let asked = old.lock().unwrap().seal_request(purpose, b"?", plant.now());
        assert_eq!(asked, Err(AuthError::NoSession), "nor in the session before it");
    }
    let said = telemetry(&mut agent, &plant);
    assert!(session.open_unbelieved(&said, plant.now()).is_ok(), "in the old session");
    plant.wait(SWITCH_AFTER);
    let said = telemetry(&mut agent, &plant);
    assert!(session.open_unbelieved(&said, plant.now()).is_ok());
    let said = telemetry(&mut agent, &plant);
    plant.wait(SESSION_LIFE);
    let over = session.open_unbelieved(&said, plant.now());
    assert_eq!(over, Err(AuthError::SessionOver));
}

#[test]
fn a_device_switches_by_itself_when_the_gateway_asks_nothing() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut old = plant.connect(&mut agent).unwrap();
    let mut session = plant.connect(&mut agent).unwrap();
    let early = telemetry(&mut agent, &plant);
    assert!(opens(&mut old, &early, &plant) && !opens(&mut session, &early, &plant));
    plant.wait(SWITCH_AFTER);
    let late = telemetry(&mut agent, &plant);
    assert!(opens(&mut session, &late, &plant) && !opens(&mut old, &late, &plant));
}

#[test]
fn a_lost_proof_costs_nothing_but_another_handshake() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let lost = plant.connect_changed(&mut agent, |kind, bytes| match kind {
        super::rig::PROOF => Vec::new(),
        _ => bytes,
    });
    assert!(lost.is_err());
    let envelope = telemetry(&mut agent, &plant);
    assert!(opens(&mut session, &envelope, &plant), "still in the session that is up");
    let mut new = plant.connect(&mut agent).unwrap();
    new.replaces(&shared(session), plant.now()).unwrap();
    let envelope = telemetry(&mut agent, &plant);
    assert!(opens(&mut new, &envelope, &plant));
}

#[test]
fn after_a_restart_of_either_side_there_is_a_new_handshake() {
    let mut plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let session = plant.connect(&mut agent).unwrap();
    // The gateway forgot everything: the device uses the new session at once.
    drop(session);
    let restarted = gateway(&plant.issuer, &plant.credential, &plant.revoked, &plant.log);
    plant.gateway = restarted;
    let mut session = plant.connect(&mut agent).unwrap();
    let envelope = telemetry(&mut agent, &plant);
    assert!(opens(&mut session, &envelope, &plant));
    // The device forgot everything but its keys.
    let mut agent = Agent::new(agent.me.clone());
    let (_, request) = session.seal_request(Purpose::Read, b"?", plant.now()).unwrap();
    let refused = ask(&mut agent, &request, plant.now());
    let error = session.open_answer(0, &refused, plant.now()).unwrap_err();
    assert_eq!(error, AuthError::RefusedByDevice(Refusal::Session));
    let mut new = plant.connect(&mut agent).unwrap();
    let envelope = telemetry(&mut agent, &plant);
    assert!(opens(&mut new, &envelope, &plant));
}

#[test]
fn a_session_takes_over_from_the_same_device_only() {
    let plant = Plant::new();
    let (mut agent, mut other) = (plant.agent("tank1"), plant.agent("tank2"));
    let mut session = plant.connect(&mut agent).unwrap();
    let now = plant.wait(Duration::from_secs(1));
    let (mut handshake, begin) =
        plant.gateway.begin(&"tank2".into(), &"field".into(), "", now).unwrap();
    let first = ask(&mut other, &begin, now);
    let crate::pws::Step::Send(second) = handshake.on_answer(&first, now) else { panic!() };
    let proof = ask(&mut other, &second, now);
    let crate::pws::Step::Up(theirs) = handshake.on_answer(&proof, now) else { panic!() };
    let refused = session.replaces(&shared(*theirs), now);
    assert_eq!(refused, Err(AuthError::WrongDevice("tank2".into())));
}

#[test]
fn a_session_is_renewed_after_ten_minutes_and_dead_after_fifteen() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let session = plant.connect(&mut agent).unwrap();
    // The token ends first here: it is a second old already, and a minute is kept in hand.
    let due = |after| session.needs_handshake(session.started().plus(after));
    assert!(!due(RENEW_AFTER.saturating_sub(Duration::from_secs(63))) && due(RENEW_AFTER));
    // The device's end: by its own clock, whatever the token says.
    let (started, second) = (session.started(), Duration::from_secs(1));
    let mut seal = |after| agent.seal_telemetry(Lane::Latest, b"1", started.plus(after));
    assert!(seal(SESSION_LIFE.saturating_sub(second)).is_ok());
    assert_eq!(seal(SESSION_LIFE), Err(AuthError::NoSession));
}

#[test]
fn what_does_not_fit_into_an_exchange_is_refused_before_it_is_sent() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let now = plant.now();
    let long = session.seal_request(Purpose::Read, &[0; 4096], now);
    assert!(matches!(long, Err(AuthError::TooLong(_))), "{long:?}");
    let (number, request) = session.seal_request(Purpose::Read, b"?", now).unwrap();
    let (_, ticket) = serve(&mut agent, &request, &plant);
    let answer = agent.reply(ticket, b"!", now).unwrap();
    assert!(session.open_answer(number, &answer, now).is_ok(), "and nothing was harmed");
}

#[test]
fn nothing_that_is_printed_shows_a_secret() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let session = plant.connect(&mut agent).unwrap();
    let (handshake, _) = plant.begin();
    let credential = &plant.credential;
    let shown = format!(
        "{agent:?} {session:?} {handshake:?} {:?} {credential:?} {:?} {:?}",
        plant.gateway,
        agent.me,
        crate::pws::Voucher::from_code(&[9; 16]),
    );
    let held = agent.grant.clone().unwrap();
    for secret in [
        agent.me.keys.sign.expose_seed(),
        agent.me.keys.dh.expose(),
        credential.dh.expose(),
        credential.secret.expose(),
        held.psk.expose(),
    ] {
        assert!(!shown.contains(&format!("{secret:?}")), "{shown}");
        let start = u64::from_be_bytes(*secret.first_chunk().unwrap());
        assert!(!shown.contains(&format!("{start:016x}")), "{shown}");
    }
}

#[test]
fn of_the_sessions_before_one_a_few_open_and_the_oldest_go_first() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let mut sealed = vec![telemetry(&mut agent, &plant)];
    for _ in 0..2 * CHAIN {
        plant.wait(Duration::from_secs(1));
        let mut next = plant.connect(&mut agent).unwrap();
        next.replaces(&shared(session), plant.now()).unwrap();
        session = next;
        let (_, request) = session.seal_request(Purpose::Read, b"?", plant.now()).unwrap();
        serve(&mut agent, &request, &plant);
        sealed.push(telemetry(&mut agent, &plant));
    }
    assert_eq!((session.chain(), plant.gateway.sessions()), (CHAIN, CHAIN + 1));
    let opened: Vec<bool> = sealed.iter().map(|one| opens(&mut session, one, &plant)).collect();
    let first = opened.iter().position(|opened| *opened);
    assert_eq!(first, Some(CHAIN), "{opened:?}");
    assert!(opened[CHAIN..].iter().all(|opened| *opened), "{opened:?}");
}
