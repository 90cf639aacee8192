//! The registry: which devices there are, which key each has, and who may say so.
//!
//! [`Registry`] is pure: an [`AuthorityOp`], who asks and the time go in; an answer, what must be
//! accounted for and perhaps a changed state come out. [`AuthorityStore`] is the thin shell that
//! keeps it on the disk. What an operation needs is asked of the actor's role here once more,
//! whatever door it came through.
//! Absent: sockets and tasks ([`crate::service`]), clocks, handshakes ([`crate::pws`]).

use std::collections::{BTreeMap, VecDeque};

use plantwin_model::{AuditEntry, AuditResult, DeviceId, Timestamp, ZoneId};
use plantwin_seal::{DhKey, SigningKey};

use crate::{AuthError, pws::DevicePublic};

mod deed;
mod devices;
pub(crate) mod disk;
mod issuers;
mod kept;
mod list;
mod op;
mod rekey;
mod root_file;
mod state;
mod store;
mod tokens;
mod voucher;

#[cfg(test)]
mod tests;

pub use devices::{TEXT_LIMIT, VOUCHER_LIFE, VOUCHER_LIFE_LIMIT};
pub use disk::{read_private, write_new};
pub use issuers::{ISSUER_DUE, ISSUER_LIFE, ISSUER_OVERLAP, issuer_mark};
pub use kept::Kept;
pub use op::{
    Actor, Admission, AuthorityOp, AuthorityReply, ClientKind, ClientView, DeviceState, DeviceView,
    EnrolStatus, GatewayMaterial, IssuerRequest, Listing, ORIGINS_LIMIT, OpenVoucher, OriginClaim,
    PolicyStamp, VoucherView,
};
pub use rekey::RekeyRequest;
pub use root_file::RootFile;
pub(crate) use root_file::{hex, unhex};
pub use store::{AuthorityStore, Opened, REST_CONTEXT};
pub use tokens::{GATEWAY_LIFE, REQUESTS};
pub use voucher::VoucherCode;

use state::State;

/// A device that this process plays.
#[derive(Clone, Debug)]
struct Played {
    zone: ZoneId,
    public: DevicePublic,
    since: Timestamp,
    revoked: bool,
}

/// When a request was seen, and its nonce.
type Nonces = VecDeque<(Timestamp, [u8; 16])>;

/// The registry.
#[derive(Debug)]
pub struct Registry {
    state: State,
    /// Whether `state` differs from what was written last.
    changed: bool,
    simulated: BTreeMap<DeviceId, Played>,
    /// Whose each half of a played device's key is.
    played_keys: BTreeMap<[u8; 32], DeviceId>,
    nonces: BTreeMap<DeviceId, Nonces>,
    /// Hash of the key that a device had before its present one, until this process ends: what it
    /// said before the change may still be on its way.
    former: BTreeMap<DeviceId, [u8; 32]>,
}

/// What came of an operation.
#[derive(Debug)]
pub struct Applied {
    /// The answer. After an error nothing was changed.
    pub answer: Result<AuthorityReply, AuthError>,
    /// What must be accounted for, whether it was done or refused.
    pub audit: Option<AuditEntry>,
}

impl Registry {
    /// A new authority under `root`, and whether the root's secret stays here.
    ///
    /// # Errors
    /// [`AuthError::Seal`] if the system gives no randomness.
    pub fn create(root: &SigningKey, keep_root: bool, now: Timestamp) -> Result<Self, AuthError> {
        let state = State {
            root: *root.verifying_key().as_bytes(),
            root_seed: Some(Kept::copy_of(root.expose_seed())),
            dh: Kept::copy_of(DhKey::generate()?.expose()),
            issuers: Vec::new(),
            next_issuer: None,
            retired: BTreeMap::new(),
            devices: BTreeMap::new(),
            owners: BTreeMap::new(),
            burnt: std::collections::BTreeSet::new(),
            revoked: std::collections::BTreeSet::new(),
            revocation_serial: 1,
            vouchers: BTreeMap::new(),
            clients: BTreeMap::new(),
        };
        let mut registry = Self::of(state);
        registry.rotate(true, now)?;
        if !keep_root {
            registry.forget_root()?;
        }
        Ok(registry)
    }

    fn of(state: State) -> Self {
        Self {
            state,
            changed: false,
            simulated: BTreeMap::new(),
            played_keys: BTreeMap::new(),
            nonces: BTreeMap::new(),
            former: BTreeMap::new(),
        }
    }

    /// Carries an operation out. If the answer is an error, nothing was changed.
    pub fn apply(&mut self, op: &AuthorityOp, actor: &Actor, now: Timestamp) -> Applied {
        // The few operations that are asked all day never change the state: no copy for them.
        let before = (!self.is_light(op)).then(|| (self.state.clone(), self.changed));
        let answer = allowed(op, actor).and_then(|()| self.carry_out(op, actor, now));
        if answer.is_err()
            && let Some((state, changed)) = before
        {
            (self.state, self.changed) = (state, changed);
        }
        let audit = account(op, actor, &answer);
        Applied { answer, audit }
    }

    /// Whether an operation cannot change what outlives the process.
    pub fn is_light(&self, op: &AuthorityOp) -> bool {
        match op {
            // A device that waits for approval asks again and again.
            AuthorityOp::Enrol { request } => {
                self.state.vouchers.get(&request.voucher_id).is_none_or(|v| v.used.is_some())
            }
            other => other.is_light(),
        }
    }

    fn carry_out(
        &mut self,
        op: &AuthorityOp,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        use AuthorityOp as Op;
        match op {
            Op::Token { request, gateway, policy } => self.token(request, gateway, *policy, now),
            Op::Enrol { request } => self.enrol(request, now),
            Op::Rekey { request } => self.rekey(request, now),
            Op::GatewayKeys { gateway } => self.gateway_keys(gateway, now),
            Op::Invite { device, zone, valid } => {
                self.invite(device.clone(), zone.clone(), *valid, actor, now)
            }
            Op::Admit { name, kind, dh } => self.admit(name, *kind, *dh, actor, now),
            Op::Dismiss { name, reason } => self.dismiss(name, reason),
            Op::Approve { device, fingerprint } => self.approve(device, fingerprint, actor, now),
            Op::Refuse { device, reason } => {
                devices::text(reason)?;
                self.refuse(device)
            }
            Op::Issue { device, gateway, policy } => self.issue(device, gateway, *policy, now),
            Op::Revoke { device, reason } => self.revoke(device, reason, actor, now),
            Op::Rotate { overlap } => self.rotate(*overlap, now),
            Op::RotateBegin => self.prepare(now).map(AuthorityReply::IssuerRequest),
            Op::RotateFinish { cert, overlap } => self.install(cert, *overlap, now),
            Op::ExportRoot => self.export_root(),
            Op::ForgetRoot => self.forget_root(),
            Op::CheckOrigins { claims } => {
                let checked = claims.iter().take(ORIGINS_LIMIT).map(|c| self.check(c));
                Ok(AuthorityReply::Origins(checked.collect()))
            }
            Op::List => Ok(AuthorityReply::List(Box::new(self.listing(now)))),
            Op::Upkeep => self.upkeep(now).map(|_| AuthorityReply::Done),
        }
    }

    /// The state, to be changed.
    fn change(&mut self) -> &mut State {
        self.changed = true;
        &mut self.state
    }

    /// A copy on which an operation can be tried; it remembers no nonces.
    pub(crate) fn fork(&self) -> Self {
        Self {
            state: self.state.clone(),
            changed: false,
            simulated: self.simulated.clone(),
            played_keys: self.played_keys.clone(),
            nonces: BTreeMap::new(),
            former: self.former.clone(),
        }
    }

    /// Takes over what was tried on a [`Self::fork`]; nonces stay.
    pub(crate) fn adopt(&mut self, tried: Self) {
        self.state = tried.state;
        self.simulated = tried.simulated;
        self.played_keys = tried.played_keys;
        self.former = tried.former;
    }

    /// Whether there is something to write.
    pub(crate) const fn is_changed(&self) -> bool {
        self.changed
    }
}

fn allowed(op: &AuthorityOp, actor: &Actor) -> Result<(), AuthError> {
    let may = match actor {
        Actor::Plant => true,
        Actor::Gateway(name) => match op {
            AuthorityOp::Token { gateway, .. } | AuthorityOp::GatewayKeys { gateway } => {
                gateway == name
            }
            other => other.for_gateways(),
        },
        Actor::Person { role, .. } => op.needs().is_some_and(|needs| *role >= needs),
    };
    if may { Ok(()) } else { Err(AuthError::NotAllowed(op.needs())) }
}

/// What is written down of an operation; nothing of looking, and of upkeep only what it did.
fn account(
    op: &AuthorityOp,
    actor: &Actor,
    answer: &Result<AuthorityReply, AuthError>,
) -> Option<AuditEntry> {
    if answer.is_ok() && (op.only_looks() || matches!(op, AuthorityOp::Upkeep)) {
        return None;
    }
    let (kind, object, what) = op.account();
    let (result, detail) = match answer {
        Ok(_) => (AuditResult::Done, what),
        Err(error) => (result_of(error), format!("{what}: {}: {error}", error.reason_code())),
    };
    // Names in a request are whatever a stranger wrote.
    let object = printable(&object);
    Some(AuditEntry { kind, actor: actor.to_string(), object, result, detail: printable(&detail) })
}

fn result_of(error: &AuthError) -> AuditResult {
    match error {
        AuthError::Storage { .. } | AuthError::Seal(_) | AuthError::Unavailable(_) => {
            AuditResult::Failed
        }
        _ => AuditResult::Refused,
    }
}

/// At most 512 characters, none of which drives a terminal.
fn printable(text: &str) -> String {
    text.chars().take(512).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
