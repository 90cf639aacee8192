//! The server's side of the control socket, on a thread of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, mpsc::RecvTimeoutError},
    thread::JoinHandle,
    time::Duration,
};

use plantwin_model::{CommandSender, Outcome, PlantView, Role};
use plantwin_runtime::RunningPlant;
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, oneshot, watch},
};

use super::{
    status,
    wire::{Ask, Hello, REQUEST_LIMIT, Say, Update},
};
use crate::exit::{Code, Failure};

/// Clients at the same time; more must wait.
const CLIENTS: usize = 64;
/// Time between updates to a console; also the heartbeat.
const UPDATE_EVERY: Duration = Duration::from_millis(250);
/// Time between blank lines on a tap of a twin that does not change.
const BLANK_EVERY: Duration = Duration::from_secs(3);
/// A client that takes nothing for this long is dropped.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait for the outcome of a request.
const OUTCOME_WITHIN: Duration = Duration::from_secs(10);
/// A client that has not said what it wants by then gives its place to another.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// The running server. Dropping it closes the socket.
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What clients may see and do.
struct Desk {
    view: watch::Receiver<Arc<PlantView>>,
    /// By role; the most that a client may claim is the role of the runtime's owner.
    senders: Vec<(Role, Arc<dyn CommandSender>)>,
}

impl Server {
    pub(crate) fn start(socket: &Path, plant: &RunningPlant) -> Result<Self, Failure> {
        let cannot = |e: std::io::Error| {
            Code::Unavailable.failure(format!("cannot open the socket {}: {e}", socket.display()))
        };
        // What a killed runtime left behind; `Place` made sure that nobody listens there.
        let _ = fs::remove_file(socket);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let listener = {
            let _guard = runtime.enter();
            UnixListener::bind(socket).map_err(cannot)?
        };
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(cannot)?;
        let roles = [Role::Viewer, Role::Operator, Role::Engineer];
        let desk = Arc::new(Desk {
            view: plant.view.clone(),
            senders: roles.into_iter().map(|r| (r, plant.commands(r))).collect(),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, desk) => {}
                        _ = stopped => {}
                    }
                });
                // Whoever waits for an outcome asks the next runtime: it must not hold this one up.
                runtime.shutdown_background();
            })
            .map_err(cannot)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: UnixListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    if let Err(error) = client(stream, &desk).await {
                        tracing::debug!("control client: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: let others go on and try again.
                tracing::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn client(stream: UnixStream, desk: &Desk) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(REQUEST_LIMIT as u64));
    tokio::time::timeout(ASK_WITHIN, reader.read_line(&mut line)).await??;
    if line.is_empty() {
        return Ok(());
    }
    let ask = match serde_json::from_str(&line) {
        Ok(ask) => ask,
        Err(error) => return say(&mut write, &Say::Error { text: error.to_string() }).await,
    };
    match ask {
        Ask::Status => {
            let view = Arc::clone(&desk.view.borrow());
            say(&mut write, &status::Status::of(&view)).await
        }
        Ask::Tap { twin } => tap(&mut write, desk, &twin).await,
        Ask::Attach => attach(&mut write, desk).await,
        Ask::Request { role, key, request } => {
            let (_, sender) =
                desk.senders.iter().rev().find(|(r, _)| *r <= role).unwrap_or(&desk.senders[0]);
            let receiver = sender.send_keyed(key, request);
            let waiting =
                tokio::task::spawn_blocking(move || receiver.recv_timeout(OUTCOME_WITHIN));
            let outcome = match waiting.await.map_err(std::io::Error::other)? {
                Ok(outcome) => outcome,
                Err(RecvTimeoutError::Timeout) => Outcome::Unknown {
                    reason: "no outcome came in time; whether the device acted is unknown"
                        .to_owned(),
                },
                // The runtime ends. Closing the connection makes a client with a key ask again.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            say(&mut write, &Say::Outcome { outcome }).await
        }
    }
}

async fn tap(write: &mut OwnedWriteHalf, desk: &Desk, twin: &str) -> std::io::Result<()> {
    let mut view = desk.view.clone();
    let mut last = None;
    let mut said = tokio::time::Instant::now();
    loop {
        let snapshot = Arc::clone(&view.borrow_and_update());
        let Some(found) = snapshot.twins.iter().find(|t| t.id.as_str() == twin) else {
            return say(write, &Say::Error { text: format!("there is no twin {twin}") }).await;
        };
        if last != Some(found.revision) {
            last = Some(found.revision);
            said = tokio::time::Instant::now();
            say(write, &status::TwinStatus::of(&snapshot, found)).await?;
        } else if said.elapsed() >= BLANK_EVERY {
            // It says that the twin is quiet, and not the plant.
            said = tokio::time::Instant::now();
            write.write_all(b"\n").await?;
        }
        if view.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn attach(write: &mut OwnedWriteHalf, desk: &Desk) -> std::io::Result<()> {
    let first = Arc::clone(&desk.view.borrow());
    say(write, &Say::Hello(Box::new(Hello::of(&first)))).await?;
    let mut before: Option<Arc<PlantView>> = None;
    let mut beat = tokio::time::interval(UPDATE_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let view = Arc::clone(&desk.view.borrow());
        let update = Update::between(before.as_deref(), &view);
        say(write, &Say::Update(Box::new(update))).await?;
        before = Some(view);
    }
}

async fn say(write: &mut OwnedWriteHalf, what: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    tokio::time::timeout(WRITE_WITHIN, write.write_all(&line))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}
