//! Who may do what, on the real binary: `can-i`, refusals that name the rule, reloading.

use std::{fs, path::Path, process::Output};

use plantwin_tests::{Plant, run_to_end, wait_until};

use crate::{is_shadowed, stderr, stdout};

const PLANT: &str = r#"
[plant]
name = "policy-e2e"
period = "200ms"
[zone.hall]
[type.lamp.property.power]
unit = "W"
range = [0, 100]
access = "rw"
[device.lamp1]
type = "lamp"
zone = "hall"
[device.lamp1.mqtt]
[[policy.grant]]
who = ["engineer", "security"]
action = ["read", "write"]
on = "hall/lamp1/power"
range = [0, 50]
[[policy.grant]]
who = "security"
action = "admin"
on = "*"
"#;

fn can_i(args: &[&str], file: &Path) -> Output {
    let home = file.parent().expect("a file is in a folder");
    let file = file.display().to_string();
    let mut all = vec!["can-i"];
    all.extend(args);
    all.extend(["--plant", file.as_str()]);
    run_to_end(home, &all)
}

#[test]
fn can_i_says_yes_or_no_with_the_rule_and_its_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("lamp.toml");
    fs::write(&file, PLANT).expect("a plant file");
    let line = PLANT.lines().position(|l| l == "[[policy.grant]]").expect("there is one") + 1;
    let yes = can_i(&["engineer", "write", "lamp1.power", "--value", "40"], &file);
    assert_eq!(yes.status.code(), Some(0), "{}", stderr(&yes));
    assert!(stdout(&yes).contains(&format!("lamp.toml:{line} (")), "{}", stdout(&yes));
    let no = can_i(&["engineer", "write", "lamp1.power", "--value", "60", "--json"], &file);
    assert_eq!(no.status.code(), Some(77));
    let answer: serde_json::Value = serde_json::from_str(&stdout(&no)).expect("JSON");
    assert_eq!((&answer["allowed"], &answer["rule"]["line"]), (&false.into(), &line.into()));
    assert_eq!(can_i(&["viewer", "read", "lamp1"], &file).status.code(), Some(77));
    assert_eq!(can_i(&["nobody", "read", "lamp1"], &file).status.code(), Some(64));
}

#[test]
fn a_reloaded_policy_holds_at_once_and_a_file_with_errors_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("lamp.toml");
    fs::write(&file, PLANT).expect("a plant file");
    let plant = Plant::run(&file, &[]);
    plant.wait_twin("lamp1", "shadow its device", is_shadowed);
    let write = || plant.call(&["command", "lamp1.power=60"]);
    let refused = write();
    assert_eq!(refused.status.code(), Some(77));
    assert!(stderr(&refused).contains("allows only 0 to 50, not 60"), "{}", stderr(&refused));

    fs::write(&file, PLANT.replace("range = [0, 50]", "range = [0, 60")).expect("a plant file");
    let bad = plant.call(&["policy", "reload"]);
    assert_eq!(bad.status.code(), Some(78), "{}", stderr(&bad));
    assert_eq!(write().status.code(), Some(77));

    let wider = PLANT.replace("range = [0, 50]", "range = [0, 60]").replace("200ms", "300ms");
    fs::write(&file, wider).expect("a plant file");
    let taken = plant.call(&["policy", "reload"]);
    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
    assert!(stdout(&taken).contains("not taken: device lamp1 (changed)"), "{}", stdout(&taken));
    let done = write();
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
}

/// A file of this content that its owner alone may read.
fn private(path: &Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("a temporary folder can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path.display().to_string()
}

#[test]
fn five_wrong_passphrases_lock_their_asker_out_and_tell_nothing_of_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = private(&folder.path().join("good.txt"), "three blind herons wade");
    let bad = private(&folder.path().join("bad.txt"), "three blind herons fly");
    let hash = run_to_end(folder.path(), &["policy", "passphrase", "--file", &good]);
    assert_eq!(hash.status.code(), Some(0), "{}", stderr(&hash));
    // As it stands in a plant file.
    let line = stdout(&hash);
    let user = |name: &str| format!("[policy.user.{name}]\nrole = \"engineer\"\n{line}");
    let (alice, bob) = (user("alice"), user("bob"));
    let file = folder.path().join("lamp.toml");
    let look = "[[policy.grant]]\nwho = \"viewer\"\naction = \"read\"\non = \"*\"\n";
    fs::write(&file, format!("{PLANT}{look}{alice}{bob}")).expect("a plant file");
    let plant = Plant::run(&file, &[]);
    plant.wait_twin("lamp1", "shadow its device", is_shadowed);
    let write = |name: &str, passphrase: &str| {
        plant.call(&["command", "lamp1.power=40", "--as", name, "--as-passphrase-file", passphrase])
    };
    let done = write("alice", &good);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));

    let stranger = stderr(&write("mallory", &good));
    for _ in 0..4 {
        let wrong = write("alice", &bad);
        assert_eq!(wrong.status.code(), Some(77), "{}", stderr(&wrong));
        assert_eq!(stderr(&wrong), stranger.replace("mallory", "alice"));
    }
    // Whoever guesses is told the same of every name from here on.
    for name in ["alice", "bob", "mallory"] {
        let locked = write(name, &good);
        assert_eq!(locked.status.code(), Some(77), "{}", stderr(&locked));
        assert!(stderr(&locked).contains("try again in "), "{}", stderr(&locked));
    }
    let data = plant.data.display().to_string();
    wait_until("five wrong passphrases and the lock-out on record", || {
        let said = stdout(&run_to_end(folder.path(), &["audit", "show", &data]));
        said.matches("wrong passphrase").count() == 5 + 3
    });
}

/// One way of its own, which falls silent, and one through a gateway in another zone.
const ZONES: &str = r#"
[plant]
name = "zones-e2e"
period = "200ms"
[zone.field]
[zone.control]
[type.lamp.property.power]
unit = "W"
range = [0, 100]
[device.lamp1]
type = "lamp"
zone = "field"
paths = ["mqtt", "coap"]
[device.lamp1.coap]
via = "control"
[[scenario]]
at = "20s"
fault = { on = "lamp1", path = "mqtt", kind = "silent", for = "1h" }
"#;
const CONDUIT: &str = "[[conduit]]\nfrom = \"field\"\nto = \"control\"\nprotocols = [\"coap\"]\n";

#[test]
fn no_reroute_crosses_zones_without_a_conduit_and_each_reload_holds_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("zones.toml");
    let with = format!("{ZONES}{CONDUIT}");
    fs::write(&file, &with).expect("a plant file");
    let plant = Plant::run(&file, &[]);
    plant.wait_twin("lamp1", "shadowed over its own way", |t| {
        is_shadowed(t) && t["path"]["protocol"] == "mqtt"
    });
    let tap = plant.follow("lamp1");
    let reload = |text: &str| {
        fs::write(&file, text).expect("a plant file");
        let taken = plant.call(&["policy", "reload"]);
        assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
    };
    // The way that runs stays as it is; what it may cross is taken from it.
    let without = ZONES.replace("via = \"control\"\n", "");
    reload(&without);
    let down = plant.wait_twin("lamp1", "down rather than rerouted", |t| t["state"] == "down");
    let why = down["reason"].as_str().unwrap_or_default();
    assert!(why.contains("no conduit"), "{down}");
    let crossed = |line: &String| line.contains("\"protocol\":\"coap\"");
    assert!(!tap.lines().iter().any(crossed), "nothing crossed");

    reload(&with);
    plant.wait_twin("lamp1", "rerouted through the conduit", |t| {
        is_shadowed(t) && t["path"]["protocol"] == "coap"
    });
    reload(&without);
    plant.wait_twin("lamp1", "down again without it", |t| t["state"] == "down");
    // A file that says both, the way and that nothing may go it, is refused.
    fs::write(&file, ZONES).expect("a plant file");
    let refused = plant.call(&["policy", "reload"]);
    assert_eq!(refused.status.code(), Some(78), "{}", stderr(&refused));
}
