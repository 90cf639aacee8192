//! What the conformance kit does not know of: malformed payloads, retained messages, overload,
//! a broker that dies.

use std::{sync::Arc, time::Duration};

use plantwin_adapter::{
    DeviceMessage, LinkError, LinkEvent, ManualClock, PointWrite, Protocol as _,
};
use plantwin_model::{Flaw, PointIx, Quality, Timestamp};
use rumqttc::v5::mqttbytes::QoS;

use super::{Mqtt, Raw, closed, device, frame, hub, link, measurement, path, try_link, within};

#[tokio::test]
async fn malformed_payloads_are_bad_samples_and_the_link_lives_on() {
    let hub = hub().await;
    let mut link = link(hub.address, path(&[], &[(1, &[("topic", "raw/flow")])])).await;
    let raw = Raw::connect(hub.address, "none").await;
    raw.publish("dev/data", false, "{\"v\":").await;
    let got = frame(&mut link).await;
    assert_eq!(got.samples.len(), 3, "one for each point of the topic: {got:?}");
    assert!(got.samples.iter().all(|s| s.quality == Quality::Bad(Flaw::Malformed)), "{got:?}");
    raw.publish("raw/flow", false, vec![0xff, 0xfe]).await;
    assert_eq!(frame(&mut link).await.samples[0].quality, Quality::Bad(Flaw::Malformed));
    raw.publish("dev/data", false, vec![b'x'; 100 * 1024]).await;
    assert!(frame(&mut link).await.samples[0].quality.is_bad(), "too long a payload");
    raw.publish("raw/flow", false, "nan").await;
    assert!(frame(&mut link).await.samples[0].value.is_nan());
    raw.publish("dev/data", false, r#"{"seq":4,"v":{"level":2}}"#).await;
    let got = frame(&mut link).await;
    assert_eq!((got.sequence, got.samples[0].value), (Some(4), 2.0));
}

#[tokio::test]
async fn a_plain_device_never_answers_a_session_question() {
    let hub = hub().await;
    let link = link(hub.address, path(&[], &[])).await;
    let got = within("an exchange to fail", link.control.exchange(b"hello".to_vec())).await;
    assert!(matches!(got, Err(LinkError::Timeout { millis: 10_000, .. })), "{got:?}");
    let got = within("a refusal", link.control.exchange(vec![0; 5000])).await;
    assert!(matches!(got, Err(LinkError::Refused(_))), "{got:?}");
}

#[tokio::test]
async fn a_point_that_cannot_be_written_is_refused_before_anything_is_sent() {
    let hub = hub().await;
    let link = link(hub.address, path(&[], &[])).await;
    let before = link.traffic.snapshot().down_packets;
    let got = link.control.write(vec![PointWrite { point: PointIx(0), value: 1.0 }]).await;
    assert!(matches!(got, Err(LinkError::Unsupported(_))), "{got:?}");
    assert_eq!(link.traffic.snapshot().down_packets, before);
}

#[tokio::test]
async fn a_device_under_foreign_topics_and_its_link_understand_each_other() {
    let hub = hub().await;
    let path = path(
        &[("topic", "lab/7")],
        &[
            (0, &[("topic", "tele/7/level")]),
            (1, &[("topic", "tele/7/json"), ("json", "/sensors/flow")]),
            (2, &[("topic", "tele/7/json"), ("json", "/volt"), ("set", "cmnd/7/volt")]),
            (3, &[("topic", "tele/7/split")]),
        ],
    );
    let mut host = device(hub.address, path.clone()).await;
    let mut link = link(hub.address, path).await;
    let port = &mut host.devices[0];
    port.outlet.publish(&measurement(1, &[1.5, 2.5, 3.5, 4.5])).await.unwrap();
    let mut got = std::collections::BTreeMap::new();
    while got.len() < 4 {
        got.extend(frame(&mut link).await.samples.iter().map(|s| (s.point.0, s.value)));
    }
    assert_eq!(got.into_values().collect::<Vec<_>>(), [1.5, 2.5, 3.5, 4.5]);
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 0.1 }]);
    let (done, asked) =
        within("a write", async { tokio::join!(write, port.requests.recv()) }).await;
    assert_eq!(done, Ok(()));
    let Some(DeviceMessage::Write { point, value, .. }) = asked else { panic!("{asked:?}") };
    assert_eq!((point, value), (PointIx(2), 0.1));
}

#[tokio::test]
async fn retained_and_unreadable_writes_do_not_reach_the_device() {
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    raw.publish("dev/set/voltage", true, "1").await;
    let mut host = device(hub.address, path(&[], &[])).await;
    raw.publish("dev/set/voltage", false, "full throttle").await;
    raw.publish("dev/set/level", false, "2").await;
    raw.publish("dev/set/voltage", false, "3").await;
    let asked = within("a write", host.devices[0].requests.recv()).await;
    assert!(matches!(asked, Some(DeviceMessage::Write { value: 3.0, .. })), "{asked:?}");
}

#[tokio::test]
async fn what_a_broker_retained_is_stale_unless_it_says_itself_that_it_is_young() {
    const NOW: i64 = 1_700_000_000_000;
    const STALE: Quality = Quality::Uncertain(Flaw::Stale);
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    let mapped = path(&[], &[(1, &[("topic", "raw/flow")]), (3, &[("topic", "raw/split")])]);
    let link = |mut path: plantwin_model::PathSpec| {
        path.settings.insert("addr".to_owned(), super::value(&hub.address.to_string()));
        let context = plantwin_adapter::LinkContext {
            sealed: false,
            device: "dev".into(),
            points: plantwin_adapter::conformance::points(),
            path,
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(20),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(NOW))),
            delivery: plantwin_model::Delivery::Latest,
        };
        async { within("a link", Mqtt.connect(context)).await.unwrap() }
    };
    let data = |t: i64| format!(r#"{{"seq":7,"t":{t},"v":{{"level":2}}}}"#);

    raw.publish("dev/data", true, data(NOW - 3000)).await;
    raw.publish("raw/flow", true, "1.5").await;
    raw.publish("raw/split", true, "nonsense").await;
    let mut connection = link(mapped).await;
    let mut got = [frame(&mut connection).await, frame(&mut connection).await];
    got.sort_by_key(|frame| frame.samples[0].point);
    let samples = got.map(|frame| frame.samples[0]);
    let old = Some(Timestamp::from_millis(NOW - 3000));
    assert_eq!(samples.map(|s| (s.value, s.quality)), [(2.0, STALE), (1.5, STALE)]);
    assert_eq!(samples.map(|s| s.source_time), [old, None]);
    // To whoever is there already, a broker delivers the same message as a live one.
    raw.publish("raw/flow", true, "1.6").await;
    let live = frame(&mut connection).await.samples[0];
    assert_eq!((live.value, live.quality), (1.6, Quality::Good), "the nonsense was passed over");

    for (t, quality) in
        [(NOW - 2999, Quality::Good), (NOW + 2999, Quality::Good), (NOW + 3000, STALE)]
    {
        raw.publish("dev/data", true, data(t)).await;
        let got = frame(&mut link(path(&[], &[])).await).await.samples[0];
        assert_eq!(got.quality, quality, "{t}");
        assert_eq!(got.source_time, Some(Timestamp::from_millis(t)));
    }
}

#[tokio::test]
async fn a_device_that_went_offline_is_found_out_at_once_and_corrects_a_late_last_will() {
    let hub = hub().await;
    let mut host = device(hub.address, path(&[], &[])).await;
    let mut raw = Raw::connect(hub.address, "dev/status").await;
    let online = within("the retained status", raw.heard.recv()).await.unwrap();
    assert!(online.retain && &*online.payload == b"online", "{online:?}");

    raw.publish("dev/status", true, "offline").await;
    let heard = async { while &*raw.heard.recv().await.unwrap().payload != b"online" {} };
    within("the device to correct its status", heard).await;

    host.devices[0].outlet.set_up(false).await.unwrap();
    let heard = async { while &*raw.heard.recv().await.unwrap().payload != b"offline" {} };
    within("the last will", heard).await;
    let Err(error) = try_link(hub.address, path(&[], &[])).await else { panic!("it is offline") };
    let want = format!("reach {}: the device is offline", hub.address);
    assert_eq!(error.to_string(), want);
}

#[tokio::test]
async fn a_link_whose_events_nobody_takes_stops_reading_and_loses_nothing() {
    const COUNT: u64 = 1500;
    let hub = hub().await;
    let mut link = link(hub.address, path(&[], &[])).await;
    let raw = Raw::connect(hub.address, "none").await;
    for seq in 0..COUNT {
        let load = format!(r#"{{"seq":{seq},"v":{{"level":{seq}}}}}"#).into_bytes();
        let sent = raw.publisher.publish("dev/data", QoS::AtLeastOnce, false, load);
        within("room", sent).await.unwrap();
    }
    raw.publish("other", false, "the broker has taken all").await;
    let filled = async {
        while link.events.len() < link.events.max_capacity() {
            tokio::task::yield_now().await;
        }
    };
    within("the queue to fill", filled).await;
    assert!(link.events.max_capacity() <= 64);
    for seq in 0..COUNT {
        assert_eq!(frame(&mut link).await.sequence, Some(seq));
    }
}

#[tokio::test]
async fn a_link_that_is_held_back_is_kept_alive() {
    const COUNT: u64 = 300;
    let hub = hub().await;
    let mut link = link(hub.address, path(&[], &[])).await;
    let held = link.events.max_capacity() as u64;
    let packets = || link.traffic.snapshot().down_packets;
    let before = packets();
    let raw = Raw::connect(hub.address, "none").await;
    for seq in 0..COUNT {
        raw.publish("dev/data", false, format!(r#"{{"seq":{seq},"v":{{"level":{seq}}}}}"#)).await;
    }
    // Two pings are longer than a broker waits for the first.
    let pinged = async {
        while packets() < before + held + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("two pings after the acknowledgements", pinged).await;
    assert_eq!(packets(), before + held + 2, "what nobody took is not acknowledged");
    for seq in 0..COUNT {
        assert_eq!(frame(&mut link).await.sequence, Some(seq));
    }
}

#[tokio::test]
async fn a_broker_that_dies_closes_links_and_fails_writes_and_devices_come_back() {
    let hub = hub().await;
    let address = hub.address;
    let mut host = device(address, path(&[], &[])).await;
    let mut old = link(address, path(&[], &[])).await;
    drop(hub);
    let reason = closed(&mut old).await;
    assert!(reason.to_string().contains(&address.to_string()), "{reason}");
    assert_eq!(old.events.recv().await, None);
    let got = old.control.write(vec![PointWrite { point: PointIx(2), value: 1.0 }]).await;
    assert!(matches!(got, Err(LinkError::Closed(_))), "{got:?}");
    let got = old.control.exchange(vec![1]).await;
    assert!(matches!(got, Err(LinkError::Closed(_))), "{got:?}");

    let again = async {
        loop {
            if let Ok(hub) = crate::broker::start(Some(address), vec![]).await {
                return hub;
            }
            tokio::task::yield_now().await;
        }
    };
    let _hub = within("the address to be free", again).await;
    let mut link = link(address, path(&[], &[])).await;
    let back = async {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
        for seq in 1.. {
            pace.tick().await;
            host.devices[0].outlet.publish(&measurement(seq, &[1.0])).await.unwrap();
            if let Ok(event) = link.events.try_recv() {
                assert!(matches!(event, LinkEvent::Frame(_)), "{event:?}");
                return;
            }
        }
    };
    within("the device to join again", back).await;
}

#[tokio::test]
async fn an_address_in_use_is_named_with_the_cause() {
    let hub = hub().await;
    let Err(error) = crate::broker::start(Some(hub.address), vec![]).await else {
        panic!("in use")
    };
    let LinkError::Listen { address, cause } = &error else { panic!("{error:?}") };
    assert_eq!(*address, hub.address.to_string());
    assert!(cause.contains("address already in use"), "{cause}");
}

#[tokio::test]
async fn five_hundred_devices_join_one_broker_and_are_told_apart() {
    const COUNT: usize = 500;
    let hub = hub().await;
    let named = |ix: usize| plantwin_adapter::HostedDevice {
        sealed: false,
        device: format!("dev{ix}").as_str().into(),
        points: plantwin_adapter::conformance::points(),
        path: path(&[], &[]),
        period: std::time::Duration::from_secs(1),
    };
    let request = plantwin_adapter::HostRequest {
        listen: None,
        hub: Some(hub.address.to_string()),
        devices: (0..COUNT).map(named).collect(),
        clock: super::clock(),
    };
    let mut host = within("all to join", crate::device::host(request)).await.unwrap();
    let mut raw = Raw::connect(hub.address, "+/data").await;
    for (ix, port) in host.devices.iter_mut().enumerate() {
        port.outlet.publish(&measurement(1, &[ix as f64])).await.unwrap();
    }
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < COUNT {
        let message = within("all to be heard", raw.heard.recv()).await.unwrap();
        let topic = crate::client::topic(&message);
        let ix = topic.trim_start_matches("dev").trim_end_matches("/data").to_owned();
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        assert!(text.ends_with(&format!(r#""v":{{"level":{ix}}}}}"#)), "{topic}: {text}");
        heard.insert(ix);
    }
}
