//! Default deny, limits, second persons, conduits; and that tables and rules always agree.

use std::{sync::Arc, time::Duration};

use plantwin_model::{
    Action, DeviceIx, GrantSpec, PlantSpec, PointIx, ProtocolSchema, Request, Role, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use proptest::prelude::*;

use super::*;

static WIRE: ProtocolSchema = ProtocolSchema::bare("wire");
static RADIO: ProtocolSchema = ProtocolSchema::bare("radio");

const PLANT: &str = r#"
[plant]
name = "p"
[type.tank.property.level]
unit = "cm"
range = [0, 20]
access = "rw"
[type.tank.property.valve]
unit = "1"
range = [0, 1]
access = "rw"
[type.tank.command.trip]
set = { valve = 0 }
role = "engineer"
[type.tank.command.fill]
args = ["level"]
[type.tank.alarm.high]
when = "level > 18"
response = "drain"
consequence = "overflow"
[type.tank.model]
step = "10ms"
input.inflow = "cm"
out.outflow = { unit = "cm", value = "level" }
[zone.field]
[zone.control]
[zone.radio]
[device.tank1]
type = "tank"
zone = "field"
paths = ["wire"]
[device.tank2]
type = "tank"
zone = "control"
paths = ["wire"]
[device.pump]
type = "tank"
zone = "field"
paths = ["wire"]
"#;

/// The plant above with more at its end; it must have no error.
#[track_caller]
fn plant(more: &str) -> Arc<PlantSpec> {
    let schemas = [&WIRE, &RADIO];
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let text = format!("{PLANT}{more}");
    let checked = read_plant("p.toml", &text, &catalog, &ReadOptions::default());
    Arc::new(checked.into_plant().unwrap())
}

const ALICE: &str = "[policy.user.alice]\nrole = \"operator\"\nuid = 1\n";
const BOB: &str = "[policy.user.bob]\nrole = \"engineer\"\nuid = 2\n";
/// A device of which nothing can be written.
const GAUGE: &str = "[type.gauge.property.level]\nunit = \"cm\"\nrange = [0, 20]\n\
                     [device.gauge]\ntype = \"gauge\"\nzone = \"field\"\npaths = [\"wire\"]\n";
const LEVEL: Object = Object::Point(DeviceIx(0), PointIx(0));
const VALVE: Object = Object::Point(DeviceIx(0), PointIx(1));

fn noon() -> Timestamp {
    Timestamp::from_millis(12 * 3_600_000)
}

fn user(policy: &Policy, name: &str) -> Principal {
    let user = policy.users().iter().find(|u| &*u.name == name);
    Principal::user(user.unwrap_or_else(|| panic!("no user {name}")))
}

fn write(device: &str, point: &str, value: f64) -> Request {
    Request::Write { device: device.into(), point: point.to_owned(), value }
}

/// What the desk rules on a request.
#[track_caller]
fn ask(desk: &PolicyDesk, who: &Principal, request: &Request, now: Timestamp) -> Ruling {
    let policy = desk.policy();
    let plant = Arc::clone(policy.plant());
    let find =
        |id: &plantwin_model::DeviceId| plant.devices.iter().find(|d| d.id == *id).map(|d| d.ix);
    let errand = errand_of(&plant, &find, request).expect("the request makes sense");
    desk.rule(who, &errand, false, now)
}

#[track_caller]
fn refused(ruling: Ruling, words: &str) {
    let reason = ruling.answer.expect_err("it must be refused");
    assert!(reason.contains(words), "{reason:?} does not say {words:?}");
}

#[test]
fn without_rules_everybody_has_the_rights_of_their_role() {
    let policy = Policy::compile(plant(""));
    let may = |role: Role, action| {
        let mut rates = Rates::default();
        let decision = policy.decide(policy.role(role), action, LEVEL, None, noon(), &mut rates);
        decision.verdict == Verdict::Allow
    };
    let rights = |role| Action::ALL.map(|a| may(role, a));
    assert_eq!(rights(Role::Viewer), [true, false, false, false, false, false]);
    assert_eq!(rights(Role::Operator), [true, true, true, true, true, false]);
    assert_eq!(rights(Role::Engineer), [true, true, true, true, true, false]);
    assert_eq!(rights(Role::Security), [true; 6]);
}

#[test]
fn a_policy_without_a_grant_denies_everything() {
    let policy = Policy::compile(plant("[policy]\ngrant = []\n"));
    for role in Role::ALL {
        for action in Action::ALL {
            for object in [Object::Plant, Object::Device(DeviceIx(0)), LEVEL] {
                let mut rates = Rates::default();
                let decision =
                    policy.decide(policy.role(role), action, object, None, noon(), &mut rates);
                assert_eq!(decision, Decision::NOTHING);
            }
        }
    }
}

const LIMITED: &str = r#"
[[policy.grant]]
who = "operator"
action = ["read", "write"]
on = "field/tank*/level"
range = [0, 10]
rate = "2/min"
hours = "06:00-22:00"
"#;

#[test]
fn range_rate_and_hours_limit_a_rule_and_the_refusal_names_it() {
    let desk = PolicyDesk::new(plant(&format!("{ALICE}{LIMITED}")));
    let policy = desk.policy();
    let alice = user(&policy, "alice");
    let line = policy.grant(0).expect("there is one").line;
    let place = format!("p.toml:{line}");
    refused(
        ask(&desk, &alice, &write("tank1", "level", 11.0), noon()),
        &format!("operator may not write field/tank1/level: {place} allows only 0 to 10, not 11"),
    );
    refused(ask(&desk, &alice, &write("tank1", "valve", 1.0), noon()), "no rule of p.toml");
    refused(ask(&desk, &alice, &write("tank2", "level", 1.0), noon()), "control/tank2/level");
    let night = Timestamp::from_millis(23 * 3_600_000);
    let early = write("tank1", "level", 1.0);
    refused(ask(&desk, &alice, &early, night), "only at 06:00-22:00 UTC");
    // A NaN is in no range.
    refused(ask(&desk, &alice, &write("tank1", "level", f64::NAN), noon()), "NaN");
    for _ in 0..2 {
        let ruling = ask(&desk, &alice, &early, noon());
        assert_eq!(ruling, Ruling { answer: Ok(()), rule: place.clone() });
    }
    refused(ask(&desk, &alice, &early, noon()), "allows only 2/min, which are used up");
    // One is paid back after half of the time, not two.
    let later = noon().plus(Duration::from_secs(30));
    assert_eq!(ask(&desk, &alice, &early, later).answer, Ok(()));
    refused(ask(&desk, &alice, &early, later), "used up");
}

#[test]
fn what_was_let_through_before_costs_nothing_when_it_is_asked_again() {
    let desk = PolicyDesk::new(plant(&format!("{ALICE}{LIMITED}")));
    let policy = desk.policy();
    let (alice, plant) = (user(&policy, "alice"), Arc::clone(policy.plant()));
    let find = |_: &plantwin_model::DeviceId| Some(DeviceIx(0));
    let errand = errand_of(&plant, &find, &write("tank1", "level", 1.0)).expect("sound");
    for _ in 0..10 {
        assert_eq!(desk.rule(&alice, &errand, true, noon()).answer, Ok(()));
    }
    assert_eq!(desk.rule(&alice, &errand, false, noon()).answer, Ok(()));
}

const TWO: &str = r#"
[[policy.grant]]
who = ["operator", "engineer"]
action = "write"
on = "*"
two_persons = true
"#;

#[test]
fn a_second_and_different_person_carries_it_out_within_five_minutes() {
    let desk = PolicyDesk::new(plant(&format!("{ALICE}{BOB}{TWO}")));
    let policy = desk.policy();
    let (alice, bob) = (user(&policy, "alice"), user(&policy, "bob"));
    let it = write("tank1", "level", 5.0);
    refused(ask(&desk, &alice, &it, noon()), "wants a second person");
    refused(ask(&desk, &alice, &it, noon()), "wants a second person");
    // Another value is another request.
    refused(ask(&desk, &bob, &write("tank1", "level", 6.0), noon()), "wants a second person");
    let ruling = ask(&desk, &bob, &it, noon().plus(Duration::from_secs(299)));
    assert_eq!(ruling.answer, Ok(()));
    assert!(ruling.rule.ends_with("asked for by user:alice first"), "{}", ruling.rule);
    // It was used up.
    refused(ask(&desk, &bob, &it, noon().plus(Duration::from_secs(299))), "second person");
    // And it does not wait for ever.
    let late = noon().plus(Duration::from_secs(299 + 300));
    refused(ask(&desk, &alice, &it, late), "second person");
}

#[test]
fn all_owners_are_one_person() {
    let desk = PolicyDesk::new(plant(TWO));
    let it = write("tank1", "level", 5.0);
    refused(ask(&desk, &Principal::owner(Role::Operator), &it, noon()), "second person");
    refused(ask(&desk, &Principal::owner(Role::Engineer), &it, noon()), "second person");
}

#[test]
fn the_requests_that_wait_for_a_second_person_are_bounded() {
    let desk = PolicyDesk::new(plant(&format!("{ALICE}{TWO}")));
    let alice = user(&desk.policy(), "alice");
    for i in 0..256 {
        let it = write("tank1", "level", f64::from(i));
        refused(ask(&desk, &alice, &it, noon()), "not yet");
    }
    refused(ask(&desk, &alice, &write("tank1", "level", -1.0), noon()), "too many requests wait");
}

#[test]
fn the_role_that_a_command_demands_is_a_floor_under_every_rule() {
    let all = "[[policy.grant]]\nwho = \"operator\"\naction = \"command\"\non = \"*\"\n";
    let desk = PolicyDesk::new(plant(&format!("{ALICE}{all}")));
    let alice = user(&desk.policy(), "alice");
    let command = |command: &str, args: Vec<(String, f64)>| Request::Command {
        device: "tank1".into(),
        command: command.to_owned(),
        args,
    };
    refused(ask(&desk, &alice, &command("trip", vec![]), noon()), "needs the role engineer");
    let fill = command("fill", vec![("level".to_owned(), 3.0)]);
    assert_eq!(ask(&desk, &alice, &fill, noon()).answer, Ok(()));
    let question = |what: &str| Question {
        who: "alice".to_owned(),
        action: Action::Command,
        what: what.to_owned(),
        value: None,
        at: noon(),
    };
    let answer = desk.policy().explain(&question("tank1.trip")).expect("it exists");
    assert!(!answer.allowed && answer.text.contains("engineer"), "{answer:?}");
    assert!(desk.policy().explain(&question("tank1.fill")).expect("it exists").allowed);
}

#[test]
fn who_is_no_user_any_more_may_do_nothing_and_the_owner_only_looks_beside_users() {
    let desk = PolicyDesk::new(plant(&format!("{ALICE}{BOB}")));
    let alice = user(&desk.policy(), "alice");
    let it = write("tank1", "level", 5.0);
    assert_eq!(ask(&desk, &alice, &it, noon()).answer, Ok(()));
    refused(ask(&desk, &Principal::owner(Role::Security), &it, noon()), "viewer may not write");
    refused(ask(&desk, &Principal::stranger(7), &it, noon()), "viewer may not write");
    assert_eq!(desk.swap(plant(BOB)), 2);
    assert_eq!((desk.epoch(), desk.policy().epoch()), (2, 2));
    refused(ask(&desk, &alice, &it, noon()), "may not write");
}

#[test]
fn quarantine_is_for_operators_and_release_for_security_alone() {
    let desk = PolicyDesk::new(plant(""));
    let quarantine =
        Request::Quarantine { device: "tank1".into(), reason: "forged frames".to_owned() };
    let release = Request::Release { device: "tank1".into() };
    let may = |role, request| ask(&desk, &Principal::owner(role), request, noon()).answer.is_ok();
    assert_eq!(Role::ALL.map(|r| may(r, &quarantine)), [false, true, true, true]);
    assert_eq!(Role::ALL.map(|r| may(r, &release)), [false, false, false, true]);
}

#[test]
fn whoever_asks_is_told_what_the_desk_would_rule() {
    let rules = "[[policy.grant]]\nwho = [\"viewer\", \"engineer\"]\n\
                 action = [\"write\", \"command\", \"configure\", \"admin\"]\non = \"*\"\n";
    let desk = PolicyDesk::new(plant(&format!("{GAUGE}{rules}")));
    let device = plantwin_model::DeviceId::from("tank1");
    let gauge = plantwin_model::DeviceId::from("gauge");
    let args = vec![("level".to_owned(), 3.0)];
    let requests = [
        (Action::Write, "tank1.level", write("tank1", "level", 3.0)),
        (Action::Write, "gauge.level", write("gauge", "level", 3.0)),
        (
            Action::Command,
            "tank1.fill",
            Request::Command { device: device.clone(), command: "fill".into(), args },
        ),
        (
            Action::Command,
            "tank1.trip",
            Request::Command { device: device.clone(), command: "trip".into(), args: Vec::new() },
        ),
        (Action::Configure, "tank1", Request::Restart { device: device.clone() }),
        (Action::Admin, "tank1", Request::Release { device: device.clone() }),
        (Action::Admin, "gauge", Request::Release { device: gauge }),
    ];
    for role in Role::ALL {
        for (action, what, request) in &requests {
            let policy = desk.policy();
            let (who, what, value) = (role.word().to_owned(), (*what).to_owned(), Some(3.0));
            let told = policy.explain(&Question { who, action: *action, what, value, at: noon() });
            let told = told.expect("it exists");
            let find = |id: &plantwin_model::DeviceId| {
                policy.plant().devices.iter().find(|d| d.id == *id).map(|d| d.ix)
            };
            let ruled = errand_of(policy.plant(), &find, request).and_then(|errand| {
                desk.rule(&Principal::owner(role), &errand, false, noon()).answer
            });
            assert_eq!(told.allowed, ruled.is_ok(), "{told:?} and {ruled:?}");
        }
    }
    // What a right covers among others and this role may not is said with it.
    let ask = |action, what: &str| {
        let (who, what) = ("viewer".to_owned(), what.to_owned());
        let told = desk.policy().explain(&Question { who, action, what, value: None, at: noon() });
        told.expect("it exists").text
    };
    assert!(ask(Action::Configure, "tank1").ends_with("but confining it needs the role operator"));
    let plant = ask(Action::Admin, "plant");
    assert!(plant.ends_with("but what changes trust needs the role security"), "{plant}");
}

#[test]
fn the_answer_names_the_rule_and_its_line_or_the_nearest_one() {
    let policy = Policy::compile(plant(&format!("{ALICE}{LIMITED}")));
    let answer = |who: &str, action, what: &str, value| {
        let (who, what) = (who.to_owned(), what.to_owned());
        policy.explain(&Question { who, action, what, value, at: noon() })
    };
    let yes = answer("alice", Action::Write, "tank1.level", Some(3.0)).expect("it exists");
    let line = policy.grant(0).expect("there is one").line;
    assert!(yes.allowed && !yes.second_person);
    assert_eq!(
        yes.text,
        format!(
            "yes: alice write tank1.level: p.toml:{line} (operator: read, write on \
             field/tank*/level, 0 to 10, at most 2/min, 06:00-22:00 UTC)"
        )
    );
    let rule = yes.rule.expect("a rule allows it");
    assert_eq!((&*rule.file, rule.line), ("p.toml", line));
    let no = answer("user:alice", Action::Write, "field/tank1/level", Some(30.0)).expect("exists");
    assert!(
        no.text.ends_with(&format!("p.toml:{line} allows only 0 to 10, not 30")),
        "{}",
        no.text
    );
    let no = answer("operator", Action::Write, "tank1.valve", None).expect("it exists");
    assert!(no.text.contains("which is not on field/tank1/valve"), "{}", no.text);
    let no = answer("viewer", Action::Read, "tank1.level", None).expect("it exists");
    assert!(!no.allowed && no.rule.is_none(), "{no:?}");
    assert!(answer("mallory", Action::Read, "tank1", None).is_err());
    assert!(answer("alice", Action::Read, "tank9.level", None).is_err());
    assert!(answer("alice", Action::Read, "control/tank1/level", None).is_err());
}

#[test]
fn where_the_file_says_what_devices_may_do_a_flow_needs_a_grant_also_within_its_zone() {
    let flow = "[[flow]]\nfrom = \"tank1.outflow\"\nto = \"pump.inflow\"\n";
    let with = |grants: &[String]| Policy::compile(plant(&format!("{}{flow}", rules(grants))));
    let grant = |who: &str, on: &str, more: &str| {
        format!("[[policy.grant]]\nwho = \"{who}\"\naction = \"write\"\non = \"{on}\"\n{more}")
    };
    assert!(with(&[]).permits_flow(0, noon()), "nothing is said of devices");
    assert!(with(&[grant("operator", "*", "")]).permits_flow(0, noon()));
    assert!(with(&[grant("device:tank1", "field/pump", "")]).permits_flow(0, noon()));
    assert!(with(&[grant("device", "field/*", "")]).permits_flow(0, noon()));
    let another = with(&[grant("device:pump", "field/*", "")]);
    assert!(!another.permits_flow(0, noon()), "it is for another device");
    let elsewhere = with(&[grant("device:tank1", "control/*", "")]);
    assert!(!elsewhere.permits_flow(0, noon()), "it is for other devices");
    let at_night = with(&[grant("device:tank1", "field/*", "hours = \"22:00-06:00\"\n")]);
    assert!(!at_night.permits_flow(0, noon()));
}

#[test]
fn a_path_through_another_zone_needs_a_conduit_there_and_back() {
    let device = "[device.far]\ntype = \"tank\"\nzone = \"field\"\npaths = [\"radio\", \"wire\"]\n\
                  [device.far.radio]\nvia = \"radio\"\n";
    let there = "[[conduit]]\nfrom = \"field\"\nto = \"radio\"\nprotocols = [\"radio\"]\n";
    let back = "[[conduit]]\nfrom = \"radio\"\nto = \"field\"\nactions = [\"command\"]\n";
    let far = DeviceIx(3);
    let both = plant(&format!("{device}{there}{back}"));
    let policy = Policy::compile(Arc::clone(&both));
    assert_eq!(policy.permits_path(far, 0), PathRight::Full);
    assert!(policy.reaches(far, Action::Command) && !policy.reaches(far, Action::Write));
    let policy = Policy::compile(plant(&format!("{device}{there}")));
    let rights = [0, 1, 2].map(|rank| policy.permits_path(far, rank));
    assert_eq!(rights, [PathRight::Reports, PathRight::Full, PathRight::Closed]);
    // The same after a swap, for a device that has the path already.
    let desk = PolicyDesk::new(Arc::clone(&both));
    let (taken, left) = both.with_policy_of(&plant("")).expect("same plant");
    assert_eq!(left, ["device far (gone)"]);
    desk.swap(Arc::new(taken));
    assert_eq!(desk.policy().permits_path(far, 0), PathRight::Closed);
    assert_eq!(desk.policy().permits_path(far, 1), PathRight::Full);
    // Devices that stay in their zone need none.
    assert_eq!(desk.policy().permits_path(DeviceIx(0), 0), PathRight::Full);
}

#[test]
fn a_zone_refuses_or_confines_plain_devices() {
    let device = "[device.plc]\ntype = \"tank\"\nzone = \"radio\"\nmode = \"physical\"\n\
                  paths = [\"wire\"]\n";
    let of = |rule: &str| {
        let text =
            format!("{PLANT}{device}").replace("[zone.radio]", &format!("[zone.radio]\n{rule}"));
        let schemas = [&WIRE];
        let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
        let checked = read_plant("p.toml", &text, &catalog, &ReadOptions::default());
        PolicyDesk::new(Arc::new(checked.plant.expect("it is sound")))
    };
    let right = |desk: &PolicyDesk| desk.policy().permits_path(DeviceIx(3), 0);
    let (allow, confine) = (of(""), of("plain = \"confine\""));
    assert_eq!(right(&allow), PathRight::Full);
    assert_eq!(right(&confine), PathRight::Reports);
    assert_eq!(right(&of("plain = \"refuse\"")), PathRight::Closed);
    let it = write("plc", "level", 1.0);
    assert_eq!(ask(&allow, &Principal::owner(Role::Operator), &it, noon()).answer, Ok(()));
    refused(ask(&confine, &Principal::owner(Role::Operator), &it, noon()), "confines such devices");
}

#[test]
fn a_flow_crosses_only_as_often_as_its_conduit_lets_it() {
    let flow = "[[flow]]\nfrom = \"tank1.outflow\"\nto = \"tank2.inflow\"\n";
    let conduit = "[[conduit]]\nfrom = \"field\"\nto = \"control\"\nmax_rate = \"3/s\"\n";
    let policy = Policy::compile(plant(&format!("{flow}{conduit}")));
    let crossed = (0..10).filter(|_| policy.permits_flow(0, noon())).count();
    assert_eq!(crossed, 3);
    assert!(policy.permits_flow(0, noon().plus(Duration::from_secs(1))));
    // The conduit cannot be taken from a flow that runs.
    let peers = plant(&format!("{flow}{conduit}"));
    let refused = peers.with_policy_of(&plant("")).expect_err("the flow runs");
    assert!(refused.contains("from field to control"), "{refused}");
}

const NAMES: [&str; 3] = ["tank1", "tank2", "pump"];

/// A grant as a file says it, drawn from few names so that rules often meet.
fn grant() -> impl Strategy<Value = String> {
    let who = prop::sample::select(vec![
        "viewer",
        "operator",
        "engineer",
        "security",
        "device",
        "device:tank*",
        "user:alice",
        "user:*",
        "device:tank1",
    ]);
    let action = prop::sample::subsequence(
        vec!["read", "write", "command", "ack", "configure", "admin"],
        1..4,
    );
    let zone = prop::sample::select(vec!["field", "control", "*", "f*"]);
    let device = prop::sample::select(vec!["tank1", "tank2", "tank*", "*", "pump"]);
    let point = prop::sample::select(vec!["", "/level", "/valve", "/*", "/l*"]);
    let limits = prop::sample::select(vec![
        "",
        "range = [0, 5]",
        "hours = \"06:00-11:00\"",
        "hours = \"11:00-13:00\"",
        "two_persons = true",
    ]);
    (who, action, zone, device, point, limits).prop_map(
        |(who, action, zone, device, point, limits)| {
            format!(
                "[[policy.grant]]\nwho = \"{who}\"\naction = {action:?}\n\
             on = \"{zone}/{device}{point}\"\n{limits}\n"
            )
        },
    )
}

fn objects() -> impl Strategy<Value = (Object, String)> {
    (0_u32..3, 0_u16..3).prop_map(|(device, point)| {
        let name = NAMES[device as usize];
        match point {
            0 => (Object::Device(DeviceIx(device)), name.to_owned()),
            p => {
                let of = ["level", "valve"][usize::from(p) - 1];
                (Object::Point(DeviceIx(device), PointIx(p - 1)), format!("{name}.{of}"))
            }
        }
    })
}

fn subject<'p>(policy: &'p Policy, who: &str) -> Subject<'p> {
    if let Some(role) = Role::ALL.iter().find(|r| r.word() == who) {
        return policy.role(*role);
    }
    match who {
        "device:tank1" => policy.device(DeviceIx(0)),
        name => policy.subject(&user(policy, name)),
    }
}

fn covers(grant: &GrantSpec, plant: &PlantSpec, object: Object) -> bool {
    let Object::Point(device, point) = object else { return false };
    let spec = &plant.devices[device.index()];
    grant.on.iter().any(|on| {
        plantwin_model::glob(&on.zone, plant.zones[spec.zone.index()].id.as_str())
            && plantwin_model::glob(&on.device, spec.id.as_str())
            && plantwin_model::glob(&on.point, &spec.kind.points[point.index()].name)
    })
}

/// A policy of exactly these rules.
fn rules(grants: &[String]) -> String {
    let none = if grants.is_empty() { "grant = []\n" } else { "" };
    format!("[policy]\n{none}{ALICE}{BOB}{}", grants.concat())
}

const WHO: [&str; 7] =
    ["viewer", "operator", "engineer", "security", "alice", "bob", "device:tank1"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn tables_and_rules_always_agree(
        grants in prop::collection::vec(grant(), 0..12),
        who in prop::sample::select(WHO.to_vec()),
        action in prop::sample::select(Action::ALL.to_vec()),
        (object, what) in objects(),
        value in prop::option::of(0.0..10.0_f64),
    ) {
        let policy = Policy::compile(plant(&rules(&grants)));
        let mut rates = Rates::default();
        let decided = policy.decide(subject(&policy, who), action, object, value, noon(), &mut rates);
        let question =
            Question { who: who.to_owned(), action, what: what.clone(), value, at: noon() };
        let told = policy.explain(&question).expect("all names exist");
        // What the rules alone do not say: flows, and that only the security role releases.
        let whole = matches!(object, Object::Device(_));
        prop_assume!(who != "device:tank1" || action != Action::Write && decided.verdict != Verdict::Second);
        let floor = whole && action == Action::Admin;
        let below = floor && Role::ALL.iter().any(|r| r.word() == who && *r < Role::Security);
        if below || floor && ["alice", "bob"].contains(&who) {
            prop_assert!(!told.allowed && told.text.contains("needs the role security"), "{:?}", told);
            return Ok(());
        }
        prop_assert_eq!(decided.verdict != Verdict::Deny, told.allowed, "{:?}", told);
        prop_assert_eq!(decided.verdict == Verdict::Second, told.second_person, "{:?}", told);
        if let (true, Some(rule)) = (told.allowed, told.rule) {
            prop_assert_eq!(decided.rule.and_then(|r| policy.grant(r)).map(|g| g.line), Some(rule.line));
        }
    }

    #[test]
    fn a_grant_for_another_object_never_opens_this_one(
        grants in prop::collection::vec(grant(), 0..8),
        more in grant(),
        who in prop::sample::select(WHO.to_vec()),
        action in prop::sample::select(Action::ALL.to_vec()),
        object in prop::sample::select(vec![LEVEL, VALVE]),
    ) {
        let before = Policy::compile(plant(&rules(&grants)));
        let grants: Vec<String> = grants.into_iter().chain([more]).collect();
        let after = Policy::compile(plant(&rules(&grants)));
        let added = after.grants.last().expect("one was added").clone();
        prop_assume!(!covers(&added, after.plant(), object));
        let verdict = |policy: &Policy| {
            let mut rates = Rates::default();
            policy.decide(subject(policy, who), action, object, None, noon(), &mut rates).verdict
        };
        prop_assert_eq!(verdict(&before), verdict(&after));
    }

    /// The model reads the file's grants for flows by itself, for `check` and before a reload.
    #[test]
    fn a_flow_that_the_file_lets_run_at_no_time_is_never_permitted_and_any_other_is_at_some(
        grants in prop::collection::vec(grant(), 0..10),
        to in prop::sample::select(vec!["tank2", "pump"]),
        point in any::<bool>(),
    ) {
        let ends = format!("[[flow]]\nfrom = \"tank1.outflow\"\nto = \"{to}.inflow\"\n");
        let conduit = "[[conduit]]\nfrom = \"field\"\nto = \"control\"\n";
        let plant = plant(&format!("{ends}{conduit}{}", rules(&grants)));
        let never = plant.flows_without_grant().count() == 1;
        let policy = Policy::compile(Arc::clone(&plant));
        // Within each of the hours that a drawn grant may name.
        let hours = [8, 12].map(|hour| Timestamp::from_millis(hour * 3_600_000));
        let permits = hours.map(|at| policy.permits_flow(0, at));
        prop_assert_eq!(never, !permits.contains(&true));
        // And whoever asks is told so.
        let whole_or_point = |to: &str| if point { format!("{to}.level") } else { to.to_owned() };
        let told = hours.map(|at| {
            let (who, action, what) = ("device:tank1".to_owned(), Action::Write, whole_or_point(to));
            let told = policy.explain(&Question { who, action, what, value: None, at });
            told.is_ok_and(|told| told.allowed)
        });
        prop_assert_eq!(told, permits);
    }
}
