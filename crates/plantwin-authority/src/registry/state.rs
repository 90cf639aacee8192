//! What the registry knows, as it lies in its sealed file.
//!
//! Fields are added at the end and never reused: [`STATE_VERSION`] tells layouts apart. Absent:
//! rules (see the files beside this one) and the file itself ([`super::store`]).

use std::collections::{BTreeMap, BTreeSet};

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::DhPublic;
use serde::{Deserialize, Serialize};

use super::{
    kept::Kept,
    op::{ClientKind, DeviceState},
};
use crate::pws::DevicePublic;

/// The layout of [`State`].
pub(crate) const STATE_VERSION: u8 = 1;

/// All that outlives the process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The root's public key.
    pub(crate) root: [u8; 32],
    /// The root's seed, while it lies here.
    pub(crate) root_seed: Option<Kept>,
    /// The service's own key.
    pub(crate) dh: Kept,
    /// By rising serial number; the last is in use, the others are honoured until they retire.
    pub(crate) issuers: Vec<Issuer>,
    /// A new issuer that the root has not signed yet.
    pub(crate) next_issuer: Option<NextIssuer>,
    /// Marks of issuers that are worth nothing any more, until their certificates end.
    pub(crate) retired: BTreeMap<[u8; 32], Timestamp>,
    /// Devices that asked, are enrolled, or were.
    pub(crate) devices: BTreeMap<DeviceId, Device>,
    /// Whose each half of a pending or active key is.
    pub(crate) owners: BTreeMap<[u8; 32], DeviceId>,
    /// Halves of revoked keys: none of them ever comes back.
    pub(crate) burnt: BTreeSet<[u8; 32]>,
    /// Hashes of revoked keys, as gateways know them.
    pub(crate) revoked: BTreeSet<[u8; 32]>,
    /// Rises with each change of what gateways have to refuse.
    pub(crate) revocation_serial: u64,
    /// By id.
    pub(crate) vouchers: BTreeMap<[u8; 16], Voucher>,
    /// Gateways and people far away, by name.
    pub(crate) clients: BTreeMap<String, Client>,
}

/// A key that signs tokens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Issuer {
    pub(crate) seed: Kept,
    /// Signed by the root.
    pub(crate) cert: Vec<u8>,
    pub(crate) serial: u64,
    pub(crate) not_after: Timestamp,
    /// When it stops being honoured; `None` while it is in use.
    pub(crate) retires: Option<Timestamp>,
}

/// A key that waits for the root's signature.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct NextIssuer {
    pub(crate) seed: Kept,
    pub(crate) serial: u64,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) zone: ZoneId,
    pub(crate) public: DevicePublic,
    pub(crate) state: DeviceState,
    pub(crate) since: Timestamp,
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
}

/// An invitation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Voucher {
    /// Derived from the secret, which is not kept.
    pub(crate) proof_key: Kept,
    pub(crate) device: DeviceId,
    pub(crate) zone: ZoneId,
    pub(crate) expires: Timestamp,
    pub(crate) by: String,
    /// Hash of the key that used it.
    pub(crate) used: Option<[u8; 32]>,
}

/// Who may open a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) kind: ClientKind,
    pub(crate) dh: DhPublic,
    /// The secret half, if the authority made it for a gateway in its own process.
    pub(crate) dh_secret: Option<Kept>,
    /// The pre-shared key of its channel.
    pub(crate) psk: Kept,
    /// What token secrets for this gateway are derived from.
    pub(crate) token_secret: Kept,
    pub(crate) since: Timestamp,
    pub(crate) by: String,
}

impl State {
    /// The issuer in use. There is always one: a state is made with it, and only others retire.
    pub(crate) fn issuer(&self) -> Option<&Issuer> {
        self.issuers.last()
    }
}

/// The two halves of a key, each of which belongs to one device alone.
pub(crate) fn halves(public: &DevicePublic) -> [[u8; 32]; 2] {
    [*public.sign.as_bytes(), *public.dh.as_bytes()]
}
