//! A crate depends only on rows below its own, and only its owner names a foreign crate.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// The rows of the house, from ARCHITECTURE.md.
const ROWS: &[(u8, &[&str])] = &[
    (0, &["plantwin-model"]),
    (1, &["plantwin-seal", "plantwin-physics"]),
    (2, &["plantwin-store", "plantwin-watch", "plantwin-energy"]),
    (3, &["plantwin-adapter", "plantwin-authority"]),
    (4, &["plantwin-mqtt", "plantwin-coap", "plantwin-opcua", "plantwin-modbus", "plantwin-tui"]),
    (5, &["plantwin-twin", "plantwin-field"]),
    (6, &["plantwin-runtime"]),
    (7, &["plantwin", "plantwin-simulate"]),
    // Beside the house: developer commands, tests, examples.
    (8, &["xtask", "plantwin-tests", "plantwin-examples"]),
];

/// Foreign crates that one crate alone may name.
const OWNERS: &[(&str, &[&str])] = &[
    ("sled", &["plantwin-store"]),
    ("ring", &["plantwin-seal"]),
    ("base64", &["plantwin-seal"]),
    ("blake3", &["plantwin-seal"]),
    ("chacha20poly1305", &["plantwin-seal"]),
    ("argon2", &["plantwin-seal"]),
    ("linux-keyutils", &["plantwin-store"]),
    ("rpassword", &["plantwin"]),
    ("ed25519-dalek", &["plantwin-seal"]),
    ("snow", &["plantwin-seal"]),
    ("x25519-dalek", &["plantwin-seal"]),
    ("ratatui", &["plantwin-tui"]),
    ("crossterm", &["plantwin-tui"]),
    ("rumqttc", &["plantwin-mqtt"]),
    ("mqtt5", &["plantwin-mqtt"]),
    ("tokio-rustls", &["plantwin-mqtt"]),
    ("coap-lite", &["plantwin-coap"]),
    ("dimpl", &["plantwin-coap"]),
    ("async-opcua", &["plantwin-opcua"]),
    ("tokio-modbus", &["plantwin-modbus"]),
    ("actix", &["plantwin-twin", "plantwin-runtime", "plantwin-simulate"]),
    ("anyhow", &["plantwin", "xtask", "plantwin-examples"]),
    ("clap", &["plantwin", "plantwin-simulate", "xtask"]),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata")
}

#[test]
fn every_crate_depends_only_on_rows_below_its_own() {
    let rows: BTreeMap<&str, u8> =
        ROWS.iter().flat_map(|(row, names)| names.iter().map(move |n| (*n, *row))).collect();
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        let Some(row) = rows.get(name) else {
            wrong.push(format!("{name} has no row: give it one here and in ARCHITECTURE.md"));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            if let Some(other) = rows.get(dependency.name.as_str())
                && other >= row
            {
                let other_name = &dependency.name;
                wrong.push(format!("{name} (row {row}) depends on {other_name} (row {other})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_its_owner_names_a_foreign_crate() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        for dependency in &package.dependencies {
            if let Some((foreign, owners)) = OWNERS.iter().find(|(f, _)| *f == dependency.name)
                && !owners.contains(&name)
                && dependency.kind != DependencyKind::Development
            {
                wrong.push(format!("{name} names {foreign}, which belongs to {owners:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_folder_is_named_as_its_package() {
    for package in metadata().workspace_packages() {
        let folder = package.manifest_path.parent().and_then(|p| p.file_name()).unwrap_or("");
        let name = package.name.as_str();
        let short = name.strip_prefix("plantwin-").unwrap_or(name);
        assert!(folder == name || folder == short, "{name} lies in {folder}");
    }
}

#[test]
fn adapters_and_the_console_never_see_keys_or_the_runtime() {
    let blind = [
        "plantwin-adapter",
        "plantwin-mqtt",
        "plantwin-coap",
        "plantwin-opcua",
        "plantwin-modbus",
        "plantwin-tui",
    ];
    let hidden =
        ["plantwin-seal", "plantwin-authority", "plantwin-twin", "plantwin-runtime", "actix"];
    for package in metadata().workspace_packages() {
        if !blind.contains(&package.name.as_str()) {
            continue;
        }
        let mut needed =
            package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        let seen = needed.find(|d| hidden.contains(&d.name.as_str()));
        assert!(seen.is_none(), "{} depends on {}", package.name, seen.map_or("", |d| &d.name));
    }
}
