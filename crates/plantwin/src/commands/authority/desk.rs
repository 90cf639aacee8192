//! Where an authority is asked: at the plant that runs, in its data folder, or over the network.
//!
//! Absent: what is asked.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use plantwin_adapter::SystemClock;
use plantwin_authority::{
    AuthError,
    registry::{
        Actor, AuthorityOp, AuthorityReply, AuthorityStore, Opened, REST_CONTEXT, Registry,
        read_private,
    },
    service::{AuthorityPort as _, Credential, Embedded, Remote},
};
use plantwin_model::{Clock, Role};
use plantwin_seal::SigningKey;
use plantwin_store::{
    SledStore, StoreError,
    audit::{self, AUDIT_KEY, AuditTrail, AuditWriter},
};
use tokio::runtime::Runtime;

use super::{super::keys, args::Place};
use crate::{
    cli::KeyArgs,
    control::{
        self,
        wire::{Ask, Proof, Question, Say},
    },
    exit::{Code, Failure, OrExit as _},
};

/// Longest wait for a service to be reached.
const REACH_WITHIN: Duration = Duration::from_secs(8);

/// Where an authority is asked.
pub(super) enum Desk {
    /// At a running plant.
    Socket(PathBuf, Option<Proof>),
    /// In its folder, which this process holds meanwhile.
    Folder(Box<Folder>),
    /// Over the network.
    Network(Box<(Remote, Runtime)>),
}

/// The data folder of an authority, open. Fields close in this order.
pub(super) struct Folder {
    pub(super) authority: Embedded,
    /// Everything is on record when this is closed.
    pub(super) trail: Arc<AuditWriter>,
    /// Holds the folder against others.
    _store: SledStore,
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.authority.settle();
        if let Err(error) = self.trail.close() {
            eprintln!("plantwin: failed to {error}");
        }
    }
}

impl Desk {
    pub(super) fn reach(place: &Place) -> Result<Self, Failure> {
        if let (Some(address), Some(path)) = (&place.authority, &place.authority_key) {
            return network(address, path);
        }
        let which = &place.which;
        let socket = control::find(which.attach.as_deref(), which.data.as_deref())?;
        match &which.data {
            // Nobody listens there: no plant runs on it.
            Some(data) if std::os::unix::net::UnixStream::connect(&socket).is_err() => {
                if !data.is_dir() {
                    return Err(Code::Unavailable.failure(format!(
                        "there is no data folder {}; make an authority there by `plantwin \
                         authority init`",
                        data.display()
                    )));
                }
                Ok(Self::Folder(Box::new(open(data, &place.key)?)))
            }
            _ => Ok(Self::Socket(socket, keys::proof(which)?)),
        }
    }

    /// Whether it is asked on the machine that it lies on.
    pub(super) const fn is_local(&self) -> bool {
        !matches!(self, Self::Network(_))
    }

    pub(super) fn ask(&mut self, op: AuthorityOp) -> Result<AuthorityReply, Failure> {
        match self {
            Self::Socket(socket, proof) => {
                let ask = Ask::Authority { op: Box::new(op) };
                let question = Question { ask, proof: proof.clone() };
                let line = control::answer(socket, &question)?;
                match serde_json::from_str(&line).or_exit(Code::Unavailable)? {
                    Say::Authority { reply } => Ok(*reply),
                    Say::AuthorityRefused { code, text } => Err(refusal(&code, &text)),
                    Say::Error { text } => Err(Code::Unavailable.failure(text)),
                    _ => Err(super::nonsense()),
                }
            }
            Self::Folder(folder) => {
                let answer = folder.authority.apply(&op, &clerk());
                // Before anything is said of it: whoever listens may hang up, which ends this
                // process at once, and what was done must be on record by then. What was done
                // stays done, so a trail that cannot be written is told and changes no answer.
                if let Err(error) = folder.trail.flush() {
                    eprintln!("plantwin: failed to {error}");
                }
                answer.map_err(failure)
            }
            Self::Network(network) => {
                let (remote, runtime) = &**network;
                runtime.block_on(remote.op(op, Actor::Plant)).map_err(failure)
            }
        }
    }
}

/// Whoever can read the folder can do with it what they want: the name is for the record.
fn clerk() -> Actor {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name: String = name.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    Actor::person(if name.is_empty() { "(owner)".to_owned() } else { name }, Role::Security)
}

fn wall() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new(1.0))
}

fn store(data: &Path, key: &KeyArgs) -> Result<SledStore, Failure> {
    let source = keys::source(key, data)?;
    let opened = SledStore::open_with(data, &source).map_err(|error| match error {
        StoreError::InUse { .. } => Code::Retry.failure(format!(
            "failed to {error}; if an authority serves there, ask it by --authority HOST:PORT \
             --authority-key FILE"
        )),
        error => keys::failure(error),
    });
    let (store, report) = opened?;
    for finding in &report.findings {
        eprintln!("plantwin: the data directory {}: {finding}", data.display());
    }
    Ok(store)
}

/// The authority of a data folder, which must not be in use.
pub(super) fn open(data: &Path, key: &KeyArgs) -> Result<Folder, Failure> {
    let (clock, store) = (wall(), store(data, key)?);
    let trail = trail(data, &store, &clock)?;
    let (folder, rest) = (data.join("authority"), store.key_for(REST_CONTEXT));
    let (authority, findings) =
        Embedded::open(&folder, &rest, clock, Arc::clone(&trail) as _).map_err(failure)?;
    for finding in findings {
        eprintln!("plantwin: the authority: {finding}");
    }
    Ok(Folder { authority, trail, _store: store })
}

fn trail(
    data: &Path,
    store: &SledStore,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<AuditWriter>, Failure> {
    let key = store.key_for(AUDIT_KEY);
    let opened = AuditTrail::open(&audit::folder(data), &key, clock.now());
    let (trail, findings) = opened.map_err(keys::failure)?;
    for finding in findings {
        eprintln!("plantwin: the audit trail: {finding}");
    }
    let writer = AuditWriter::start(trail, Arc::clone(clock)).map_err(keys::failure)?;
    Ok(Arc::new(writer))
}

/// A data folder in which an authority is about to be made.
pub(super) struct Fresh {
    opened: Opened,
    clock: Arc<dyn Clock>,
    trail: Arc<AuditWriter>,
    _store: SledStore,
}

/// Opens it; one that has an authority is refused.
pub(super) fn fresh(data: &Path, key: &KeyArgs) -> Result<Fresh, Failure> {
    let (clock, store) = (wall(), store(data, key)?);
    let trail = trail(data, &store, &clock)?;
    let opened = AuthorityStore::open(&data.join("authority"), &store.key_for(REST_CONTEXT));
    let opened = opened.map_err(failure)?;
    if opened.registry.is_some() {
        return Err(Code::Usage.failure(format!(
            "{} has an authority already; `plantwin authority rotate --export-root FILE` takes \
             its root key out, if it lies there",
            data.display()
        )));
    }
    Ok(Fresh { opened, clock, trail, _store: store })
}

impl Fresh {
    /// Makes the authority, without the root's secret.
    pub(super) fn create(&mut self, root: &SigningKey) -> Result<(), Failure> {
        use plantwin_model::{AuditEntry, AuditKind, AuditResult, AuditSink as _};
        let mut registry = Registry::create(root, false, self.clock.now()).map_err(failure)?;
        self.opened.store.write(&mut registry).map_err(failure)?;
        self.trail.record(AuditEntry {
            kind: AuditKind::Key,
            actor: clerk().to_string(),
            object: "root".to_owned(),
            result: AuditResult::Done,
            detail: "made, with its secret in a file elsewhere".to_owned(),
        });
        self.trail.close().map_err(keys::failure)
    }
}

fn network(address: &str, path: &Path) -> Result<Desk, Failure> {
    let credential = credential(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .or_exit(Code::Unavailable)?;
    let remote = {
        let _guard = runtime.enter();
        Remote::start(address.to_owned(), credential, wall())
    };
    let reached = runtime.block_on(async {
        tokio::time::timeout(REACH_WITHIN, async {
            while !remote.health().reachable {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    });
    if reached.is_err() {
        let reason = remote.health().reason;
        let code = if reason.contains("not admitted") { Code::Auth } else { Code::Unavailable };
        return Err(code.failure(format!("cannot reach the authority at {address}: {reason}")));
    }
    Ok(Desk::Network(Box::new((remote, runtime))))
}

/// Reads a credential, as `plantwin authority enrol --gateway` wrote it.
pub(crate) fn credential(path: &Path) -> Result<Credential, Failure> {
    let shown = path.display();
    let text = read_private(path, Credential::LIMIT).map_err(|e| {
        Code::Unavailable.failure(format!("cannot read the credential {shown}: {e}"))
    })?;
    Credential::from_text(&String::from_utf8_lossy(&text)).map_err(|_| {
        Code::Config.failure(format!(
            "{shown} is no credential; `plantwin authority enrol --gateway NAME --out FILE` makes \
             one"
        ))
    })
}

/// A failure, with the exit code that says what kind.
pub(super) fn failure(error: AuthError) -> Failure {
    refusal(error.reason_code(), &error.to_string())
}

fn refusal(code: &str, text: &str) -> Failure {
    let exit = match code {
        "not_allowed" | "wrong_root" | "voucher_refused" | "request_forged" | "wrong_key" => {
            Code::Auth
        }
        "unavailable" | "storage" | "seal" | "issuer_expired" => Code::Unavailable,
        "rate_limited" | "busy" => Code::Retry,
        _ => Code::Usage,
    };
    exit.failure(format!("failed to {}", super::printable(text)))
}
