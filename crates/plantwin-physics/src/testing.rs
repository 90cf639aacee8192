//! What the tests of this crate share: the real plants and types, and texts as plants.

use std::{path::PathBuf, sync::Arc};

use plantwin_model::{
    PlantSpec, ProtocolSchema, TwinType,
    file::{Catalog, ReadOptions, TypeSource, read_plant, read_type},
};

/// Protocols as far as the plants here use them: by name alone.
const PROTOCOLS: &[&ProtocolSchema] =
    &[&ProtocolSchema::bare("mqtt"), &ProtocolSchema::bare("coap"), &ProtocolSchema::bare("opcua")];

/// The types of `twins/`, with texts replaced.
struct Twins<'r>(&'r [(&'r str, &'r str)]);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn replaced(text: &str, replace: &[(&str, &str)]) -> String {
    replace.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

impl TypeSource for Twins<'_> {
    fn load(&self, name: &str) -> Option<(Arc<str>, Arc<str>)> {
        let text = std::fs::read_to_string(root().join(format!("twins/{name}.toml"))).ok()?;
        Some((format!("twins/{name}.toml").into(), replaced(&text, self.0).into()))
    }

    fn names(&self) -> Vec<String> {
        twin_names()
    }
}

fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter_map(|n| n.strip_suffix(".toml").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Names of all files in `twins/`.
pub(crate) fn twin_names() -> Vec<String> {
    names("twins")
}

/// Names of all files in `plants/`.
pub(crate) fn plant_names() -> Vec<String> {
    names("plants")
}

/// Text of a file below the repository.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The plant `plants/{name}.toml`, with texts replaced in it and in its types.
pub(crate) fn plant(name: &str, variant: Option<&str>, replace: &[(&str, &str)]) -> PlantSpec {
    read_text(&text(&format!("plants/{name}.toml")), variant, replace)
}

/// A plant from text; types come from it and from `twins/`.
pub(crate) fn plant_text(text: &str) -> PlantSpec {
    read_text(text, None, &[])
}

/// A plant from text, with texts replaced in it and in its types.
pub(crate) fn read_text(text: &str, variant: Option<&str>, replace: &[(&str, &str)]) -> PlantSpec {
    let twins = Twins(replace);
    let catalog = Catalog { protocols: PROTOCOLS, types: &twins, energy_profiles: &[] };
    let options = ReadOptions { variant: variant.map(str::to_owned), ..ReadOptions::default() };
    let checked = read_plant("plant.toml", &replaced(text, replace), &catalog, &options);
    let problems: Vec<_> = checked.diagnostics.iter().map(ToString::to_string).collect();
    checked.plant.unwrap_or_else(|| panic!("{}", problems.join("\n")))
}

/// Everything that reading `plants/{name}.toml` complains of.
pub(crate) fn complaints(name: &str) -> Vec<String> {
    let catalog = Catalog { protocols: PROTOCOLS, types: &Twins(&[]), energy_profiles: &[] };
    let text = text(&format!("plants/{name}.toml"));
    let checked = read_plant(name, &text, &catalog, &ReadOptions::default());
    checked.diagnostics.iter().map(ToString::to_string).collect()
}

/// A type from text.
pub(crate) fn kind(text: &str) -> Arc<TwinType> {
    let checked = read_type("twin.toml", text, &Catalog::default());
    let problems: Vec<_> = checked.diagnostics.iter().map(ToString::to_string).collect();
    checked.kind.unwrap_or_else(|| panic!("{}\nin\n{text}", problems.join("\n")))
}

/// A plant of one device `d` of `kind`, a text without `[twin]`, with the plant step `step`.
pub(crate) fn one(kind: &str, step: &str) -> PlantSpec {
    let tables = kind.replace("\n[", "\n[type.k.");
    plant_text(&format!(
        "[plant]\nname = \"p\"\nstep = \"{step}\"\n[zone.z]\n[device.d]\ntype = \"k\"\nzone = \"z\"\n[device.d.mqtt]\n{tables}"
    ))
}
