//! The line's session with a device whose other end is the real one, without a wire between them.

use std::sync::MutexGuard;

use futures_util::future::BoxFuture;
use plantwin_adapter::{Control, LinkError, ManualClock, Measurement, PointWrite, Tasks, Traffic};
use plantwin_authority::{
    pws::{AgentEvent, DeviceIdentity, DeviceKeys, SESSION_LIFE, SWITCH_AFTER, Voucher},
    registry::{Actor, AuthorityOp, AuthorityReply, VoucherCode},
};
use plantwin_field::{NativeDevice, Said};
use plantwin_model::{
    Flaw, NoAudit, PointIx, ProtocolSchema, Quality, Role,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_twin::{Telemetry, TelemetrySample};
use tokio::sync::mpsc;

use super::*;

static WIRE: ProtocolSchema = ProtocolSchema::bare("wire");

const PLANT: &str = r#"
[plant]
name = "p"
[zone.field]
[type.gauge.twin]
type = "gauge"
[type.gauge.property.level]
unit = "cm"
range = [0, 100]
[type.gauge.property.valve]
unit = "1"
range = [0, 1]
access = "rw"
safe = 0
[device.d]
type = "gauge"
zone = "field"
mode = "physical"
identity = "native"
[device.d.wire]
"#;

/// The device's end, and what was written to it.
struct Device {
    native: Mutex<NativeDevice>,
    written: Mutex<Vec<(PointIx, f64)>>,
    /// What became of its session last.
    up: Mutex<Option<AgentEvent>>,
    /// Which of the answers to come are lost on their way, the next one first.
    lost: Mutex<VecDeque<bool>>,
    clock: Arc<ManualClock>,
}

impl Control for Device {
    fn write(&self, _: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        panic!("nothing may be written in the open")
    }

    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let said = held(&self.native).on_exchange(&request, self.clock.now(), |writes| {
            held(&self.written).extend(writes);
            Ok(())
        });
        if let Ok(Said { event: Some(event), .. }) = &said {
            *held(&self.up) = Some(event.clone());
        }
        let lost = held(&self.lost).pop_front() == Some(true);
        Box::pin(async move {
            if lost {
                return Err(LinkError::Timeout { endpoint: "the wire".to_owned(), millis: 0 });
            }
            said.map(|s| s.bytes).map_err(|e| LinkError::Refused(e.to_string()))
        })
    }
}

impl Device {
    fn lose(&self, answers: &[bool]) {
        held(&self.lost).extend(answers);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

struct Bench {
    session: DeviceSession,
    device: Arc<Device>,
    connection: Connection,
    trust: Trust,
    points: Vec<plantwin_model::PointSpec>,
    clock: Arc<ManualClock>,
    _events: mpsc::Sender<plantwin_adapter::LinkEvent>,
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let told: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let catalog = Catalog { protocols: &[&WIRE], ..Catalog::default() };
        let read = read_plant("p.toml", PLANT, &catalog, &ReadOptions::default());
        let plant = read.into_plant().unwrap();
        let spec = plant.devices[0].clone();
        let zone = plant.zones[0].id.clone();
        let trust = Trust::in_memory(Arc::clone(&told), Arc::new(NoAudit)).await.unwrap();
        let identity = trust.play(&spec, &zone).unwrap();
        let points = spec.kind.points.clone();
        let native = Mutex::new(NativeDevice::new(identity, points.as_slice().into(), false));
        let (written, up, lost) = (Mutex::default(), Mutex::default(), Mutex::default());
        let device = Arc::new(Device { native, written, up, lost, clock: clock.clone() });
        let (sender, events) = mpsc::channel(1);
        let connection = Connection {
            events,
            control: Arc::<Device>::clone(&device),
            traffic: Arc::new(Traffic::default()),
            resumed: true,
            endpoint: "the wire".to_owned(),
            tasks: Tasks::new(),
        };
        let session = DeviceSession::new(Some(trust.clone()), &spec, zone, told);
        Self { session, device, connection, trust, points, clock, _events: sender }
    }

    /// Has the device prove who it is, and tells what became of it.
    async fn prove(&mut self) -> SessionMail {
        self.session.begin(&self.connection);
        let due = self.session.due().await;
        self.session.on_due(due, &self.connection).expect("news")
    }

    /// Begins the session anew over the same connection.
    async fn renew(&mut self) -> SessionMail {
        self.session.ask(&self.connection);
        let due = self.session.due().await;
        self.session.on_due(due, &self.connection).expect("news")
    }

    fn officer() -> Actor {
        Actor::person("alice", Role::Security)
    }

    async fn invite(&self, device: &str) -> Voucher {
        let op = AuthorityOp::Invite { device: device.into(), zone: "field".into(), valid: None };
        match self.trust.authority.op(op, Self::officer()).await {
            Ok(AuthorityReply::Voucher(view)) => {
                view.code.parse::<VoucherCode>().unwrap().voucher()
            }
            other => panic!("{other:?}"),
        }
    }

    async fn approve(&self, me: &DeviceIdentity) {
        let fingerprint = me.keys.public().fingerprint();
        let op = AuthorityOp::Approve { device: me.device.clone(), fingerprint };
        self.trust.authority.op(op, Self::officer()).await.unwrap();
    }

    /// Somebody of that name with fresh keys.
    fn identity(&self, device: &str, voucher: Option<Voucher>) -> DeviceIdentity {
        DeviceIdentity {
            device: device.into(),
            zone: "field".into(),
            keys: DeviceKeys::generate().unwrap(),
            root: *self.trust.gateway.root(),
            voucher,
        }
    }

    /// From now on this one answers.
    fn play(&self, me: DeviceIdentity) {
        let points = self.points.as_slice().into();
        *held(&self.device.native) = NativeDevice::new(me, points, false);
    }

    fn sealed(&self, sequence: u64, level: f64) -> Early {
        let now = self.clock.now();
        let measured = Measurement::good(now, sequence, &[level, 0.5]);
        let envelope = held(&self.device.native).seal(&measured, now).unwrap();
        Early { received: now, envelope, receipt: None }
    }

    fn open(&mut self, early: Early) -> Option<OpenedFrame> {
        match self.session.open(early, self.clock.now()) {
            Unsealed::Opened(opened) => Some(opened),
            Unsealed::Waits | Unsealed::Never => None,
        }
    }
}

#[tokio::test]
async fn a_proved_device_reports_sealed_values_with_digests_that_its_authority_knows() {
    let mut bench = Bench::new().await;
    let news = bench.prove().await;
    assert!(matches!(news, SessionMail::Open { sealed: true, .. }), "{news:?}");
    let early = bench.sealed(7, 12.5);
    let opened = bench.open(early).expect("opens");
    assert_eq!((opened.frame.sequence, opened.frame.samples[0].value), (Some(7), 12.5));
    let origin = opened.origin[0].expect("a digest");
    let said = |value| plantwin_seal::OriginValue {
        device: "d",
        point: "level",
        unit: "cm",
        sequence: 7,
        source_time: opened.frame.samples[0].source_time.unwrap(),
        quality: plantwin_model::Quality::Good,
        value,
    };
    let check = |value| bench.trust.authority.check_origin(&"d".into(), &said(value), &origin);
    assert_eq!((check(12.5), check(12.6)), (Some(true), Some(false)), "an altered value is found");
}

#[tokio::test]
async fn a_gateway_that_alters_a_value_before_it_is_recorded_is_found() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let early = bench.sealed(7, 12.5);
    let OpenedFrame { frame, origin, .. } = bench.open(early).expect("opens");
    let sample = |(s, origin): (&Sample, Option<plantwin_seal::OriginDigest>)| TelemetrySample {
        point: s.point,
        value: Some(s.value),
        quality: s.quality,
        source_time: s.source_time.unwrap(),
        origin,
    };
    let mut told = Telemetry {
        receipt: None,
        sequence: frame.sequence,
        received: frame.received,
        samples: frame.samples.iter().zip(origin).map(sample).collect(),
        duplicate: false,
        missing: 0,
        recorded: None,
    };
    let device = DeviceId::from("d");
    let points = bench.points.clone();
    let authority = &*bench.trust.authority;
    let origins = Origins { authority, device: &device, points: &points };
    let found = |told: &Telemetry| origins.altered(told);
    assert_eq!(found(&told), None);
    // Our own doubt of a value is no alteration, another value is.
    told.samples[0].quality = Quality::Uncertain(Flaw::OutOfRange);
    assert_eq!(found(&told), None);
    told.samples[0].value = Some(12.5 + 1e-12);
    assert_eq!(found(&told), Some("level"));
    told.samples[0].origin = None;
    assert_eq!(found(&told), None, "without a digest there is nothing to compare");
}

#[tokio::test]
async fn a_value_that_does_not_fit_its_digest_is_evidence_and_is_not_taken() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let now = bench.clock.now();
    let measured = Measurement::good(now, 7, &[12.5, 0.5]);
    let mut frame = held(&bench.device.native).frame(&measured);
    frame.samples[0].value = 12.25;
    let envelope = held(&bench.device.native).seal_frame(&frame, now).unwrap();
    assert!(bench.open(Early { received: now, envelope, receipt: None }).is_none());
    let verdict = bench.session.evidence.verdict();
    assert_eq!(verdict.as_deref(), Some("a value of level is not what the device said"));
}

#[tokio::test]
async fn an_envelope_opens_once() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let early = bench.sealed(1, 3.0);
    let copy = Early { received: early.received, envelope: early.envelope.clone(), receipt: None };
    assert!(bench.open(early).is_some());
    assert!(bench.open(copy).is_none(), "a replay");
    assert_eq!(bench.session.evidence.verdict(), None, "which a network may cause");
}

#[tokio::test]
async fn a_renewal_while_a_write_is_under_way_loses_nothing() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let on_its_way = bench.sealed(1, 3.0);
    let write = bench.session.keys().unwrap().expect("sealed");
    let news = bench.renew().await;
    assert!(matches!(news, SessionMail::Open { .. }), "{news:?}");
    // The device goes on in the old session, since nobody has used the new one.
    let after = bench.sealed(2, 4.0);
    assert!(bench.open(on_its_way).is_some());
    assert!(bench.open(after).is_some());
    drop(write);
    let later = bench.sealed(3, 5.0);
    assert!(bench.open(later).is_some(), "also when the write is over");
    assert_eq!(bench.session.take_shed(), 0);
}

#[tokio::test]
async fn what_was_sealed_before_the_connection_broke_opens_after_the_next_proof_and_once() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let sent = |bench: &Bench, n| Early { receipt: Some(n), ..bench.sealed(n, 3.0) };
    let (opened, held_back) = (sent(&bench, 1), [sent(&bench, 2), sent(&bench, 3)]);
    let again =
        Early { received: opened.received, envelope: opened.envelope.clone(), receipt: Some(1) };
    assert!(bench.open(opened).is_some());
    bench.session.end();
    assert!(bench.session.keys().is_err(), "nothing is asked with the keys that are left");
    // The next connection: what was never confirmed comes first, before the proof is there.
    bench.session.begin(&bench.connection);
    let mut waiting = held_back.into_iter().chain([again]);
    assert!(waiting.all(|e| matches!(bench.session.open(e, bench.clock.now()), Unsealed::Waits)));
    let due = bench.session.due().await;
    let news = bench.session.on_due(due, &bench.connection);
    assert!(matches!(news, Some(SessionMail::Open { .. })), "{news:?}");
    let early = bench.session.take_early();
    let got: Vec<bool> = early.into_iter().map(|early| bench.open(early).is_some()).collect();
    assert_eq!(got, [true, true, false], "each once");
    assert_eq!(bench.session.take_shed(), 0);
    let new = bench.sealed(4, 5.0);
    assert!(bench.open(new).is_some());
}

#[tokio::test]
async fn a_device_goes_on_in_its_session_only_as_long_as_what_it_seals_there_can_be_opened() {
    let mut bench = Bench::new().await;
    let goes_on = async |bench: &mut Bench| {
        bench.prove().await;
        let event = held(&bench.device.up).take().expect("a session");
        matches!(event, AgentEvent::SessionUp { continued: true, .. })
    };
    assert!(!goes_on(&mut bench).await, "this process was just started");
    assert!(goes_on(&mut bench).await);
    bench.session.end();
    bench.session.retire(bench.clock.now());
    assert!(goes_on(&mut bench).await, "its connection broke");
    bench.session.end();
    bench.session.nothing_held();
    assert!(!goes_on(&mut bench).await, "nobody has kept what it said");
    // So often that not all of its sessions can be kept.
    let mut went_on = 0;
    while went_on < 2 * CHAIN {
        bench.clock.advance(Duration::from_secs(1));
        bench.session.end();
        if !goes_on(&mut bench).await {
            break;
        }
        went_on += 1;
    }
    assert_eq!(went_on, CHAIN - 1);
    // So long that a broker could not deliver what was sealed in it.
    let expires = held(bench.session.keys.as_ref().expect("a session")).expires();
    bench.clock.set(Timestamp(expires.0 - OVERLAP.as_nanos() as i64));
    bench.session.end();
    bench.session.retire(bench.clock.now());
    assert!(!goes_on(&mut bench).await);
    // Nobody began it anew in time.
    let expires = held(bench.session.keys.as_ref().expect("a session")).expires();
    bench.clock.set(expires);
    assert!(!goes_on(&mut bench).await);
}

#[tokio::test]
async fn what_a_device_said_while_it_was_confined_is_not_wanted_when_it_is_let_go() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let discard = bench.session.discard();
    assert!(!discard.load(Relaxed));
    bench.session.confine(true, Some(&bench.connection));
    bench.session.confine(false, Some(&bench.connection));
    let due = bench.session.due().await;
    assert!(bench.session.on_due(due, &bench.connection).is_some());
    assert!(discard.load(Relaxed), "until it heard so");
}

#[tokio::test]
async fn what_a_broker_held_of_a_device_that_was_confined_meanwhile_opens_with_its_mark() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let held_back = bench.sealed(1, 3.0);
    bench.session.end();
    bench.session.confine(true, Some(&bench.connection));
    assert!(bench.open(held_back).is_some());
}

#[tokio::test]
async fn the_keys_of_a_device_that_stays_away_go_when_their_session_is_over() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    bench.session.end();
    bench.session.retire(bench.clock.now());
    assert!(bench.session.past.is_some(), "it may be back");
    bench.clock.advance(SESSION_LIFE);
    bench.session.retire(bench.clock.now());
    assert!(bench.session.past.is_none());
}

#[tokio::test]
async fn a_proof_whose_answer_was_lost_is_asked_for_again_before_the_device_relies_on_it() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    bench.device.lose(&[false, true]);
    let news = bench.renew().await;
    assert!(matches!(news, SessionMail::Open { .. }), "{news:?}");
    bench.clock.advance(SWITCH_AFTER);
    let in_new = bench.sealed(1, 3.0);
    assert!(bench.open(in_new).is_some());
    assert_eq!(bench.session.take_shed(), 0);
}

#[tokio::test]
async fn what_can_never_be_opened_is_counted_and_what_was_opened_before_is_not() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let early = bench.sealed(1, 3.0);
    let again = Early { received: early.received, envelope: early.envelope.clone(), receipt: None };
    assert!(bench.open(early).is_some() && bench.open(again).is_none());
    let now = bench.clock.now();
    let envelope = NativeDevice::WAITING.to_vec();
    assert!(bench.open(Early { received: now, envelope, receipt: None }).is_none());
    assert_eq!(bench.session.take_shed(), 0);
    // The device takes a session to be up of which nobody here has the keys.
    bench.device.lose(&[false, true, true]);
    let news = bench.renew().await;
    assert!(matches!(news, SessionMail::Refused { .. }), "{news:?}");
    bench.clock.advance(SWITCH_AFTER);
    let early = Early { receipt: Some(7), ..bench.sealed(2, 3.0) };
    assert!(bench.open(early).is_none());
    assert_eq!(bench.session.take_shed(), 1);
    // What waits for keys when the connection ends comes again only if it has a receipt.
    bench.session.begin(&bench.connection);
    for receipt in [None, Some(8)] {
        let early = Early { receipt, ..bench.sealed(3, 3.0) };
        assert!(matches!(bench.session.open(early, bench.clock.now()), Unsealed::Waits));
    }
    bench.session.end();
    assert_eq!(bench.session.take_shed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_for_which_there_is_no_room_yet_waits_and_is_not_refused() {
    let mut bench = Bench::new().await;
    let (device, zone, now) = ("d".into(), "field".into(), bench.clock.now());
    let begin = |n: u32| bench.trust.gateway.begin(&device, &zone, &format!("way {n}"), now).ok();
    let others: Vec<_> = (0..).map_while(begin).collect();
    assert!(others.len() > 1_000);
    bench.session.begin(&bench.connection);
    let soon = tokio::time::timeout(Duration::from_secs(20), bench.session.due()).await;
    assert!(soon.is_err(), "nothing is said of it");
    drop(others);
    let due = bench.session.due().await;
    let news = bench.session.on_due(due, &bench.connection);
    assert!(matches!(news, Some(SessionMail::Open { .. })), "{news:?}");
}

#[tokio::test]
async fn what_comes_before_the_proof_waits_for_the_keys_and_is_not_given_up() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    bench.session.begin(&bench.connection);
    let now = bench.clock.now();
    for receipt in 0..=EARLY as u64 {
        let early = Early { receipt: Some(receipt), ..bench.sealed(receipt, 3.0) };
        assert!(matches!(bench.session.open(early, now), Unsealed::Waits));
    }
    assert!(bench.session.take_early().is_empty(), "there are no keys yet");
    let due = bench.session.due().await;
    assert!(matches!(bench.session.on_due(due, &bench.connection), Some(SessionMail::Open { .. })));
    let receipts: Vec<_> = bench.session.take_early().iter().map(|e| e.receipt).collect();
    let newest: Vec<_> = (1..=EARLY as u64).map(Some).collect();
    assert_eq!(receipts, newest, "the oldest was let go, and is not confirmed");
    assert_eq!(bench.session.take_shed(), 1);
    // When the proof comes to nothing, what waited is settled and holds up nobody.
    bench.session.begin(&bench.connection);
    let waits = Early { receipt: Some(7), ..bench.sealed(98, 3.0) };
    assert!(matches!(bench.session.open(waits, now), Unsealed::Waits));
    bench.session.confine(true, None);
    assert_eq!((bench.session.take_lost(), bench.session.take_shed()), (vec![7], 1));
    // Without keys and without a proof under way it will never open.
    let lone = bench.sealed(99, 3.0);
    bench.clock.advance(SESSION_LIFE);
    bench.session.retire(bench.clock.now());
    assert!(matches!(bench.session.open(lone, now), Unsealed::Never));
}

#[tokio::test]
async fn commands_travel_sealed_and_are_answered_sealed() {
    let mut bench = Bench::new().await;
    assert!(bench.session.keys().is_err(), "no session, no command");
    bench.prove().await;
    let keys = bench.session.keys().unwrap().expect("sealed");
    let writes = vec![(PointIx(1), 0.25)];
    let (layout, now) = (bench.session.layout(), bench.clock.now());
    let (number, bytes) =
        sealed(&keys, Purpose::Command, layout, writes.clone(), &*bench.clock).unwrap();
    let answer = bench.connection.control.exchange(bytes).await.unwrap();
    assert_eq!(opened(&keys, number, &answer, now), Ok(NativeAnswer::Done));
    assert_eq!(*held(&bench.device.written), writes);
    let (number, bytes) = sealed(&keys, Purpose::Command, [0; 8], writes, &*bench.clock).unwrap();
    let answer = bench.connection.control.exchange(bytes).await.unwrap();
    assert!(matches!(opened(&keys, number, &answer, now), Ok(NativeAnswer::Refused(_))));
}

#[tokio::test]
async fn a_command_that_somebody_held_back_is_refused_by_the_device() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let keys = bench.session.keys().unwrap().expect("sealed");
    let layout = bench.session.layout();
    let seal = |bench: &Bench, purpose, value| {
        sealed(&keys, purpose, layout, vec![(PointIx(1), value)], &*bench.clock).unwrap()
    };
    let held_back = seal(&bench, Purpose::Command, 0.9);
    let safe = seal(&bench, Purpose::Safety, 0.0);
    let ask = async |bench: &Bench, (number, bytes): (u64, Vec<u8>)| {
        let answer = bench.connection.control.exchange(bytes).await.unwrap();
        opened(&keys, number, &answer, bench.clock.now()).unwrap()
    };
    // A word about safety is never too late.
    bench.clock.advance(CARRIED_OUT_WITHIN + Duration::from_secs(1));
    assert_eq!(ask(&bench, safe).await, NativeAnswer::Done);
    let refused = NativeAnswer::Refused("a later request came before it".to_owned());
    assert_eq!(ask(&bench, held_back).await, refused);
    let late = seal(&bench, Purpose::Command, 0.9);
    bench.clock.advance(CARRIED_OUT_WITHIN + Duration::from_secs(1));
    let refused = NativeAnswer::Refused("it came too late".to_owned());
    assert_eq!(ask(&bench, late).await, refused);
    assert_eq!(*held(&bench.device.written), [(PointIx(1), 0.0)]);
}

#[tokio::test]
async fn a_device_takes_no_value_for_safe_but_its_own() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let keys = bench.session.keys().unwrap().expect("sealed");
    let layout = bench.session.layout();
    let ask = async |bench: &Bench, writes: &[(PointIx, f64)]| {
        let request = sealed(&keys, Purpose::Safety, layout, writes.to_vec(), &*bench.clock);
        let (number, bytes) = request.unwrap();
        let answer = bench.connection.control.exchange(bytes).await.unwrap();
        opened(&keys, number, &answer, bench.clock.now()).unwrap()
    };
    let (level, valve) = (PointIx(0), PointIx(1));
    for writes in [&[(valve, 0.9)][..], &[(valve, 0.0), (level, 0.0)], &[(PointIx(9), 0.0)]] {
        let answer = ask(&bench, writes).await;
        assert!(matches!(answer, NativeAnswer::Refused(_)), "{writes:?}: {answer:?}");
    }
    assert!(held(&bench.device.written).is_empty(), "all or nothing");
    assert_eq!(ask(&bench, &[(valve, 0.0)]).await, NativeAnswer::Done);
    assert_eq!(*held(&bench.device.written), [(valve, 0.0)]);
}

#[tokio::test]
async fn forged_envelopes_in_a_burst_are_evidence() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let mut verdict = None;
    for sequence in 0..40 {
        let mut early = bench.sealed(sequence, 1.0);
        let last = early.envelope.len() - 1;
        early.envelope[last] ^= 1;
        assert!(bench.open(early).is_none());
        verdict = verdict.or(bench.session.evidence.verdict());
    }
    assert!(verdict.is_some_and(|v| v.contains("forged")));
}

#[tokio::test]
async fn a_revoked_key_ends_the_session_and_its_next_use_is_evidence() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let op = AuthorityOp::Revoke { device: "d".into(), reason: "stolen".to_owned() };
    bench.trust.authority.op(op, Bench::officer()).await.unwrap();
    let list = Arc::clone(&bench.trust.authority.revocations().borrow());
    bench.trust.gateway.revoked().adopt(Arc::clone(&list), bench.clock.now()).unwrap();
    assert!(bench.session.is_revoked(|cnf| list.revoked.contains(cnf)));
    let early = bench.sealed(1, 3.0);
    assert!(bench.open(early).is_none(), "nothing opens under a revoked key");
    // The session it had is good for telling it to be safe, and for nothing else.
    bench.session.revoke(&bench.connection);
    assert!(bench.session.keys().is_err(), "no command");
    let keys = bench.session.safety_keys().unwrap().expect("sealed");
    let writes = vec![(PointIx(1), 0.0)];
    let (layout, now) = (bench.session.layout(), bench.clock.now());
    let (number, bytes) =
        sealed(&keys, Purpose::Safety, layout, writes.clone(), &*bench.clock).unwrap();
    let answer = bench.connection.control.exchange(bytes).await.unwrap();
    assert_eq!(opened(&keys, number, &answer, now), Ok(NativeAnswer::Done));
    assert_eq!(*held(&bench.device.written), writes);
    // Nobody has to reconnect for it to be asked again.
    let due = bench.session.due().await;
    let news = bench.session.on_due(due, &bench.connection);
    assert!(matches!(news, Some(SessionMail::Refused { .. })), "{news:?}");
    assert!(bench.session.evidence.verdict().is_some_and(|v| v.contains("revoked")));
    // What it says is passed on once the twin is there to mark it, and not before.
    let early = bench.sealed(2, 3.0);
    assert!(bench.open(early).is_none());
    bench.session.confine(true, Some(&bench.connection));
    let early = bench.sealed(3, 3.0);
    assert!(bench.open(early).is_some());
}

#[tokio::test]
async fn another_key_under_the_devices_name_is_evidence_when_it_insists() {
    let mut bench = Bench::new().await;
    bench.play(bench.identity("d", None));
    let mut verdicts = Vec::new();
    for _ in 0..5 {
        bench.clock.advance(Duration::from_mins(6));
        let news = bench.prove().await;
        assert!(matches!(news, SessionMail::Refused { .. }), "{news:?}");
        verdicts.push(bench.session.evidence.verdict());
    }
    assert!(verdicts.pop().flatten().is_some_and(|v| v.contains("false proofs")));
    assert_eq!(verdicts, [None, None, None, None], "once may be an accident");
}

#[tokio::test]
async fn its_name_claimed_with_other_keys_or_its_keys_under_another_name_is_evidence_at_once() {
    let mut bench = Bench::new().await;
    // Two vouchers for `d`: one is used, the other comes with other keys.
    let (first, second) = (bench.invite("d").await, bench.invite("d").await);
    let me = bench.identity("d", Some(first));
    bench.play(me.clone());
    bench.prove().await;
    bench.approve(&me).await;
    bench.play(bench.identity("d", Some(second)));
    let news = bench.prove().await;
    assert!(matches!(news, SessionMail::Refused { .. }), "{news:?}");
    assert!(bench.session.evidence.verdict().is_some_and(|v| v.contains("claimed")));
}

#[tokio::test]
async fn a_voucher_that_was_used_with_other_keys_is_evidence_when_it_insists() {
    let mut bench = Bench::new().await;
    let voucher = bench.invite("d").await;
    bench.play(bench.identity("d", Some(voucher.clone())));
    bench.prove().await;
    assert_eq!(bench.session.evidence.verdict(), None, "it waits to be approved");
    bench.play(bench.identity("d", Some(voucher)));
    let mut verdicts = Vec::new();
    for _ in 0..5 {
        bench.clock.advance(Duration::from_mins(1));
        bench.prove().await;
        verdicts.push(bench.session.evidence.verdict());
    }
    assert!(verdicts.pop().flatten().is_some_and(|v| v.contains("false proofs")));
    assert_eq!(verdicts, [None, None, None, None], "once may be an accident");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_began_anew_without_breaking_its_connection_is_asked_again_once() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let waits = || Early {
        received: Timestamp::from_millis(0),
        envelope: NativeDevice::WAITING.to_vec(),
        receipt: None,
    };
    // One word may have been overtaken by the session.
    assert!(bench.open(waits()).is_none());
    let early = bench.sealed(1, 3.0);
    assert!(bench.open(early).is_some());
    assert!(bench.open(waits()).is_none());
    let patience = Duration::from_millis(20);
    assert!(tokio::time::timeout(patience, bench.session.due()).await.is_err());

    assert!(bench.open(waits()).is_none());
    let begun = Instant::now();
    let Due::Ask = bench.session.due().await else { panic!("it is to be asked") };
    assert!(begun.elapsed() > Duration::from_secs(9), "once in ten seconds, whoever says so");
    assert!(bench.session.on_due(Due::Ask, &bench.connection).is_none());
    let early = bench.sealed(2, 3.5);
    assert!(bench.open(early).is_some(), "the session holds until there is another");
    let due = bench.session.due().await;
    let news = bench.session.on_due(due, &bench.connection);
    assert!(matches!(news, Some(SessionMail::Open { .. })), "{news:?}");
}

#[tokio::test]
async fn a_confined_device_has_no_session_until_it_is_let_go() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let connection = &bench.connection;
    bench.session.confine(true, Some(connection));
    assert!(bench.session.keys().is_err());
    let waits = tokio::time::timeout(Duration::from_millis(20), bench.session.due()).await;
    assert!(waits.is_err(), "nobody asks it anything");
    bench.session.confine(false, Some(connection));
    let due = bench.session.due().await;
    let news = bench.session.on_due(due, connection);
    assert!(matches!(news, Some(SessionMail::Open { .. })), "{news:?}");
}

#[tokio::test]
async fn what_a_confined_device_says_opens_until_its_session_ends_and_nothing_is_asked_of_it() {
    let mut bench = Bench::new().await;
    bench.prove().await;
    let under_way = bench.session.safety_keys().unwrap().expect("sealed");
    bench.session.confine(true, Some(&bench.connection));
    assert!(bench.session.keys().is_err() && bench.session.safety_keys().is_err());
    let (layout, safe) = (bench.session.layout(), vec![(PointIx(1), 0.0)]);
    let tell =
        |bench: &Bench| sealed(&under_way, Purpose::Safety, layout, safe.clone(), &*bench.clock);
    assert!(tell(&bench).is_ok(), "it is being told to be safe");
    bench.session.ask_no_more();
    assert!(tell(&bench).is_err(), "what could ask it for anything is gone");

    let early = bench.sealed(1, 3.0);
    let opened = bench.open(early).expect("opens");
    assert_eq!(opened.frame.samples[0].value, 3.0);
    let now = bench.clock.now();
    let mut frame = held(&bench.device.native).frame(&Measurement::good(now, 2, &[12.5, 0.5]));
    frame.samples[0].value = 12.25;
    let envelope = held(&bench.device.native).seal_frame(&frame, now).unwrap();
    let refuted = Early { received: now, envelope, receipt: None };
    assert!(bench.open(refuted).is_none(), "its own digest says something else");
    assert_eq!(bench.session.take_shed(), 1);
    // Over another connection as well, since its session goes on.
    let [next, late] = [bench.sealed(3, 3.0), bench.sealed(4, 3.0)];
    bench.session.end();
    bench.session.retire(bench.clock.now());
    bench.session.confine(true, Some(&bench.connection));
    assert!(bench.open(next).is_some() && tell(&bench).is_err());
    bench.clock.advance(SESSION_LIFE);
    assert!(bench.open(late).is_none());
    assert_eq!(bench.session.take_shed(), 1);
    bench.session.retire(bench.clock.now());
    assert!(bench.session.ear.is_none(), "the last of its keys is gone");
}

#[tokio::test]
async fn a_device_that_was_let_go_while_no_path_was_up_is_asked_when_it_is_back() {
    let mut bench = Bench::new().await;
    bench.session.confine(true, None);
    let news = bench.prove().await;
    assert!(matches!(news, SessionMail::Open { .. }), "{news:?}");
}
