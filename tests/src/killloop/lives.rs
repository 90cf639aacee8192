//! The lives of the plant: started, killed at a moment by chance, started again, and in the end
//! brought to rest.
//!
//! Absent: the load, the books.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    DEVICES, Kills, Shared,
    commands::Commands,
    load::{Load, ask},
    lock,
    report::{Report, print},
    telemetry::Telemetry,
};
use crate::{Control, PATIENCE, broker::Mosquitto, changed, command, now, random::Dice};

/// A life lasts up to twice this after the plant answers.
const MEAN_LIFE: Duration = Duration::from_millis(130);
/// A plant that is told to end is killed within this.
const DRAIN: Duration = Duration::from_millis(60);
/// Longest time without any progress while everything is brought to rest.
const REST_WITHIN: Duration = Duration::from_mins(1);

pub(super) fn run(kills: Kills, folder: &Path) -> bool {
    let broker = Mosquitto::start(folder);
    let at = format!(":{}", broker.port);
    let plant = Plant { file: changed("nothing-lost", folder, &[(":1883", &at)]), folder };
    let shared = Arc::new(Shared {
        control: Control::of(&plant.data()),
        telemetry: Mutex::new(Telemetry::new(kills.seed, DEVICES)),
        commands: Mutex::new(Commands::new(kills.seed, DEVICES)),
        alarms: Mutex::default(),
        acknowledging: Mutex::default(),
        valves: (0..DEVICES).map(|_| AtomicU64::new(0)).collect(),
        up: AtomicU64::new(0),
        over: AtomicBool::new(false),
        statuses: AtomicU64::new(0),
        store_alarms: AtomicU64::new(0),
    });
    let mut report = Report::new(kills);
    let mut load = Load::listen(&shared, &broker);
    let began = now();
    let mut first = plant.start(&shared, 1);
    let mut sound = plant.wait_up(&shared, &mut first, 1, &mut report);
    sound &= wait(PATIENCE, || all_bound(&shared.control));
    report.require(sound, "the plant came up and its devices were subscribed to");
    load.begin(&shared, &broker, kills.seed);
    let mut child = Some(first);
    let mut dice = Dice::new(kills.seed);
    for number in 1..=kills.loops {
        if !sound {
            break;
        }
        let running = child.take().unwrap_or_else(|| plant.start(&shared, number));
        sound = plant.live_and_die(&shared, running, number, &mut dice, &mut report);
        report.took = began.elapsed();
        if number.is_multiple_of(50) || !sound {
            println!("{}", report.progress(number, &shared));
        }
    }
    if sound {
        let mut last = plant.start(&shared, kills.loops + 1);
        sound = plant.wait_up(&shared, &mut last, kills.loops + 1, &mut report);
        if sound {
            bring_to_rest(&shared, &mut load, &mut report);
        }
        plant.end(last, &mut report);
    }
    shared.over.store(true, SeqCst);
    report.require(load.end(), "the load ran to its end");
    report.took = began.elapsed();
    print(&report, &shared) && sound
}

/// Whether the plant has a connection for each of its devices.
fn all_bound(control: &Control) -> bool {
    control.status().is_some_and(|status| {
        let twins = status["twins"].as_array();
        twins.is_some_and(|t| t.len() == DEVICES && t.iter().all(|t| t["path"].is_object()))
    })
}

/// Waits until `look` says yes; `false` if it does not within `limit`.
fn wait(limit: Duration, mut look: impl FnMut() -> bool) -> bool {
    let began: Instant = now();
    loop {
        if look() {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The plant's files.
struct Plant<'a> {
    file: PathBuf,
    folder: &'a Path,
}

impl Plant<'_> {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("life.log")
    }

    fn start(&self, shared: &Shared, life: u64) -> Child {
        {
            // No acknowledgement of an earlier life is on its way any more.
            let _none = lock(&shared.acknowledging);
            if life > 1 {
                lock(&shared.alarms).new_life();
            }
        }
        let log = File::create(self.log()).expect("the folder can be written");
        let mut command = command(self.folder);
        command.arg("run").arg(&self.file).args(["--headless", "--data"]).arg(self.data());
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("a descriptor")).stdout(log);
        command.spawn().expect("plantwin starts")
    }

    /// Waits until the plant answers; `false` if it ends instead or does not.
    fn wait_up(&self, shared: &Shared, child: &mut Child, life: u64, report: &mut Report) -> bool {
        let began = now();
        let mut ended = false;
        let up = wait(PATIENCE, || {
            ended = child.try_wait().is_ok_and(|code| code.is_some());
            ended || shared.control.status().is_some()
        });
        if up && !ended {
            report.starts.push(began.elapsed());
            shared.up.store(life, SeqCst);
        } else {
            report.note(&format!("life {life} did not come up"), &self.said());
        }
        up && !ended
    }

    fn live_and_die(
        &self,
        shared: &Shared,
        mut child: Child,
        life: u64,
        dice: &mut Dice,
        report: &mut Report,
    ) -> bool {
        let early = life > 5 && dice.percent(12);
        if early {
            // Up to a little longer than a start takes.
            thread::sleep(dice.within(report.typical_start().mul_f64(1.2)));
            report.early += 1;
        } else {
            if !self.wait_up(shared, &mut child, life, report) {
                kill(&mut child);
                return false;
            }
            if dice.percent(20) {
                let shown = wait(Duration::from_secs(20), || lock(&shared.alarms).all_shown());
                report.require(shown, "alarms of earlier lives were shown");
            }
            thread::sleep(dice.within(MEAN_LIFE * 2));
            if dice.percent(8) {
                signal(&child, "TERM");
                thread::sleep(dice.within(DRAIN));
                report.draining += 1;
            } else {
                report.loaded += 1;
            }
        }
        shared.up.store(0, SeqCst);
        kill(&mut child);
        self.read_log(life, report);
        true
    }

    /// Ends the last life in good order.
    fn end(&self, mut child: Child, report: &mut Report) {
        signal(&child, "TERM");
        let ended = wait(PATIENCE, || child.try_wait().is_ok_and(|code| code.is_some()));
        let fine = ended && child.try_wait().is_ok_and(|c| c.is_some_and(|c| c.success()));
        report.require(fine, "the plant ended in good order");
        kill(&mut child);
        self.read_log(0, report);
        self.audit(report);
    }

    /// After all the kills nothing may be missing from the audit trail, nor look altered.
    fn audit(&self, report: &mut Report) {
        let mut verify = command(self.folder);
        verify.args(["audit", "verify"]).arg(self.data());
        match verify.output() {
            Ok(told) if told.status.success() => {
                report.audit =
                    String::from_utf8_lossy(&told.stdout).lines().next().map(str::to_owned);
            }
            Ok(told) => report.note("audit verify", &String::from_utf8_lossy(&told.stdout)),
            Err(error) => report.note("audit verify", &error.to_string()),
        }
        report.require(report.audit.is_some(), "the audit trail is intact");
    }

    fn read_log(&self, life: u64, report: &mut Report) {
        let said = self.log_text();
        if said.contains("panicked") || said.contains("damaged") {
            report.note(&format!("life {life} complained"), &self.said());
            // Kept for whoever looks into it; without it the run fails all the same.
            let _ = fs::copy(self.log(), self.folder.join(format!("life-{life}.log")));
        }
    }

    fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    fn said(&self) -> String {
        self.log_text().chars().take(4000).collect()
    }
}

fn kill(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn signal(child: &Child, name: &str) {
    let name = format!("-{name}");
    // A plant that has ended meanwhile shows when it is waited for.
    let _ = Command::new("kill").args([&name, &child.id().to_string()]).status();
}

/// No more load: every command gets its outcome, every value arrives, every alarm is shown.
fn bring_to_rest(shared: &Arc<Shared>, load: &mut Load, report: &mut Report) {
    report.require(
        wait(Duration::from_secs(20), || lock(&shared.alarms).all_shown()),
        "alarms of earlier lives were shown at the end",
    );
    // Every command that has no outcome, over and over while there is progress.
    let (mut left, mut since) = (u64::MAX, now());
    loop {
        let (mut open, mut next) = (0, 0);
        loop {
            let order = lock(&shared.commands).next_open(next);
            let Some(order) = order else { break };
            next = order.id + 1;
            open += u64::from(!ask(shared, order, 1));
        }
        if open < left {
            (left, since) = (open, now());
        }
        if open == 0 || since.elapsed() > REST_WITHIN {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    // And those whose outcome is known once more, since an answer must not change. Those who
    // measure go on meanwhile.
    let (first, end) = lock(&shared.commands).remembered();
    for id in first..end {
        let order = lock(&shared.commands).order(id);
        ask(shared, order, 1);
    }
    shared.over.store(true, SeqCst);
    let (mut left, mut since) = (u64::MAX, now());
    wait(Duration::from_hours(1), || {
        let totals = lock(&shared.telemetry).totals();
        let behind = totals.published - totals.arrived;
        if behind < left {
            (left, since) = (behind, now());
        }
        behind == 0 || since.elapsed() > REST_WITHIN
    });
    report.require(load.end(), "the load ran to its end");
    // The observer may be a moment ahead of the acknowledgements.
    let empty = wait(PATIENCE, || {
        shared
            .control
            .status()
            .is_some_and(|s| s["spool"]["records"] == 0 && s["counters"]["commands_open"] == 0)
    });
    report.require(empty, "the spool and the journal came to rest");
}
