//! A device's line: the task that connects it, changes its path and carries its mail.
//!
//! It is the twin's hand on the wire: what comes off the wire it seals and posts, what the twin
//! orders it carries out. When the twin's mailbox is full it stops taking events, so that the
//! adapter stops reading its socket. Absent: judging values, sessions and alarms (the twin).

mod carrier;

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use plantwin_adapter::{
    Connection, Frame, LinkContext, LinkError, LinkEvent, PointWrite, Registry, TrafficSnapshot,
};
use plantwin_model::{Clock, DeviceSpec, PathSpec, PointIx, PointSpec};
use plantwin_twin::{FrameMail, LinkDownMail, LinkUpMail, SessionMail, TwinMail, WrittenMail};
use tokio::sync::mpsc;

pub(crate) use carrier::Carrier;

use crate::path::PathChooser;

/// Longest wait for a connection or an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often a better path is considered.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What a line is asked to do.
#[derive(Debug)]
pub(crate) enum LineOrder {
    /// Post this to the twin.
    Post(Box<TwinMail>),
    /// Send session bytes.
    Exchange(Vec<u8>),
    /// Write points.
    Write { key: u64, writes: Vec<(PointIx, f64)> },
}

/// All that a line needs.
pub(crate) struct Line {
    pub(crate) device: Arc<DeviceSpec>,
    pub(crate) points: Arc<[PointSpec]>,
    pub(crate) paths: Vec<PathSpec>,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) orders: mpsc::Receiver<LineOrder>,
    pub(crate) carrier: Carrier,
    /// Spreads retries; advanced by each use.
    pub(crate) chance: u64,
}

type Errand = BoxFuture<'static, TwinMail>;
type Probe = BoxFuture<'static, Result<(usize, Connection, Frame), (usize, LinkError)>>;

impl Line {
    /// Runs until nobody orders anything any more.
    pub(crate) async fn run(mut self) {
        let mut chooser = PathChooser::new(self.paths.len());
        let mut came_from = None;
        loop {
            let Some((rank, connection)) = self.connect(&mut chooser).await else { return };
            chooser.on_up(rank, self.clock.now(), came_from);
            self.link_up(rank, &connection, chooser.switches()).await;
            let Some((rank, error)) = self.serve(rank, connection, &mut chooser).await else {
                return;
            };
            tracing::debug!(device = %self.device.id, %error, "path lost");
            let jitter = self.jitter();
            chooser.on_failure(rank, self.clock.now(), jitter);
            came_from = Some(rank);
            // With another path at hand the twin is not told that all is down.
            if chooser.next_attempt(self.clock.now()).is_err() {
                self.link_down(&error).await;
            }
        }
    }

    /// Tries the paths until one is up; `None` when the line is to end.
    async fn connect(&mut self, chooser: &mut PathChooser) -> Option<(usize, Connection)> {
        let mut told_down = false;
        loop {
            match chooser.next_attempt(self.clock.now()) {
                Ok(rank) => {
                    let attempt = self.attempt(rank);
                    tokio::pin!(attempt);
                    let result = loop {
                        tokio::select! {
                            result = &mut attempt => break result,
                            order = self.orders.recv() => self.refuse(order?).await,
                        }
                    };
                    match result {
                        Ok(connection) => return Some((rank, connection)),
                        Err(error) => {
                            let jitter = self.jitter();
                            chooser.on_failure(rank, self.clock.now(), jitter);
                            if !told_down && chooser.next_attempt(self.clock.now()).is_err() {
                                told_down = true;
                                self.link_down(&error).await;
                            }
                        }
                    }
                }
                Err(until) => {
                    let wait = self.wall(until.since(self.clock.now()));
                    let sleep = tokio::time::sleep(wait);
                    tokio::pin!(sleep);
                    loop {
                        tokio::select! {
                            () = &mut sleep => break,
                            order = self.orders.recv() => self.refuse(order?).await,
                        }
                    }
                }
            }
        }
    }

    /// Carries mail both ways until the link ends; `None` when the line is to end.
    async fn serve(
        &mut self,
        mut rank: usize,
        mut connection: Connection,
        chooser: &mut PathChooser,
    ) -> Option<(usize, LinkError)> {
        let mut errands: FuturesUnordered<Errand> = FuturesUnordered::new();
        let mut probe: Option<Probe> = None;
        let mut probe_timer = tokio::time::interval(PROBE_EVERY);
        probe_timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let silence = self.silence();
        let mut heard = tokio::time::Instant::now();
        let mut counted = TrafficSnapshot::default();
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order? {
                    LineOrder::Post(mail) => self.carrier.carry(*mail).await,
                    other => errands.push(errand(&connection, other)),
                },
                Some(mail) = errands.next() => self.carrier.carry(mail).await,
                event = connection.events.recv() => {
                    if !matches!(&event, Some(LinkEvent::Frame(frame)) if frame.is_past()) {
                        heard = tokio::time::Instant::now();
                    }
                    match event {
                        Some(LinkEvent::Frame(frame)) => {
                            let traffic = since(&mut counted, connection.traffic.snapshot());
                            self.carrier.carry(TwinMail::Frame(FrameMail { frame, traffic })).await;
                        }
                        Some(LinkEvent::Durable { frame, receipt }) => {
                            let traffic = since(&mut counted, connection.traffic.snapshot());
                            self.carrier.carry(TwinMail::Frame(FrameMail { frame, traffic })).await;
                            connection.control.confirm(receipt);
                        }
                        Some(LinkEvent::Alive) => self.carrier.carry(TwinMail::Alive).await,
                        Some(LinkEvent::Closed(error)) => return Some((rank, error)),
                        None => return Some((rank, LinkError::Closed("the link ended".to_owned()))),
                    }
                }
                found = async { match probe.as_mut() {
                    Some(probe) => probe.await,
                    None => std::future::pending().await,
                } } => {
                    probe = None;
                    match found {
                        Ok((better, new, first)) => {
                            let now = self.clock.now();
                            chooser.on_up(better, now, Some(rank));
                            (rank, connection) = (better, new);
                            counted = TrafficSnapshot::default();
                            self.link_up(rank, &connection, chooser.switches()).await;
                            let traffic = since(&mut counted, connection.traffic.snapshot());
                            let mail = FrameMail { frame: first, traffic };
                            self.carrier.carry(TwinMail::Frame(mail)).await;
                            heard = tokio::time::Instant::now();
                        }
                        Err((path, _)) => {
                            let jitter = self.jitter();
                            chooser.on_failure(path, self.clock.now(), jitter);
                        }
                    }
                }
                () = tokio::time::sleep_until(heard + silence) => {
                    let millis = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
                    let endpoint = connection.endpoint.clone();
                    return Some((rank, LinkError::Timeout { endpoint, millis }));
                }
                _ = probe_timer.tick(), if rank > 0 && probe.is_none() => {
                    if let Some(better) = chooser.probe(self.clock.now()) {
                        probe = Some(self.probe(better));
                    }
                }
            }
        }
    }

    /// How long a link may say nothing at all: five periods, at least three seconds.
    fn silence(&self) -> Duration {
        self.wall(self.device.period.saturating_mul(5)).max(Duration::from_secs(3))
    }

    fn attempt(
        &self,
        rank: usize,
    ) -> impl Future<Output = Result<Connection, LinkError>> + Send + 'static {
        let context = LinkContext {
            device: self.device.id.clone(),
            points: Arc::clone(&self.points),
            path: self.paths[rank].clone(),
            period: self.wall(self.device.period),
            timeout: TIMEOUT,
            clock: Arc::clone(&self.clock),
            delivery: self.device.delivery,
        };
        let protocol = self.registry.get(context.path.protocol).cloned();
        async move {
            let Some(protocol) = protocol else {
                return Err(LinkError::Settings(format!(
                    "the protocol {} is not in this build",
                    context.path.protocol
                )));
            };
            let endpoint = context.path.text("addr").unwrap_or("the device").to_owned();
            let millis = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            tokio::time::timeout(TIMEOUT, protocol.connect(context))
                .await
                .unwrap_or(Err(LinkError::Timeout { endpoint, millis }))
        }
    }

    /// Connects a better path beside the one in use and waits for its first values.
    fn probe(&self, rank: usize) -> Probe {
        let attempt = self.attempt(rank);
        let patience = self.silence();
        Box::pin(async move {
            let mut connection = attempt.await.map_err(|e| (rank, e))?;
            let first = tokio::time::timeout(patience, async {
                loop {
                    match connection.events.recv().await {
                        // What a broker kept is no sign of life.
                        Some(LinkEvent::Frame(frame)) if frame.is_past() => {}
                        Some(LinkEvent::Frame(frame) | LinkEvent::Durable { frame, .. }) => {
                            return Ok(frame);
                        }
                        Some(LinkEvent::Alive) => {}
                        Some(LinkEvent::Closed(error)) => return Err(error),
                        None => return Err(LinkError::Closed("the link ended".to_owned())),
                    }
                }
            })
            .await
            .unwrap_or_else(|_| Err(LinkError::Closed("no values came".to_owned())))
            .map_err(|e| (rank, e))?;
            Ok((rank, connection, first))
        })
    }

    async fn link_up(&mut self, rank: usize, connection: &Connection, switches: u32) {
        let protocol = self.registry.get(self.paths[rank].protocol);
        let datagrams = protocol.is_some_and(|p| p.schema().datagrams);
        let rank = rank as u16;
        let endpoint = connection.endpoint.clone();
        self.carrier
            .carry(TwinMail::LinkUp(LinkUpMail { rank, endpoint, switches, datagrams }))
            .await;
    }

    async fn link_down(&mut self, error: &LinkError) {
        let reason = format!("failed to {error}");
        self.carrier.carry(TwinMail::LinkDown(LinkDownMail { reason })).await;
    }

    /// An order that needs a link while there is none.
    async fn refuse(&mut self, order: LineOrder) {
        let reason = "no path to the device is up";
        let mail = match order {
            LineOrder::Post(mail) => *mail,
            LineOrder::Exchange(_) => {
                TwinMail::Session(SessionMail { answer: Err(reason.to_owned()) })
            }
            LineOrder::Write { key, .. } => {
                TwinMail::Written(WrittenMail { key, result: Err(reason.to_owned()) })
            }
        };
        self.carrier.carry(mail).await;
    }

    /// Plant time as wall time.
    fn wall(&self, plant: Duration) -> Duration {
        plant.div_f64(self.clock.speed().max(1e-6))
    }

    fn jitter(&mut self) -> f64 {
        // An LCG (Knuth, MMIX) is enough to spread retries; nothing secret hangs on it.
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn errand(connection: &Connection, order: LineOrder) -> Errand {
    let control = Arc::clone(&connection.control);
    Box::pin(async move {
        match order {
            LineOrder::Post(mail) => *mail,
            LineOrder::Exchange(bytes) => {
                let answer = control.exchange(bytes).await.map_err(|e| format!("failed to {e}"));
                TwinMail::Session(SessionMail { answer })
            }
            LineOrder::Write { key, writes } => {
                let writes =
                    writes.into_iter().map(|(point, value)| PointWrite { point, value }).collect();
                let result = control.write(writes).await.map_err(|e| format!("failed to {e}"));
                TwinMail::Written(WrittenMail { key, result })
            }
        }
    })
}

fn since(counted: &mut TrafficSnapshot, now: TrafficSnapshot) -> TrafficSnapshot {
    let before = std::mem::replace(counted, now);
    TrafficSnapshot {
        up_bytes: now.up_bytes.saturating_sub(before.up_bytes),
        up_packets: now.up_packets.saturating_sub(before.up_packets),
        down_bytes: now.down_bytes.saturating_sub(before.down_bytes),
        down_packets: now.down_packets.saturating_sub(before.down_packets),
    }
}
