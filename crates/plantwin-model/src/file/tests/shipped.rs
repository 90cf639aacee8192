//! The types that come with plantwin, and the starter plant made of them.

use std::{fs, path::PathBuf, sync::Arc};

use super::{COAP, MQTT, OPCUA, lines};
use crate::file::{Catalog, ReadOptions, TypeSource, read_plant, read_type, starter_plant};

/// The folder `twins/` of the repository.
struct Shipped;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../twins")
}

impl TypeSource for Shipped {
    fn load(&self, name: &str) -> Option<(Arc<str>, Arc<str>)> {
        let text = fs::read_to_string(folder().join(format!("{name}.toml"))).ok()?;
        Some((format!("twins/{name}.toml").into(), text.into()))
    }

    fn names(&self) -> Vec<String> {
        let files = fs::read_dir(folder()).expect("the repository has a folder `twins`");
        let paths = files.map(|f| f.expect("its entries can be read").path());
        let mut names: Vec<String> = paths
            .filter(|p| p.extension().is_some_and(|e| e == "toml"))
            .filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }
}

const CATALOG: Catalog =
    Catalog { protocols: &[&MQTT, &COAP, &OPCUA], types: &Shipped, energy_profiles: &[] };

#[test]
fn every_shipped_type_is_read_without_a_word() {
    let names = Shipped.names();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let (file, text) = Shipped.load(&name).expect("it was just listed");
        let checked = read_type(&file, &text, &CATALOG);
        assert_eq!(lines(&checked.diagnostics), "");
        assert_eq!(checked.kind.expect("no diagnostics, so there is a type").name, name);
    }
}

#[test]
fn the_starter_plant_is_without_a_flaw_in_every_name() {
    for name in ["a", "my-plant", "NAME", &"x".repeat(64)] {
        let text = starter_plant(name).expect("a good name");
        let checked = read_plant("starter.toml", &text, &CATALOG, &ReadOptions::default());
        assert_eq!(lines(&checked.diagnostics), "");
        let plant = checked.plant.expect("no diagnostics, so there is a plant");
        assert_eq!(plant.name, name);
        let protocols: Vec<_> = plant.devices.iter().map(|d| d.paths[0].protocol).collect();
        assert_eq!(protocols, ["mqtt", "coap", "opcua"]);
    }
}
