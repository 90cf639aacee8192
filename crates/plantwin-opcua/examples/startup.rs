//! How long a server of 30 devices takes until it listens, until a link has its first value, and
//! what it costs in memory. Run with `cargo run --release -p plantwin-opcua --example startup`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use plantwin_adapter::{
    HostRequest, HostedDevice, LinkContext, LinkEvent, Measurement, Protocol, SystemClock,
    conformance,
};
use plantwin_model::{Clock, DeviceId, PathSpec, SettingValue, Span};
use plantwin_opcua::OpcUa;

/// Resident memory in KiB, where the system tells (Linux).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let protocol = OpcUa::new();
    let path = PathSpec {
        protocol: "opcua",
        settings: BTreeMap::new(),
        points: BTreeMap::new(),
        span: Span::default(),
    };
    let device = |ix: usize| HostedDevice {
        sealed: false,
        device: DeviceId::new(format!("device{ix}")),
        points: conformance::points(),
        path: path.clone(),
        period: Duration::from_millis(100),
    };
    let devices: Vec<_> = (0..30).map(device).collect();
    let (before, start) = (resident(), clock.now());
    let request = HostRequest {
        listen: None,
        hub: None,
        devices: devices.clone(),
        clock: Arc::clone(&clock),
    };
    let mut host = protocol.host(request).await?;
    println!("listening after {:?}", clock.now().since(start));
    for port in &mut host.devices {
        let m = Measurement::good(clock.now(), 1, &[1.0, 2.0, 3.0, 0.5]);
        port.outlet.publish(&m).await?;
    }
    let mut links = Vec::new();
    for device in &devices {
        let mut path = path.clone();
        path.settings.insert("addr".to_owned(), SettingValue::Text(host.address.to_string()));
        let begin = clock.now();
        let context = LinkContext {
            sealed: false,
            device: device.device.clone(),
            points: Arc::clone(&device.points),
            path,
            period: device.period,
            timeout: Duration::from_secs(2),
            clock: Arc::clone(&clock),
            delivery: plantwin_model::Delivery::Latest,
        };
        let mut link = protocol.connect(context).await?;
        let connected = clock.now();
        while !matches!(link.events.recv().await, Some(LinkEvent::Frame(_)) | None) {}
        if links.len() < 3 {
            let (up, first) = (connected.since(begin), clock.now().since(begin));
            println!("link {}: connected after {up:?}, first value after {first:?}", links.len());
            println!("  bytes until then: {:?}", link.traffic.snapshot());
        }
        links.push(link);
        if links.len() == 1 {
            println!("one link: {:?} since the start", clock.now().since(start));
            println!("resident: {before} KiB before, {} KiB with 30 devices", resident());
        }
    }
    println!("30 links: {:?} since the start, {} KiB", clock.now().since(start), resident());
    let mut delays = Vec::new();
    for sequence in 2..200 {
        let time = clock.now();
        let m = Measurement::good(time, sequence, &[sequence as f64, 2.0, 3.0, 0.5]);
        host.devices[0].outlet.publish(&m).await?;
        while let Some(LinkEvent::Frame(frame)) = links[0].events.recv().await {
            if frame.sequence == Some(sequence) {
                delays.push(frame.received.since(time));
                break;
            }
        }
    }
    delays.sort();
    println!(
        "publish to frame: median {:?}, longest {:?}",
        delays[delays.len() / 2],
        delays.last()
    );
    Ok(())
}
