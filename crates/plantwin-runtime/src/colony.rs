//! The colony: every twin of a plant in its seat, with keys, neighbours and guardian.
//!
//! Twins are spread over arbiters by zone, so that a device, its line and its guardian share a
//! thread. Keys are given out here and nowhere else: each pair of correspondents gets a secret
//! of its own and runs the mailbox handshake. Absent: lines and simulated devices, so that a
//! colony can also be fed in process (benchmarks) and says so by having no lines.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use actix::{Arbiter, ArbiterHandle};
use plantwin_authority::policy::{FlowGate, PolicyDesk};
use plantwin_authority::service::AuthorityPort;
use plantwin_field::StepStats;
use plantwin_model::{
    Action, Clock, ConduitSpec, DeviceId, DeviceIx, DeviceSpec, FlowSource, PlantSpec, PlantView,
    Timestamp,
};
use plantwin_physics::Model;
use plantwin_seal::{KeyDistributor, Opener, PartyId, Sealer, Secret};
use plantwin_twin::{
    Drill, FlowOutlet, LaneLimits, LinePort, Mailbox, Sealing, Twin, TwinInit, TwinPlan,
};
use plantwin_watch::AlarmPlan;
use tokio::sync::{mpsc, watch};

use crate::{
    RuntimeError,
    assembly::{Place, Restored, is_durable},
    commands::CommandDesk,
    guardian::{GuardEvent, GuardWatcher, Guardian, RestartPolicy, Ward, seat},
    keeper::Keeper,
    line::{Confinement, Confiner, Confirmed, LineOrder},
    northbound::NorthboundStatus,
    router::Outcomes,
    station::{Notes, PLANT, Station, StationInit, StationNote, book},
};

/// Letters that may wait for a twin, by lane.
const MAILBOX: LaneLimits = LaneLimits::each(64);
/// The station is never given up: without it nobody sees the plant.
pub(crate) const STATION_RESTARTS: RestartPolicy = RestartPolicy {
    backoff_min: Duration::from_millis(100),
    backoff_max: Duration::from_secs(2),
    max_restarts: usize::MAX,
    window: Duration::from_mins(1),
};
/// Events that may wait for the station, by lane.
const STATION_MAILBOX: LaneLimits = LaneLimits::each(16_384);
/// Room in actix' own mailbox of an actor: nothing is posted there.
const ADDRESS: usize = 1;
/// Orders that may wait for a line.
const ORDERS: usize = 32;

/// What a colony is made from.
pub struct ColonyRequest {
    /// The plant.
    pub plant: Arc<PlantSpec>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// What survived from earlier runs.
    pub restored: Restored,
    /// Seals letters that are set aside.
    pub aside_key: Secret,
    /// Servers that were started, for the view.
    pub endpoints: Vec<(String, String)>,
    /// Where the twins live: zones are spread over the threads.
    pub place: Place,
    /// Whether twins get lines.
    pub lines: bool,
    /// Rehearses crashes.
    pub drill: Option<Arc<dyn Drill>>,
    /// What the operator must know of the store.
    pub findings: Vec<String>,
}

/// What keeps the colony's word beyond the process.
pub(crate) struct Upkeep {
    pub(crate) keeper: Option<Arc<Keeper>>,
    pub(crate) commands: Arc<CommandDesk>,
    pub(crate) northbound: Option<NorthboundStatus>,
    pub(crate) steps: Option<Arc<StepStats>>,
    /// Panics of adapters.
    pub(crate) panics: Arc<AtomicU64>,
    /// Says what may cross zones.
    pub(crate) policy: Arc<PolicyDesk>,
    /// Tells whether recorded values are what the devices said.
    pub(crate) authority: Option<Arc<dyn AuthorityPort>>,
}

/// A running colony.
pub struct Colony {
    /// The plant's view.
    pub view: watch::Receiver<Arc<PlantView>>,
    /// Twins in the order of the plant.
    pub twins: Vec<TwinHandle>,
    /// Threads of its own; they end when stopped.
    pub arbiters: Vec<Arbiter>,
    pub(crate) handles: Vec<ArbiterHandle>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) notes: Notes,
}

/// Where a twin sits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// Place among the colony's threads.
    pub arbiter: usize,
}

/// The outside of a twin.
pub struct TwinHandle {
    /// The guarded actor.
    pub ward: Ward<Twin>,
    /// Its mailbox.
    pub mailbox: Mailbox,
    /// Seals values for it, as its line.
    pub sealer: Sealer,
    /// Seals urgent letters, if it has a line.
    pub(crate) urgent: Option<Sealer>,
    /// Where it sits.
    pub settlement: Settlement,
    pub(crate) orders: Option<(mpsc::Sender<LineOrder>, mpsc::Receiver<LineOrder>)>,
    /// Where its line hears whether the device is confined.
    pub(crate) confinement: watch::Receiver<Confinement>,
    pub(crate) confirmed: Arc<Confirmed>,
}

/// Parties of the plant's correspondence.
const STATION: PartyId = PartyId(1);

const fn twin_party(ix: DeviceIx) -> PartyId {
    PartyId((1 << 32) | ix.0 as u64)
}

/// The twin behind a party, for whoever finds it in a header.
pub(crate) const fn twin_of(party: PartyId) -> Option<DeviceIx> {
    if party.0 >> 32 == 1 { Some(DeviceIx(party.0 as u32)) } else { None }
}

const fn line_party(ix: DeviceIx) -> PartyId {
    PartyId((2 << 32) | ix.0 as u64)
}

impl Colony {
    /// Seats all twins of a plant that is fed in process: no lines, nothing saved.
    /// Must be called within an actix system.
    pub fn start(request: ColonyRequest) -> Result<Self, RuntimeError> {
        let commands = Arc::new(CommandDesk::new(None, Arc::clone(&request.clock)));
        let policy = PolicyDesk::new(Arc::clone(&request.plant));
        Self::settle(
            request,
            Upkeep {
                keeper: None,
                commands,
                northbound: None,
                steps: None,
                panics: Arc::default(),
                authority: None,
                policy,
            },
        )
    }

    pub(crate) fn settle(request: ColonyRequest, upkeep: Upkeep) -> Result<Self, RuntimeError> {
        let ColonyRequest { plant, clock, mut restored, endpoints, lines, .. } = request;
        let (aside_key, drill) = (request.aside_key, request.drill);
        let Upkeep { keeper, commands, northbound, steps, panics, policy, authority } = upkeep;
        let now = clock.now();
        let (arbiters, handles): (Vec<Arbiter>, Vec<ArbiterHandle>) = match request.place {
            Place::Threads(count) => {
                let threads: Vec<_> = (0..count.max(1)).map(|_| Arbiter::new()).collect();
                let handles = threads.iter().map(Arbiter::handle).collect();
                (threads, handles)
            }
            Place::Here => (vec![], vec![Arbiter::current()]),
        };
        let keys = Keys { distributor: KeyDistributor::new().map_err(keys_error)?, now };
        let kinds = Kinds::compile(&plant)?;
        let flows = Flows::resolve(&plant)?;

        let seats: Vec<_> = plant.devices.iter().map(|_| seat::<Twin>(ADDRESS)).collect();
        let (mailboxes, inboxes): (Vec<Mailbox>, Vec<_>) =
            plant.devices.iter().map(|_| plantwin_twin::mailbox(MAILBOX)).unzip();
        let station_seat = seat::<Station>(ADDRESS);
        let (station, station_inbox) = plantwin_twin::mailbox(STATION_MAILBOX);
        let notes = Notes::default();
        let (guardian, places) = Guardian::of(&plant);

        // Ways between neighbours: the giver seals, the taker opens.
        let mut outlets: Vec<Vec<FlowOutlet>> = plant.devices.iter().map(|_| vec![]).collect();
        let mut openers: Vec<Vec<Opener>> = plant.devices.iter().map(|_| vec![]).collect();
        for ((number, flow), place) in (0_u32..).zip(&plant.flows).zip(&flows.places) {
            let (giver, taker) = keys.pair(twin_party(flow.from), twin_party(flow.to))?;
            outlets[flow.from.index()].push(FlowOutlet {
                mailbox: mailboxes[flow.to.index()].clone(),
                sealer: giver.0,
                flow: *place,
                gate: {
                    let gate = FlowGate::new(Arc::clone(&policy), number);
                    Some(Box::new(move |now| gate.lets_cross(now)) as plantwin_twin::FlowGate)
                },
            });
            openers[flow.to.index()].push(taker.1);
        }

        let mut confirmed = Vec::with_capacity(plant.devices.len());
        let mut all_orders = Vec::with_capacity(plant.devices.len());
        let mut letters = Vec::new();
        let mut known_alarms = Vec::new();
        let mut station_openers = Vec::with_capacity(plant.devices.len());
        let mut twins = Vec::with_capacity(plant.devices.len());
        for ((((device, seat), mailbox), inbox), (outlets, mut openers)) in plant
            .devices
            .iter()
            .zip(seats)
            .zip(mailboxes)
            .zip(inboxes)
            .zip(outlets.into_iter().zip(openers))
        {
            let ix = device.ix;
            let (twin_end, station_end) = keys.pair(twin_party(ix), STATION)?;
            station_openers.push((device.id.clone(), station_end.1));
            // Most letters bring values: their opener stands first.
            let (values, twin_from_line) = keys.pair(line_party(ix), twin_party(ix))?;
            openers.insert(0, twin_from_line.1);
            let urgent = if lines {
                let (urgent, twin_from_line) = keys.pair(line_party(ix), twin_party(ix))?;
                openers.push(twin_from_line.1);
                Some(urgent.0)
            } else {
                None
            };
            let orders = lines.then(|| mpsc::channel(ORDERS));
            all_orders.push(orders.as_ref().map(|(orders, _)| orders.clone()));
            let (confiner, confinement) = Confiner::new();
            let settlement = Settlement { arbiter: usize::from(device.zone.0) % handles.len() };
            let own_confirmed = Arc::new(Confirmed::default());
            confirmed.push(is_durable(device).then(|| Arc::clone(&own_confirmed)));
            let known = &device.id;
            known_alarms.push((ix, restored.alarms.get(known).cloned().unwrap_or_default()));
            letters
                .extend(restored.letters.get(known).into_iter().flatten().map(|l| (ix, l.clone())));
            let init = TwinInit {
                plan: Arc::new(kinds.plan(&plant, device, &flows, keeper.is_some())?),
                sealing: Sealing { openers, station: twin_end.0 },
                inbox,
                station: station.clone(),
                outlets,
                line: orders.as_ref().map(|(tx, _)| {
                    Box::new(OrderPort {
                        orders: tx.clone(),
                        confiner,
                        confirmed: Arc::clone(&own_confirmed),
                    }) as Box<dyn LinePort>
                }),
                clock: Arc::clone(&clock),
                restored: restored.vitals.remove(known),
                recorded: restored.recorded.remove(known),
                restored_alarms: restored.alarms.remove(known).unwrap_or_default(),
                aside_key: aside_key.clone(),
                set_aside: restored.letters.remove(known).unwrap_or_default(),
                drill: drill.clone(),
            };
            let watcher = Watcher {
                device: ix,
                clock: Arc::clone(&clock),
                notes: notes.clone(),
                chance: plant.seed ^ u64::from(ix.0),
            };
            let arbiter = &handles[settlement.arbiter];
            let place = places[ix.index()].clone();
            let ward = seat.guard_in(arbiter, place, watcher, move |_| Twin::new(init));
            twins.push(TwinHandle {
                ward,
                mailbox,
                sealer: values.0,
                urgent,
                settlement,
                orders,
                confinement,
                confirmed: own_confirmed,
            });
        }

        let outcomes = Arc::new(Outcomes::new(Arc::clone(&clock)));
        let mut book = book::Book::new(Arc::clone(&plant), MAILBOX.total(), endpoints, now);
        for (ix, letter) in &letters {
            book.set_aside(*ix, letter);
        }
        // Shown from the first moment on, though the twins have not told them again yet.
        for (ix, alarms) in known_alarms {
            book.alarms(ix, alarms);
        }
        let own = restored.alarms.remove(&DeviceId::from(plant.name.as_str()));
        book.restore_own(own.unwrap_or_default(), now);
        if !request.findings.is_empty() {
            book.damage(&request.findings, now);
        }
        let first =
            book.snapshot(now, true).unwrap_or_else(|| PlantView::empty(&plant.name).into());
        let (publish, view) = watch::channel(first);
        let init = StationInit {
            inbox: station_inbox,
            book,
            openers: station_openers,
            confirmed,
            view: publish,
            clock: Arc::clone(&clock),
            outcomes: Arc::clone(&outcomes),
            commands,
            keeper,
            northbound,
            steps,
            panics,
            authority,
            orders: all_orders,
            notes: notes.clone(),
        };
        let watcher = Watcher { device: PLANT, clock, notes: notes.clone(), chance: plant.seed };
        station_seat.guard(&handles[handles.len() - 1], STATION_RESTARTS, watcher, move |_| {
            Station::new(init)
        });
        drop(guardian);
        Ok(Self { view, twins, arbiters, handles, outcomes, notes })
    }
}

fn keys_error(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Keys(error.to_string())
}

/// The giver of keys, for this start of the plant.
struct Keys {
    distributor: KeyDistributor,
    now: Timestamp,
}

type End = (Sealer, Opener);

impl Keys {
    /// Runs the mailbox handshake between two parties and returns the end of each.
    fn pair(&self, a: PartyId, b: PartyId) -> Result<(End, End), RuntimeError> {
        let secret = self.distributor.pair_secret(a, b);
        let (ours, theirs) =
            plantwin_seal::Session::pair(&secret, a, b, self.now).map_err(keys_error)?;
        Ok(((ours.sealer, ours.opener), (theirs.sealer, theirs.opener)))
    }
}

/// What twins of one type share.
struct Kinds(HashMap<*const plantwin_model::TwinType, (Option<Arc<Model>>, Arc<AlarmPlan>)>);

impl Kinds {
    fn compile(plant: &PlantSpec) -> Result<Self, RuntimeError> {
        let mut kinds = HashMap::new();
        for device in &plant.devices {
            let key = Arc::as_ptr(&device.kind);
            if kinds.contains_key(&key) {
                continue;
            }
            let model = plantwin_physics::compile(&device.kind).map_err(|problems| {
                RuntimeError::Model {
                    kind: device.kind.name.clone(),
                    cause: problems.first().map_or_else(String::new, |p| p.message.clone()),
                }
            })?;
            kinds.insert(key, (model, Arc::new(AlarmPlan::of(&device.kind))));
        }
        Ok(Self(kinds))
    }

    fn plan(
        &self,
        plant: &PlantSpec,
        device: &Arc<DeviceSpec>,
        flows: &Flows,
        saves: bool,
    ) -> Result<TwinPlan, RuntimeError> {
        let (model, alarms) = &self.0[&Arc::as_ptr(&device.kind)];
        let profile = plantwin_energy::Profile::by_name(&device.energy_profile)
            .ok_or_else(|| RuntimeError::Energy(device.energy_profile.clone()))?;
        Ok(TwinPlan {
            device: Arc::clone(device),
            zone: plant.zones[usize::from(device.zone.0)].id.clone(),
            model: model.clone(),
            alarms: Arc::clone(alarms),
            profile,
            inflows: flows.into[device.ix.index()].clone(),
            outflows: flows.out_of[device.ix.index()].clone(),
            saves,
        })
    }
}

/// Flows by device, after the conduits were checked.
struct Flows {
    /// For each flow of the plant, its place among the taker's inflows.
    places: Vec<u16>,
    into: Vec<Vec<u16>>,
    out_of: Vec<Vec<FlowSource>>,
}

impl Flows {
    fn resolve(plant: &PlantSpec) -> Result<Self, RuntimeError> {
        let none = || plant.devices.iter().map(|_| Vec::new()).collect();
        let mut flows = Self { places: Vec::new(), into: none(), out_of: Vec::new() };
        flows.out_of = plant.devices.iter().map(|_| Vec::new()).collect();
        for flow in &plant.flows {
            let (from, to) = (&plant.devices[flow.from.index()], &plant.devices[flow.to.index()]);
            let carried = |c: &ConduitSpec| c.carries(from.zone, to.zone, None, Action::Read);
            let conduit = from.zone == to.zone || plant.conduits.iter().any(carried);
            if !conduit {
                let (from, to) = (from.id.to_string(), to.id.to_string());
                return Err(RuntimeError::Conduit { from, to });
            }
            flows.places.push(flows.into[flow.to.index()].len() as u16);
            flows.into[flow.to.index()].push(flow.input);
            flows.out_of[flow.from.index()].push(flow.source);
        }
        Ok(flows)
    }
}

/// The twin's way to its line.
struct OrderPort {
    orders: mpsc::Sender<LineOrder>,
    confiner: Confiner,
    confirmed: Arc<Confirmed>,
}

impl LinePort for OrderPort {
    fn confine(&self, safe: Option<Vec<(plantwin_model::PointIx, f64)>>) {
        self.confiner.tell(safe);
    }

    fn write(&self, key: u64, writes: Vec<(plantwin_model::PointIx, f64)>) -> bool {
        self.orders.try_send(LineOrder::Write { key, writes }).is_ok()
    }

    fn let_go(&self, receipts: &[u64]) {
        self.confirmed.let_go(receipts);
    }

    fn tell_taken(&self, taken: Option<plantwin_twin::Taken>) {
        let _ = self.orders.try_send(LineOrder::TellTaken(taken));
    }
}

/// Tells the station of the guardian's doings.
struct Watcher {
    device: DeviceIx,
    clock: Arc<dyn Clock>,
    notes: Notes,
    chance: u64,
}

impl GuardWatcher for Watcher {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn jitter(&mut self) -> f64 {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.chance >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn on(&mut self, event: GuardEvent) {
        let note = StationNote::Guard { device: self.device, event };
        if !self.notes.leave(note) {
            tracing::error!(device = self.device.0, "the station is too busy to hear of a crash");
        }
    }
}
