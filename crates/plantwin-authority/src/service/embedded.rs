//! An authority in this process.
//!
//! Tokens are made under a short lock and never wait for the disk. What changes the registry is
//! tried on a copy, written, and only then becomes true; so a full disk refuses an operation and
//! leaves everything as it was. Without a folder nothing blocks and nothing outlives the process,
//! which also makes a simulation repeatable.
//! Absent: a timer. Whoever runs it asks for [`AuthorityOp::Upkeep`] about once a minute.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use plantwin_model::{AuditSink, Clock, DeviceId, Timestamp, ZoneId};
use plantwin_seal::{DhKey, DhPublic, OriginDigest, OriginValue, Secret, SigningKey, VerifyingKey};
use tokio::sync::watch;

use super::{AuthorityPort, BoxFuture, GatewayKeys, Health, quiet::Quiet};
use crate::{
    AuthError,
    pws::{DevicePublic, EnrolRequest, Grant, RevocationList, TokenRequest},
    registry::{
        Actor, Applied, AuthorityOp, AuthorityReply, AuthorityStore, ClientKind, EnrolStatus, Kept,
        PolicyStamp, Registry,
    },
};

/// An authority in this process; clones are handles to the same one.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    live: Mutex<Registry>,
    /// Held while something changes, so that changes are written in the order they become true.
    store: Mutex<Option<AuthorityStore>>,
    on_disk: bool,
    lists: watch::Sender<Arc<RevocationList>>,
    policy: Mutex<PolicyStamp>,
    quiet: Mutex<Quiet>,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
    since: Timestamp,
}

impl Inner {
    fn settle(&self) {
        let rest = lock(&self.quiet).rest();
        if let Some(entry) = rest {
            self.audit.record(entry);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.settle();
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("on_disk", &self.0.on_disk).finish_non_exhaustive()
    }
}

impl Embedded {
    /// One that is forgotten with the process.
    ///
    /// # Errors
    /// [`AuthError::Seal`] if the system gives no randomness.
    pub fn in_memory(clock: Arc<dyn Clock>, audit: Arc<dyn AuditSink>) -> Result<Self, AuthError> {
        let registry = Registry::create(&SigningKey::generate()?, true, clock.now())?;
        Ok(Self::with(registry, None, clock, audit))
    }

    /// The one that lies in `dir`, sealed with `key`; one that was never made is made now, with
    /// its root key beside it. Blocks on the disk. Gives what an operator must know of, too.
    ///
    /// # Errors
    /// As [`AuthorityStore::open`].
    pub fn open(
        dir: &Path,
        key: &Secret,
        clock: Arc<dyn Clock>,
        audit: Arc<dyn AuditSink>,
    ) -> Result<(Self, Vec<String>), AuthError> {
        let mut opened = AuthorityStore::open(dir, key)?;
        let registry = if let Some(registry) = opened.registry {
            registry
        } else {
            let mut made = Registry::create(&SigningKey::generate()?, true, clock.now())?;
            opened.store.write(&mut made)?;
            made
        };
        Ok((Self::with(registry, Some(opened.store), clock, audit), opened.findings))
    }

    fn with(
        registry: Registry,
        store: Option<AuthorityStore>,
        clock: Arc<dyn Clock>,
        audit: Arc<dyn AuditSink>,
    ) -> Self {
        let since = clock.now();
        let lists = watch::Sender::new(Arc::new(registry.revocations(since)));
        Self(Arc::new(Inner {
            live: Mutex::new(registry),
            on_disk: store.is_some(),
            store: Mutex::new(store),
            lists,
            policy: Mutex::default(),
            quiet: Mutex::default(),
            clock,
            audit,
            since,
        }))
    }

    /// Carries an operation out, here and now. Blocks on the disk if it changes something.
    pub fn apply(&self, op: &AuthorityOp, actor: &Actor) -> Result<AuthorityReply, AuthError> {
        let now = self.0.clock.now();
        if self.live().is_due(now) && *op != AuthorityOp::Upkeep {
            // Its failure is told in the audit trail; what is asked may succeed nevertheless.
            let _ = self
                .change(now, |registry| registry.apply(&AuthorityOp::Upkeep, &Actor::Plant, now));
        }
        let of_person = matches!(actor, Actor::Person { .. });
        if of_person && op.must_be_on_record() && self.0.audit.is_blocked() {
            return Err(AuthError::Unaccountable);
        }
        let mut live = self.live();
        if live.is_light(op) {
            let applied = live.apply(op, actor, now);
            drop(live);
            return self.account(applied, now);
        }
        drop(live);
        self.change(now, |registry| registry.apply(op, actor, now))
    }

    /// Tries a change on a copy, writes it, and makes it true.
    fn change(
        &self,
        now: Timestamp,
        work: impl FnOnce(&mut Registry) -> Applied,
    ) -> Result<AuthorityReply, AuthError> {
        let mut store = lock(&self.0.store);
        let mut tried = self.live().fork();
        let mut applied = work(&mut tried);
        if applied.answer.is_ok() && tried.is_changed() {
            let written = store.as_mut().map_or(Ok(()), |store| store.write(&mut tried));
            match written {
                Ok(()) => {
                    let list = tried.revocations(now);
                    self.live().adopt(tried);
                    self.0.lists.send_if_modified(|known| {
                        let newer = list.serial != known.serial;
                        if newer {
                            *known = Arc::new(list);
                        }
                        newer
                    });
                }
                Err(error) => {
                    if let Some(entry) = &mut applied.audit {
                        entry.result = plantwin_model::AuditResult::Failed;
                        entry.detail = format!("{}: {error}", entry.detail);
                    }
                    applied.answer = Err(error);
                }
            }
        }
        drop(store);
        self.account(applied, now)
    }

    fn account(&self, applied: Applied, now: Timestamp) -> Result<AuthorityReply, AuthError> {
        let entries = match applied.audit {
            Some(entry) => lock(&self.0.quiet).filter(entry, now),
            None => lock(&self.0.quiet).due(now).into_iter().collect(),
        };
        for entry in entries {
            self.0.audit.record(entry);
        }
        applied.answer
    }

    /// As [`Self::apply`], on a thread that may block if it has to.
    async fn apply_aside(
        &self,
        op: AuthorityOp,
        actor: Actor,
    ) -> Result<AuthorityReply, AuthError> {
        let blocks = {
            let live = self.live();
            self.0.on_disk && (!live.is_light(&op) || live.is_due(self.0.clock.now()))
        };
        if !blocks {
            return self.apply(&op, &actor);
        }
        let this = self.clone();
        match tokio::task::spawn_blocking(move || this.apply(&op, &actor)).await {
            Ok(answer) => answer,
            Err(error) => Err(AuthError::Unavailable(format!("it ends: {error}"))),
        }
    }

    /// The signed list, for a gateway far away.
    pub(crate) fn signed_revocations(&self) -> Result<Vec<u8>, AuthError> {
        self.live().signed_revocations(self.0.clock.now())
    }

    /// The key of the service's end of a channel.
    pub(crate) fn service_key(&self) -> DhKey {
        self.live().service_key()
    }

    /// Who shows this key.
    pub(crate) fn client_of(&self, dh: &DhPublic) -> Option<(String, ClientKind, Kept)> {
        let live = self.live();
        live.client_of(dh).map(|(name, kind, psk)| (name.to_owned(), kind, psk.clone()))
    }

    /// The clock it was given.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Where it accounts for what was done.
    pub(crate) fn audit(&self) -> &Arc<dyn AuditSink> {
        &self.0.audit
    }

    /// The root's public key: what devices are given to trust.
    pub fn root(&self) -> Result<VerifyingKey, AuthError> {
        self.live().root()
    }

    fn live(&self) -> MutexGuard<'_, Registry> {
        lock(&self.0.live)
    }
}

/// Nothing that runs under these locks leaves anything half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AuthorityPort for Embedded {
    fn token(
        &self,
        request: TokenRequest,
        gateway: &str,
    ) -> BoxFuture<'_, Result<Grant, AuthError>> {
        let gateway = gateway.to_owned();
        Box::pin(async move {
            let actor = Actor::Gateway(gateway.clone());
            let policy = *lock(&self.0.policy);
            let op = AuthorityOp::Token { request, gateway, policy };
            match self.apply_aside(op, actor).await? {
                AuthorityReply::Grant(grant) => Ok(grant),
                _ => Err(AuthError::Unexpected),
            }
        })
    }

    fn enrol(&self, request: EnrolRequest) -> BoxFuture<'_, Result<EnrolStatus, AuthError>> {
        Box::pin(async move {
            match self.apply_aside(AuthorityOp::Enrol { request }, Actor::Plant).await? {
                AuthorityReply::Enrolment(status) => Ok(status),
                _ => Err(AuthError::Unexpected),
            }
        })
    }

    fn gateway_keys(&self, gateway: &str) -> BoxFuture<'_, Result<GatewayKeys, AuthError>> {
        let gateway = gateway.to_owned();
        Box::pin(async move {
            let this = self.clone();
            let make = move || {
                let (now, op) =
                    (this.0.clock.now(), AuthorityOp::GatewayKeys { gateway: gateway.clone() });
                this.change(now, |registry| match registry.ensure_embedded(&gateway, now) {
                    Ok(()) => registry.apply(&op, &Actor::Plant, now),
                    Err(error) => Applied { answer: Err(error), audit: None },
                })
            };
            let answer = if self.0.on_disk {
                let joined = tokio::task::spawn_blocking(make).await;
                joined.map_err(|e| AuthError::Unavailable(format!("it ends: {e}")))?
            } else {
                make()
            };
            match answer? {
                AuthorityReply::GatewayKeys(material) => {
                    let dh = material.dh.clone().ok_or(AuthError::Unexpected)?;
                    GatewayKeys::of(material, DhKey::from_bytes(dh.expose()))
                }
                _ => Err(AuthError::Unexpected),
            }
        })
    }

    fn op(
        &self,
        op: AuthorityOp,
        actor: Actor,
    ) -> BoxFuture<'_, Result<AuthorityReply, AuthError>> {
        Box::pin(self.apply_aside(op, actor))
    }

    fn revocations(&self) -> watch::Receiver<Arc<RevocationList>> {
        self.0.lists.subscribe()
    }

    fn settle(&self) {
        self.0.settle();
    }

    fn set_policy(&self, policy: PolicyStamp) {
        *lock(&self.0.policy) = policy;
    }

    fn enrol_simulated(
        &self,
        device: &DeviceId,
        zone: &ZoneId,
        public: DevicePublic,
    ) -> Result<(), AuthError> {
        // Not while something is tried on a copy: the copy would forget it.
        let _writer = lock(&self.0.store);
        self.live().enrol_simulated(device, zone, public, self.0.clock.now())
    }

    fn check_origin(
        &self,
        device: &DeviceId,
        value: &OriginValue<'_>,
        digest: &OriginDigest,
    ) -> Option<bool> {
        self.live().origin_holds(device, value, digest)
    }

    fn health(&self) -> Health {
        let now = self.0.clock.now();
        let listing = {
            let live = self.live();
            (live.root_is_here(), live.issuer_is_due(now))
        };
        let (mut warnings, mut advice) = (Vec::new(), Vec::new());
        if self.0.on_disk && listing.0 {
            advice.push(
                "the root key lies beside the authority; take it offline with `plantwin authority \
                 rotate --export-root FILE`"
                    .to_owned(),
            );
        }
        if listing.1 && !listing.0 {
            warnings.push(
                "the issuer's key ends soon, and without it no device gets a token; run `plantwin \
                 authority rotate --root FILE`"
                    .to_owned(),
            );
        }
        Health {
            reachable: true,
            since: self.0.since,
            reason: String::new(),
            list_age: Some(std::time::Duration::ZERO),
            stale: false,
            warnings,
            advice,
        }
    }
}

impl GatewayKeys {
    /// From what the authority tells and the gateway's own key.
    pub(crate) fn of(
        material: crate::registry::GatewayMaterial,
        dh: DhKey,
    ) -> Result<Self, AuthError> {
        Ok(Self {
            gateway: material.gateway,
            dh,
            cert: material.cert,
            not_after: material.not_after,
            secret: material.secret.secret().clone(),
            root: VerifyingKey::from_bytes(&material.root)?,
        })
    }
}
