//! The console on a real terminal: the only module that touches one.
//!
//! One thread, no runtime: it waits for a key for at most a tick, looks at the view, at the
//! outcomes and at the stop flag, and draws only if something changed. Absent: signals, which
//! the caller turns into [`Options::stop`].

use std::{
    io::{self, BufWriter, Stdout, Write},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
    thread::ThreadId,
    time::Duration,
};

use crossterm::{
    cursor, event, execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use plantwin_model::{CommandSender, Outcome, PlantView};
use ratatui::{Terminal, backend::CrosstermBackend, layout::Rect};
use tokio::sync::watch;

use crate::{Action, App, Event, Exit, Options, TuiError};

/// Longest wait for a key; also the longest delay of a new snapshot or of a stop.
const TICK: Duration = Duration::from_millis(100);

/// Most keys taken in before the next frame, so that a pasted text cannot starve the screen.
const KEYS: usize = 64;

/// Most requests that wait for an outcome; more are refused.
const PENDING: usize = 256;

type Screen = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

/// Runs the console on the calling thread until the operator closes it or `options.stop` is set.
///
/// The terminal is restored on every way out: return, error and panic.
pub fn run(
    mut view: watch::Receiver<Arc<PlantView>>,
    commands: Arc<dyn CommandSender>,
    options: Options,
) -> Result<Exit, TuiError> {
    // Bound first: the guard restores the terminal after everything else was dropped.
    let _guard = Guard::enter().map_err(TuiError::Terminal)?;
    let backend = CrosstermBackend::new(BufWriter::with_capacity(64 * 1024, io::stdout()));
    let mut terminal = Terminal::new(backend).map_err(TuiError::Terminal)?;
    let first = view.borrow_and_update().clone();
    let mut app = App::new(first, &options);
    let mut pending = Vec::new();
    let mut open = true;
    loop {
        if options.stop.load(Ordering::Relaxed) {
            return Ok(Exit::Stopped);
        }
        app.update(Event::Tick(options.clock.now()));
        if open {
            match view.has_changed() {
                Ok(true) => {
                    let new = view.borrow_and_update().clone();
                    app.update(Event::View(new));
                }
                Ok(false) => {}
                Err(_) => {
                    open = false;
                    // The runtime's last snapshot may still be unseen.
                    let last = view.borrow_and_update().clone();
                    if !Arc::ptr_eq(&last, &app.latest) {
                        app.update(Event::View(last));
                    }
                    app.update(Event::Closed);
                }
            }
        }
        collect(&mut app, &mut pending);
        if OTHER_PANIC.swap(false, Ordering::Relaxed) {
            redraw(&mut app, &mut terminal)?;
        }
        draw(&mut app, &mut terminal)?;
        if !event::poll(TICK).map_err(TuiError::Terminal)? {
            continue;
        }
        for _ in 0..KEYS {
            let event = match event::read().map_err(TuiError::Terminal)? {
                event::Event::Key(key) => Some(Event::Key(key)),
                event::Event::Resize(width, height) => Some(Event::Resize(width, height)),
                _ => None,
            };
            for action in event.map(|e| app.update(e)).unwrap_or_default() {
                match action {
                    Action::Quit => return Ok(Exit::Quit),
                    Action::Redraw => redraw(&mut app, &mut terminal)?,
                    Action::Send(label, _) if pending.len() >= PENDING => {
                        let reason = "too many requests are waiting for an outcome".into();
                        app.update(Event::Outcome(label, Outcome::Refused { reason }));
                    }
                    Action::Send(label, request) => pending.push((label, commands.send(request))),
                }
            }
            if !event::poll(Duration::ZERO).map_err(TuiError::Terminal)? {
                break;
            }
        }
    }
}

/// Draws if something changed.
fn draw(app: &mut App, terminal: &mut Screen) -> Result<(), TuiError> {
    let size = terminal.size().map_err(TuiError::Terminal)?;
    app.update(Event::Resize(size.width, size.height));
    if app.take_dirty() {
        paint(app, terminal)?;
    }
    Ok(())
}

/// Draws every cell again.
fn redraw(app: &mut App, terminal: &mut Screen) -> Result<(), TuiError> {
    // Not `Terminal::clear`: it asks the terminal for its cursor and waits for the answer, which
    // some never give.
    let size = terminal.size().map_err(TuiError::Terminal)?;
    terminal.resize(Rect::new(0, 0, size.width, size.height)).map_err(TuiError::Terminal)?;
    paint(app, terminal)
}

fn paint(app: &App, terminal: &mut Screen) -> Result<(), TuiError> {
    let frame = |frame: &mut ratatui::Frame<'_>| {
        app.draw(frame.buffer_mut());
    };
    terminal.draw(frame).map_err(TuiError::Terminal)?;
    Ok(())
}

/// Hands outcomes that arrived to the console.
fn collect(app: &mut App, pending: &mut Vec<(String, Receiver<Outcome>)>) {
    pending.retain(|(label, receiver)| {
        let outcome = match receiver.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => {
                Outcome::Failed { reason: "the runtime gave no outcome".into() }
            }
        };
        app.update(Event::Outcome(label.clone(), outcome));
        false
    });
}

/// The thread that owns the terminal, while one does.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Set when another thread panicked: its message went over the screen.
static OTHER_PANIC: AtomicBool = AtomicBool::new(false);

static HOOK: Once = Once::new();

fn owner() -> MutexGuard<'static, Option<ThreadId>> {
    OWNER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the terminal in the console's mode.
struct Guard;

impl Guard {
    fn enter() -> io::Result<Self> {
        HOOK.call_once(install_hook);
        enable_raw_mode()?;
        *owner() = Some(std::thread::current().id());
        // From here on dropping the guard undoes whatever of this was done.
        let guard = Self;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if owner().take().is_some() {
            restore();
        }
    }
}

/// Restores the terminal before the panic of its owner is reported, so that the report is seen.
///
/// An actor that panics is caught and restarted by its guardian: the console lives on and only
/// draws again over whatever was printed.
fn install_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let mine = {
            let mut owner = owner();
            let mine = *owner == Some(std::thread::current().id());
            if mine {
                *owner = None;
            }
            mine
        };
        if mine {
            restore();
        }
        before(info);
        if !mine {
            OTHER_PANIC.store(true, Ordering::Relaxed);
        }
    }));
}

/// Gives the terminal back; what fails here cannot be reported anywhere.
fn restore() {
    let mut out = io::stdout();
    let _ = execute!(out, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
    let _ = out.flush();
}

#[cfg(all(test, unix))]
#[path = "run_tests.rs"]
mod tests;
