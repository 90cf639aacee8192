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
//! Give it a checked plant and the protocols it may speak, and watch:
//!
//! ```
//! use plantwin_adapter::Registry;
//! use plantwin_model::{
//!     Request, Role, TwinState,
//!     file::{Catalog, ReadOptions, read_plant},
//! };
//! use plantwin_runtime::{AuthorityAt, KeySource, RunRequest, RunningPlant};
//!
//! let text = r#"
//! [plant]
//! name = "kettle"
//! period = "100ms"
//! [zone.kitchen]
//! [type.kettle.twin]
//! type = "kettle"
//! [type.kettle.property.temperature]
//! unit = "Cel"
//! range = [0, 110]
//! start = 20
//! [type.kettle.property.power]
//! unit = "W"
//! range = [0, 3000]
//! access = "rw"
//! [type.kettle.model]
//! step = "50ms"
//! param.capacity = "4 kJ/K"
//! der.temperature = "power / capacity"
//! [device.kettle1]
//! type = "kettle"
//! zone = "kitchen"
//! [device.kettle1.mqtt]
//! "#;
//! // One line for each protocol. The simulated kettle will speak MQTT over an embedded broker.
//! let registry = Registry::new().with(plantwin_mqtt::Mqtt);
//! let schemas = registry.schemas();
//! let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
//! let checked = read_plant("kettle.toml", text, &catalog, &ReadOptions::default());
//! let plant = checked.plant.ok_or("the plant has errors")?;
//!
//! let (data, key, authority) = (None, KeySource::Plain, AuthorityAt::Here);
//! let request = RunRequest { plant, registry, data, key, speed: 1.0, authority };
//! let running = RunningPlant::start(request)?;
//! let shadowed = || running.view.borrow().twins.iter().all(|t| t.state == TwinState::Shadowed);
//! while !shadowed() {
//!     std::thread::yield_now();
//! }
//! // A command goes over the wire, and its outcome comes back.
//! let request = Request::Write { device: "kettle1".into(), point: "power".into(), value: 2000.0 };
//! let outcome = running.commands(Role::Operator).send(request).recv()?;
//! assert_eq!(outcome, plantwin_model::Outcome::Done);
//! running.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Absent: protocols (the registry brings them), screens, files.

mod assembly;
mod colony;
mod commands;
mod error;
mod guardian;
mod history;
mod keeper;
mod key_watch;
mod line;
mod northbound;
mod origin;
mod path;
mod plant;
mod router;
mod station;
mod trust;

pub use assembly::{Assembly, AssemblyRequest, Place, Restored, assemble};
pub use colony::{Colony, ColonyRequest, Settlement, TwinHandle};
pub use error::RuntimeError;
pub use guardian::{
    Child, Decision, GuardEvent, GuardWatcher, Guardian, RestartHistory, RestartPolicy, Seat,
    Supervisor, TreeState, Verdict, Ward, seat,
};
pub use path::{BreakerState, PathChooser};
pub use plant::{RunRequest, RunningPlant, Stopped};
pub use plantwin_store::KeySource;
pub use router::{Deed, FrontDesk, NotTaken, Reloaded};
pub use station::StationReport;
pub use trust::{AuthorityAt, Trust};
