//! What programs find about mail that waits in the state as JSON.

use std::sync::Arc;

use plantwin_model::{
    LaneView, MailboxView, NorthboundView, PlantView, SessionView, SetAsideView, SpoolView,
    Timestamp, TwinState, TwinView,
};
use serde_json::{Value, json};

use super::Status;

const NOON: Timestamp = Timestamp(1_795_262_400_000_000_000);

fn spool() -> SpoolView {
    SpoolView {
        records: 1_204,
        bytes: 3_250_586,
        capacity: 64 << 20,
        oldest: Some(NOON),
        hours_left: Some(19.5),
        dropped: 7,
    }
}

fn view() -> PlantView {
    let mut view = PlantView::empty("line1");
    let mut mailbox = MailboxView { depth: 3, capacity: 256, ..MailboxView::default() };
    mailbox.lanes[2] = LaneView { depth: 3, coalesced: 0, shed: 2, refused: 1 };
    view.twins.push(Arc::new(TwinView {
        id: "tank1".into(),
        zone: "field".into(),
        kind: "tank".to_owned(),
        simulated: true,
        state: TwinState::Shadowed,
        reason: String::new(),
        since: NOON,
        path: None,
        session: SessionView::Plain,
        mailbox,
        energy_joules: 0.0,
        budget_joules: None,
        bytes: 0,
        restarts: 0,
        spool: Some(spool()),
        points: Vec::new(),
        revision: 1,
    }));
    view.spool = Some(spool());
    view.northbound = Some(Arc::new(NorthboundView {
        endpoint: "broker.example:1883".to_owned(),
        up: false,
        since: NOON,
        reason: "connection refused".to_owned(),
        sent: 12,
    }));
    view.set_aside = [SetAsideView {
        id: 3,
        twin: "tank1".into(),
        since: NOON,
        lane: "durable".to_owned(),
        text: "level 18.4 cm".to_owned(),
        panic: "index out of bounds".to_owned(),
    }]
    .into();
    view
}

fn json_of(view: &PlantView) -> Value {
    serde_json::to_value(Status::of(view)).expect("it is JSON")
}

#[test]
fn mail_that_waits_is_told_with_every_field() {
    let status = json_of(&view());
    let spool = json!({
        "records": 1_204, "bytes": 3_250_586, "capacity": 67_108_864,
        "oldest": "2026-11-21T12:00:00.000Z", "hours_left": 19.5, "dropped": 7,
    });
    assert_eq!(status["spool"], spool);
    let twin = &status["twins"][0];
    assert_eq!(twin["spool"], spool);
    assert_eq!(
        twin["mailbox"]["lanes"][2],
        json!({ "depth": 3, "coalesced": 0, "shed": 2, "refused": 1 })
    );
    assert_eq!(
        status["northbound"],
        json!({
            "endpoint": "broker.example:1883", "up": false, "since": "2026-11-21T12:00:00.000Z",
            "reason": "connection refused", "sent": 12,
        })
    );
    assert_eq!(
        status["set_aside"],
        json!([{
            "id": 3, "twin": "tank1", "since": "2026-11-21T12:00:00.000Z", "lane": "durable",
            "text": "level 18.4 cm", "panic": "index out of bounds",
        }])
    );
}

#[test]
fn a_plant_without_durable_telemetry_says_so() {
    let status = json_of(&PlantView::empty("line1"));
    assert_eq!(status["spool"], Value::Null);
    assert_eq!(status["northbound"], Value::Null);
    assert_eq!(status["set_aside"], json!([]));
}
