//! What the spool promises: order, nothing lost unseen, bounds, and the same after a restart.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use plantwin_model::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::testing::{FaultyStore, MemoryStore};

mod reopen;

const DEVICE: &str = "tank1";

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn limits(device_bytes: u64, drop: DropPolicy) -> SpoolLimits {
    SpoolLimits { device_bytes, drop, ..SpoolLimits::default() }
}

fn open(store: &Arc<MemoryStore>, limits: SpoolLimits) -> Spool {
    Spool::open(Arc::clone(store) as Arc<dyn Store>, limits).unwrap()
}

fn fresh(limits: SpoolLimits) -> (Arc<MemoryStore>, Spool) {
    let store = Arc::new(MemoryStore::new());
    let spool = open(&store, limits);
    (store, spool)
}

/// Appends values of 100 bytes whose first byte is their number.
fn fill(spool: &mut Spool, range: std::ops::Range<u8>) -> Vec<Appended> {
    let add = |n: u8| spool.append(DEVICE, at(i64::from(n)), &[n; 100]).unwrap();
    range.map(add).collect()
}

fn all(spool: &Spool, device: &str) -> Vec<SpoolRecord> {
    spool.peek(device, 0, usize::MAX).unwrap()
}

/// Sequences of values, and the gaps as (first, last).
fn shape(spool: &Spool) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut values, mut gaps) = (Vec::new(), Vec::new());
    for record in all(spool, DEVICE) {
        match record.entry {
            SpoolEntry::Value(_) => values.push(record.sequence),
            SpoolEntry::Gap { count, .. } => {
                gaps.push((record.sequence + 1 - count, record.sequence));
            }
        }
    }
    (values, gaps)
}

#[test]
fn values_wait_in_order_until_they_are_acknowledged() {
    let (_, mut spool) = fresh(SpoolLimits::default());
    let added = fill(&mut spool, 1..6);
    assert_eq!(added.iter().map(|a| a.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(added.iter().all(|a| a.kept));
    let page = spool.peek(DEVICE, 2, 2).unwrap();
    let value = |n: u8| SpoolRecord {
        sequence: u64::from(n),
        time: at(i64::from(n)),
        entry: SpoolEntry::Value(vec![n; 100]),
    };
    assert_eq!(page, [value(2), value(3)]);
    spool.acknowledge(DEVICE, 3).unwrap();
    assert_eq!(all(&spool, DEVICE), [value(4), value(5)]);
    let queue = spool.queue(DEVICE).unwrap();
    assert_eq!((queue.records, queue.appended, queue.acknowledged, queue.dropped), (2, 5, 3, 0));
    assert_eq!((queue.oldest, queue.upto, queue.next), (Some(at(4)), 3, 6));
    spool.acknowledge(DEVICE, 2).unwrap();
    assert_eq!(all(&spool, DEVICE).len(), 2, "an old acknowledgement changes nothing");
    assert_eq!(spool.peek("nobody", 0, 9).unwrap(), []);
    spool.acknowledge("nobody", 9).unwrap();
    assert_eq!(spool.queues().count(), 1);
}

#[test]
fn a_sequence_is_never_given_twice_even_when_all_was_acknowledged_before_a_restart() {
    let (store, mut spool) = fresh(SpoolLimits::default());
    fill(&mut spool, 1..4);
    spool.acknowledge(DEVICE, 99).unwrap();
    assert_eq!(spool.queue(DEVICE).unwrap().bytes, 0);
    store.flush().unwrap();
    store.crash();
    let mut spool = open(&store, SpoolLimits::default());
    let queue = spool.queue(DEVICE).unwrap();
    assert_eq!((queue.upto, queue.acknowledged, queue.appended), (3, 3, 3));
    assert_eq!(fill(&mut spool, 1..2)[0].sequence, 4);
}

#[test]
fn the_oldest_give_way_and_leave_one_gap() {
    // A value takes 131 bytes with its key, a gap 47.
    let (_, mut spool) = fresh(limits(700, DropPolicy::Oldest));
    assert!(fill(&mut spool, 1..21).iter().all(|a| a.kept));
    assert_eq!(shape(&spool), (vec![17, 18, 19, 20], vec![(1, 16)]));
    let gap = &all(&spool, DEVICE)[0].entry;
    assert_eq!(*gap, SpoolEntry::Gap { count: 16, from: at(1), to: at(16) });
    let queue = spool.queue(DEVICE).unwrap();
    assert_eq!((queue.dropped, queue.records, queue.oldest), (16, 4, Some(at(17))));
    assert_eq!(queue.bytes, 4 * 131 + 47);
    spool.acknowledge(DEVICE, 17).unwrap();
    assert_eq!(shape(&spool), (vec![18, 19, 20], vec![]));
}

#[test]
fn the_newest_are_turned_away_and_stand_in_a_gap_at_the_end() {
    let (store, mut spool) = fresh(limits(700, DropPolicy::Newest));
    let added = fill(&mut spool, 1..11);
    assert_eq!(added.iter().filter(|a| a.kept).count(), 5);
    assert_eq!(shape(&spool), (vec![1, 2, 3, 4, 5], vec![(6, 10)]));
    spool.acknowledge(DEVICE, 2).unwrap();
    fill(&mut spool, 11..12);
    assert_eq!(shape(&spool), (vec![3, 4, 5, 11], vec![(6, 10)]));
    assert_eq!(spool.queue(DEVICE).unwrap().dropped, 5);
    let again = open(&store, limits(700, DropPolicy::Newest));
    assert_eq!(again.queue(DEVICE), spool.queue(DEVICE));
}

#[test]
fn decimation_makes_the_past_coarser_and_keeps_its_ends() {
    let (_, mut spool) = fresh(limits(4000, DropPolicy::Decimate));
    fill(&mut spool, 1..61);
    let (values, gaps) = shape(&spool);
    assert!(values.len() > 15 && gaps.len() > 2, "{values:?} {gaps:?}");
    assert_eq!(values[0], 1, "the beginning stays");
    assert_eq!(values[values.len() - 8..], (53..=60).collect::<Vec<_>>(), "the present is whole");
    let lost: u64 = gaps.iter().map(|(from, to)| to - from + 1).sum();
    assert_eq!(lost + values.len() as u64, 60);
}

#[test]
fn what_is_too_old_is_dropped_and_told() {
    let (_, mut spool) =
        fresh(SpoolLimits { max_age: Duration::from_millis(10), ..SpoolLimits::default() });
    fill(&mut spool, 1..31);
    spool.expire(at(30)).unwrap();
    assert_eq!(shape(&spool), ((20..=30).collect(), vec![(1, 19)]));
    spool.expire(at(1000)).unwrap();
    assert_eq!(shape(&spool), (vec![], vec![(1, 30)]));
    assert_eq!(spool.queue(DEVICE).unwrap().oldest, None);
    fill(&mut spool, 31..32);
    assert_eq!(shape(&spool), (vec![31], vec![(1, 30)]));
}

#[test]
fn the_fullest_queue_gives_way_when_all_together_are_too_much() {
    let (_, mut spool) =
        fresh(SpoolLimits { total_bytes: 3000, ..limits(2500, DropPolicy::Oldest) });
    fill(&mut spool, 1..19);
    for n in 0..10 {
        assert!(spool.append("pump1", at(n), &[0; 100]).unwrap().kept);
        assert!(spool.totals().bytes <= 3000);
    }
    assert_eq!(spool.queue("pump1").unwrap().dropped, 0);
    // 18 and 10 values of 131 bytes and a gap of 47, in 3000 bytes.
    assert_eq!(spool.queue(DEVICE).unwrap().dropped, 6);
}

#[test]
fn a_value_that_can_never_fit_is_a_gap_and_makes_nobody_give_way() {
    let (_, mut spool) = fresh(limits(700, DropPolicy::Oldest));
    fill(&mut spool, 1..4);
    assert!(!spool.append(DEVICE, at(4), &[0; 2000]).unwrap().kept);
    assert_eq!(shape(&spool), (vec![1, 2, 3], vec![(4, 4)]));
}

#[test]
fn devices_whose_names_are_beginnings_of_others_keep_apart() {
    let (store, mut spool) = fresh(SpoolLimits::default());
    for device in ["a", "a/b", "aa", "a!"] {
        spool.append(device, at(1), device.as_bytes()).unwrap();
    }
    spool.acknowledge("a", 1).unwrap();
    let again = open(&store, SpoolLimits::default());
    for spool in [&spool, &again] {
        assert_eq!(all(spool, "a"), []);
        for device in ["a/b", "aa", "a!"] {
            let records = all(spool, device);
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].entry, SpoolEntry::Value(device.as_bytes().to_vec()));
        }
    }
}

#[test]
fn names_and_values_that_no_queue_takes_are_refused_before_anything_is_added() {
    let (_, mut spool) = fresh(SpoolLimits::default());
    for name in ["", "a\0b", &"n".repeat(201)] {
        let error = spool.append_batch(&[("ok", at(0), b""), (name, at(0), b"")]).unwrap_err();
        assert!(matches!(error, StoreError::DeviceName(_)), "{error}");
    }
    let long = vec![0; VALUE_LIMIT];
    let error = spool.append("ok", at(0), &long).unwrap_err();
    assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
    assert_eq!(spool.totals(), SpoolTotals::default());
}

#[test]
fn records_that_the_store_lost_become_gaps() {
    let (store, mut spool) = fresh(SpoolLimits::default());
    fill(&mut spool, 1..11);
    spool.acknowledge(DEVICE, 2).unwrap();
    for sequence in [5, 6, 8] {
        let key = Key(DEVICE, sequence).text();
        store.put_batch(SPOOL_TREE, &[Write::Delete(&key)]).unwrap();
    }
    // And one comes back that had been acknowledged.
    let key = Key(DEVICE, 1).text();
    let value = codec::encode_value(at(1), b"old");
    store.put_batch(SPOOL_TREE, &[Write::Put(&key, &value)]).unwrap();
    let mut spool = open(&store, SpoolLimits::default());
    assert_eq!(shape(&spool), (vec![3, 4, 7, 9, 10], vec![(5, 6), (8, 8)]));
    assert_eq!(spool.queue(DEVICE).unwrap().dropped, 3);
    assert_eq!(fill(&mut spool, 1..2)[0].sequence, 11);
    let again = open(&store, SpoolLimits::default());
    assert_eq!(again.queue(DEVICE), spool.queue(DEVICE));
}

/// A store that says it lost something.
struct Lossy(Arc<MemoryStore>, u64);

impl Store for Lossy {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(tree, key)
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        self.0.put_batch(tree, writes)
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.scan(tree)
    }

    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.scan_from(tree, prefix, from_key, limit)
    }

    fn lost(&self, _: Tree) -> u64 {
        self.1
    }

    fn append(&self, kind: crate::LogKind, time: Timestamp, p: &[u8]) -> Result<u64, StoreError> {
        self.0.append(kind, time, p)
    }

    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(crate::LogRecord<'_>) -> std::ops::ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.0.read_log(from, visit)
    }

    fn prune_log(&self, before: u64) -> Result<(), StoreError> {
        self.0.prune_log(before)
    }

    fn flush_log(&self) -> Result<(), StoreError> {
        self.0.flush_log()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.0.flush()
    }
}

#[test]
fn after_a_loss_no_sequence_is_given_that_may_have_been_given_before() {
    let (store, mut spool) = fresh(SpoolLimits::default());
    fill(&mut spool, 1..4);
    let lossy = Arc::new(Lossy(Arc::clone(&store), 10));
    let mut spool = Spool::open(lossy, SpoolLimits::default()).unwrap();
    assert_eq!(shape(&spool), (vec![1, 2, 3], vec![(4, 13)]));
    assert_eq!(fill(&mut spool, 9..10)[0].sequence, 14);
    // A queue that is lost as a whole begins above as well.
    assert_eq!(spool.append("forgotten", at(0), b"").unwrap().sequence, 11);
    let mut spool = open(&store, SpoolLimits::default());
    assert_eq!(shape(&spool), (vec![1, 2, 3, 14], vec![(4, 13)]));
    assert_eq!(spool.append("other", at(0), b"").unwrap().sequence, 11);
}

/// What is done to a spool.
#[derive(Clone, Debug)]
enum Step {
    Append(usize, Vec<u8>),
    Batch(Vec<(usize, u8)>),
    Acknowledge(usize, u64),
    Expire,
    Reopen,
}

const DEVICES: [&str; 3] = ["a", "ab", "c"];

fn step() -> impl Strategy<Value = Step> {
    let device = 0..DEVICES.len();
    prop_oneof![
        6 => (device.clone(), prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(d, p)| Step::Append(d, p)),
        2 => prop::collection::vec((device.clone(), any::<u8>()), 0..12).prop_map(Step::Batch),
        2 => (device, 0..12_u64).prop_map(|(d, n)| Step::Acknowledge(d, n)),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
    ]
}

fn policy() -> impl Strategy<Value = DropPolicy> {
    prop_oneof![Just(DropPolicy::Oldest), Just(DropPolicy::Newest), Just(DropPolicy::Decimate)]
}

/// What was appended, by device: time and payload by sequence, from 1.
type Model = [Vec<(Timestamp, Vec<u8>)>; 3];

/// Everything that was not acknowledged is there or in a gap, in order, and the numbers agree.
fn holds(
    spool: &Spool,
    model: &Model,
    upto: [u64; 3],
    may_drop: bool,
) -> Result<(), TestCaseError> {
    for (i, device) in DEVICES.iter().enumerate() {
        let Some(queue) = spool.queue(device) else {
            prop_assert!(model[i].is_empty());
            continue;
        };
        let (mut expected, mut values, mut bytes) = (upto[i] + 1, 0, 0);
        let mut was_gap = false;
        let mut oldest = None;
        for record in all(spool, device) {
            match record.entry {
                SpoolEntry::Value(payload) => {
                    prop_assert_eq!(record.sequence, expected);
                    let (time, written) = &model[i][record.sequence as usize - 1];
                    prop_assert_eq!((&record.time, &payload), (time, written));
                    oldest = oldest.or(Some(record.time));
                    values += 1;
                    bytes += codec::value_cost(device, payload.len());
                    was_gap = false;
                }
                SpoolEntry::Gap { count, from, to } => {
                    prop_assert!(may_drop && !was_gap, "gaps side by side");
                    let begins = record.sequence + 1 - count;
                    prop_assert!(begins <= expected && expected <= record.sequence);
                    prop_assert_eq!(from, model[i][begins as usize - 1].0);
                    prop_assert_eq!(to, model[i][record.sequence as usize - 1].0);
                    bytes += codec::gap_cost(device);
                    was_gap = true;
                }
            }
            expected = record.sequence + 1;
        }
        prop_assert_eq!(expected, queue.next);
        prop_assert_eq!(expected, model[i].len() as u64 + 1);
        prop_assert_eq!((queue.records, queue.bytes, queue.oldest), (values, bytes, oldest));
        prop_assert_eq!((queue.upto, queue.appended), (upto[i], model[i].len() as u64));
        prop_assert_eq!(queue.appended, queue.dropped + queue.acknowledged + queue.records);
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_lost_unseen_whatever_is_done(
        steps in prop::collection::vec(step(), 1..60),
        drop in policy(), tight in any::<bool>(),
    ) {
        let limits = if tight {
            SpoolLimits {
                device_bytes: 500,
                total_bytes: 1100,
                max_age: Duration::from_millis(20),
                drop,
            }
        } else {
            SpoolLimits { drop, ..SpoolLimits::default() }
        };
        let (store, mut spool) = fresh(limits);
        let mut model = Model::default();
        let mut upto = [0; 3];
        let mut now = 0;
        for step in steps {
            now += 1;
            match step {
                Step::Append(device, payload) => {
                    let added = spool.append(DEVICES[device], at(now), &payload).unwrap();
                    model[device].push((at(now), payload));
                    prop_assert_eq!(added.sequence, model[device].len() as u64);
                    prop_assert!(added.kept || tight);
                }
                Step::Batch(items) => {
                    let payloads: Vec<_> = items.iter().map(|(_, n)| vec![*n; 20]).collect();
                    let batch: Vec<Item<'_>> = items
                        .iter()
                        .zip(&payloads)
                        .map(|((d, _), payload)| (DEVICES[*d], at(now), payload.as_slice()))
                        .collect();
                    let added = spool.append_batch(&batch).unwrap();
                    prop_assert_eq!(added.len(), items.len());
                    for ((device, _), payload) in items.into_iter().zip(payloads) {
                        model[device].push((at(now), payload));
                    }
                }
                Step::Acknowledge(device, n) => {
                    let next = model[device].len() as u64;
                    let to = (upto[device] + n).min(next);
                    spool.acknowledge(DEVICES[device], to).unwrap();
                    upto[device] = to;
                }
                Step::Expire => spool.expire(at(now)).unwrap(),
                Step::Reopen => {
                    store.flush().unwrap();
                    store.crash();
                    let before: Vec<_> = spool.queues().map(|(d, q)| (d.to_owned(), q.clone())).collect();
                    spool = open(&store, limits);
                    let after: Vec<_> = spool.queues().map(|(d, q)| (d.to_owned(), q.clone())).collect();
                    prop_assert_eq!(before, after, "reopening gives the same");
                }
            }
            holds(&spool, &model, upto, tight)?;
            for (device, queue) in spool.queues() {
                // What is turned away leaves a gap at the end, what expires one at the beginning.
                prop_assert!(queue.bytes <= limits.device_bytes + 2 * codec::gap_cost(device));
            }
            let gaps = 6 * codec::gap_cost("ab");
            prop_assert!(spool.totals().bytes <= limits.total_bytes + gaps);
        }
    }

    #[test]
    fn a_failing_store_leaves_the_spool_as_it_was_and_usable(
        fails_at in 0_u64..80, drop in policy(),
    ) {
        let inner = Arc::new(MemoryStore::new());
        let store: Arc<dyn Store> = Arc::new(FaultyStore::failing_at(Arc::clone(&inner), fails_at + 1));
        let limits = limits(700, drop);
        let Ok(mut spool) = Spool::open(store, limits) else { return Ok(()) };
        let mut given = BTreeSet::new();
        for n in 0..20_u8 {
            let next = spool.queue(DEVICE).map_or(1, |queue| queue.next);
            if let Ok(added) = spool.append(DEVICE, at(i64::from(n)), &[n; 100]) {
                prop_assert!(given.insert(added.sequence) && added.sequence == next);
            } else {
                prop_assert_eq!(spool.queue(DEVICE).map_or(1, |queue| queue.next), next);
            }
            if n % 7 == 6 {
                let _ = spool.acknowledge(DEVICE, next - 2);
            }
        }
        // Whatever has not failed yet fails now.
        for _ in 0..=fails_at {
            let _ = spool.peek(DEVICE, 0, 1);
        }
        // Nothing of what the memory of the spool says differs from what the store holds.
        let again = open(&inner, limits);
        let of = |spool: &Spool| {
            let queue = spool.queue(DEVICE);
            let numbers = queue.map(|q| (q.records, q.bytes, q.next, q.upto, q.dropped));
            (numbers, all(spool, DEVICE))
        };
        prop_assert_eq!(of(&again), of(&spool));
        prop_assert_eq!(given.len() as u64, spool.queue(DEVICE).map_or(0, |q| q.appended));
    }
}
