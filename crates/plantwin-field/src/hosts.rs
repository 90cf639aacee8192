//! Starting everything that played devices need, and stopping it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use futures_util::future::try_join_all;
use plantwin_adapter::{Host, HostRequest, HostedDevice, Protocol, Registry, Tasks};
use plantwin_authority::pws::{AgentEvent, DeviceIdentity, Grant};
use plantwin_model::{
    Clock, Delivery, DeviceId, DeviceIx, DeviceSpec, Identity, Mode, PathSpec, PlantSpec,
    PointSpec, SettingValue, Timestamp, ZoneId,
};
use plantwin_physics::PlantSim;
use tokio::sync::{Mutex, mpsc};

use crate::{
    FieldError, NativeDevice,
    device::{DeviceTask, Setpoint, Told},
    pace::{Pacer, StepStats},
    plant::Plant,
};

/// Devices behind one server, where their number is ours to choose.
const PER_SERVER: usize = 200;
/// Setpoints that may wait for the next step of the plant.
const SETPOINT_QUEUE: usize = 4096;
/// Frames that a durable device keeps that runs by itself: more than an hour at one a second.
const KEPT_FRAMES: usize = 4096;
/// And one that is played, which goes with its gateway, and has a link's break to survive.
const PLAYED_FRAMES: usize = 256;
/// Measurements that may wait for a device's outlet.
const OUTLET_QUEUE: usize = 8;

/// What to simulate, and with what.
pub struct FieldRequest {
    /// The plant; devices of mode simulated are played.
    pub plant: Arc<PlantSpec>,
    /// Protocols.
    pub registry: Registry,
    /// Clock; its speed is the plant's.
    pub clock: Arc<dyn Clock>,
    /// Makes simulated devices known and gives them their keys.
    pub identities: Arc<Identities>,
}

/// Who a simulated device is: its keys, known to the authority. The error is a lowercase fragment.
pub type Identities = dyn Fn(&DeviceSpec, &ZoneId) -> Result<DeviceIdentity, String> + Send + Sync;

/// Told what happens to a device's session. Must not block for long: the device waits meanwhile.
pub type Report = dyn Fn(&DeviceId, AgentEvent) + Send + Sync;

/// The running field. Dropping it stops the plant's thread and every server.
pub struct Field {
    /// Servers that were started: protocol and address.
    pub endpoints: Vec<(String, String)>,
    /// Paths of every device with the address filled in where an embedded server decided it.
    pub paths: Vec<Vec<PathSpec>>,
    /// Accounts of the plant's thread.
    pub stats: Arc<StepStats>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _servers: Vec<Tasks>,
}

/// What devices have that run away from their plant.
struct Alone {
    grant: Option<Grant>,
    report: Arc<Report>,
}

impl Alone {
    /// Hands the grant over before anybody asks the device for it.
    async fn give(&self, native: &Mutex<NativeDevice>, device: &DeviceId, now: Timestamp) {
        let Some(grant) = &self.grant else { return };
        let taken = native.lock().await.take_grant(grant, now);
        (self.report)(device, taken);
    }
}

/// A server to be started: one protocol at one address with its devices.
struct Group {
    protocol: Arc<dyn Protocol>,
    listen: Option<SocketAddr>,
    hub: Option<String>,
    members: Vec<(DeviceIx, usize)>,
}

impl Field {
    /// Starts embedded servers, simulated devices and the plant's thread.
    ///
    /// Must be called within a multi-threaded tokio runtime, which carries the servers.
    pub async fn start(request: FieldRequest) -> Result<Self, FieldError> {
        Self::launch(request, None).await
    }

    /// Starts devices that run by themselves, away from their plant: they join hubs that others
    /// run, at the address of the path or the plant's `[listen]`, and `report` hears of their
    /// sessions. `grant` came by hand; `report` hears whether its device took it. As
    /// [`Self::start`] otherwise.
    pub async fn start_alone(
        request: FieldRequest,
        grant: Option<Grant>,
        report: Arc<Report>,
    ) -> Result<Self, FieldError> {
        Self::launch(request, Some(Alone { grant, report })).await
    }

    async fn launch(request: FieldRequest, alone: Option<Alone>) -> Result<Self, FieldError> {
        let FieldRequest { plant, registry, clock, identities } = request;
        let sim = PlantSim::new(&plant).map_err(|problems| {
            FieldError::Model(problems.first().map_or_else(String::new, |p| p.message.clone()))
        })?;
        let mut endpoints = Vec::new();
        let mut servers = Vec::new();
        let mut hubs = BTreeMap::new();
        for protocol in registry.iter() {
            let name = protocol.schema().name;
            if !plant.devices.iter().any(|d| d.paths.iter().any(|p| p.protocol == name)) {
                continue;
            }
            let guests = guests(&plant, name);
            let Some(start) = protocol.start_hub(listen_address(&plant, name)?, guests) else {
                continue;
            };
            if alone.is_some() {
                // Nothing was started yet; empty stands for one that nobody named.
                hubs.insert(name, plant.listen.get(name).cloned().unwrap_or_default());
                continue;
            }
            let hub = start
                .await
                .map_err(|source| FieldError::Host { protocol: name.to_owned(), source })?;
            endpoints.push((name.to_owned(), hub.address.to_string()));
            hubs.insert(name, hub.address.to_string());
            servers.push(hub.tasks);
        }
        let mut paths: Vec<Vec<PathSpec>> = plant.devices.iter().map(|d| d.paths.clone()).collect();
        for path in paths.iter_mut().flatten() {
            if let (None, Some(hub)) = (path.text("addr"), hubs.get(path.protocol)) {
                path.settings.insert("addr".to_owned(), SettingValue::Text(hub.clone()));
            }
        }
        let groups = group(&plant, &registry, &hubs)?;
        let points: Vec<Arc<[PointSpec]>> =
            plant.devices.iter().map(|d| d.kind.points.as_slice().into()).collect();
        let hosts =
            try_join_all(groups.iter().map(|g| start_host(g, &plant, &points, &clock))).await?;

        let (setpoints, incoming) = sync_channel(SETPOINT_QUEUE);
        let mut outlets: Vec<Vec<Option<mpsc::Sender<Told>>>> =
            plant.devices.iter().map(|d| vec![None; d.paths.len()]).collect();
        let mut natives = Natives::new();
        for (group, host) in groups.iter().zip(hosts) {
            let name = group.protocol.schema().name;
            if group.hub.is_none() {
                endpoints.push((name.to_owned(), host.address.to_string()));
            }
            let mut tasks = host.tasks;
            for (&(ix, rank), port) in group.members.iter().zip(host.devices) {
                let is_new = !natives.contains_key(&ix);
                let native = native_of(&mut natives, &*identities, &plant, ix, alone.is_some())?;
                if let (true, Some(native), Some(alone)) = (is_new, &native, &alone) {
                    alone.give(native, &plant.devices[ix.index()].id, clock.now()).await;
                }
                let (tell, told) = mpsc::channel(OUTLET_QUEUE);
                outlets[ix.index()][rank] = Some(tell);
                if group.hub.is_none() {
                    paths[ix.index()][rank]
                        .settings
                        .insert("addr".to_owned(), SettingValue::Text(host.address.to_string()));
                }
                let task = DeviceTask {
                    ix,
                    way: rank as u16,
                    points: Arc::clone(&points[ix.index()]),
                    port,
                    told,
                    next: VecDeque::new(),
                    setpoints: SyncSender::<Setpoint>::clone(&setpoints),
                    native,
                    sealed: plant.devices[ix.index()].identity == Identity::Native,
                    clock: Arc::clone(&clock),
                    report: alone.as_ref().map(|alone| Arc::clone(&alone.report)),
                };
                tasks.spawn(task.run());
            }
            servers.push(tasks);
        }
        let stats = Arc::new(StepStats::default());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let world = Plant::new(&plant, sim, outlets, incoming, Arc::clone(&stats));
            let (stats, stop, step) = (Arc::clone(&stats), Arc::clone(&stop), plant.step);
            std::thread::Builder::new()
                .name("plant".to_owned())
                .spawn(move || world.run(Pacer::new(clock, stats, step), &stop))
                .map_err(FieldError::Thread)?
        };
        Ok(Self { endpoints, paths, stats, stop, thread: Some(thread), _servers: servers })
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A plant thread that panicked has already been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// The devices that come to the hub of this protocol.
fn guests(plant: &PlantSpec, protocol: &str) -> Vec<HostedDevice> {
    let comes = |path: &PathSpec| path.protocol == protocol && path.text("addr").is_none();
    let of = |device: &Arc<DeviceSpec>| {
        let points: Arc<[PointSpec]> = device.kind.points.as_slice().into();
        let paths: Vec<_> = device.paths.iter().filter(|p| comes(p)).collect();
        paths.into_iter().map(|path| hosted(device, &points, path)).collect::<Vec<_>>()
    };
    plant.devices.iter().flat_map(of).collect()
}

fn hosted(spec: &DeviceSpec, points: &Arc<[PointSpec]>, path: &PathSpec) -> HostedDevice {
    HostedDevice {
        sealed: spec.identity == Identity::Native,
        device: spec.id.clone(),
        points: Arc::clone(points),
        path: path.clone(),
        period: spec.period,
    }
}

fn listen_address(plant: &PlantSpec, protocol: &str) -> Result<Option<SocketAddr>, FieldError> {
    let Some(text) = plant.listen.get(protocol) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| FieldError::Address { protocol: protocol.to_owned(), address: text.clone() })
}

/// Simulated devices by server: those at one address of one protocol share it.
fn group(
    plant: &PlantSpec,
    registry: &Registry,
    hubs: &BTreeMap<&'static str, String>,
) -> Result<Vec<Group>, FieldError> {
    let mut groups: BTreeMap<(&'static str, String), Group> = BTreeMap::new();
    for device in plant.devices.iter().filter(|d| d.mode == Mode::Simulated) {
        for (rank, path) in device.paths.iter().enumerate() {
            let name = path.protocol;
            let protocol =
                registry.get(name).ok_or_else(|| FieldError::Protocol(name.to_owned()))?;
            let own = path.text("addr").map(ToOwned::to_owned);
            let hub = hubs.get(name).map(|hub| own.clone().unwrap_or_else(|| hub.clone()));
            let listen = match (&hub, &own) {
                (Some(hub), _) if hub.is_empty() => {
                    return Err(FieldError::NoHub(name.to_owned()));
                }
                (Some(_), _) => None,
                (None, Some(text)) => Some(text.parse().map_err(|_| FieldError::Address {
                    protocol: name.to_owned(),
                    address: text.clone(),
                })?),
                (None, None) => listen_address(plant, name)?,
            };
            groups
                .entry((name, own.unwrap_or_default()))
                .or_insert_with(|| Group {
                    protocol: Arc::clone(protocol),
                    listen,
                    hub,
                    members: Vec::new(),
                })
                .members
                .push((device.ix, rank));
        }
    }
    Ok(groups.into_values().flat_map(Group::split).collect())
}

impl Group {
    /// Where nobody asked for an address, many devices are spread over several servers: what a
    /// server does for a datagram costs more with each device behind it, and Modbus has no more
    /// than 247 units.
    fn split(self) -> Vec<Self> {
        if self.listen.is_some() || self.hub.is_some() || self.members.len() <= PER_SERVER {
            return vec![self];
        }
        let part = |members: &[(DeviceIx, usize)]| Self {
            protocol: Arc::clone(&self.protocol),
            listen: None,
            hub: None,
            members: members.to_vec(),
        };
        self.members.chunks(PER_SERVER).map(part).collect()
    }
}

async fn start_host(
    group: &Group,
    plant: &PlantSpec,
    points: &[Arc<[PointSpec]>],
    clock: &Arc<dyn Clock>,
) -> Result<Host, FieldError> {
    let devices = group
        .members
        .iter()
        .map(|&(ix, rank)| {
            let spec = &plant.devices[ix.index()];
            hosted(spec, &points[ix.index()], &spec.paths[rank])
        })
        .collect();
    let request = HostRequest {
        listen: group.listen,
        hub: group.hub.clone(),
        devices,
        clock: Arc::clone(clock),
    };
    group.protocol.host(request).await.map_err(|source| FieldError::Host {
        protocol: group.protocol.schema().name.to_owned(),
        source,
    })
}

/// The keys of each device.
type Natives = BTreeMap<DeviceIx, Arc<Mutex<NativeDevice>>>;

/// One for each device, shared by its paths: a device has one key, whatever way it speaks. None
/// for one that is plain. One that runs by itself outlives its gateway, and keeps more of what that
/// has not on record.
fn native_of(
    natives: &mut Natives,
    identities: &Identities,
    plant: &PlantSpec,
    ix: DeviceIx,
    alone: bool,
) -> Result<Option<Arc<Mutex<NativeDevice>>>, FieldError> {
    let spec = &plant.devices[ix.index()];
    if spec.identity == Identity::Plain {
        return Ok(None);
    }
    if let Some(native) = natives.get(&ix) {
        return Ok(Some(Arc::clone(native)));
    }
    let zone = &plant.zones[usize::from(spec.zone.0)].id;
    let identity = identities(spec, zone)
        .map_err(|cause| FieldError::Enrol { device: spec.id.to_string(), cause })?;
    let points = spec.kind.points.as_slice().into();
    let durable = spec.delivery == Delivery::Durable;
    let native = NativeDevice::new(identity, points, durable);
    let native = native.keeping(if alone { KEPT_FRAMES } else { PLAYED_FRAMES });
    let native = Arc::new(Mutex::new(native));
    natives.insert(ix, Arc::clone(&native));
    Ok(Some(native))
}
