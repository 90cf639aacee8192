//! Users at the embedded broker: only who has a device's password speaks for it.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use super::{foreign::missing, tls::authority::secret, *};
use crate::{admission::Admission, own::Own};

pub(super) fn guest(name: &str, settings: &[(&str, &str)]) -> HostedDevice {
    HostedDevice {
        device: name.into(),
        points: points(),
        path: path(settings, &[]),
        period: Duration::from_secs(1),
        sealed: false,
    }
}

fn admit(guests: &[HostedDevice]) -> Result<Admission, LinkError> {
    Admission::of(Own::draw().unwrap(), guests)
}

pub(super) fn password(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    secret(&file, text);
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_topic_of_a_device_with_a_user_takes_nothing_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = password(folder.path(), "a", "blue heron");
    let user = [("username", "t1"), ("password_file", &*file), ("topic", "hall/tank1")];
    let mut guarded = guest("tank1", &user);
    let mapped: &[(u16, &[(&str, &str)])] = &[(0, &[("topic", "tele/7/level")])];
    guarded.path = path(&user, mapped);
    let open = guest("tank2", &[("topic", "hall/tank2")]);
    let below = guest("probe", &[("topic", "hall/tank1/probe")]);
    let admission = admit(&[guarded, open, below]).unwrap();
    for topic in ["hall/tank1/data", "hall/tank1/status", "hall/tank1/session/1", "tele/7/level"] {
        assert!(admission.may_publish(Some("t1"), topic), "{topic}");
        assert!(!admission.may_publish(None, topic), "{topic}");
        assert!(!admission.may_publish(Some("t2"), topic), "{topic}");
    }
    for topic in
        ["hall/tank2/data", "hall/tank10/data", "hall/tank1", "hall/tank1/probe/data", "else"]
    {
        assert!(admission.may_publish(None, topic), "{topic}");
    }
    assert!(admit(&[]).unwrap().may_publish(None, "hall/tank1/data"), "then nobody is asked");
}

#[test]
fn a_user_without_a_password_or_with_two_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| password(folder.path(), name, name));
    let bare = admit(&[guest("tank1", &[("username", "t1")])]);
    assert!(bare.unwrap_err().to_string().contains("needs a `password_file`"));
    let of = |name: &str, file: &str| {
        guest(name, &[("username", "t1"), ("password_file", file), ("topic", name)])
    };
    assert!(admit(&[of("tank1", &a), of("tank2", &a)]).is_ok());
    let two = admit(&[of("tank1", &a), of("tank2", &b)]);
    assert!(two.unwrap_err().to_string().contains("another `password_file`"));
    let ours = [("username", crate::own::USER), ("password_file", &*a)];
    let ours = admit(&[guest("tank1", &ours)]).unwrap_err().to_string();
    assert!(ours.ends_with("user `$plantwin` is plantwin itself"), "{ours}");
}

/// Publishes as somebody; whether the broker let it in.
async fn publish(to: SocketAddr, who: &[&str], payload: &str) -> bool {
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-V", "5", "-q", "1", "-p", &to.port().to_string()])
        .args(who)
        .args(["-t", "dev/data", "-m", payload])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    within("mosquitto_pub", status).await.unwrap().success()
}

#[tokio::test]
async fn only_who_has_the_password_of_a_device_speaks_for_it_at_the_embedded_broker() {
    if missing(&["mosquitto_pub"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = password(folder.path(), "dev.password", "blue heron");
    let user = [("username", "dev"), ("password_file", &*file)];
    let hub = hub_of(vec![guest("dev", &user), guest("open", &[])]).await;
    let mut link = link(hub.address, path(&user, &[])).await;

    let value = |n: u32| format!(r#"{{"seq":{n},"v":{{"level":{n}}}}}"#);
    // Let in for the sake of the other device, and its message is not.
    publish(hub.address, &[], &value(1)).await;
    let will = ["--will-topic", "dev/status", "--will-payload", "offline"];
    assert!(!publish(hub.address, &will, &value(2)).await, "another's last will");
    for wrong in [["-u", "dev", "-P", "red heron"], ["-u", "devil", "-P", "blue heron"]] {
        assert!(!publish(hub.address, &wrong, &value(3)).await, "{wrong:?}");
    }
    assert!(publish(hub.address, &["-u", "dev", "-P", "blue heron"], &value(4)).await);
    assert_eq!(frame(&mut link).await.sequence, Some(4), "the first that came through");

    // A password that was changed counts from the next connection on.
    secret(file.as_ref(), "grey heron");
    assert!(!publish(hub.address, &["-u", "dev", "-P", "blue heron"], &value(5)).await);
    assert!(publish(hub.address, &["-u", "dev", "-P", "grey heron"], &value(6)).await);
    assert_eq!(frame(&mut link).await.sequence, Some(6));
}

#[tokio::test]
async fn a_played_device_with_a_user_proves_itself_at_the_embedded_broker_as_a_real_one_must() {
    let folder = tempfile::tempdir().unwrap();
    let file = password(folder.path(), "dev.password", "blue heron");
    let user = [("username", "dev"), ("password_file", &*file)];
    let hub = hub_of(vec![guest("dev", &user)]).await;
    let mut host = device(hub.address, path(&user, &[])).await;
    let mut link = link(hub.address, path(&user, &[])).await;
    host.devices[0].outlet.publish(&measurement(5, &[1.0, 2.0])).await.unwrap();
    assert_eq!(frame(&mut link).await.sequence, Some(5));
    let nobody = try_device(hub.address, path(&[], &[]), false).await;
    assert!(nobody.is_err(), "it shows nothing");
}
