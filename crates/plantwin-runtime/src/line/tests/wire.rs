//! A protocol that does as its script says, a plant on it, and a reader in the twin's place.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture};
use plantwin_adapter::{
    Connection, Control, Frame, Host, HostRequest, LinkContext, LinkError, LinkEvent, PointWrite,
    Protocol, ProtocolSchema, Registry, Sample, Tasks, Traffic,
};
use plantwin_model::{
    Clock, DeviceSpec, PointIx, Quality, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_seal::{KeyDistributor, Opener, PartyId};
use plantwin_twin::{Inbox, LaneLimits, Mailbox, TwinMail, mailbox};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::super::{
    Carrier, Confiner, Confirmed, Line, LineOrder, PathPermit, SendGate, keep_line,
};

/// Plant time that follows tokio's, which a test pauses.
#[derive(Debug)]
pub(super) struct TokioClock(pub(super) Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000).plus(self.0.elapsed())
    }
}

/// What a device does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Mood {
    /// Sends a frame so often, each with the next sequence number.
    Sends(Duration),
    /// Says so often that its last values still hold.
    Nods(Duration),
    /// Sends durable frames as fast as they are taken, at most a thousand a second.
    Pours,
    /// Sends an envelope that nobody here can open so often, each to be acknowledged.
    Seals(Duration),
    /// Takes the connection and says nothing.
    Hangs,
    /// Takes the connection and closes it at once.
    Closes,
    /// Never answers the attempt to connect.
    Vanished,
    /// Refuses the connection.
    Refuses,
    /// Its adapter panics when it connects.
    Panics,
}

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum WriteMood {
    Takes,
    Refuses,
    Hangs,
    Panics,
}

/// One device behind the wire.
pub(super) struct Device {
    mood: watch::Sender<Mood>,
    pub(super) writes: Mutex<WriteMood>,
    /// When it was tried to connect.
    pub(super) tries: Mutex<Vec<Duration>>,
    /// Connections that are open, and the most that ever were.
    open: AtomicUsize,
    pub(super) open_max: AtomicUsize,
    /// Frames that were taken from it.
    pub(super) sent: AtomicU64,
    pub(super) written: Mutex<Vec<Vec<PointWrite>>>,
    pub(super) confirmed: Mutex<Vec<u64>>,
    /// Whether the adapter panics when it is told that values are safe.
    pub(super) confirm_panics: AtomicBool,
    started: Instant,
}

impl Device {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            mood: watch::Sender::new(mood),
            writes: Mutex::new(WriteMood::Takes),
            tries: Mutex::default(),
            open: AtomicUsize::new(0),
            open_max: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            written: Mutex::default(),
            confirmed: Mutex::default(),
            confirm_panics: AtomicBool::new(false),
            started: Instant::now(),
        })
    }

    pub(super) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Plays the device on one connection.
    async fn play(self: Arc<Self>, events: mpsc::Sender<LinkEvent>) {
        let mut mood = self.mood.subscribe();
        let mut receipt = 0;
        loop {
            let now = *mood.borrow_and_update();
            let event = match now {
                Mood::Sends(every) => {
                    tokio::select! {
                        biased;
                        _ = mood.changed() => continue,
                        () = tokio::time::sleep(every) => {}
                    }
                    LinkEvent::Frame(frame(self.sent.load(SeqCst)))
                }
                Mood::Nods(every) => {
                    tokio::select! {
                        biased;
                        _ = mood.changed() => continue,
                        () = tokio::time::sleep(every) => {}
                    }
                    LinkEvent::Alive
                }
                Mood::Seals(every) => {
                    tokio::time::sleep(every).await;
                    receipt += 1;
                    let (received, envelope) = (Timestamp::from_millis(0), vec![0; 96]);
                    LinkEvent::Sealed { received, envelope, receipt: Some(receipt) }
                }
                Mood::Pours => {
                    // Time goes on, so that a line that never holds back fails a test and not its
                    // patience.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    receipt += 1;
                    LinkEvent::Durable { frame: frame(self.sent.load(SeqCst)), receipt }
                }
                Mood::Hangs | Mood::Vanished => {
                    if mood.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Mood::Closes | Mood::Refuses | Mood::Panics => {
                    let error = LinkError::Closed("the device hung up".to_owned());
                    let _ = events.send(LinkEvent::Closed(error)).await;
                    return;
                }
            };
            if events.send(event).await.is_err() {
                return;
            }
            self.sent.fetch_add(1, SeqCst);
        }
    }
}

/// A frame of one point that bears its number as value and sequence.
pub(super) fn frame(number: u64) -> Frame {
    let sample = Sample {
        point: PointIx(0),
        value: number as f64,
        quality: Quality::Good,
        source_time: None,
    };
    Frame {
        received: Timestamp::from_millis(number.cast_signed()),
        sequence: Some(number),
        samples: [sample].into_iter().collect(),
    }
}

struct WireControl(Arc<Device>);

impl Control for WireControl {
    fn write(&self, writes: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        let mood = *lock(&self.0.writes);
        lock(&self.0.written).push(writes);
        Box::pin(async move {
            match mood {
                WriteMood::Takes => Ok(()),
                WriteMood::Refuses => Err(LinkError::Refused("out of range".to_owned())),
                WriteMood::Hangs => std::future::pending().await,
                WriteMood::Panics => panic!("a bug in the adapter"),
            }
        })
    }

    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        Box::pin(async move { Ok(request) })
    }

    fn confirm(&self, receipt: u64) {
        assert!(!self.0.confirm_panics.load(SeqCst), "a bug in the adapter");
        lock(&self.0.confirmed).push(receipt);
    }
}

/// A protocol: its devices by name.
struct Wire(&'static ProtocolSchema, BTreeMap<String, Arc<Device>>);

const fn schema(name: &'static str) -> ProtocolSchema {
    ProtocolSchema { acknowledges: true, ..ProtocolSchema::bare(name) }
}

static WIRE: ProtocolSchema = schema("wire");
static RADIO: ProtocolSchema = schema("radio");

impl Protocol for Wire {
    fn schema(&self) -> &'static ProtocolSchema {
        self.0
    }

    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        let device = Arc::clone(&self.1[context.device.as_str()]);
        let name = self.0.name;
        Box::pin(async move {
            lock(&device.tries).push(device.started.elapsed());
            let mood = *device.mood.borrow();
            match mood {
                Mood::Refuses => {
                    let (endpoint, cause) = (format!("the {name}"), "refused".to_owned());
                    return Err(LinkError::Unreachable { endpoint, cause });
                }
                Mood::Vanished => std::future::pending().await,
                Mood::Panics => panic!("a bug in the adapter"),
                _ => {}
            }
            let (sender, events) = mpsc::channel(16);
            let mut tasks = Tasks::new();
            let open = device.open.fetch_add(1, SeqCst) + 1;
            device.open_max.fetch_max(open, SeqCst);
            let guard = Open(Arc::clone(&device));
            let player = Arc::clone(&device).play(sender);
            tasks.spawn(async move {
                let _guard = guard;
                player.await;
                // A real adapter's task ends; its connection stays for whoever holds it.
            });
            Ok(Connection {
                events,
                control: Arc::new(WireControl(device)),
                traffic: Arc::new(Traffic::default()),
                resumed: true,
                endpoint: format!("the {name}"),
                tasks,
            })
        })
    }

    fn host(&self, _: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        Box::pin(async { Err(LinkError::Unsupported("hosting".to_owned())) })
    }
}

/// Counts an open connection.
struct Open(Arc<Device>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// One line with a device at its end and a twin at the other.
pub(super) struct Rig {
    pub(super) device: Arc<Device>,
    /// The device at the end of its second path, if it has one.
    pub(super) radio: Arc<Device>,
    pub(super) orders: mpsc::Sender<LineOrder>,
    pub(super) mailbox: Mailbox,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) panics: Arc<AtomicU64>,
    pub(super) confiner: Confiner,
    pub(super) clock: Arc<TokioClock>,
    inbox: Inbox,
    openers: [Opener; 2],
    line: Option<Line>,
}

/// How a rig is made.
pub(super) struct Setup {
    pub(super) mood: Mood,
    /// Its mood on a second path.
    pub(super) radio: Option<Mood>,
    pub(super) durable: bool,
    /// Whether it speaks in sealed envelopes only.
    pub(super) native: bool,
    pub(super) lanes: LaneLimits,
    pub(super) gate: Option<Arc<dyn SendGate>>,
    pub(super) permits: Option<Arc<dyn PathPermit>>,
}

impl Setup {
    pub(super) fn of(mood: Mood) -> Self {
        Self {
            mood,
            radio: None,
            durable: false,
            native: false,
            lanes: LaneLimits::default(),
            gate: None,
            permits: None,
        }
    }
}

/// Devices `d0`, `d1`, ... with period 1 s, so that 5 s are a silence.
fn devices(setups: &[Setup]) -> Vec<Arc<DeviceSpec>> {
    use std::fmt::Write;
    let mut text = "[plant]\nname = \"p\"\nperiod = \"1s\"\n[zone.field]\n\
        [type.gauge.twin]\ntype = \"gauge\"\n\
        [type.gauge.property.level]\nunit = \"cm\"\nrange = [0, 1000000]\n"
        .to_owned();
    for (i, setup) in setups.iter().enumerate() {
        let delivery = if setup.durable { "delivery = \"durable\"\n" } else { "" };
        let identity = if setup.native { "identity = \"native\"\n" } else { "" };
        let radio = setup.radio.map_or(String::new(), |_| format!("[device.d{i}.radio]\n"));
        write!(
            text,
            "[device.d{i}]\ntype = \"gauge\"\nzone = \"field\"\nmode = \"physical\"\n{delivery}{identity}\
             [device.d{i}.wire]\n{radio}"
        )
        .unwrap();
    }
    let schemas = [&WIRE, &RADIO];
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let read = read_plant("p.toml", &text, &catalog, &ReadOptions::default());
    read.into_plant().unwrap().devices
}

/// Rigs of one plant, not started.
pub(super) fn rigs(setups: Vec<Setup>) -> Vec<Rig> {
    let clock = Arc::new(TokioClock(Instant::now()));
    let specs = devices(&setups);
    let names = || specs.iter().map(|d| d.id.to_string());
    let players: Vec<_> = setups.iter().map(|s| Device::new(s.mood)).collect();
    let radios: Vec<_> =
        setups.iter().map(|s| Device::new(s.radio.unwrap_or(Mood::Refuses))).collect();
    let registry = Registry::new()
        .with(Wire(&WIRE, names().zip(players.iter().cloned()).collect()))
        .with(Wire(&RADIO, names().zip(radios.iter().cloned()).collect()));
    let keys = KeyDistributor::new().unwrap();
    let mut rigs = Vec::new();
    let ends = players.into_iter().zip(radios);
    for (i, ((spec, (device, radio)), setup)) in specs.into_iter().zip(ends).zip(setups).enumerate()
    {
        let (a, b) = (PartyId(1), PartyId(2 + i as u64));
        let session = || {
            let secret = keys.pair_secret(a, b);
            let (ours, theirs) = plantwin_seal::Session::pair(&secret, a, b, clock.now()).unwrap();
            (ours.sealer, theirs.opener)
        };
        let (urgent, values) = (session(), session());
        let (mailbox, inbox) = mailbox(setup.lanes);
        let (orders, orders_in) = mpsc::channel(32);
        let confirmed = Arc::new(Confirmed::default());
        let panics = Arc::new(AtomicU64::new(0));
        let (confiner, confinement) = Confiner::new();
        let line = Line {
            points: spec.kind.points.as_slice().into(),
            paths: spec.paths.clone(),
            device: spec,
            registry: registry.clone(),
            clock: clock.clone(),
            zone: "field".into(),
            orders: orders_in,
            confinement,
            trust: None,
            revoked: None,
            permits: setup.permits,
            carrier: Carrier::new(mailbox.clone(), [urgent.0, values.0], clock.clone()),
            confirmed: Arc::clone(&confirmed),
            gate: setup.gate,
            panics: Arc::clone(&panics),
            chance: i as u64,
        };
        rigs.push(Rig {
            device,
            radio,
            orders,
            mailbox,
            confirmed,
            panics,
            confiner,
            inbox,
            openers: [urgent.1, values.1],
            clock: Arc::clone(&clock),
            line: Some(line),
        });
    }
    rigs
}

/// One rig, started.
pub(super) fn rig(setup: Setup) -> Rig {
    let mut rig = rigs(vec![setup]).remove(0);
    rig.start();
    rig
}

impl Rig {
    pub(super) fn start(&mut self) {
        tokio::spawn(keep_line(self.line.take().unwrap()));
    }

    /// The next letter to the twin.
    pub(super) async fn letter(&mut self) -> TwinMail {
        let mail = self.inbox.letters().next().await.unwrap();
        let sequence = mail.0.header().sequence;
        let session = mail.0.header().session;
        let opener = self.openers.iter_mut().find(|o| o.session() == session).unwrap();
        let letter = opener.open(mail.0, self.clock.now()).unwrap();
        // `open` hands the letter over; whether it needs an acknowledgement is the opener's word.
        let _ = opener.acknowledge(sequence);
        letter
    }

    /// What comes within this time, read as it comes.
    pub(super) async fn letters_for(&mut self, time: Duration) -> Vec<TwinMail> {
        let end = Instant::now() + time;
        let mut letters = Vec::new();
        while let Ok(letter) = tokio::time::timeout_at(end, self.letter()).await {
            letters.push(letter);
        }
        letters
    }

    /// The next letter that `pick` picks; a minute of plant time is patience enough.
    pub(super) async fn next<T>(&mut self, pick: impl Fn(&TwinMail) -> Option<T>) -> T {
        tokio::time::timeout(Duration::from_mins(1), async {
            loop {
                let letter = self.letter().await;
                if let Some(found) = pick(&letter) {
                    return found;
                }
            }
        })
        .await
        .unwrap()
    }

    pub(super) async fn order(&self, order: LineOrder) {
        self.orders.send(order).await.unwrap();
    }
}

pub(super) fn is_up(letter: &TwinMail) -> bool {
    matches!(letter, TwinMail::LinkUp(_))
}

/// Why the twin was told that all is down.
pub(super) fn down_reason(letter: &TwinMail) -> Option<String> {
    match letter {
        TwinMail::LinkDown(mail) => Some(mail.reason.clone()),
        _ => None,
    }
}

pub(super) fn down_reasons(letters: &[TwinMail]) -> Vec<String> {
    letters.iter().filter_map(down_reason).collect()
}
