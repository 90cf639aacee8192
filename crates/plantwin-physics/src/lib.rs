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
//! use plantwin_model::file::{Catalog, read_type};
//! use plantwin_physics::{check_type, compile};
//!
//! let text = r#"
//! [twin]
//! type = "cup"
//! [property.heat]
//! unit = "K"
//! range = [0, 500]
//! start = 100
//! [model]
//! step = "100ms"
//! param = { rate = "0.5 1/s" }
//! der = { heat = "-rate * haet" }
//! "#;
//! let read = |text: &str| read_type("cup.toml", text, &Catalog::default()).kind.unwrap();
//! assert_eq!(
//!     check_type(&read(text))[0].to_string(),
//!     "cup.toml: unknown name `haet` (did you mean `heat`?)"
//! );
//! let cup = read(&text.replace("haet", "heat"));
//! assert_eq!(check_type(&cup), []);
//! let model = compile(&cup).unwrap().unwrap();
//! assert!(model.is_state(cup.point("heat").unwrap()));
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
