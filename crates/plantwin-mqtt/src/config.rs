//! What a plant file says about an MQTT path, and the topics that follow from it.
//!
//! Both faces read the same [`Config`], so that a link and a played device agree for every
//! configuration. Absent: payloads, sockets, what is in the files that a path names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use plantwin_adapter::{LinkError, ProtocolSchema, SettingKind, SettingSchema};
use plantwin_model::{Access, DeviceId, PathSpec, PointIx, PointSpec};
use rumqttc::v5::mqttbytes::QoS;

use crate::tls::{self, Tls};

/// Longest topic taken from a plant file, bytes (the MQTT limit is 65 535).
pub(crate) const MAX_TOPIC: usize = 1024;

/// Name and keys for the file checker.
pub(crate) static SCHEMA: ProtocolSchema = ProtocolSchema {
    name: "mqtt",
    settings: &[
        text("addr", "broker as HOST:PORT; default: the embedded broker"),
        text(
            "topic",
            "base topic, e.g. \"lab/tank1\"; default: the device's name, northbound plantwin/PLANT",
        ),
        text(
            "client_id",
            "client id of plantwin's connection; default: a unique one, for durable delivery \
             plantwin-DEVICE",
        ),
        SettingSchema {
            key: "qos",
            kind: SettingKind::Integer(0, 1),
            help: "quality of service of measurements: 0 or 1 (durable delivery needs 1); default 1",
        },
        text(
            "username",
            "user name at the broker; at the embedded broker the one that the device must show, \
             with its password; default: none",
        ),
        text(
            "password_file",
            "file with the password at the broker, for its owner alone (chmod 600); without `ca` \
             or `pin` it crosses the network in the clear",
        ),
        text(
            "ca",
            "file of certificates (PEM); turns TLS on: the broker must show one that they issued \
             for its name",
        ),
        text(
            "pin",
            "file with one certificate (PEM), instead of `ca`; turns TLS on: the broker must show \
             exactly this one, whatever its name and dates",
        ),
        text("server_name", "name in the broker's certificate; default: the host in `addr`"),
        text("cert", "file with our certificate (PEM) for the broker; needs `key`"),
        text("key", "file with the private key of `cert` (PEM), for its owner alone (chmod 600)"),
    ],
    point_settings: &[
        text("topic", "full topic that carries the point: a bare number, or JSON with `json`"),
        text("json", "JSON pointer (RFC 6901) to the value in the payload, e.g. \"/temp\""),
        text("set", "full topic for writes; default: TOPIC/set/POINT"),
    ],
    needs_addr: false,
    datagrams: false,
    acknowledges: true,
    validate,
    addresses,
};

const fn text(key: &'static str, help: &'static str) -> SettingSchema {
    SettingSchema { key, kind: SettingKind::Text, help }
}

/// One path, understood.
pub(crate) struct Config {
    /// Host name or address, IPv6 in brackets.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// Client id of the link, if it is fixed.
    pub(crate) client_id: Option<String>,
    /// Quality of service of measurements.
    pub(crate) qos: QoS,
    /// Who we are to the broker.
    pub(crate) login: Option<Login>,
    /// How the broker and we prove who we are; `None` = in the clear.
    pub(crate) tls: Option<Tls>,
    /// Topics.
    pub(crate) topics: Topics,
}

/// A user of the broker.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// Name.
    pub(crate) user: String,
    /// Where the password is.
    pub(crate) password_file: Option<PathBuf>,
}

/// All topics of a device. One that speaks in sealed envelopes only has no routes, no native
/// names and nothing to set.
pub(crate) struct Topics {
    /// Carries envelopes, where the device speaks in nothing else.
    pub(crate) sealed: Option<String>,
    /// Retained `online` or `offline`.
    pub(crate) status: String,
    /// Common part of the session topics, with its last slash.
    pub(crate) session: String,
    /// Topics that carry measurements.
    pub(crate) routes: HashMap<String, Route>,
    /// Names of the points in the native payload.
    pub(crate) native: Vec<(Arc<str>, PointIx)>,
    /// Topic for writes by point; `None` for points that cannot be written.
    pub(crate) set: Vec<Option<String>>,
}

/// What one topic carries.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Route {
    /// The native JSON payload.
    pub(crate) native: bool,
    /// Points with the pointer to their value; no pointer = the payload is a bare number.
    pub(crate) mapped: Vec<(PointIx, Option<String>)>,
}

impl Config {
    /// Reads the settings of a path; `hub` is the broker where the path names none, `sealed`
    /// whether the device speaks in sealed envelopes only.
    pub(crate) fn read(
        device: &DeviceId,
        points: &[PointSpec],
        path: &PathSpec,
        hub: Option<&str>,
        sealed: bool,
    ) -> Result<Self, LinkError> {
        if let Some((key, problem)) = validate(path).into_iter().next() {
            let key = if key.is_empty() { String::new() } else { format!("`{key}` ") };
            return Err(LinkError::Settings(format!("{key}{problem}")));
        }
        let Some(addr) = path.text("addr").or(hub) else {
            return Err(LinkError::Settings("`addr` is missing and there is no broker".to_owned()));
        };
        let (host, port) = split_addr(addr).map_err(LinkError::Settings)?;
        let login = path.text("username").map(|user| Login {
            user: user.to_owned(),
            password_file: path.text("password_file").map(PathBuf::from),
        });
        let tls = Tls::read(path, host)?;
        Ok(Self {
            host: host.to_owned(),
            port,
            client_id: path.text("client_id").map(str::to_owned),
            qos: if path.integer("qos") == Some(0) { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            login,
            tls,
            topics: Topics::read(device, points, path, sealed),
        })
    }

    /// Client id of a link that must be the same each time.
    pub(crate) fn fixed_id(&self, device: &DeviceId) -> String {
        self.client_id.clone().unwrap_or_else(|| format!("plantwin-{device}"))
    }

    /// The broker, for people.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Topics {
    fn read(device: &DeviceId, points: &[PointSpec], path: &PathSpec, sealed: bool) -> Self {
        let base = path.text("topic").unwrap_or(device.as_str());
        let points = if sealed { &[] } else { points };
        let data = format!("{base}/data");
        let mut routes: HashMap<String, Route> = HashMap::new();
        let mut native = Vec::new();
        let mut set = Vec::new();
        for (ix, spec) in points.iter().enumerate() {
            let point = PointIx(ix as u16);
            let pointer = path.point_text(point, "json").map(str::to_owned);
            match (path.point_text(point, "topic"), pointer) {
                (None, None) => {
                    routes.entry(data.clone()).or_default().native = true;
                    native.push((Arc::clone(&spec.name), point));
                }
                (topic, pointer) => {
                    let topic = topic.unwrap_or(&data).to_owned();
                    routes.entry(topic).or_default().mapped.push((point, pointer));
                }
            }
            set.push((spec.access == Access::ReadWrite).then(|| {
                let own = path.point_text(point, "set").map(str::to_owned);
                own.unwrap_or_else(|| format!("{base}/set/{}", spec.name))
            }));
        }
        Self {
            sealed: sealed.then(|| format!("{base}/sealed")),
            status: format!("{base}/status"),
            session: format!("{base}/session/"),
            routes,
            native,
            set,
        }
    }

    /// The point that a topic writes.
    pub(crate) fn written_by(&self, topic: &str) -> Option<PointIx> {
        let ix = self.set.iter().position(|set| set.as_deref() == Some(topic))?;
        Some(PointIx(ix as u16))
    }
}

/// Problems beyond the kinds of the settings, as `(key, message)`.
fn validate(path: &PathSpec) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut complain = |key: &str, message: String| problems.push((key.to_owned(), message));
    if let Some(Err(problem)) = path.text("addr").map(split_addr) {
        complain("addr", problem);
    }
    if let Some(Err(problem)) = path.text("topic").map(check_topic) {
        complain("topic", problem);
    }
    if path.text("client_id").is_some_and(|id| id.is_empty() || id.len() > 128 || id.contains('\0'))
    {
        complain("client_id", "must have 1 to 128 bytes and no NUL".to_owned());
    }
    if path.text("password_file").is_some() && path.text("username").is_none() {
        complain("password_file", "needs a `username`".to_owned());
    }
    for (key, message) in tls::problems(path) {
        complain(key, message);
    }
    let (mut sources, mut sinks) = (BTreeSet::new(), BTreeSet::new());
    for settings in path
        .points
        .keys()
        .map(|&point| ["topic", "json", "set"].map(|key| path.point_text(point, key)))
    {
        let [topic, json, set] = settings;
        for (key, topic) in [("topic", topic), ("set", set)] {
            if let Some(Err(problem)) = topic.map(check_topic) {
                complain("map", format!("{key} {problem}"));
            }
        }
        if let Some(json) = json.filter(|json| !json.is_empty() && !json.starts_with('/')) {
            complain("map", format!("json `{json}` is no JSON pointer: it must begin with `/`"));
        }
        if (topic.is_some() || json.is_some()) && !sources.insert((topic, json)) {
            complain(
                "map",
                format!("two points read the same value of {}", topic.unwrap_or("data")),
            );
        }
        if let Some(set) = set.filter(|set| !sinks.insert(*set)) {
            complain("map", format!("two points are written by `{set}`"));
        }
    }
    problems
}

pub(crate) fn check_topic(topic: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("`{topic}` {why}"));
    match topic {
        "" => Err("must not be empty".to_owned()),
        t if t.len() > MAX_TOPIC => Err(format!("is longer than {MAX_TOPIC} bytes")),
        t if t.contains(['+', '#', '\0']) => wrong("must not contain `+`, `#` or NUL"),
        t if t.starts_with('$') => wrong("must not begin with `$`, which belongs to the broker"),
        t if t.ends_with('/') => wrong("must not end with `/`"),
        _ => Ok(()),
    }
}

/// Splits `HOST:PORT`.
fn split_addr(addr: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("`{addr}` is not HOST:PORT");
    let (host, port) = addr.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) || host.contains(['/', ' ']) {
        return Err(wrong());
    }
    let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(wrong)?;
    Ok((host, port))
}

/// What a path occupies at its broker: the base topic, and a fixed client id (a broker hangs up
/// on the older of two clients with the same one).
fn addresses(device: &str, path: &PathSpec) -> Vec<String> {
    let broker = path.text("addr").unwrap_or("hub");
    let topic = format!("mqtt {broker}/{}", path.text("topic").unwrap_or(device));
    let client = path.text("client_id").map(|id| format!("mqtt {broker} client {id}"));
    std::iter::once(topic).chain(client).collect()
}

/// Topics that must be subscribed to hear all measurements, in a fixed order.
pub(crate) fn sorted(routes: &HashMap<String, Route>) -> BTreeMap<&str, &Route> {
    routes.iter().map(|(topic, route)| (topic.as_str(), route)).collect()
}
