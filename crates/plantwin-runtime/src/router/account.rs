//! Whom to tell the outcome, and what goes on record with it.

use std::sync::{Arc, mpsc::SyncSender};

use plantwin_authority::policy::Principal;
use plantwin_model::{AuditEntry, AuditKind, AuditResult, AuditSink, Outcome, Request};

/// Most characters of a person's reason that go on record.
const LONGEST_REASON: usize = 500;

/// Whether a request must wait while nobody could account for it. Acknowledging goes on, and so
/// does confining a device: whoever fills the disk must not be safe from that.
pub(super) const fn must_be_on_record(request: &Request) -> bool {
    match request {
        Request::Acknowledge { .. } | Request::Quarantine { .. } => false,
        Request::Command { .. }
        | Request::Write { .. }
        | Request::Restart { .. }
        | Request::Retry { .. }
        | Request::Drop { .. }
        | Request::Release { .. } => true,
    }
}

/// A request as the audit will know it.
pub(super) struct Account {
    kind: AuditKind,
    actor: String,
    object: String,
    what: String,
}

impl Account {
    /// `what` says what it comes to and by which rule. A quarantine has a reason besides.
    pub(super) fn of(who: &Principal, request: &Request, mut what: String) -> Self {
        if let Request::Quarantine { reason, .. } = request {
            if !what.is_empty() {
                what.push_str(": ");
            }
            what.extend(reason.chars().take(LONGEST_REASON));
        }
        let (kind, object) = match request {
            Request::Command { device, command, .. } => {
                (AuditKind::Command, format!("{device}.{command}"))
            }
            Request::Write { device, point, .. } => {
                (AuditKind::Command, format!("{device}.{point}"))
            }
            Request::Acknowledge { alarm } => (AuditKind::Request, alarm.to_string()),
            Request::Restart { device }
            | Request::Retry { device, .. }
            | Request::Drop { device, .. } => (AuditKind::Request, device.to_string()),
            Request::Quarantine { device, .. } | Request::Release { device } => {
                (AuditKind::Quarantine, device.to_string())
            }
        };
        Self { kind, actor: who.to_string(), object, what }
    }
}

/// Whoever waits for an outcome.
#[derive(Clone)]
pub(crate) struct Reply {
    to: SyncSender<Outcome>,
    account: Option<Arc<(Arc<dyn AuditSink>, Account)>>,
}

impl Reply {
    /// Nothing goes on record.
    pub(crate) const fn plain(to: SyncSender<Outcome>) -> Self {
        Self { to, account: None }
    }

    pub(super) fn accounted(
        to: SyncSender<Outcome>,
        audit: &Arc<dyn AuditSink>,
        account: Account,
    ) -> Self {
        Self { to, account: Some(Arc::new((Arc::clone(audit), account))) }
    }

    /// Who asked, as the audit trail names them; empty where nothing goes on record.
    pub(crate) fn actor(&self) -> &str {
        self.account.as_deref().map_or("", |(_, account)| account.actor.as_str())
    }

    /// Tells the outcome and puts it on record.
    pub(crate) fn tell(&self, outcome: Outcome) {
        if let Some((audit, account)) = self.account.as_deref() {
            let (result, why) = match &outcome {
                Outcome::Done => (AuditResult::Done, None),
                Outcome::Refused { reason } => (AuditResult::Refused, Some(reason.as_str())),
                Outcome::Failed { reason } | Outcome::Unknown { reason } => {
                    (AuditResult::Failed, Some(reason.as_str()))
                }
                Outcome::Expired => (AuditResult::Failed, Some("expired before it was sent")),
            };
            let parts = [Some(account.what.as_str()).filter(|w| !w.is_empty()), why];
            audit.record(AuditEntry {
                kind: account.kind,
                actor: account.actor.clone(),
                object: account.object.clone(),
                result,
                detail: parts.into_iter().flatten().collect::<Vec<_>>().join(": "),
            });
        }
        // Whoever asked may have gone away.
        let _ = self.to.try_send(outcome);
    }
}
