use std::time::Duration;

use plantwin_model::{Escalation, RestartStrategy, SupervisionSpec, Timestamp};
use proptest::prelude::*;

use super::super::{TreeState, Verdict};

fn spec(strategy: RestartStrategy, max_restarts: u32, escalation: Escalation) -> SupervisionSpec {
    SupervisionSpec { strategy, max_restarts, escalation, ..SupervisionSpec::default() }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// A plant of one zone with five twins.
fn one_zone(strategy: RestartStrategy) -> TreeState {
    let zone = spec(strategy, 2, Escalation::GiveUp);
    TreeState::new(&SupervisionSpec::default(), [(zone, 5)])
}

fn restarted(verdict: Verdict) -> std::ops::Range<usize> {
    match verdict {
        Verdict::Restart { children, .. } => children,
        other => panic!("no restart of children: {other:?}"),
    }
}

#[test]
fn one_for_one_restarts_the_child_alone() {
    let mut tree = one_zone(RestartStrategy::OneForOne);
    assert_eq!(restarted(tree.on_crash(0, 2, at(0), 0.0)), 2..3);
}

#[test]
fn rest_for_one_takes_along_what_comes_after_in_the_file() {
    let mut tree = one_zone(RestartStrategy::RestForOne);
    assert_eq!(restarted(tree.on_crash(0, 2, at(0), 0.0)), 2..5);
    assert_eq!(restarted(tree.on_crash(0, 4, at(1), 0.0)), 4..5);
}

#[test]
fn one_for_all_takes_all_along_and_counts_for_all() {
    let mut tree = one_zone(RestartStrategy::OneForAll);
    assert_eq!(restarted(tree.on_crash(0, 2, at(0), 0.0)), 0..5);
    assert_eq!(restarted(tree.on_crash(0, 3, at(1), 0.0)), 0..5);
    assert_eq!(tree.on_crash(0, 4, at(2), 0.0), Verdict::GiveUp);
}

#[test]
fn a_zone_at_its_limit_restarts_by_the_plants_policy_and_its_past_is_forgotten() {
    let plant = spec(RestartStrategy::OneForOne, 1, Escalation::Parent);
    let zone = spec(RestartStrategy::OneForOne, 1, Escalation::Parent);
    let mut tree = TreeState::new(&plant, [(zone.clone(), 3), (zone, 3)]);
    let now = at(0);
    assert_eq!(restarted(tree.on_crash(1, 0, now, 0.0)), 0..1);
    assert_eq!(restarted(tree.on_crash(1, 2, now, 0.0)), 2..3);
    let zones = Verdict::RestartZones { wait: Duration::ZERO, zones: 1..2 };
    assert_eq!(tree.on_crash(1, 0, now, 0.0), zones);
    // Each child has its full count again; then the plant's count is used up.
    assert_eq!(restarted(tree.on_crash(1, 0, now, 0.0)), 0..1);
    assert_eq!(restarted(tree.on_crash(1, 2, now, 0.0)), 2..3);
    assert_eq!(tree.on_crash(1, 2, now, 0.0), Verdict::GiveUpZone);
    // The other zone has a count of its own.
    assert_eq!(restarted(tree.on_crash(0, 0, now, 0.0)), 0..1);
    assert!(matches!(tree.on_crash(0, 0, now, 0.0), Verdict::RestartZones { .. }));
}

#[test]
fn an_operator_who_revives_a_child_of_a_given_up_zone_clears_its_past() {
    let plant = spec(RestartStrategy::OneForOne, 0, Escalation::GiveUp);
    let zone = spec(RestartStrategy::OneForOne, 1, Escalation::Parent);
    let mut tree = TreeState::new(&plant, [(zone, 2)]);
    tree.on_crash(0, 1, at(0), 0.0);
    assert_eq!(tree.on_crash(0, 1, at(1), 0.0), Verdict::GiveUpZone);
    tree.forgive(0, 1);
    assert_eq!(restarted(tree.on_crash(0, 1, at(2), 0.0)), 1..2);
}

#[test]
fn the_plants_strategy_decides_which_zones_go_along() {
    let plant = spec(RestartStrategy::RestForOne, 1, Escalation::GiveUp);
    let zone = spec(RestartStrategy::OneForOne, 0, Escalation::Parent);
    let mut tree = TreeState::new(&plant, vec![(zone, 1); 4]);
    let zones = Verdict::RestartZones { wait: Duration::ZERO, zones: 2..4 };
    assert_eq!(tree.on_crash(2, 0, at(0), 0.0), zones);
}

fn strategy() -> impl Strategy<Value = RestartStrategy> {
    prop_oneof![
        Just(RestartStrategy::OneForOne),
        Just(RestartStrategy::RestForOne),
        Just(RestartStrategy::OneForAll),
    ]
}

fn escalation() -> impl Strategy<Value = Escalation> {
    prop_oneof![Just(Escalation::GiveUp), Just(Escalation::Parent)]
}

fn supervision() -> impl Strategy<Value = SupervisionSpec> {
    (strategy(), 0_u32..6, escalation()).prop_map(|(s, n, e)| spec(s, n, e))
}

/// Crashes: zone, child, milliseconds since the one before.
fn crashes() -> impl Strategy<Value = Vec<(usize, usize, i64)>> {
    proptest::collection::vec((0_usize..3, 0_usize..4, 0_i64..20_000), 1..200)
}

/// Times within the 60 s up to the last one.
fn in_window(times: &[i64]) -> usize {
    let last = times.last().copied().unwrap_or_default();
    times.iter().filter(|&&t| last - t < 60_000).count()
}

proptest! {
    #[test]
    fn no_window_sees_more_restarts_than_its_level_allows(
        plant in supervision(), zone in supervision(), crashes in crashes(), jitter in 0.0..1.0_f64,
    ) {
        let mut tree = TreeState::new(&plant, vec![(zone.clone(), 4); 3]);
        let alone = zone.strategy == RestartStrategy::OneForOne;
        let mut zone_restarts = vec![Vec::new(); 3];
        // Since the zone was last restarted as a whole, for that clears its count.
        let mut child_restarts = vec![vec![Vec::new(); 4]; 3];
        let mut now = 0;
        for (z, c, gap) in crashes {
            now += gap;
            match tree.on_crash(z, c, at(now), jitter) {
                Verdict::Restart { wait, children } => {
                    prop_assert!(children.contains(&c));
                    prop_assert!(wait <= zone.backoff_max.mul_f64(1.25));
                    let count = if alone { c } else { 0 };
                    child_restarts[z][count].push(now);
                    let within = in_window(&child_restarts[z][count]);
                    prop_assert!(within <= zone.max_restarts as usize);
                }
                Verdict::RestartZones { wait, zones } => {
                    prop_assert!(zones.contains(&z));
                    prop_assert!(wait <= plant.backoff_max.mul_f64(1.25));
                    let count = if plant.strategy == RestartStrategy::OneForOne { z } else { 0 };
                    zone_restarts[count].push(now);
                    let within = in_window(&zone_restarts[count]);
                    prop_assert!(within <= plant.max_restarts as usize);
                    for z in zones {
                        child_restarts[z].iter_mut().for_each(Vec::clear);
                    }
                }
                Verdict::GiveUp | Verdict::GiveUpZone => {}
            }
        }
    }

    #[test]
    fn siblings_of_one_for_one_are_never_touched_below_the_limit(
        limit in 0_u32..6, crashes in crashes(),
    ) {
        let zone = spec(RestartStrategy::OneForOne, limit, Escalation::GiveUp);
        let mut tree = TreeState::new(&SupervisionSpec::default(), vec![(zone, 4); 3]);
        let mut now = 0;
        for (z, c, gap) in crashes {
            now += gap;
            match tree.on_crash(z, c, at(now), 0.5) {
                Verdict::Restart { children, .. } => prop_assert_eq!(children, c..c + 1),
                verdict => prop_assert_eq!(verdict, Verdict::GiveUp),
            }
        }
    }

    #[test]
    fn a_zone_escalates_only_when_its_limit_is_reached(
        zone in supervision(), plant in supervision(), crashes in crashes(),
    ) {
        let mut tree = TreeState::new(&plant, vec![(zone.clone(), 4); 3]);
        let alone = zone.strategy == RestartStrategy::OneForOne;
        let mut answered = vec![vec![Vec::new(); 4]; 3];
        let mut now = 0;
        for (z, c, gap) in crashes {
            now += gap;
            let verdict = tree.on_crash(z, c, at(now), 0.5);
            let count = if alone { c } else { 0 };
            let used: Vec<_> =
                answered[z][count].iter().filter(|&&t| now - t < 60_000).collect();
            let at_limit = used.len() >= zone.max_restarts as usize;
            prop_assert_eq!(matches!(verdict, Verdict::Restart { .. }), !at_limit);
            match verdict {
                Verdict::Restart { .. } => answered[z][count].push(now),
                Verdict::RestartZones { zones, .. } => {
                    prop_assert_eq!(zone.escalation, Escalation::Parent);
                    for z in zones {
                        answered[z].iter_mut().for_each(Vec::clear);
                    }
                }
                Verdict::GiveUpZone => prop_assert_eq!(zone.escalation, Escalation::Parent),
                Verdict::GiveUp => prop_assert_eq!(zone.escalation, Escalation::GiveUp),
            }
        }
    }
}
