//! The actor around a [`TwinCore`]: opens envelopes, carries effects out, survives panics.
//!
//! While a letter is handled its sealed envelope stays in a slot. After a panic the guardian
//! calls [`actix::Supervised::restarting`]: the core goes back to what it was before that
//! letter, and the letter is handled again, first. One that crashes the twin twice is set aside
//! (`aside.rs`).

use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, Supervised, WrapFuture,
};
use plantwin_model::{Outcome, PointIx, Timestamp};
use plantwin_seal::Lane;
use smallvec::SmallVec;

use crate::{
    Effect, Effects, FlowMail, FrameMail, Mail, PostError, TwinCore, TwinEvent, TwinInit, TwinMail,
    WriteError, WrittenMail,
    aside::{Asides, Letter, Slot},
};

/// A letter is tried this often before it is set aside.
const ATTEMPTS: u8 = 2;
/// Letters handled in one go before other twins of the arbiter get a turn.
const TURN: u32 = 64;
/// Wall time after which they get it in any case: what is urgent for another twin, or for a line
/// of this arbiter, must not wait for a row of letters that take long.
const TURN_TIME: Duration = Duration::from_micros(250);

/// A timer that has not fired this long after its time waits by another clock.
const OVERDUE: Duration = Duration::from_secs(1);

/// The twin.
pub struct Twin {
    init: TwinInit,
    core: TwinCore,
    /// What the core goes back to after a panic.
    committed: TwinCore,
    slot: Option<Slot>,
    asides: Asides,
    timer: Option<(SpawnHandle, Timestamp)>,
    turn: u32,
    /// Plant time spent on letters in this turn.
    spent: Duration,
}

impl Twin {
    /// A twin that is about to start.
    pub fn new(mut init: TwinInit) -> Self {
        let kept = std::mem::take(&mut init.set_aside);
        let asides = Asides::new(init.aside_key.clone(), init.plan.device.id.clone(), kept);
        let core = TwinCore::new(&init.plan, init.clock.now());
        let committed = core.clone();
        Self {
            init,
            core,
            committed,
            slot: None,
            asides,
            timer: None,
            turn: 0,
            spent: Duration::ZERO,
        }
    }

    /// Handles the letter in the slot, and what it puts there in its place. A panic leaves it.
    fn handle_slot(&mut self, ctx: &mut Context<Self>) {
        let now = self.init.clock.now();
        while let Some(slot) = &mut self.slot {
            slot.attempts += 1;
            let again = slot.attempts > 1;
            let opened = match &slot.letter {
                Letter::Sealed(sealed) => self.init.sealing.open(sealed, again, now).map(Some),
                Letter::Again { aside, .. } => self.asides.open(aside).map(still_meant),
            };
            let next = match opened {
                Ok(Some(letter)) => self.handle_letter(letter, now),
                Ok(None) => None,
                Err(error) => {
                    tracing::error!(twin = %self.init.plan.device.id, "failed to {error}");
                    None
                }
            };
            match std::mem::replace(&mut self.slot, next).map(|slot| slot.letter) {
                // An envelope that did not open is not in flight, and needs no acknowledgement.
                Some(Letter::Sealed(sealed)) => self.init.sealing.acknowledge(&sealed),
                Some(Letter::Again { aside, key }) => self.released(key, aside.id, now),
                None => {}
            }
            self.committed.clone_from(&self.core);
        }
        self.arm(now, ctx);
    }

    /// Handles an open letter; returns one that was set aside if it is to be handled again.
    fn handle_letter(&mut self, letter: TwinMail, now: Timestamp) -> Option<Slot> {
        if let Some(drill) = &self.init.drill {
            drill.before(self.init.plan.device.ix, &letter);
        }
        match letter {
            TwinMail::Retry { key, letter } => match self.asides.take_for_retry(letter) {
                Ok(aside) => return Some(Slot::new(Letter::Again { aside, key })),
                Err(reason) => self.refuse(key, reason, now),
            },
            TwinMail::Drop { key, letter } if self.asides.forget(letter) => {
                self.released(key, letter, now);
            }
            TwinMail::Drop { key, .. } => self.refuse(key, "no such letter", now),
            letter => {
                let mut effects = Effects::new();
                self.core.apply(&self.init.plan, letter, now, &mut effects);
                self.carry_out(effects, now);
            }
        }
        None
    }

    fn refuse(&mut self, key: u64, reason: &str, now: Timestamp) {
        let outcome = Outcome::Refused { reason: reason.to_owned() };
        self.tell(TwinEvent::Outcome { key, outcome }, now);
    }

    /// A letter that was set aside is there no more, as `key` asked.
    fn released(&mut self, key: u64, id: u64, now: Timestamp) {
        self.tell(TwinEvent::Released { id }, now);
        self.tell(TwinEvent::Outcome { key, outcome: Outcome::Done }, now);
    }

    /// After a panic: puts the letter away that crashed the twin too often, says so, and goes on.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        let now = self.init.clock.now();
        let mut effects = Effects::new();
        let poison = self.slot.as_ref().filter(|slot| slot.attempts >= ATTEMPTS);
        let put = poison.map(|slot| self.asides.put(slot, &self.init.sealing, now));
        self.core.on_restarted(&self.init.plan, put.as_ref().map(|p| &*p.text), now, &mut effects);
        if let Some(put) = put {
            let slot = self.slot.take();
            effects.extend(put.dropped.map(|id| Effect::Tell(TwinEvent::Released { id })));
            effects.push(Effect::Tell(TwinEvent::SetAside(put.aside)));
            if let Some(letter) = &put.letter {
                let sent = slot.as_ref().is_some_and(|s| s.sent);
                self.core.on_set_aside(&self.init.plan, letter, sent, now, &mut effects);
            }
            match slot.map(|slot| slot.letter) {
                // Set aside for good: its place among the open ones is free again.
                Some(Letter::Sealed(sealed)) => self.init.sealing.acknowledge(&sealed),
                Some(Letter::Again { key, .. }) => {
                    let reason = "it crashed the twin twice again".to_owned();
                    let outcome = Outcome::Failed { reason };
                    effects.push(Effect::Tell(TwinEvent::Outcome { key, outcome }));
                }
                None => {}
            }
        }
        self.carry_out(effects, now);
        self.committed.clone_from(&self.core);
        self.handle_slot(ctx);
    }

    fn carry_out(&mut self, effects: Effects, now: Timestamp) {
        for effect in effects {
            match effect {
                Effect::Tell(event) => self.tell(event, now),
                Effect::Feed => self.feed(now),
                Effect::Confine { safe } => self.confine(Some(safe.to_vec())),
                Effect::Unconfine => self.confine(None),
                Effect::LetGo { receipts } => {
                    if let Some(line) = &self.init.line {
                        line.let_go(&receipts);
                    }
                }
                Effect::TellTaken(taken) => {
                    if let Some(line) = &self.init.line {
                        line.tell_taken(taken);
                    }
                }
                Effect::Write { key, writes } => self.write(key, &writes, now),
            }
        }
    }

    /// Hands a write to the line, once for each letter, however often that is handled.
    fn write(&mut self, key: u64, writes: &SmallVec<[(PointIx, f64); 2]>, now: Timestamp) {
        if let Some(slot) = &mut self.slot {
            if slot.written {
                return;
            }
            slot.sent = true;
        }
        let taken = self.init.line.as_ref().is_some_and(|l| l.write(key, writes.to_vec()));
        if let Some(slot) = &mut self.slot {
            (slot.sent, slot.written) = (taken, taken);
        }
        if taken {
            return;
        }
        let mut effects = Effects::new();
        let result = Err(WriteError::NotSent("the line is busy".to_owned()));
        let letter = TwinMail::Written(WrittenMail { key, result });
        self.core.apply(&self.init.plan, letter, now, &mut effects);
        self.carry_out(effects, now);
    }

    fn confine(&self, safe: Option<Vec<(PointIx, f64)>>) {
        if let Some(line) = &self.init.line {
            line.confine(safe);
        }
    }

    fn tell(&mut self, mut event: TwinEvent, now: Timestamp) {
        let lane = self.core.lane_of(&event);
        if let TwinEvent::Observed(observed) = &mut event {
            observed.mailbox = self.init.inbox.view();
        }
        // Asked before it is sealed: a sequence number that is not posted is lost to the session.
        if self.core.is_untold(lane) || !self.init.station.has_room(lane) {
            return self.not_told(event, now);
        }
        match self.init.sealing.station.seal(&event, lane, None, now) {
            Ok(sealed) => match self.init.station.post(Mail(sealed)) {
                Ok(()) => {}
                Err(PostError::Full(_)) => self.not_told(event, now),
                Err(PostError::Gone) => {
                    tracing::debug!(twin = %self.init.plan.device.id, "nobody hears any more");
                }
            },
            Err(error) => {
                tracing::error!(twin = %self.init.plan.device.id, "failed to {error}");
            }
        }
    }

    fn not_told(&mut self, event: TwinEvent, now: Timestamp) {
        if matches!(event, TwinEvent::Observed(_)) {
            self.init.station.note_coalesced(Lane::Latest, 1);
        }
        let shed = self.core.not_told(event, now);
        if shed > 0 {
            self.init.inbox.note_shed(Lane::Durable, shed);
        }
    }

    fn feed(&mut self, now: Timestamp) {
        for (i, outlet) in self.init.outlets.iter_mut().enumerate() {
            let Some(value) = self.core.outflow(&self.init.plan, i) else { continue };
            if outlet.gate.as_ref().is_some_and(|gate| !gate(now)) {
                // What policy or conduit does not let through now is counted, and the next value may go.
                outlet.mailbox.note_coalesced(Lane::Latest, 1);
                continue;
            }
            if !outlet.mailbox.has_room(Lane::Latest) {
                // A neighbour that is behind gets the next value instead: lane T0.
                outlet.mailbox.note_coalesced(Lane::Latest, 1);
                continue;
            }
            let letter = TwinMail::Flow(FlowMail { flow: outlet.flow, value });
            if let Ok(sealed) = outlet.sealer.seal(&letter, Lane::Latest, None, now) {
                // Another sender took the last place: as above.
                if let Err(PostError::Full(_)) = outlet.mailbox.post(Mail(sealed)) {
                    outlet.mailbox.note_coalesced(Lane::Latest, 1);
                }
            }
        }
    }

    /// Makes sure that the core is called when its next deadline comes.
    fn arm(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let Some(deadline) = self.core.next_deadline(&self.init.plan) else { return };
        if let Some((handle, armed)) = self.timer {
            // One that is long overdue was armed before the clock jumped, and still waits.
            if armed <= deadline && now < armed.plus(OVERDUE) {
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

/// What of a letter that lay aside still means something: its receipt was confirmed when it was
/// put on disk, the session that an answer belongs to is over, and a link that broke then says
/// nothing about the link now.
fn still_meant(letter: TwinMail) -> Option<TwinMail> {
    match letter {
        TwinMail::Session(_) | TwinMail::LinkDown(_) | TwinMail::LinkUp(_) | TwinMail::Alive => {
            None
        }
        TwinMail::Frame(frame) => Some(TwinMail::Frame(FrameMail { receipt: None, ..frame })),
        other => Some(other),
    }
}

impl Actor for Twin {
    type Context = Context<Self>;

    /// Runs at the first start and after every restart.
    fn started(&mut self, ctx: &mut Context<Self>) {
        let now = self.init.clock.now();
        let mut effects = Effects::new();
        let vital = self.init.restored.take();
        let alarms = std::mem::take(&mut self.init.restored_alarms);
        let recorded = self.init.recorded.take();
        if vital.is_some() || recorded.is_some() || !alarms.is_empty() {
            if let Some(vital) = vital {
                self.core.restore(&self.init.plan, vital, now, &mut effects);
            }
            if let Some(recorded) = recorded {
                self.core.restore_recorded(&self.init.plan, recorded, now);
            }
            self.core.adopt(&self.init.plan, &alarms, now, &mut effects);
            self.carry_out(effects, now);
            self.committed.clone_from(&self.core);
        }
        ctx.add_message_stream(self.init.inbox.letters());
        self.arm(now, ctx);
    }
}

impl Supervised for Twin {
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        self.core.clone_from(&self.committed);
        self.timer = None;
        // `wait` keeps the mailbox closed until the interrupted letter was handled again.
        ctx.wait(async {}.into_actor(self).map(|(), twin, ctx| twin.recover(ctx)));
    }
}

impl Handler<Mail<TwinMail>> for Twin {
    type Result = ();

    fn handle(&mut self, mail: Mail<TwinMail>, ctx: &mut Context<Self>) {
        self.slot = Some(Slot::new(Letter::Sealed(mail.0)));
        let begin = self.init.clock.now();
        self.handle_slot(ctx);
        self.turn += 1;
        self.spent += self.init.clock.now().since(begin);
        if self.turn >= TURN || self.spent >= TURN_TIME.mul_f64(self.init.clock.speed()) {
            (self.turn, self.spent) = (0, Duration::ZERO);
            ctx.wait(tokio::task::yield_now().into_actor(self));
        }
    }
}
