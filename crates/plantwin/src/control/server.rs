//! The server's side of the control socket, on a thread of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, mpsc::RecvTimeoutError},
    thread::JoinHandle,
    time::Duration,
};

use plantwin_authority::{
    policy::{Explanation, Principal, Question as Doubt},
    registry::{Actor, AuthorityOp},
    service::AuthorityPort,
};
use plantwin_model::{Action, CommandKey, Outcome, PlantSpec, PlantView, Request, Role};
use plantwin_runtime::{Deed, FrontDesk, NotTaken, RunningPlant};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, oneshot, watch},
};

use super::{
    door::{Door, Owner, Visitor},
    sight::Sight,
    status,
    wire::{Ask, Hello, Question, REQUEST_LIMIT, Say, Update},
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

/// Reads the file of the running plant again, as it was read at the start. The error is what is
/// wrong with it, for people.
pub(crate) type Reread = Arc<dyn Fn() -> Result<PlantSpec, String> + Send + Sync>;

/// What clients may see and do.
struct Desk {
    view: watch::Receiver<Arc<PlantView>>,
    front: FrontDesk,
    authority: Arc<dyn AuthorityPort>,
    door: Door,
    reread: Option<Reread>,
    socket: std::path::PathBuf,
}

impl Server {
    /// Without `reread` the policy cannot be reloaded.
    pub(crate) fn start(
        socket: &Path,
        plant: &RunningPlant,
        reread: Option<Reread>,
    ) -> Result<Self, Failure> {
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
        let front = plant.front_desk();
        let owner = Owner::of_this_process();
        let desk = Arc::new(Desk {
            view: plant.view.clone(),
            authority: plant.authority(),
            door: Door::new(front.clone(), owner),
            front,
            reread,
            socket: socket.to_path_buf(),
        });
        desk.admit().map_err(cannot)?;
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
    // Of the process at the other end, as it was when it connected.
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(REQUEST_LIMIT as u64));
    tokio::time::timeout(ASK_WITHIN, reader.read_line(&mut line)).await??;
    if line.is_empty() {
        return Ok(());
    }
    let question: Result<Question, _> = serde_json::from_str(&line);
    zeroize::Zeroize::zeroize(&mut line);
    let Question { ask, proof } = match question {
        Ok(question) => question,
        Err(error) => return say(&mut write, &Say::Error { text: error.to_string() }).await,
    };
    let who = match desk.door.open(uid, proof).await {
        Ok(who) => who,
        Err(text) => return say(&mut write, &Say::Refused { text }).await,
    };
    match ask {
        Ask::Status => {
            let view = Arc::clone(&desk.view.borrow());
            match Sight::of(&desk.front, &who, &view) {
                Ok(view) => say(&mut write, &status::Status::of(&view)).await,
                Err(text) => say(&mut write, &Say::Refused { text }).await,
            }
        }
        Ask::Tap { twin } => tap(&mut write, desk, &who, &twin).await,
        Ask::Attach => attach(&mut write, desk, &who).await,
        Ask::CanI { who: whom, action, what, value, at } => {
            let at = at.unwrap_or_else(|| desk.front.now());
            let answer = desk.explain(&who, &Doubt { who: whom, action, what, value, at });
            say(&mut write, &answer).await
        }
        Ask::ReloadPolicy => {
            let answer = desk.reload(&who.principal(Role::Security)).await;
            say(&mut write, &answer).await
        }
        Ask::Authority { op } => {
            let answer = desk.authority(&who.principal(Role::Security), *op).await;
            say(&mut write, &answer).await
        }
        Ask::Request { role, key, request } => {
            let who = who.principal(role);
            match desk.request(who, key, request).await? {
                Some(outcome) => say(&mut write, &Say::Outcome { outcome }).await,
                None => Ok(()),
            }
        }
    }
}

impl Desk {
    /// Lets others than the owner reach the socket if some of them are users.
    fn admit(&self) -> std::io::Result<()> {
        let mode = if self.door.is_for_others() { 0o666 } else { 0o600 };
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(mode))
    }

    /// `None` if the runtime ends: closing the connection makes a client with a key ask again.
    async fn request(
        &self,
        who: Principal,
        key: Option<CommandKey>,
        request: Request,
    ) -> std::io::Result<Option<Outcome>> {
        let receiver = self.front.desk(who).send_keyed(key, request);
        let waiting = tokio::task::spawn_blocking(move || receiver.recv_timeout(OUTCOME_WITHIN));
        Ok(match waiting.await.map_err(std::io::Error::other)? {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => Some(Outcome::Unknown {
                reason: "no outcome came in time; whether the device acted is unknown".to_owned(),
            }),
            Err(RecvTimeoutError::Disconnected) => None,
        })
    }

    /// Rules hold the names of users and devices. So the owner and users who may see something of
    /// the plant are told of everybody, with the rule; others of themselves, and yes or no alone.
    fn explain(&self, who: &Visitor, doubt: &Doubt) -> Say {
        let view = Arc::clone(&self.view.borrow());
        let principal = match who {
            Visitor::Owner => None,
            Visitor::Known(known) => {
                let sees =
                    known.user_name().is_some() && Sight::of(&self.front, who, &view).is_ok();
                (!sees).then_some(known)
            }
        };
        let explained = self.front.explain(doubt);
        let Some(principal) = principal else {
            return match explained {
                Ok(explanation) => Say::Explained { explanation },
                Err(text) => Say::Error { text },
            };
        };
        let role = self.front.policy().role_of(principal).word();
        let asked = doubt.who.strip_prefix("user:").unwrap_or(&doubt.who);
        if doubt.who != role && principal.user_name() != Some(asked) {
            let name = principal.user_name().unwrap_or(role);
            let text = format!("you may ask about yourself alone, as {name}");
            return Say::Refused { text };
        }
        // What does not exist gets the same answer as what they may not.
        let (allowed, second_person) =
            explained.map_or((false, false), |e| (e.allowed, e.second_person));
        let answer = match (allowed, second_person) {
            (true, true) => "yes, if a second person asks for the same",
            (true, false) => "yes",
            _ => "no",
        };
        let text = format!("{answer}: {} {} {}", doubt.who, doubt.action, doubt.what);
        Say::Explained { explanation: Explanation { allowed, second_person, rule: None, text } }
    }

    /// What may be asked of the authority is for the policy to say, and for the authority once
    /// more: of people, never of gateways.
    async fn authority(&self, who: &Principal, op: AuthorityOp) -> Say {
        let Some(needs) = op.needs() else {
            return Say::Refused { text: "it is for gateways alone".to_owned() };
        };
        let action = if needs < Role::Security { Action::Configure } else { Action::Admin };
        let (kind, object, _) = op.account();
        let (text, only_looks) = (op.errand(), op.only_looks());
        let deed = Deed { action, least: needs, kind, object, text, only_looks };
        if let Err(text) = self.front.may(who, &deed) {
            return Say::Refused { text };
        }
        let name = who.to_string();
        let name = name.strip_prefix("user:").unwrap_or(&name);
        match self.authority.op(op, Actor::person(name, needs)).await {
            Ok(reply) => Say::Authority { reply: Box::new(reply) },
            Err(error) => Say::AuthorityRefused {
                code: error.reason_code().to_owned(),
                text: error.to_string(),
            },
        }
    }

    async fn reload(&self, who: &Principal) -> Say {
        if let Err(text) = self.front.may_reload(who) {
            return Say::Refused { text };
        }
        let Some(reread) = self.reread.clone() else {
            let text = "this plant has no file that could be read again".to_owned();
            return Say::Error { text };
        };
        // A large file takes its time, and others are served meanwhile.
        let (front, who) = (self.front.clone(), who.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let file = reread()
                .inspect_err(|reason| front.reload_failed(&who, reason))
                .map_err(NotTaken::Unfit)?;
            front.reload(&who, &file)
        });
        let reloaded = match taken.await {
            Ok(Ok(reloaded)) => reloaded,
            Ok(Err(NotTaken::Refused(text))) => return Say::Refused { text },
            Ok(Err(NotTaken::Unfit(text))) => return Say::Error { text },
            Err(error) => return Say::Error { text: error.to_string() },
        };
        if let Err(error) = self.admit() {
            tracing::warn!("control socket: its mode stays as it was: {error}");
        }
        Say::Reloaded { epoch: reloaded.epoch, left: reloaded.left }
    }
}

async fn tap(
    write: &mut OwnedWriteHalf,
    desk: &Desk,
    who: &Visitor,
    twin: &str,
) -> std::io::Result<()> {
    let mut view = desk.view.clone();
    let mut last = None;
    let mut said = tokio::time::Instant::now();
    loop {
        let snapshot = Arc::clone(&view.borrow_and_update());
        let snapshot = match Sight::of(&desk.front, who, &snapshot) {
            Ok(snapshot) => snapshot,
            Err(text) => return say(write, &Say::Refused { text }).await,
        };
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

async fn attach(write: &mut OwnedWriteHalf, desk: &Desk, who: &Visitor) -> std::io::Result<()> {
    let first = Arc::clone(&desk.view.borrow());
    let first = match Sight::of(&desk.front, who, &first) {
        Ok(first) => first,
        Err(text) => return say(write, &Say::Refused { text }).await,
    };
    say(write, &Say::Hello(Box::new(Hello::of(&first)))).await?;
    let mut before: Option<Arc<PlantView>> = None;
    let mut beat = tokio::time::interval(UPDATE_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let view = Arc::clone(&desk.view.borrow());
        // Who may see nothing any more is cut off; who sees other twins than before begins anew.
        let Ok(view) = Sight::of(&desk.front, who, &view) else { return Ok(()) };
        if before.as_ref().is_some_and(|before| !Sight::is_same(before, &view)) {
            return Ok(());
        }
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

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
