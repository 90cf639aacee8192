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
use plantwin_model::{Clock, PlantSpec, Severity};
use plantwin_runtime::{KeySource, RunRequest, RunningPlant, RuntimeError, Stopped};
use plantwin_tui::Options;

use super::{authority, console, keys, read, tui};
use crate::{
    cli::{HowArgs, RunArgs},
    control::{self, Place, Reread, Server},
    exit::{Code, Failure, OrExit},
    logging, protocols,
};

pub(crate) fn run(args: &RunArgs) -> Result<Code, Failure> {
    let plant = read::sound(read::from_file(&args.plant, &args.read)?)?;
    let (file, how_read) = (args.plant.clone(), args.read.clone());
    let reread: Reread = Arc::new(move || {
        let read = read::from_file(&file, &how_read).map_err(|f| format!("{:#}", f.error))?;
        let first = read.diagnostics.iter().find(|d| d.severity == Severity::Error);
        let (errors, first) = (read.errors(), first.map(ToString::to_string));
        read.plant.ok_or_else(|| {
            let first = first.unwrap_or_default();
            format!("the file has {errors} errors and nothing of it was taken; the first: {first}")
        })
    });
    self::plant(plant, &args.how, Some(reread))
}

/// Runs a checked plant until it is told to stop.
pub(crate) fn plant(
    spec: PlantSpec,
    how: &HowArgs,
    reread: Option<Reread>,
) -> Result<Code, Failure> {
    let key = match &how.data {
        Some(dir) => keys::source(&how.key, dir)?,
        None if how.key.any() => {
            return Err(Code::Usage.failure("a key is for a data folder; name one by --data DIR"));
        }
        None => KeySource::Plain,
    };
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
        key,
        speed: how.speed,
        authority: authority::at(how.authority.as_deref(), how.authority_key.as_deref())?,
    };
    let plant = RunningPlant::start(request).map_err(|error| match error {
        RuntimeError::Store(error) => keys::failure(error),
        error => Code::Unavailable.failure(format!("failed to {error}")),
    })?;
    for warning in &plant.warnings {
        tracing::warn!("{warning}");
        eprintln!("plantwin: {warning}");
    }
    place.take();
    let server = Server::start(&place.socket(), &plant, reread)?;
    let wall: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    if let Some(lasts) = how.lasts {
        stop_after(lasts, &wall, &stop).or_exit(Code::Unavailable)?;
    }
    let outcome = if on_screen {
        let front = plant.front_desk();
        // Whoever sits here is whoever started the plant.
        let who = control::whoever_runs_this(&front.policy(), how.role.into());
        let role = front.policy().role_of(&who);
        let options = Options {
            readonly: how.readonly,
            role,
            stop: Arc::clone(&stop),
            ..tui::options(how.look, Arc::clone(&wall))
        };
        console::run(plant.view.clone(), front.desk(who), options)
    } else {
        let mut out = io::stdout().lock();
        for (protocol, address) in plant.view.borrow().endpoints.iter() {
            // A closed pipe ends the line mode below; here it does not matter.
            let _ = writeln!(out, "serving {protocol} on {address}");
        }
        line_mode(&plant, &mut out, &*wall, &stop)
    };
    drop(server);
    let Stopped { unsaved, not_kept } = plant.stop();
    drop(place);
    if unsaved > 0 {
        eprintln!("plantwin: {unsaved} twins did not save in time");
    }
    if let Some(why) = not_kept {
        eprintln!("plantwin: failed to {why}; see to the disk before the next start");
        return outcome.map(|()| Code::Unavailable);
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
