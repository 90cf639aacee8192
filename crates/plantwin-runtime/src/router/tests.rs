//! What goes on record of a request, and that the door of a policy is the same for everybody.

use std::sync::{Arc, Mutex, mpsc::sync_channel};

use plantwin_authority::policy::Principal;
use plantwin_model::{
    AlarmId, AlarmSource, AlarmState, AlarmView, AuditEntry, AuditKind, AuditResult, AuditSink,
    DeviceIx, MailboxView, Outcome, PlantView, Priority, Request, Role, SessionView, Timestamp,
    TwinState, TwinView,
};

use super::{
    account::{Account, Reply, must_be_on_record},
    is_open,
};

/// Keeps what is put on record.
#[derive(Default)]
struct Book(Mutex<Vec<AuditEntry>>);

impl AuditSink for Book {
    fn record(&self, entry: AuditEntry) {
        self.0.lock().expect("nobody panicked").push(entry);
    }
}

fn told(request: &Request, what: &str, outcome: Outcome) -> AuditEntry {
    let book = Arc::new(Book::default());
    let (to, heard) = sync_channel(1);
    let account = Account::of(&Principal::owner(Role::Operator), request, what.to_owned());
    let audit: Arc<dyn AuditSink> = Arc::clone(&book) as Arc<dyn AuditSink>;
    Reply::accounted(to, &audit, account).tell(outcome.clone());
    assert_eq!(heard.try_recv(), Ok(outcome));
    let mut entries = book.0.lock().expect("nobody panicked");
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

#[test]
fn a_request_goes_on_record_with_who_what_which_rule_and_how_it_ended() {
    let write = Request::Write { device: "tank1".into(), point: "valve".to_owned(), value: 0.5 };
    let what = "tank1.valve = 0.5, by p.toml:7";
    assert_eq!(
        told(&write, what, Outcome::Done),
        AuditEntry {
            kind: AuditKind::Command,
            actor: "user:(owner)".to_owned(),
            object: "tank1.valve".to_owned(),
            result: AuditResult::Done,
            detail: what.to_owned(),
        }
    );
    let entry = told(&write, what, Outcome::Refused { reason: "no".to_owned() });
    assert_eq!((entry.result, &*entry.detail), (AuditResult::Refused, &*format!("{what}: no")));
    for outcome in [
        Outcome::Expired,
        Outcome::Failed { reason: "no".to_owned() },
        Outcome::Unknown { reason: "no".to_owned() },
    ] {
        assert_eq!(told(&write, what, outcome).result, AuditResult::Failed);
    }
}

#[test]
fn each_kind_of_request_has_its_kind_of_record() {
    let kind = |request: &Request| {
        let entry = told(request, "", Outcome::Done);
        assert!(entry.detail.is_empty());
        (entry.kind, entry.object)
    };
    let restart = Request::Restart { device: "tank1".into() };
    assert_eq!(kind(&restart), (AuditKind::Request, "tank1".to_owned()));
    let ack = Request::Acknowledge { alarm: "tank1.high".into() };
    assert_eq!(kind(&ack), (AuditKind::Request, "tank1.high".to_owned()));
    let release = Request::Release { device: "tank1".into() };
    assert_eq!(kind(&release), (AuditKind::Quarantine, "tank1".to_owned()));
}

#[test]
fn why_a_person_confined_a_device_is_on_record() {
    let reason = "seen open on the bench".to_owned();
    let confine = Request::Quarantine { device: "tank1".into(), reason };
    let entry = told(&confine, "quarantine tank1, by the owner's role", Outcome::Done);
    assert_eq!(entry.detail, "quarantine tank1, by the owner's role: seen open on the bench");
    let endless = Request::Quarantine { device: "tank1".into(), reason: "é".repeat(100_000) };
    assert!(told(&endless, "", Outcome::Done).detail.len() < 2_000);
}

#[test]
fn a_reply_that_nobody_accounts_for_is_told_all_the_same() {
    let (to, heard) = sync_channel(1);
    Reply::plain(to).tell(Outcome::Expired);
    assert_eq!(heard.try_recv(), Ok(Outcome::Expired));
}

#[test]
fn while_nobody_could_account_for_it_people_may_acknowledge_and_confine_and_nothing_else() {
    let device = plantwin_model::DeviceId::from("tank1");
    let goes_on = [
        Request::Acknowledge { alarm: "tank1.high".into() },
        Request::Quarantine { device: device.clone(), reason: "forged".to_owned() },
    ];
    let waits = [
        Request::Write { device: device.clone(), point: "valve".to_owned(), value: 0.5 },
        Request::Command { device: device.clone(), command: "trip".into(), args: Vec::new() },
        Request::Restart { device: device.clone() },
        Request::Retry { device: device.clone(), letter: 1 },
        Request::Drop { device: device.clone(), letter: 1 },
        Request::Release { device },
    ];
    assert!(goes_on.iter().all(|request| !must_be_on_record(request)));
    assert!(waits.iter().all(must_be_on_record));
}

#[test]
fn an_alarm_that_is_not_there_or_whose_twin_is_given_up_is_not_acknowledged() {
    let now = Timestamp::from_millis(1_000);
    let alarm = |state| AlarmView {
        id: "tank1.high".into(),
        twin: "tank1".into(),
        priority: Priority::High,
        state,
        source: AlarmSource::System,
        since: now,
        raised: now,
        text: String::new(),
        response: String::new(),
    };
    let mut view = PlantView::empty("small");
    let high = AlarmId::new("tank1.high");
    let refusal = is_open(&view, &high, Some(DeviceIx(0))).unwrap_err();
    assert!(refusal.contains("no alarm tank1.high"), "{refusal}");
    view.alarms = vec![alarm(AlarmState::Acknowledged)].into();
    assert_eq!(is_open(&view, &high, Some(DeviceIx(0))), Ok(false));
    view.alarms = vec![alarm(AlarmState::Unacknowledged)].into();
    assert_eq!(is_open(&view, &high, Some(DeviceIx(0))), Ok(true));
    view.twins.push(Arc::new(TwinView {
        id: "tank1".into(),
        zone: "a".into(),
        kind: "tank".to_owned(),
        simulated: false,
        state: TwinState::GaveUp,
        reason: String::new(),
        since: now,
        path: None,
        session: SessionView::None,
        mailbox: MailboxView::default(),
        energy_joules: 0.0,
        budget_joules: None,
        bytes: 0,
        restarts: 6,
        spool: None,
        points: Vec::new(),
        revision: 0,
    }));
    let refusal = is_open(&view, &high, Some(DeviceIx(0))).unwrap_err();
    assert!(refusal.contains("restart tank1"), "{refusal}");
    assert_eq!(is_open(&view, &high, None), Ok(true), "what no twin keeps");
}
