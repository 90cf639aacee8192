//! The client's side of the control socket.

use std::{
    io::{BufRead, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use plantwin_model::{
    Clock, CommandKey, CommandSender, LinkView, Outcome, PlantView, Request, Role,
};
use tokio::sync::watch;

use super::wire::{Ask, Say};
use crate::exit::{Code, Failure};

/// Longest wait for an answer to a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
/// A runtime that says nothing for this long is lost: it beats four times a second.
const SILENCE: Duration = Duration::from_millis(1200);
/// Time between attempts to reach a lost runtime.
const RETRY_EVERY: Duration = Duration::from_millis(300);

/// Asks once and returns the lines of the answer.
pub(crate) fn ask(
    socket: &Path,
    what: &Ask,
) -> Result<impl Iterator<Item = std::io::Result<String>>, Failure> {
    let unreachable = |e: std::io::Error| {
        Code::Unavailable
            .failure(format!("cannot reach the plant at {}: {e}; is it running?", socket.display()))
    };
    let stream = connect(socket, what).map_err(unreachable)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(unreachable)?;
    Ok(BufReader::new(stream).lines())
}

fn connect(socket: &Path, what: &Ask) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(stream)
}

/// A console's join to a running plant.
pub(crate) struct Attached {
    pub(crate) view: watch::Receiver<Arc<PlantView>>,
    pub(crate) commands: Arc<dyn CommandSender>,
    stop: Arc<AtomicBool>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// Keeps a view of the plant at `socket`, reconnecting for ever.
pub(crate) fn attach(
    socket: PathBuf,
    role: Role,
    clock: Arc<dyn Clock>,
) -> Result<Attached, Failure> {
    let (publish, view) = watch::channel(Arc::new(PlantView::empty("...")));
    let stop = Arc::new(AtomicBool::new(false));
    let commands = Arc::new(RemoteDesk { socket: socket.clone(), role });
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("attach".to_owned())
        .spawn(move || {
            while !stopped.load(Relaxed) {
                // How it ended does not matter: it is lost, and tried again.
                let _ = follow(&socket, &publish, &stopped);
                publish.send_modify(|view| {
                    if view.link == LinkView::Live {
                        Arc::make_mut(view).link = LinkView::Lost { since: clock.now() };
                    }
                });
                std::thread::sleep(RETRY_EVERY);
            }
        })
        .map_err(|e| Code::Unavailable.failure(format!("cannot start a thread: {e}")))?;
    Ok(Attached { view, commands, stop })
}

fn follow(
    socket: &Path,
    publish: &watch::Sender<Arc<PlantView>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let stream = connect(socket, &Ask::Attach)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut view: Option<PlantView> = None;
    for line in BufReader::new(stream).lines() {
        if stop.load(Relaxed) {
            return Ok(());
        }
        match (serde_json::from_str::<Say>(&line?)?, &mut view) {
            (Say::Hello(hello), _) => view = Some(hello.into_view()),
            (Say::Update(update), Some(view)) => {
                update.apply(view);
                publish.send_replace(Arc::new(view.clone()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sends requests over the socket, each on a connection of its own.
struct RemoteDesk {
    socket: PathBuf,
    role: Role,
}

impl CommandSender for RemoteDesk {
    fn send_keyed(&self, key: Option<CommandKey>, request: Request) -> Receiver<Outcome> {
        let (reply, outcome) = sync_channel(1);
        let socket = self.socket.clone();
        let what = Ask::Request { role: self.role, key, request };
        std::thread::spawn(move || {
            // The console may have been closed meanwhile.
            let _ = reply.send(outcome_of(&socket, &what));
        });
        outcome
    }
}

/// Makes a request and waits for its outcome.
pub(crate) fn outcome_of(socket: &Path, what: &Ask) -> Outcome {
    let failed = |reason: String| Outcome::Failed { reason };
    let mut lines = match ask(socket, what) {
        Ok(lines) => lines,
        Err(failure) => return failed(failure.error.to_string()),
    };
    match lines.next() {
        Some(Ok(line)) => match serde_json::from_str(&line) {
            Ok(Say::Outcome { outcome }) => outcome,
            Ok(Say::Error { text }) => failed(text),
            Ok(_) | Err(_) => failed("the plant gave an answer that makes no sense".to_owned()),
        },
        Some(Err(error)) => failed(format!("the plant did not answer: {error}")),
        None => failed("the plant closed the connection".to_owned()),
    }
}
