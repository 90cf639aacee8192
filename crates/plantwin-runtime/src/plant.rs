//! A running plant: field, colony and lines, started and stopped together.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use plantwin_adapter::{Registry, SystemClock};
use plantwin_authority::{policy::Principal, registry::REST_CONTEXT, service::AuthorityPort};
use plantwin_field::{Field, FieldRequest};
use plantwin_model::{
    AuditEntry, AuditKind, AuditResult, AuditSink, Clock, CommandSender, NoAudit, PlantSpec,
    PlantView, Role,
};
use plantwin_seal::Secret;
use plantwin_store::{
    Finding, KeySource, SledStore, Store,
    audit::{self, AUDIT_KEY, AuditTrail, AuditWriter},
};
use tokio::sync::{oneshot, watch};

use crate::{
    RuntimeError,
    assembly::{Assembly, AssemblyRequest, Place, assemble},
    keeper::Keeper,
    key_watch::KeyWatch,
    router::{FrontDesk, Router},
    trust::{AuthorityAt, Trust},
};

/// Threads that carry embedded servers and simulated devices.
const FIELD_THREADS: usize = 2;
/// Longest wait for twins to save on a stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for twins and lines to end on a stop.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// What to run.
pub struct RunRequest {
    /// The plant.
    pub plant: PlantSpec,
    /// Protocols.
    pub registry: Registry,
    /// Where state survives; `None` keeps nothing.
    pub data: Option<PathBuf>,
    /// What unlocks the key of `data`; of no account without it.
    pub key: KeySource,
    /// How fast plant time runs; 1 is real time.
    pub speed: f64,
    /// Where the security authority is.
    pub authority: AuthorityAt,
}

/// How a plant ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stopped {
    /// Twins that did not get to save in time.
    pub unsaved: usize,
    /// Why something that was to be kept is not on the disk, if that is so; a fragment fit for
    /// "failed to {error}".
    pub not_kept: Option<String>,
}

/// A plant that runs. Stop it with [`Self::stop`]; dropping it stops it without saving.
pub struct RunningPlant {
    /// Its view.
    pub view: watch::Receiver<Arc<PlantView>>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Problems of the data directory that an operator must know of.
    pub warnings: Vec<String>,
    router: Arc<Router>,
    keeper: Option<Arc<Keeper>>,
    trust: Trust,
    writer: Option<Arc<AuditWriter>>,
    stop: Option<oneshot::Sender<()>>,
    /// The thread of the actix system, and what is told when it ends.
    system: Option<(JoinHandle<()>, Receiver<()>)>,
    field: Option<Field>,
    io: Option<tokio::runtime::Runtime>,
}

impl RunningPlant {
    /// Starts a plant; returns when its twins are seated and its servers listen.
    pub fn start(request: RunRequest) -> Result<Self, RuntimeError> {
        let plant = Arc::new(request.plant);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(request.speed));
        let mut warnings = Vec::new();
        let (mut store, mut rest_key, mut store_findings) = (None, None, Vec::new());
        let (mut audit_key, mut authority_key) = (None, None);
        if let Some(dir) = &request.data {
            let (opened, report) = SledStore::open_with(dir, &request.key)?;
            store_findings = report
                .findings
                .iter()
                .filter(|f| !matches!(f, Finding::LogTorn { .. }))
                .map(ToString::to_string)
                .collect();
            for finding in &store_findings {
                warnings.push(format!("the data directory {}: {finding}", dir.display()));
            }
            for aside in &report.set_aside {
                warnings.push(format!("damaged files were set aside as {}", aside.display()));
            }
            rest_key = Some(opened.key_for("plantwin v1 at rest"));
            audit_key = Some(opened.key_for(AUDIT_KEY));
            authority_key = Some(opened.key_for(REST_CONTEXT));
            store = Some(Arc::new(opened) as Arc<dyn Store>);
        }
        let keys_error = |e: plantwin_seal::SealError| RuntimeError::Keys(e.to_string());
        let rest_key = match rest_key {
            Some(key) => key,
            None => Secret::random().map_err(keys_error)?,
        };
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(FIELD_THREADS)
            .thread_name("field")
            .enable_all()
            .build()?;
        let (audit, writer) = match (&request.data, &audit_key) {
            (Some(dir), Some(key)) => {
                let (trail, findings) = AuditTrail::open(&audit::folder(dir), key, clock.now())?;
                store_findings.extend(findings.iter().map(|f| format!("the audit trail: {f}")));
                let writer = Arc::new(AuditWriter::start(trail, Arc::clone(&clock))?);
                (Arc::clone(&writer) as Arc<dyn AuditSink>, Some(writer))
            }
            _ => (Arc::new(NoAudit) as Arc<dyn AuditSink>, None),
        };
        let own = |detail: String| AuditEntry {
            kind: AuditKind::System,
            actor: "plantwin".to_owned(),
            object: format!("plant:{}", plant.name),
            result: AuditResult::Done,
            detail,
        };
        let mut keys = request.data.clone().map(KeyWatch::new);
        let wrapped = keys.as_mut().and_then(KeyWatch::look);
        let started = wrapped.map(|how| format!("the plant started; {how}"));
        audit.record(own(started.unwrap_or_else(|| "the plant started".to_owned())));
        if let Some(keys) = keys {
            io.spawn(keys.run(Arc::clone(&audit), format!("plant:{}", plant.name)));
        }
        for finding in &store_findings {
            let result = AuditResult::Failed;
            audit.record(AuditEntry { result, ..own(format!("found in the data: {finding}")) });
        }
        let trust = {
            let folder = request.data.as_deref().zip(authority_key.as_ref());
            let made = Trust::of_plant(request.authority, folder, &clock, &audit, &mut warnings);
            io.block_on(made)?
        };
        let players = trust.clone();
        let field = io.block_on(Field::start(FieldRequest {
            plant: Arc::clone(&plant),
            registry: request.registry.clone(),
            clock: Arc::clone(&clock),
            identities: Arc::new(move |device, zone| {
                players.play(device, zone).map_err(|e| format!("failed to {e}"))
            }),
        }))?;
        let zones = plant.zones.len().max(1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let assembly = AssemblyRequest {
            plant: Arc::clone(&plant),
            registry: request.registry,
            clock: Arc::clone(&clock),
            store,
            rest_key,
            store_findings,
            trust: trust.clone(),
            paths: field.paths.clone(),
            endpoints: field.endpoints.clone(),
            place: Place::Threads(zones.min(cores)),
            disk_hangs: None,
            drill: None,
            steps: Some(Arc::clone(&field.stats)),
        };
        let (ready, started) = sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let (ends, ended) = sync_channel(1);
        let system = std::thread::Builder::new().name("plantwin".to_owned()).spawn(move || {
            let _ends: SyncSender<()> = ends;
            actix::System::new().block_on(async move {
                let (result, arbiters) = match assemble(assembly).map(Assembly::into_parts) {
                    Ok((handles, arbiters)) => (Ok(handles), arbiters),
                    Err(error) => (Err(error), Vec::new()),
                };
                // If nobody waits any more, the stop below comes at once.
                let _ = ready.send(result);
                let _ = stopped.await;
                for arbiter in &arbiters {
                    arbiter.stop();
                }
                for arbiter in arbiters {
                    let _ = arbiter.join();
                }
            });
        })?;
        let up = started.recv().map_err(|_| RuntimeError::Ended)??;
        warnings.extend(up.warnings);
        Ok(Self {
            view: up.view,
            clock,
            warnings,
            router: up.router,
            keeper: up.keeper,
            trust,
            writer,
            stop: Some(stop),
            system: Some((system, ended)),
            field: Some(field),
            io: Some(io),
        })
    }

    /// A desk at which the owner of the plant makes requests in this role; in a plant with users
    /// the owner only looks.
    pub fn commands(&self, role: Role) -> Arc<dyn CommandSender> {
        self.front_desk().desk(Principal::owner(role))
    }

    /// The authority, to be asked by people.
    pub fn authority(&self) -> Arc<dyn AuthorityPort> {
        Arc::clone(&self.trust.authority)
    }

    /// The audit trail, if one is kept.
    pub fn audit(&self) -> Option<Arc<AuditWriter>> {
        self.writer.clone()
    }

    /// Where desks for principals are given out and the policy is swapped.
    pub fn front_desk(&self) -> FrontDesk {
        FrontDesk::new(Arc::clone(&self.router))
    }

    /// Drains and saves, then stops. Ends in about a minute even if the disk does not answer.
    pub fn stop(mut self) -> Stopped {
        let (asked, outcomes) = self.router.drain();
        let mut missing = asked;
        let clock = Arc::clone(&self.clock);
        let deadline = clock.now().plus(DRAIN_WITHIN.mul_f64(clock.speed().max(1e-6)));
        while missing > 0 {
            let left = deadline.since(clock.now()).div_f64(clock.speed().max(1e-6));
            if left.is_zero() || outcomes.recv_timeout(left).is_err() {
                break;
            }
            missing -= 1;
        }
        Stopped { unsaved: missing, not_kept: self.end() }
    }

    /// Returns why something was not kept.
    fn end(&mut self) -> Option<String> {
        let mut not_kept = None;
        if let Some(keeper) = self.keeper.take()
            && let Err(error) = keeper.close()
        {
            tracing::error!("failed to {error}");
            not_kept = Some(error);
        }
        // Lines first, so that twins do not see their devices die.
        drop(self.stop.take());
        if let Some((system, ended)) = self.system.take() {
            // Whoever waits there for a disk that hangs must not keep the plant from ending.
            if ended.recv_timeout(ENDS_WITHIN) == Err(RecvTimeoutError::Timeout) {
                tracing::error!("failed to end all threads within {} s", ENDS_WITHIN.as_secs());
            } else {
                let _ = system.join();
            }
        }
        drop(self.field.take());
        if let Some(io) = self.io.take() {
            io.shutdown_timeout(Duration::from_secs(1));
        }
        self.trust.authority.settle();
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.close()
        {
            tracing::error!("failed to {error}");
            not_kept.get_or_insert_with(|| error.to_string());
        }
        not_kept
    }
}

impl Drop for RunningPlant {
    fn drop(&mut self) {
        self.end();
    }
}
