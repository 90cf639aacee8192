//! Keys of Modbus paths in plant files, and what they mean.
//!
//! Absent: whether an address can be reached; which requests read the points (see `plan`).

use std::{net::IpAddr, time::Duration};

use plantwin_adapter::{LinkError, ProtocolSchema, SettingKind, SettingSchema};
use plantwin_model::{Access, PathSpec, PointIx, PointSpec, SettingValue};

use crate::{
    pdu::Table,
    value::{Codec, Format},
};

/// Registered port of Modbus TCP (IANA, `mbap`).
const DEFAULT_PORT: u16 = 502;
/// Unit of a physical device whose path does not name one.
pub(crate) const DEFAULT_UNIT: u8 = 1;

const fn text(key: &'static str, help: &'static str) -> SettingSchema {
    SettingSchema { key, kind: SettingKind::Text, help }
}

/// Name and keys.
pub(crate) static SCHEMA: ProtocolSchema = ProtocolSchema {
    name: "modbus",
    settings: &[
        text("addr", "where the device or its gateway listens: host:port, default port 502"),
        text(
            "allow",
            "addresses that a host name in `addr` may stand for, separated by commas; any other is refused. It proves an address and nothing more: Modbus has no way to say who answers",
        ),
        SettingSchema {
            key: "unit",
            kind: SettingKind::Integer(0, 247),
            help: "unit id; default 1 for physical devices, the next free one for simulated ones",
        },
        SettingSchema {
            key: "timeout",
            kind: SettingKind::Integer(1, 60_000),
            help: "longest wait for one answer in ms, default 1000",
        },
        SettingSchema {
            key: "identify",
            kind: SettingKind::Flag,
            help: "whether to ask who it is (function 43), default true; false for a device that hangs up on it",
        },
    ],
    point_settings: &[
        SettingSchema {
            key: "register",
            kind: SettingKind::Integer(0, 65_535),
            help: "address from 0 (40001 of a manual is 0); default right after the point before it in the same table",
        },
        text("table", "\"holding\" (default), \"input\", \"coil\" or \"discrete\""),
        text(
            "format",
            "\"u16\", \"i16\", \"u32\", \"i32\", \"f32\" (default), \"f64\" or \"bool\" (default for bits)",
        ),
        SettingSchema {
            key: "scale",
            kind: SettingKind::Number,
            help: "value = raw * scale + offset; default 1",
        },
        SettingSchema {
            key: "offset",
            kind: SettingKind::Number,
            help: "value = raw * scale + offset; default 0",
        },
        text(
            "words",
            "which register of a longer value comes first: the \"big\" (default) or the \"little\" end",
        ),
    ],
    needs_addr: true,
    datagrams: false,
    acknowledges: false,
    validate,
    addresses,
};

/// Where a point is, and how.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PointMap {
    pub(crate) point: PointIx,
    pub(crate) table: Table,
    pub(crate) register: u16,
    pub(crate) codec: Codec,
}

impl PointMap {
    /// One past its last register; up to 65536.
    pub(crate) fn end(&self) -> u32 {
        u32::from(self.register) + u32::from(self.codec.format.width())
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.table == other.table
            && u32::from(self.register) < other.end()
            && u32::from(other.register) < self.end()
    }
}

/// What a path's settings say.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) unit: Option<u8>,
    pub(crate) timeout: Option<Duration>,
    /// Addresses that the device's host may have; empty where any will do.
    pub(crate) allow: Vec<IpAddr>,
    /// Whether the device may be asked who it is.
    pub(crate) identify: bool,
    /// One per point, in their order.
    pub(crate) points: Vec<PointMap>,
}

impl Config {
    /// Reads the settings.
    pub(crate) fn new(points: &[PointSpec], path: &PathSpec) -> Result<Self, LinkError> {
        if let Some((key, problem)) = validate(path).into_iter().next() {
            let problem = if key.is_empty() { problem } else { format!("{key}: {problem}") };
            return Err(LinkError::Settings(problem));
        }
        let mut maps: Vec<PointMap> = Vec::new();
        for (ix, spec) in points.iter().enumerate() {
            let point = PointIx(ix as u16);
            let fail = |e: String| LinkError::Settings(format!("map.{}: {e}", spec.name));
            let (table, codec) =
                kind(path, point).map_err(|(key, e)| fail(format!("{key} {e}")))?;
            let after = maps.iter().rfind(|m| m.table == table).map_or(0, PointMap::end);
            let register = match point_integer(path, point, "register") {
                Some(register) => register as u16,
                None => u16::try_from(after).map_err(|_| fail("is beyond the table".to_owned()))?,
            };
            let map = PointMap { point, table, register, codec };
            if map.end() > 0x1_0000 {
                return Err(fail("ends beyond register 65535".to_owned()));
            }
            if spec.access == Access::ReadWrite && !table.writable() {
                return Err(fail(format!("can be written, but the {table} table cannot")));
            }
            if let Some(other) = maps.iter().find(|m| m.overlaps(&map)) {
                let name = &points[other.point.index()].name;
                return Err(fail(format!("shares {table} register {register} with {name}")));
            }
            maps.push(map);
        }
        Ok(Self {
            unit: path.integer("unit").map(|u| u as u8),
            timeout: path.integer("timeout").map(|ms| Duration::from_millis(ms as u64)),
            allow: allowed(path).unwrap_or_default(),
            identify: path.settings.get("identify") != Some(&SettingValue::Flag(false)),
            points: maps,
        })
    }
}

/// `host:port` of an address setting.
pub(crate) fn endpoint(addr: &str) -> Result<String, String> {
    let (name, port) = match addr.rsplit_once(':') {
        // A bare IPv6 address has colons, but only one in brackets can have a port.
        Some((name, _)) if name.contains(':') && !name.ends_with(']') => (addr, None),
        Some((name, port)) => (name, Some(port)),
        None => (addr, None),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.is_empty() || bare.contains(['/', ' ']) {
        return Err(format!("\"{addr}\" is not host:port"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(format!("\"{port}\" is not a port")),
            Ok(port) => port,
        },
    };
    if bare.contains(':') { Ok(format!("[{bare}]:{port}")) } else { Ok(format!("{bare}:{port}")) }
}

/// The host of an address setting without port and brackets, where it is an address itself.
fn literal(addr: &str) -> Option<IpAddr> {
    let endpoint = endpoint(addr).ok()?;
    let (host, _) = endpoint.rsplit_once(':')?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The addresses that the host may have: those of `allow`, or the one that `addr` itself is; none
/// where a host name may stand for anything. Sorted, each once.
fn allowed(path: &PathSpec) -> Result<Vec<IpAddr>, String> {
    let Some(list) = path.text("allow") else {
        return Ok(path
            .text("addr")
            .and_then(literal)
            .map(|ip| ip.to_canonical())
            .into_iter()
            .collect());
    };
    let one = |text: &str| {
        let address = text.parse::<IpAddr>().map(|ip| ip.to_canonical());
        address.map_err(|_| format!("\"{text}\" is not an IP address"))
    };
    let mut all: Vec<IpAddr> =
        list.split(',').map(|text| one(text.trim())).collect::<Result<_, _>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn point_integer(path: &PathSpec, point: PointIx, key: &str) -> Option<i64> {
    match path.points.get(&point)?.get(key) {
        Some(SettingValue::Integer(value)) => Some(*value),
        _ => None,
    }
}

fn point_number(path: &PathSpec, point: PointIx, key: &str) -> Option<f64> {
    match path.points.get(&point)?.get(key) {
        Some(SettingValue::Number(value)) => Some(*value),
        Some(SettingValue::Integer(value)) => Some(*value as f64),
        _ => None,
    }
}

type Problem = (&'static str, String);

/// Table and codec of a point, or the key that is wrong and why.
fn kind(path: &PathSpec, point: PointIx) -> Result<(Table, Codec), Problem> {
    let table = match path.point_text(point, "table") {
        None | Some("holding") => Table::Holding,
        Some("input") => Table::Input,
        Some("coil") => Table::Coil,
        Some("discrete") => Table::Discrete,
        Some(other) => {
            let problem = format!("is holding, input, coil or discrete, not \"{other}\"");
            return Err(("table", problem));
        }
    };
    let format = match path.point_text(point, "format") {
        None if table.bits() => Format::Bool,
        None => Format::F32,
        Some(name) => Format::parse(name).ok_or_else(|| {
            let names = Format::NAMES.map(|(name, _)| name).join(", ");
            ("format", format!("is one of {names}, not \"{name}\""))
        })?,
    };
    if table.bits() && format != Format::Bool {
        return Err(("format", format!("must be bool in the {table} table, which holds bits")));
    }
    let scale = point_number(path, point, "scale");
    let offset = point_number(path, point, "offset");
    if format == Format::Bool && (scale.is_some() || offset.is_some()) {
        return Err(("scale", "and offset have no meaning for a bool".to_owned()));
    }
    if scale.is_some_and(|s| s == 0.0 || !s.is_finite()) {
        return Err(("scale", "must be a finite number other than 0".to_owned()));
    }
    if offset.is_some_and(|o| !o.is_finite()) {
        return Err(("offset", "must be a finite number".to_owned()));
    }
    let little = match path.point_text(point, "words") {
        None | Some("big") => false,
        Some("little") => true,
        Some(other) => return Err(("words", format!("is big or little, not \"{other}\""))),
    };
    if little && format.width() == 1 {
        return Err(("words", "has no meaning for a value in one register".to_owned()));
    }
    let codec =
        Codec { format, little, scale: scale.unwrap_or(1.0), offset: offset.unwrap_or(0.0) };
    Ok((table, codec))
}

/// Problems that can be seen without knowing the points; [`Config::new`] finds the others.
fn validate(path: &PathSpec) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if let Some(Err(problem)) = path.text("addr").map(endpoint) {
        problems.push(("addr".to_owned(), problem));
    }
    match (allowed(path), path.text("addr")) {
        (Err(problem), _) => problems.push(("allow".to_owned(), problem)),
        (Ok(_), None) if path.text("allow").is_some() => {
            problems.push(("allow".to_owned(), "has a meaning only with `addr`".to_owned()));
        }
        (Ok(allow), Some(addr)) => {
            if let Some(ip) = literal(addr).filter(|ip| !allow.contains(&ip.to_canonical())) {
                problems.push(("allow".to_owned(), format!("does not name {ip}, which is `addr`")));
            }
        }
        (Ok(_), None) => {}
    }
    let bounds = [("unit", 0, 247), ("timeout", 1, 60_000)];
    for (key, low, high) in bounds {
        if path.integer(key).is_some_and(|v| v < low || v > high) {
            problems.push((key.to_owned(), format!("must be {low} to {high}")));
        }
    }
    let mut maps: Vec<PointMap> = Vec::new();
    for &point in path.points.keys() {
        let (table, codec) = match kind(path, point) {
            Ok(kind) => kind,
            Err((key, problem)) => {
                problems.push((key.to_owned(), problem));
                continue;
            }
        };
        let Some(register) = point_integer(path, point, "register") else { continue };
        let Ok(register) = u16::try_from(register) else {
            problems.push(("register".to_owned(), "must be 0 to 65535".to_owned()));
            continue;
        };
        let map = PointMap { point, table, register, codec };
        if map.end() > 0x1_0000 {
            let problem = format!("{register} is too high for a value that ends beyond 65535");
            problems.push(("register".to_owned(), problem));
        } else if maps.iter().any(|m| m.overlaps(&map)) {
            let problem = format!("{register} of the {table} table is used by two points");
            problems.push(("register".to_owned(), problem));
        }
        maps.push(map);
    }
    problems
}

/// Whole units, or single registers where the points are mapped: several twins may stand for
/// parts of one controller.
fn addresses(device: &str, path: &PathSpec) -> Vec<String> {
    let host = path.text("addr").and_then(|a| endpoint(a).ok());
    let unit = match (&host, path.integer("unit")) {
        (_, Some(unit)) => format!("unit {unit}"),
        (Some(_), None) => format!("unit {DEFAULT_UNIT}"),
        // On the embedded server each device gets a unit of its own.
        (None, None) => device.to_owned(),
    };
    let whole = format!("{}/{unit}", host.unwrap_or_default());
    let mapped = path.points.keys().filter_map(|&point| {
        let (table, _) = kind(path, point).ok()?;
        let register = point_integer(path, point, "register")?;
        Some(format!("{whole}/{table} {register}"))
    });
    let mapped: Vec<String> = mapped.collect();
    if mapped.is_empty() { vec![whole] } else { mapped }
}
