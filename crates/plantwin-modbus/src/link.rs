//! The link face: polls a device on absolute deadlines, writes to it, carries its session.
//!
//! A poll that is late is not made up for: the next one is at the next whole period since the
//! second poll, so that the rate after an outage is the nominal one. Links that come up together
//! (a start, a power cut that is over) do not poll together: the second poll comes after half to
//! one and a half periods, another share of it for each unit. Absent: the connection and
//! its fair use (see `bus`), reconnecting (the caller's business).

mod control;
mod poll;

use std::{sync::Arc, time::Duration};

use plantwin_adapter::{Connection, LinkContext, LinkError, LinkEvent, Tasks, Traffic};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use self::{control::ModbusControl, poll::Poller};
use crate::{
    bus::{Bus, Buses},
    config::{self, Config, DEFAULT_UNIT},
    native::{Ask, SERVER},
    plan::{self, Block},
    unit::{Failure, Unit},
};

/// Events that wait for their reader; when they are as many, the device is not polled.
const EVENTS: usize = 64;
/// Default of the setting `timeout`.
const PATIENCE: Duration = Duration::from_secs(1);
/// Why a sealed device is not linked to by this protocol.
const NO_SEALING: &str = "sealed envelopes: modbus has no place for them, and no device of it \
                          proves who it is; use another protocol, or declare the device as plain";
/// Polls without an answer, one after the other, that end a link.
const UNANSWERED: u32 = 3;

/// Connects, and resolves when the device has answered a read.
pub(crate) async fn connect(
    buses: Arc<Buses>,
    context: LinkContext,
) -> Result<Connection, LinkError> {
    if context.sealed {
        return Err(LinkError::Unsupported(NO_SEALING.to_owned()));
    }
    let config = Config::new(&context.points, &context.path)?;
    let addr = context.path.text("addr");
    let addr = addr.ok_or_else(|| LinkError::Settings("addr is missing".to_owned()))?;
    let endpoint = config::endpoint(addr).map_err(|e| LinkError::Settings(format!("addr: {e}")))?;
    let patience = config.timeout.unwrap_or_else(|| context.timeout.min(PATIENCE));
    let limit = context.timeout;
    let late = LinkError::Timeout { endpoint: endpoint.clone(), millis: limit.as_millis() as u64 };
    let reaching = async {
        let bus = buses.get(&endpoint, &config.allow, patience).await?;
        reach(bus, &endpoint, &config, &context, patience).await
    };
    let (unit, native) = timeout(limit, reaching).await.unwrap_or(Err(late))?;

    let (events_tx, events) = mpsc::channel(EVENTS);
    let traffic = Arc::clone(&unit.traffic);
    let endpoint = unit.endpoint.clone();
    let control =
        Arc::new(ModbusControl::new(&unit, native, &config.points, &context.points, limit));
    let period = context.period.div_f64(context.clock.speed().max(1e-6));
    let poller = Poller::new(unit, native, config.points, context.clock);
    let mut tasks = Tasks::new();
    tasks.spawn(run(poller, period.max(Duration::from_millis(1)), events_tx));
    Ok(Connection { events, control, traffic, endpoint, resumed: false, tasks })
}

/// Finds the unit, hears it, and learns whether it is one of our own.
async fn reach(
    bus: Arc<Bus>,
    endpoint: &str,
    config: &Config,
    context: &LinkContext,
    patience: Duration,
) -> Result<(Unit, bool), LinkError> {
    let traffic = Arc::new(Traffic::default());
    let name = |number: u8| format!("{endpoint} unit {number}");
    let unit = |number| Unit {
        bus: Arc::clone(&bus),
        number,
        patience,
        traffic: Arc::clone(&traffic),
        endpoint: name(number),
    };
    // Some devices do not answer what they do not know, so that question gets little time.
    let brief = (patience / 4).max(Duration::from_millis(50)).min(patience);
    let number = match config.unit {
        Some(number) => number,
        None if !config.identify => DEFAULT_UNIT,
        None => locate(&unit(SERVER).with(SERVER, brief), &context.device).await?,
    };
    let unit = unit(number);
    let first = plan::plan(&config.points, 0, u16::MAX).into_iter().next();
    let (table, start, count) = match first {
        Some(Block { table, start, count, .. }) => (table, start, count),
        // A device without points is asked for something, so that it shows that it lives.
        None => (crate::pdu::Table::Holding, 0, 1),
    };
    match unit.read(table, start, count).await {
        // An exception is an answer too: the device is there.
        Ok(_) | Err(Failure::Exception(_) | Failure::Malformed) => {}
        Err(Failure::Link(error)) => return Err(error),
    }
    if !config.identify {
        return Ok((unit, false));
    }
    let native = match unit.with(number, brief).is_native().await {
        Ok(native) => native,
        Err(Failure::Link(error)) if !matches!(error, LinkError::Timeout { .. }) => {
            return Err(error);
        }
        Err(_) => false,
    };
    Ok((unit, native))
}

/// The unit of a device that its path does not name: a plantwin server knows it by its name.
async fn locate(server: &Unit, device: &plantwin_model::DeviceId) -> Result<u8, LinkError> {
    match server.is_native().await {
        Ok(true) => {}
        Err(Failure::Link(error)) if !matches!(error, LinkError::Timeout { .. }) => {
            return Err(error);
        }
        _ => return Ok(DEFAULT_UNIT),
    }
    let ask = Ask::Locate(device.to_string());
    let found = server.native(&ask, |answer| ask.read_located(answer)).await;
    found.map_err(|failure| match failure {
        Failure::Exception(_) => LinkError::Unsupported(format!("a device named {device}")),
        other => other.into_error(),
    })
}

async fn run(mut poller: Poller, period: Duration, events: mpsc::Sender<LinkEvent>) {
    let bus = poller.bus();
    let error = tokio::select! {
        biased;
        // The end of the bus is the reason for whatever a poll fails with at the same time.
        error = bus.ended() => error,
        error = polls(&mut poller, period, &events) => error,
    };
    tracing::debug!(endpoint = poller.endpoint(), %error, "link ended");
    let _ = events.send(LinkEvent::Closed(error)).await;
}

/// Polls until the device is silent for too long.
async fn polls(
    poller: &mut Poller,
    period: Duration,
    events: &mpsc::Sender<LinkEvent>,
) -> LinkError {
    let start = Instant::now() + period.mul_f64(0.5 + share(poller.endpoint()));
    let mut unanswered = 0;
    loop {
        let Ok(permit) = events.reserve().await else {
            return LinkError::Closed("nobody listens".to_owned());
        };
        let (frame, failed) = poller.poll().await;
        if let Some(frame) = frame {
            permit.send(LinkEvent::Frame(frame));
        }
        match failed {
            None => unanswered = 0,
            Some(error @ LinkError::Timeout { .. }) => {
                unanswered += 1;
                if unanswered == UNANSWERED {
                    return error;
                }
            }
            // Its unit's queue was full of writes: the next poll may find room.
            Some(LinkError::Refused(_)) => {}
            Some(error) => return error,
        }
        sleep_until(next_deadline(start, period, Instant::now())).await;
    }
}

/// A number of a unit in 0..1, evenly spread over units and always the same: FNV-1a (Fowler, Noll,
/// Vo) with its upper bits mixed down, since names that differ in their last digit only
/// differ in few bits of it.
pub(crate) fn share(name: &str) -> f64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// `start`, or the first whole period after it that lies in the future.
pub(crate) fn next_deadline(start: Instant, period: Duration, now: Instant) -> Instant {
    if now < start {
        return start;
    }
    let passed = now.saturating_duration_since(start).as_nanos();
    let periods = passed / period.as_nanos().max(1) + 1;
    let nanos = periods.saturating_mul(period.as_nanos());
    start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
}
