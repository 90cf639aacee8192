//! The loop around one actor's future.

use std::{any::Any, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use actix::{
    Actor, ArbiterHandle, Context, Supervised,
    dev::{ContextFut, channel},
};
use futures_util::FutureExt;
use plantwin_model::Timestamp;
use tokio::sync::Notify;

use super::{Decision, RestartHistory, RestartPolicy};

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
    /// The actor crashed too often. Its mail is kept until an operator revives it.
    GaveUp {
        /// Text of the last panic.
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
    revive: Arc<Notify>,
}

impl<A: Actor> Clone for Ward<A> {
    fn clone(&self) -> Self {
        Self { addr: self.addr.clone(), revive: Arc::clone(&self.revive) }
    }
}

impl<A: Actor> Ward<A> {
    /// Starts the actor again after it was given up; does nothing while it runs.
    pub fn revive(&self) {
        self.revive.notify_waiters();
    }
}

/// An address whose actor is yet to start: twins that know each other need their addresses first.
pub struct Seat<A: Actor> {
    addr: actix::Addr<A>,
    receiver: channel::AddressReceiver<A>,
    revive: Arc<Notify>,
}

/// Makes an address with a mailbox of `capacity`; what is posted to it waits for the actor.
pub fn seat<A: Actor>(capacity: usize) -> Seat<A> {
    let (sender, receiver) = channel::channel(capacity);
    Seat { addr: actix::Addr::new(sender), receiver, revive: Arc::new(Notify::new()) }
}

impl<A> Seat<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    /// The address.
    pub fn ward(&self) -> Ward<A> {
        Ward { addr: self.addr.clone(), revive: Arc::clone(&self.revive) }
    }

    /// Starts the actor on `arbiter` and keeps it running.
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
        let ward = self.ward();
        let Self { receiver, revive, .. } = self;
        arbiter.spawn_fn(move || {
            let mut context = Context::with_receiver(receiver);
            let actor = make(&mut context);
            // Boxed here: as an argument of `keep` the actor would take its place twice.
            let future = Box::pin(context.into_future(actor));
            actix::spawn(keep(future, policy, watcher, revive));
        });
        ward
    }
}

async fn keep<A, W>(
    mut future: Pin<Box<ContextFut<A, Context<A>>>>,
    policy: RestartPolicy,
    mut watcher: W,
    revive: Arc<Notify>,
) where
    A: Actor<Context = Context<A>> + Supervised,
    W: GuardWatcher,
{
    let mut history = RestartHistory::default();
    loop {
        // Unwind safety: the twin discards the state that the panic may have left half changed
        // and restarts from its last committed one (`restarting`).
        let Err(payload) = AssertUnwindSafe(future.as_mut()).catch_unwind().await else { return };
        let panic = text_of(&*payload);
        let now = watcher.now();
        let jitter = watcher.jitter();
        match history.on_crash(&policy, now, jitter) {
            Decision::RestartAfter(wait) => {
                watcher.on(GuardEvent::Crashed { panic, wait });
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
            }
            Decision::GiveUp => {
                let revived = revive.notified();
                watcher.on(GuardEvent::GaveUp { panic });
                revived.await;
                history.forgive();
            }
        }
        // `restarting` itself must not be able to end the guardian.
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.restart())) {
            Ok(true) => watcher.on(GuardEvent::Restarted),
            Ok(false) => return,
            Err(payload) => {
                watcher.on(GuardEvent::GaveUp { panic: text_of(&*payload) });
                return;
            }
        }
    }
}

/// Longest panic text that is passed on, in characters.
const PANIC_TEXT: usize = 160;

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a text");
    text.chars().take(PANIC_TEXT).collect()
}
