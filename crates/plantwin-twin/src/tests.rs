//! The actor shell: sealed letters, panics, redelivery.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, AsyncContext as _, Context, Handler};
use plantwin_adapter::{Frame, ManualClock, Sample, TrafficSnapshot};
use plantwin_model::{
    AlarmState, Clock, Delivery, DeviceSpec, Outcome, PointIx, Quality, Timestamp, TwinState,
    file::{Catalog, ReadOptions, Simulate, read_plant},
};
use plantwin_seal::{KeyDistributor, Lane, Opener, PartyId, Sealer, Secret, Session};
use plantwin_watch::AlarmPlan;

use crate::{
    CommandMail, Drill, FrameMail, Inbox, LaneLimits, LinePort, LinkUpMail, Mail, Mailbox, Sealing,
    SetAside, Twin, TwinEvent, TwinInit, TwinMail, TwinPlan, mailbox,
};

mod aside;
mod storm;

/// A physical tank whose one setpoint may be written.
pub(crate) const TANK: &str = r#"
[plant]
name = "bench"
[zone.field]
[type.tank.twin]
type = "tank"
[type.tank.property.level]
unit = "cm"
range = [0, 20]
start = 12.0
[type.tank.property.valve]
unit = "%"
range = [0, 100]
start = 50
access = "rw"
safe = 0
[type.tank.alarm.level_high]
when = "level > 18"
priority = "high"
response = "close the inlet"
consequence = "overflow"
[type.tank.model]
step = "100ms"
correction = 0.1
[type.tank.model.param]
area = "28 cm2"
drain = "1 cm3/s"
[type.tank.model.input]
inflow = { unit = "cm3/s", default = 1 }
[type.tank.model.der]
level = "(inflow - drain) / area"
[device.tank1]
type = "tank"
zone = "field"
mode = "MODE"
[device.tank1.wire]
addr = "127.0.0.1:9"
"#;

static WIRE: plantwin_model::ProtocolSchema = plantwin_model::ProtocolSchema {
    settings: &[plantwin_model::SettingSchema {
        key: "addr",
        kind: plantwin_model::SettingKind::Text,
        help: "where",
    }],
    ..plantwin_model::ProtocolSchema::bare("wire")
};

/// The plan of the one twin of [`TANK`].
pub(crate) fn plan(mode: &str) -> TwinPlan {
    let text = TANK.replace("MODE", mode);
    let catalog = Catalog { protocols: &[&WIRE], ..Catalog::default() };
    let options = ReadOptions { simulate: Simulate::AsWritten, ..ReadOptions::default() };
    let checked = read_plant("bench.toml", &text, &catalog, &options);
    let plant = checked.into_plant().unwrap();
    let device = plant.devices[0].clone();
    TwinPlan {
        zone: plant.zones[0].id.clone(),
        model: plantwin_physics::compile(&device.kind).unwrap(),
        alarms: Arc::new(AlarmPlan::of(&device.kind)),
        profile: plantwin_energy::Profile::by_name("ethernet").unwrap(),
        inflows: vec![0],
        outflows: vec![],
        saves: true,
        device,
    }
}

/// The same device with durable delivery.
pub(crate) fn durably(device: &DeviceSpec) -> DeviceSpec {
    DeviceSpec { delivery: Delivery::Durable, ..device.clone() }
}

pub(crate) fn frame(sequence: u64, time: Timestamp, level: f64, valve: f64) -> FrameMail {
    let sample = |(i, value): (usize, f64)| Sample {
        point: PointIx(i as u16),
        value,
        quality: Quality::Good,
        source_time: Some(time),
    };
    FrameMail {
        frame: Frame {
            received: time,
            sequence: Some(sequence),
            samples: [level, valve].into_iter().enumerate().map(sample).collect(),
        },
        traffic: TrafficSnapshot { up_bytes: 60, up_packets: 1, ..TrafficSnapshot::default() },
        receipt: None,
        origin: Vec::new(),
        replaced: false,
    }
}

/// Notes what the twin tells.
struct Ear {
    opener: Opener,
    inbox: Inbox<TwinEvent>,
    heard: Arc<Mutex<Vec<TwinEvent>>>,
}

impl Actor for Ear {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.add_message_stream(self.inbox.letters());
    }
}

impl Handler<Mail<TwinEvent>> for Ear {
    type Result = ();
    fn handle(&mut self, mail: Mail<TwinEvent>, _: &mut Context<Self>) {
        let event = self.opener.open(mail.0, Timestamp(0)).unwrap();
        self.heard.lock().unwrap().push(event);
    }
}

/// A line that panics on its first `panics` writes.
struct Fuse {
    panics: u32,
    writes: Arc<AtomicU32>,
}

impl LinePort for Fuse {
    fn write(&self, _: u64, _: Vec<(PointIx, f64)>) -> bool {
        let count = self.writes.fetch_add(1, SeqCst);
        assert!(count >= self.panics, "the line blew a fuse");
        true
    }
    fn confine(&self, _: Option<Vec<(PointIx, f64)>>) {}
    fn let_go(&self, _: &[u64]) {}
    fn tell_taken(&self, _: Option<crate::Taken>) {}
}

struct Bench {
    addr: actix::Addr<Twin>,
    sealer: Sealer,
    clock: Arc<ManualClock>,
    heard: Arc<Mutex<Vec<TwinEvent>>>,
    writes: Arc<AtomicU32>,
    mailbox: Mailbox,
}

/// What a bench is made of, beyond the usual.
struct Setup {
    /// Writes on which the line panics.
    panics: u32,
    drill: Option<Arc<dyn Drill>>,
    durable: bool,
    set_aside: Vec<SetAside>,
    station: LaneLimits,
}

impl Default for Setup {
    fn default() -> Self {
        let station = LaneLimits::each(4096);
        Self { panics: 0, drill: None, durable: false, set_aside: Vec::new(), station }
    }
}

impl Bench {
    fn start(panics: u32) -> Self {
        Self::set_up(Setup { panics, ..Setup::default() })
    }

    fn set_up(setup: Setup) -> Self {
        let Setup { panics, drill, durable, set_aside, station: limits } = setup;
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let keys = KeyDistributor::new().unwrap();
        let pair = |a, b| {
            let (a, b) = (PartyId(a), PartyId(b));
            Session::pair(&keys.pair_secret(a, b), a, b, clock.now()).unwrap()
        };
        let (line, twin_line) = pair(3, 2);
        let (twin_station, station) = pair(2, 1);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (station_mailbox, inbox) = mailbox(limits);
        Ear { opener: station.opener, inbox, heard: Arc::clone(&heard) }.start();
        let writes = Arc::new(AtomicU32::new(0));
        let (mailbox, inbox) = mailbox(LaneLimits::default());
        let mut plan = plan("physical");
        if durable {
            plan.device = Arc::new(durably(&plan.device));
        }
        let init = TwinInit {
            plan: Arc::new(plan),
            inbox,
            sealing: Sealing { openers: vec![twin_line.opener], station: twin_station.sealer },
            station: station_mailbox,
            outlets: vec![],
            line: Some(Box::new(Fuse { panics, writes: Arc::clone(&writes) })),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            restored: None,
            recorded: None,
            restored_alarms: vec![],
            aside_key: Secret::new([5; 32]),
            set_aside,
            drill,
        };
        let addr = guarded(init);
        Self { addr, sealer: line.sealer, clock, heard, writes, mailbox }
    }

    fn seal(&mut self, letter: &TwinMail) -> Mail<TwinMail> {
        Mail(self.sealer.seal(letter, Lane::Latest, None, self.clock.now()).unwrap())
    }

    fn post(&mut self, letter: &TwinMail) {
        let mail = self.seal(letter);
        self.post_sealed(mail);
    }

    fn post_sealed(&self, mail: Mail<TwinMail>) {
        self.mailbox.post(mail).unwrap();
    }

    /// Has the twin show itself once more, and returns how it last did.
    async fn last_observed(&mut self) -> crate::Observed {
        self.settle().await;
        self.clock.advance(Duration::from_secs(1));
        self.post(&TwinMail::Alive);
        let heard = self.settle().await;
        let last = heard.into_iter().rev().find_map(|e| match e {
            TwinEvent::Observed(o) => Some(*o),
            _ => None,
        });
        last.expect("the twin shows itself")
    }

    /// Waits until the mailbox is empty and the last letter was handled.
    async fn settle(&mut self) -> Vec<TwinEvent> {
        tokio::time::timeout(Duration::from_secs(20), async {
            while self.mailbox.view().depth > 0 || !self.addr.connected() {
                tokio::task::yield_now().await;
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the twin handles its mail");
        self.heard.lock().unwrap().clone()
    }
}

/// The guardian's loop in short: what `plantwin-runtime` does, without its policy.
fn guarded(init: TwinInit) -> actix::Addr<Twin> {
    use actix::AsyncContext as _;
    use futures_util::FutureExt as _;
    let context = Context::<Twin>::new();
    let addr = context.address();
    let mut future = Box::pin(context.into_future(Twin::new(init)));
    actix::spawn(async move {
        while std::panic::AssertUnwindSafe(future.as_mut()).catch_unwind().await.is_err() {
            if !future.restart() {
                return;
            }
        }
    });
    addr
}

fn link_up() -> TwinMail {
    TwinMail::LinkUp(LinkUpMail {
        rank: 0,
        endpoint: "127.0.0.1:9".into(),
        switches: 0,
        datagrams: false,
        patience: Duration::ZERO,
    })
}

fn command(key: u64, value: f64) -> TwinMail {
    TwinMail::Command(CommandMail {
        key,
        writes: vec![(PointIx(1), value)],
        expires: Timestamp::from_millis(2_000_000),
    })
}

#[actix::test]
async fn sealed_values_reach_the_twin_and_are_compared_with_its_model() {
    let mut bench = Bench::start(0);
    bench.post(&link_up());
    for i in 0..5 {
        bench.clock.advance(Duration::from_secs(1));
        let now = bench.clock.now();
        bench.post(&TwinMail::Frame(frame(i, now, 12.0, 50.0)));
        bench.settle().await;
    }
    let last = bench.last_observed().await;
    assert_eq!(last.state, TwinState::Shadowed);
    assert_eq!(last.points[0].value, Some(12.0));
    // Inflow and drain are equal: the model foresees a constant level.
    assert!(last.points[0].residual.unwrap().abs() < 1e-9);
    assert!(last.energy_joules > 0.0);
    assert_eq!(last.bytes, 5 * 60);
}

#[actix::test]
async fn a_panic_restarts_the_twin_with_its_state_and_delivers_the_letter_again_first() {
    let mut bench = Bench::start(1);
    bench.post(&link_up());
    let now = bench.clock.now();
    bench.post(&TwinMail::Frame(frame(1, now, 12.0, 50.0)));
    bench.post(&command(1, 60.0));
    bench.clock.advance(Duration::from_secs(1));
    let now = bench.clock.now();
    bench.post(&TwinMail::Frame(frame(2, now, 19.0, 50.0)));
    let heard = bench.settle().await;
    // The first attempt panicked inside the write, the second went through: one effect.
    assert_eq!(bench.writes.load(SeqCst), 2);
    let alarms = heard.iter().rev().find_map(|e| match e {
        TwinEvent::Alarms(a) => Some(a.clone()),
        _ => None,
    });
    let alarms = alarms.expect("the frame behind the panic was handled");
    assert!(alarms.iter().any(|a| a.id.as_str() == "tank1.level_high"), "{alarms:?}");
    let last = bench.last_observed().await;
    assert_eq!((last.restarts, last.points[0].value), (1, Some(19.0)));
}

#[actix::test]
async fn a_letter_that_crashes_the_twin_twice_is_set_aside_with_an_alarm_and_the_rest_goes_on() {
    let mut bench = Bench::start(2);
    bench.post(&link_up());
    bench.post(&command(1, 60.0));
    bench.post(&command(2, 70.0));
    let heard = bench.settle().await;
    assert_eq!(bench.writes.load(SeqCst), 3, "twice the poison, once the next command");
    let set_aside = heard.iter().any(|e| {
        matches!(e, TwinEvent::Alarms(a) if a.iter().any(|a| {
            a.source == plantwin_model::AlarmSource::Supervision
                && a.state == AlarmState::Unacknowledged
        }))
    });
    assert!(set_aside, "{heard:?}");
}

#[actix::test]
async fn a_letter_sealed_by_a_stranger_or_posted_twice_changes_nothing() {
    let mut bench = Bench::start(0);
    bench.post(&link_up());
    let now = bench.clock.now();
    let good = bench.seal(&TwinMail::Frame(frame(1, now, 12.0, 50.0)));
    let bytes = good.0.as_bytes().to_vec();
    bench.post_sealed(good);
    bench.post_sealed(Mail(plantwin_seal::Sealed::from_bytes(bytes.clone()).unwrap()));
    let mut forged = bytes;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let forged = plantwin_seal::Sealed::from_bytes(forged).unwrap();
    bench.post_sealed(Mail(forged));
    let last = bench.last_observed().await;
    assert_eq!(last.bytes, 60, "the frame counted once");
}

#[actix::test]
async fn a_command_out_of_range_is_refused_before_anything_is_sent() {
    let mut bench = Bench::start(0);
    bench.post(&link_up());
    bench.post(&command(5, 150.0));
    bench.post(&command(6, f64::NAN));
    let heard = bench.settle().await;
    let refused: Vec<u64> = heard
        .iter()
        .filter_map(|e| match e {
            TwinEvent::Outcome { key, outcome: Outcome::Refused { .. } } => Some(*key),
            _ => None,
        })
        .collect();
    assert_eq!(refused, vec![5, 6]);
    assert_eq!(bench.writes.load(SeqCst), 0);
}

#[actix::test]
async fn a_twin_shows_the_lanes_of_its_mailbox() {
    let mut bench = Bench::start(0);
    bench.post(&link_up());
    bench.mailbox.note_coalesced(Lane::Latest, 5);
    let last = bench.last_observed().await.mailbox;
    assert_eq!((last.capacity, last.handled, last.refused), (256, 2, 0));
    assert_eq!(last.lanes[Lane::Latest as usize].coalesced, 5);
}

#[test]
fn what_tells_of_the_link_never_overtakes_the_values_received_before() {
    let values = TwinMail::Frame(frame(1, Timestamp(0), 12.0, 50.0));
    let down = TwinMail::LinkDown(crate::LinkDownMail { reason: String::new() });
    let session =
        TwinMail::Session(crate::SessionMail::Refused { reason: String::new(), again: true });
    for delivery in [Delivery::Latest, Delivery::Durable] {
        for letter in [&link_up(), &down, &session, &TwinMail::Alive] {
            assert_eq!(letter.lane(delivery), values.lane(delivery), "{letter:?}");
        }
        assert_eq!(command(1, 1.0).lane(delivery), Lane::Command);
    }
}

#[actix::test]
async fn a_twin_that_is_gone_for_good_takes_no_more_mail() {
    let mut bench = Bench::start(1);
    bench.post(&link_up());
    bench.post(&command(1, 60.0));
    let late = bench.seal(&TwinMail::Alive);
    let Bench { addr, mailbox, .. } = bench;
    // With its last address gone the guardian cannot restart it.
    drop(addr);
    tokio::time::timeout(Duration::from_secs(20), async {
        while !mailbox.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the mailbox closes");
    assert!(matches!(mailbox.post(late), Err(crate::PostError::Gone)));
    mailbox.room(Lane::Latest).await;
}
