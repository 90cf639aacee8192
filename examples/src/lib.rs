//! What the examples share: reading a plant file whose types it carries itself.
//!
//! Absent: the examples, which are `own_device.rs`, `native_device.rs` and `embed.rs` beside this
//! folder.

use anyhow::{Result, bail};
use plantwin_adapter::Registry;
use plantwin_energy::Profile;
use plantwin_model::{
    PlantSpec, Severity,
    file::{Catalog, NoTypes, ReadOptions, read_plant},
};

/// Reads the plant in `text`; `registry` says which protocols it may name.
pub fn plant(file: &str, text: &str, registry: &Registry) -> Result<PlantSpec> {
    let schemas = registry.schemas();
    let profiles: Vec<&str> = Profile::names().collect();
    let catalog = Catalog { protocols: &schemas, types: &NoTypes, energy_profiles: &profiles };
    let checked = read_plant(file, text, &catalog, &ReadOptions::default());
    for d in &checked.diagnostics {
        let kind = if d.severity == Severity::Error { "error" } else { "warning" };
        eprintln!("{}:{}:{}: {kind}: {}", d.file, d.line, d.column, d.message);
    }
    let Some(plant) = checked.plant else { bail!("{file} has errors") };
    Ok(plant)
}
