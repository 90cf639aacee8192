//! What a checked plant file says: the plant as data.
//!
//! Every name is resolved to an index, every quantity is in the unit its field names, every
//! expression is still text with its place in the file (the physics layer compiles it).
//! Absent: parsing (see [`crate::file`]), behaviour of any kind.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    ConduitSpec, Delivery, DeviceId, DeviceIx, NorthboundSpec, PlainRule, PointIx, PolicySpec,
    Priority, Role, Span, SpoolSpec, SupervisionSpec, Unit, ZoneId, ZoneIx,
};

/// A whole plant.
#[derive(Clone, Debug)]
pub struct PlantSpec {
    /// Short name, an identifier; names the control socket and the log.
    pub name: String,
    /// The file it came from, for messages.
    pub file: Arc<str>,
    /// One line for people.
    pub title: String,
    /// Where it stands, free text.
    pub site: String,
    /// Seed of all randomness in simulated devices.
    pub seed: u64,
    /// Step of the coupled plant simulation, a divisor of every model's needs; > 0.
    pub step: Duration,
    /// The variant whose overrides were applied, and all that the file offers.
    pub variant: Option<String>,
    /// Names of the variants in the file, in file order.
    pub variants: Vec<String>,
    /// Zones in file order.
    pub zones: Vec<ZoneSpec>,
    /// Devices in file order; shared, because a twin, its line and its plan all hold theirs.
    pub devices: Vec<Arc<DeviceSpec>>,
    /// What flows from one device's model into another's.
    pub flows: Vec<FlowSpec>,
    /// Steps and faults over time.
    pub scenario: Vec<ScenarioStep>,
    /// Where the embedded servers listen, by protocol name; absent = a free loopback port.
    pub listen: BTreeMap<String, String>,
    /// How what crashes is restarted, unless a zone says otherwise.
    pub supervision: SupervisionSpec,
    /// How durable telemetry waits for its way out.
    pub spool: SpoolSpec,
    /// Where durable telemetry goes; absent = it is only kept.
    pub northbound: Option<NorthboundSpec>,
    /// Who may do what.
    pub policy: PolicySpec,
    /// What may cross from zone to zone: those of `peers`, then those of `[[conduit]]`.
    pub conduits: Vec<ConduitSpec>,
}

/// A zone and the zones it may exchange messages with.
#[derive(Clone, Debug)]
pub struct ZoneSpec {
    /// Name.
    pub id: ZoneId,
    /// One line for people.
    pub title: String,
    /// Zones that the short form of a conduit lets receive from this one, itself not listed;
    /// [`PlantSpec::conduits`] has them too. Default: none.
    pub peers: Vec<ZoneIx>,
    /// Target security level after IEC 62443-3-3, 0 to 4; shown, not enforced.
    pub sl_t: u8,
    /// How devices of this zone that hold no keys are treated.
    pub plain: PlainRule,
    /// How the twins of this zone are restarted; absent = as the plant says.
    pub supervision: Option<SupervisionSpec>,
}

/// Whether a device exists in hardware or is played by its own model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// plantwin serves the device's model over the real protocol.
    Simulated,
    /// The device is out there; plantwin only connects.
    Physical,
}

/// How a device proves who it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// A simulated one that holds keys and proves itself, and whose values can be read on the
    /// wire by anybody, so that foreign clients can look at it.
    Simulated,
    /// It holds keys, proves itself, and speaks in sealed envelopes only.
    Native,
    /// It holds no keys: what its protocol offers is all there is.
    Plain,
}

/// One device of the plant.
#[derive(Clone, Debug)]
pub struct DeviceSpec {
    /// Name, unique in the plant.
    pub id: DeviceId,
    /// Place in [`PlantSpec::devices`].
    pub ix: DeviceIx,
    /// Its type.
    pub kind: Arc<TwinType>,
    /// Its zone.
    pub zone: ZoneIx,
    /// Simulated or physical.
    pub mode: Mode,
    /// How it proves who it is.
    pub identity: Identity,
    /// How often it reports, > 0.
    pub period: Duration,
    /// Start values by point, in the point's unit (all points; the type's default where not overridden).
    pub start: Vec<f64>,
    /// Parameters of the model by place in [`ModelSpec::params`], in SI base units.
    pub params: Vec<f64>,
    /// Ways to reach it, in order of preference; at least one.
    pub paths: Vec<PathSpec>,
    /// For each of `paths`, the other zone through which its traffic goes, if any.
    pub via: Vec<Option<ZoneIx>>,
    /// What is promised of its telemetry.
    pub delivery: Delivery,
    /// Energy budget in joules over the device's life, if it runs on a battery.
    pub budget_joules: Option<f64>,
    /// Radio or wire profile for the energy ledger (a key of `plantwin-energy`'s table).
    pub energy_profile: String,
    /// Where in the file.
    pub span: Span,
}

/// One way to reach a device: protocol, endpoint and how its points are named there.
#[derive(Clone, PartialEq, Debug)]
pub struct PathSpec {
    /// Protocol name as in the registry: `mqtt`, `coap`, `opcua`.
    pub protocol: &'static str,
    /// Settings of the path (keys are those of the protocol's schema), e.g. `addr`, `topic`.
    pub settings: BTreeMap<String, SettingValue>,
    /// Per point settings (`map.level = { node = "ns=2;s=level" }`).
    pub points: BTreeMap<PointIx, BTreeMap<String, SettingValue>>,
    /// Where in the file.
    pub span: Span,
}

impl PathSpec {
    /// A text setting of the path.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.settings.get(key) {
            Some(SettingValue::Text(s)) => Some(s),
            _ => None,
        }
    }

    /// A whole-number setting of the path.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.settings.get(key) {
            Some(SettingValue::Integer(i)) => Some(*i),
            _ => None,
        }
    }

    /// A text setting of one point.
    pub fn point_text(&self, point: PointIx, key: &str) -> Option<&str> {
        match self.points.get(&point)?.get(key) {
            Some(SettingValue::Text(s)) => Some(s),
            _ => None,
        }
    }
}

/// A value of a protocol setting.
#[derive(Clone, PartialEq, Debug)]
pub enum SettingValue {
    /// Text.
    Text(String),
    /// Whole number.
    Integer(i64),
    /// Number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// A reusable device type: its points, commands, alarms, model and energy.
#[derive(Clone, Debug)]
pub struct TwinType {
    /// Name used by `type = "..."`.
    pub name: String,
    /// Version of the type, counts up.
    pub version: u32,
    /// One line for people.
    pub title: String,
    /// The file it came from, for messages.
    pub file: Arc<str>,
    /// Properties in file order.
    pub points: Vec<PointSpec>,
    /// Commands in file order.
    pub commands: Vec<CommandSpec>,
    /// Alarms in file order.
    pub alarms: Vec<AlarmSpec>,
    /// The model; a type without one is only watched.
    pub model: Option<ModelSpec>,
    /// Default energy profile.
    pub energy_profile: String,
}

impl TwinType {
    /// Finds a point by name.
    pub fn point(&self, name: &str) -> Option<PointIx> {
        self.points.iter().position(|p| &*p.name == name).map(|i| PointIx(i as u16))
    }
}

/// May a point be read, written, or both?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read only: a measurement.
    Read,
    /// Written by plantwin and reported back: a setpoint.
    ReadWrite,
}

/// One property of a device.
#[derive(Clone, Debug)]
pub struct PointSpec {
    /// Name.
    pub name: Arc<str>,
    /// One line for people.
    pub title: String,
    /// Unit of every value of this point on the wire, in files and on the screen.
    pub unit: Unit,
    /// Plausible values, inclusive; outside is uncertain quality.
    pub range: (f64, f64),
    /// Value at start.
    pub start: f64,
    /// Access.
    pub access: Access,
    /// Age from which it is stale.
    pub stale_after: Duration,
    /// Standard deviation of the noise that a simulated sensor adds, in the point's unit; >= 0.
    pub noise: f64,
    /// Smallest step a simulated sensor resolves, in the point's unit; 0 = continuous.
    pub resolution: f64,
    /// What a device that is confined is set to, within the range; only of a point that can be
    /// written.
    pub safe: Option<f64>,
    /// Where in the file.
    pub span: Span,
}

/// A command of the type.
#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// Name.
    pub name: Arc<str>,
    /// One line for people.
    pub title: String,
    /// Fixed writes; a point whose value the operator gives is in `args` instead.
    pub set: Vec<(PointIx, f64)>,
    /// Points whose value is given with the command.
    pub args: Vec<PointIx>,
    /// Least role that may issue it.
    pub role: Role,
    /// Whether the console asks to confirm.
    pub confirm: bool,
    /// Where in the file.
    pub span: Span,
}

/// Comparison of an alarm condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compare {
    /// Above the limit.
    Above,
    /// Below the limit.
    Below,
}

/// A threshold alarm of the type (ISA-18.2 attributes).
#[derive(Clone, Debug)]
pub struct AlarmSpec {
    /// Name.
    pub name: Arc<str>,
    /// Watched point.
    pub point: PointIx,
    /// Direction.
    pub compare: Compare,
    /// Limit in the point's unit.
    pub limit: f64,
    /// Distance the value must return past the limit before the alarm clears; >= 0.
    pub deadband: f64,
    /// Time the condition must hold before the alarm is raised.
    pub on_delay: Duration,
    /// Time the condition must be gone before the alarm clears.
    pub off_delay: Duration,
    /// Priority.
    pub priority: Priority,
    /// What the operator should do.
    pub response: String,
    /// What happens otherwise.
    pub consequence: String,
    /// Where in the file.
    pub span: Span,
}

/// Numerical method of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Classical Runge-Kutta, fourth order.
    Rk4,
    /// Explicit Euler.
    Euler,
}

/// Text in a file, with its place.
#[derive(Clone, Debug)]
pub struct SourceText {
    /// The text.
    pub text: String,
    /// Where the text itself (inside its quotes) begins and ends.
    pub span: Span,
}

/// The model of a type: equations over points, inputs and parameters.
///
/// Names in equations: points and `local`s by name, inputs by name, parameters by name, and
/// `t` (seconds since start). Everything is evaluated in SI base units.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// Method.
    pub method: Method,
    /// Longest step of the method, > 0.
    pub step: Duration,
    /// Parameters: name, default in SI base units, unit it was written in.
    pub params: Vec<ParamSpec>,
    /// Inputs that other devices feed by flows; the sum of all flows into it, or its default.
    pub inputs: Vec<InputSpec>,
    /// Hidden states: not reported by the device, but integrated.
    pub states: Vec<StateSpec>,
    /// Lookup tables, callable by name in equations.
    pub tables: Vec<TableSpec>,
    /// Intermediate results, in file order; may use earlier ones.
    pub locals: Vec<(Arc<str>, SourceText)>,
    /// Derivatives by point or hidden state (per second).
    pub ders: Vec<(Target, SourceText)>,
    /// Algebraic points: the point equals the expression.
    pub algebraic: Vec<(PointIx, SourceText)>,
    /// Outputs that flows can carry: name, unit, expression.
    pub outputs: Vec<OutputSpec>,
    /// Share of each residual that corrects the twin's state estimate, 0 to 1.
    pub correction: f64,
    /// Where in the file.
    pub span: Span,
}

/// What a derivative belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A point.
    Point(PointIx),
    /// A hidden state, by place in [`ModelSpec::states`].
    State(u16),
}

/// A model parameter.
#[derive(Clone, Debug)]
pub struct ParamSpec {
    /// Name.
    pub name: Arc<str>,
    /// Unit in which the file gives it (its dimension is checked in equations and overrides).
    pub unit: Unit,
    /// Default in SI base units.
    pub value: f64,
    /// Where in the file.
    pub span: Span,
}

/// A model input.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// Name.
    pub name: Arc<str>,
    /// Unit.
    pub unit: Unit,
    /// Value while nothing flows in, in SI base units.
    pub default: f64,
    /// Where in the file.
    pub span: Span,
}

/// A hidden state.
#[derive(Clone, Debug)]
pub struct StateSpec {
    /// Name.
    pub name: Arc<str>,
    /// Unit.
    pub unit: Unit,
    /// Start in SI base units.
    pub start: f64,
    /// Where in the file.
    pub span: Span,
}

/// A lookup table: a piecewise linear function of one argument.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Name; equations call it as `name(x)`.
    pub name: Arc<str>,
    /// Arguments in SI base units, strictly rising; at least two.
    pub x: Vec<f64>,
    /// Unit in which the file gives the arguments (its dimension is checked in equations).
    pub x_unit: Unit,
    /// Results in SI base units, as many as there are arguments.
    pub y: Vec<f64>,
    /// Unit in which the file gives the results.
    pub y_unit: Unit,
    /// What it gives beyond its ends.
    pub outside: Outside,
    /// Where in the file.
    pub span: Span,
}

/// What a table gives beyond its ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outside {
    /// The nearest end's value.
    Hold,
    /// The line through the two nearest points.
    Extend,
}

/// A model output.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    /// Name.
    pub name: Arc<str>,
    /// Unit.
    pub unit: Unit,
    /// Expression.
    pub expr: SourceText,
}

/// A flow from an output (or a point) of one device to an input of another.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// Giving device.
    pub from: DeviceIx,
    /// What it gives.
    pub source: FlowSource,
    /// Taking device.
    pub to: DeviceIx,
    /// Place in the taker's [`ModelSpec::inputs`].
    pub input: u16,
    /// Where in the file.
    pub span: Span,
}

/// What a flow carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowSource {
    /// An output, by place in [`ModelSpec::outputs`].
    Output(u16),
    /// A point.
    Point(PointIx),
}

/// One step of the scenario.
#[derive(Clone, Debug)]
pub struct ScenarioStep {
    /// Plant time since start.
    pub at: Duration,
    /// Again every so often.
    pub repeat: Option<Duration>,
    /// What happens.
    pub action: ScenarioAction,
    /// Where in the file.
    pub span: Span,
}

/// What a scenario step does.
#[derive(Clone, Debug)]
pub enum ScenarioAction {
    /// A setpoint is written to the device, as its local panel would.
    Set {
        /// Device.
        device: DeviceIx,
        /// Point.
        point: PointIx,
        /// Value in the point's unit.
        value: f64,
    },
    /// The channel of a point falsifies what is measured; the truth goes on unseen.
    Fault {
        /// Device.
        device: DeviceIx,
        /// Point.
        point: PointIx,
        /// Kind.
        kind: FaultKind,
        /// How long; absent = until the end.
        lasts: Option<Duration>,
    },
    /// A path of the device goes silent.
    PathDown {
        /// Device.
        device: DeviceIx,
        /// Place in [`DeviceSpec::paths`].
        path: u16,
        /// How long; absent = until the end.
        lasts: Option<Duration>,
    },
}

/// How a channel falsifies a measurement. Values are in the point's unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FaultKind {
    /// Keeps the last value, with good quality and fresh time stamps.
    Stuck,
    /// Adds a constant.
    Bias(f64),
    /// Adds a growing offset, per second.
    Drift(f64),
    /// Multiplies.
    Scale(f64),
    /// Adds Gaussian noise of this standard deviation.
    Noise(f64),
    /// Reports NaN.
    NotANumber,
}
