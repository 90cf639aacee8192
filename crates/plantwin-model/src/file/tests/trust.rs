//! Policy, users, conduits, identities and safe states, as the file says them.

use std::time::Duration;

use super::{GOOD, lines, read, table};
use crate::{
    Action, Actions, Hours, Identity, ObjectGlob, PlainRule, PlantSpec, Rate, Role, Severity, Who,
};

const TRUST: &str = include_str!("trust.toml");

#[track_caller]
fn plant(text: &str) -> PlantSpec {
    let checked = read(text);
    assert_eq!(lines(&checked.diagnostics), "");
    checked.plant.expect("no diagnostics, so there is a plant")
}

#[test]
fn a_grant_arrives_with_its_limits_and_its_line() {
    let plant = plant(TRUST);
    let grants = plant.policy.grants.expect("the file has some");
    let [first, second] = &grants[..] else { panic!("two grants") };
    assert_eq!(first.who, [Who::Role(Role::Operator)]);
    assert_eq!(first.actions, Actions::NONE.with(Action::Read).with(Action::Command));
    let part = |p: &str| p.into();
    let on = ObjectGlob { zone: part("field"), device: part("valve*"), point: part("opening") };
    assert_eq!(first.on, [on]);
    assert_eq!(first.range, Some((0.0, 0.5)));
    assert_eq!(first.rate, Some(Rate { count: 10, per: Duration::from_mins(1) }));
    assert_eq!(first.hours, Some(Hours { from: 360, to: 1320 }));
    assert!(first.two_persons && !second.two_persons);
    let line = TRUST.lines().position(|l| l == "[[policy.grant]]").expect("it is there") + 1;
    assert_eq!(first.line as usize, line);
    let all = [Who::User("al*".into()), Who::Device("gauge1".into()), Who::Device("*".into())];
    assert_eq!(second.who, all);
    assert!(second.on[0].is_all());
}

#[test]
fn users_conduits_zones_and_devices_say_who_they_are() {
    let plant = plant(TRUST);
    let [alice, bob] = &plant.policy.users[..] else { panic!("two users") };
    assert_eq!((&*alice.name, alice.role, alice.uid), ("alice", Role::Operator, Some(1000)));
    assert!(bob.passphrase.is_some() && bob.uid.is_none());
    let [field, control] = &plant.zones[..] else { panic!("two zones") };
    assert_eq!((field.sl_t, field.plain), (2, PlainRule::Confine));
    assert_eq!((control.sl_t, control.plain), (0, PlainRule::Allow));
    let [short, long] = &plant.conduits[..] else { panic!("two conduits") };
    assert_eq!((short.from.index(), short.to.index()), (1, 0));
    assert_eq!((&short.protocols, short.actions, short.max_rate), (&None, Actions::ALL, None));
    assert_eq!(long.protocols.as_deref(), Some(&["mqtt"][..]));
    assert_eq!(long.max_rate, Some(Rate { count: 100, per: Duration::from_secs(1) }));
    let identities: Vec<_> = plant.devices.iter().map(|d| d.identity).collect();
    assert_eq!(identities, [Identity::Simulated, Identity::Native, Identity::Plain]);
    assert_eq!(plant.devices[1].via, [Some(plant.devices[2].zone)]);
    assert_eq!(plant.devices[0].kind.points[0].safe, Some(0.0));
}

#[test]
fn a_plant_that_says_nothing_has_the_built_in_rules_and_no_users() {
    let good = plant(GOOD);
    assert_eq!(good.policy, crate::PolicySpec::default());
    let none = plant(&GOOD.replacen("[plant]", "[policy]\ngrant = []\n[plant]", 1));
    assert_eq!(none.policy.grants, Some(vec![]), "no rule at all is not the built-in ones");
}

#[test]
fn warnings_about_rules_do_not_stop_the_plant() {
    let text = TRUST
        .replace("on = \"field/valve*/opening\"", "on = \"control/valve*/opening\"")
        .replace("uid = 1000", "");
    let checked = read(&text);
    assert!(checked.diagnostics.iter().all(|d| d.severity == Severity::Warning));
    insta::assert_snapshot!(lines(&checked.diagnostics));
    assert!(checked.plant.is_some());
}

#[test]
fn a_running_plant_takes_the_policy_of_a_file_and_names_the_rest() {
    let running = plant(TRUST);
    let file = plant(
        &TRUST
            .replace("\n[zone.field]", "\n# one more line\n[zone.field]")
            .replace("range = [0, 0.5]", "range = [0, 0.7]")
            .replace("max_rate = \"100/s\"", "max_rate = \"50/s\"")
            .replace("sl_t = 2", "sl_t = 3")
            .replace("[device.gauge1]", "[device.gauge1]\nperiod = \"2s\""),
    );
    let (taken, left) = running.with_policy_of(&file).expect("the same plant");
    assert_eq!(left, ["zone field (changed)", "device gauge1 (changed)"]);
    assert_eq!(taken.policy, file.policy);
    assert_eq!(taken.conduits, file.conduits);
    assert_eq!(taken.zones[0].sl_t, 2);
    let (_, left) = running.with_policy_of(&plant(TRUST)).expect("the same plant");
    assert_eq!(left, [""; 0]);
    let other = plant(&TRUST.replace("name = \"trust\"", "name = \"other\""));
    assert!(running.with_policy_of(&other).is_err());
}

#[test]
fn once_devices_have_grants_a_flow_without_one_is_warned_of_and_no_policy_to_reload() {
    let running = plant(GOOD);
    assert_eq!(running.flows_without_grant().count(), 0, "nothing is granted to devices");
    let with = |who: &str| {
        format!("{GOOD}\n[[policy.grant]]\nwho = \"{who}\"\naction = \"write\"\non = \"*\"\n")
    };
    let all = plant(&with("device"));
    assert_eq!(all.flows_without_grant().count(), 0);
    assert!(running.with_policy_of(&all).is_ok());
    let one = read(&with("device:tank1"));
    assert!(lines(&one.diagnostics).contains("no grant lets pump1 feed tank1"));
    let refused = running.with_policy_of(&one.plant.expect("a warning only")).unwrap_err();
    assert!(refused.contains("from pump1 to tank1 needs a grant"), "{refused}");
}

const CASES: &[(&str, &str)] = &[
    // Who.
    ("who = \"operator\"", "who = \"operater\""),
    ("who = \"operator\"", "who = \"*\""),
    ("who = \"operator\"", "who = []"),
    ("who = \"operator\"", "who = \"user:carol\""),
    ("who = \"operator\"", "who = \"user:car*\""),
    ("who = \"operator\"", "who = \"device:valve 1\""),
    ("who = \"operator\"\n", ""),
    // What.
    ("action = [\"read\", \"command\"]", "action = \"*\""),
    ("action = [\"read\", \"command\"]", "action = [\"red\"]"),
    ("action = [\"read\", \"command\"]", "action = \"read\""),
    // On what.
    ("on = \"field/valve*/opening\"", "on = \"feld/valve*/opening\""),
    ("on = \"field/valve*/opening\"", "on = \"field/valve9/opening\""),
    ("on = \"field/valve*/opening\"", "on = \"a/b/c/d\""),
    ("on = \"field/valve*/opening\"", "on = \"field//opening\""),
    // Limits.
    ("range = [0, 0.5]", "range = [0.5, 0]"),
    ("range = [0, 0.5]", "range = [0]"),
    ("rate = \"10/min\"", "rate = \"10\""),
    ("rate = \"10/min\"", "rate = \"0/min\""),
    ("hours = \"06:00-22:00\"", "hours = \"6-22\""),
    ("hours = \"06:00-22:00\"", "hours = \"06:00-06:00\""),
    ("hours = \"06:00-22:00\"", "hours = \"06:00-24:30\""),
    ("two_persons = true", "two_person = true"),
    // Users.
    ("role = \"operator\"", "role = \"oprator\""),
    ("role = \"operator\"\n", ""),
    ("uid = 1000", "uid = -1"),
    ("passphrase = \"$argon2id$", "passphrase = \"hunter2$"),
    ("role = \"engineer\"", "role = \"engineer\"\nuid = 1000"),
    // Conduits.
    ("to = \"control\"", "to = \"contrl\""),
    ("to = \"control\"", "to = \"field\""),
    ("protocols = [\"mqtt\"]", "protocols = [\"mqt\"]"),
    ("protocols = [\"mqtt\"]", "protocols = [\"coap\"]"),
    ("actions = [\"read\"]", "actions = [\"command\"]"),
    ("max_rate = \"100/s\"", "max_rate = 100"),
    ("peers = [\"field\"]\n", ""),
    // Zones and devices.
    ("sl_t = 2", "sl_t = 5"),
    ("plain = \"confine\"", "plain = \"deny\""),
    ("identity = \"native\"", "identity = \"simulated\""),
    ("via = \"control\"", "via = \"centre\""),
    // Safe states.
    ("safe = 0", "safe = 2"),
    ("access = \"rw\"", "access = \"r\""),
];

#[test]
fn every_mistake_about_trust_is_named_with_its_place_and_cure() {
    insta::assert_snapshot!(table(TRUST, CASES, |text| read(text).diagnostics));
}
