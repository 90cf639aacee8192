//! Polls a fleet of Modbus devices each second and says what it costs, before, while and after
//! some of them hang (open port, no answer).
//!
//! `cargo run --release -p plantwin-modbus --example fleet [DEVICES] [HUNG] [SECONDS]`, default
//! 200 60 20. The devices are played by a second process, one listener and ten registers each.
//! What a hung device's line does here is what the runtime does: it connects again, once a
//! second. Processor time and memory are those of the polling process (Linux only).

use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use plantwin_adapter::{
    DeviceMessage, HostRequest, HostedDevice, LinkContext, LinkEvent, Measurement, PointWrite,
    Protocol, SystemClock, conformance,
};
use plantwin_modbus::Modbus;
use plantwin_model::{
    Access, Clock, Delivery, PathSpec, PointIx, PointSpec, SettingValue, Span, Timestamp,
};
use tokio::time::{Instant, sleep, sleep_until};

const PERIOD: Duration = Duration::from_secs(1);

fn points() -> Arc<[PointSpec]> {
    let one = &conformance::points()[0];
    let point = |n: u32| PointSpec {
        name: format!("t{n}").as_str().into(),
        access: if n == 9 { Access::ReadWrite } else { Access::Read },
        ..one.clone()
    };
    (0..10).map(point).collect()
}

fn path(addr: Option<SocketAddr>) -> PathSpec {
    let text = |t: &str| SettingValue::Text(t.to_owned());
    let mut settings = BTreeMap::from([("unit".to_owned(), SettingValue::Integer(1))]);
    settings.extend(addr.map(|a| ("addr".to_owned(), text(&a.to_string()))));
    let format = || BTreeMap::from([("format".to_owned(), text("u16"))]);
    PathSpec {
        protocol: "modbus",
        settings,
        points: (0..10).map(|n| (PointIx(n), format())).collect(),
        span: Span::default(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut numbers = Vec::new();
    for argument in std::env::args().skip(1) {
        if argument == "play" {
            return play(numbers.first().copied().unwrap_or(1)).await;
        }
        numbers.push(argument.parse().expect("a number"));
    }
    let number = |ix: usize, default| numbers.get(ix).copied().unwrap_or(default);
    poll(number(0, 200), number(1, 60), number(2, 20)).await;
}

/// The devices. A number on standard input says how many of them hang.
async fn play(count: usize) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let (mut hosts, mut outlets) = (Vec::new(), Vec::new());
    for n in 0..count {
        let device = HostedDevice {
            sealed: false,
            device: format!("d{n}").as_str().into(),
            points: points(),
            path: path(None),
            period: PERIOD,
        };
        let clock = Arc::clone(&clock);
        let request = HostRequest { listen: None, hub: None, devices: vec![device], clock };
        let mut host = Modbus::default().host(request).await.expect("it listens");
        let mut port = host.devices.remove(0);
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        let measured = Measurement::good(clock_now(), 1, &values);
        port.outlet.publish(&measured).await.expect("it publishes");
        tokio::spawn(async move {
            while let Some(message) = port.requests.recv().await {
                if let DeviceMessage::Write { reply, .. } = message {
                    let _ = reply.send(Ok(()));
                }
            }
        });
        println!("{}", host.address);
        outlets.push(port.outlet);
        hosts.push(host);
    }
    println!("ready");
    let (orders, mut next) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = orders.blocking_send(line.parse::<usize>().unwrap_or(0));
        }
    });
    while let Some(hung) = next.recv().await {
        for (ix, outlet) in outlets.iter_mut().enumerate() {
            outlet.set_up(ix >= hung).await.expect("it can be told");
        }
    }
}

fn clock_now() -> Timestamp {
    SystemClock::new(1.0).now()
}

/// What the lines saw.
#[derive(Default)]
struct Seen {
    frames: AtomicU64,
    ends: AtomicU64,
    connects: AtomicU64,
    /// Seconds between frames, of the devices that never hang.
    cycles: Mutex<Vec<f64>>,
    /// Seconds from a write to its answer.
    writes: Mutex<Vec<f64>>,
}

async fn poll(count: usize, hung: usize, seconds: usize) {
    let mut devices = Command::new(std::env::current_exe().expect("this program"))
        .args([count.to_string().as_str(), "play"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts again");
    let mut orders = devices.stdin.take().expect("it is piped");
    let lines = std::io::BufReader::new(devices.stdout.take().expect("it is piped")).lines();
    let addresses: Vec<SocketAddr> =
        lines.map_while(|line| line.ok()?.parse().ok()).take(count).collect();
    let modbus = Modbus::default();
    let seen = Arc::new(Seen::default());
    for (n, &address) in addresses.iter().enumerate() {
        let line = line(modbus.clone(), address, Arc::clone(&seen), n >= hung, n == count - 1);
        tokio::spawn(line);
    }
    sleep(PERIOD * 3).await;
    let window = PERIOD * u32::try_from(seconds).unwrap_or(20);
    println!("{count} devices, 10 registers, each second; {hung} of them hang in between");
    for (what, down) in [("all answer", 0), ("some hang", hung), ("all answer again", 0)] {
        writeln!(orders, "{down}").expect("the devices listen");
        measure(what, &seen, window).await;
    }
    drop(orders);
    let _ = devices.kill();
    let _ = devices.wait();
}

/// One device's line.
async fn line(modbus: Modbus, address: SocketAddr, seen: Arc<Seen>, healthy: bool, writes: bool) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    loop {
        let context = LinkContext {
            sealed: false,
            device: "d".into(),
            points: points(),
            path: path(Some(address)),
            period: PERIOD,
            timeout: Duration::from_secs(2),
            clock: Arc::clone(&clock),
            delivery: Delivery::Latest,
        };
        let Ok(mut link) = modbus.connect(context).await else {
            sleep(PERIOD).await;
            continue;
        };
        seen.connects.fetch_add(1, Relaxed);
        let mut last: Option<Instant> = None;
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Frame(_)) => {
                    seen.frames.fetch_add(1, Relaxed);
                    let cycle = last.replace(Instant::now()).map(|l| l.elapsed());
                    if let Some(cycle) = cycle.filter(|_| healthy) {
                        push(&seen.cycles, cycle);
                    }
                    if writes {
                        sleep(Duration::from_millis(333)).await;
                        let begun = Instant::now();
                        let write = PointWrite { point: PointIx(9), value: 5.0 };
                        if link.control.write(vec![write]).await.is_ok() {
                            push(&seen.writes, begun.elapsed());
                        }
                    }
                }
                Some(_) => {
                    seen.ends.fetch_add(1, Relaxed);
                    break;
                }
                None => break,
            }
        }
    }
}

fn push(list: &Mutex<Vec<f64>>, time: Duration) {
    list.lock().expect("nothing panics in it").push(time.as_secs_f64());
}

async fn measure(what: &str, seen: &Seen, window: Duration) {
    let count = |counter: &AtomicU64| counter.swap(0, Relaxed);
    for counter in [&seen.frames, &seen.ends, &seen.connects] {
        count(counter);
    }
    for list in [&seen.cycles, &seen.writes] {
        list.lock().expect("nothing panics in it").clear();
    }
    let (begun, cpu) = (Instant::now(), processor_seconds());
    let mut most = 0;
    for second in 1..=window.as_secs() {
        let before = seen.frames.load(Relaxed);
        sleep_until(begun + Duration::from_secs(second)).await;
        most = most.max(seen.frames.load(Relaxed) - before);
    }
    let took = begun.elapsed().as_secs_f64();
    let quantiles = |list: &Mutex<Vec<f64>>| {
        let mut list = std::mem::take(&mut *list.lock().expect("nothing panics in it"));
        list.sort_by(f64::total_cmp);
        let at = |q: f64| list.get((list.len() as f64 * q) as usize).or(list.last()).copied();
        [0.5, 0.99, 1.0].map(|q| at(q).unwrap_or(f64::NAN))
    };
    let ([c50, c99, c100], [w50, w99, _]) = (quantiles(&seen.cycles), quantiles(&seen.writes));
    println!(
        "{what}: {:.1} polls/s (most in one second {most}), cycle p50 {c50:.4} p99 {c99:.4} max {c100:.4} s, \
         write p50 {:.2} p99 {:.2} ms, {} ends, {} connects, processor {:.1} %, memory {:.1} MB",
        count(&seen.frames) as f64 / took,
        w50 * 1e3,
        w99 * 1e3,
        count(&seen.ends),
        count(&seen.connects),
        (processor_seconds() - cpu) / took * 100.0,
        memory_megabytes(),
    );
}

/// Processor time of this process, from `/proc` (proc(5)); its clock has 100 ticks a second.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |ix: usize| fields.get(ix).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of this process, from `/proc` (proc(5)).
fn memory_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("");
    let kilobytes = line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}
