//! What goes on all the time: devices measure, obey and are listened to; operators command and
//! look.
//!
//! Absent: starting and killing the plant, judging.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{DEVICES, PLANT, Shared, commands::Order, lock};
use crate::{
    broker::{Mosquitto, Sink, Source},
    random::Dice,
};

/// Time between two messages of a device.
const EVERY: Duration = Duration::from_millis(20);
/// Messages of a device on their way before it waits: this is about kills, not about throughput.
const MOST_BEHIND: u64 = 4000;
/// Threads that command.
const OPERATORS: usize = 4;
/// New commands of each of them in one life, so that long runs stay within what is remembered.
const PER_LIFE: u32 = 5;

/// The load; the peers end when it is dropped.
pub(super) struct Load {
    threads: Vec<JoinHandle<()>>,
    _sinks: Vec<Sink>,
}

impl Load {
    /// Listens; call [`Self::begin`] when the plant is known to the broker.
    pub(super) fn listen(shared: &Arc<Shared>, broker: &Mosquitto) -> Self {
        let book = Arc::clone(shared);
        let north = broker.sink("observer", "north/#", move |topic, payload| {
            let record = serde_json::from_str(payload).unwrap_or(Value::Null);
            if let Some(device) = topic.strip_prefix("north/").and_then(number) {
                let life = book.up.load(SeqCst);
                lock(&book.telemetry).arrive(device, &record, life);
            }
        });
        let book = Arc::clone(shared);
        let witness = broker.sink("witness", "+/data", move |topic, payload| {
            let message = serde_json::from_str(payload).unwrap_or(Value::Null);
            if let Some(device) = topic.strip_suffix("/data").and_then(number) {
                lock(&book.telemetry).accept(device, &message);
            }
        });
        let book = Arc::clone(shared);
        let orders = broker.sink("responder", "+/set/valve", move |topic, payload| {
            if let Some(device) = topic.strip_suffix("/set/valve").and_then(number) {
                lock(&book.commands).wrote(device, payload);
                book.valves[device].store(payload.parse().unwrap_or(0), SeqCst);
            }
        });
        Self { threads: Vec::new(), _sinks: vec![north, witness, orders] }
    }

    /// Measures, commands and looks from here on.
    pub(super) fn begin(&mut self, shared: &Arc<Shared>, broker: &Mosquitto, seed: u64) {
        let sources = (0..DEVICES).map(|d| broker.source(&format!("d{d}/data"))).collect();
        let book = Arc::clone(shared);
        self.threads.push(thread::spawn(move || measure(&book, sources)));
        for operator in 0..OPERATORS {
            let (book, dice) = (Arc::clone(shared), Dice::new(seed + 1 + operator as u64));
            self.threads.push(thread::spawn(move || command(&book, operator, dice)));
        }
        let (book, dice) = (Arc::clone(shared), Dice::new(seed + 99));
        self.threads.push(thread::spawn(move || look(&book, dice)));
    }

    /// Waits for the threads, which end once `shared.over` is set. The devices' last messages
    /// may still be with their publishers: these end with the load.
    pub(super) fn end(&mut self) -> bool {
        self.threads.drain(..).all(|thread| thread.join().is_ok())
    }
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix('d')?.parse().ok().filter(|d| *d < DEVICES)
}

#[expect(clippy::disallowed_methods, reason = "the devices have a wall clock of their own")]
fn wall_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis())
}

fn measure(shared: &Shared, mut sources: Vec<Source>) {
    while !shared.over.load(SeqCst) {
        for (device, source) in sources.iter_mut().enumerate() {
            let message = {
                let mut book = lock(&shared.telemetry);
                (book.behind(device) < MOST_BEHIND).then(|| book.publish(device))
            };
            let Some((seq, level)) = message else { continue };
            let valve = shared.valves[device].load(SeqCst);
            let values = json!({ "level": level, "valve": valve });
            let message = json!({ "seq": seq, "t": wall_millis() as u64, "v": values });
            source.say(&message.to_string()).expect("mosquitto_pub takes what is said");
        }
        thread::sleep(EVERY);
    }
    // What they hold goes out before their devices are switched off.
    let behind = || (0..DEVICES).any(|d| lock(&shared.telemetry).behind(d) > 0);
    let mut rounds = 0;
    while behind() && rounds < 3000 {
        thread::sleep(EVERY);
        rounds += 1;
    }
}

fn command(shared: &Shared, operator: usize, mut dice: Dice) {
    let (mut life, mut issued) = (0, 0);
    let mut open: Vec<Order> = Vec::new();
    while !shared.over.load(SeqCst) {
        let up = shared.up.load(SeqCst);
        if up != life {
            (life, issued) = (up, 0);
        }
        if up == 0 {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        let overdue = lock(&shared.commands).overdue();
        let order = if let Some(order) = overdue
            && dice.percent(30)
        {
            order
        } else if !open.is_empty() && dice.percent(70) {
            open[dice.below(open.len() as u64) as usize]
        } else if dice.percent(15) {
            let Some(order) = lock(&shared.commands).any(dice.any()) else { continue };
            order
        } else if issued < PER_LIFE {
            issued += 1;
            let device = operator + OPERATORS * dice.below((DEVICES / OPERATORS) as u64) as usize;
            let order = lock(&shared.commands).issue(device);
            open.push(order);
            order
        } else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let over = ask(shared, order, if dice.percent(10) { 2 } else { 1 });
        // An operator who loses patience leaves it until it is overdue.
        if over || (open.len() > 1 && dice.percent(5)) {
            open.retain(|o| o.id != order.id);
        }
        thread::sleep(dice.within(Duration::from_millis(12)));
    }
}

/// Asks, as often at the same time as said; returns whether the outcome is final.
pub(super) fn ask(shared: &Shared, order: Order, times: usize) -> bool {
    let device = format!("d{}", order.device);
    let ask = || shared.control.write(order.key, &device, "valve", order.value as f64);
    let asked: Vec<_> = (0..times).filter_map(|_| ask().ok()).collect();
    let mut over = false;
    for asked in asked {
        if let Some(outcome) = asked.outcome() {
            over |= lock(&shared.commands).told(order.id, outcome);
        }
    }
    over
}

fn look(shared: &Shared, mut dice: Dice) {
    let (damaged, failing) = (format!("{PLANT}.store_damage"), format!("{PLANT}.store"));
    while !shared.over.load(SeqCst) {
        thread::sleep(dice.within(Duration::from_millis(20)));
        let life = shared.up.load(SeqCst);
        let Some(status) = (life > 0).then(|| shared.control.status()).flatten() else { continue };
        shared.statuses.fetch_add(1, SeqCst);
        let alarms = status["alarms"].as_array().into_iter().flatten();
        let of_store = |a: &Value| a["id"] == damaged.as_str() || a["id"] == failing.as_str();
        if alarms.clone().any(of_store) {
            shared.store_alarms.fetch_add(1, SeqCst);
        }
        let _held = lock(&shared.acknowledging);
        let chosen = {
            let mut book = lock(&shared.alarms);
            // Of a life that is over meanwhile it tells nothing certain.
            if shared.up.load(SeqCst) != life {
                continue;
            }
            book.status(PLANT, &status);
            let chosen = if dice.percent(5) { book.any(dice.any()) } else { None };
            if let Some(id) = &chosen {
                book.acknowledging(id);
            }
            chosen
        };
        if let Some(id) = chosen {
            // Whether it was heard shows in what the plant shows.
            let _ = shared.control.acknowledge(&id);
        }
    }
}
