//! What strangers can make the embedded broker remember has an end.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;

use super::{
    admission::guest,
    greeting::{FULL, Greeting, WELCOME},
    *,
};
use crate::bounds::Bounds;

/// What becomes of messages that are to be retained, each under a topic of its own.
async fn retain(raw: &Raw, topics: std::ops::Range<usize>) -> Vec<bool> {
    let mut acks = Vec::new();
    for number in topics {
        let topic = format!("flood/{number}");
        let sent = raw.publisher.publish(&topic, QoS::AtLeastOnce, true, b"1".to_vec());
        acks.push(within("room", sent).await.unwrap());
    }
    let mut kept = Vec::new();
    for ack in acks {
        kept.push(within("an answer", taken(ack)).await.is_ok());
    }
    kept
}

#[tokio::test]
async fn the_broker_retains_so_many_topics_and_none_that_is_too_large() {
    let most = Bounds::default().retained;
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    let kept = retain(&raw, 0..most + 50).await;
    assert_eq!(kept.iter().filter(|kept| **kept).count(), most);
    // What is known can be renewed, what was cleared makes room.
    raw.publish("flood/7", true, "2").await;
    raw.publish("flood/7", true, "").await;
    assert_eq!(retain(&raw, most + 60..most + 62).await, [true, false]);
    // And what is not retained passes as ever.
    raw.publish("flood/none", false, vec![b'x'; 60_000]).await;
    let large = raw.publisher.publish("flood/1", QoS::AtLeastOnce, true, vec![b'x'; 60_000]).await;
    let error = within("an answer", taken(large.unwrap())).await.unwrap_err();
    assert!(error.to_string().contains("QuotaExceeded"), "{error}");
}

#[tokio::test]
async fn a_client_subscribes_to_so_many_filters_and_to_none_that_is_endless() {
    let most = Bounds::default().subscriptions;
    let hub = hub().await;
    let config = Config::read(
        &DeviceId::from("raw"),
        &[],
        &path(&[("addr", &hub.address.to_string())], &[]),
        None,
        false,
    )
    .unwrap();
    let joining = Joining {
        config: &config,
        client_id: "greedy",
        will: None,
        side: Side::Device,
        session: Session::Prompt,
        queue: QUEUE,
        inflight: INFLIGHT,
        timeout: PATIENCE,
    };
    let mut pump = Pump::connect(joining, Arc::default()).await.unwrap();
    let of = |numbers: std::ops::Range<usize>| {
        numbers.map(|n| (format!("greedy/{n}"), QoS::AtLeastOnce)).collect::<Vec<_>>()
    };
    within("consent", pump.subscribe(of(0..most), |_| {})).await.unwrap();
    let error = within("an answer", pump.subscribe(of(most..most + 1), |_| {})).await.unwrap_err();
    assert!(error.to_string().contains("QuotaExceeded"), "{error}");
    within("consent", pump.subscribe(of(0..1), |_| {})).await.unwrap();
    let endless = [("x".repeat(3000), QoS::AtLeastOnce)];
    let error = within("an answer", pump.subscribe(endless, |_| {})).await.unwrap_err();
    assert!(error.to_string().contains("NotAuthorized"), "{error}");
}

#[test]
fn a_plant_makes_room_for_its_own_devices_however_large_they_are() {
    let many: Vec<_> = (0..600)
        .map(|number| {
            let mut point = points()[0].clone();
            point.name = format!("p{number}").into();
            point
        })
        .collect();
    let topic = |number: u16| [("topic".to_owned(), value(&format!("t/{number}")))];
    let mut own = path(&[], &[]);
    own.points = (0..600).map(|n| (PointIx(n), BTreeMap::from(topic(n)))).collect();
    let config = Config::read(&"dev".into(), &many, &own, Some("hub:1"), false).unwrap();
    let mut bounds = Bounds::default();
    bounds.admit(&config.topics);
    assert!(bounds.subscriptions >= 603, "values, status, answers and refusals: {bounds:?}");
    assert!(bounds.retained >= Bounds::default().retained + 601, "{bounds:?}");
    assert!(bounds.clients >= Bounds::default().clients + 2, "{bounds:?}");
}

#[tokio::test]
async fn no_session_is_kept_for_longer_than_an_hour() {
    let hub = hub().await;
    for (asked, granted) in [(u32::MAX, Some(3600)), (3600, None), (60, None)] {
        let client = Greeting { expiry: asked, ..Greeting::of("sleeper") };
        let (answer, told, _) = client.say(hub.address).await;
        assert_eq!((answer, told), (WELCOME, granted), "{asked} s");
    }
}

#[tokio::test]
async fn strangers_have_so_many_sessions_kept_and_the_plants_own_links_come_all_the_same() {
    let hub = hub().await;
    let stranger = |id: &'static str, expiry| Greeting { expiry, clean: false, ..Greeting::of(id) };
    let mut last = String::new();
    let mut kept = 0;
    loop {
        let id = format!("stranger{kept}");
        match (Greeting { expiry: u32::MAX, ..Greeting::of(&id) }).answer(hub.address).await {
            WELCOME => (last, kept) = (id, kept + 1),
            FULL => break,
            other => panic!("{other:#x}"),
        }
        assert!(kept < 1000, "there is no end to it");
    }
    assert!(kept >= 10, "only {kept}");
    // Whoever has one keeps it, and whoever wants none is welcome.
    assert_eq!((Greeting { expiry: 60, ..Greeting::of(&last) }).answer(hub.address).await, WELCOME);
    assert_eq!(stranger("visitor", 0).answer(hub.address).await, WELCOME);
    let ours = try_link_with(hub.address, path(&[], &[]), Delivery::Durable).await;
    assert!(ours.is_ok(), "our own links are not counted");
    // One that ends makes room.
    assert_eq!(Greeting::of(&last).answer(hub.address).await, WELCOME);
    let again = async {
        while stranger("another", 60).answer(hub.address).await != WELCOME {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("room", again).await;
    assert_eq!(stranger("one more", 60).answer(hub.address).await, FULL);
}

#[tokio::test]
async fn strangers_leave_places_for_the_plants_own_links() {
    let hub = hub_of(vec![guest("dev", &[])]).await;
    let mut there = Vec::new();
    loop {
        let id = format!("stranger{}", there.len());
        match Greeting::of(&id).say(hub.address).await {
            (WELCOME, _, socket) => there.push(socket),
            (FULL, ..) => break,
            (other, ..) => panic!("{other:#x}"),
        }
        assert!(there.len() < 2000, "there is no end to it");
    }
    let most = Bounds::default().strangers;
    assert!((most..most + 10).contains(&there.len()), "{}", there.len());
    let ours = try_link(hub.address, path(&[], &[])).await;
    assert!(ours.is_ok(), "there are places for our own");
    assert_eq!(Greeting::of("one more").answer(hub.address).await, FULL);
}
