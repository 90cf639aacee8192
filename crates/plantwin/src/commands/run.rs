//! `plantwin run`: the plant, its console, its end.

use std::{
    io::{self, IsTerminal, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use plantwin_adapter::SystemClock;
use plantwin_model::{Clock, PlantSpec};
use plantwin_runtime::{RunRequest, RunningPlant};
use plantwin_tui::Options;

use super::{console, read, tui};
use crate::{
    cli::{HowArgs, RunArgs},
    control::{Place, Server},
    exit::{Code, Failure, OrExit},
    logging, protocols,
};

pub(crate) fn run(args: &RunArgs) -> Result<Code, Failure> {
    let plant = read::sound(read::from_file(&args.plant, &args.read)?)?;
    self::plant(plant, &args.how)
}

/// Runs a checked plant until it is told to stop.
pub(crate) fn plant(spec: PlantSpec, how: &HowArgs) -> Result<Code, Failure> {
    let stop = console::stop_flag().or_exit(Code::Unavailable)?;
    let on_screen = !how.headless && io::stdout().is_terminal() && io::stdin().is_terminal();
    let mut place = Place::prepare(&spec.name, how.data.as_deref())?;
    let log = place.log();
    let target = if on_screen { logging::Target::File(&log) } else { logging::Target::Stderr };
    logging::install(how.log, &target).or_exit(Code::Unavailable)?;
    let request = RunRequest {
        plant: spec,
        registry: protocols::registry(),
        data: how.data.clone(),
        speed: how.speed,
    };
    let plant = RunningPlant::start(request)
        .map_err(|e| Code::Unavailable.failure(format!("failed to {e}")))?;
    for warning in &plant.warnings {
        tracing::warn!("{warning}");
        eprintln!("plantwin: {warning}");
    }
    place.take();
    let server = Server::start(&place.socket(), &plant)?;
    let wall: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    if let Some(lasts) = how.lasts {
        stop_after(lasts, &wall, &stop).or_exit(Code::Unavailable)?;
    }
    let outcome = if on_screen {
        let options = Options {
            readonly: how.readonly,
            role: how.role.into(),
            stop: Arc::clone(&stop),
            ..tui::options(how.look, Arc::clone(&wall))
        };
        console::run(plant.view.clone(), plant.commands(how.role.into()), options)
    } else {
        let mut out = io::stdout().lock();
        for (protocol, address) in plant.view.borrow().endpoints.iter() {
            // A closed pipe ends the line mode below; here it does not matter.
            let _ = writeln!(out, "serving {protocol} on {address}");
        }
        line_mode(&plant, &mut out, &*wall, &stop)
    };
    drop(server);
    let unsaved = plant.stop();
    drop(place);
    if unsaved > 0 {
        eprintln!("plantwin: {unsaved} twins did not save in time");
    }
    outcome.map(|()| Code::Ok)
}

fn line_mode(
    plant: &RunningPlant,
    out: &mut dyn io::Write,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    match plantwin_tui::line_mode(plant.view.clone(), out, clock, stop) {
        Ok(()) => Ok(()),
        // Whoever read the lines has gone: the plant goes on until it is told to stop.
        Err(plantwin_tui::TuiError::Line(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            while !stop.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        }
        Err(error) => Err(error).or_exit(Code::Unavailable),
    }
}

fn stop_after(lasts: Duration, clock: &Arc<dyn Clock>, stop: &Arc<AtomicBool>) -> io::Result<()> {
    let (clock, stop) = (Arc::clone(clock), Arc::clone(stop));
    let end = clock.now().plus(lasts);
    std::thread::Builder::new().name("for".to_owned()).spawn(move || {
        loop {
            let left = end.since(clock.now());
            if left.is_zero() {
                stop.store(true, Relaxed);
                return;
            }
            std::thread::sleep(left);
        }
    })?;
    Ok(())
}
