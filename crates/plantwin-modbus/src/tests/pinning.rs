//! Which addresses a link may be connected to, and that nothing sealed goes over Modbus.

use std::{net::SocketAddr, time::Duration};

use plantwin_adapter::{
    Connection, HostRequest, HostedDevice, LinkContext, LinkError, Protocol, conformance,
};
use plantwin_model::{PathSpec, SettingValue};

use super::support::{Script, Server, clock, context, frame, path, within};
use crate::{Modbus, config::SCHEMA};

const PERIOD: Duration = Duration::from_millis(20);

fn text(mut path: PathSpec, key: &str, value: &str) -> PathSpec {
    path.settings.insert(key.to_owned(), SettingValue::Text(value.to_owned()));
    path
}

/// A context that reaches the server by a name.
fn by_name(address: SocketAddr, allow: Option<&str>) -> LinkContext {
    let spec = path(&[("unit", 1)]);
    let spec = allow.map_or(spec.clone(), |list| text(spec, "allow", list));
    let mut context = context(spec, address, PERIOD);
    context.path = text(context.path, "addr", &format!("localhost:{}", address.port()));
    context
}

async fn connected(modbus: &Modbus, context: LinkContext) -> Result<Connection, LinkError> {
    within("a connect", modbus.connect(context)).await
}

#[test]
fn addresses_that_make_no_sense_are_named() {
    let check = |addr: Option<&str>, allow: &str, wanted: &[&str]| {
        let spec = text(path(&[]), "allow", allow);
        let spec = addr.map_or(spec.clone(), |addr| text(spec, "addr", addr));
        let problems = (SCHEMA.validate)(&spec);
        let texts: Vec<String> = problems.iter().map(|(k, p)| format!("{k}: {p}")).collect();
        assert_eq!(texts, wanted, "{addr:?} {allow:?}");
    };
    check(Some("plc.example"), "192.0.2.10", &[]);
    check(Some("plc.example:502"), "192.0.2.10,2001:db8::7 , 192.0.2.11", &[]);
    check(Some("192.0.2.10"), "192.0.2.10", &[]);
    check(Some("[::ffff:192.0.2.10]:502"), "192.0.2.10", &[]);
    check(None, "192.0.2.10", &["allow: has a meaning only with `addr`"]);
    check(Some("plc"), "plc", &["allow: \"plc\" is not an IP address"]);
    check(Some("plc"), "", &["allow: \"\" is not an IP address"]);
    check(Some("plc"), "192.0.2.10,", &["allow: \"\" is not an IP address"]);
    let missing = "allow: does not name 192.0.2.9, which is `addr`";
    check(Some("192.0.2.9"), "192.0.2.10", &[missing]);
}

#[tokio::test]
async fn a_name_is_connected_to_only_at_the_addresses_that_it_may_have() {
    let server = Server::start(Script::default()).await;
    let modbus = Modbus::default();
    let mut links = Vec::new();
    for allow in [None, Some("127.0.0.1"), Some("192.0.2.10, 127.0.0.1, ::1")] {
        let link = connected(&modbus, by_name(server.address, allow)).await;
        let mut link = link.unwrap_or_else(|e| panic!("{allow:?}: failed to {e}"));
        frame(&mut link).await;
        links.push(link);
    }
    // The open connections to the same name are of no use to a path that may not make them.
    let before = server.with(|s| s.connections);
    let refused = connected(&modbus, by_name(server.address, Some("192.0.2.10, 192.0.2.11"))).await;
    let Some(LinkError::Unreachable { endpoint, cause }) = refused.err() else {
        panic!("it connected to an address that is not allowed")
    };
    assert_eq!(endpoint, format!("localhost:{}", server.address.port()));
    assert!(cause.contains("127.0.0.1") && cause.contains("not among the addresses"), "{cause}");
    assert!(cause.ends_with("192.0.2.10, 192.0.2.11"), "{cause}");
    assert_eq!(server.with(|s| s.connections), before, "not even a connection was made");
}

#[tokio::test]
async fn nothing_sealed_goes_over_modbus() {
    let server = Server::start(Script::default()).await;
    let mut sealed = context(path(&[("unit", 1)]), server.address, PERIOD);
    sealed.sealed = true;
    let link = connected(&Modbus::default(), sealed).await;
    let Err(LinkError::Unsupported(why)) = link else { panic!("it was linked to") };
    assert!(why.contains("sealed envelopes") && why.contains("plain"), "{why}");
    assert_eq!(server.with(|s| s.connections), 0);

    let device = HostedDevice {
        sealed: true,
        device: "alpha".into(),
        points: conformance::points(),
        path: path(&[]),
        period: PERIOD,
    };
    let request = HostRequest { listen: None, hub: None, devices: vec![device], clock: clock() };
    let Err(LinkError::Settings(why)) = Modbus::default().host(request).await else {
        panic!("it was played")
    };
    assert!(why.contains("alpha is sealed"), "{why}");
}
