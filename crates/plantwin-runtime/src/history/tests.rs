//! A log that is begun anew, with the process ending at every record of it.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use plantwin_model::{CommandKey, Outcome};
use plantwin_store::testing::{Fault, FaultyStore, MemoryStore, Operation};

use super::*;
use crate::commands::Intent;

const NOW: Timestamp = Timestamp(1_000);
/// So few that a test needs no hundred thousand.
const LIMIT: u64 = 20;

fn append(store: &dyn Store, step: &CommandStep) {
    store.append(LogKind::Command, NOW, &step.to_bytes()).unwrap();
}

fn intent(n: u128) -> CommandStep {
    CommandStep::Intent(Intent {
        key: CommandKey(n),
        device: "d".into(),
        writes: vec![("valve".to_owned(), n as f64)],
        asked: NOW,
        expires: NOW,
    })
}

fn outcome(key: CommandKey, outcome: Outcome) -> CommandStep {
    CommandStep::Outcome { key, outcome, at: NOW }
}

/// A log in which most was told again and again: alarms come and go, and each command was of
/// unknown outcome before it was found done.
fn told(commands: u128) -> MemoryStore {
    let store = MemoryStore::new();
    for n in 0..commands {
        let key = CommandKey(n);
        append(&store, &intent(n));
        append(&store, &CommandStep::Sent { key, at: NOW });
        append(&store, &outcome(key, Outcome::Unknown { reason: "no answer".to_owned() }));
        append(&store, &outcome(key, Outcome::Done));
        for _ in 0..8 {
            let record = AlarmRecord { twin: "d".into(), alarms: Vec::new() };
            store.append(LogKind::Alarm, NOW, &record.to_bytes()).unwrap();
        }
    }
    store
}

/// What the log says of each command in the end.
fn outcomes(store: &dyn Store) -> BTreeMap<CommandKey, Outcome> {
    said(History::read(store).unwrap().into_parts().0)
}

fn said(steps: Vec<CommandStep>) -> BTreeMap<CommandKey, Outcome> {
    let last = |step| match step {
        CommandStep::Outcome { key, outcome, .. } => Some((key, outcome)),
        CommandStep::Done { intent, outcome, .. } => Some((intent.key, outcome)),
        _ => None,
    };
    steps.into_iter().filter_map(last).collect()
}

/// A store that writes so many records more and then no others: the process is gone.
struct Dying<'a> {
    store: &'a MemoryStore,
    left: std::cell::Cell<u32>,
}

#[test]
fn a_log_begun_anew_says_the_same_and_is_shorter() {
    let store = told(10);
    let before = (outcomes(&store), History::read(&store).unwrap().records);
    History::read(&store).unwrap().shorten_beyond(LIMIT, &store, NOW).unwrap();
    let after = History::read(&store).unwrap();
    assert_eq!(outcomes(&store), before.0);
    assert!(after.records < before.1 / 2, "{} of {}", after.records, before.1);
}

#[test]
fn a_command_with_an_outcome_is_repeated_as_one_record_and_an_open_one_step_by_step() {
    let store = told(10);
    append(&store, &intent(10));
    append(&store, &intent(11));
    append(&store, &CommandStep::Sent { key: CommandKey(11), at: NOW });
    let (before, orphans) = condensed(History::read(&store).unwrap().into_parts().0);
    assert_eq!(orphans, 0);
    History::read(&store).unwrap().shorten_beyond(LIMIT, &store, NOW).unwrap();
    let (steps, _) = History::read(&store).unwrap().into_parts();
    assert_eq!(steps, before);
    assert_eq!(steps.len(), 10 + 1 + 2);
    let done = |s: &&CommandStep| matches!(s, CommandStep::Done { sent: Some(NOW), .. });
    assert_eq!(steps.iter().filter(done).count(), 10);
    // Nor does it change any more.
    assert_eq!(condensed(steps.clone()), (steps, 0));
}

#[test]
fn a_log_that_all_counts_is_left_as_it_is() {
    let store = MemoryStore::new();
    for n in 0..LIMIT as u128 + 5 {
        append(&store, &intent(n));
    }
    let records = History::read(&store).unwrap().records;
    History::read(&store).unwrap().shorten_beyond(LIMIT, &store, NOW).unwrap();
    assert_eq!(History::read(&store).unwrap().records, records, "else each start writes it anew");
}

#[test]
fn a_repetition_that_was_cut_off_says_nothing_wherever_it_ended() {
    let whole = {
        let store = told(10);
        History::read(&store).unwrap().shorten_beyond(LIMIT, &store, NOW).unwrap();
        History::read(&store).unwrap().records
    };
    for written in 0..whole as u32 {
        let store = told(10);
        let expected = outcomes(&store);
        let dying = Dying { store: &store, left: std::cell::Cell::new(written) };
        dying.repeat();
        let found = {
            // The next boot says something of its own behind it.
            let mut history = History::default();
            store
                .read_log(1, &mut |record| {
                    history.take(&record);
                    ControlFlow::Continue(())
                })
                .unwrap();
            let last = history.last + 1;
            let step = outcome(CommandKey(77), Outcome::Expired).to_bytes();
            let record = LogRecord {
                sequence: last,
                boot: u64::MAX,
                time: NOW,
                kind: LogKind::Command,
                payload: &step,
            };
            history.take(&record);
            history.into_parts().0
        };
        let mut last = said(found);
        assert_eq!(last.remove(&CommandKey(77)), Some(Outcome::Expired));
        assert_eq!(last, expected, "after {written} records");
    }
}

#[test]
fn a_disk_that_refuses_in_the_middle_of_a_repetition_costs_neither_what_was_nor_what_is_said_then()
{
    let full = ErrorKind::StorageFull;
    let mut failed = 0;
    for fault in [Fault::Before(full), Fault::After(full)] {
        for fails_from in 0.. {
            let inner = Arc::new(told(10));
            let mut expected = outcomes(&*inner);
            let well = Arc::new(AtomicBool::new(false));
            let switch = Arc::clone(&well);
            let store = FaultyStore::new(Arc::clone(&inner), move |call, operation| {
                let refused = call >= fails_from && operation != Operation::ReadLog;
                if refused && !switch.load(SeqCst) { fault } else { Fault::None }
            });
            let mut history = History::read(&store).unwrap();
            let shortened = history.shorten_beyond(LIMIT, &store, NOW);
            assert_eq!(said(history.into_parts().0), expected, "what this start goes by");
            // The same boot goes on.
            well.store(true, SeqCst);
            let news = CommandKey(77);
            append(&store, &intent(77));
            append(&store, &outcome(news, Outcome::Expired));
            store.flush_log().unwrap();
            expected.insert(news, Outcome::Expired);
            inner.crash();
            assert_eq!(outcomes(&*inner), expected, "{fault:?} from call {fails_from} on");
            // And the next one begins the log anew.
            let mut history = History::read(&*inner).unwrap();
            history.shorten_beyond(LIMIT, &*inner, NOW).unwrap();
            assert_eq!(outcomes(&*inner), expected);
            if shortened.is_ok() {
                break;
            }
            failed += 1;
        }
    }
    assert!(failed > 20, "{failed} operations failed");
}

#[test]
fn a_log_that_cannot_be_begun_anew_is_a_warning() {
    let store = FaultyStore::new(told(10), |_, operation| {
        let read = operation == Operation::ReadLog;
        if read { Fault::None } else { Fault::Before(ErrorKind::StorageFull) }
    });
    let mut history = History::read(&store).unwrap();
    assert_eq!(history.shorten(&store, NOW), None, "it is short");
    history.records = LOG_LIMIT + 1;
    let warning = history.shorten(&store, NOW).unwrap();
    assert!(warning.contains("make room on the disk"), "{warning}");
}

#[test]
fn a_repetition_counts_though_its_first_mark_is_damaged() {
    let source = told(10);
    let expected = outcomes(&source);
    let before = History::read(&source).unwrap().last;
    History::read(&source).unwrap().shorten_beyond(LIMIT, &source, NOW).unwrap();
    let store = MemoryStore::new();
    let copy = |record: LogRecord<'_>| {
        store.append(record.kind, record.time, record.payload).unwrap();
        ControlFlow::Continue(())
    };
    source.read_log(before + 2, &mut { copy }).unwrap();
    assert_eq!(outcomes(&store), expected);
}

#[test]
fn a_log_that_an_earlier_version_began_anew_is_read_as_it_was_meant() {
    let mark = |store: &MemoryStore, payload| store.append(LogKind::Checkpoint, NOW, payload);
    let store = told(10);
    let mut expected = outcomes(&store);
    let steps = History::read(&store).unwrap().into_parts().0;
    // One that was cut off.
    mark(&store, BEGAN).unwrap();
    append(&store, &intent(1));
    append(&store, &outcome(CommandKey(1), Outcome::Unknown { reason: "no answer".to_owned() }));
    store.flush().unwrap();
    store.crash();
    assert_eq!(outcomes(&store), expected);
    // One that was not.
    mark(&store, BEGAN).unwrap();
    condensed(steps).0.iter().for_each(|step| append(&store, step));
    mark(&store, ENDS).unwrap();
    append(&store, &intent(77));
    append(&store, &outcome(CommandKey(77), Outcome::Expired));
    expected.insert(CommandKey(77), Outcome::Expired);
    assert_eq!(outcomes(&store), expected);
    assert_eq!(History::read(&store).unwrap().counting.steps.len(), 10 + 2);
}

impl Dying<'_> {
    /// Repeats what counts as [`History::shorten`] does, as far as it gets.
    fn repeat(&self) {
        let source = told(10);
        let before = History::read(&source).unwrap().last;
        History::read(&source).unwrap().shorten_beyond(LIMIT, &source, NOW).unwrap();
        source
            .read_log(before + 1, &mut |record| {
                let left = self.left.get();
                if left == 0 {
                    return ControlFlow::Break(());
                }
                self.left.set(left - 1);
                self.store.append(record.kind, record.time, record.payload).unwrap();
                ControlFlow::Continue(())
            })
            .unwrap();
    }
}
