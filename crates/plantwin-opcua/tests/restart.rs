//! A whole plant on an OPC UA server that is stopped and started again at the same address. The
//! link ends; the runtime's line finds the server again. One way down, one way up, and of
//! subscriptions none but the one in use.

mod common;

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{available, soon};
use plantwin_adapter::{
    Host, HostRequest, HostedDevice, Measurement, Protocol, Registry, SystemClock,
};
use plantwin_model::{
    Clock, PlantSpec, Timestamp, TwinState,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_opcua::OpcUa;
use plantwin_runtime::{AuthorityAt, KeySource, RunRequest, RunningPlant};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};

/// Three times the longest wait of a line between two tries of a path, and the longest that a try
/// lasts: on a busy machine a try may fail.
const BREAKER: Duration = Duration::from_secs(3 * (10 + 2) + 5);

/// A plant of one physical device at an address; `more` are settings of its path.
fn plant(address: SocketAddr, more: &str) -> PlantSpec {
    let text = format!(
        "[plant]\nname = \"restart\"\nperiod = \"200ms\"\n[zone.a]\n\
         [type.gauge.twin]\ntype = \"gauge\"\n\
         [type.gauge.property.level]\nunit = \"cm\"\nrange = [0, 1000000]\n\
         [device.rig]\ntype = \"gauge\"\nzone = \"a\"\nmode = \"physical\"\n\
         [device.rig.opcua]\naddr = \"{address}\"\n{more}\n"
    );
    let registry = Registry::new().with(OpcUa::new());
    let schemas = registry.schemas();
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let checked = read_plant("restart.toml", &text, &catalog, &ReadOptions::default());
    checked.into_plant().unwrap()
}

/// A free port of the loopback.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    listener.expect("a free port")
}

/// A running plant, and every state that its twin was seen in.
struct Plant {
    running: Option<RunningPlant>,
    states: Arc<Mutex<Vec<(TwinState, Timestamp)>>>,
    watching: JoinHandle<()>,
}

impl Plant {
    async fn start(spec: PlantSpec) -> Self {
        let registry = Registry::new().with(OpcUa::new());
        let (data, key) = (None, KeySource::Plain);
        let request = RunRequest {
            plant: spec,
            registry,
            data,
            key,
            speed: 1.0,
            authority: AuthorityAt::Here,
        };
        // It blocks until its threads are up.
        let starting = tokio::task::spawn_blocking(|| RunningPlant::start(request));
        let running = starting.await.expect("no panic").expect("the plant starts");
        let (mut view, states) = (running.view.clone(), Arc::<Mutex<Vec<_>>>::default());
        let seen = Arc::clone(&states);
        let watching = tokio::spawn(async move {
            while view.changed().await.is_ok() {
                let now = view.borrow_and_update().twins.get(0).map(|t| (t.state, t.since));
                let mut seen = seen.lock().expect("no panic");
                // `since` tells a state that was left and entered again between two views.
                if now.is_some() && seen.last() != now.as_ref() {
                    seen.extend(now);
                }
            }
        });
        Self { running: Some(running), states, watching }
    }

    /// Waits until the twin is in a state.
    async fn reaches(&self, wanted: TwinState) {
        let mut view = self.running.as_ref().expect("it runs").view.clone();
        let is =
            |v: &Arc<plantwin_model::PlantView>| v.twins.get(0).is_some_and(|t| t.state == wanted);
        soon(&format!("the state {wanted:?}"), view.wait_for(is)).await.expect("it runs");
    }

    /// How often the twin went down, and how often it came up from there.
    fn ways(&self) -> (usize, usize) {
        let states = self.states.lock().expect("no panic");
        let down = states.iter().filter(|(s, _)| *s == TwinState::Down).count();
        let left =
            |w: &[(TwinState, Timestamp)]| w[0].0 == TwinState::Down && w[1].0 != TwinState::Down;
        (down, states.windows(2).filter(|w| left(w)).count())
    }

    /// Once down and once up. On a machine that stood still for longer than a link's silence may
    /// last it happens again; it never goes back and forth.
    fn check_ways(&self) {
        let (down, up) = self.ways();
        assert!(down == up && (1..=3).contains(&down), "{:?}", self.states);
    }

    async fn stop(mut self) {
        self.watching.abort();
        let running = self.running.take().expect("it runs");
        let stopped = tokio::task::spawn_blocking(|| running.stop()).await.expect("no panic");
        assert_eq!(stopped.unsaved, 0, "the twin saved");
    }
}

/// Plays the plant's device at an address.
async fn host(spec: &PlantSpec, address: SocketAddr) -> Host {
    let device = &spec.devices[0];
    let request = || HostRequest {
        listen: Some(address),
        hub: None,
        devices: vec![HostedDevice {
            sealed: false,
            device: device.id.clone(),
            points: device.kind.points.as_slice().into(),
            path: device.paths[0].clone(),
            period: device.period,
        }],
        clock: Arc::new(SystemClock::new(1.0)),
    };
    OpcUa::new().host(request()).await.expect("the server starts")
}

/// A played device that measures ten times a second.
struct Played {
    host: Host,
    sequence: u64,
}

impl Played {
    /// Measures, and says to how many subscribers each of the last measurements went.
    async fn measure(&mut self, times: u64) -> f64 {
        let port = &mut self.host.devices[0];
        let before = port.traffic.snapshot().up_packets;
        for _ in 0..times {
            self.sequence += 1;
            let time = SystemClock::new(1.0).now();
            let m = Measurement::good(time, self.sequence, &[self.sequence as f64]);
            port.outlet.publish(&m).await.expect("it publishes");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (port.traffic.snapshot().up_packets - before) as f64 / times as f64
    }

    /// Measures until something has happened.
    async fn until<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return done,
                _ = self.measure(1) => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_our_own_that_is_restarted_is_subscribed_to_once_again() {
    let address = free();
    let spec = plant(address, "");
    let mut played = Played { host: host(&spec, address).await, sequence: 0 };
    let plant = Plant::start(spec.clone()).await;
    played.until(plant.reaches(TwinState::Shadowed)).await;

    let Played { host: old, sequence } = played;
    drop(old);
    plant.reaches(TwinState::Down).await;
    let mut played = Played { host: host(&spec, address).await, sequence };
    let back = tokio::time::timeout(BREAKER, played.until(plant.reaches(TwinState::Shadowed)));
    back.await.expect("values flow again within the breaker's bounds");
    let subscribers = played.measure(20).await;
    assert!((0.9..=1.1).contains(&subscribers), "{subscribers} subscribers");
    plant.check_ways();
    plant.stop().await;
}

/// A relay that can be cut like a cable that is pulled and put back: connections end without a
/// word to the server.
async fn relay(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let open = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&open);
    let task = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            if !gate.load(Relaxed) {
                continue;
            }
            let Ok(server) = TcpStream::connect(to).await else { continue };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let (up, down) = (Arc::clone(&gate), Arc::clone(&gate));
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                    if !down.load(Relaxed) || to_client.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
            kept.push(tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
                    if up.load(Relaxed) && to_server.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
                // The server is never told that its client has gone.
                to_server
            }));
        }
    });
    (address, open, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_left_on_the_server_is_gone_soon() {
    let server = free();
    let (address, open, relaying) = relay(server).await;
    let spec = plant(address, "");
    let mut played = Played { host: host(&spec, server).await, sequence: 0 };
    let plant = Plant::start(spec).await;
    played.until(plant.reaches(TwinState::Shadowed)).await;

    open.store(false, Relaxed);
    played.until(plant.reaches(TwinState::Down)).await;
    open.store(true, Relaxed);
    let back = tokio::time::timeout(BREAKER, played.until(plant.reaches(TwinState::Shadowed)));
    back.await.expect("values flow again within the breaker's bounds");
    // The server keeps the session that it believes in until its time is over.
    let alone = async { while played.measure(10).await > 1.05 {} };
    soon("the old subscription to expire", alone).await;
    let subscribers = played.measure(20).await;
    assert!((0.9..=1.1).contains(&subscribers), "{subscribers} subscribers");
    plant.check_ways();
    plant.stop().await;
    relaying.abort();
}

/// The foreign server, killed when dropped, with its output.
struct Foreign {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Foreign {
    async fn start(address: SocketAddr) -> Self {
        let script = format!("{}/tests/peer_server.py", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("python3")
            .args([script.as_str(), &address.port().to_string(), "count"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 starts");
        let out = child.stdout.take().expect("its output is piped");
        let mut foreign = Self { child, lines: BufReader::new(out).lines() };
        foreign.says("ready").await;
        foreign
    }

    async fn says(&mut self, wanted: &str) {
        let line = soon(wanted, self.lines.next_line()).await.expect("its output is text");
        assert_eq!(line.as_deref(), Some(wanted));
    }

    /// Returns when this was said last and nothing else for five seconds.
    async fn keeps_saying(&mut self, wanted: &str) {
        let mut last = None;
        loop {
            match tokio::time::timeout(Duration::from_secs(5), self.lines.next_line()).await {
                Ok(line) => last = line.expect("its output is text"),
                Err(_) if last.as_deref() == Some(wanted) => return,
                Err(_) => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asyncua_server_that_is_killed_and_restarted_is_subscribed_to_once_again() {
    if !available().await {
        return;
    }
    let address = free();
    let mut server = Foreign::start(address).await;
    let plant = Plant::start(plant(address, "namespace = \"urn:peer\"")).await;
    plant.reaches(TwinState::Shadowed).await;
    server.says("subscriptions 1").await;

    server.child.kill().await.expect("it can be killed");
    plant.reaches(TwinState::Down).await;
    let mut server = Foreign::start(address).await;
    let back = tokio::time::timeout(BREAKER, plant.reaches(TwinState::Shadowed));
    back.await.expect("values flow again within the breaker's bounds");
    // It comes to one and goes on so: neither another one nor none, and values that change.
    soon("one subscription, for five seconds", server.keeps_saying("subscriptions 1")).await;
    plant.reaches(TwinState::Shadowed).await;
    plant.check_ways();
    plant.stop().await;
    // The plant leaves nothing behind either.
    server.says("subscriptions 0").await;
}
