//! OPC UA for plantwin: the link face and the device face of [`plantwin_adapter::Protocol`].
//!
//! - **Link**: one session and one subscription per device. Values come as data changes with
//!   source time and status; a write carries the node's own data type; session bytes travel
//!   through the method `PREFIX.session`.
//! - **Device**: one server for all played devices of a [`HostRequest`], a folder per device below
//!   `Objects`, a variable per point.
//!
//! | node of a device with the prefix `tank1` (default: the device's name) | what it is |
//! |---|---|
//! | `nsu=urn:plantwin:device;s=tank1` | folder |
//! | `...;s=tank1.level` | variable of the point `level`, unless the plant file maps it elsewhere |
//! | `...;s=tank1.sequence` | `UInt64`, number of the last measurement |
//! | `...;s=tank1.session` | method, `ByteString` in and out: session bytes |
//!
//! Foreign servers need neither `sequence` nor `session`. The namespace is always looked up by
//! its URI, since an index is only valid within one run of a server (OPC UA Part 3, 8.2.2).
//!
//! A sealed device has, instead of the variables, `...;s=tank1.Sealed`, a `ByteString` through
//! which each sealed envelope comes on its own; what it takes goes through `session`.
//!
//! # Protection
//! `security = "sign"` or `"sign-encrypt"` with Aes256_Sha256_RsaPss, Basic256Sha256 or
//! Aes128_Sha256_RsaOaep; Basic128Rsa15 and Basic256 are off on both faces, and nothing less than
//! what the path says is ever used. A server is accepted by its certificate alone (`server_cert`,
//! or `trusted` in `pki`), a user by `user` with `password_file`, or `user_cert` with `user_key`;
//! a user without security is refused, because its password would cross the network in clear.
//!
//! ```toml
//! [device.tank1.opcua]
//! addr = "10.0.0.7:4840"
//! security = "sign-encrypt"
//! server_cert = "pki/tank1.der"     # and only this
//! pki = "pki"                       # our own certificate, made once: pki/own/cert.der
//! user = "plantwin"
//! password_file = "secrets/tank1"   # mode 0600
//! ```
//!
//! What the library's RSA costs and what is done about it:
//! `docs/decisions/0016-opcua-rsa-exception.md`.
//!
//! Bytes of a link are counted at its socket. The server library offers no such hook, so the
//! bytes of a played device are computed from what is sent on its behalf (module `traffic`).
//!
//! Absent: reconnecting (whoever called decides), events, history, structured values, discovery
//! servers, per-device users on a shared server, certificate authorities and revocation lists.

mod choose;
mod config;
mod control;
mod device;
mod driver;
mod feed;
mod gate;
mod link;
mod nodes;
mod opn;
mod outlet;
mod pki;
mod secret;
mod security;
mod station;
mod subscribe;
mod traffic;
mod transport;
mod trust;
mod users;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, Host, HostRequest, LinkContext, LinkError, Protocol, ProtocolSchema,
};

use pki::PkiFolder;

/// Namespace of the nodes of devices that plantwin plays.
pub const NAMESPACE: &str = "urn:plantwin:device";

/// The protocol. Links and hosts made by one value share the certificate that is made at need
/// when a path asks for security without naming a folder for certificates, and trust it.
#[derive(Clone, Default)]
pub struct OpcUa {
    pki: Arc<PkiFolder>,
}

impl OpcUa {
    /// OPC UA; opens nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Protocol for OpcUa {
    fn schema(&self) -> &'static ProtocolSchema {
        &config::SCHEMA
    }

    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        let pki = Arc::clone(&self.pki);
        Box::pin(link::connect(context, pki))
    }

    fn host(&self, request: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        let pki = Arc::clone(&self.pki);
        Box::pin(device::host(request, pki))
    }
}
