//! While the authority cannot be reached, reading goes on and commanding does not.

use std::time::Duration;

use plantwin_model::AuditKind;
use plantwin_seal::Lane;

use super::rig::{Plant, Thief};
use crate::{
    AuthError, TOKEN_LIFE,
    pws::{GRACE, Purpose, Refusal},
};

#[test]
fn a_token_past_half_of_its_life_does_while_the_authority_is_away() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    plant.wait(TOKEN_LIFE / 2);
    let mut session = plant.connect_alone(&mut agent).unwrap();
    assert!(!session.is_grace());
    assert!(session.seal_request(Purpose::Command, b"open", plant.now()).is_ok());
    assert_eq!(session.expires(), agent.token_expires().unwrap());
}

#[test]
fn an_expired_token_is_honoured_for_reading_alone_and_the_audit_says_so() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    plant.wait(TOKEN_LIFE);
    let mut session = plant.connect_alone(&mut agent).unwrap();
    let now = plant.now();
    assert!(session.is_grace());
    let entries = plant.log.all();
    let grace = entries.iter().find(|entry| entry.kind == AuditKind::Token).expect("an entry");
    assert!(grace.detail.contains("authority cannot be reached"), "{grace:?}");
    assert!(session.seal_request(Purpose::Read, b"level?", now).is_ok());
    assert!(session.seal_request(Purpose::Safety, b"stop", now).is_ok());
    let refused = session.seal_request(Purpose::Command, b"open", now);
    assert_eq!(refused, Err(AuthError::GraceOnly));
    assert!(session.commands_until() <= now);
    let envelope = agent.seal_telemetry(Lane::Latest, b"12.4 cm", now).unwrap();
    assert!(session.open_telemetry(&envelope, now).is_ok());
    assert!(session.needs_handshake(now.plus(Duration::from_secs(30))), "is the authority back?");
}

#[test]
fn the_grace_ends_after_an_hour() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    plant.wait((TOKEN_LIFE + GRACE).saturating_sub(Duration::from_secs(2)));
    let mut session = plant.connect_alone(&mut agent).unwrap();
    let end = session.expires();
    assert_eq!(session.check(end), Err(AuthError::SessionOver));
    plant.wait(Duration::from_secs(1));
    let error = plant.connect_alone(&mut agent).unwrap_err();
    // The device does not show it any more: a gateway that was dismissed may say what it likes.
    assert_eq!(error, AuthError::RefusedByDevice(Refusal::NoToken));
    plant.assert_refused(&error);
}

#[test]
fn nobody_but_the_gateway_itself_grants_grace() {
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    plant.wait(TOKEN_LIFE);
    // The thief does not ask for a token, so that the gateway never learns that there is none.
    assert_eq!(plant.attack(&Thief::of(&agent)), AuthError::Expired);
}

#[test]
fn a_device_without_a_token_gets_no_grace() {
    let plant = Plant::new();
    let mut agent = crate::pws::Agent::new(plant.identity("tank1"));
    let error = plant.connect_alone(&mut agent).unwrap_err();
    assert_eq!(error, AuthError::RefusedByDevice(Refusal::NoToken));
}

#[test]
fn a_session_ends_with_its_token_unless_it_was_begun_in_grace() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let end = agent.token_expires().unwrap();
    assert_eq!(session.expires(), end);
    let last = plantwin_model::Timestamp(end.0 - 1);
    assert!(session.seal_request(Purpose::Command, b"open", last).is_ok());
    assert_eq!(session.check(end), Err(AuthError::SessionOver));
    let refused = session.seal_request(Purpose::Read, b"level?", end);
    assert_eq!(refused, Err(AuthError::SessionOver));
    assert!(session.needs_handshake(last) && !session.needs_handshake(plant.now()));
}
