//! What people may ask of a running plant beside requests: the authority, the policy, who may.

use std::{ops::ControlFlow, sync::Mutex};

use plantwin_authority::registry::AuthorityReply;
use plantwin_model::file::{Catalog, ReadOptions, read_plant};
use plantwin_runtime::{AuthorityAt, KeySource, RunRequest};
use plantwin_store::audit::{self, AuditReader, Shown};

use super::*;

const PLANT: &str = r#"
[plant]
name = "desk"
[zone.hall]
[type.lamp.property.power]
unit = "W"
range = [0, 100]
access = "rw"
[device.lamp1]
type = "lamp"
zone = "hall"
[device.lamp1.mqtt]
[policy.user.alice]
role = "security"
uid = 70001
[policy.user.bob]
role = "security"
uid = 70002
[policy.user.blind]
role = "operator"
uid = 70003
[[policy.grant]]
who = "security"
action = "admin"
on = "*"
two_persons = true
[[policy.grant]]
who = ["security", "viewer"]
action = ["read", "configure"]
on = "*"
"#;

fn spec(text: &str) -> PlantSpec {
    let registry = crate::protocols::registry();
    let schemas = registry.schemas();
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let checked = read_plant("desk.toml", text, &catalog, &ReadOptions::default());
    checked.plant.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
}

/// A plant that runs in a folder of its own, and the desk at its socket.
struct Office {
    folder: tempfile::TempDir,
    plant: RunningPlant,
    desk: Desk,
    /// What a reload finds.
    file: Arc<Mutex<PlantSpec>>,
}

impl Office {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plant = RunningPlant::start(RunRequest {
            plant: spec(PLANT),
            registry: crate::protocols::registry(),
            data: Some(folder.path().to_owned()),
            key: KeySource::Plain,
            speed: 1.0,
            authority: AuthorityAt::Here,
        })
        .expect("it starts");
        let front = plant.front_desk();
        let file = Arc::new(Mutex::new(spec(PLANT)));
        let found = Arc::clone(&file);
        let reread: Reread = Arc::new(move || Ok(found.lock().expect("nobody panicked").clone()));
        let desk = Desk {
            view: plant.view.clone(),
            authority: plant.authority(),
            door: Door::new(front.clone(), Owner::of_this_process()),
            front,
            reread: Some(reread),
            socket: folder.path().join("no-socket"),
        };
        Self { folder, plant, desk, file }
    }

    fn user(&self, name: &str) -> Principal {
        let policy = self.desk.front.policy();
        Principal::user(policy.users().iter().find(|u| &*u.name == name).expect("a user"))
    }

    fn on_file(&self, text: &str) {
        *self.file.lock().expect("nobody panicked") = spec(text);
    }

    fn ask(&self, name: &str, op: &AuthorityOp) -> Say {
        let (who, op) = (self.user(name), op.clone());
        tokio_runtime().block_on(self.desk.authority(&who, op))
    }

    fn reload(&self, name: &str) -> Say {
        let who = self.user(name);
        tokio_runtime().block_on(self.desk.reload(&who))
    }

    fn doubt(&self, asker: Principal, whom: &str, what: &str) -> Say {
        let (who, what) = (whom.to_owned(), what.to_owned());
        let at = self.desk.front.now();
        let doubt = Doubt { who, action: Action::Read, what, value: None, at };
        self.desk.explain(&Visitor::Known(asker), &doubt)
    }

    /// Stops the plant; what is on record, one text an entry.
    fn close(self) -> Vec<String> {
        let Self { folder, plant, desk, .. } = self;
        drop(desk);
        plant.stop();
        let key = audit::audit_key(folder.path(), &KeySource::Plain).expect("it reads");
        let dir = audit::folder(folder.path());
        let mut told = Vec::new();
        AuditReader::new(&dir, &key.expect("a key"), 0)
            .read(&mut |shown| {
                if let Shown::Entry { entry, .. } = shown {
                    told.push(format!("{entry:?}"));
                }
                ControlFlow::Continue(())
            })
            .expect("it reads");
        told
    }
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn waits(said: &Say) {
    assert!(matches!(said, Say::Refused { text } if text.starts_with("not yet")), "{said:?}");
}

#[test]
fn a_second_person_confirms_the_very_operation_that_the_first_one_asked_the_authority_for() {
    let office = Office::open();
    let dismiss = AuthorityOp::Dismiss { name: "hall9".to_owned(), reason: "lost".to_owned() };
    let approve =
        AuthorityOp::Approve { device: "rogue".into(), fingerprint: "AAAA-BBBB".to_owned() };
    let rotate = |overlap| AuthorityOp::Rotate { overlap };
    waits(&office.ask("alice", &dismiss));
    waits(&office.ask("alice", &rotate(true)));
    // None of these is what she asked for.
    waits(&office.ask("bob", &approve));
    waits(&office.ask("bob", &rotate(false)));
    let other = AuthorityOp::Dismiss { name: "hall8".to_owned(), reason: "lost".to_owned() };
    waits(&office.ask("bob", &other));
    // This is, and so is the same key written otherwise.
    let written = |fingerprint: &str| AuthorityOp::Approve {
        device: "rogue".into(),
        fingerprint: fingerprint.to_owned(),
    };
    let said = office.ask("alice", &written("aaaa bbbb"));
    assert!(!matches!(&said, Say::Refused { text } if text.starts_with("not yet")), "{said:?}");
    let said = office.ask("bob", &rotate(true));
    assert!(
        matches!(&said, Say::Authority { reply } if **reply == AuthorityReply::Done),
        "{said:?}"
    );
    let told = office.close();
    let has = |words: &[&str]| {
        assert!(told.iter().any(|t| words.iter().all(|w| t.contains(w))), "{words:?} in {told:#?}");
    };
    has(&[
        "user:bob",
        "Done",
        "by desk.toml:",
        "user:alice first: allowed to rotate the issuer's key",
    ]);
    has(&["user:bob", "Refused", "rogue", "aaaabbbb", "not yet"]);
    has(&["user:alice", "Refused", "client:hall9", "not yet"]);
}

#[test]
fn a_second_person_confirms_the_very_policy_that_the_first_one_asked_to_reload() {
    let office = Office::open();
    let narrow = PLANT.replace("[\"read\", \"configure\"]", "[\"read\"]");
    let wide = PLANT.replace("two_persons = true\n", "");
    office.on_file(&narrow);
    waits(&office.reload("alice"));
    office.on_file(&wide);
    waits(&office.reload("bob"));
    office.on_file(&narrow);
    let said = office.reload("bob");
    assert!(matches!(said, Say::Reloaded { epoch: 2, .. }), "{said:?}");
    let told = office.close();
    assert!(told.iter().any(|t| t.contains("epoch 2") && t.contains("user:alice first")));
}

#[test]
fn a_passphrase_that_changed_is_another_policy_to_reload() {
    let office = Office::open();
    let with = |hash: &str| {
        let line = format!("uid = 70003\npassphrase = \"{hash}\"");
        PLANT.replace("uid = 70003", &line)
    };
    let hash = |salt: &str| {
        format!("$argon2id$v=19$m=65536,t=3,p=1${salt}$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
    };
    office.on_file(&with(&hash("AAAAAAAAAAAAAAAAAAAAAA")));
    waits(&office.reload("alice"));
    office.on_file(&with(&hash("BBBBBBBBBBBBBBBBBBBBBA")));
    waits(&office.reload("bob"));
    office.close();
}

#[test]
fn who_sees_nothing_asks_about_themselves_alone_and_hears_no_names() {
    let office = Office::open();
    let stranger = || Principal::stranger(70_009);
    for who in ["alice", "user:bob", "nobody", "security", "device:lamp1"] {
        let said = office.doubt(stranger(), who, "lamp1");
        assert!(
            matches!(&said, Say::Refused { text } if text == "you may ask about yourself alone, \
                                                               as viewer"),
            "{said:?}"
        );
    }
    let said = office.doubt(stranger(), "viewer", "lamp1.power");
    let Say::Explained { explanation } = &said else { panic!("{said:?}") };
    assert_eq!((explanation.allowed, &*explanation.text), (true, "yes: viewer read lamp1.power"));
    assert_eq!(explanation.rule, None);
    // A user who may see nothing is told no more, and of devices that are not there the same.
    let blind = || office.user("blind");
    assert!(matches!(office.doubt(blind(), "alice", "lamp1"), Say::Refused { .. }));
    for what in ["lamp1", "lamp2"] {
        let said = office.doubt(blind(), "blind", what);
        let Say::Explained { explanation } = &said else { panic!("{said:?}") };
        assert_eq!(explanation.text, format!("no: blind read {what}"));
    }
    // Who sees the plant is told of everybody.
    let said = office.doubt(office.user("alice"), "nobody", "lamp1");
    assert!(matches!(&said, Say::Error { text } if text.contains("alice, bob, blind")), "{said:?}");
    office.close();
}
