//! The runtime: a plant description becomes a running tree of twins.
//!
//! [`RunningPlant::start`] starts the simulated field, a guarded twin and a *line* per device, a
//! station that keeps the [`plantwin_model::PlantView`], and a router for commands:
//!
//! ```text
//! device ~~wire~~ line ==sealed==> twin ==sealed==> station --> PlantView --> console
//!                   ^                |  \==sealed==> neighbouring twins
//! router ---------->+<---------------+
//! ```
//!
//! Absent: protocols (the registry brings them), screens, files.

mod colony;
mod error;
mod guardian;
mod line;
mod path;
mod plant;
mod router;
mod saver;
mod station;

pub use colony::{Colony, ColonyRequest, Settlement, TwinHandle};
pub use error::RuntimeError;
pub use guardian::{
    Decision, GuardEvent, GuardWatcher, RestartHistory, RestartPolicy, Seat, Ward, seat,
};
pub use path::PathChooser;
pub use plant::{RunRequest, RunningPlant};
pub use station::StationReport;
