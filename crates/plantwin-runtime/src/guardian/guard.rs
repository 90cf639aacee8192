//! The loop around one actor's future.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ArbiterHandle, Context, Supervised,
    dev::{ContextFut, channel},
};
use futures_util::FutureExt;
use plantwin_model::Timestamp;

use super::{
    Child, RestartPolicy, Supervisor,
    bell::{Bell, Request},
    supervisor::Judgement,
};

/// What the guardian tells of its ward.
#[derive(Clone, PartialEq, Debug)]
pub enum GuardEvent {
    /// The actor panicked with this message; it comes back after the wait.
    Crashed {
        /// Text of the panic.
        panic: String,
        /// Wait before the restart.
        wait: Duration,
    },
    /// The actor runs again.
    Restarted,
    /// The actor crashed too often, or its zone was given up. Its mail is kept until an operator
    /// revives it.
    GaveUp {
        /// Text of the last panic, after `its zone was given up: ` in the second case.
        panic: String,
    },
}

/// Hears of restarts and lends the guardian time and chance.
pub trait GuardWatcher {
    /// Plant time.
    fn now(&self) -> Timestamp;
    /// A number in 0..1 to spread restarts.
    fn jitter(&mut self) -> f64;
    /// Something happened.
    fn on(&mut self, event: GuardEvent);
}

/// A guarded actor.
#[derive(Debug)]
pub struct Ward<A: Actor> {
    /// Its address, valid across restarts.
    pub addr: actix::Addr<A>,
    bell: Arc<Bell>,
}

impl<A: Actor> Clone for Ward<A> {
    fn clone(&self) -> Self {
        Self { addr: self.addr.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<A: Actor> Ward<A> {
    /// Starts the actor again after it was given up, alone or with its zone, and forgets its
    /// crashes; ends the wait before a restart; does nothing while it runs.
    pub fn revive(&self) {
        self.bell.ring(Request::Revive);
    }
}

/// An address whose actor is yet to start: twins that know each other need their addresses first.
pub struct Seat<A: Actor> {
    addr: actix::Addr<A>,
    receiver: channel::AddressReceiver<A>,
    bell: Arc<Bell>,
}

/// Makes an address with a mailbox of `capacity`; what is posted to it waits for the actor.
pub fn seat<A: Actor>(capacity: usize) -> Seat<A> {
    let (sender, receiver) = channel::channel(capacity);
    Seat { addr: actix::Addr::new(sender), receiver, bell: Arc::new(Bell::default()) }
}

impl<A> Seat<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    /// The address.
    pub fn ward(&self) -> Ward<A> {
        Ward { addr: self.addr.clone(), bell: Arc::clone(&self.bell) }
    }

    /// Starts the actor on `arbiter` and keeps it running, with nobody above or beside it.
    ///
    /// The actor ends, and the guardian with it, when every address is dropped.
    pub fn guard<F, W>(
        self,
        arbiter: &ArbiterHandle,
        policy: RestartPolicy,
        watcher: W,
        make: F,
    ) -> Ward<A>
    where
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
        W: GuardWatcher + Send + 'static,
    {
        self.guard_in(arbiter, Supervisor::alone(policy).child(0), watcher, make)
    }

    /// Starts the actor on `arbiter` and keeps it running at its place in the tree.
    ///
    /// The actor ends, and its loop with it, when every address is dropped.
    pub fn guard_in<F, W>(
        self,
        arbiter: &ArbiterHandle,
        child: Child,
        watcher: W,
        make: F,
    ) -> Ward<A>
    where
        F: FnOnce(&mut Context<A>) -> A + Send + 'static,
        W: GuardWatcher + Send + 'static,
    {
        let ward = self.ward();
        let Self { receiver, bell, .. } = self;
        child.seat(&bell);
        arbiter.spawn_fn(move || {
            let mut context = Context::with_receiver(receiver);
            let actor = make(&mut context);
            // Boxed here: as an argument of `keep` the actor would take its place twice.
            let future = Box::pin(context.into_future(actor));
            actix::spawn(keep(future, child, watcher, bell));
        });
        ward
    }
}

/// Where the loop around an actor stands.
enum Next {
    /// Let it run.
    Run,
    /// It panicked, with this text.
    Crashed(String),
    /// It is given up, for this reason.
    Park(String),
    /// Restart it.
    Restart,
}

async fn keep<A, W>(
    mut future: Pin<Box<ContextFut<A, Context<A>>>>,
    child: Child,
    mut watcher: W,
    bell: Arc<Bell>,
) where
    A: Actor<Context = Context<A>> + Supervised,
    W: GuardWatcher,
{
    let mut next = Next::Run;
    loop {
        next = match next {
            // Unwind safety: the twin discards the state that the panic may have left half
            // changed and restarts from its last committed one (`restarting`).
            Next::Run => tokio::select! {
                biased;
                ended = AssertUnwindSafe(future.as_mut()).catch_unwind() => match ended {
                    Ok(()) => return,
                    Err(payload) => Next::Crashed(text_of(&*payload)),
                },
                request = bell.heard() => match request {
                    Request::Revive => Next::Run,
                    Request::Restart => Next::Restart,
                    Request::GiveUp(reason) => Next::Park(reason.to_string()),
                },
            },
            Next::Crashed(panic) => {
                let (now, jitter) = (watcher.now(), watcher.jitter());
                match child.crashed(panic.clone(), now, jitter) {
                    Judgement::Restart { wait, others } => {
                        watcher.on(GuardEvent::Crashed { panic, wait });
                        // Siblings run on meanwhile: they go down when this one comes up.
                        let parked = back_off(wait, &bell).await;
                        if parked.is_none() {
                            for other in others {
                                other.ring(Request::Restart);
                            }
                        }
                        parked.map_or(Next::Restart, Next::Park)
                    }
                    Judgement::GiveUp(reason) => Next::Park(reason),
                }
            }
            Next::Park(reason) => {
                watcher.on(GuardEvent::GaveUp { panic: reason });
                loop {
                    match bell.heard().await {
                        Request::Revive => {
                            child.forgiven();
                            break;
                        }
                        Request::Restart => break,
                        Request::GiveUp(_) => {}
                    }
                }
                Next::Restart
            }
            Next::Restart => match bell.take() {
                Some(Request::GiveUp(reason)) => Next::Park(reason.to_string()),
                // Whoever else asked for a restart gets this one.
                // `restarting` itself must not be able to end the guardian: it may panic.
                _ => match catch_unwind(AssertUnwindSafe(|| future.restart())) {
                    Ok(true) => {
                        watcher.on(GuardEvent::Restarted);
                        Next::Run
                    }
                    Ok(false) => return,
                    Err(payload) => Next::Crashed(text_of(&*payload)),
                },
            },
        };
    }
}

/// Waits before a restart; the reason to give up instead, if its zone was given up meanwhile. An
/// operator need not wait.
async fn back_off(wait: Duration, bell: &Bell) -> Option<String> {
    if wait.is_zero() {
        return None;
    }
    let sleep = tokio::time::sleep(wait);
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            biased;
            request = bell.heard() => match request {
                Request::Revive => return None,
                Request::Restart => {}
                Request::GiveUp(reason) => return Some(reason.to_string()),
            },
            () = &mut sleep => return None,
        }
    }
}

/// Longest panic text that is passed on, in characters.
const PANIC_TEXT: usize = 160;

/// The text of a panic, shortened.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a text");
    text.chars().take(PANIC_TEXT).collect()
}
