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
use zeroize::Zeroizing;

use super::wire::{Ask, Proof, Question, Say};
use crate::exit::{Code, Failure};

/// Longest wait for an answer to a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
/// A runtime that says nothing for this long is lost: it beats four times a second.
const SILENCE: Duration = Duration::from_millis(1200);
/// Time between attempts to reach a lost runtime.
const RETRY_EVERY: Duration = Duration::from_millis(300);
/// For this long after the connection was lost a request with a key is made again.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// Asks once and returns the lines of the answer.
pub(crate) fn ask(
    socket: &Path,
    what: &Question,
) -> Result<impl Iterator<Item = std::io::Result<String>>, Failure> {
    let failed = |e: std::io::Error| Code::Unavailable.failure(unreachable(socket, &e));
    let stream = connect(socket, what).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    Ok(BufReader::new(stream).lines())
}

/// Asks once and returns the first line of the answer; a refusal is a failure.
pub(crate) fn answer(socket: &Path, what: &Question) -> Result<String, Failure> {
    let line = ask(socket, what)?
        .next()
        .ok_or_else(|| Code::Unavailable.failure("the plant closed the connection"))?
        .map_err(|e| Code::Unavailable.failure(format!("the plant did not answer: {e}")))?;
    refusal(&line).map_or(Ok(line), Err)
}

/// The failure that an answer is, if the plant refused for lack of rights.
pub(crate) fn refusal(line: &str) -> Option<Failure> {
    // Most answers are long, and none of those begins so.
    if !line.starts_with(r#"{"say":"refused""#) {
        return None;
    }
    match serde_json::from_str(line) {
        Ok(Say::Refused { text }) => Some(Code::Auth.failure(format!("refused: {text}"))),
        _ => None,
    }
}

fn unreachable(socket: &Path, error: &std::io::Error) -> String {
    format!("cannot reach the plant at {}: {error}; is it running?", socket.display())
}

fn connect(socket: &Path, what: &Question) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    say(&mut stream, what)?;
    Ok(stream)
}

fn say(stream: &mut UnixStream, what: &Question) -> std::io::Result<()> {
    // It may hold a passphrase.
    let mut line = Zeroizing::new(serde_json::to_vec(what)?);
    line.push(b'\n');
    stream.write_all(&line)
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
    proof: Option<Proof>,
    clock: Arc<dyn Clock>,
) -> Result<Attached, Failure> {
    let (publish, view) = watch::channel(Arc::new(PlantView::empty("...")));
    let stop = Arc::new(AtomicBool::new(false));
    let question = Question { ask: Ask::Attach, proof: proof.clone() };
    let commands =
        Arc::new(RemoteDesk { socket: socket.clone(), role, proof, clock: clock.clone() });
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("attach".to_owned())
        .spawn(move || {
            while !stopped.load(Relaxed) {
                // How it ended does not matter: it is lost, and tried again.
                let _ = follow(&socket, &question, &publish, &stopped);
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
    question: &Question,
    publish: &watch::Sender<Arc<PlantView>>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let stream = connect(socket, question)?;
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
    proof: Option<Proof>,
    clock: Arc<dyn Clock>,
}

impl CommandSender for RemoteDesk {
    fn send_keyed(&self, key: Option<CommandKey>, request: Request) -> Receiver<Outcome> {
        let (reply, outcome) = sync_channel(1);
        let (socket, clock) = (self.socket.clone(), Arc::clone(&self.clock));
        let acts = matches!(request, Request::Command { .. } | Request::Write { .. });
        let key = key.or_else(|| acts.then(random_key).flatten());
        let ask = Ask::Request { role: self.role, key, request };
        let what = Question { ask, proof: self.proof.clone() };
        std::thread::spawn(move || {
            // The console may have been closed meanwhile.
            let _ = reply.send(outcome_of(&socket, &what, &*clock));
        });
        outcome
    }
}

/// A key that nobody else has; none if the system gives no random numbers.
pub(crate) fn random_key() -> Option<CommandKey> {
    plantwin_seal::random_bytes().ok().map(|bytes| CommandKey(u128::from_le_bytes(bytes)))
}

/// What came of asking once.
enum Attempt {
    Answered(Outcome),
    /// Nothing was sent.
    Unreached(String),
    /// Sent, at least in part, and no answer came.
    Lost(String),
}

/// Makes a request and waits for its outcome.
///
/// One with a key is made again when the connection is lost before an answer came, as when the
/// runtime restarts: the same key never acts twice. One without is left at that. A runtime that
/// came back may find out only after a while whether the device acted: it is asked until then.
pub(crate) fn outcome_of(socket: &Path, what: &Question, clock: &dyn Clock) -> Outcome {
    let unknown = |reason: String| Outcome::Unknown {
        reason: format!("{reason}; whether the device acted cannot be told"),
    };
    let mut last = match attempt(socket, what, ANSWER_WITHIN) {
        Attempt::Answered(outcome) => return outcome,
        Attempt::Unreached(reason) => return Outcome::Failed { reason },
        Attempt::Lost(reason) => unknown(reason),
    };
    if matches!(what.ask, Ask::Request { key: Some(_), .. }) {
        let end = clock.now().plus(AGAIN_WITHIN);
        loop {
            let left = end.since(clock.now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(RETRY_EVERY.min(left));
            match attempt(socket, what, left) {
                Attempt::Answered(outcome @ Outcome::Unknown { .. }) => last = outcome,
                Attempt::Answered(outcome) => return outcome,
                Attempt::Unreached(_) => {}
                Attempt::Lost(reason) => last = unknown(reason),
            }
        }
    }
    last
}

fn attempt(socket: &Path, what: &Question, within: Duration) -> Attempt {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) => return Attempt::Unreached(unreachable(socket, &error)),
    };
    let lost = |error: std::io::Error| Attempt::Lost(format!("the plant did not answer: {error}"));
    let asked = say(&mut stream, what).and_then(|()| stream.set_read_timeout(Some(within)));
    if let Err(error) = asked {
        return lost(error);
    }
    let line = match BufReader::new(stream).lines().next() {
        Some(Ok(line)) => line,
        Some(Err(error)) => return lost(error),
        None => return Attempt::Lost("the plant closed the connection".to_owned()),
    };
    match serde_json::from_str(&line) {
        Ok(Say::Outcome { outcome }) => Attempt::Answered(outcome),
        Ok(Say::Refused { text }) => Attempt::Answered(Outcome::Refused { reason: text }),
        Ok(Say::Error { text }) => Attempt::Answered(Outcome::Failed { reason: text }),
        Ok(_) | Err(_) => Attempt::Lost("the plant gave an answer that makes no sense".to_owned()),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
