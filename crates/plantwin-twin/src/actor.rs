//! The actor around a [`TwinCore`]: opens envelopes, carries effects out, survives panics.
//!
//! While a letter is handled its sealed envelope stays in a slot. After a panic the guardian
//! calls [`actix::Supervised::restarting`]: the core goes back to what it was before that
//! letter, and the letter is handled again, first. One that crashes the twin twice is set aside,
//! still sealed.

use std::{cell::RefCell, sync::Arc, time::Duration};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised,
    WrapFuture,
};
use plantwin_model::{Clock, PointIx, Timestamp};
use plantwin_seal::{Lane, Opener, Sealed, Sealer};
use smallvec::SmallVec;

use crate::{
    Effect, Effects, FlowMail, FlowOutlet, Gauge, Mail, TwinCore, TwinEvent, TwinMail, TwinPlan,
    Vital,
};

/// A letter is tried this often before it is set aside.
const ATTEMPTS: u8 = 2;
/// Letters set aside that are kept; an older one makes room, counted.
const SET_ASIDE: usize = 8;
/// Letters handled in one go before other twins of the arbiter get a turn.
const TURN: u32 = 64;

thread_local! {
    /// Where letters are opened: one buffer for all twins of a thread. A panic while a letter is
    /// open costs the buffer, nothing else.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The way from the twin to its device, held by the twin's line.
pub trait LinePort: Send {
    /// Sends session bytes; `false` if the line is too busy or gone.
    fn exchange(&self, bytes: Vec<u8>) -> bool;
    /// Writes points; `false` if the line is too busy or gone.
    fn write(&self, key: u64, writes: Vec<(PointIx, f64)>) -> bool;
}

/// Keys of the twin's correspondence.
pub struct Sealing {
    /// Opens what the line and the neighbours post, by session id of the header.
    pub openers: Vec<Opener>,
    /// Seals for the station.
    pub station: Sealer,
}

/// What a twin is built from.
pub struct TwinInit {
    /// What it knows from the plant file.
    pub plan: Arc<TwinPlan>,
    /// Keys.
    pub sealing: Sealing,
    /// The station's mailbox.
    pub station: Recipient<Mail<TwinEvent>>,
    /// Neighbours that this twin feeds, in the order of the plan's outflows.
    pub outlets: Vec<FlowOutlet>,
    /// The line, if the twin has one (a twin fed in process has none).
    pub line: Option<Box<dyn LinePort>>,
    /// Counts of the twin's own mailbox.
    pub gauge: Arc<Gauge>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// What survived from the last run.
    pub restored: Option<Vital>,
}

/// The twin.
pub struct Twin {
    init: TwinInit,
    core: TwinCore,
    /// What the core goes back to after a panic.
    committed: TwinCore,
    slot: Option<(Sealed<TwinMail>, u8)>,
    set_aside: Vec<Sealed<TwinMail>>,
    timer: Option<(SpawnHandle, Timestamp)>,
    turn: u32,
}

impl Twin {
    /// A twin that is about to start.
    pub fn new(init: TwinInit) -> Self {
        let core = TwinCore::new(&init.plan, init.clock.now());
        let committed = core.clone();
        Self { init, core, committed, slot: None, set_aside: Vec::new(), timer: None, turn: 0 }
    }

    /// Handles the letter in the slot. A panic leaves it there.
    fn handle_slot(&mut self, ctx: &mut Context<Self>) {
        let now = self.init.clock.now();
        let Some((sealed, attempts)) = &mut self.slot else { return };
        *attempts += 1;
        let session = sealed.header().session;
        let mut scratch = SCRATCH.take();
        let opener = self.init.sealing.openers.iter_mut().find(|o| o.session() == session);
        let opened = match opener {
            Some(opener) if *attempts > 1 => opener.reopen(sealed, &mut scratch, now),
            Some(opener) => opener.open_ref(sealed, &mut scratch, now),
            None => {
                tracing::error!(twin = %self.init.plan.device.id, "letter of an unknown session");
                self.slot = None;
                return;
            }
        };
        let sequence = sealed.header().sequence;
        SCRATCH.set(scratch);
        match opened {
            Ok(letter) => {
                let mut effects = Effects::new();
                self.core.apply(&self.init.plan, letter, now, &mut effects);
                self.carry_out(effects, now);
            }
            Err(error) => {
                tracing::error!(twin = %self.init.plan.device.id, "failed to {error}");
            }
        }
        if let Some(opener) = self.init.sealing.openers.iter_mut().find(|o| o.session() == session)
        {
            // An envelope that did not open is not in flight, and needs no acknowledgement.
            let _ = opener.acknowledge(sequence);
        }
        self.slot = None;
        self.committed.clone_from(&self.core);
        self.arm(now, ctx);
    }

    fn carry_out(&mut self, effects: Effects, now: Timestamp) {
        for effect in effects {
            match effect {
                Effect::Tell(event) => self.tell(event, now),
                Effect::Feed => self.feed(now),
                Effect::Exchange(bytes) => {
                    if !self.init.line.as_ref().is_some_and(|l| l.exchange(bytes)) {
                        tracing::warn!(twin = %self.init.plan.device.id, "line busy, no exchange");
                    }
                }
                Effect::Write { key, writes } => self.write(key, &writes, now),
            }
        }
    }

    fn write(&mut self, key: u64, writes: &SmallVec<[(PointIx, f64); 2]>, now: Timestamp) {
        if self.init.line.as_ref().is_some_and(|l| l.write(key, writes.to_vec())) {
            return;
        }
        let mut effects = Effects::new();
        let result = Err("the line is busy".to_owned());
        let letter = TwinMail::Written(crate::WrittenMail { key, result });
        self.core.apply(&self.init.plan, letter, now, &mut effects);
        self.carry_out(effects, now);
    }

    fn tell(&mut self, mut event: TwinEvent, now: Timestamp) {
        let lane = match &mut event {
            TwinEvent::Observed(observed) => {
                observed.mailbox = self.init.gauge.read();
                Lane::Latest
            }
            TwinEvent::Alarms(_) => Lane::Alarm,
            TwinEvent::Outcome { .. } => Lane::Command,
            TwinEvent::Save(_) => Lane::Durable,
        };
        match self.init.sealing.station.seal(&event, lane, None, now) {
            Ok(sealed) => {
                if self.init.station.try_send(Mail(sealed)).is_err() {
                    self.core.not_told(event, now);
                }
            }
            Err(error) => {
                tracing::error!(twin = %self.init.plan.device.id, "failed to {error}");
            }
        }
    }

    fn feed(&mut self, now: Timestamp) {
        for (i, outlet) in self.init.outlets.iter_mut().enumerate() {
            let Some(value) = self.core.outflow(&self.init.plan, i) else { continue };
            let letter = TwinMail::Flow(FlowMail { flow: outlet.flow, value });
            if let Ok(sealed) = outlet.sealer.seal(&letter, Lane::Latest, None, now) {
                // A neighbour that is behind gets the next value instead: lane T0.
                let _ = outlet.mailbox.post(Mail(sealed), false);
            }
        }
    }

    /// Makes sure that the core is called when its next deadline comes.
    fn arm(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let Some(deadline) = self.core.next_deadline(&self.init.plan) else { return };
        if let Some((handle, armed)) = self.timer {
            if armed <= deadline {
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = deadline.since(now).div_f64(self.init.clock.speed().max(1e-6));
        let handle = ctx.run_later(wait.max(Duration::from_millis(1)), |twin, ctx| {
            twin.timer = None;
            let now = twin.init.clock.now();
            let mut effects = Effects::new();
            twin.core.on_time(&twin.init.plan, now, &mut effects);
            twin.carry_out(effects, now);
            twin.committed.clone_from(&twin.core);
            twin.arm(now, ctx);
        });
        self.timer = Some((handle, deadline));
    }
}

impl Actor for Twin {
    type Context = Context<Self>;

    /// Runs at the first start and after every restart.
    fn started(&mut self, ctx: &mut Context<Self>) {
        let now = self.init.clock.now();
        let mut effects = Effects::new();
        if let Some(vital) = self.init.restored.take() {
            self.core.restore(&self.init.plan, vital, now, &mut effects);
            self.carry_out(effects, now);
            self.committed.clone_from(&self.core);
        }
        self.arm(now, ctx);
    }
}

impl Supervised for Twin {
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        self.core.clone_from(&self.committed);
        self.timer = None;
        let poison = self.slot.take_if(|(_, attempts)| *attempts >= ATTEMPTS);
        let set_aside = poison.is_some();
        if let Some((sealed, _)) = poison {
            let header = sealed.header();
            if let Some(opener) =
                self.init.sealing.openers.iter_mut().find(|o| o.session() == header.session)
            {
                // Set aside for good: its place among the open ones is free again.
                let _ = opener.acknowledge(header.sequence);
            }
            if self.set_aside.len() == SET_ASIDE {
                self.set_aside.remove(0);
            }
            self.set_aside.push(sealed);
        }
        // `wait` keeps the mailbox closed until the interrupted letter was handled again.
        ctx.wait(async {}.into_actor(self).map(move |(), twin, ctx| {
            let now = twin.init.clock.now();
            let mut effects = Effects::new();
            twin.core.on_restarted(&twin.init.plan, set_aside, now, &mut effects);
            twin.carry_out(effects, now);
            twin.committed.clone_from(&twin.core);
            twin.handle_slot(ctx);
        }));
    }
}

impl Handler<Mail<TwinMail>> for Twin {
    type Result = ();

    fn handle(&mut self, mail: Mail<TwinMail>, ctx: &mut Context<Self>) {
        self.init.gauge.taken();
        self.slot = Some((mail.0, 0));
        self.handle_slot(ctx);
        self.turn += 1;
        if self.turn >= TURN {
            self.turn = 0;
            ctx.wait(tokio::task::yield_now().into_actor(self));
        }
    }
}
