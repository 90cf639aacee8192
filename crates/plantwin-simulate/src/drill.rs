//! Crashes on command: panics when a twin is about to handle a letter that was trapped.
//!
//! Absent: catching them, which is what is under test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use plantwin_model::{Clock, DeviceIx, invariant::Life};
use plantwin_twin::{Drill, TwinMail};

use crate::{
    clock::VirtualClock,
    journal::SharedJournal,
    net::Device,
    random::{FNV_START, fnv},
    scene::Trap,
};

/// How a planted panic begins; the panic hook keeps quiet about those.
pub(crate) const PLANTED: &str = "drill: ";

/// Traps that wait, and letters that are poison.
pub(crate) struct Traps {
    state: Mutex<State>,
    clock: Arc<VirtualClock>,
    journal: SharedJournal,
}

#[derive(Default)]
struct State {
    /// By device: what and how often.
    set: BTreeMap<u32, Vec<(Trap, u32)>>,
    /// Letters that always crash their twin, by device and hash of what they say.
    poison: BTreeSet<(u32, u64)>,
    /// The last letter that crashed each twin.
    last: BTreeMap<u32, u64>,
}

impl Traps {
    pub(crate) fn new(clock: Arc<VirtualClock>, journal: SharedJournal) -> Self {
        Self { state: Mutex::default(), clock, journal }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Traps the next letters of a device.
    pub(crate) fn set(&self, device: usize, trap: Trap, times: u32) {
        self.state().set.entry(device as u32).or_default().push((trap, times));
    }

    /// Takes every trap away and makes every letter harmless.
    pub(crate) fn disarm(&self) {
        *self.state() = State::default();
    }

    /// Whether this letter crashes its twin, and the trap is used up.
    fn springs(&self, device: u32, letter: &TwinMail) -> Option<Trap> {
        let mut state = self.state();
        if !state.poison.is_empty() && state.poison.contains(&(device, name(letter))) {
            return Some(Trap::Poison);
        }
        let set = state.set.get_mut(&device)?;
        let place = set.iter().position(|(trap, _)| match trap {
            Trap::Any | Trap::Poison => true,
            Trap::Values => matches!(letter, TwinMail::Frame(_)),
            Trap::Command | Trap::PoisonCommand => matches!(letter, TwinMail::Command(_)),
        })?;
        let (trap, times) = &mut set[place];
        let trap = *trap;
        *times -= 1;
        if *times == 0 {
            set.remove(place);
        }
        if matches!(trap, Trap::Poison | Trap::PoisonCommand) {
            state.poison.insert((device, name(letter)));
        }
        Some(trap)
    }
}

/// What a letter says, short: it stays the same however often it is delivered.
fn name(letter: &TwinMail) -> u64 {
    fnv(FNV_START, format!("{letter:?}").as_bytes())
}

/// What kind of letter it is, and the number of its frame.
fn kind(letter: &TwinMail) -> String {
    if let TwinMail::Frame(mail) = letter {
        return format!("frame {:?}", mail.frame.sequence);
    }
    let text = format!("{letter:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

impl Drill for Traps {
    fn before(&self, device: DeviceIx, letter: &TwinMail) {
        let sprung = self.springs(device.0, letter);
        {
            let mut journal = self.journal.open();
            let Some(trap) = sprung else {
                let life = &mut journal.lives[device.index()];
                if matches!(life.last(), Some(Life::Crashed(_))) {
                    life.push(Life::Alive);
                }
                return;
            };
            let twice = self.state().last.insert(device.0, name(letter)) == Some(name(letter));
            if let TwinMail::Frame(mail) = letter
                && let (true, Some(number)) = (twice, Device::number_of(&mail.frame))
            {
                journal.aside[device.index()].insert(number);
            }
            journal.lives[device.index()].push(Life::Crashed(self.clock.now()));
            journal.count("panics");
            let (world, what) = (self.clock.world(), kind(letter));
            journal.line(world, format_args!("panic unit{} {trap:?} at {what}", device.0));
        }
        std::panic::panic_any(format!("{PLANTED}{sprung:?}"));
    }
}
