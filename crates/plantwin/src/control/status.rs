//! The state of a plant as JSON: a public format. Fields are added, not renamed.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use plantwin_model::{
    AlarmView, MailboxView, NorthboundView, PathView, PlantView, PointInfo, PointView, Quality,
    SessionView, SetAsideView, SpoolView, Timestamp, TwinState, TwinView,
};
use serde::Serialize;

/// The whole plant.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    plant: String,
    now: String,
    uptime_s: f64,
    twins: Vec<TwinStatus>,
    alarms: Vec<AlarmStatus>,
    counters: BTreeMap<String, u64>,
    endpoints: Vec<EndpointStatus>,
    spool: Option<SpoolStatus>,
    northbound: Option<NorthboundStatus>,
    set_aside: Vec<SetAsideStatus>,
}

/// Durable telemetry that waits: of one device, or of all.
#[derive(Debug, Serialize)]
struct SpoolStatus {
    records: u64,
    bytes: u64,
    capacity: u64,
    oldest: Option<String>,
    hours_left: Option<f64>,
    dropped: u64,
}

/// The way out for durable telemetry.
#[derive(Debug, Serialize)]
struct NorthboundStatus {
    endpoint: String,
    up: bool,
    since: String,
    reason: String,
    sent: u64,
}

/// A letter that was set aside.
#[derive(Debug, Serialize)]
struct SetAsideStatus {
    id: u64,
    twin: String,
    since: String,
    lane: String,
    text: String,
    panic: String,
}

/// A server that plantwin itself started.
#[derive(Debug, Serialize)]
struct EndpointStatus {
    protocol: String,
    address: String,
}

/// A twin.
#[derive(Debug, Serialize)]
pub(crate) struct TwinStatus {
    id: String,
    zone: String,
    #[serde(rename = "type")]
    kind: String,
    simulated: bool,
    state: TwinState,
    reason: String,
    since: String,
    path: Option<PathView>,
    session: SessionStatus,
    mailbox: MailboxView,
    energy_j: f64,
    budget_j: Option<f64>,
    bytes: u64,
    restarts: u32,
    spool: Option<SpoolStatus>,
    points: BTreeMap<String, PointStatus>,
}

/// A session.
#[derive(Debug, Serialize)]
struct SessionStatus {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A point.
#[derive(Debug, Serialize)]
struct PointStatus {
    value: Option<f64>,
    unit: String,
    quality: &'static str,
    flaw: Option<String>,
    source_time: Option<String>,
    received_time: Option<String>,
    predicted: Option<f64>,
    residual: Option<f64>,
    band: Option<f64>,
    desired: Option<f64>,
}

/// An alarm.
#[derive(Debug, Serialize)]
struct AlarmStatus {
    id: String,
    twin: String,
    priority: plantwin_model::Priority,
    state: plantwin_model::AlarmState,
    source: plantwin_model::AlarmSource,
    since: String,
    raised: String,
    text: String,
    response: String,
}

impl Status {
    pub(crate) fn of(view: &PlantView) -> Self {
        Self {
            plant: view.plant.to_string(),
            now: time(view.now),
            uptime_s: view.uptime_s,
            twins: view.twins.iter().map(|t| TwinStatus::of(view, t)).collect(),
            alarms: view.alarms.iter().map(AlarmStatus::of).collect(),
            counters: BTreeMap::clone(&view.counters),
            endpoints: view
                .endpoints
                .iter()
                .map(|(protocol, address)| EndpointStatus {
                    protocol: protocol.clone(),
                    address: address.clone(),
                })
                .collect(),
            spool: view.spool.as_ref().map(SpoolStatus::of),
            northbound: view.northbound.as_deref().map(NorthboundStatus::of),
            set_aside: view.set_aside.iter().map(SetAsideStatus::of).collect(),
        }
    }
}

impl SpoolStatus {
    fn of(spool: &SpoolView) -> Self {
        Self {
            records: spool.records,
            bytes: spool.bytes,
            capacity: spool.capacity,
            oldest: spool.oldest.map(time),
            hours_left: spool.hours_left,
            dropped: spool.dropped,
        }
    }
}

impl NorthboundStatus {
    fn of(northbound: &NorthboundView) -> Self {
        Self {
            endpoint: northbound.endpoint.clone(),
            up: northbound.up,
            since: time(northbound.since),
            reason: northbound.reason.clone(),
            sent: northbound.sent,
        }
    }
}

impl SetAsideStatus {
    fn of(letter: &SetAsideView) -> Self {
        Self {
            id: letter.id,
            twin: letter.twin.to_string(),
            since: time(letter.since),
            lane: letter.lane.clone(),
            text: letter.text.clone(),
            panic: letter.panic.clone(),
        }
    }
}

impl TwinStatus {
    pub(crate) fn of(view: &PlantView, twin: &TwinView) -> Self {
        let infos = view.types.get(&twin.kind).map_or(&[][..], |t| &t.points[..]);
        Self {
            id: twin.id.to_string(),
            zone: twin.zone.to_string(),
            kind: twin.kind.clone(),
            simulated: twin.simulated,
            state: twin.state,
            reason: twin.reason.clone(),
            since: time(twin.since),
            path: twin.path.clone(),
            session: SessionStatus::of(&twin.session),
            mailbox: twin.mailbox,
            energy_j: twin.energy_joules,
            budget_j: twin.budget_joules,
            bytes: twin.bytes,
            restarts: twin.restarts,
            spool: twin.spool.as_ref().map(SpoolStatus::of),
            points: infos
                .iter()
                .zip(&twin.points)
                .map(|(info, point)| (info.name.clone(), PointStatus::of(info, point)))
                .collect(),
        }
    }
}

impl SessionStatus {
    fn of(session: &SessionView) -> Self {
        let (kind, expires, reason) = match session {
            SessionView::None => ("none", None, None),
            SessionView::Plain => ("plain", None, None),
            SessionView::Token { expires } => ("token", Some(time(*expires)), None),
            SessionView::Sealed { expires } => ("sealed", Some(time(*expires)), None),
            SessionView::Refused { reason } => ("refused", None, Some(reason.clone())),
        };
        Self { kind, expires, reason }
    }
}

impl PointStatus {
    fn of(info: &PointInfo, point: &PointView) -> Self {
        let (quality, flaw) = match point.quality {
            Quality::Good => ("good", None),
            Quality::Uncertain(flaw) => ("uncertain", Some(flaw.to_string())),
            Quality::Bad(flaw) => ("bad", Some(flaw.to_string())),
        };
        Self {
            value: point.value,
            unit: info.unit.clone(),
            quality,
            flaw,
            source_time: point.source_time.map(time),
            received_time: point.received_time.map(time),
            predicted: point.predicted,
            residual: point.residual,
            band: point.band,
            desired: point.desired,
        }
    }
}

impl AlarmStatus {
    fn of(alarm: &AlarmView) -> Self {
        Self {
            id: alarm.id.to_string(),
            twin: alarm.twin.to_string(),
            priority: alarm.priority,
            state: alarm.state,
            source: alarm.source,
            since: time(alarm.since),
            raised: time(alarm.raised),
            text: alarm.text.clone(),
            response: alarm.response.clone(),
        }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time(t: Timestamp) -> String {
    let ms = u64::try_from(t.as_millis()).unwrap_or(0);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
