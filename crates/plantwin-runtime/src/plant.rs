//! A running plant: field, colony and lines, started and stopped together.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, mpsc::sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use plantwin_adapter::{Registry, SystemClock};
use plantwin_authority::Authority;
use plantwin_field::{Field, FieldRequest};
use plantwin_model::{Clock, CommandSender, DeviceId, PathSpec, PlantSpec, PlantView, Role};
use plantwin_store::{SledStore, Store, Tree};
use plantwin_twin::Vital;
use tokio::sync::{oneshot, watch};

use crate::{
    RuntimeError,
    colony::{Colony, ColonyRequest},
    line::{Carrier, Line},
    router::{Desk, Entry, Router},
    saver::Saver,
};

/// Threads that carry embedded servers and simulated devices.
const FIELD_THREADS: usize = 2;
/// Longest wait for twins to save on a stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// Where twins are kept in the store.
pub(crate) const TWINS: Tree = Tree::new("twins");

/// What to run.
pub struct RunRequest {
    /// The plant.
    pub plant: PlantSpec,
    /// Protocols.
    pub registry: Registry,
    /// Where state survives; `None` keeps nothing.
    pub data: Option<PathBuf>,
    /// How fast plant time runs; 1 is real time.
    pub speed: f64,
}

/// A plant that runs. Stop it with [`Self::stop`]; dropping it stops it without saving.
pub struct RunningPlant {
    /// Its view.
    pub view: watch::Receiver<Arc<PlantView>>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Problems of the data directory that an operator must know of.
    pub warnings: Vec<String>,
    router: Arc<Router>,
    saver: Option<Arc<Saver>>,
    stop: Option<oneshot::Sender<()>>,
    system: Option<JoinHandle<()>>,
    field: Option<Field>,
    io: Option<tokio::runtime::Runtime>,
}

impl RunningPlant {
    /// Starts a plant; returns when its twins are seated and its servers listen.
    pub fn start(request: RunRequest) -> Result<Self, RuntimeError> {
        let plant = Arc::new(request.plant);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(request.speed));
        let mut warnings = Vec::new();
        let (saver, restored) = match &request.data {
            Some(dir) => {
                let (store, report) = SledStore::open(dir)?;
                if let Some(aside) = &report.set_aside {
                    let why = report.damage.as_deref().unwrap_or("it could not be opened");
                    warnings.push(format!(
                        "the saved state was damaged ({why}) and set aside as {}; the plant \
                         starts without it",
                        aside.display()
                    ));
                }
                if report.missing_batches > 0 {
                    let missing = report.missing_batches;
                    warnings.push(format!("{missing} batches of saved state are missing"));
                }
                let store: Arc<dyn Store> = Arc::new(store);
                let restored = restore(&plant, &*store, &mut warnings)?;
                (Some(Arc::new(Saver::start(store)?)), restored)
            }
            None => (None, HashMap::new()),
        };
        let authority =
            Arc::new(Authority::generate().map_err(|e| RuntimeError::Keys(e.to_string()))?);
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(FIELD_THREADS)
            .thread_name("field")
            .enable_all()
            .build()?;
        let field = io.block_on(Field::start(FieldRequest {
            plant: Arc::clone(&plant),
            registry: request.registry.clone(),
            clock: Arc::clone(&clock),
            authority: Arc::clone(&authority),
        }))?;
        let zones = plant.zones.len().max(1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let colony = ColonyRequest {
            plant: Arc::clone(&plant),
            clock: Arc::clone(&clock),
            verifier: Arc::new(authority.verifier("plantwin")),
            restored,
            endpoints: field.endpoints.clone(),
            arbiters: zones.min(cores),
            lines: true,
        };
        let (ready, started) = sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let parts = Parts {
            colony,
            saver: saver.clone(),
            steps: Arc::clone(&field.stats),
            paths: field.paths.clone(),
            registry: request.registry,
        };
        let system = std::thread::Builder::new().name("plantwin".to_owned()).spawn(move || {
            actix::System::new().block_on(async move {
                let (result, arbiters) = match parts.run() {
                    Ok((up, arbiters)) => (Ok(up), arbiters),
                    Err(error) => (Err(error), Vec::new()),
                };
                // If nobody waits any more, the stop below comes at once.
                let _ = ready.send(result);
                let _ = stopped.await;
                for arbiter in &arbiters {
                    arbiter.stop();
                }
                for arbiter in arbiters {
                    let _ = arbiter.join();
                }
            });
        })?;
        let up = started.recv().map_err(|_| RuntimeError::Ended)??;
        Ok(Self {
            view: up.view,
            clock,
            warnings,
            router: up.router,
            saver,
            stop: Some(stop),
            system: Some(system),
            field: Some(field),
            io: Some(io),
        })
    }

    /// A desk at which requests are made with this role.
    pub fn commands(&self, role: Role) -> Arc<dyn CommandSender> {
        Arc::new(Desk { router: Arc::clone(&self.router), role })
    }

    /// Drains and saves, then stops. Returns how many twins did not get to save in time.
    pub fn stop(mut self) -> usize {
        let (asked, outcomes) = self.router.drain();
        let mut missing = asked;
        let clock = Arc::clone(&self.clock);
        let deadline = clock.now().plus(DRAIN_WITHIN.mul_f64(clock.speed().max(1e-6)));
        while missing > 0 {
            let left = deadline.since(clock.now()).div_f64(clock.speed().max(1e-6));
            if left.is_zero() || outcomes.recv_timeout(left).is_err() {
                break;
            }
            missing -= 1;
        }
        self.end();
        missing
    }

    fn end(&mut self) {
        if let Some(saver) = self.saver.take() {
            saver.close();
        }
        // Lines first, so that twins do not see their devices die.
        drop(self.stop.take());
        if let Some(system) = self.system.take() {
            let _ = system.join();
        }
        drop(self.field.take());
        if let Some(io) = self.io.take() {
            io.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for RunningPlant {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the system's thread builds from.
struct Parts {
    colony: ColonyRequest,
    saver: Option<Arc<Saver>>,
    steps: Arc<plantwin_field::StepStats>,
    paths: Vec<Vec<PathSpec>>,
    registry: Registry,
}

/// What it gives back.
struct Up {
    view: watch::Receiver<Arc<PlantView>>,
    router: Arc<Router>,
}

impl Parts {
    fn run(self) -> Result<(Up, Vec<actix::Arbiter>), RuntimeError> {
        let plant = Arc::clone(&self.colony.plant);
        let clock = Arc::clone(&self.colony.clock);
        let colony = Colony::settle(self.colony, self.saver, Some(self.steps))?;
        let mut table = HashMap::with_capacity(plant.devices.len());
        for ((device, paths), twin) in plant.devices.iter().zip(self.paths).zip(colony.twins) {
            let Some((orders, orders_in)) = twin.orders else { continue };
            let line = Line {
                device: Arc::clone(device),
                points: device.kind.points.as_slice().into(),
                paths,
                registry: self.registry.clone(),
                clock: Arc::clone(&clock),
                orders: orders_in,
                carrier: Carrier {
                    mailbox: twin.mailbox,
                    sealer: twin.sealer,
                    clock: Arc::clone(&clock),
                },
                chance: plant.seed.wrapping_add(u64::from(device.ix.0)),
            };
            colony.arbiters[twin.settlement.arbiter].spawn(line.run());
            let ward = twin.ward;
            let revive = Box::new(move || ward.revive());
            table.insert(device.id.clone(), Entry { ix: device.ix, orders, revive });
        }
        let router = Arc::new(Router {
            spec: plant,
            table,
            outcomes: colony.outcomes,
            notes: colony.notes,
            clock,
        });
        Ok((Up { view: colony.view, router }, colony.arbiters))
    }
}

fn restore(
    plant: &PlantSpec,
    store: &dyn Store,
    warnings: &mut Vec<String>,
) -> Result<HashMap<DeviceId, Vital>, RuntimeError> {
    let mut restored = HashMap::new();
    for device in &plant.devices {
        let Some(bytes) = store.get(TWINS, device.id.as_str())? else { continue };
        match Vital::from_bytes(&bytes) {
            Some(vital) => {
                restored.insert(device.id.clone(), vital);
            }
            None => warnings.push(format!(
                "what {} had saved is of another version and was left out",
                device.id
            )),
        }
    }
    Ok(restored)
}
