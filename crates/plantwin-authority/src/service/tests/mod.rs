//! The authority in this process and over real sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use plantwin_adapter::SystemClock;
use plantwin_model::{AuditEntry, AuditSink, Clock, NoAudit, Role};
use plantwin_seal::{DhKey, Secret};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{AuthorityPort, Credential, Embedded, Remote, Server, remote::Pace, server::Limits};
use crate::{
    AuthError,
    pws::{DeviceIdentity, DeviceKeys, EnrolRequest, Grant, PwsToken, TokenRequest},
    registry::{
        Actor, AuthorityOp as Op, AuthorityReply as Reply, ClientKind, EnrolStatus, VoucherCode,
    },
};

mod embedded;
mod flood;
mod remote;

const GATEWAY: &str = "hall1";
/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps what was accounted for.
#[derive(Default)]
struct Book(Mutex<Vec<AuditEntry>>);

impl AuditSink for Book {
    fn record(&self, entry: AuditEntry) {
        self.0.lock().unwrap().push(entry);
    }
}

impl Book {
    fn has(&self, word: &str) -> bool {
        self.0.lock().unwrap().iter().any(|e| e.detail.contains(word))
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new(1.0))
}

fn officer() -> Actor {
    Actor::person("ruth", Role::Security)
}

fn in_memory() -> Embedded {
    Embedded::in_memory(clock(), Arc::new(NoAudit)).unwrap()
}

fn on_disk(dir: &TempDir) -> Embedded {
    let key = Secret::new([7; 32]);
    Embedded::open(dir.path(), &key, clock(), Arc::new(NoAudit)).unwrap().0
}

fn credential(authority: &Embedded, name: &str, kind: ClientKind) -> Credential {
    let dh = DhKey::generate().unwrap();
    let op = Op::Admit { name: name.to_owned(), kind, dh: dh.public() };
    match authority.apply(&op, &officer()).unwrap() {
        Reply::Admitted(admission) => {
            let made = Credential::new(name, dh, &admission).unwrap();
            // As it is carried in a file.
            Credential::from_text(&made.to_text()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

fn device(authority: &Embedded, name: &str) -> DeviceIdentity {
    DeviceIdentity {
        device: name.into(),
        zone: "field".into(),
        keys: DeviceKeys::generate().unwrap(),
        root: authority.root().unwrap(),
        voucher: None,
    }
}

fn invite(authority: &Embedded, name: &str) -> VoucherCode {
    let op = Op::Invite { device: name.into(), zone: "field".into(), valid: None };
    match authority.apply(&op, &officer()).unwrap() {
        Reply::Voucher(view) => view.code.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn approve(me: &DeviceIdentity) -> Op {
    Op::Approve { device: me.device.clone(), fingerprint: me.keys.public().fingerprint() }
}

fn revoke(name: &str) -> Op {
    Op::Revoke { device: name.into(), reason: "lost".to_owned() }
}

fn enrolled(authority: &Embedded, name: &str) -> DeviceIdentity {
    let me = device(authority, name);
    let code = invite(authority, name);
    let request = EnrolRequest::build(&me, &code.voucher());
    authority.apply(&Op::Enrol { request }, &Actor::Plant).unwrap();
    authority.apply(&approve(&me), &officer()).unwrap();
    me
}

async fn token(port: &dyn AuthorityPort, me: &DeviceIdentity) -> Result<Grant, AuthError> {
    let request = TokenRequest::build(me, GATEWAY, clock().now()).unwrap();
    port.token(request, GATEWAY).await
}

async fn service(authority: &Embedded) -> Server {
    Server::start(authority.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap()
}

fn remote(at: SocketAddr, credential: &Credential) -> Remote {
    Remote::start(at.to_string(), credential.clone(), clock())
}

/// Waits until something holds; what is watched has no event of its own.
async fn until(mut holds: impl FnMut() -> bool) {
    timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it holds in time");
}

/// Waits until the authority can be asked.
async fn up(remote: &Remote) {
    until(|| remote.health().reachable).await;
}
