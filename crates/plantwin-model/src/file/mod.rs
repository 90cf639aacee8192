//! Reads plant and twin files: text in, a checked plant *and* every problem out.
//!
//! The format is described in `docs/plant-format.md`. One pass finds all problems: syntax errors
//! do not hide wrong names, and one wrong name does not hide the next. Absent: input and output
//! (texts are handed in, types through [`TypeSource`]), and the equations, which stay text with
//! their place in the file until the physics layer compiles them.
//!
//! ```
//! use plantwin_model::file::{Catalog, ReadOptions, read_plant};
//!
//! let text = "[plant]\nname = \"p\"\n[zone.hall]\ntitel = \"Hall\"\n";
//! let checked = read_plant("p.toml", text, &Catalog::default(), &ReadOptions::default());
//! assert!(checked.plant.is_none());
//! assert_eq!(
//!     checked.diagnostics[1].to_string(),
//!     "p.toml:4:1: unknown key `titel` in [zone.hall] (did you mean `title`?)"
//! );
//! ```

mod address;
mod conduit;
mod device;
mod flow;
mod item;
mod model;
mod northbound;
mod parse;
mod path;
mod plant;
mod policy;
mod property;
mod quantity;
mod report;
mod scenario;
mod snippet;
mod sources;
mod starter;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod twin;
mod types;
mod upkeep;
mod variant;
mod zone;

use std::{sync::Arc, time::Duration};

pub use sources::Sources;
pub use starter::{StarterError, starter_plant};

use crate::{DeviceId, Diagnostic, PlantSpec, ProtocolSchema, Severity, TwinType};

/// Longest file that is read, in bytes.
pub const FILE_LIMIT: usize = 4 << 20;

/// Most devices in one plant.
pub const DEVICE_LIMIT: usize = 100_000;

/// Most problems that are listed; the last one then says how many more there are.
pub const DIAGNOSTIC_LIMIT: usize = 200;

/// What a file may refer to beyond itself.
#[derive(Clone, Copy)]
pub struct Catalog<'a> {
    /// The protocols that this program speaks.
    pub protocols: &'a [&'static ProtocolSchema],
    /// The twin types beyond those in the plant file itself.
    pub types: &'a dyn TypeSource,
    /// Names of the energy profiles; an empty list accepts every name.
    pub energy_profiles: &'a [&'a str],
}

impl Default for Catalog<'_> {
    /// Knows no protocols and no types, accepts every energy profile.
    fn default() -> Self {
        Self { protocols: &[], types: &NoTypes, energy_profiles: &[] }
    }
}

/// Where the texts of twin types come from.
pub trait TypeSource {
    /// File name (for messages) and text of the twin file that describes type `name`.
    fn load(&self, name: &str) -> Option<(Arc<str>, Arc<str>)>;

    /// Names of all types, for suggestions.
    fn names(&self) -> Vec<String>;
}

/// A [`TypeSource`] without any type.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTypes;

impl TypeSource for NoTypes {
    fn load(&self, _: &str) -> Option<(Arc<str>, Arc<str>)> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What the caller overrides in the file.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Variant to apply instead of the one that `[plant]` names.
    pub variant: Option<String>,
    /// Which devices are simulated.
    pub simulate: Simulate,
    /// Step of the coupled simulation instead of the one that `[plant]` names.
    pub step: Option<Duration>,
}

/// Which devices are simulated, whatever their `mode` says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Simulate {
    /// As each device's `mode` says.
    #[default]
    AsWritten,
    /// All of them.
    All,
    /// None: all are physical.
    None,
    /// Exactly these; all others are physical.
    Only(Vec<DeviceId>),
}

/// A plant file, read.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The plant; `None` exactly if `diagnostics` holds an error.
    pub plant: Option<PlantSpec>,
    /// The types whose points and model were read without an error, by name. They are here even
    /// if the plant is not, so that the physics layer can check their equations all the same.
    pub types: Vec<Arc<TwinType>>,
    /// All problems, by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that were read, to place further problems in.
    pub sources: Sources,
}

impl Checked {
    /// The plant, or all that is wrong with its file.
    pub fn into_plant(self) -> Result<PlantSpec, Vec<Diagnostic>> {
        self.plant.ok_or(self.diagnostics)
    }
}

/// A twin file, read.
#[derive(Clone, Debug)]
pub struct CheckedType {
    /// The type; `None` exactly if `diagnostics` holds an error.
    pub kind: Option<Arc<TwinType>>,
    /// All problems, by place.
    pub diagnostics: Vec<Diagnostic>,
    /// The text that was read.
    pub sources: Sources,
}

/// Reads a plant file. `file` is only used in messages.
pub fn read_plant(file: &str, text: &str, catalog: &Catalog, options: &ReadOptions) -> Checked {
    let report = report::Report::default();
    let mut types = types::Types::new(catalog);
    let plant = parse::with_file(&report, file.into(), text.into(), |scope, root| {
        plant::read(scope, root, catalog, options, &mut types)
    });
    let (diagnostics, sources) = report.finish();
    let plant = plant.flatten().filter(|_| !has_errors(&diagnostics));
    Checked { plant, types: types.sound(), diagnostics, sources }
}

/// Reads one twin file alone. `file` is only used in messages.
pub fn read_type(file: &str, text: &str, catalog: &Catalog) -> CheckedType {
    let report = report::Report::default();
    let read = parse::with_file(&report, file.into(), text.into(), |scope, root| {
        twin::read(scope, root, None, catalog)
    });
    let (diagnostics, sources) = report.finish();
    let kind = read.flatten().filter(|_| !has_errors(&diagnostics)).map(|t| t.kind);
    CheckedType { kind, diagnostics, sources }
}

fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}
