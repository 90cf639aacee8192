//! Whatever is asked in whatever order, the rules of identity hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::registry::{DeviceState, RekeyRequest};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Step {
    Invite(usize),
    /// A device asks with a pair made of two keys' halves.
    Enrol(usize, usize, usize),
    Approve(usize),
    Refuse(usize),
    Revoke(usize),
    Rekey(usize, usize, usize),
    Play(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (name, key) = (0..NAMES.len(), 0..KEYS);
    prop_oneof![
        name.clone().prop_map(Step::Invite),
        (name.clone(), key.clone(), key.clone()).prop_map(|(n, a, b)| Step::Enrol(n, a, b)),
        // Most devices have keys of their own.
        (name.clone(), key.clone()).prop_map(|(n, a)| Step::Enrol(n, a, a)),
        name.clone().prop_map(Step::Approve),
        name.clone().prop_map(Step::Refuse),
        name.clone().prop_map(Step::Revoke),
        (name.clone(), key.clone(), key.clone()).prop_map(|(n, a, b)| Step::Rekey(n, a, b)),
        (name, key).prop_map(|(n, a)| Step::Play(n, a)),
    ]
}

/// Who may get tokens with which key, by trying.
fn active(registry: &mut Registry, keys: &[DeviceKeys], now: Timestamp) -> Vec<(usize, [u8; 32])> {
    let mut found = Vec::new();
    for (ix, name) in NAMES.iter().enumerate() {
        for (a, b) in (0..KEYS).flat_map(|a| (0..KEYS).map(move |b| (a, b))) {
            let pair = DeviceKeys { sign: keys[a].sign.clone(), dh: keys[b].dh.clone() };
            let cnf = pair.public().cnf();
            let known = registry.simulated.get(&(*name).into()).map(|p| p.public.cnf());
            let known = known
                .or_else(|| registry.state.devices.get(&(*name).into()).map(|d| d.public.cnf()));
            if known != Some(cnf) {
                continue;
            }
            let me = DeviceIdentity { keys: pair, ..device(name, registry) };
            if token(registry, &me, now).is_ok() {
                found.push((ix, cnf));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_device_has_two_keys_no_key_two_devices_and_no_revoked_key_returns(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut registry = registry();
        let keys: Vec<_> = (0..KEYS).map(|_| DeviceKeys::generate().unwrap()).collect();
        let mut vouchers: BTreeMap<usize, VoucherView> = BTreeMap::new();
        let mut revoked: BTreeSet<[u8; 32]> = BTreeSet::new();
        let (mut serial, mut now) = (0, T0);
        for step in steps {
            now = now.plus(Duration::from_secs(30));
            let named = |ix: usize| -> plantwin_model::DeviceId { NAMES[ix].into() };
            let pair = |a: usize, b: usize| DeviceKeys {
                sign: keys[a].sign.clone(),
                dh: keys[b].dh.clone(),
            };
            match step {
                Step::Invite(ix) => {
                    let op =
                        Op::Invite { device: named(ix), zone: "field".into(), valid: None };
                    if let Ok(Reply::Voucher(view)) = at(&mut registry, &op, now) {
                        vouchers.insert(ix, view);
                    }
                }
                Step::Enrol(ix, a, b) => {
                    if let Some(voucher) = vouchers.get(&ix) {
                        let me =
                            DeviceIdentity { keys: pair(a, b), ..device(NAMES[ix], &registry) };
                        let _ = at(&mut registry, &request(&me, voucher), now);
                    }
                }
                Step::Approve(ix) => {
                    let waits = registry.listing(now);
                    let waits = waits.pending().find(|d| d.device == named(ix)).cloned();
                    if let Some(view) = waits {
                        let fingerprint = view.fingerprint;
                        let op = Op::Approve { device: named(ix), fingerprint };
                        at(&mut registry, &op, now).unwrap();
                    }
                }
                Step::Refuse(ix) => {
                    let op = Op::Refuse { device: named(ix), reason: String::new() };
                    let _ = at(&mut registry, &op, now);
                }
                Step::Revoke(ix) => drop(at(&mut registry, &revoke(NAMES[ix]), now)),
                Step::Rekey(ix, a, b) => {
                    let request = RekeyRequest::build(&named(ix), &pair(a, a), &pair(b, b));
                    let _ = at(&mut registry, &Op::Rekey { request }, now);
                }
                Step::Play(ix, a) => {
                    let public = pair(a, a).public();
                    let _ = registry.enrol_simulated(&named(ix), &"field".into(), public, now);
                }
            }
            let list = registry.revocations(now);
            prop_assert!(list.serial >= serial);
            prop_assert!(revoked.is_subset(&list.revoked), "a key left the list");
            (serial, revoked) = (list.serial, list.revoked);
            // The state itself: each half of an active or pending key belongs to one device.
            let mut halves = BTreeMap::new();
            let played = registry.simulated.iter().map(|(id, p)| (id, p.public));
            let known = registry.state.devices.iter();
            let known = known
                .filter(|(_, d)| d.state != DeviceState::Revoked)
                .map(|(id, d)| (id, d.public));
            for (id, public) in known.chain(played) {
                for half in super::super::state::halves(&public) {
                    let owner = halves.insert(half, id.clone());
                    prop_assert!(owner.is_none(), "{id} and {owner:?} share a key");
                }
            }
        }
        // And what a stranger sees of it.
        let found = active(&mut registry, &keys, now);
        let ids: BTreeSet<_> = found.iter().map(|(ix, _)| ix).collect();
        let cnfs: BTreeSet<_> = found.iter().map(|(_, cnf)| cnf).collect();
        prop_assert_eq!((ids.len(), cnfs.len()), (found.len(), found.len()));
        for (_, cnf) in &found {
            prop_assert!(!revoked.contains(cnf));
        }
    }
}
