//! What the runtime trusts: its own name and keys as a gateway, the authority behind it, and the
//! record of what happened.
//!
//! [`Trust`] is made once and shared by all lines; [`Trust::keep`] runs beside them: it renews the
//! gateway's own certificate, takes over each new list of revoked keys at once, has the authority
//! look after itself and says when nothing was heard of it for too long. Absent: who may do what
//! (the policy), and where any of it is kept.

use std::{path::Path, sync::Arc, time::Duration};

use plantwin_adapter::SystemClock;
use plantwin_authority::{
    AuthError,
    pws::{DeviceIdentity, DeviceKeys, Gateway, GatewayCredential, Revoked},
    registry::{Actor, AuthorityOp},
    service::{AuthorityPort, Credential, Embedded, GatewayKeys, Remote},
};
use plantwin_model::{
    AuditEntry, AuditKind, AuditResult, AuditSink, Clock, DeviceSpec, Timestamp, ZoneId,
};
use plantwin_seal::Secret;

use crate::RuntimeError;

/// The name of the gateway that a plant with an authority of its own is.
const OWN_NAME: &str = "plantwin";
/// How often the authority is asked to look after itself, and how it is.
const UPKEEP_EVERY: Duration = Duration::from_mins(1);

/// Where the plant's authority is.
#[derive(Debug)]
pub enum AuthorityAt {
    /// In this process; it outlives it in the data directory, if there is one.
    Here,
    /// In another process, over a sealed channel.
    There {
        /// `host:port`.
        address: String,
        /// Who this gateway is to it.
        credential: Box<Credential>,
    },
}

/// What the runtime trusts, shared by all lines.
#[derive(Clone)]
pub struct Trust {
    /// This gateway: answers for itself and judges devices.
    pub gateway: Arc<Gateway>,
    /// Issues tokens, takes enrolments, tells of revocations.
    pub authority: Arc<dyn AuthorityPort>,
    /// Where things are accounted for.
    pub audit: Arc<dyn AuditSink>,
}

impl Trust {
    /// Trusts an authority; asks it for what a gateway needs.
    pub async fn new(
        authority: Arc<dyn AuthorityPort>,
        name: &str,
        audit: Arc<dyn AuditSink>,
        now: Timestamp,
    ) -> Result<Self, AuthError> {
        let keys = authority.gateway_keys(name).await?;
        let revoked = Revoked::default();
        let list = Arc::clone(&authority.revocations().borrow());
        revoked.adopt(list, now)?;
        let (root, credential) = credential(keys);
        let gateway = Gateway::new(root, credential, revoked, Arc::clone(&audit), now)?;
        Ok(Self { gateway, authority, audit })
    }

    /// An authority of its own that is forgotten with the process: for benchmarks and simulations.
    pub async fn in_memory(
        clock: Arc<dyn Clock>,
        audit: Arc<dyn AuditSink>,
    ) -> Result<Self, AuthError> {
        let now = clock.now();
        let authority = Arc::new(Embedded::in_memory(clock, Arc::clone(&audit))?);
        Self::new(authority, OWN_NAME, audit, now).await
    }

    /// What a plant runs with.
    pub(crate) async fn of_plant(
        at: AuthorityAt,
        folder: Option<(&Path, &Secret)>,
        clock: &Arc<dyn Clock>,
        audit: &Arc<dyn AuditSink>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, RuntimeError> {
        let (clock, audit) = (Arc::clone(clock), Arc::clone(audit));
        let now = clock.now();
        let trust = match (at, folder) {
            (AuthorityAt::There { address, credential }, _) => {
                let name = credential.name.clone();
                // Its channel and the age of its lists are matters of the real clock, however fast
                // the plant's runs.
                let wall = Arc::new(SystemClock::new(1.0));
                let authority = Arc::new(Remote::start(address, *credential, wall));
                Self::new(authority, &name, audit, now).await
            }
            (AuthorityAt::Here, Some((data, key))) => {
                let dir = data.join("authority");
                let opened = Embedded::open(&dir, key, clock, Arc::clone(&audit));
                let (authority, findings) =
                    opened.map_err(|e| RuntimeError::Keys(e.to_string()))?;
                warnings.extend(findings.into_iter().map(|f| format!("the authority: {f}")));
                Self::new(Arc::new(authority), OWN_NAME, audit, now).await
            }
            (AuthorityAt::Here, None) => Self::in_memory(clock, audit).await,
        };
        trust.map_err(|e| RuntimeError::Keys(e.to_string()))
    }

    /// Makes keys for a device that this process plays, and makes them known.
    ///
    /// # Errors
    /// As [`AuthorityPort::enrol_simulated`].
    pub fn play(&self, device: &DeviceSpec, zone: &ZoneId) -> Result<DeviceIdentity, AuthError> {
        let keys = DeviceKeys::generate()?;
        self.authority.enrol_simulated(&device.id, zone, keys.public())?;
        Ok(DeviceIdentity {
            device: device.id.clone(),
            zone: zone.clone(),
            keys,
            root: *self.gateway.root(),
            voucher: None,
        })
    }

    /// Looks after all this until the plant ends. `tell` hears what an operator must know of the
    /// authority: everything that is amiss, nothing if all is well.
    pub(crate) async fn keep(self, clock: Arc<dyn Clock>, tell: impl Fn(Vec<String>)) {
        let mut lists = self.authority.revocations();
        // What changed before we listened must not wait for the next change.
        lists.mark_changed();
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let name = self.gateway.name();
        // Certificates live a day; a new one is asked for long before.
        let mut renew_at = clock.now();
        loop {
            tokio::select! {
                biased;
                changed = lists.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let list = Arc::clone(&lists.borrow_and_update());
                    if let Err(error) = self.gateway.revoked().adopt(list, clock.now()) {
                        tracing::error!("failed to {error}");
                    }
                }
                _ = upkeep.tick() => {
                    let _ = self.authority.op(AuthorityOp::Upkeep, Actor::Plant).await;
                    let now = clock.now();
                    if now >= renew_at
                        && let Ok(keys) = self.authority.gateway_keys(&name).await
                    {
                        renew_at = now.plus(keys.not_after.since(now) / 2);
                        if let Err(error) = self.gateway.adopt(credential(keys).1, now) {
                            tracing::error!("failed to {error}");
                        }
                    }
                    let mut troubles = amiss(&*self.authority);
                    if self.audit.is_blocked() {
                        troubles.push("the audit trail cannot be written".to_owned());
                    }
                    tell(troubles);
                }
            }
        }
    }

    /// Puts on record that a device is confined, and on what evidence.
    pub(crate) fn quarantine(&self, device: &str, evidence: &str) {
        self.audit.record(AuditEntry {
            kind: AuditKind::Quarantine,
            actor: "plantwin".to_owned(),
            object: device.to_owned(),
            result: AuditResult::Done,
            detail: evidence.to_owned(),
        });
    }

    /// Puts on record whether a confined device said that it is in its safe state.
    pub(crate) fn safe_state(&self, device: &str, result: &Result<(), String>) {
        let (result, detail) = match result {
            Ok(()) => (AuditResult::Done, "safe state confirmed".to_owned()),
            Err(reason) => (AuditResult::Failed, format!("safe state not confirmed: {reason}")),
        };
        self.audit.record(AuditEntry {
            kind: AuditKind::Quarantine,
            actor: "plantwin".to_owned(),
            object: device.to_owned(),
            result,
            detail,
        });
    }

    /// Puts on record what became of a device's session.
    pub(crate) fn session(
        &self,
        device: &str,
        endpoint: &str,
        result: AuditResult,
        detail: impl Into<String>,
    ) {
        self.audit.record(AuditEntry {
            kind: AuditKind::Session,
            actor: format!("device:{device}"),
            object: endpoint.to_owned(),
            result,
            detail: detail.into(),
        });
    }
}

fn credential(keys: GatewayKeys) -> (plantwin_seal::VerifyingKey, GatewayCredential) {
    let GatewayKeys { dh, cert, secret, root, .. } = keys;
    (root, GatewayCredential { dh, certificate: cert, secret })
}

/// What an operator must know of the authority now.
fn amiss(authority: &dyn AuthorityPort) -> Vec<String> {
    let health = authority.health();
    let mut all = Vec::new();
    if health.stale {
        let age = health.list_age.map_or("never".to_owned(), |a| format!("{} s ago", a.as_secs()));
        let why = if health.reason.is_empty() { "" } else { &health.reason };
        all.push(format!("the list of revoked keys was last confirmed {age}: {why}"));
    }
    all.extend(health.warnings);
    all
}
