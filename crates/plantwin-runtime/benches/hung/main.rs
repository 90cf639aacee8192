//! A thousand Modbus devices of which three hundred hang: what the others feel of it, what an
//! operator is told, and what the recovery costs.
//!
//! A second process plays the devices, one port each. Cycles and request rates are measured
//! there, states and alarms in the plant's view. A period is a second, a device has ten
//! registers. First without a data directory, then with one.
//!
//! `cargo bench -p plantwin-runtime --bench hung [-- SECONDS [DEVICES]]`: so many seconds in the
//! healthy and in the hung phase, default 60. Needs about twice as many descriptors as devices;
//! the limit is raised with `ulimit -n` if the hard limit allows it. Linux only.

mod fleet;
mod watch;

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use plantwin_adapter::Registry;
use plantwin_modbus::Modbus;
use plantwin_model::{
    PlantSpec, PlantView, TwinState,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_runtime::{AuthorityAt, KeySource, RunRequest, RunningPlant};

use fleet::{REGISTERS, Report, hangs};
use watch::Watch;

/// What this process is for, where it is not the first.
const ROLE: &str = "PLANTWIN_HUNG";
/// From the moment all twins shadow their device to the first measurement.
const WARM_UP: Duration = Duration::from_secs(10);
/// The first part of the recovery, in which all devices come back.
const RETURN: Duration = Duration::from_secs(10);
/// Its second part.
const AFTER: Duration = Duration::from_secs(30);
/// Clock ticks a second in `/proc/PID/stat` (USER_HZ of Linux on x86-64 and ARM).
const TICKS: f64 = 100.0;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let seconds = numbers.first().copied().unwrap_or(60);
    let devices = numbers.get(1).map_or(1000, |&n| n as usize);
    match std::env::var(ROLE).as_deref() {
        Ok("fleet") => fleet::play(devices),
        Ok(role) => run(Duration::from_secs(seconds), devices, role == "data"),
        Err(_) => {
            let flags = if cfg!(debug_assertions) { "DEBUG BUILD" } else { "bench profile" };
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let hung = (0..devices).filter(|&d| hangs(d)).count();
            println!("hung: {devices} devices of which {hung} hang; {flags}; {cores} cores");
            for role in ["memory", "data"] {
                let mut plant = again(role, &[seconds, devices as u64]).spawn().expect("a shell");
                let ended = plant.wait().expect("it ends");
                assert!(ended.success(), "the measuring process failed");
            }
        }
    }
}

/// This program once more, for another role, with enough descriptors.
fn again(role: &str, numbers: &[u64]) -> Command {
    let me = std::env::current_exe().expect("a bench is a program");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 8192 2>/dev/null; exec \"$@\"", "sh"]);
    command.arg(me).args(numbers.iter().map(ToString::to_string)).env(ROLE, role);
    command
}

/// The process that plays the devices.
struct Field {
    child: Child,
    orders: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Field {
    fn start(devices: usize) -> (Self, Vec<String>) {
        let mut command = again("fleet", &[0, devices as u64]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let orders = child.stdin.take().expect("its input is piped");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut field = Self { child, orders, lines };
        let ports = field.line().split_whitespace().map(str::to_owned).collect();
        (field, ports)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the devices speak");
        line
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the devices listen");
    }

    fn report(&mut self) -> Report {
        self.order("report");
        serde_json::from_str(&self.line()).expect("a report")
    }

    /// It ends when its input does.
    fn end(mut self) {
        drop(self.orders);
        let _ = self.child.wait();
    }
}

fn plant(ports: &[String]) -> PlantSpec {
    let mut text = "[plant]\nname = \"hung\"\nperiod = \"1s\"\n[zone.a]\n[zone.b]\n\
                    [type.gauge.twin]\ntype = \"gauge\"\n"
        .to_owned();
    for n in 0..REGISTERS {
        let _ = writeln!(text, "[type.gauge.property.v{n}]\nunit = \"1\"\nrange = [0, 2000]");
    }
    for (ix, port) in ports.iter().enumerate() {
        let zone = if ix % 2 == 0 { "a" } else { "b" };
        let _ = writeln!(
            text,
            "[device.d{ix}]\ntype = \"gauge\"\nzone = \"{zone}\"\nmode = \"physical\"\n\
             [device.d{ix}.modbus]\naddr = \"127.0.0.1:{port}\""
        );
        for n in 0..REGISTERS {
            let _ = writeln!(text, "map.v{n} = {{ register = {n}, format = \"u16\" }}");
        }
    }
    let registry = Registry::new().with(Modbus::default());
    let schemas = registry.schemas();
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    let checked = read_plant("hung.toml", &text, &catalog, &ReadOptions::default());
    checked.into_plant().unwrap()
}

/// The plant under test, its devices, and what is seen of both.
struct Bench {
    running: RunningPlant,
    field: Field,
    watch: Watch,
    runtime: tokio::runtime::Runtime,
    ticks: [f64; 2],
}

/// One phase: what the devices saw, and shares of a core of plant and devices in percent.
struct Phase {
    report: Report,
    cpu: [f64; 2],
}

impl Bench {
    fn mark(&mut self) {
        self.watch.mark(self.running.clock.now());
        self.ticks = self.processor();
        self.field.order("mark");
    }

    /// Lets some time pass and notes every view of it.
    fn pass(&mut self, time: Duration) {
        let (mut view, watch) = (self.running.view.clone(), &mut self.watch);
        self.runtime.block_on(async move {
            let looking = async {
                while view.changed().await.is_ok() {
                    let now: Arc<PlantView> = Arc::clone(&view.borrow_and_update());
                    watch.note(&now);
                }
            };
            let _ = tokio::time::timeout(time, looking).await;
        });
    }

    fn phase(&mut self, name: &str) -> Phase {
        let report = self.field.report();
        let ticks = self.processor();
        let share = |ix: usize| (ticks[ix] - self.ticks[ix]) / TICKS / report.seconds * 100.0;
        let phase = Phase { cpu: [share(0), share(1)], report };
        phase.print(name);
        phase
    }

    /// Ticks that plant and devices have used.
    fn processor(&self) -> [f64; 2] {
        [std::process::id(), self.field.child.id()].map(|id| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // After the name, which may hold spaces, `utime` and `stime` are the 12th and 13th.
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
            fields.skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum()
        })
    }
}

impl Phase {
    fn print(&self, name: &str) {
        let Report { cycles, p50, p99, max, to_hung, accepted, densest, .. } = &self.report;
        let mean = self.rate();
        let most = self.most();
        let [plant, devices] = self.cpu;
        println!(
            "{name:<13} {cycles:>7} {p50:>8.2} {p99:>8.2} {max:>8.1} {mean:>8.0} {most:>6} \
             {densest:>5} {to_hung:>8} {accepted:>6} {plant:>6.1} {devices:>6.1} {:>7.1} {}",
            resident() as f64 / 1e6,
            load()
        );
    }

    fn rate(&self) -> f64 {
        let seconds = &self.report.each_second;
        seconds.iter().sum::<u64>() as f64 / seconds.len().max(1) as f64
    }

    fn most(&self) -> u64 {
        self.report.each_second.iter().copied().max().unwrap_or(0)
    }
}

fn run(measure: Duration, devices: usize, keeps: bool) {
    let (field, ports) = Field::start(devices);
    assert_eq!(ports.len(), devices, "the devices did not start");
    let folder = keeps.then(|| tempfile::tempdir().expect("a folder"));
    let data: Option<PathBuf> = folder.as_ref().map(|f| f.path().join("data"));
    let request = RunRequest {
        authority: AuthorityAt::Here,
        plant: plant(&ports),
        registry: Registry::new().with(Modbus::default()),
        data,
        key: KeySource::Plain,
        speed: 1.0,
    };
    let running = RunningPlant::start(request).expect("the plant starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let watch = Watch::new(&running.view.borrow());
    let runtime = runtime.expect("a runtime");
    let mut bench = Bench { running, field, watch, runtime, ticks: [0.0; 2] };
    let began = bench.running.clock.now();
    let all =
        |b: &Bench| b.running.view.borrow().twins.iter().all(|t| t.state == TwinState::Shadowed);
    while !all(&bench) {
        let waited = bench.running.clock.now().since(began);
        assert!(waited < Duration::from_mins(1), "not all devices were found");
        bench.pass(Duration::from_millis(100));
    }
    let found = bench.running.clock.now().since(began);
    println!(
        "\n{} data directory; all devices found after {found:.1?}",
        if keeps { "with a" } else { "without" }
    );
    println!(
        "phase          cycles      p50      p99      max    req/s   most  10ms  to hung  conns \
         plant% field%      MB load\n{:>30} {:>8} {:>8}",
        "ms", "ms", "ms"
    );
    bench.pass(WARM_UP);

    bench.mark();
    bench.pass(measure);
    let healthy = bench.phase("healthy");

    bench.mark();
    bench.field.order("hang");
    bench.pass(measure);
    let hung = bench.phase("hung");
    let hung_in_all = (0..devices).filter(|&d| hangs(d)).count();
    let noticed = bench.watch.after(|d| d.down_at);
    let downs = bench.watch.count(true, |d| d.downs, 1);
    let alarms = bench.watch.count(true, |d| d.alarms, 1);
    let words = bench.watch.count(true, |d| d.other_reasons, 0);
    let states = bench.watch.count(true, |d| d.states, 1);
    let others = bench.watch.count(false, |d| d.downs + d.out_of_sync + d.alarms, 0);
    let reasons = bench.watch.reasons();

    bench.mark();
    bench.field.order("recover");
    bench.pass(RETURN);
    let first = bench.phase("return, 10 s");
    let back = bench.watch.after(|d| d.up_at);
    let early = bench.watch.count(true, |d| d.ups, 1);
    let flaps = bench.watch.count(true, |d| d.downs, 0);
    let rest = |deeds: &watch::Deeds| deeds.downs + deeds.out_of_sync;
    let calm_first = bench.watch.count(false, rest, 0);
    bench.mark();
    bench.pass(AFTER);
    let after = bench.phase("after, 30 s");
    let late = bench.watch.count(true, |d| d.ups, 1);
    let calm_after = bench.watch.count(false, rest, 0);
    let flaps_after = bench.watch.count(true, |d| d.downs, 0);
    let standing = bench.running.view.borrow().twins.iter().all(|t| t.state == TwinState::Shadowed);

    let healthy_in_all = devices - hung_in_all;
    let verdict = |good: bool| if good { "PASS" } else { "FAIL" };
    let ratio = hung.report.p99 / healthy.report.p99;
    println!(
        "{}  p99 of the others' cycle, hung to healthy: {ratio:.4} (bar 1.05)",
        verdict(ratio <= 1.05)
    );
    println!(
        "{}  one way down each: {} of {hung_in_all}, most {}; noticed after {:.1?} (median), \
         {:.1?} (last)",
        verdict(downs.0 == hung_in_all),
        downs.0,
        downs.1,
        noticed.0,
        noticed.1
    );
    println!(
        "{}  one alarm each: {} of {hung_in_all}, most {}",
        verdict(alarms.0 == hung_in_all),
        alarms.0,
        alarms.1
    );
    println!(
        "{}  one reason each: {} of {hung_in_all} kept theirs, most changes {}",
        verdict(words.0 == hung_in_all),
        words.0,
        words.1
    );
    for (reason, n) in reasons {
        println!("      {n} x \"{reason}\"");
    }
    println!(
        "{}  one state each: {} of {hung_in_all} changed theirs once, most {}",
        verdict(states.0 == hung_in_all),
        states.0,
        states.1
    );
    println!(
        "{}  the others keep their state: {} of {healthy_in_all} hung, {} return, {} after",
        verdict([others.0, calm_first.0, calm_after.0] == [healthy_in_all; 3]),
        others.0,
        calm_first.0,
        calm_after.0
    );
    println!(
        "{}  all back once and to stay: {} within 10 s, {} later, median {:.1?}; no way down {} \
         and {} of {hung_in_all}",
        verdict(
            standing
                && early.0 + late.0 == hung_in_all
                && flaps.0 == hung_in_all
                && flaps_after.0 == hung_in_all
        ),
        early.0,
        late.0,
        back.0,
        flaps.0,
        flaps_after.0
    );
    let nominal = devices as f64;
    for (name, phase) in [("first 10 s", &first), ("next 30 s", &after)] {
        let (mean, most) = (phase.rate() / nominal, phase.most() as f64 / nominal);
        println!(
            "{}  recovery rate, {name}: {mean:.3} of nominal, busiest second {most:.3} (bar 1.1)",
            verdict(mean <= 1.1 && most <= 1.1)
        );
    }
    let Bench { running, field, .. } = bench;
    println!("      twins that could not save in time: {}", running.stop().unsaved);
    field.end();
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|k| k.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Load average of the last minute.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
