//! Each way not to get in says what is wrong and how to mend it.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use plantwin_adapter::LinkError;

use super::{Authority, Guarded, TOOLS, missing, secret, try_device, try_link};
use crate::tests::{hub, path};

/// The error of a link with some settings changed, which must tell the endpoint and `want`.
async fn refused(guarded: &Guarded, changed: &[(&str, &str)], want: &str) -> String {
    let error = guarded.link(changed).await.err().unwrap_or_else(|| panic!("{changed:?} got in"));
    let endpoint = guarded.broker.address.to_string();
    let LinkError::Unreachable { endpoint: named, cause } = error else {
        panic!("{changed:?}: {error:?}")
    };
    assert_eq!((named, cause.as_str()), (endpoint, want), "{changed:?}");
    cause
}

#[tokio::test]
async fn each_missing_or_wrong_proof_has_a_complete_error_of_its_own() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    let other = Authority::new("some other authority");
    fs::write(guarded.file("other-ca.pem"), other.pem()).unwrap();
    other.issue(guarded.folder.path(), "stranger", &[], true);
    guarded.authority.issue(guarded.folder.path(), "late", &[], false);
    secret(guarded.file("wrong.password").as_ref(), "guess");
    let file = |name: &str| guarded.file(name);
    let own = |name: &str| (file(&format!("{name}.pem")), file(&format!("{name}.key")));
    let mut all = BTreeSet::new();
    let mut check = async |changed: &[(&str, &str)], want: &str| {
        let cause = refused(&guarded, changed, want).await;
        assert!(all.insert(cause), "{changed:?} has the error of another mistake");
    };

    let ca = file("other-ca.pem");
    let want = format!("the broker's certificate was issued by none of those in `ca` ({ca})");
    check(&[("ca", &ca)], &want).await;
    let pin = file("plant.pem");
    let want = format!("the broker showed another certificate than the one in `pin` ({pin})");
    check(&[("ca", ""), ("pin", &pin)], &want).await;
    check(
        &[("server_name", "broker.example")],
        "the broker's certificate is not for `broker.example` but for [IpAddress(127.0.0.1)]: set \
         `server_name` if that is the right broker",
    )
    .await;
    check(
        &[("cert", ""), ("key", "")],
        "the broker wants a client certificate: give `cert` and `key`",
    )
    .await;
    let (cert, key) = own("stranger");
    let want = format!("the broker does not know who issued our certificate `cert` ({cert})");
    check(&[("cert", &cert), ("key", &key)], &want).await;
    let (cert, key) = own("late");
    let want = format!("the broker says that our certificate `cert` ({cert}) has expired");
    check(&[("cert", &cert), ("key", &key)], &want).await;
    check(
        &[("password_file", &file("wrong.password"))],
        "the broker does not let us in (NotAuthorized): check `username`, `password_file` and \
         what it allows to whom",
    )
    .await;
}

#[tokio::test]
async fn a_broker_whose_certificate_has_expired_is_not_believed() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(false).await;
    let want = "the broker's certificate has expired: it needs a new one";
    refused(&guarded, &[], want).await;
}

#[tokio::test]
async fn a_user_that_may_not_report_is_told_so_when_it_joins() {
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    // The plant may only listen to the device, not be it.
    let joined = try_device(guarded.broker.address, guarded.path("plant", &[]), false).await;
    let want = "no message to `dev/status`: the broker says NotAuthorized".to_owned();
    assert_eq!(joined.err(), Some(LinkError::Refused(want)));
}

#[tokio::test]
async fn a_port_without_tls_and_a_client_without_it_are_told_apart() {
    let hub = hub().await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, Authority::new("nobody").pem()).unwrap();
    let settings = path(&[("ca", ca.to_str().unwrap())], &[]);
    let error = try_link(hub.address, settings).await.err().unwrap().to_string();
    assert!(error.contains("speaks TLS") || error.contains("speak TLS"), "{error}");
    if missing(TOOLS) {
        return;
    }
    let guarded = Guarded::start(true).await;
    let plain = try_link(guarded.broker.address, path(&[], &[])).await;
    assert!(matches!(plain, Err(LinkError::Unreachable { .. } | LinkError::Timeout { .. })));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_the_setting_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new("authority");
    fs::write(at("ca.pem"), authority.pem()).unwrap();
    authority.issue(folder.path(), "one", &[], true);
    authority.issue(folder.path(), "two", &[], true);
    fs::write(at("two.pem"), [authority.pem(), authority.pem()].concat()).unwrap();
    fs::write(at("nonsense"), "no certificate").unwrap();
    fs::write(at("cut"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    for (name, text) in [("open", "x"), ("empty", "\n"), ("lines", "a\nb\n"), ("nonsense.key", "x")]
    {
        secret(at(name).as_ref(), text);
    }
    for name in ["open", "two.key"] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    // Nobody listens there: the files are read first.
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let check = async |settings: &[(&str, &str)], want: &str| {
        let error = try_link(nowhere, path(settings, &[])).await.err();
        assert_eq!(error, Some(LinkError::Settings(want.to_owned())), "{settings:?}");
    };
    let (ca, one, key) = (at("ca.pem"), at("one.pem"), at("one.key"));
    let user = ("username", "me");
    let gone = at("gone");
    let no_file = "cannot be read: no such file or directory (os error 2)";
    check(&[("ca", &gone)], &format!("`ca`: {gone} {no_file}")).await;
    check(&[user, ("password_file", &gone)], &format!("`password_file`: {gone} {no_file}")).await;
    for (key, name, problem) in [
        ("ca", "nonsense", "holds no certificate in PEM form"),
        ("ca", "", "is no regular file"),
        ("pin", "two.pem", "holds 2 certificates: keep the broker's own"),
        ("password_file", "empty", "is empty: write the password into it"),
        ("password_file", "lines", "holds more than one line"),
        ("password_file", "open", "can be used by others than its owner (mode 0640): chmod 600 it"),
    ] {
        let file = at(name);
        let settings =
            if key == "password_file" { vec![user, (key, &*file)] } else { vec![(key, &*file)] };
        check(&settings, &format!("`{key}`: {file} {problem}")).await;
    }
    let cut = try_link(nowhere, path(&[("ca", &at("cut"))], &[])).await.err().unwrap();
    assert!(cut.to_string().contains("is no good PEM file"), "{cut}");
    for (name, problem) in [
        ("nonsense.key", "holds no private key in PEM form".to_owned()),
        ("two.key", "can be used by others than its owner (mode 0640): chmod 600 it".to_owned()),
    ] {
        let file = at(name);
        let settings = [("ca", &*ca), ("cert", &*one), ("key", &*file)];
        check(&settings, &format!("`key`: {file} {problem}")).await;
    }
    authority.issue(folder.path(), "three", &[], true);
    let three = at("three.pem");
    let settings = [("ca", &*ca), ("cert", &*three), ("key", &*key)];
    check(&settings, &format!("`key`: {key} is not the key of `cert` ({three})")).await;
}
