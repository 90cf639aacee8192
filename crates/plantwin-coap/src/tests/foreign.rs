//! libcoap's tools as the other side: its server as the hardware, its client as a client of
//! ours. Without them the tests say so and pass, except where `CI` is `true`.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use plantwin_adapter::{LinkError, PointWrite, Protocol};
use plantwin_model::PointIx;
use tokio::{net::UdpSocket, process::Command};

use super::{
    dtls::{KEY, keyed, secured},
    support::{
        connect, context, frame, host, host_sealed, map, path, publish, take_writes, within,
    },
};
use crate::Coap;

/// One of libcoap's tools, under either name that distributions give it.
fn tool(name: &str) -> Option<String> {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let names = [format!("{name}-notls"), name.to_owned()];
    let is_there = |n: &String| std::env::split_paths(&dirs).any(|d| d.join(n).is_file());
    let found = names.into_iter().find(is_there);
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} of libcoap is missing");
        eprintln!("SKIPPED: {name} of libcoap is not installed (package libcoap3-bin)");
    }
    found
}

/// Runs the client to its end and gives what it printed.
async fn client(tool: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool);
    command.args(["-B", "10"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let done = within("coap-client to end", command.output()).await;
    let done = done.unwrap_or_else(|e| panic!("{tool} cannot be run: {e}"));
    let both = [done.stdout, done.stderr].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}

#[tokio::test]
async fn a_foreign_server_is_observed_and_written() {
    let (Some(server), Some(tool)) = (tool("coap-server"), tool("coap-client")) else { return };
    let free = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = free.local_addr().expect("it is bound");
    drop(free);
    let _server = Command::new(server)
        .args(["-A", "127.0.0.1", "-p", &address.port().to_string(), "-d", "10"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("coap-server starts");
    let at = |resource: &str| format!("coap://{address}/{resource}");
    within("coap-server to answer", async {
        while !client(&tool, &["-m", "get", &at(".well-known/core")]).await.contains("</") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    client(&tool, &["-m", "put", "-e", "12.5", &at("level")]).await;
    client(&tool, &["-m", "put", "-e", "0", &at("voltage")]).await;

    let spec = map(path(&[]), 0, "path", "level");
    let spec = map(map(spec, 1, "path", "level"), 2, "path", "voltage");
    let spec = map(spec, 3, "path", "voltage");
    let mut link = connect(context(spec, address, Duration::from_secs(20))).await;
    let mut expect = async |point: u16, value: f64| {
        within(&format!("point {point} = {value}"), async {
            while !frame(&mut link)
                .await
                .samples
                .iter()
                .any(|s| s.point == PointIx(point) && s.value == value)
            {}
        })
        .await;
    };
    expect(0, 12.5).await;
    for value in ["13.25", "14.75"] {
        client(&tool, &["-m", "put", "-e", value, &at("level")]).await;
        expect(0, value.parse().expect("a number")).await;
    }
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 3.25 }]);
    within("a write", write).await.unwrap_or_else(|e| panic!("failed to {e}"));
    assert_eq!(client(&tool, &["-m", "get", &at("voltage")]).await, "3.25");
}

#[tokio::test]
async fn a_foreign_client_reads_writes_observes_and_lists() {
    let Some(tool) = tool("coap-client") else { return };
    let (host, mut port) = host(None, path(&[])).await;
    let mut tasks = plantwin_adapter::Tasks::new();
    let (_, spare) = tokio::sync::mpsc::channel(1);
    let taken = take_writes(std::mem::replace(&mut port.requests, spare), &mut tasks);
    publish(&mut port, 3, &[1.5, 2.5, 3.5, 0.5]).await;
    let at = |resource: &str| format!("coap://{}/{resource}", host.address);

    let json = client(&tool, &["-m", "get", &at("alpha")]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["seq"], &json["v"]["level"]), (&3.into(), &1.5.into()));
    assert_eq!(client(&tool, &["-m", "get", &at("alpha/flow")]).await, "2.5");

    client(&tool, &["-m", "put", "-e", "4.25", &at("alpha/voltage")]).await;
    assert_eq!(*taken.lock().expect("unpoisoned"), [(2, 4.25)]);
    let refused = client(&tool, &["-m", "put", "-e", "1", &at("alpha/level")]).await;
    assert!(refused.contains("4.03"), "{refused}");
    let missing = client(&tool, &["-m", "get", &at("alpha/none")]).await;
    assert!(missing.contains("4.04"), "{missing}");

    let list = client(&tool, &["-m", "get", &at(".well-known/core")]).await;
    assert!(list.contains("</alpha>;ct=50;rt=\"plantwin.frame\";obs"), "{list}");
    let (url, small) = (at(".well-known/core"), "64");
    let blocks = client(&tool, &["-b", small, "-m", "get", &url]).await;
    assert_eq!(blocks, list, "the same in blocks of 64");

    let url = at("alpha/level");
    let arguments = ["-m", "get", "-s", "6", &url];
    let observing = client(&tool, &arguments);
    tokio::pin!(observing);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut n = 100;
    let seen = loop {
        tokio::select! {
            seen = &mut observing => break seen,
            _ = pace.tick() => {
                publish(&mut port, n, &[n as f64 + 0.25]).await;
                n += 1;
            }
        }
    };
    let values = (100..n).filter(|n| seen.contains(&format!("{n}.25"))).count();
    assert!(values > 10, "saw {values} of {} values: {seen}", n - 100);
}

/// Starts libcoap's server with a key, and says where it listens for DTLS.
async fn keyed_server(tool: &str) -> (tokio::process::Child, SocketAddr) {
    // It listens on the given port in the clear and on the next with DTLS.
    let port = loop {
        let free = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        if port < 65535 && UdpSocket::bind(("127.0.0.1", port + 1)).await.is_ok() {
            break port;
        }
    };
    let server = Command::new(tool)
        .args(["-A", "127.0.0.1", "-p", &port.to_string(), "-d", "10", "-k", KEY, "-h", "plant"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("coap-server starts");
    (server, SocketAddr::from(([127, 0, 0, 1], port + 1)))
}

async fn a_foreign_dtls_server(library: &str) {
    let names = (format!("coap-server-{library}"), format!("coap-client-{library}"));
    let (Some(server), Some(tool)) = (tool(&names.0), tool(&names.1)) else { return };
    let (_server, address) = keyed_server(&server).await;
    let at = |resource: &str| format!("coaps://{address}/{resource}");
    let ask = async |method: &str, value: &str, resource: &str| {
        let url = at(resource);
        let mut arguments = vec!["-u", "alpha", "-k", KEY, "-m", method];
        if !value.is_empty() {
            arguments.extend(["-e", value]);
        }
        arguments.push(&url);
        client(&tool, &arguments).await
    };
    within("coap-server to answer", async {
        while !ask("get", "", ".well-known/core").await.contains("</") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    ask("put", "12.5", "level").await;

    let (spec, _file) = keyed("alpha", KEY);
    let spec = (0..4).fold(spec, |spec, point| map(spec, point, "path", "level"));
    let mut link = connect(secured(spec.clone(), address, Duration::from_secs(20))).await;
    let mut expect = async |value: f64| {
        within(&format!("{value}"), async {
            while !frame(&mut link).await.samples.iter().any(|s| s.value == value) {}
        })
        .await;
    };
    expect(12.5).await;
    ask("put", "13.25", "level").await;
    expect(13.25).await;
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 3.25 }]);
    within("a write", write).await.unwrap_or_else(|e| panic!("failed to {e}"));
    assert_eq!(ask("get", "", "level").await, "3.25");

    // libcoap's server has its key for whatever identity; a wrong one is a wrong key to it.
    let (wrong, _file) = keyed("alpha", "another-key-of-16");
    let wrong = secured(wrong, address, Duration::from_secs(4));
    let error = within("a connect", Coap.connect(wrong)).await.err().expect("a wrong key");
    let text = error.to_string();
    assert!(matches!(error, LinkError::Refused(_)), "{text}");
    assert!(text.contains("key in psk_file") && text.contains("\"alpha\""), "{text}");
    eprintln!("{library}: {text}");
}

#[tokio::test]
async fn a_foreign_dtls_server_on_openssl_is_observed_and_written() {
    a_foreign_dtls_server("openssl").await;
}

#[tokio::test]
async fn a_foreign_dtls_server_on_gnutls_is_observed_and_written() {
    a_foreign_dtls_server("gnutls").await;
}

async fn a_foreign_dtls_client(library: &str) {
    let Some(tool) = tool(&format!("coap-client-{library}")) else { return };
    let (spec, _file) = keyed("alpha", KEY);
    let (host, mut port) = host(None, spec).await;
    let mut tasks = plantwin_adapter::Tasks::new();
    let (_, spare) = tokio::sync::mpsc::channel(1);
    let taken = take_writes(std::mem::replace(&mut port.requests, spare), &mut tasks);
    // A value that no time of day in what the client prints looks like.
    publish(&mut port, 3, &[1.5, 27_348.5, 3.5, 0.5]).await;
    let at = |resource: &str| format!("coaps://{}/{resource}", host.address);
    let flow = at("alpha/flow");
    let ask = async |identity: &str, key: &str| {
        client(&tool, &["-B", "4", "-v", "5", "-u", identity, "-k", key, "-m", "get", &flow]).await
    };
    let got = client(&tool, &["-u", "alpha", "-k", KEY, "-m", "get", &flow]).await;
    assert_eq!(got, "27348.5");
    let voltage = at("alpha/voltage");
    client(&tool, &["-u", "alpha", "-k", KEY, "-m", "put", "-e", "4.25", &voltage]).await;
    assert_eq!(*taken.lock().expect("unpoisoned"), [(2, 4.25)]);
    for (identity, key) in [("alpha", "another-key-of-16"), ("omega", KEY)] {
        let refused = ask(identity, key).await;
        assert!(!refused.contains("27348.5"), "{refused}");
        eprintln!("{library} {identity}: {refused}");
    }
    let bare = format!("coap://{}/alpha/flow", host.address);
    let refused = client(&tool, &["-m", "get", &bare]).await;
    assert!(refused.contains("4.01"), "{refused}");
}

#[tokio::test]
async fn a_foreign_dtls_client_on_openssl_gets_in_with_the_right_key_only() {
    a_foreign_dtls_client("openssl").await;
}

#[tokio::test]
async fn a_foreign_dtls_client_on_gnutls_gets_in_with_the_right_key_only() {
    a_foreign_dtls_client("gnutls").await;
}

#[tokio::test]
async fn a_foreign_client_sees_nothing_but_envelopes_of_a_sealed_device() {
    let Some(tool) = tool("coap-client") else { return };
    let (host, mut port) = host_sealed(path(&[])).await;
    let at = |resource: &str| format!("coap://{}/{resource}", host.address);
    for resource in ["alpha", "alpha/level", "alpha/flow", "alpha/voltage"] {
        let seen = client(&tool, &["-m", "get", &at(resource)]).await;
        assert!(seen.contains("4.04"), "{resource}: {seen}");
        let put = client(&tool, &["-m", "put", "-e", "1", &at(resource)]).await;
        assert!(put.contains("4.04"), "{resource}: {put}");
    }
    let list = client(&tool, &["-m", "get", &at(".well-known/core")]).await;
    assert!(list.contains("/alpha/sealed") && !list.contains("level"), "{list}");
    let url = at("alpha/sealed");
    let arguments = ["-m", "get", "-s", "6", &url];
    let observing = client(&tool, &arguments);
    tokio::pin!(observing);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut n = 0;
    let seen = loop {
        tokio::select! {
            seen = &mut observing => break seen,
            _ = pace.tick() => {
                // Every tenth is too long for one message.
                let filler = "x".repeat(if n % 10 == 9 { 2000 } else { 10 });
                let envelope = format!("<{n:04}{filler}>");
                let sent = port.outlet.publish_sealed(envelope.as_bytes()).await;
                sent.unwrap_or_else(|e| panic!("failed to {e}"));
                n += 1;
            }
        }
    };
    let got: Vec<usize> = seen.split('<').filter_map(|e| e.get(..4)?.parse().ok()).collect();
    assert!(got.len() > 10, "saw {} of {n} envelopes: {seen}", got.len());
    let want: Vec<usize> = (got[0]..got[0] + got.len()).collect();
    assert_eq!(got, want, "each and in order");
}
