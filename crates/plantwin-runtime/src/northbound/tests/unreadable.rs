//! The spool cannot be read for a while, or is held, or the adapter panics.

use std::{
    io::ErrorKind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, ForwardContext, ForwardRecord, Host, HostRequest, LinkContext, LinkError, Outbound,
    Protocol, ProtocolSchema, Registry, Sink, SystemClock, Tasks,
};
use plantwin_model::{
    Clock, NoAudit, NorthboundSpec, NorthboundView, SpoolSpec,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_seal::Secret;
use plantwin_store::{
    MemoryStore, Spool, SpoolLimits, Store,
    testing::{Fault, FaultyStore, Operation},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::*;
use crate::{
    AssemblyRequest, Place, Trust, assemble,
    keeper::{DurableJob, Keeper, KeeperPlace},
    northbound::{Way, forward},
};

/// Longest wait for what happens at once.
const LIMIT: Duration = Duration::from_mins(1);

/// Plant time that follows tokio's, which the test pauses.
#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        NOW.plus(self.0.elapsed())
    }
}

/// The other side: acknowledges at once.
#[derive(Default)]
struct Far {
    taken: AtomicU64,
    /// If there is one, it is reached only after this.
    gate: Option<Notify>,
    open: Mutex<Vec<oneshot::Sender<LinkError>>>,
    /// Panics that are to come, when it is connected to and when a record comes.
    traps: [AtomicU64; 2],
}

impl Far {
    fn trap(&self, place: usize) {
        let sprung = self.traps[place].fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        assert!(sprung.is_err(), "trap {place}");
    }
}

struct FarProtocol(Arc<Far>);

struct FarSink(Arc<Far>);

impl Sink for FarSink {
    fn send(&self, _: ForwardRecord) -> BoxFuture<'static, Result<(), LinkError>> {
        self.0.trap(1);
        self.0.taken.fetch_add(1, SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

static SCHEMA: ProtocolSchema = ProtocolSchema::bare("far");

impl Protocol for FarProtocol {
    fn schema(&self) -> &'static ProtocolSchema {
        &SCHEMA
    }

    fn connect(&self, _: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        Box::pin(std::future::ready(Err(LinkError::Closed("no devices here".to_owned()))))
    }

    fn host(&self, _: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        Box::pin(std::future::ready(Err(LinkError::Closed("no devices here".to_owned()))))
    }

    fn forward(
        &self,
        _: ForwardContext,
    ) -> Option<BoxFuture<'static, Result<Outbound, LinkError>>> {
        let far = Arc::clone(&self.0);
        Some(Box::pin(async move {
            if let Some(gate) = &far.gate {
                gate.notified().await;
            }
            far.trap(0);
            let (open, closed) = oneshot::channel();
            far.open.lock().unwrap().push(open);
            let (sink, tasks) = (Arc::new(FarSink(far)), Tasks::new());
            Ok(Outbound { sink, endpoint: "far".to_owned(), closed, tasks })
        }))
    }
}

/// Twenty records in the spool of a store, and a way out that is to send them.
async fn twenty(store: Arc<dyn Store>, far: &Arc<Far>) -> (Arc<Keeper>, Way) {
    let spool = Spool::open(Arc::clone(&store), SpoolLimits::default()).unwrap();
    let clock = Arc::new(TokioClock(Instant::now()));
    let limits = SpoolSpec::default();
    let place = KeeperPlace::Thread;
    let keeper = Keeper::start(store, spool, limits, clock.clone(), place).unwrap();
    let device = DeviceId::from("tank1");
    for sequence in 1..=20 {
        let (received, points, sequence) = (NOW, Vec::new(), Some(sequence));
        let record = TelemetryRecord { sequence, received, missing: 0, points };
        let device = device.clone();
        keeper.keep(DurableJob::Telemetry {
            device,
            record,
            recorded: None,
            receipt: None,
            burden: None,
        });
    }
    while keeper.status().safe.get(&device) != Some(&21) {
        keeper.stored().notified().await;
    }
    let target =
        NorthboundSpec { protocol: "far", settings: BTreeMap::new(), rate: 1e4, window: 64 };
    let timeout = Duration::from_secs(10);
    let way = Way {
        protocol: Arc::new(FarProtocol(Arc::clone(far))),
        context: ForwardContext { plant: "plant".to_owned(), target, timeout },
        keeper: Arc::clone(&keeper),
        clock,
        status: Arc::new(Mutex::new(NorthboundView {
            endpoint: String::new(),
            up: false,
            since: NOW,
            reason: String::new(),
            sent: 0,
        })),
        panics: Arc::default(),
        chance: 1,
    };
    (keeper, way)
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_cannot_be_read_is_asked_once_a_second_until_it_can() {
    let (refuses, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (switch, count) = (Arc::clone(&refuses), Arc::clone(&reads));
    let store: Arc<dyn Store> =
        Arc::new(FaultyStore::new(MemoryStore::new(), move |_, operation| {
            if operation != Operation::ScanFrom {
                return Fault::None;
            }
            count.fetch_add(1, SeqCst);
            if switch.load(SeqCst) { Fault::Before(ErrorKind::Other) } else { Fault::None }
        }));
    let far = Arc::new(Far::default());
    let (keeper, way) = twenty(store, &far).await;
    refuses.store(true, SeqCst);
    reads.store(0, SeqCst);
    let going = tokio::spawn(forward(way));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let asked = reads.load(SeqCst);
    assert!((20..=40).contains(&asked), "asked {asked} times in half a minute");
    assert_eq!(far.taken.load(SeqCst), 0);
    refuses.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(far.taken.load(SeqCst), 20, "it goes on by itself");
    going.abort();
    keeper.close().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_panics_on_the_way_out_is_a_connection_that_failed() {
    let far = Arc::new(Far { traps: [2.into(), 1.into()], ..Far::default() });
    let (keeper, way) = twenty(Arc::new(MemoryStore::new()), &far).await;
    let (status, panics) = (Arc::clone(&way.status), Arc::clone(&way.panics));
    let going = tokio::spawn(forward(way));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (up, reason) = {
        let status = status.lock().unwrap();
        (status.up, status.reason.clone())
    };
    assert!(!up && reason == "the adapter panicked: trap 0", "{reason}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(panics.load(SeqCst), 3);
    assert_eq!(far.taken.load(SeqCst), 20, "nothing is lost on the way");
    assert!(status.lock().unwrap().up);
    going.abort();
    keeper.close().unwrap();
}

#[test]
fn while_the_keeper_holds_the_spool_the_twins_of_the_first_zone_go_on() {
    let far = Arc::new(Far { gate: Some(Notify::new()), ..Far::default() });
    let registry = Registry::new().with(FarProtocol(Arc::clone(&far)));
    let schemas = registry.schemas();
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let text = "[plant]\nname = \"p\"\n[zone.a]\n[type.gauge.twin]\ntype = \"gauge\"\n\
                [type.gauge.property.level]\nunit = \"cm\"\nrange = [0, 10]\n\
                [device.g]\ntype = \"gauge\"\nzone = \"a\"\nmode = \"physical\"\n[device.g.far]\n";
    let checked = read_plant("plant.toml", text, &catalog, &ReadOptions::default());
    let mut plant = checked.into_plant().unwrap();
    let settings = BTreeMap::new();
    plant.northbound = Some(NorthboundSpec { protocol: "far", settings, rate: 1e4, window: 64 });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    actix::System::new().block_on(async {
        let trust = Trust::in_memory(Arc::clone(&clock), Arc::new(NoAudit)).await.unwrap();
        let assembly = assemble(AssemblyRequest {
            paths: plant.devices.iter().map(|d| d.paths.clone()).collect(),
            plant: Arc::new(plant),
            registry,
            clock,
            store: Some(Arc::new(MemoryStore::new())),
            rest_key: Secret::random().unwrap(),
            store_findings: Vec::new(),
            trust,
            endpoints: Vec::new(),
            place: Place::Threads(1),
            drill: None,
            steps: None,
            disk_hangs: None,
        })
        .unwrap();
        let (handles, arbiters) = assembly.into_parts();
        let keeper = handles.keeper.unwrap();
        let held = keeper.spool();
        // From here it goes on to the spool without another wait.
        far.gate.as_ref().unwrap().notify_one();
        while far.open.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        arbiters[0].spawn(async move { tell.send(()).unwrap() });
        told.recv_timeout(LIMIT).expect("the first zone's thread goes on");
        drop(held);
        keeper.close().unwrap();
        for arbiter in arbiters {
            arbiter.stop();
            arbiter.join().unwrap();
        }
    });
}
