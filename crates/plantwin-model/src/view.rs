//! What consoles and northbound servers see of a running plant.
//!
//! A [`PlantView`] is an immutable snapshot, shared by `Arc`: making the next one copies only
//! what changed (see [`TwinTable`]). Absent: actix, sockets, any way to reach into the runtime.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Access, AlarmView, DeviceId, PointSpec, Quality, Role, Timestamp, TwinType, ZoneId};

/// State of a twin.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TwinState {
    /// Described, no device was ever seen.
    Unbound,
    /// The authority knows the device.
    Enrolled,
    /// A session is up, no full set of values yet.
    Bound,
    /// Values are current: the twin shadows its device. It stays so, with values shown as stale,
    /// while the line finds out whether a device that fell silent hangs.
    Shadowed,
    /// Connected, but values are stale or desired and reported differ.
    OutOfSync,
    /// No path to the device works.
    Down,
    /// Isolated on hard evidence.
    Quarantined,
    /// Crashed too often; mail is kept, an operator can restart it.
    GaveUp,
    /// Taken out of service.
    Retired,
}

/// One point of a twin as shown. Values are in the point's unit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PointView {
    /// Last measured value.
    pub value: Option<f64>,
    /// Its quality.
    pub quality: Quality,
    /// When the device measured it.
    pub source_time: Option<Timestamp>,
    /// When plantwin received it.
    pub received_time: Option<Timestamp>,
    /// What the model foresaw for `source_time`.
    pub predicted: Option<f64>,
    /// Measured minus predicted.
    pub residual: Option<f64>,
    /// Calibrated half-width of the residual's band, once learnt.
    pub band: Option<f64>,
    /// Value plantwin last asked for (points with access `rw`).
    pub desired: Option<f64>,
}

impl PointView {
    /// A point about which nothing is known yet.
    pub const fn unknown() -> Self {
        Self {
            value: None,
            quality: Quality::Bad(crate::Flaw::NoValue),
            source_time: None,
            received_time: None,
            predicted: None,
            residual: None,
            band: None,
            desired: None,
        }
    }
}

/// The session of a twin as shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionView {
    /// None is up.
    None,
    /// The device holds no keys; its protocol's own means are all there is.
    Plain,
    /// The device proved its key and bears a token.
    Token {
        /// When the token expires.
        expires: Timestamp,
    },
    /// As [`Self::Token`], and everything on the wire is sealed.
    Sealed {
        /// When the session must be begun anew.
        expires: Timestamp,
    },
    /// Authentication failed.
    Refused {
        /// Lowercase fragment.
        reason: String,
    },
}

/// The path in use as shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathView {
    /// Protocol name.
    pub protocol: String,
    /// Endpoint.
    pub endpoint: String,
    /// Place in the device's list of paths; 0 is the preferred one.
    pub rank: u16,
    /// How many times the twin left a path.
    pub switches: u32,
}

/// The mailbox of a twin as shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MailboxView {
    /// Envelopes waiting now.
    pub depth: u32,
    /// Bound.
    pub capacity: u32,
    /// Envelopes handled since start.
    pub handled: u64,
    /// Envelopes refused because the mailbox was full.
    pub refused: u64,
    /// By lane, the most urgent first: alarms, commands, durable telemetry, latest values.
    #[serde(default)]
    pub lanes: [LaneView; 4],
}

/// One lane of a mailbox as shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LaneView {
    /// Envelopes waiting now.
    pub depth: u32,
    /// Values that a newer one of the same point replaced before they were handled.
    pub coalesced: u64,
    /// Letters given up because of overload: only ever of the two lanes of telemetry.
    pub shed: u64,
    /// Letters refused; their sender kept them.
    pub refused: u64,
}

/// Durable telemetry of one device, or of all, that waits in the store.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SpoolView {
    /// Records waiting.
    pub records: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bound in bytes.
    pub capacity: u64,
    /// Source time of the oldest.
    pub oldest: Option<Timestamp>,
    /// Hours until the bound is reached at the present rate; absent while it does not grow.
    pub hours_left: Option<f64>,
    /// Records dropped by the policy since the store was made; each is inside a recorded gap.
    pub dropped: u64,
}

/// The way out for durable telemetry as shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NorthboundView {
    /// Where it goes.
    pub endpoint: String,
    /// Whether it is reached now.
    pub up: bool,
    /// Since when.
    pub since: Timestamp,
    /// Why not.
    pub reason: String,
    /// Records acknowledged since start.
    pub sent: u64,
}

/// A letter that crashed its twin twice, as shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SetAsideView {
    /// Names the letter, with its device.
    pub id: u64,
    /// The twin it was for.
    pub twin: DeviceId,
    /// When it was set aside.
    pub since: Timestamp,
    /// Its lane: `alarm`, `command`, `durable` or `latest`.
    pub lane: String,
    /// What it says, shortened; or why it cannot be read.
    pub text: String,
    /// The panic.
    pub panic: String,
}

/// One twin as shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TwinView {
    /// Name.
    pub id: DeviceId,
    /// Zone.
    pub zone: ZoneId,
    /// Type name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether plantwin plays the device itself.
    pub simulated: bool,
    /// State.
    pub state: TwinState,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Path in use.
    pub path: Option<PathView>,
    /// Session.
    pub session: SessionView,
    /// Mailbox.
    pub mailbox: MailboxView,
    /// Energy the device spent on talking, joules.
    pub energy_joules: f64,
    /// Energy budget, joules.
    pub budget_joules: Option<f64>,
    /// Bytes on the wire, both directions.
    pub bytes: u64,
    /// Restarts since start.
    pub restarts: u32,
    /// Its durable telemetry that waits; absent for devices without.
    #[serde(default)]
    pub spool: Option<SpoolView>,
    /// Points, in the order of the type.
    pub points: Vec<PointView>,
    /// Snapshot in which this twin last changed.
    pub revision: u64,
}

/// What the console must know of a type to show and command its twins.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TypeView {
    /// Type name.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Points in order.
    pub points: Vec<PointInfo>,
    /// Commands in order.
    pub commands: Vec<CommandInfo>,
}

/// What the console must know of a point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PointInfo {
    /// Name.
    pub name: String,
    /// Unit code.
    pub unit: String,
    /// Range.
    pub range: (f64, f64),
    /// Whether it can be written.
    pub writable: bool,
}

/// What the console must know of a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Name.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Names of the points whose value is given with it.
    pub args: Vec<String>,
    /// Least role.
    pub role: Role,
    /// Whether to ask first.
    pub confirm: bool,
}

impl TypeView {
    /// What the console needs of `kind`.
    pub fn of(kind: &TwinType) -> Self {
        let info = |p: &PointSpec| PointInfo {
            name: p.name.to_string(),
            unit: p.unit.to_string(),
            range: p.range,
            writable: p.access == Access::ReadWrite,
        };
        Self {
            name: kind.name.clone(),
            title: kind.title.clone(),
            points: kind.points.iter().map(info).collect(),
            commands: kind
                .commands
                .iter()
                .map(|c| CommandInfo {
                    name: c.name.to_string(),
                    title: c.title.clone(),
                    args: c.args.iter().map(|p| kind.points[p.index()].name.to_string()).collect(),
                    role: c.role,
                    confirm: c.confirm,
                })
                .collect(),
        }
    }
}

/// Zone as shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneView {
    /// Name.
    pub id: ZoneId,
    /// One line for people.
    pub title: String,
}

/// How the viewer is joined to the runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkView {
    /// In the same process, or heard from within the last heartbeats.
    Live,
    /// Never reached yet.
    Connecting,
    /// Lost: nothing shown is current.
    Lost {
        /// Wall time of the last word from the runtime.
        since: Timestamp,
    },
}

/// A snapshot of the running plant.
#[derive(Clone, Debug)]
pub struct PlantView {
    /// Plant name.
    pub plant: Arc<str>,
    /// Plant time of the snapshot.
    pub now: Timestamp,
    /// Seconds since the runtime started.
    pub uptime_s: f64,
    /// Grows with every snapshot.
    pub revision: u64,
    /// Link to the runtime.
    pub link: LinkView,
    /// Zones, in file order.
    pub zones: Arc<[ZoneView]>,
    /// Types by name.
    pub types: Arc<BTreeMap<String, TypeView>>,
    /// Twins in file order.
    pub twins: TwinTable,
    /// Alarms that are not normal, newest first.
    pub alarms: Arc<[AlarmView]>,
    /// Counters by name.
    pub counters: Arc<BTreeMap<String, u64>>,
    /// Servers that plantwin itself started: protocol and address.
    pub endpoints: Arc<[(String, String)]>,
    /// Durable telemetry of all devices that waits; absent in a plant without.
    pub spool: Option<SpoolView>,
    /// Where durable telemetry goes, if anywhere.
    pub northbound: Option<Arc<NorthboundView>>,
    /// Letters set aside, oldest first.
    pub set_aside: Arc<[SetAsideView]>,
}

impl PlantView {
    /// A plant of which nothing is known yet.
    pub fn empty(plant: &str) -> Self {
        Self {
            plant: plant.into(),
            now: Timestamp(0),
            uptime_s: 0.0,
            revision: 0,
            link: LinkView::Connecting,
            zones: Arc::new([]),
            types: Arc::default(),
            twins: TwinTable::default(),
            alarms: Arc::new([]),
            counters: Arc::default(),
            endpoints: Arc::new([]),
            spool: None,
            northbound: None,
            set_aside: Arc::new([]),
        }
    }
}

/// Twins per chunk: an update copies one chunk of pointers and the list of chunks.
const CHUNK: usize = 64;

/// Twins by index, cheap to snapshot: a copy shares everything, a change copies one chunk.
#[derive(Clone, Debug, Default)]
pub struct TwinTable {
    chunks: Vec<Arc<Vec<Arc<TwinView>>>>,
    len: usize,
}

impl TwinTable {
    /// Number of twins.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The twin at `ix`.
    pub fn get(&self, ix: usize) -> Option<&Arc<TwinView>> {
        self.chunks.get(ix / CHUNK)?.get(ix % CHUNK)
    }

    /// Appends a twin.
    pub fn push(&mut self, twin: Arc<TwinView>) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => Arc::make_mut(chunk).push(twin),
            _ => self.chunks.push(Arc::new(vec![twin])),
        }
        self.len += 1;
    }

    /// Replaces the twin at `ix`; an index out of range is ignored.
    pub fn set(&mut self, ix: usize, twin: Arc<TwinView>) {
        if let Some(slot) =
            self.chunks.get_mut(ix / CHUNK).and_then(|c| Arc::make_mut(c).get_mut(ix % CHUNK))
        {
            *slot = twin;
        }
    }

    /// All twins in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TwinView>> {
        self.chunks.iter().flat_map(|c| c.iter())
    }
}
