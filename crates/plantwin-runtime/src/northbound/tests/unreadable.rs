//! The spool cannot be read for a while, or the adapter panics.

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
    Protocol, ProtocolSchema, Sink, Tasks,
};
use plantwin_model::{Clock, NorthboundSpec, NorthboundView, SpoolSpec};
use plantwin_store::{
    MemoryStore, Spool, SpoolLimits, Store,
    testing::{Fault, FaultyStore, Operation},
};
use tokio::{sync::oneshot, time::Instant};

use super::*;
use crate::{
    keeper::{DurableJob, Keeper, KeeperPlace},
    northbound::{Way, forward},
};

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
    let (recorded, limits) = (BTreeMap::new(), SpoolSpec::default());
    let place = KeeperPlace::Thread;
    let keeper = Keeper::start(store, spool, recorded, limits, clock.clone(), place).unwrap();
    let device = DeviceId::from("tank1");
    for sequence in 1..=20 {
        let (received, points, sequence) = (NOW, Vec::new(), Some(sequence));
        let record = TelemetryRecord { sequence, received, missing: 0, points };
        let device = device.clone();
        keeper.keep(DurableJob::Telemetry { device, record, receipt: None, burden: None });
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
