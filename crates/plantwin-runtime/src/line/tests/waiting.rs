//! What waits while the twin is away.

use plantwin_adapter::Frame;
use plantwin_model::{Delivery, Timestamp};
use plantwin_twin::{FrameMail, SessionMail, TwinMail};

use super::super::outbox::Outbox;

fn open(at: i64) -> TwinMail {
    let expires = Timestamp::from_millis(at);
    TwinMail::Session(SessionMail::Open { expires, sealed: true })
}

fn delayed() -> TwinMail {
    let reason = "the authority is away".to_owned();
    TwinMail::Session(SessionMail::Refused { reason, again: true })
}

fn frame() -> TwinMail {
    let frame = Frame {
        received: Timestamp::from_millis(1),
        sequence: None,
        samples: std::iter::empty().collect(),
    };
    let traffic = plantwin_adapter::TrafficSnapshot::default();
    TwinMail::Frame(FrameMail { frame, traffic, receipt: None, origin: vec![], replaced: false })
}

#[test]
fn while_the_twin_is_away_the_newest_word_of_a_session_and_of_confining_waits_and_no_other() {
    let mut outbox = Outbox::new(Delivery::Latest);
    for n in 0..1_000 {
        let told = if n % 2 == 0 { Err("it refused".to_owned()) } else { Ok(()) };
        outbox.push(TwinMail::MadeSafe(told));
        outbox.push(open(n));
        outbox.push(TwinMail::Alive);
        outbox.push(delayed());
    }
    assert_eq!(*outbox.waiting().1, [TwinMail::MadeSafe(Ok(()))]);
    assert_eq!(*outbox.waiting().0, [TwinMail::Alive, open(999), delayed()]);
}

#[test]
fn a_word_of_the_session_before_values_stands_for_they_are_judged_by_it() {
    let mut outbox = Outbox::new(Delivery::Durable);
    for letter in [open(1), frame(), open(2), open(3), frame(), delayed()] {
        outbox.push(letter);
    }
    let left = [open(1), frame(), open(3), frame(), delayed()];
    assert_eq!(*outbox.waiting().0, left);
}
