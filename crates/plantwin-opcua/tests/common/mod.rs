//! What the socket tests share: contexts, requests, waiting.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use plantwin_adapter::{
    Connection, DeviceMessage, Frame, Host, HostRequest, HostedDevice, LinkContext, LinkEvent,
    Protocol, SystemClock, conformance,
};
use plantwin_model::{DeviceId, PathSpec, PointIx, SettingValue, Span};
use plantwin_opcua::OpcUa;

/// Longest wait for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Report period of all devices here.
pub(crate) const PERIOD: Duration = Duration::from_millis(50);

/// A path with these text settings and these mapped nodes.
pub(crate) fn path(settings: &[(&str, &str)], nodes: &[(u16, &str)]) -> PathSpec {
    let text = |value: &str| SettingValue::Text(value.to_owned());
    PathSpec {
        protocol: "opcua",
        settings: settings.iter().map(|&(k, v)| (k.to_owned(), text(v))).collect(),
        points: nodes
            .iter()
            .map(|&(p, node)| (PointIx(p), BTreeMap::from([("node".to_owned(), text(node))])))
            .collect(),
        span: Span::default(),
    }
}

/// A request to play devices with the kit's points.
pub(crate) fn request(devices: &[(&str, PathSpec)]) -> HostRequest {
    let device = |(name, path): &(&str, PathSpec)| HostedDevice {
        sealed: false,
        device: DeviceId::from(*name),
        points: conformance::points(),
        path: path.clone(),
        period: PERIOD,
    };
    HostRequest {
        listen: None,
        hub: None,
        devices: devices.iter().map(device).collect(),
        clock: Arc::new(SystemClock::new(1.0)),
    }
}

/// A request to play one sealed device.
pub(crate) fn sealed_request(name: &str, path: PathSpec) -> HostRequest {
    let mut request = request(&[(name, path)]);
    request.devices[0].sealed = true;
    request
}

/// Plays what is asked for.
pub(crate) async fn host_of(request: HostRequest) -> Host {
    OpcUa::new().host(request).await.expect("the server starts")
}

/// Plays one device.
pub(crate) async fn host(name: &str, path: PathSpec) -> Host {
    OpcUa::new().host(request(&[(name, path)])).await.expect("the server starts")
}

/// A link's context for a device with the kit's points.
pub(crate) fn context(name: &str, path: &PathSpec, address: SocketAddr) -> LinkContext {
    let mut path = path.clone();
    path.settings
        .entry("addr".to_owned())
        .or_insert_with(|| SettingValue::Text(address.to_string()));
    LinkContext {
        sealed: false,
        device: DeviceId::from(name),
        points: conformance::points(),
        path,
        period: PERIOD,
        timeout: Duration::from_secs(15),
        clock: Arc::new(SystemClock::new(1.0)),
        delivery: plantwin_model::Delivery::Latest,
    }
}

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(out) => out,
        Err(late) => panic!("waited in vain for {what}: {late}"),
    }
}

/// The next frame.
pub(crate) async fn frame(link: &mut Connection) -> Frame {
    soon("a frame", async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Frame(frame)) => break frame,
                Some(LinkEvent::Alive) => {}
                end => panic!("the link ended: {end:?}"),
            }
        }
    })
    .await
}

/// The reason for which the link closes.
pub(crate) async fn closed(link: &mut Connection) -> String {
    soon("the link to close", async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Closed(error)) => break error.to_string(),
                Some(_) => {}
                None => panic!("the events ended without a reason"),
            }
        }
    })
    .await
}

/// Answers like a device: refuses 666 and everything that is no number, reverses session bytes.
/// Gives the values that were taken.
pub(crate) fn answer(message: DeviceMessage) -> Option<f64> {
    match message {
        DeviceMessage::Write { value, reply, .. } if value.is_nan() || value == 666.0 => {
            let _ = reply.send(Err("not with me".to_owned()));
            None
        }
        DeviceMessage::Write { value, reply, .. } => {
            let _ = reply.send(Ok(()));
            Some(value)
        }
        DeviceMessage::Exchange { mut request, reply } => {
            request.reverse();
            let _ = reply.send(Ok(request));
            None
        }
    }
}

/// Whether asyncua is there.
pub(crate) async fn available() -> bool {
    let found =
        tokio::process::Command::new("python3").args(["-c", "import asyncua"]).output().await;
    if found.is_ok_and(|out| out.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have python3 with asyncua");
    eprintln!("SKIPPED: python3 with asyncua is not installed, so interoperability is UNTESTED");
    false
}
