//! Client ids at the embedded broker: nobody comes under that of another.

use plantwin_adapter::LinkEvent;

use super::{
    admission::{guest, password},
    foreign::missing,
    greeting::{Greeting, REFUSED, UNKNOWN, WELCOME},
    *,
};

#[tokio::test]
async fn nobody_comes_under_the_id_of_a_link_and_what_waits_in_its_session_stays() {
    let hub = hub_of(vec![guest("dev", &[])]).await;
    let durable = || try_link_with(hub.address, path(&[], &[]), Delivery::Durable);
    let raw = Raw::connect(hub.address, "none").await;
    let mut link = durable().await.unwrap();
    raw.publish("dev/data", false, r#"{"seq":1,"v":{"level":1}}"#).await;
    assert!(matches!(within("a value", link.events.recv()).await, Some(LinkEvent::Durable { .. })));
    for clean in [true, false] {
        let thief = Greeting { clean, expiry: 60, ..Greeting::of("plantwin-dev") };
        assert_eq!(thief.answer(hub.address).await, REFUSED);
    }
    // It was not even noticed.
    raw.publish("dev/data", false, r#"{"seq":2,"v":{"level":2}}"#).await;
    assert!(matches!(within("a value", link.events.recv()).await, Some(LinkEvent::Durable { .. })));
    drop(link);
    let thief = Greeting::of("plantwin-dev");
    assert_eq!(thief.answer(hub.address).await, REFUSED);
    let guessed = Greeting { login: Some((crate::own::USER, "")), ..thief };
    assert_eq!(guessed.answer(hub.address).await, UNKNOWN);
    let mut link = durable().await.unwrap();
    for seq in 1..=2 {
        match within("what was not confirmed", link.events.recv()).await {
            Some(LinkEvent::Durable { frame, .. }) => assert_eq!(frame.sequence, Some(seq)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_foreign_client_is_refused_under_the_id_of_a_link_and_welcome_under_any_other() {
    if missing(&["mosquitto_pub"]) {
        return;
    }
    let hub = hub_of(vec![guest("dev", &[("client_id", "south-1")]), guest("two", &[])]).await;
    let publish = |id: &'static str, version: &'static str| {
        let mut command = tokio::process::Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &hub.address.port().to_string()]);
        command.args(["-V", version, "-q", "1", "-i", id, "-t", "any", "-m", "1"]);
        command.stderr(std::process::Stdio::null()).kill_on_drop(true);
        async move { within("mosquitto_pub", command.status()).await.unwrap().success() }
    };
    for version in ["311", "5"] {
        for id in ["south-1", "plantwin-two"] {
            assert!(!publish(id, version).await, "{id} {version}");
        }
        // A device without a password is anybody, under its own name too.
        for id in ["dev", "two", "plantwin-dev", "plantwin-three", "sensor"] {
            assert!(publish(id, version).await, "{id} {version}");
        }
    }
}

#[tokio::test]
async fn the_name_of_a_device_with_a_user_is_for_that_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = password(folder.path(), "word", "blue heron");
    let of = |user: &'static str| [("username", user), ("password_file", &*file)];
    let hub = hub_of(vec![guest("dev", &of("t1")), guest("two", &of("t2")), guest("open", &[])]);
    let hub = hub.await;
    let come = |id: &'static str, user: Option<&'static str>| {
        let login = user.map(|user| (user, "blue heron"));
        (Greeting { login, ..Greeting::of(id) }).answer(hub.address)
    };
    for (id, user, answer) in [
        ("dev", None, REFUSED),
        ("dev", Some("t2"), REFUSED),
        ("dev", Some("t1"), WELCOME),
        ("elsewhere", Some("t1"), WELCOME),
        ("open", None, WELCOME),
        // Not even a user of the device is its link.
        ("plantwin-dev", Some("t1"), REFUSED),
    ] {
        assert_eq!(come(id, user).await, answer, "{id} {user:?}");
    }
    let ours = try_link_with(hub.address, path(&of("t1"), &[]), Delivery::Durable).await;
    assert!(ours.is_ok(), "our own link comes");
}

#[tokio::test]
async fn where_every_device_has_a_user_nobody_comes_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = password(folder.path(), "word", "blue heron");
    let user = [("username", "dev"), ("password_file", &*file)];
    let hub = hub_of(vec![guest("dev", &user)]).await;
    assert_eq!(Greeting::of("stranger").answer(hub.address).await, UNKNOWN);
    let known = Greeting { login: Some(("dev", "blue heron")), ..Greeting::of("stranger") };
    assert_eq!(known.answer(hub.address).await, WELCOME);
    // Our own links show something else, whatever their path says.
    for delivery in [Delivery::Latest, Delivery::Durable] {
        let ours = try_link_with(hub.address, path(&[], &[]), delivery).await;
        assert!(ours.is_ok(), "{delivery:?}");
    }
    let mixed = hub_of(vec![guest("dev", &user), guest("open", &[])]).await;
    assert_eq!(Greeting::of("stranger").answer(mixed.address).await, WELCOME);
}

#[tokio::test]
async fn where_no_device_has_a_user_a_password_that_nobody_asked_for_does_no_harm() {
    let hub = hub_of(vec![guest("dev", &[])]).await;
    let shown = Greeting { login: Some(("tasmota", "secret")), ..Greeting::of("sensor") };
    assert_eq!(shown.answer(hub.address).await, WELCOME);
}

#[test]
fn what_opens_a_broker_is_found_at_its_address_alone_and_never_printed() {
    let own = crate::own::Own::draw().unwrap();
    let other = crate::own::Own::draw().unwrap();
    assert_ne!(*own.password, *other.password);
    assert!(!format!("{own:?}").contains(&*own.password));
    // Addresses that nothing of these tests listens at.
    own.announce("192.0.2.1:7".parse().unwrap());
    other.announce("0.0.0.0:9".parse().unwrap());
    let at = |host: &str, port| crate::own::at(host, port).map(|own| own.password.to_string());
    assert_eq!(at("192.0.2.1", 7).as_ref(), Some(&*own.password));
    for (host, port) in
        [("192.0.2.2", 7), ("192.0.2.1", 8), ("127.0.0.1", 7), ("localhost", 9), ("192.0.2.1", 9)]
    {
        assert_eq!(at(host, port), None, "{host}:{port}");
    }
    for host in ["0.0.0.0", "127.0.0.1"] {
        assert_eq!(at(host, 9).as_ref(), Some(&*other.password), "{host}");
    }
    assert_eq!(at("[::1]", 9), None);
    drop(own);
    assert_eq!(at("192.0.2.1", 7), None, "it dies with its broker");
}
