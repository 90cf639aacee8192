//! A plant put together: store, keeper, twins, lines, desks.
//!
//! The same for a plant that runs and for one that is rehearsed: a simulation puts everything on
//! the arbiter it stands on, under its own clock, over its own store and protocols. Absent:
//! threads, the simulated field, opening a store on disk (`plant`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, atomic::AtomicU64, mpsc::Receiver},
};

use actix::Arbiter;
use plantwin_adapter::{ForwardContext, Registry};
use plantwin_authority::policy::{PolicyDesk, Principal};
use plantwin_field::StepStats;
use plantwin_model::{
    AlarmView, Clock, CommandSender, Delivery, DeviceId, Identity, NorthboundView, Outcome,
    PathSpec, PlantSpec, PlantView, Role, SettingValue, Timestamp,
};
use plantwin_seal::{Secret, derive_key};
use plantwin_store::{Spool, SpoolLimits, Store, StoreError, StoreExt as _, Tree};
use plantwin_twin::{Drill, Recorded, SetAside, Vital};
use tokio::sync::watch;

use crate::{
    RuntimeError,
    colony::{Colony, ColonyRequest},
    commands::{CommandDesk, CommandStep, Gate},
    history::History,
    keeper::{Keeper, KeeperPlace},
    line::{Carrier, Line, keep_line},
    northbound::{NorthboundStatus, Way, forward},
    router::{Entry, FrontDesk, Permits, Router},
    station::StationNote,
    trust::Trust,
};

/// Where twins are kept in the store.
pub(crate) const TWINS: Tree = Tree::new("twins");
/// Where the newest recorded frame of each device of durable delivery is kept.
pub(crate) const RECORDED: Tree = Tree::new("recorded");
/// Where letters set aside are kept.
pub(crate) const LETTERS: Tree = Tree::new("letters");
/// Where a plant's actors live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On this many threads of their own, at least one.
    Threads(usize),
    /// On the arbiter of the caller, and the store's work with them: for simulations.
    Here,
}

/// What to put together.
pub struct AssemblyRequest {
    /// The plant.
    pub plant: Arc<PlantSpec>,
    /// Protocols.
    pub registry: Registry,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Where state survives; `None` keeps nothing.
    pub store: Option<Arc<dyn Store>>,
    /// Seals what the store keeps of letters; the same in every run over one store.
    pub rest_key: Secret,
    /// What the operator must know of the store: shown as alarms.
    pub store_findings: Vec<String>,
    /// Who judges what devices prove, and where things are accounted for.
    pub trust: Trust,
    /// Paths of each device, addresses resolved, in the order of the plant.
    pub paths: Vec<Vec<PathSpec>>,
    /// Servers that were started, for the view.
    pub endpoints: Vec<(String, String)>,
    /// Where the actors live.
    pub place: Place,
    /// Of a simulation: whether its disk hangs now.
    pub disk_hangs: Option<watch::Receiver<bool>>,
    /// Rehearses crashes.
    pub drill: Option<Arc<dyn Drill>>,
    /// Steps of the simulated field, for the counters.
    pub steps: Option<Arc<StepStats>>,
}

/// A plant that was put together.
pub struct Assembly {
    /// Its view.
    pub view: watch::Receiver<Arc<PlantView>>,
    /// Threads of its own; to be stopped by the owner.
    pub arbiters: Vec<Arbiter>,
    /// What could not be taken up from earlier runs.
    pub warnings: Vec<String>,
    router: Arc<Router>,
    keeper: Option<Arc<Keeper>>,
}

impl Assembly {
    /// A desk at which the owner of the plant makes requests in this role.
    pub fn commands(&self, role: Role) -> Arc<dyn CommandSender> {
        self.front_desk().desk(Principal::owner(role))
    }

    /// Where desks for principals are given out and the policy is swapped.
    pub fn front_desk(&self) -> FrontDesk {
        FrontDesk::new(Arc::clone(&self.router))
    }

    /// Has every twin save what must survive: how many were asked, and where each answers.
    pub fn drain(&self) -> (usize, Receiver<Outcome>) {
        self.router.drain()
    }

    /// Writes what waits for the disk. What comes later is not kept.
    pub fn close(&self) {
        if let Some(keeper) = &self.keeper
            && let Err(error) = keeper.close()
        {
            tracing::error!("failed to {error}");
        }
    }

    /// The parts that outlive the thread which put them together.
    pub(crate) fn into_parts(self) -> (Handles, Vec<Arbiter>) {
        let Self { view, arbiters, warnings, router, keeper } = self;
        (Handles { view, warnings, router, keeper }, arbiters)
    }
}

/// What may leave the thread of the actix system.
pub(crate) struct Handles {
    pub(crate) view: watch::Receiver<Arc<PlantView>>,
    pub(crate) warnings: Vec<String>,
    pub(crate) router: Arc<Router>,
    pub(crate) keeper: Option<Arc<Keeper>>,
}

/// What earlier runs left.
#[derive(Default)]
pub struct Restored {
    /// State of twins.
    pub vitals: HashMap<DeviceId, Vital>,
    /// Alarms as they were last told.
    pub alarms: HashMap<DeviceId, Vec<AlarmView>>,
    /// Letters set aside.
    pub letters: HashMap<DeviceId, Vec<SetAside>>,
    /// Of devices of durable delivery, which frames are on record.
    pub recorded: BTreeMap<DeviceId, Recorded>,
}

/// Puts a plant together. Must be called within an actix system.
pub fn assemble(request: AssemblyRequest) -> Result<Assembly, RuntimeError> {
    let AssemblyRequest { plant, clock, .. } = &request;
    let (plant, clock) = (Arc::clone(plant), Arc::clone(clock));
    let policy = PolicyDesk::new(Arc::clone(&plant));
    let trust = request.trust;
    let mut warnings = Vec::new();
    let mut memory = Memory::default();
    let mut keeper = None;
    if let Some(store) = &request.store {
        memory = Memory::read(&plant, &**store, clock.now(), &mut warnings)?;
        let spool = Spool::open(Arc::clone(store), limits(&plant))?;
        let place = match request.place {
            Place::Threads(_) => KeeperPlace::Thread,
            Place::Here => KeeperPlace::Here(request.disk_hangs),
        };
        let spec = plant.spool.clone();
        let store = Arc::clone(store);
        keeper = Some(Keeper::start(store, spool, spec, Arc::clone(&clock), place)?);
    }
    let commands = Arc::new(CommandDesk::new(keeper.clone(), Arc::clone(&clock)));
    let northbound = plant.northbound.as_ref().filter(|_| keeper.is_some()).map(|target| {
        let address = match target.settings.get("addr") {
            Some(SettingValue::Text(address)) => address.clone(),
            _ => String::new(),
        };
        let reason = "not reached yet".to_owned();
        let view =
            NorthboundView { endpoint: address, up: false, since: clock.now(), reason, sent: 0 };
        NorthboundStatus::new(Mutex::new(view))
    });
    let panics = Arc::new(AtomicU64::new(0));
    let colony = Colony::settle(
        ColonyRequest {
            plant: Arc::clone(&plant),
            clock: Arc::clone(&clock),
            restored: memory.restored,
            aside_key: derive_key("plantwin v1 letters set aside", &[request.rest_key.expose()]),
            endpoints: request.endpoints,
            place: request.place,
            lines: true,
            drill: request.drill,
            findings: request.store_findings,
        },
        crate::colony::Upkeep {
            keeper: keeper.clone(),
            commands: Arc::clone(&commands),
            northbound: northbound.clone(),
            steps: request.steps,
            panics: Arc::clone(&panics),
            policy: Arc::clone(&policy),
            authority: Some(Arc::clone(&trust.authority)),
        },
    )?;
    let revoked = trust.authority.revocations();
    let mut table = BTreeMap::new();
    let mut lines = Vec::with_capacity(plant.devices.len());
    for ((device, paths), twin) in plant.devices.iter().zip(request.paths).zip(colony.twins) {
        let (Some((orders, orders_in)), Some(urgent)) = (twin.orders, twin.urgent) else {
            lines.push(None);
            continue;
        };
        lines.push(Some(orders.clone()));
        let line = Line {
            device: Arc::clone(device),
            points: device.kind.points.as_slice().into(),
            paths,
            registry: request.registry.clone(),
            clock: Arc::clone(&clock),
            zone: plant.zones[usize::from(device.zone.0)].id.clone(),
            orders: orders_in,
            confinement: twin.confinement,
            trust: Some(trust.clone()),
            revoked: (device.identity != Identity::Plain).then(|| revoked.clone()),
            permits: Some(Arc::new(Permits::new(Arc::clone(&policy), device.ix))),
            carrier: Carrier::new(twin.mailbox, [urgent, twin.sealer], Arc::clone(&clock)),
            confirmed: twin.confirmed,
            gate: Some(Arc::new(Gate(Arc::clone(&commands)))),
            panics: Arc::clone(&panics),
            chance: plant.seed.wrapping_add(u64::from(device.ix.0)),
        };
        colony.handles[twin.settlement.arbiter].spawn(keep_line(line));
        let ward = twin.ward;
        let revive = Box::new(move || ward.revive());
        table.insert(device.id.clone(), Entry { ix: device.ix, orders, revive });
    }
    let (orphans, last) = commands.open(&plant, memory.steps, lines);
    if !last.is_empty() {
        for asked in last {
            trust.audit.record(asked.entry());
        }
        commands.accounted();
    }
    if orphans > 0 {
        warnings.push(lost_beginnings(orphans));
    }
    let mut arbiters = colony.arbiters;
    if let (Some(status), Some(keeper), Some(target)) = (northbound, &keeper, &plant.northbound) {
        match request.registry.get(target.protocol) {
            Some(protocol) => {
                let way = Way {
                    protocol: Arc::clone(protocol),
                    context: ForwardContext {
                        plant: plant.name.clone(),
                        target: target.clone(),
                        timeout: crate::northbound::TIMEOUT,
                    },
                    keeper: Arc::clone(keeper),
                    clock: Arc::clone(&clock),
                    status,
                    panics: Arc::clone(&panics),
                    chance: plant.seed,
                };
                match request.place {
                    // A thread of its own: it reads the spool, and while the disk hangs that may
                    // take long.
                    Place::Threads(_) => {
                        let own = Arbiter::new();
                        own.spawn(forward(way));
                        arbiters.push(own);
                    }
                    Place::Here => {
                        colony.handles[0].spawn(forward(way));
                    }
                }
            }
            None => warnings.push(format!("{} is not in this build", target.protocol)),
        }
    }
    let notes = colony.notes.clone();
    let keeping = trust.clone().keep(Arc::clone(&clock), move |troubles| {
        let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
        let response = "see that the authority can be reached and that the disk has room";
        // A full board is told again in a minute.
        let _ = notes.leave(StationNote::Amiss { name: "authority", trouble, response });
    });
    colony.handles[0].spawn(keeping);
    let router = Arc::new(Router {
        spec: plant,
        table,
        outcomes: colony.outcomes,
        commands,
        notes: colony.notes,
        clock,
        policy,
        audit: trust.audit,
        authority: trust.authority,
        view: colony.view.clone(),
    });
    router.stamp();
    Ok(Assembly { view: colony.view, arbiters, warnings, router, keeper })
}

fn limits(plant: &PlantSpec) -> SpoolLimits {
    let spec = &plant.spool;
    let drop = match spec.drop {
        plantwin_model::DropPolicy::Oldest => plantwin_store::spool::DropPolicy::Oldest,
        plantwin_model::DropPolicy::Newest => plantwin_store::spool::DropPolicy::Newest,
        plantwin_model::DropPolicy::Decimate => plantwin_store::spool::DropPolicy::Decimate,
    };
    SpoolLimits {
        device_bytes: spec.device_bytes,
        total_bytes: spec.total_bytes,
        max_age: spec.max_age,
        drop,
    }
}

/// What is read from the store once.
#[derive(Default)]
struct Memory {
    restored: Restored,
    steps: Vec<CommandStep>,
}

impl Memory {
    fn read(
        plant: &PlantSpec,
        store: &dyn Store,
        now: Timestamp,
        warnings: &mut Vec<String>,
    ) -> Result<Self, StoreError> {
        let mut memory = Self::default();
        let mut history = History::read(store)?;
        if history.unreadable > 0 {
            let unreadable = history.unreadable;
            warnings.push(format!("{unreadable} records of the log are of another version"));
        }
        for device in &plant.devices {
            let Some(bytes) = store.get(TWINS, device.id.as_str())? else { continue };
            match Vital::from_bytes(&bytes) {
                Some(vital) => {
                    memory.restored.vitals.insert(device.id.clone(), vital);
                }
                None => warnings.push(format!(
                    "what {} had saved is of another version and was left out",
                    device.id
                )),
            }
        }
        for (device, bytes) in store.scan(RECORDED)? {
            match Recorded::from_bytes(&bytes) {
                Some(recorded) => {
                    memory.restored.recorded.insert(DeviceId::from(device.as_str()), recorded);
                }
                None => warnings.push(format!(
                    "which values of {device} are on record is of another version and was left \
                     out; some of them may be recorded twice"
                )),
            }
        }
        for (key, letter) in store.scan_values::<SetAside>(LETTERS)? {
            let device = DeviceId::from(key.split_once('/').map_or(key.as_str(), |(d, _)| d));
            memory.restored.letters.entry(device).or_default().push(letter);
        }
        warnings.extend(history.shorten(store, now));
        if history.orphans > 0 {
            warnings.push(lost_beginnings(history.orphans));
        }
        let (steps, alarms) = history.into_parts();
        memory.steps = steps;
        memory.restored.alarms = alarms.into_iter().collect();
        Ok(memory)
    }
}

/// Whether a device's telemetry is durable.
pub(crate) fn is_durable(device: &plantwin_model::DeviceSpec) -> bool {
    device.delivery == Delivery::Durable
}

fn lost_beginnings(steps: usize) -> String {
    format!("{steps} steps of commands have lost their beginning")
}
