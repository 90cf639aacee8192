//! One run: a plant, its operator and its misfortunes, in virtual time on one thread.
//!
//! The simulated process is an actix system; killing it drops the system with everything in it,
//! takes back what its disk had not flushed, and assembles the plant anew over the same disk and
//! the same devices. After the disturbances comes a quiet time in which all must come to rest.
//! Absent: what happens in a run (the scene says it), judging (the invariants do).

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Once},
    time::Duration,
};

use futures_util::FutureExt as _;
use plantwin_adapter::Registry;
use plantwin_authority::pws::Agent;
use plantwin_model::{
    AuditSink, Clock, Escalation, NoAudit, PlantView, RestartStrategy, Role, TwinState,
    invariant::{self, AlarmEvent, CommandEvent, Life, Rule, Violation},
};
use plantwin_runtime::{Assembly, AssemblyRequest, Place, Trust, assemble};
use plantwin_seal::Secret;
use plantwin_store::Store;
use plantwin_twin::Drill;

use crate::{
    clock::VirtualClock,
    disk::{Disk, SimStore},
    drill::{PLANTED, Traps},
    journal::{Journal, SharedJournal},
    net::{Device, Net, SimProtocol, WIRES, Weather, Wire},
    operator::{Desk, OTHER, Operator},
    scene::{Act, Scene},
};

/// How often the operator looks at answers.
const LOOK: Duration = Duration::from_millis(50);
/// After a start alarms are judged from then on: twins tell theirs one after the other.
const GRACE: Duration = Duration::from_secs(3);
/// Timers do not see the plant's clock jump: values are judged again after this time.
const AFTER_JUMP: Duration = Duration::from_secs(15);
/// What timers and snapshots may add to the age of a value.
const SLACK: Duration = Duration::from_secs(3);
/// Everything is at rest when nothing was missing for so long.
const REST: Duration = Duration::from_secs(3);
/// Longest quiet time until everything is at rest.
const REST_WITHIN: Duration = Duration::from_mins(5);
/// What was confirmed to its device this long ago must have arrived at rest.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);
/// Wait before a process that could not start is started again.
const START_AGAIN: Duration = Duration::from_secs(2);

/// Counters of the view that tell a present number.
const GAUGES: [&str; 2] = ["commands_open", "commands_unknown"];

/// A fault of plantwin's own that is played, to see that it is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// The store says that it flushed, and did not: everything is confirmed too early.
    EarlyConfirmation,
    /// After a restart the journal of commands is not read.
    ForgottenCommands,
    /// One write in ten reaches the device twice.
    DoubledWrites,
    /// One record in fifty is acknowledged and never arrives.
    DeafCloud,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Decides everything.
    pub seed: u64,
    /// Virtual minutes of disturbance before the quiet time.
    pub minutes: u64,
    /// Whether the trace is kept as text.
    pub trace: bool,
    /// A fault to be found.
    pub planted: Option<Planted>,
}

/// What came of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Names the run: all events in their order.
    pub trace_hash: u64,
    /// Broken promises; the first twenty.
    pub violations: Vec<Violation>,
    /// What happened how often.
    pub counters: BTreeMap<&'static str, u64>,
    /// Virtual time that passed, with the quiet time at the end.
    pub virtual_time: Duration,
    /// The trace, if it was asked for: a line per event.
    pub trace: Vec<String>,
}

/// Runs a seed. Blocks the thread, which must not be within a tokio runtime.
///
/// Never panics on account of the plant: what goes wrong is in the report.
pub fn run(request: &RunRequest) -> Report {
    quiet_planted_panics();
    match World::new(request) {
        Ok(mut world) => {
            world.live();
            world.judge();
            world.report(request.seed)
        }
        Err(why) => Report {
            seed: request.seed,
            trace_hash: 0,
            violations: vec![Violation::new(Rule::Settles, "plant", why)],
            counters: BTreeMap::new(),
            virtual_time: Duration::ZERO,
            trace: Vec::new(),
        },
    }
}

/// Panics that the simulation itself causes are no news; all others are reported as before.
fn quiet_planted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.starts_with(PLANTED)) {
                usual(info);
            }
        }));
    });
}

/// How a process ended.
enum End {
    /// It died; so many operations of the disk are kept, and so long nobody runs.
    Died { kept: usize, down: Duration },
    /// It ended in order.
    Stopped { down: Duration },
    /// The run is over.
    Over,
}

struct World {
    scene: Scene,
    clock: Arc<VirtualClock>,
    journal: SharedJournal,
    net: Net,
    disk: Arc<Disk>,
    store: Arc<SimStore>,
    traps: Arc<Traps>,
    trust: Trust,
    operator: Operator,
    /// Acts done so far.
    done: usize,
    /// What the next death at the disk leaves.
    doom: (usize, Duration),
    /// Commands to be asked when somebody listens again.
    unasked: Vec<u64>,
    jumped: Duration,
    began: Duration,
    quiet: bool,
    /// What was shown before an orderly stop.
    saved: Option<Arc<PlantView>>,
}

impl World {
    fn new(request: &RunRequest) -> Result<Self, String> {
        let scene = Scene::new(request.seed, request.minutes)?;
        let clock = Arc::new(VirtualClock::default());
        let journal = SharedJournal::new(Journal::new(scene.devices.len(), request.trace));
        let audit: Arc<dyn AuditSink> = Arc::new(NoAudit);
        let told: Arc<dyn Clock> = Arc::<VirtualClock>::clone(&clock);
        // Nothing of this waits for anything: the authority is in this process and in memory.
        let trust = Trust::in_memory(told, audit).now_or_never();
        let trust = trust.ok_or("the authority waits")?.map_err(|e| e.to_string())?;
        let mut devices = Vec::with_capacity(scene.devices.len());
        for (device, spec) in scene.devices.iter().zip(&scene.spec.devices) {
            let zone = &scene.spec.zones[usize::from(spec.zone.0)].id;
            let agent = if device.native {
                let identity = trust.play(spec, zone).map_err(|e| e.to_string())?;
                Some(Agent::new(identity))
            } else {
                None
            };
            devices.push(Device::new(&device.name, device.period, device.durable, agent));
        }
        let net =
            Net::new(request.seed, devices, Arc::clone(&clock), journal.clone(), request.planted);
        let (disk, store) = Disk::new(net.clone(), journal.clone(), request.planted);
        let traps = Arc::new(Traps::new(Arc::clone(&clock), journal.clone()));
        let names = scene.devices.iter().map(|d| d.name.clone()).collect();
        Ok(Self {
            operator: Operator::new(journal.clone(), names),
            scene,
            clock,
            journal,
            net,
            disk,
            store,
            traps,
            trust,
            done: 0,
            doom: (0, Duration::ZERO),
            unasked: Vec::new(),
            jumped: Duration::ZERO,
            began: Duration::ZERO,
            quiet: false,
            saved: None,
        })
    }

    /// One process after the other, until the plant is at rest or refuses to rest.
    fn live(&mut self) {
        let limit = self.scene.quiet_from + REST_WITHIN;
        while self.clock.world() < limit {
            let end = self.process();
            self.operator.hang_up();
            let (kept, down) = match end {
                Ok(End::Over) => return,
                Ok(End::Died { kept, down }) => {
                    self.saved = None;
                    (kept, down)
                }
                Ok(End::Stopped { down }) => (0, down),
                Err(why) => {
                    let mut journal = self.journal.open();
                    journal.count("failed_starts");
                    journal.line(self.clock.world(), format_args!("failed start: {why}"));
                    (0, START_AGAIN)
                }
            };
            self.excuse_alarms();
            self.net.set_alive(false);
            self.store.inner().inner.crash_keeping(kept);
            self.journal.open().line(self.clock.world(), format_args!("down for {down:?}"));
            for life in &mut self.journal.open().lives {
                life.push(Life::Forgiven);
            }
            self.pass(down);
        }
        let world = self.clock.world();
        let detail = format!("after {world:?} it is still not at rest");
        self.journal.open().judge(Err(Violation::new(Rule::Settles, "plant", detail)));
    }

    /// What was raised while the disk refused to write cannot be remembered across the end of the
    /// process; its operator saw the alarm of the store beside it.
    fn excuse_alarms(&mut self) {
        let fails = self.disk.fails();
        for (name, history) in &mut self.journal.open().alarms {
            // The one that says so cannot be on record in the moment in which it is shown.
            if fails || name.rsplit_once('.').is_some_and(|(_, alarm)| alarm == "store") {
                history.push(AlarmEvent::Acknowledged);
            }
        }
    }

    /// Time passes in which no process runs; the world goes on.
    fn pass(&mut self, down: Duration) {
        let until = self.clock.world() + down;
        while self.clock.world() < until {
            let step = until.saturating_sub(self.clock.world()).min(Duration::from_millis(500));
            self.clock.pass(step);
            self.net.catch_up();
            while let Some((_, act)) = self.due() {
                // Nobody listens, and there is nobody to be killed.
                self.disturb(&act);
                match act {
                    Act::Command { key, .. } | Act::Again { key } => self.unasked.push(key),
                    _ => {}
                }
            }
        }
    }

    /// The next act whose time has come.
    fn due(&mut self) -> Option<(Duration, Act)> {
        let next = self.scene.acts.get(self.done).copied();
        let due = next.filter(|(at, _)| *at <= self.clock.world() && *at < self.scene.quiet_from);
        self.done += usize::from(due.is_some());
        due
    }

    /// Does to the world what needs no process.
    fn disturb(&mut self, act: &Act) {
        {
            let mut journal = self.journal.open();
            journal.line(self.clock.world(), format_args!("act {act:?}"));
            journal.count("acts");
        }
        match *act {
            Act::Command { key, device, way } => self.operator.want(key, device, way),
            Act::Wire { device, wire, mode } => self.net.set_wire(device, wire, mode),
            Act::Weather(weather) => self.net.set_weather(weather),
            Act::Busy { device, busy } => self.net.set_busy(device, busy),
            Act::Blind { device, measurements } => self.net.blind(device, measurements),
            Act::Restart { device, clock } => {
                self.journal.open().count("devices_restarted");
                self.net.restart(device, clock);
            }
            Act::Traps { device, trap, times } => self.traps.set(device, trap, times),
            Act::Cloud(up) => self.net.set_cloud(up),
            Act::Jump(by) => {
                self.clock.jump(by);
                self.jumped = self.clock.world();
            }
            // The process that saw the clock before does nothing any more.
            Act::SetBack { by, .. } => {
                self.journal.open().count("clock_set_back");
                self.clock.set_back(by);
                self.jumped = self.clock.world();
            }
            Act::DiskError { after, done } => self.disk.fail_after(after, done),
            Act::DiskHangs(hangs) => self.disk.set_hanging(hangs),
            Act::DiskFull(full) => self.disk.set_full(full),
            Act::CrashAt { after, kept, down } => {
                self.doom = (kept, down);
                self.disk.crash_after(after);
            }
            Act::Again { .. }
            | Act::Conflict { .. }
            | Act::AcknowledgeAll
            | Act::Revive
            | Act::Kill { .. }
            | Act::Stop { .. } => {}
        }
    }

    /// Everything is mended.
    fn heal(&mut self) {
        self.quiet = true;
        for device in 0..self.scene.devices.len() {
            for wire in 0..WIRES {
                self.net.set_wire(device, wire, Wire::Good);
            }
            self.net.set_busy(device, false);
            self.net.blind(device, 0);
        }
        self.net.set_weather(Weather::CALM);
        self.net.set_cloud(true);
        self.traps.disarm();
        self.disk.heal();
        self.journal.open().line(self.clock.world(), format_args!("quiet"));
    }

    /// One process, from its start to its end.
    fn process(&mut self) -> Result<End, String> {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|e| e.to_string())?;
        let system = actix::System::with_tokio_rt(|| tokio);
        system.block_on(async {
            self.clock.begin();
            let end = self.start_and_run().await;
            self.clock.end();
            end
        })
    }

    async fn start_and_run(&mut self) -> Result<End, String> {
        self.disk.begin();
        self.net.set_alive(true);
        self.journal.open().count("starts");
        let [wire, radio] = SimProtocol::both(&self.net);
        let request = AssemblyRequest {
            plant: Arc::clone(&self.scene.spec),
            registry: Registry::new().with(wire).with(radio),
            clock: Arc::<VirtualClock>::clone(&self.clock),
            store: Some(Arc::<SimStore>::clone(&self.store) as Arc<dyn Store>),
            rest_key: Secret::new([7; 32]),
            store_findings: Vec::new(),
            trust: self.trust.clone(),
            paths: self.scene.spec.devices.iter().map(|d| d.paths.clone()).collect(),
            endpoints: Vec::new(),
            place: Place::Here,
            disk_hangs: Some(self.disk.hanging()),
            drill: Some(Arc::<Traps>::clone(&self.traps) as Arc<dyn Drill>),
            steps: None,
        };
        actix::spawn(self.net.clone().drive());
        let assembly = assemble(request).map_err(|e| e.to_string())?;
        self.began = self.clock.world();
        Ok(self.run(assembly).await)
    }

    async fn run(&mut self, assembly: Assembly) -> End {
        let desk: Desk = assembly.commands(Role::Engineer);
        let mut view = assembly.view.clone();
        let mut shown: Option<Arc<PlantView>> = None;
        let mut next_look = tokio::time::Instant::now();
        let disk = Arc::clone(&self.disk);
        let mut next_care = self.clock.world();
        let mut asked_all = false;
        let mut rest_since = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = disk.died.notified() => {}
                Ok(()) = view.changed() => {
                    if self.disk.is_dead() {
                        continue;
                    }
                    let now = Arc::clone(&view.borrow_and_update());
                    self.judge_saved(&now);
                    self.look(shown.as_deref(), &now);
                    shown = Some(now);
                    continue;
                }
                () = tokio::time::sleep_until(next_look) => {}
            }
            if self.disk.is_dead() {
                let (kept, down) = self.doom;
                return End::Died { kept, down };
            }
            next_look = tokio::time::Instant::now() + LOOK;
            let world = self.clock.world();
            self.operator.hear(world);
            for value in std::mem::take(&mut self.unasked) {
                self.operator.ask(world, value, &*desk);
            }
            while let Some((_, act)) = self.due() {
                self.disturb(&act);
                match act {
                    Act::Command { key, .. } | Act::Again { key } => {
                        self.operator.ask(world, key, &*desk);
                    }
                    Act::Conflict { key } => {
                        if let Some(other) = self.operator.want_other(key) {
                            self.operator.ask(world, other, &*desk);
                        }
                    }
                    Act::AcknowledgeAll => {
                        if let Some(shown) = &shown {
                            self.operator.acknowledge_all(shown, &*desk);
                        }
                    }
                    Act::Revive => {
                        if let Some(shown) = &shown {
                            self.operator.revive(shown, &*desk);
                        }
                    }
                    Act::Kill { kept, down } | Act::SetBack { kept, down, .. } => {
                        self.journal.open().count("kills");
                        self.disk.die();
                        return End::Died { kept, down };
                    }
                    Act::Stop { down } => {
                        self.journal.open().count("stops");
                        let saved = self.stop(&assembly).await;
                        self.disk.die();
                        self.saved = shown.filter(|_| saved);
                        return End::Stopped { down };
                    }
                    _ => {}
                }
            }
            if world < self.scene.quiet_from {
                continue;
            }
            if !self.quiet {
                self.heal();
            }
            let Some(shown) = &shown else { continue };
            if world >= next_care {
                next_care = world + Duration::from_secs(5);
                self.operator.acknowledge_all(shown, &*desk);
                self.operator.revive(shown, &*desk);
                self.operator.clear_letters(shown, &*desk);
                self.operator.correct(world, shown, &*desk);
                self.operator.chase(world, &*desk);
            }
            let unrest = self.unrest(shown);
            if unrest.is_some() {
                rest_since = world;
            }
            match unrest {
                // What is shown of the spool is a second old.
                None if world < rest_since.max(self.scene.quiet_from) + REST => {}
                None if !asked_all => {
                    // Under every key once more: each must say again what it said, and do nothing.
                    asked_all = true;
                    self.operator.ask_all_again(world, &*desk);
                }
                None => return End::Over,
                Some(why) if world >= self.scene.quiet_from + REST_WITHIN => {
                    let unrest = Violation::new(Rule::Settles, "plant", why);
                    self.journal.open().judge(Err(unrest));
                    return End::Over;
                }
                Some(_) => {}
            }
        }
    }

    /// Ends the process as a signal would. Whether every twin said that it saved.
    async fn stop(&mut self, assembly: &Assembly) -> bool {
        let (asked, outcomes) = assembly.drain();
        let mut heard = 0;
        for _ in 0..100 {
            heard += outcomes.try_iter().count();
            if heard >= asked {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        assembly.close();
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.operator.hear(self.clock.world());
        let kept = !self.disk.fails() && !self.disk.is_dead();
        asked == self.scene.devices.len() && heard >= asked && kept
    }

    /// After an orderly stop the next process knows what the last one showed.
    fn judge_saved(&mut self, view: &PlantView) {
        let Some(saved) = &self.saved else { return };
        let mut left = false;
        for (before, now) in saved.twins.iter().zip(view.twins.iter()) {
            let lives = !matches!(before.state, TwinState::GaveUp);
            let count = |twin: &plantwin_model::TwinView| twin.points.first().and_then(|p| p.value);
            let (Some(was), true) = (count(before), lives) else { continue };
            match count(now) {
                None => left = true,
                Some(is) if is < was => {
                    let detail = format!("showed {was} before an orderly stop and {is} after it");
                    let lost = Violation::new(Rule::Store, &before.id, detail);
                    self.journal.open().judge(Err(lost));
                }
                Some(_) => {}
            }
        }
        if !left || self.clock.world() > self.began + GRACE {
            self.saved = None;
        }
    }

    /// A view was published.
    fn look(&mut self, before: Option<&PlantView>, view: &PlantView) {
        let world = self.clock.world();
        let mut journal = self.journal.open();
        journal.count("views");
        if let Some(before) = before {
            journal.judge(invariant::view_follows(before, view, &GAUGES));
        }
        let calm = world >= self.jumped + AFTER_JUMP;
        for (ix, twin) in view.twins.iter().enumerate() {
            let spec = &self.scene.spec.devices[ix];
            if calm || self.jumped == Duration::ZERO {
                let stale: Vec<Duration> =
                    spec.kind.points.iter().map(|p| p.stale_after.max(spec.period * 3)).collect();
                let verdict = invariant::twin_is_current(
                    twin,
                    view.now,
                    plantwin_model::Timestamp(i64::MIN),
                    &stale,
                    SLACK,
                );
                journal.judge(verdict);
            }
            let old = before.and_then(|b| b.twins.get(ix));
            if old.is_some_and(|old| old.revision == twin.revision) {
                continue;
            }
            let points: Vec<_> = twin.points.iter().map(|p| (p.value, p.quality)).collect();
            let (id, state, reason) = (&twin.id, twin.state, &twin.reason);
            journal.line(world, format_args!("twin {id} {state:?} ({reason}) {points:?}"));
        }
        let mut states: BTreeMap<&str, _> = BTreeMap::new();
        for alarm in view.alarms.iter() {
            states.insert(alarm.id.as_str(), alarm.state);
            if alarm.text.contains("the disk has not answered") {
                journal.count("views_of_a_hanging_disk");
            }
        }
        let settled = world >= self.began + GRACE;
        let known: Vec<String> = journal.alarms.keys().cloned().collect();
        let names = states.keys().map(|n| (*n).to_owned()).chain(known);
        let names: std::collections::BTreeSet<String> = names.collect();
        for name in names {
            let state = states.get(name.as_str()).copied();
            let history = journal.alarms.entry(name.clone()).or_default();
            let last = history.iter().rev().find_map(|e| match e {
                AlarmEvent::Shown(state) => Some(*state),
                AlarmEvent::Acknowledged => None,
            });
            if !settled || last.unwrap_or(None) == state {
                continue;
            }
            history.push(AlarmEvent::Shown(state));
            journal.count("alarm_changes");
            journal.line(world, format_args!("alarm {name} {state:?}"));
        }
    }

    /// What is not at rest; `None` if everything is.
    fn unrest(&self, view: &PlantView) -> Option<String> {
        if let Some(twin) = view.twins.iter().find(|t| t.state != TwinState::Shadowed) {
            return Some(format!("{} is {:?}: {}", twin.id, twin.state, twin.reason));
        }
        if !self.operator.is_answered() {
            return Some("a command has no outcome".to_owned());
        }
        if !view.set_aside.is_empty() {
            return Some(format!("{} letters lie aside", view.set_aside.len()));
        }
        let durable = self.scene.devices.iter().filter(|d| d.durable).count();
        let kept = self.net.kept();
        if kept > 3 * durable {
            return Some(format!("{kept} values were never confirmed to their devices"));
        }
        let waiting = view.spool.map_or(0, |s| s.records);
        if waiting > 3 * durable as u64 {
            return Some(format!("{waiting} records wait for their way out"));
        }
        None
    }

    /// Asks every invariant about the whole run.
    fn judge(&mut self) {
        let mut journal = self.journal.open();
        let world = self.clock.world();
        let mut verdicts = Vec::new();
        let acted = |events: &[CommandEvent]| events.contains(&CommandEvent::Acted);
        for (value, events) in &journal.commands {
            verdicts.push(invariant::command_at_rest(&format!("command {value}"), events));
            let other = journal.commands.get(&(value + OTHER));
            if acted(events) && other.is_some_and(|other| acted(other)) {
                let detail = "both commands under the same key acted";
                let subject = format!("command {value}");
                verdicts.push(Err(Violation::new(Rule::Commands, subject, detail)));
            }
        }
        for (ix, spec) in self.scene.spec.devices.iter().enumerate() {
            let name = spec.id.as_str();
            let aside = &journal.aside[ix];
            let delivered: Vec<_> = journal.delivered[ix]
                .iter()
                .copied()
                .filter(|d| !matches!(d, invariant::Delivered::Value(n) if aside.contains(n)))
                .collect();
            verdicts.push(invariant::telemetry_in_order(name, &delivered));
            let old = journal.confirmed[ix]
                .iter()
                .filter(|(number, at)| **at + ARRIVES_WITHIN <= world && !aside.contains(number))
                .map(|(number, _)| *number);
            verdicts.push(invariant::telemetry_complete(name, old, &delivered));
            let zone = &self.scene.spec.zones[usize::from(spec.zone.0)];
            let policy = zone.supervision.as_ref().unwrap_or(&self.scene.spec.supervision);
            // A zone that is restarted forgives its children; only its own supervisor counts it. And
            // where siblings restart together, one that was given up comes back with them.
            let alone = policy.strategy == RestartStrategy::OneForOne;
            if policy.escalation == Escalation::GiveUp && alone {
                verdicts.push(invariant::restarts(
                    name,
                    policy.max_restarts as usize,
                    policy.window,
                    journal.lives[ix].iter().copied(),
                ));
            }
        }
        for (name, events) in &journal.alarms {
            verdicts.push(invariant::alarm(name, events));
        }
        let mut numbers = Vec::new();
        let read = self.store.inner().inner.read_log(1, &mut |record| {
            numbers.push(record.sequence);
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            verdicts.push(Err(Violation::new(Rule::Store, "log", error)));
        }
        let first = numbers.first().copied().unwrap_or(1);
        verdicts.push(invariant::dense("log", first, numbers, &[]));
        for verdict in verdicts {
            journal.judge(verdict);
        }
    }

    fn report(&mut self, seed: u64) -> Report {
        let mut journal = self.journal.open();
        Report {
            seed,
            trace_hash: journal.hash(),
            violations: std::mem::take(&mut journal.violations),
            counters: std::mem::take(&mut journal.counters),
            virtual_time: self.clock.world(),
            trace: journal.take_lines(),
        }
    }
}
