//! The physics of twins: equations become bytecode, bytecode becomes motion.
//!
//! One model, several jobs: a [`Predictor`] foresees one device for its twin, a [`PlantSim`]
//! plays all simulated devices of a plant together, and a [`Sensor`] turns the truth into what a
//! device measures, faults included. [`check`] finds what is wrong with a plant's equations
//! before any of them runs: names, dimensions, loops without state, steps that are too large.
//!
//! Everything is computed in SI base units and converted at the edge. Nothing here panics on
//! foreign text, and no `NaN` stays: a state whose next value would not be finite keeps its old
//! one and says so. Absent: files (see [`plantwin_model::file`]), clocks, threads, actors.
//!
//! ```
//! use plantwin_model::file::{Catalog, ReadOptions, read_plant};
//! use plantwin_physics::{PlantSim, check};
//!
//! let text = r#"
//! [plant]
//! name = "decay"
//! [type.cup.property.heat]
//! unit = "K"
//! range = [0, 500]
//! start = 100
//! [type.cup.model]
//! step = "100ms"
//! param = { rate = "0.5 1/s" }
//! der = { heat = "-rate * heat" }
//! [zone.field]
//! [device.cup1]
//! type = "cup"
//! zone = "field"
//! mode = "simulated"
//! "#;
//! let read = read_plant("decay.toml", text, &Catalog::default(), &ReadOptions::default());
//! let plant = read.plant.unwrap_or_else(|| panic!("{:?}", read.diagnostics));
//! assert_eq!(check(&plant), []);
//! let mut sim = PlantSim::new(&plant).unwrap();
//! for _ in 0..20 {
//!     sim.step();
//! }
//! let mut points = Vec::new();
//! sim.points(plant.devices[0].ix, &mut points);
//! assert!((points[0] - 100.0 * (-1.0_f64).exp()).abs() < 1e-4);
//! ```

mod check;
mod expr;
mod fault;
mod model;
mod plant;
mod predictor;
mod problem;
mod random;
mod solver;
#[cfg(test)]
mod testing;

pub use check::{check, check_type};
pub use fault::{FAULT_LIMIT, Sensor};
pub use model::{Model, compile};
pub use plant::PlantSim;
pub use predictor::{Predictor, SUBSTEP_LIMIT};
pub use problem::Problem;

/// Parses `text` as one equation, to the first problem: for fuzzing and editors.
///
/// Names are not resolved and dimensions not checked: that takes a [`plantwin_model::TwinType`].
pub fn parse_equation(text: &str) -> Result<(), Problem> {
    let parsed = expr::parse(text).map(drop);
    parsed.map_err(|c| c.at(&"equation".into(), plantwin_model::Span::from(0..text.len())))
}
