//! The console on a thread of its own, so that a terminal that is gone cannot hold plantwin up.
//!
//! When a terminal hangs up, waiting for a key may never return. The main thread therefore
//! waits for the console *or* for the stop flag, and leaves a console behind that does not end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use plantwin_model::{CommandSender, PlantView};
use plantwin_tui::{Options, TuiError};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use tokio::sync::watch;

use crate::exit::{Code, Failure, OrExit};

/// Time between looks at the stop flag.
const LOOK: Duration = Duration::from_millis(50);
/// A console that has not ended this long after the stop flag was set has lost its terminal.
const GRACE: u32 = 20;

/// A flag that SIGTERM, SIGINT and SIGHUP set; a second one ends the process at once.
pub(crate) fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        // Order matters: the first registered acts only if the flag is already set.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Runs the console until it is closed or `options.stop` is set.
pub(crate) fn run(
    view: watch::Receiver<Arc<PlantView>>,
    commands: Arc<dyn CommandSender>,
    options: Options,
) -> Result<(), Failure> {
    let stop = Arc::clone(&options.stop);
    let (done, ended) = sync_channel(1);
    std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || {
            // If nobody waits any more, the process is about to end.
            let _ = done.send(plantwin_tui::run(view, commands, options));
        })
        .or_exit(Code::Unavailable)?;
    let mut left = GRACE;
    loop {
        match ended.recv_timeout(LOOK) {
            Ok(Ok(_)) => return Ok(()),
            // After a stop, a terminal that can no longer be written to is no news.
            Ok(Err(TuiError::Terminal(_))) if stop.load(Relaxed) => return Ok(()),
            Ok(Err(error)) => return Err(error).or_exit(Code::Unavailable),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Code::Unavailable.failure("the console crashed; see the log"));
            }
            Err(RecvTimeoutError::Timeout) if stop.load(Relaxed) => {
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
