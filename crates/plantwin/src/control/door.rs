//! Who is at the other end of the control socket.
//!
//! The operating system's number of the user (`SO_PEERCRED`) names a user of the policy; a
//! passphrase proves to be another one. Without users in the policy, the one who runs the plant
//! (and root, who could become that one) is its owner and chooses a role; anybody else is a
//! stranger. Absent: what they may do (the policy).

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    sync::{Mutex, PoisonError},
};

use plantwin_authority::policy::{Policy, Principal, verify_nobody, verify_passphrase};
use plantwin_model::{AuditEntry, AuditKind, AuditResult, Role, UserSpec};
use plantwin_runtime::FrontDesk;
use tokio::sync::Semaphore;

use super::{lockout::Lockout, wire::Proof};

/// Whom nobody is: told the same whatever is wrong, so that names cannot be tried out.
const WRONG: &str = "no such user, no passphrase set, or a wrong one";

/// The user who runs the plant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner(u32);

impl Owner {
    pub(super) fn of_this_process() -> Self {
        // Without procfs nobody but root is the owner: stricter than wrong.
        Self(fs::metadata("/proc/self").map_or(0, |m| m.uid()))
    }
}

/// Whoever runs this process, at its own console: a user of the policy by their number, or the
/// owner in this role.
pub(crate) fn whoever_runs_this(policy: &Policy, role: Role) -> Principal {
    let Owner(uid) = Owner::of_this_process();
    let user = policy.users().iter().find(|u| u.uid == Some(uid));
    user.map_or_else(|| Principal::owner(role), Principal::user)
}

/// Somebody who was let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Visitor {
    /// The owner, in whatever role they choose.
    Owner,
    /// Anybody else.
    Known(Principal),
}

impl Visitor {
    /// As a principal; `role` is the owner's choice.
    pub(super) fn principal(&self, role: Role) -> Principal {
        match self {
            Self::Owner => Principal::owner(role),
            Self::Known(principal) => principal.clone(),
        }
    }
}

/// The door.
pub(super) struct Door {
    front: FrontDesk,
    owner: Owner,
    /// One passphrase at a time: each costs 64 MiB and a quarter of a second.
    checking: Semaphore,
    lockout: Mutex<Lockout>,
}

impl Door {
    pub(super) fn new(front: FrontDesk, owner: Owner) -> Self {
        Self { front, owner, checking: Semaphore::new(1), lockout: Mutex::default() }
    }

    /// Whether others than the owner are among the users.
    pub(super) fn is_for_others(&self) -> bool {
        let policy = self.front.policy();
        policy.users().iter().any(|u| u.uid.is_some_and(|uid| uid != self.owner.0 && uid != 0))
    }

    /// Finds who has this uid, or who proves to be somebody else.
    pub(super) async fn open(&self, uid: u32, proof: Option<Proof>) -> Result<Visitor, String> {
        if let Some(proof) = proof {
            let user = self.prove(uid, proof).await?;
            return Ok(Visitor::Known(Principal::user(&user)));
        }
        let policy = self.front.policy();
        if let Some(user) = policy.users().iter().find(|u| u.uid == Some(uid)) {
            return Ok(Visitor::Known(Principal::user(user)));
        }
        if policy.users().is_empty() && (uid == self.owner.0 || uid == 0) {
            return Ok(Visitor::Owner);
        }
        Ok(Visitor::Known(Principal::stranger(uid)))
    }

    async fn prove(&self, uid: u32, proof: Proof) -> Result<UserSpec, String> {
        let Ok(_one) = self.checking.acquire().await else { return Err(WRONG.to_owned()) };
        if let Some(left) = self.lockout().left(uid, self.front.now()) {
            let text =
                format!("too many wrong passphrases; try again in {} s", left.as_secs_f64().ceil());
            self.account(uid, "user:?", AuditResult::Refused, &text);
            return Err(text);
        }
        let Proof { user: name, passphrase } = proof;
        let policy = self.front.policy();
        let user = policy.users().iter().find(|u| *u.name == *name).cloned();
        let known = user.and_then(|u| u.passphrase.clone().map(|hash| (u, hash)));
        let (user, hash) = known.unzip();
        // Looked at for as long whether there is such a user or not.
        let fits = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => verify_passphrase(&passphrase, &hash),
            None => verify_nobody(&passphrase),
        });
        let fits = fits.await.unwrap_or(false);
        // Only the names of users go on record: a wrong one may be a passphrase.
        let object =
            user.as_ref().map_or("user:?".to_owned(), |user| format!("user:{}", user.name));
        if let Some(user) = user.filter(|_| fits) {
            self.account(uid, &object, AuditResult::Done, "proved by passphrase");
            return Ok(user);
        }
        self.lockout().wrong(uid, self.front.now());
        self.account(uid, &object, AuditResult::Refused, "wrong passphrase");
        Err(WRONG.to_owned())
    }

    fn lockout(&self) -> std::sync::MutexGuard<'_, Lockout> {
        // Counters, each on its own.
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, uid: u32, object: &str, result: AuditResult, detail: &str) {
        self.front.record(AuditEntry {
            kind: AuditKind::Request,
            actor: format!("user:uid={uid}"),
            object: object.to_owned(),
            result,
            detail: detail.to_owned(),
        });
    }
}
