//! A spool is read again after its store failed: what was safe is there, what was not is out.

use std::collections::BTreeMap;

use super::*;

/// Each value's number, and the sequences that gaps stand for, of one queue; they must follow each
/// other without holes up to the end.
fn contents(spool: &Spool, device: &str) -> (Vec<u64>, u64) {
    let Some(queue) = spool.queue(device) else { return (Vec::new(), 0) };
    let (mut values, mut gone, mut expected) = (Vec::new(), 0, queue.upto + 1);
    for record in all(spool, device) {
        match record.entry {
            SpoolEntry::Value(payload) => {
                assert_eq!(record.sequence, expected, "{device}: no holes");
                values.push(u64::from_le_bytes(payload[..8].try_into().unwrap()));
            }
            SpoolEntry::Gap { count, .. } => {
                let begins = record.sequence + 1 - count;
                assert!(begins <= expected, "{device}: no holes");
                gone += record.sequence + 1 - expected;
            }
        }
        expected = record.sequence + 1;
    }
    assert_eq!(expected, queue.next, "{device}: nor at the end");
    assert_eq!(queue.records, values.len() as u64);
    assert_eq!(queue.appended, queue.acknowledged + queue.records + queue.dropped, "{queue:?}");
    (values, gone)
}

#[test]
fn what_was_not_flushed_is_out_whether_the_store_has_it_or_not() {
    for lose in [false, true] {
        let (store, mut spool) = fresh(SpoolLimits::default());
        fill(&mut spool, 1..4);
        store.flush().unwrap();
        spool.flushed();
        fill(&mut spool, 4..9);
        spool.append("new", at(1), &[1; 10]).unwrap();
        if lose {
            store.lose_batches(0);
        }
        spool.reopen().unwrap();
        assert_eq!(shape(&spool), (vec![1, 2, 3], vec![]));
        assert_eq!(spool.queue("new").map_or(0, |q| q.records), 0);
        assert_eq!(fill(&mut spool, 4..6)[0].sequence, 4, "its sequences are given again");
        assert_eq!(spool.append("new", at(1), &[1; 10]).unwrap().sequence, 1);
        store.flush().unwrap();
        store.crash();
        assert_eq!(shape(&open(&store, SpoolLimits::default())), (vec![1, 2, 3, 4, 5], vec![]));
    }
}

#[test]
fn what_was_acknowledged_stays_acknowledged_though_the_store_forgot_it() {
    let (store, mut spool) = fresh(SpoolLimits::default());
    fill(&mut spool, 1..6);
    store.flush().unwrap();
    spool.flushed();
    spool.acknowledge(DEVICE, 3).unwrap();
    store.lose_batches(0);
    spool.reopen().unwrap();
    assert_eq!(shape(&spool), (vec![4, 5], vec![]));
    let queue = spool.queue(DEVICE).unwrap();
    assert_eq!((queue.appended, queue.acknowledged, queue.dropped, queue.upto), (5, 3, 0, 3));
    store.flush().unwrap();
    store.crash();
    assert_eq!(shape(&open(&store, SpoolLimits::default())), (vec![4, 5], vec![]));
}

#[test]
fn what_the_store_lost_of_what_was_safe_is_a_gap_and_no_sequence_comes_twice() {
    let (store, mut spool) = fresh(SpoolLimits::default());
    fill(&mut spool, 1..6);
    spool.append("all gone", at(1), &[1; 10]).unwrap();
    store.flush().unwrap();
    spool.flushed();
    for (key, _) in store.scan(SPOOL_TREE).unwrap() {
        if key.starts_with("all gone") || key.ends_with('4') || key.ends_with('5') {
            store.put_batch(SPOOL_TREE, &[Write::Delete(&key)]).unwrap();
        }
    }
    spool.reopen().unwrap();
    assert_eq!(shape(&spool), (vec![1, 2, 3], vec![(4, 5)]));
    assert_eq!(spool.queue(DEVICE).unwrap().dropped, 2);
    assert_eq!(fill(&mut spool, 6..7)[0].sequence, 6);
    let gone = spool.queue("all gone").unwrap();
    assert_eq!((gone.next, gone.dropped, gone.records), (2, 1, 0));
}

#[test]
fn a_spool_that_cannot_be_read_again_stays_as_it_was() {
    let inner = Arc::new(MemoryStore::new());
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&fails);
    let store = FaultyStore::new(Arc::clone(&inner), move |_, operation| {
        let now = switch.load(std::sync::atomic::Ordering::Relaxed);
        if now && operation == crate::testing::Operation::ScanFrom {
            crate::testing::Fault::Before(std::io::ErrorKind::Other)
        } else {
            crate::testing::Fault::None
        }
    });
    let mut spool = Spool::open(Arc::new(store), SpoolLimits::default()).unwrap();
    fill(&mut spool, 1..4);
    spool.flushed();
    fill(&mut spool, 4..6);
    let before = spool.queue(DEVICE).cloned();
    fails.store(true, std::sync::atomic::Ordering::Relaxed);
    spool.reopen().unwrap_err();
    assert_eq!(spool.queue(DEVICE).cloned(), before);
    fails.store(false, std::sync::atomic::Ordering::Relaxed);
    spool.reopen().unwrap();
    assert_eq!(shape(&spool), (vec![1, 2, 3], vec![]));
}

#[derive(Clone, Debug)]
enum Step {
    /// Device and length of each value.
    Append(Vec<(u8, u8)>),
    Flush,
    /// How many of the device's safe ones.
    Acknowledge(u8, u8),
    /// How many batches since the last flush the store keeps; `None`: it is not opened anew.
    Fail(Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0..3_u8, 8..120_u8), 1..12).prop_map(Step::Append),
        2 => Just(Step::Flush),
        1 => (0..3_u8, any::<u8>()).prop_map(|(d, n)| Step::Acknowledge(d, n)),
        2 => prop::option::of(0..6_u8).prop_map(Step::Fail),
    ]
}

proptest! {
    #[test]
    fn everything_is_there_once_or_in_a_gap_whatever_fails(
        steps in prop::collection::vec(step(), 1..40),
        bytes in 400..4000_u64,
        drop in prop_oneof![
            Just(DropPolicy::Oldest), Just(DropPolicy::Newest), Just(DropPolicy::Decimate)
        ],
    ) {
        let limits = SpoolLimits { total_bytes: bytes * 2, ..limits(bytes, drop) };
        let (store, mut spool) = fresh(limits);
        let names = ["a", "b", "c"];
        // What was added and not flushed, in order, and the first sequence of it by device.
        let mut waiting: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut safe: BTreeMap<usize, u64> = BTreeMap::new();
        let mut number = 0_u64;
        let end = |spool: &Spool, d: usize| spool.queue(names[d]).map_or(1, |q| q.next);
        for step in steps {
            match step {
                Step::Append(values) => {
                    let start = waiting.len();
                    for (device, len) in values {
                        number += 1;
                        let mut payload = vec![0; usize::from(len)];
                        payload[..8].copy_from_slice(&number.to_le_bytes());
                        waiting.push((usize::from(device), payload));
                    }
                    let items: Vec<Item<'_>> =
                        waiting[start..].iter().map(|(d, p)| (names[*d], at(1), &p[..])).collect();
                    spool.append_batch(&items).unwrap();
                }
                Step::Flush => {
                    store.flush().unwrap();
                    spool.flushed();
                    waiting.clear();
                    safe = (0..3).map(|d| (d, end(&spool, d))).collect();
                }
                Step::Acknowledge(device, part) => {
                    let d = usize::from(device);
                    let upto = safe.get(&d).copied().unwrap_or(1) - 1;
                    let from = spool.queue(names[d]).map_or(0, |q| q.upto);
                    let upto = from + upto.saturating_sub(from) * u64::from(part) / 255;
                    spool.acknowledge(names[d], upto).unwrap();
                }
                Step::Fail(keeping) => {
                    if let Some(keeping) = keeping {
                        store.lose_batches(usize::from(keeping));
                    }
                    let before: Vec<_> =
                        (0..3).map(|d| spool.queue(names[d]).map_or(0, |q| q.upto)).collect();
                    spool.reopen().unwrap();
                    for d in 0..3 {
                        prop_assert_eq!(end(&spool, d), safe.get(&d).copied().unwrap_or(1));
                        let upto = spool.queue(names[d]).map_or(0, |q| q.upto);
                        prop_assert!(upto >= before[d]);
                    }
                    let again = open(&store, limits);
                    for (device, queue) in spool.queues() {
                        prop_assert_eq!(Some(queue), again.queue(device));
                    }
                    let items: Vec<Item<'_>> =
                        waiting.iter().map(|(d, p)| (names[*d], at(1), &p[..])).collect();
                    spool.append_batch(&items).unwrap();
                }
            }
            for name in names {
                let (values, _) = contents(&spool, name);
                prop_assert!(values.is_sorted_by(|a, b| a < b), "in order, none twice: {:?}", values);
            }
        }
        let totals = spool.totals();
        prop_assert_eq!(totals.appended, number, "each value was added once");
    }
}
