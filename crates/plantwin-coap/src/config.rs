//! Keys of CoAP paths in plant files, and what they mean.
//!
//! Absent: whether an address can be reached.

use std::{collections::BTreeMap, sync::Arc};

use plantwin_adapter::{LinkError, ProtocolSchema, SettingKind, SettingSchema};
use plantwin_model::{DeviceId, PathSpec, PointIx, PointSpec, SettingValue};

use crate::secret::LONGEST_IDENTITY;

/// Port of `coap://` (RFC 7252 §6.1).
const PORT: u16 = 5683;
/// Port of `coaps://` (RFC 7252 §6.2).
const SECURE_PORT: u16 = 5684;
/// Longest segment of a path, bytes (RFC 7252 §5.10).
const SEGMENT: usize = 255;

/// Name and keys.
pub(crate) static SCHEMA: ProtocolSchema = ProtocolSchema {
    name: "coap",
    settings: &[
        SettingSchema {
            key: "addr",
            kind: SettingKind::Text,
            help: "where the device listens: host:port, coap://host:port or, with DTLS, coaps://host:port; default port 5683, with DTLS 5684",
        },
        SettingSchema {
            key: "path",
            kind: SettingKind::Text,
            help: "base path of its resources, e.g. \"lab/tank1\"; default the device's name",
        },
        SettingSchema {
            key: "psk_identity",
            kind: SettingKind::Text,
            help: "speak DTLS 1.2 with a pre-shared key (TLS_PSK_WITH_AES_128_CCM_8): the name of that key; needs psk_file",
        },
        SettingSchema {
            key: "psk_file",
            kind: SettingKind::Text,
            help: "file with the pre-shared key in hexadecimal, 16 to 64 bytes, readable by its owner only (mode 0600); needs psk_identity",
        },
    ],
    point_settings: &[
        SettingSchema {
            key: "path",
            kind: SettingKind::Text,
            help: "the point's own resource, from the root of the server, e.g. \"sensors/level\"",
        },
        SettingSchema {
            key: "json",
            kind: SettingKind::Text,
            help: "where in a JSON payload the value stands, e.g. \"/level/value\"; default: the payload is a number as text",
        },
        SettingSchema {
            key: "set",
            kind: SettingKind::Text,
            help: "resource to PUT new values to, from the root of the server; default its path",
        },
        SettingSchema {
            key: "observe",
            kind: SettingKind::Flag,
            help: "whether to observe the resource (default) or to ask for it each period",
        },
    ],
    needs_addr: true,
    datagrams: true,
    acknowledges: false,
    validate,
    addresses,
};

/// A path cut into segments.
pub(crate) type Path = Vec<String>;

/// A point of a resource, and where in its JSON the value stands (`None`: as text).
pub(crate) type PointAt = (PointIx, Option<String>);

/// What a resource holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Content {
    /// The native JSON with these points in it.
    Native(Vec<PointIx>),
    /// One or more points, with the JSON pointer or as text.
    Points(Vec<PointAt>),
    /// Sealed envelopes, each a notification of its own.
    Sealed,
}

/// A resource that is read.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Resource {
    /// Where.
    pub(crate) path: Path,
    /// What.
    pub(crate) content: Content,
    /// Whether to observe it.
    pub(crate) observe: bool,
}

/// What a path's settings say.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Base path.
    pub(crate) base: Path,
    /// What a link reads.
    pub(crate) resources: Vec<Resource>,
    /// Where each point is written.
    pub(crate) set: Vec<Path>,
}

impl Config {
    /// Reads the settings. A `sealed` device has one resource, whatever else is mapped, and
    /// nothing can be written.
    pub(crate) fn new(
        device: &DeviceId,
        points: &Arc<[PointSpec]>,
        path: &PathSpec,
        sealed: bool,
    ) -> Result<Self, LinkError> {
        if let Some((key, problem)) = validate(path).into_iter().next() {
            return Err(LinkError::Settings(format!("{key}: {problem}")));
        }
        let base = segments(path.text("path").unwrap_or(device.as_str()));
        if sealed {
            let path = below(&base, "sealed");
            let resources = vec![Resource { path, content: Content::Sealed, observe: true }];
            return Ok(Self { base, resources, set: Vec::new() });
        }
        let mut native = Vec::new();
        let mut own: BTreeMap<(Path, bool), Vec<PointAt>> = BTreeMap::new();
        let mut set = Vec::new();
        for (ix, point) in points.iter().enumerate() {
            let ix = PointIx(ix as u16);
            let observe = match path.points.get(&ix).and_then(|s| s.get("observe")) {
                Some(SettingValue::Flag(observe)) => *observe,
                _ => true,
            };
            let mut write = below(&base, &point.name);
            if let Some(at) = path.point_text(ix, "path") {
                let pointer = path.point_text(ix, "json").map(str::to_owned);
                write = segments(at);
                own.entry((write.clone(), observe)).or_default().push((ix, pointer));
            } else {
                native.push(ix);
            }
            set.push(path.point_text(ix, "set").map_or(write, segments));
        }
        let mut resources = Vec::new();
        if !native.is_empty() || own.is_empty() {
            let content = Content::Native(native);
            resources.push(Resource { path: base.clone(), content, observe: true });
        }
        resources.extend(own.into_iter().map(|((path, observe), points)| Resource {
            path,
            content: Content::Points(points),
            observe,
        }));
        Ok(Self { base, resources, set })
    }

    /// Where session bytes go.
    pub(crate) fn session(&self) -> Path {
        below(&self.base, "session")
    }
}

fn below(base: &Path, segment: &str) -> Path {
    let mut path = base.clone();
    path.push(segment.to_owned());
    path
}

/// `host:port` of an address setting; `psk` says whether the path has a key for DTLS, which the
/// scheme must agree with.
pub(crate) fn endpoint(addr: &str, psk: bool) -> Result<String, String> {
    let host = match addr.split_once("://") {
        Some(("coap", _)) if psk => {
            return Err("with psk_identity the scheme is coaps://, not coap://".to_owned());
        }
        Some(("coaps", _)) if !psk => {
            return Err("coaps:// needs psk_identity and psk_file beside it".to_owned());
        }
        Some(("coap" | "coaps", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some((scheme, _)) => {
            return Err(format!("\"{scheme}\" is not supported, only coap:// and coaps://"));
        }
        None => addr,
    };
    let (name, port) = match host.rsplit_once(':') {
        // A bare IPv6 address has colons, but only one in brackets can have a port.
        Some((name, _)) if name.contains(':') && !name.ends_with(']') => (host, None),
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.is_empty() || bare.contains(['/', ' ']) {
        return Err(format!("\"{addr}\" is not host:port"));
    }
    let port = match port {
        None if psk => SECURE_PORT,
        None => PORT,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(format!("\"{port}\" is not a port")),
            Ok(port) => port,
        },
    };
    if bare.contains(':') { Ok(format!("[{bare}]:{port}")) } else { Ok(format!("{bare}:{port}")) }
}

/// Whether a path speaks DTLS.
pub(crate) fn has_psk(path: &PathSpec) -> bool {
    path.text("psk_identity").is_some()
}

/// Segments of a path; empty ones count for nothing.
pub(crate) fn segments(path: &str) -> Path {
    path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

fn check_path(path: &str) -> Option<String> {
    let segments = segments(path);
    if segments.is_empty() {
        return Some("is empty".to_owned());
    }
    if segments.iter().any(|s| s == "." || s == "..") {
        return Some("must not contain . or .. (RFC 7252 §5.10.1)".to_owned());
    }
    if path.contains(['?', '#']) {
        return Some("must be a path without query or fragment".to_owned());
    }
    (segments.iter().any(|s| s.len() > SEGMENT))
        .then(|| format!("has a segment of more than {SEGMENT} bytes"))
}

fn validate(path: &PathSpec) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if let Some(Err(problem)) = path.text("addr").map(|a| endpoint(a, has_psk(path))) {
        problems.push(("addr".to_owned(), problem));
    }
    for (key, other) in [("psk_identity", "psk_file"), ("psk_file", "psk_identity")] {
        match path.text(key) {
            Some("") => problems.push((key.to_owned(), "is empty".to_owned())),
            Some(_) if path.text(other).is_none() => {
                problems.push((key.to_owned(), format!("needs {other} beside it")));
            }
            _ => {}
        }
    }
    if path.text("psk_identity").is_some_and(|i| i.len() > LONGEST_IDENTITY) {
        let problem = format!("is longer than {LONGEST_IDENTITY} bytes (RFC 4279 §5.3)");
        problems.push(("psk_identity".to_owned(), problem));
    }
    if let Some(problem) = path.text("path").and_then(check_path) {
        problems.push(("path".to_owned(), problem));
    }
    for &point in path.points.keys() {
        for key in ["path", "set"] {
            if let Some(problem) = path.point_text(point, key).and_then(check_path) {
                problems.push((key.to_owned(), problem));
            }
        }
        if let Some(pointer) = path.point_text(point, "json") {
            if !pointer.starts_with('/') {
                let problem = format!("\"{pointer}\" is no JSON pointer, which begins with /");
                problems.push(("json".to_owned(), problem));
            }
            if path.point_text(point, "path").is_none() {
                let problem = "needs path beside it: the resource that holds the JSON";
                problems.push(("json".to_owned(), problem.to_owned()));
            }
        }
    }
    problems
}

fn addresses(device: &str, path: &PathSpec) -> Vec<String> {
    let host = path.text("addr").and_then(|a| endpoint(a, has_psk(path)).ok()).unwrap_or_default();
    let base = segments(path.text("path").unwrap_or(device)).join("/");
    let mut all = vec![format!("{host}/{base}")];
    for &point in path.points.keys() {
        if let Some(own) = path.point_text(point, "path") {
            let own = segments(own).join("/");
            let at = path.point_text(point, "json").unwrap_or_default();
            // Points of several devices may share one JSON document of a gateway.
            all.push(if at.is_empty() {
                format!("{host}/{own}")
            } else {
                format!("{host}/{own}#{at}")
            });
        }
    }
    all
}
