//! What a plant file says of an OPC UA path: keys, defaults, checks.
//!
//! Absent: protection (see
//! [`security`]); namespace indices, which only a running server knows (see [`NodeRef`]).

use std::fmt;

use opcua::types::NodeId;
use plantwin_adapter::{ProtocolSchema, SettingKind, SettingSchema};
use plantwin_model::{DeviceId, PathSpec, PointIx, PointSpec, SettingValue};

use crate::{
    NAMESPACE,
    security::{self, Protection},
};

/// Keys of a path and of a point.
pub(crate) static SCHEMA: ProtocolSchema = ProtocolSchema {
    name: "opcua",
    settings: &[
        key("addr", "server, `host:port` or `opc.tcp://host:port/path`"),
        key("node", "prefix of the device's string node ids, default its name"),
        key("namespace", "URI of the namespace of those nodes, default `urn:plantwin:device`"),
        key("security", "`none` (default), `sign` or `sign-encrypt`"),
        key(
            "policy",
            "the only security policy to use, default the best of Aes256_Sha256_RsaPss, \
             Basic256Sha256 and Aes128_Sha256_RsaOaep that the server offers",
        ),
        key(
            "server_cert",
            "file of the server's certificate (.der or .pem): exactly this one is accepted",
        ),
        key(
            "pki",
            "folder of certificates: our own in `own` (made once if there is none), accepted \
             peers in `trusted`; default a temporary own one, and no peer is accepted but the \
             devices that the same plantwin plays",
        ),
        key("user", "user name, default anonymous; not without `security`"),
        key("password_file", "file with the user's password, readable by its owner only"),
        key("password", "the user's password, where a file is too much; default empty"),
        key("user_cert", "file of a certificate that says who the user is, instead of `user`"),
        key("user_key", "file of its private key (PEM), readable by its owner only"),
    ],
    point_settings: &[key(
        "node",
        "node id of the point, e.g. `ns=2;s=level`, default \
                                   `PREFIX.POINT` in the path's namespace",
    )],
    needs_addr: true,
    datagrams: false,
    acknowledges: false,
    validate,
    addresses,
};

const fn key(key: &'static str, help: &'static str) -> SettingSchema {
    SettingSchema { key, kind: SettingKind::Text, help }
}

/// A node, before the server's namespaces are known.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum NodeRef {
    /// Exactly this one.
    Exact(NodeId),
    /// The string node of this name in the path's namespace.
    Named(String),
}

impl NodeRef {
    /// The node id, if the namespace it needs has an index.
    pub(crate) fn resolve(&self, namespace: Option<u16>) -> Option<NodeId> {
        match self {
            Self::Exact(node) => Some(node.clone()),
            Self::Named(name) => Some(NodeId::new(namespace?, name.as_str())),
        }
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(node) => node.fmt(f),
            Self::Named(name) => write!(f, "s={name}"),
        }
    }
}

/// A path as checked.
#[derive(Clone)]
pub(crate) struct PathConfig {
    /// URL to connect to; `None` where only a played device needs the path.
    pub(crate) url: Option<String>,
    /// The address as a person wrote it.
    pub(crate) endpoint: String,
    /// Prefix of node names, also the name of the device's folder.
    pub(crate) prefix: String,
    /// Namespace URI of [`NodeRef::Named`].
    pub(crate) namespace: String,
    pub(crate) protection: Protection,
    /// A node per point.
    pub(crate) points: Vec<NodeRef>,
}

impl fmt::Debug for PathConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathConfig")
            .field("endpoint", &self.endpoint)
            .field("prefix", &self.prefix)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

impl PathConfig {
    /// Reads a path; the error is the first problem of [`validate`].
    pub(crate) fn read(
        device: &DeviceId,
        points: &[PointSpec],
        path: &PathSpec,
    ) -> Result<Self, String> {
        if let Some((key, message)) = validate(path).into_iter().next() {
            return Err(if key.is_empty() { message } else { format!("`{key}` {message}") });
        }
        let prefix = path.text("node").unwrap_or(device.as_str()).to_owned();
        let node = |(ix, point): (usize, &PointSpec)| {
            path.point_text(PointIx(ix as u16), "node").map_or_else(
                || Ok(NodeRef::Named(format!("{prefix}.{}", point.name))),
                |text| text.parse().map(NodeRef::Exact).map_err(|_| bad_node(text)),
            )
        };
        let nodes = points.iter().enumerate().map(node).collect::<Result<_, _>>()?;
        let url = path.text("addr").map(url).transpose()?;
        Ok(Self {
            url,
            endpoint: path.text("addr").unwrap_or("no address").to_owned(),
            points: nodes,
            namespace: path.text("namespace").unwrap_or(NAMESPACE).to_owned(),
            protection: Protection::read(path),
            prefix,
        })
    }

    /// The host of the URL as it is written there, without port and brackets.
    pub(crate) fn host(&self) -> &str {
        let url = self.url.as_deref().unwrap_or_default();
        let authority = url.trim_start_matches("opc.tcp://").split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// A named node of the device itself, e.g. `tank1.session`.
    pub(crate) fn own(&self, name: &str) -> NodeRef {
        NodeRef::Named(format!("{}.{name}", self.prefix))
    }
}

fn bad_node(text: &str) -> String {
    format!("`{text}` is no node id; write e.g. `ns=2;s=level` or `ns=3;i=1001`")
}

/// `opc.tcp://` URL of an address, or what is wrong with it.
fn url(addr: &str) -> Result<String, String> {
    let rest = addr.strip_prefix("opc.tcp://").unwrap_or(addr);
    if rest.contains("://") {
        return Err("must begin with `opc.tcp://` or be `host:port`".to_owned());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = authority.rsplit_once(':').and_then(|(host, port)| {
        port.parse::<u16>().ok().filter(|&port| port != 0 && !host.is_empty())
    });
    if port.is_none() || authority.contains(char::is_whitespace) {
        return Err(format!("`{addr}` has no `host:port`"));
    }
    Ok(format!("opc.tcp://{authority}/{path}"))
}

/// Problems of a path's values as `(key, message)`.
fn validate(path: &PathSpec) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut problem = |key: &str, message: String| problems.push((key.to_owned(), message));
    if let Some(Err(message)) = path.text("addr").map(url) {
        problem("addr", message);
    }
    for key in ["node", "namespace"] {
        if path.text(key).is_some_and(str::is_empty) {
            problem(key, "must not be empty".to_owned());
        }
    }
    problems.extend(security::validate(path));
    for settings in path.points.values() {
        if let Some(SettingValue::Text(text)) = settings.get("node")
            && text.parse::<NodeId>().is_err()
        {
            problems.push(("map".to_owned(), bad_node(text)));
        }
    }
    problems
}

/// What the path occupies: the folder of the device and every mapped node, on its server.
fn addresses(device: &str, path: &PathSpec) -> Vec<String> {
    let server = path.text("addr").map_or_else(String::new, |addr| {
        url(addr).unwrap_or_else(|_| addr.to_owned()).trim_end_matches('/').to_owned()
    });
    let namespace = path.text("namespace").unwrap_or(NAMESPACE);
    let mut all = vec![format!("{server}/{namespace}/{}", path.text("node").unwrap_or(device))];
    let mapped = path.points.keys().filter_map(|&point| path.point_text(point, "node"));
    all.extend(mapped.map(|node| format!("{server}/{node}")));
    all
}
