//! How the registry is reached: in this process, or over a sealed channel.
//!
//! [`AuthorityPort`] is all that a runtime knows of an authority. [`Embedded`] holds the registry
//! itself; [`Remote`] asks a [`Server`] that holds an embedded one in another process.
//! Absent: what may be asked and what holds of it ([`crate::registry`]), the command line.

use std::{pin::Pin, sync::Arc, time::Duration};

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::{DhKey, OriginDigest, OriginValue, Secret, VerifyingKey};
use tokio::sync::watch;

use crate::{
    AuthError,
    pws::{DevicePublic, EnrolRequest, Grant, RevocationList, TokenRequest},
    registry::{Actor, AuthorityOp, AuthorityReply, EnrolStatus, PolicyStamp},
};

mod channel;
mod credential;
mod embedded;
mod quiet;
mod remote;
mod room;
mod server;
mod wire;

#[cfg(test)]
mod tests;

pub use credential::Credential;
pub use embedded::Embedded;
pub use remote::Remote;
pub use server::{Server, ServiceCounts};

/// What a call to an authority gives.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A revocation list that is older than this is no longer relied on without an alarm.
pub const LIST_STALE: Duration = Duration::from_mins(5);

/// An authority, wherever it is.
pub trait AuthorityPort: Send + Sync {
    /// A token for a device that asked `gateway`.
    fn token(
        &self,
        request: TokenRequest,
        gateway: &str,
    ) -> BoxFuture<'_, Result<Grant, AuthError>>;

    /// Passes on what a device that wants to be enrolled asks.
    fn enrol(&self, request: EnrolRequest) -> BoxFuture<'_, Result<EnrolStatus, AuthError>>;

    /// What `gateway` needs for its handshakes. To be asked again at half of the time left.
    fn gateway_keys(&self, gateway: &str) -> BoxFuture<'_, Result<GatewayKeys, AuthError>>;

    /// Any operation. A far authority knows who asks by the channel, and not by `actor`.
    fn op(&self, op: AuthorityOp, actor: Actor)
    -> BoxFuture<'_, Result<AuthorityReply, AuthError>>;

    /// The revocation list; every change is told at once.
    fn revocations(&self) -> watch::Receiver<Arc<RevocationList>>;

    /// Which policy the tokens asked for from now on are for.
    fn set_policy(&self, policy: PolicyStamp);

    /// Puts on record how many refusals were not written down; for the end, before the trail is
    /// closed. Until then upkeep does it. A far authority does so by itself.
    fn settle(&self) {}

    /// Knows a device that this process plays, until it ends.
    ///
    /// # Errors
    /// [`AuthError::AlreadyEnrolled`], [`AuthError::KeyInUse`]; [`AuthError::Unavailable`] if the
    /// authority is far away: it does not let a gateway play what it does not know.
    fn enrol_simulated(
        &self,
        device: &DeviceId,
        zone: &ZoneId,
        public: DevicePublic,
    ) -> Result<(), AuthError>;

    /// Whether a value is what the device said of it, by its digest; `None` where that cannot be
    /// told: a far authority keeps the origin keys to itself.
    fn check_origin(
        &self,
        device: &DeviceId,
        value: &OriginValue<'_>,
        digest: &OriginDigest,
    ) -> Option<bool> {
        let _ = (device, value, digest);
        None
    }

    /// How it is.
    fn health(&self) -> Health;
}

/// What a gateway needs for its handshakes. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct GatewayKeys {
    /// The gateway's name, the audience of its tokens.
    pub gateway: String,
    /// Its key.
    pub dh: DhKey,
    /// What it shows to devices: bytes of a [`crate::pws::GatewayCert`].
    pub cert: Vec<u8>,
    /// When that ends.
    pub not_after: Timestamp,
    /// What token secrets are derived from.
    pub secret: Secret,
    /// The plant's root key.
    pub root: VerifyingKey,
}

/// How an authority is, as a gateway sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// Whether it can be asked now.
    pub reachable: bool,
    /// Since when, on the port's clock.
    pub since: Timestamp,
    /// Why it cannot be reached; a lowercase fragment.
    pub reason: String,
    /// How long ago the newest revocation list was confirmed; `None` if there never was one.
    pub list_age: Option<Duration>,
    /// Whether that is longer than [`LIST_STALE`], or never: raise an alarm.
    pub stale: bool,
    /// What an operator must act on, such as an issuer that ends soon.
    pub warnings: Vec<String>,
    /// What would be better, such as a root key kept elsewhere.
    pub advice: Vec<String>,
}
