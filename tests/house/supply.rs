//! What must not come into the tree from outside, read from the lock file, so that it holds where
//! cargo-deny is not installed as well.

use std::{fs, path::Path};

use toml::{Table, Value};

fn table(name: &str) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text<'a>(table: &'a Value, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Packages of the lock file.
fn locked() -> Vec<Value> {
    let lock = table("Cargo.lock");
    let packages = lock.get("package").and_then(Value::as_array).cloned().unwrap_or_default();
    assert!(packages.len() > 100, "only {} packages in Cargo.lock", packages.len());
    packages
}

/// Major and minor part of a version.
fn version(package: &Value) -> (u64, u64) {
    let mut parts = text(package, "version").split('.').map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[test]
fn there_is_one_tls_library_and_none_of_its_old_generations() {
    let none = ["openssl", "openssl-sys", "native-tls", "rustls-pemfile", "webpki"];
    let mut seen = false;
    for package in locked() {
        let (name, version) = (text(&package, "name"), version(&package));
        assert!(!none.contains(&name), "{name} is in Cargo.lock: `cargo tree -i {name}` says why");
        let least = match name {
            "rustls" => (0, 23),
            "rustls-webpki" => (0, 103),
            _ => continue,
        };
        seen = true;
        assert!(version >= least, "{name} {version:?} is in Cargo.lock, {least:?} is the oldest");
    }
    assert!(seen, "no rustls at all: this test looks at the wrong file");
}

#[test]
fn nothing_but_opc_ua_brings_rsa() {
    let brings = |package: &Value, what: &str| {
        let named = package.get("dependencies").and_then(Value::as_array);
        // A name, followed by a version where there are several.
        let names = |d: &Value| d.as_str().and_then(|d| d.split(' ').next()) == Some(what);
        named.is_some_and(|d| d.iter().any(names))
    };
    for package in locked() {
        let name = text(&package, "name");
        let may = name.starts_with("async-opcua");
        assert!(may || !brings(&package, "rsa"), "{name} brings rsa (RUSTSEC-2023-0071)");
    }
}

#[test]
fn every_excepted_advisory_has_its_reason_and_a_day_to_look_at_it_again() {
    let rules = table("deny.toml");
    let excepted = rules["advisories"]["ignore"].as_array().expect("a list of exceptions");
    for exception in excepted {
        let (id, reason) = (text(exception, "id"), text(exception, "reason"));
        assert!(
            id.starts_with("RUSTSEC-"),
            "an exception without the advisory's name: {exception}"
        );
        let (days, why) = reason.split_once(": ").unwrap_or((reason, ""));
        let (made, again) = days.split_once(", again by ").unwrap_or((days, ""));
        let day = |d: &str| d.len() == 10 && d.bytes().filter(|b| *b == b'-').count() == 2;
        assert!(day(made) && day(again) && made < again, "{id}: `{days}` are not two days");
        assert!(why.len() > 40, "{id}: `{why}` is not a reason");
    }
}
