use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use plantwin_adapter::{
    Connection, ForwardContext, ForwardRecord, LinkError, LinkEvent, PointWrite, Protocol,
};
use plantwin_authority::pws::{Agent, AuthorityNeed, DeviceIdentity, DeviceKeys, Step};
use plantwin_model::NoAudit;
use plantwin_model::{Clock, Delivery, NorthboundSpec, invariant::Delivered};
use plantwin_runtime::Trust;

use super::{Device, Net, SETPOINT, SimProtocol, WINDOW, Weather, Wire, protocol::context};
use crate::{
    clock::VirtualClock,
    journal::{Journal, SharedJournal},
};

const SECOND: Duration = Duration::from_secs(1);

/// A record as plantwin sends it.
const BODY: &[u8] = br#"{"sequence":1,"device_sequence":1,"values":{"count":{"v":1.0}}}"#;

/// A network with one device, driven.
struct Bench {
    net: Net,
    journal: SharedJournal,
    clock: Arc<VirtualClock>,
    trust: Trust,
}

impl Bench {
    fn new(seed: u64, durable: bool) -> Self {
        let clock = Arc::new(VirtualClock::default());
        clock.begin();
        let told: Arc<dyn Clock> = Arc::<VirtualClock>::clone(&clock);
        let trust = Trust::in_memory(told, Arc::new(NoAudit)).now_or_never().unwrap().unwrap();
        let keys = DeviceKeys::generate().unwrap();
        let (device, zone) = ("tank".into(), "field".into());
        trust.authority.enrol_simulated(&device, &zone, keys.public()).unwrap();
        let root = *trust.gateway.root();
        let agent = Some(Agent::new(DeviceIdentity { device, zone, keys, root, voucher: None }));
        let devices = vec![Device::new("tank", SECOND, durable, agent)];
        let journal = SharedJournal::new(Journal::new(1, true));
        let net = Net::new(seed, devices, Arc::clone(&clock), journal.clone(), None);
        net.set_alive(true);
        tokio::spawn(net.clone().drive());
        Self { net, journal, clock, trust }
    }

    async fn try_connect(&self, wire: usize, durable: bool) -> Result<Connection, LinkError> {
        let delivery = if durable { Delivery::Durable } else { Delivery::Latest };
        let clock: Arc<dyn Clock> = Arc::<VirtualClock>::clone(&self.clock);
        SimProtocol::both(&self.net)[wire].connect(context("tank", clock, delivery)).await
    }

    async fn connect(&self, durable: bool) -> Connection {
        self.try_connect(0, durable).await.unwrap()
    }
}

/// Numbers and receipts of the next durable values.
async fn durable(connection: &mut Connection, count: usize) -> Vec<(u64, u64)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match connection.events.recv().await {
            Some(LinkEvent::Durable { frame, receipt }) => {
                seen.push((frame.sequence.unwrap(), receipt));
            }
            other => panic!("{other:?}"),
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn durable_values_come_in_order_and_again_until_they_are_confirmed() {
    let bench = Bench::new(1, true);
    let mut first = bench.connect(true).await;
    let seen = durable(&mut first, 3).await;
    assert_eq!(seen.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3]);
    // Not in order, and one not at all.
    first.control.confirm(seen[2].1);
    first.control.confirm(seen[0].1);
    drop(first);
    let mut second = bench.connect(true).await;
    let again: Vec<u64> = durable(&mut second, 3).await.iter().map(|(n, _)| *n).collect();
    assert_eq!(again, [2, 4, 5]);
    let confirmed: Vec<u64> = bench.journal.open().confirmed[0].keys().copied().collect();
    assert_eq!(confirmed, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_window_is_unconfirmed_and_credit_lets_more_come() {
    let bench = Bench::new(2, true);
    let mut link = bench.connect(true).await;
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(link.events.len(), WINDOW);
    for (_, receipt) in durable(&mut link, WINDOW).await {
        link.control.confirm(receipt);
    }
    let more = durable(&mut link, WINDOW).await;
    assert_eq!(more.first().map(|(n, _)| *n), Some(WINDOW as u64 + 1));
    assert!(bench.net.kept() >= WINDOW);
}

#[tokio::test(start_paused = true)]
async fn a_wire_refuses_hangs_or_is_dead() {
    let bench = Bench::new(3, false);
    bench.net.set_wire(0, 0, Wire::Refuses);
    assert!(matches!(bench.try_connect(0, false).await, Err(LinkError::Unreachable { .. })));
    bench.net.set_wire(0, 0, Wire::Hangs);
    let mut hung = bench.connect(false).await;
    assert!(tokio::time::timeout(60 * SECOND, hung.events.recv()).await.is_err());
    let request = hung.control.exchange(vec![1]).await;
    assert!(matches!(request, Err(LinkError::Timeout { .. })), "{request:?}");
    bench.net.set_wire(0, 0, Wire::Dead);
    assert!(tokio::time::timeout(60 * SECOND, bench.try_connect(0, false)).await.is_err());
    // The other way to the device never noticed.
    let mut radio = bench.try_connect(1, false).await.unwrap();
    assert!(matches!(radio.events.recv().await, Some(LinkEvent::Frame(_))));
    bench.net.set_wire(0, 1, Wire::Refuses);
    loop {
        match radio.events.recv().await {
            Some(LinkEvent::Frame(_)) => {}
            Some(LinkEvent::Closed(_)) => break,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_get_lost_after_the_effect() {
    let bench = Bench::new(4, false);
    let link = bench.connect(false).await;
    let write = vec![PointWrite { point: SETPOINT, value: 272.0 }];
    bench.net.set_weather(Weather { lost_answers: 1.0, ..Weather::CALM });
    let lost = link.control.write(write.clone()).await;
    assert!(matches!(lost, Err(LinkError::Timeout { .. })), "{lost:?}");
    assert_eq!(bench.journal.open().commands[&17].len(), 1);
    bench.net.set_weather(Weather { loss: 1.0, ..Weather::CALM });
    let swallowed = link.control.write(write.clone()).await;
    assert!(matches!(swallowed, Err(LinkError::Timeout { .. })), "{swallowed:?}");
    assert_eq!(bench.journal.open().commands[&17].len(), 1);
    bench.net.set_weather(Weather::CALM);
    link.control.write(write.clone()).await.unwrap();
    assert_eq!(bench.journal.open().commands[&17].len(), 2);
    bench.net.set_busy(0, true);
    assert!(matches!(link.control.write(write).await, Err(LinkError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn a_native_device_proves_who_it_is() {
    let bench = Bench::new(5, false);
    let link = bench.connect(false).await;
    let (gateway, authority) = (&bench.trust.gateway, &bench.trust.authority);
    let now = || bench.clock.now();
    let begun = gateway.begin(&"tank".into(), &"field".into(), "wire", now());
    let (mut handshake, mut message) = begun.unwrap();
    let session = loop {
        let answer = link.control.exchange(message).await.unwrap();
        message = match handshake.on_answer(&answer, now()) {
            Step::Send(message) => message,
            Step::Ask(AuthorityNeed::Token(request)) => {
                let grant = authority.token(request, &gateway.name()).await.unwrap();
                handshake.granted(grant).unwrap()
            }
            Step::Up(session) => break session,
            other => panic!("{other:?}"),
        };
    };
    assert_eq!(session.device().as_str(), "tank");
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_does_nothing_more_and_what_was_under_way_arrives() {
    let bench = Bench::new(6, true);
    let mut link = bench.connect(true).await;
    let (_, receipt) = durable(&mut link, 1).await[0];
    let write = link.control.write(vec![PointWrite { point: SETPOINT, value: 144.0 }]);
    let pending = tokio::spawn(write);
    tokio::task::yield_now().await;
    bench.net.set_alive(false);
    link.control.confirm(receipt);
    assert!(bench.try_connect(0, true).await.is_err());
    tokio::time::sleep(SECOND).await;
    assert!(bench.journal.open().confirmed[0].is_empty());
    assert_eq!(bench.journal.open().commands[&9].len(), 1);
    pending.abort();
}

#[tokio::test(start_paused = true)]
async fn the_cloud_acknowledges_and_tells_when_it_goes_away() {
    let bench = Bench::new(7, true);
    let target =
        NorthboundSpec { protocol: "wire", settings: BTreeMap::new(), rate: 1.0, window: 4 };
    let connect = || {
        let (target, plant) = (target.clone(), "p".to_owned());
        let context = ForwardContext { plant, target, timeout: 2 * SECOND };
        SimProtocol::both(&bench.net)[0].forward(context).unwrap()
    };
    let out = connect().await.unwrap_or_else(|e| panic!("{e}"));
    let record = ForwardRecord { device: "tank".into(), body: BODY.to_vec() };
    out.sink.send(record.clone()).await.unwrap();
    let pending = out.sink.send(record.clone());
    bench.net.set_cloud(false);
    assert!(matches!(out.closed.await, Ok(LinkError::Closed(_))));
    assert!(pending.await.is_err());
    assert!(connect().await.is_err());
    bench.net.set_cloud(true);
    let again = connect().await.unwrap_or_else(|e| panic!("{e}"));
    again.sink.send(record).await.unwrap();
    assert!(bench.journal.open().violations.is_empty());
    assert_eq!(bench.journal.open().delivered[0].first(), Some(&Delivered::Value(1)));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let rt = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        rt.block_on(async {
            let bench = Bench::new(seed, true);
            bench.net.set_weather(Weather { delay_ms: 500, loss: 0.3, ..Weather::CALM });
            let mut link = bench.connect(true).await;
            for value in 1..20_u32 {
                let write = PointWrite { point: SETPOINT, value: value.into() };
                let _ = link.control.write(vec![write]).await;
                let (_, receipt) = durable(&mut link, 1).await[0];
                link.control.confirm(receipt);
            }
            let mut journal = bench.journal.open();
            (journal.hash(), journal.take_lines())
        })
    };
    let first = run(8);
    assert!(first.1.len() > 20, "{:?}", first.1);
    assert_eq!(first, run(8));
    assert_ne!(first.0, run(9).0);
}
