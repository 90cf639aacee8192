//! Requests over a connection that is lost: asked again under the same key, or left at that.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::mpsc::sync_channel,
    thread::JoinHandle,
};

use plantwin_adapter::{ManualClock, SystemClock};

use super::*;

/// What a plant does with one client.
#[derive(Clone, Copy)]
enum Does {
    HangsUp,
    Answers(&'static str),
}

/// A plant that does so with one client after the other; gives what each of them asked.
fn plant(folder: &tempfile::TempDir, does: Vec<Does>) -> (PathBuf, JoinHandle<Vec<String>>) {
    let socket = folder.path().join("control.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let asked = std::thread::spawn(move || {
        let one = |does| {
            let (stream, _) = listener.accept().expect("a client");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("a question");
            if let Does::Answers(answer) = does {
                (&stream).write_all(answer.as_bytes()).expect("the client listens");
            }
            line
        };
        does.into_iter().map(one).collect()
    });
    (socket, asked)
}

fn write(key: Option<CommandKey>) -> Question {
    let request =
        Request::Write { device: "pump1".into(), point: "voltage".to_owned(), value: 3.2 };
    Ask::Request { role: Role::Engineer, key, request }.into()
}

const DONE: Does = Does::Answers("{\"say\":\"outcome\",\"outcome\":\"done\"}\n");

#[test]
fn a_request_with_a_key_is_asked_again_under_it_until_there_is_an_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (socket, asked) = plant(&folder, vec![Does::HangsUp, Does::HangsUp, DONE]);
    let outcome = outcome_of(&socket, &write(Some(CommandKey(0x5f))), &SystemClock::new(1.0));
    assert_eq!(outcome, Outcome::Done);
    let asked = asked.join().expect("the plant ran");
    assert_eq!(asked.len(), 3);
    assert!(asked[0].contains("\"key\":\"0000000000000000000000000000005f\""), "{}", asked[0]);
    assert!(asked.iter().all(|a| *a == asked[0]), "{asked:?}");
}

#[test]
fn a_runtime_that_came_back_is_asked_until_it_knows() {
    let watched =
        "{\"say\":\"outcome\",\"outcome\":{\"unknown\":{\"reason\":\"it is watched\"}}}\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (socket, asked) = plant(&folder, vec![Does::HangsUp, Does::Answers(watched), DONE]);
    let ask = write(Some(CommandKey(7)));
    assert_eq!(outcome_of(&socket, &ask, &SystemClock::new(1.0)), Outcome::Done);
    assert_eq!(asked.join().expect("the plant ran").len(), 3);
    // Without a loss the first answer stands.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (socket, _) = plant(&folder, vec![Does::Answers(watched)]);
    let outcome = outcome_of(&socket, &ask, &SystemClock::new(1.0));
    assert_eq!(outcome, Outcome::Unknown { reason: "it is watched".to_owned() });
}

#[test]
fn a_request_without_a_key_is_made_once_and_its_outcome_is_unknown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (socket, asked) = plant(&folder, vec![Does::HangsUp]);
    let outcome = outcome_of(&socket, &write(None), &SystemClock::new(1.0));
    let Outcome::Unknown { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("closed the connection"), "{reason}");
    assert_eq!(asked.join().expect("the plant ran").len(), 1);
}

#[test]
fn a_plant_that_does_not_come_back_leaves_the_outcome_unknown_after_ten_seconds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (socket, asked) = plant(&folder, vec![Does::HangsUp]);
    let clock = Arc::new(ManualClock::new(plantwin_model::Timestamp(0)));
    let (reply, outcome) = sync_channel(1);
    let theirs = Arc::clone(&clock);
    std::thread::spawn(move || {
        let _ = reply.send(outcome_of(&socket, &write(Some(CommandKey(1))), &*theirs));
    });
    asked.join().expect("the plant ran");
    // Nobody listens any more; time goes by until it gives up.
    let outcome = loop {
        clock.advance(Duration::from_secs(2));
        match outcome.recv_timeout(Duration::from_millis(50)) {
            Ok(outcome) => break outcome,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    assert!(clock.now().since(plantwin_model::Timestamp(0)) >= AGAIN_WITHIN);
}

#[test]
fn a_plant_that_is_not_there_was_not_asked_and_a_refusal_is_final() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nobody = folder.path().join("nobody.sock");
    let outcome = outcome_of(&nobody, &write(Some(CommandKey(1))), &SystemClock::new(1.0));
    let Outcome::Failed { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("is it running?"), "{reason}");
    let refused = "{\"say\":\"outcome\",\"outcome\":{\"refused\":{\"reason\":\"not now\"}}}\n";
    let (socket, asked) = plant(&folder, vec![Does::Answers(refused)]);
    let outcome = outcome_of(&socket, &write(Some(CommandKey(1))), &SystemClock::new(1.0));
    assert_eq!(outcome, Outcome::Refused { reason: "not now".to_owned() });
    assert_eq!(asked.join().expect("the plant ran").len(), 1);
}

#[test]
fn random_keys_differ() {
    let keys: Vec<_> = (0..8).filter_map(|_| random_key()).collect();
    assert_eq!(keys.len(), 8);
    assert!(keys.iter().enumerate().all(|(i, a)| keys[..i].iter().all(|b| a != b)), "{keys:?}");
}
