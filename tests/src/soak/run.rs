//! The soak from its start to its report.
//!
//! Absent: what each part does.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Soak,
    north::North,
    plant::{self, Wanted},
    report::{Found, markdown},
    sample::Sample,
    trouble::{self, Counts},
};
use crate::{Control, binary, broker::Mosquitto, now, random::Dice};

const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const TELL_EVERY: Duration = Duration::from_mins(1);
const COMMAND_EVERY: Duration = Duration::from_secs(1);
const GARBAGE_EVERY: Duration = Duration::from_secs(5);
/// The process is killed and started again this often, and once at least, early. Rare, so
/// that most of a life lies behind its start: tables, pools and the allocator's arenas fill for
/// minutes, and only what grows after that is a leak.
const KILL_EVERY: Duration = Duration::from_hours(1);
/// The start of a life that says nothing about growth, at most; the whole first life of a short run.
const WARM_UP: Duration = Duration::from_mins(15);
/// Longest wait for a plant to answer, and for its twins to come up.
const UP_WITHIN: Duration = Duration::from_mins(3);

/// A moment that comes again and again.
struct Beat {
    every: Duration,
    next: Duration,
}

impl Beat {
    const fn new(every: Duration) -> Self {
        Self { every, next: every }
    }

    fn is_due(&mut self, at: Duration) -> bool {
        let due = at >= self.next;
        if due {
            self.next = at + self.every;
        }
        due
    }
}

/// The plant's process.
struct Running<'a> {
    file: &'a Path,
    folder: &'a Path,
    control: Control,
    child: Child,
    life: u32,
    born: Instant,
}

impl<'a> Running<'a> {
    fn start(file: &'a Path, folder: &'a Path) -> Self {
        let control = Control::of(&folder.join("data"));
        let child = launch(file, folder);
        Self { file, folder, control, child, life: 1, born: now() }
    }

    /// Waits for an answer; `false` if the process ends instead or takes too long.
    fn wait_up(&mut self) -> bool {
        while self.born.elapsed() < UP_WITHIN {
            if self.child.try_wait().is_ok_and(|code| code.is_some()) {
                return false;
            }
            if self.control.status().is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Waits until the devices have proved who they are, and says how long that took from the start
    /// of the process. A few may be under a fault of their own.
    fn tell_sessions(&self, devices: u32) {
        let (mut open, most) = (0, u64::from(devices - devices / 1000));
        while open < most && self.born.elapsed() < UP_WITHIN {
            thread::sleep(Duration::from_millis(500));
            open = self.control.status().map_or(open, |status| sessions(&status));
        }
        let after = self.born.elapsed().as_secs_f64();
        println!("life {}: {open} of {devices} sessions after {after:.1} s", self.life);
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn again(&mut self) -> bool {
        self.kill();
        self.child = launch(self.file, self.folder);
        (self.life, self.born) = (self.life + 1, now());
        self.wait_up()
    }

    /// Ends it in good order.
    fn end(&mut self) -> bool {
        // One that has ended already shows below.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let asked = now();
        while asked.elapsed() < UP_WITHIN {
            if let Ok(Some(code)) = self.child.try_wait() {
                return code.success();
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(file: &Path, folder: &Path) -> Child {
    let log = File::options().append(true).create(true).open(folder.join("plant.log"));
    let log = log.expect("the folder can be written");
    // A device and its link take a descriptor each or more; the usual limit is below that.
    let script = "ulimit -n 100000 2>/dev/null || ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(binary()).arg("run").arg(file);
    command.args(["--headless", "--data"]).arg(folder.join("data"));
    command.current_dir(folder).env("XDG_RUNTIME_DIR", folder).env("RUST_LOG", "error");
    // Its lines of events would fill the disk; errors are kept.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("plantwin starts")
}

fn lock(north: &Mutex<North>) -> MutexGuard<'_, North> {
    north.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_shadowed(status: &Value) -> u64 {
    let twins = status["twins"].as_array().map_or(&[][..], Vec::as_slice);
    twins.iter().filter(|t| t["state"] != "shadowed").count() as u64
}

fn sessions(status: &Value) -> u64 {
    let twins = status["twins"].as_array().map_or(&[][..], Vec::as_slice);
    twins.iter().filter(|t| t["session"]["kind"] == "token").count() as u64
}

/// Runs the soak in `folder`, prints and writes its report; `false` if a limit was not kept.
///
/// # Panics
/// If the brokers cannot be started, or files cannot be written.
pub fn run(soak: &Soak, folder: &Path) -> bool {
    let broker = |name: &str| -> Mosquitto {
        let folder = folder.join(name);
        fs::create_dir(&folder).expect("the folder can be written");
        Mosquitto::start(&folder)
    };
    let (mut south, north) = (broker("south"), broker("north"));
    let book = Arc::new(Mutex::new(North::default()));
    let theirs = Arc::clone(&book);
    let _sink = north.sink("observer", "north/#", move |topic, payload| {
        let record = serde_json::from_str(payload).unwrap_or(Value::Null);
        lock(&theirs).arrive(topic, &record);
    });
    let Soak { devices, seed, .. } = *soak;
    let wanted = Wanted { devices, seed, south: south.port, north: north.port };
    let file: PathBuf = folder.join("soak.toml");
    fs::write(&file, plant::file(&wanted)).expect("the folder can be written");

    let lasts = Duration::from_secs_f64(soak.hours.max(0.01) * 3600.0);
    // A short run has one kill, early: a long life tells more of growth than two short ones.
    let first_kill = KILL_EVERY.min(lasts / 4);
    let mut running = Running::start(&file, folder);
    let mut orderly = running.wait_up();
    println!("{devices} devices answer after {:.1} s", running.born.elapsed().as_secs_f64());
    if orderly {
        running.tell_sessions(devices);
    }
    let began = now();
    let mut dice = Dice::new(seed);
    let (mut commands, mut troubles) = (Counts::new(), Counts::new());
    let mut samples: Vec<Sample> = Vec::new();
    let (mut sampling, mut telling) = (Beat::new(SAMPLE_EVERY), Beat::new(TELL_EVERY));
    let (mut commanding, mut strangers) = (Beat::new(COMMAND_EVERY), Beat::new(GARBAGE_EVERY));
    let mut killing = Beat { every: KILL_EVERY, next: first_kill };
    let mut next_trouble = Duration::from_secs(30);
    let mut status = Value::Null;
    while orderly && began.elapsed() < lasts {
        let at = began.elapsed();
        if commanding.is_due(at) {
            *commands.entry(trouble::command(&mut dice, &running.control, devices)).or_default() +=
                1;
        }
        if strangers.is_due(at) && trouble::garbage(&mut dice, &status).is_some() {
            *troubles.entry("garbage").or_default() += 1;
        }
        if sampling.is_due(at) {
            status = running.control.status().unwrap_or(Value::Null);
            if let Some(sample) = Sample::take(running.child.id(), &status) {
                let at_h = began.elapsed().as_secs_f64() / 3600.0;
                let (life, age) = (running.life, running.born.elapsed());
                samples.push(Sample { at_h, life, age, ..sample });
            }
            // One that ended by itself is no longer to be asked.
            orderly = running.child.try_wait().is_ok_and(|code| code.is_none());
        }
        if let (true, Some(s)) = (telling.is_due(at), samples.last()) {
            let (records, unexplained) = {
                let book = lock(&book);
                (book.records, book.unexplained())
            };
            println!(
                "{:>7.2} h: {:.1} MB, {} descriptors, {} threads, {} not shadowed, {} alarms, {} \
                 spooled, {records} north, {unexplained} unexplained",
                s.at_h,
                s.rss_kb / 1024.0,
                s.descriptors,
                s.threads,
                s.not_shadowed,
                s.alarms,
                s.spooled,
            );
        }
        if at >= next_trouble {
            let what = trouble::one(&mut dice, running.child.id(), &mut south, &north);
            *troubles.entry(what).or_default() += 1;
            next_trouble = began.elapsed() + Duration::from_secs(15 + dice.below(45));
        }
        if killing.is_due(at) && at + SAMPLE_EVERY < lasts {
            *troubles.entry("plant killed").or_default() += 1;
            orderly &= running.again();
            if orderly {
                running.tell_sessions(devices);
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    let hours = began.elapsed().as_secs_f64() / 3600.0;
    let not_shadowed = settle(&running.control, &book, devices);
    orderly &= running.end();
    let log = fs::read_to_string(folder.join("plant.log")).unwrap_or_default();
    let panics = log.matches("panicked").count() as u64;
    let crashes = samples.iter().map(|s| s.crashes).max().unwrap_or(0);
    let (records, in_gaps, missing, unexplained) = {
        let book = lock(&book);
        (book.records, book.in_gaps, book.missing, book.unexplained())
    };
    let found = Found {
        devices,
        seed,
        hours,
        warm_up: first_kill.min(WARM_UP),
        samples,
        commands,
        troubles,
        records,
        in_gaps,
        missing,
        unexplained,
        panics: panics.max(crashes),
        not_shadowed,
        orderly,
    };
    let (text, passed) = markdown(&found);
    println!("\n{text}");
    fs::write(&soak.out, &text).expect("the report can be written");
    println!("written to {}", soak.out.display());
    passed
}

/// Without troubles, until the twins are well and what was under way has arrived; returns how many
/// twins do not shadow.
fn settle(control: &Control, book: &Mutex<North>, devices: u32) -> u64 {
    let began = now();
    let mut missing = u64::from(devices);
    while began.elapsed() < UP_WITHIN {
        if let Some(status) = control.status() {
            missing = not_shadowed(&status);
            let backlog = status["spool"]["records"].as_u64().unwrap_or(u64::MAX);
            // Faults of devices go on, so a few of them may be down at any moment.
            if missing <= u64::from(devices) / 100
                && backlog < 1000
                && lock(book).unexplained() == 0
            {
                break;
            }
        }
        thread::sleep(Duration::from_secs(1));
    }
    missing
}
