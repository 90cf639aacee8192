//! libcoap's tools as the other side: its server as the hardware, its client as a client of
//! ours. Without them the tests say so and pass, except where `CI` is `true`.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use plantwin_adapter::PointWrite;
use plantwin_model::PointIx;
use tokio::{net::UdpSocket, process::Command};

use super::support::{connect, context, frame, host, map, path, publish, take_writes, within};

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
    let arguments = ["-m", "get", "-s", "2", &url];
    let observing = client(&tool, &arguments);
    tokio::pin!(observing);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
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
