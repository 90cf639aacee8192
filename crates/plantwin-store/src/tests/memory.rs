//! The crash model of the store in memory, and the faults that can be put before any store.

use std::io::ErrorKind;

use plantwin_model::Timestamp;

use super::{TWINS, log};
use crate::{
    LogKind, MemoryStore, Store, StoreError, StoreExt, Write,
    testing::{Fault, FaultyStore, Operation},
};

fn append(store: &MemoryStore, payload: &[u8]) -> u64 {
    store.append(LogKind::Command, Timestamp(0), payload).unwrap()
}

#[test]
fn a_crash_takes_back_everything_since_the_last_flush() {
    let store = MemoryStore::new();
    store.put_batch(TWINS, &[Write::Put("a", b"1"), Write::Put("b", b"1")]).unwrap();
    append(&store, b"safe");
    store.flush().unwrap();
    store.put_batch(TWINS, &[Write::Put("a", b"2"), Write::Delete("b")]).unwrap();
    store.put_batch(TWINS, &[Write::Put("a", b"3"), Write::Put("c", b"3")]).unwrap();
    append(&store, b"not safe");
    assert_eq!(store.unsafe_operations(), 3);
    store.crash();
    let all = store.scan(TWINS).unwrap();
    assert_eq!(all, [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"1".to_vec())]);
    assert_eq!(log(&store, 1).len(), 1);
    assert_eq!(append(&store, b"again"), 2, "a sequence that was never safe is given again");
    let mut boots = Vec::new();
    store
        .read_log(1, &mut |record| {
            boots.push(record.boot);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(boots, [1, 2]);
}

#[test]
fn a_crash_may_keep_the_first_operations_and_never_half_a_batch() {
    for kept in 0..4 {
        let store = MemoryStore::new();
        store.put_batch(TWINS, &[Write::Put("a", b"1"), Write::Put("b", b"1")]).unwrap();
        append(&store, b"x");
        store.put_batch(TWINS, &[Write::Put("a", b"2"), Write::Put("b", b"2")]).unwrap();
        store.crash_keeping(kept);
        let values: Vec<_> = store.scan(TWINS).unwrap().into_iter().map(|(_, v)| v).collect();
        let expected =
            [vec![], vec![b"1".to_vec(); 2], vec![b"1".to_vec(); 2], vec![b"2".to_vec(); 2]];
        assert_eq!(values, expected[kept], "{kept}");
        assert_eq!(log(&store, 1).len(), usize::from(kept >= 2));
    }
}

#[test]
fn the_log_alone_can_be_made_safe() {
    let store = MemoryStore::new();
    store.put_value(TWINS, "a", &1).unwrap();
    append(&store, b"alarm");
    store.flush_log().unwrap();
    store.crash();
    assert_eq!(store.get(TWINS, "a").unwrap(), None);
    assert_eq!(log(&store, 1).len(), 1);
}

#[test]
fn pruning_lets_go_of_safe_records_only() {
    let store = MemoryStore::new();
    for _ in 0..3 {
        append(&store, b"x");
    }
    store.flush().unwrap();
    append(&store, b"x");
    store.prune_log(9).unwrap();
    assert_eq!(log(&store, 1).iter().map(|r| r.0).collect::<Vec<_>>(), [4]);
    store.crash();
    assert_eq!(append(&store, b"x"), 4);
}

#[test]
fn the_nth_call_fails_and_does_nothing() {
    for n in 0..3 {
        let store = FaultyStore::failing_at(MemoryStore::new(), n);
        let results = ["a", "b", "c"].map(|key| store.put_value(TWINS, key, &1));
        let failed: Vec<_> = results.iter().map(Result::is_err).collect();
        assert_eq!(failed, [n == 0, n == 1, n == 2]);
        assert_eq!(store.inner().scan(TWINS).unwrap().len(), 2);
        assert_eq!(store.calls(), 3);
    }
}

#[test]
fn a_chosen_call_may_be_done_and_yet_reported_as_failed() {
    let store = FaultyStore::new(MemoryStore::new(), |_, operation| match operation {
        Operation::Flush => Fault::After(ErrorKind::StorageFull),
        Operation::Get => Fault::Before(ErrorKind::Other),
        _ => Fault::None,
    });
    store.put_value(TWINS, "a", &1).unwrap();
    let error = store.flush().unwrap_err();
    assert!(
        matches!(&error, StoreError::File { source, .. } if source.kind() == ErrorKind::StorageFull)
    );
    store.inner().crash();
    assert_eq!(store.scan(TWINS).unwrap().len(), 1, "the flush had been carried out");
    assert!(store.get(TWINS, "a").is_err());
}
