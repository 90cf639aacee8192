//! Everything that may be asked of the registry, and what it answers: one enum each, so that the
//! console, the command line and a gateway far away all go through the same door.
//!
//! Absent: how they travel (the control socket writes JSON, the service postcard).

use std::{fmt, time::Duration};

use plantwin_model::{DeviceId, Quality, Role, Timestamp, ZoneId};
use plantwin_seal::{DhPublic, OriginDigest};
use serde::{Deserialize, Serialize};

use super::{kept::Kept, rekey::RekeyRequest};
use crate::pws::{EnrolRequest, Grant, TokenRequest};

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person, by name, with a role that somebody else has checked.
    Person {
        /// The name, for the audit trail.
        name: String,
        /// What the person may do.
        role: Role,
    },
    /// A gateway that proved its key.
    Gateway(String),
    /// The plant itself: upkeep.
    Plant,
}

impl Actor {
    /// A person.
    pub fn person(name: impl Into<String>, role: Role) -> Self {
        Self::Person { name: name.into(), role }
    }
}

impl fmt::Display for Actor {
    /// As it stands in the audit trail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { name, .. } => write!(f, "user:{name}"),
            Self::Gateway(name) => write!(f, "gateway:{name}"),
            Self::Plant => f.write_str("plantwin"),
        }
    }
}

/// Which policy a gateway enforces, as it stands in the tokens for its devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PolicyStamp {
    /// How often the policy was swapped.
    pub epoch: u64,
    /// Hash of the policy.
    pub digest: [u8; 32],
}

/// Who may open a channel to the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// A plantwin that talks with devices.
    Gateway,
    /// A person far away, with a role.
    Person(Role),
}

/// What may be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorityOp {
    /// A token for a device that asked a gateway.
    Token {
        /// What the device signed.
        request: TokenRequest,
        /// The gateway that the token is for.
        gateway: String,
        /// The policy there.
        policy: PolicyStamp,
    },
    /// A device asks to be known.
    Enrol {
        /// What the device signed.
        request: EnrolRequest,
    },
    /// An enrolled device changes its key by means of the old one.
    Rekey {
        /// What the device signed with both keys.
        request: RekeyRequest,
    },
    /// What a gateway needs for its handshakes.
    GatewayKeys {
        /// The gateway.
        gateway: String,
    },
    /// Invites a device.
    Invite {
        /// The device.
        device: DeviceId,
        /// Its zone.
        zone: ZoneId,
        /// For how long; `None` for 15 minutes, at most 24 hours.
        valid: Option<Duration>,
    },
    /// Lets a gateway or a person far away reach the service.
    Admit {
        /// Its name.
        name: String,
        /// What it is.
        kind: ClientKind,
        /// The key it will show.
        dh: DhPublic,
    },
    /// Takes that back.
    Dismiss {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Accepts the key of a device that asked.
    Approve {
        /// The device.
        device: DeviceId,
        /// Fingerprint of the key that was compared: another one that came meanwhile is not it.
        fingerprint: String,
    },
    /// Sends a device that asked away.
    Refuse {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: String,
    },
    /// A grant for a device that fetches its tokens by hand.
    Issue {
        /// The device.
        device: DeviceId,
        /// The gateway that the token is for.
        gateway: String,
        /// The policy there.
        policy: PolicyStamp,
    },
    /// Takes a device's key out of use, for good.
    Revoke {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: String,
    },
    /// A new issuer key, signed by the root key that lies here.
    Rotate {
        /// Whether the old one is honoured for 24 hours more; if not, it is refused at once.
        overlap: bool,
    },
    /// Makes a new issuer key and tells its public half, for a root key that lies elsewhere.
    RotateBegin,
    /// Takes the certificate of the key that `RotateBegin` made into use.
    RotateFinish {
        /// The certificate, signed by the root.
        cert: Vec<u8>,
        /// As with `Rotate`.
        overlap: bool,
    },
    /// Tells the root key that lies here, so that it can be written elsewhere.
    ExportRoot,
    /// Forgets the root key that lies here; only after it was written elsewhere.
    ForgetRoot,
    /// Asks whether values are what their devices said.
    CheckOrigins {
        /// At most [`ORIGINS_LIMIT`] values.
        claims: Vec<OriginClaim>,
    },
    /// Tells all that is no secret.
    List,
    /// What time alone brings: old issuers retire, vouchers end.
    Upkeep,
}

impl AuthorityOp {
    /// The role that a person needs; `None` if it is for gateways and the plant alone.
    pub const fn needs(&self) -> Option<Role> {
        match self {
            Self::Token { .. } | Self::GatewayKeys { .. } | Self::Upkeep => None,
            Self::List
            | Self::CheckOrigins { .. }
            | Self::Invite { .. }
            | Self::Enrol { .. }
            | Self::Rekey { .. } => Some(Role::Engineer),
            _ => Some(Role::Security),
        }
    }

    /// Whether a gateway may ask it: for devices that it speaks for, nothing more.
    pub const fn for_gateways(&self) -> bool {
        matches!(
            self,
            Self::Token { .. } | Self::Enrol { .. } | Self::Rekey { .. } | Self::GatewayKeys { .. }
        )
    }

    /// Whether a person must wait with it while nobody could account for it. What only looks, and
    /// what takes trust away, never waits.
    pub const fn must_be_on_record(&self) -> bool {
        !matches!(
            self,
            Self::CheckOrigins { .. }
                | Self::List
                | Self::Revoke { .. }
                | Self::Dismiss { .. }
                | Self::Refuse { .. }
        )
    }

    /// Whether it never changes what outlives the process.
    pub const fn is_light(&self) -> bool {
        matches!(
            self,
            Self::Token { .. }
                | Self::GatewayKeys { .. }
                | Self::Issue { .. }
                | Self::ExportRoot
                | Self::CheckOrigins { .. }
                | Self::List
        )
    }

    /// Whether it may be asked on the machine itself only, because the answer is the root key.
    pub const fn local_only(&self) -> bool {
        matches!(self, Self::ExportRoot | Self::ForgetRoot)
    }
}

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorityReply {
    /// It was done.
    Done,
    /// A token and its secret, sealed to the device.
    Grant(Grant),
    /// How an enrolment stands.
    Enrolment(EnrolStatus),
    /// What a gateway needs.
    GatewayKeys(GatewayMaterial),
    /// An invitation, to be handed to the device.
    Voucher(VoucherView),
    /// The secret for a sealed channel, and whom it leads to.
    Admitted(Admission),
    /// The key that the root has to sign.
    IssuerRequest(IssuerRequest),
    /// The root key's seed.
    Root(Kept),
    /// All that is no secret.
    List(Box<Listing>),
    /// Of each claim whether it holds; `None` of a device that is not known.
    Origins(Vec<Option<bool>>),
}

/// Most values of one [`AuthorityOp::CheckOrigins`].
pub const ORIGINS_LIMIT: usize = 64;

/// A value with the digest that is said to be its device's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OriginClaim {
    /// The device.
    pub device: DeviceId,
    /// The point.
    pub point: String,
    /// Code of its unit.
    pub unit: String,
    /// The device's number of the frame.
    pub sequence: u64,
    /// When it was measured.
    pub source_time: Timestamp,
    /// As recorded. What plantwin itself judged worse than the device did counts as well.
    pub quality: Quality,
    /// The value, bit for bit.
    pub value_bits: u64,
    /// The digest.
    pub digest: OriginDigest,
}

/// How an enrolment stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolStatus {
    /// A person has to compare the fingerprint and approve.
    Pending {
        /// Of the key that asked.
        fingerprint: String,
    },
    /// The device may ask for tokens.
    Active {
        /// Of its key.
        fingerprint: String,
    },
}

/// What a gateway needs for handshakes; it is renewed well before it ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayMaterial {
    /// The gateway.
    pub gateway: String,
    /// Its own key, if the authority made it (an embedded one).
    pub dh: Option<Kept>,
    /// What it shows to devices.
    pub cert: Vec<u8>,
    /// When that ends.
    pub not_after: Timestamp,
    /// What token secrets are derived from.
    pub secret: Kept,
    /// The root's public key.
    pub root: [u8; 32],
}

/// A voucher, when it is made: the only time that its text is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoucherView {
    /// The text for the device: `PWV1-...`.
    pub code: String,
    /// The device.
    pub device: DeviceId,
    /// Its zone.
    pub zone: ZoneId,
    /// When it ends.
    pub expires: Timestamp,
    /// The plant's root key, which the device is given to trust beside it.
    pub root: [u8; 32],
}

impl fmt::Debug for VoucherView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VoucherView(.., {} in {})", self.device, self.zone)
    }
}

/// What a new client of the service has to know, beside its own key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Admission {
    /// The pre-shared key of its channel.
    pub psk: Kept,
    /// The authority's key.
    pub authority: DhPublic,
    /// The root's public key.
    pub root: [u8; 32],
}

/// What the root has to sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuerRequest {
    /// The new issuer's public key.
    pub issuer: [u8; 32],
    /// Its serial number.
    pub serial: u64,
    /// From when on.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// The root that has to sign it.
    pub root: [u8; 32],
}

/// All that is no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listing {
    /// Fingerprint of the root's public key.
    pub root: String,
    /// Whether the root's secret lies here; it should not.
    pub root_is_here: bool,
    /// Serial number of the issuer in use.
    pub issuer_serial: u64,
    /// When it ends.
    pub issuer_expires: Timestamp,
    /// Earlier issuers that are still honoured, and until when.
    pub issuers_before: Vec<(u64, Timestamp)>,
    /// Devices, by name.
    pub devices: Vec<DeviceView>,
    /// Vouchers that nobody has used yet.
    pub vouchers: Vec<OpenVoucher>,
    /// Who may reach the service.
    pub clients: Vec<ClientView>,
    /// Serial number of the revocation list.
    pub revocation_serial: u64,
    /// How many keys are on it.
    pub revoked: u64,
}

impl Listing {
    /// The devices that wait for approval.
    pub fn pending(&self) -> impl Iterator<Item = &DeviceView> {
        self.devices.iter().filter(|d| d.state == DeviceState::Pending)
    }
}

/// Where a device stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// It asked, and nobody approved yet.
    Pending,
    /// It may ask for tokens.
    Active,
    /// Its key is worth nothing any more.
    Revoked,
    /// It is played by this process and was never written down.
    Simulated,
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Simulated => "simulated",
        })
    }
}

/// A device, without secrets (it has none here).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceView {
    /// The device.
    pub device: DeviceId,
    /// Its zone.
    pub zone: ZoneId,
    /// Where it stands.
    pub state: DeviceState,
    /// Fingerprint of its key.
    pub fingerprint: String,
    /// When it came to stand there.
    pub since: Timestamp,
    /// Who brought it there, as in the audit trail.
    pub by: String,
    /// Why it was revoked.
    pub reason: Option<String>,
}

/// A voucher that can still be used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenVoucher {
    /// The device.
    pub device: DeviceId,
    /// Its zone.
    pub zone: ZoneId,
    /// When it ends.
    pub expires: Timestamp,
    /// Who made it.
    pub by: String,
}

/// Who may reach the service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientView {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ClientKind,
    /// Since when.
    pub since: Timestamp,
    /// Who admitted it.
    pub by: String,
}
