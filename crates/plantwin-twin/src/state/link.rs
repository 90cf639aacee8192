//! Paths coming and going, and the session that follows them.

use plantwin_model::{Flaw, Quality, Timestamp, TwinState};
use plantwin_watch::{Changes, Condition};

use super::{Effect, Effects, Reason, TwinCore};
use crate::{LinkUpMail, SessionMail, TwinPlan};

impl TwinCore {
    pub(super) fn on_link_up(
        &mut self,
        plan: &TwinPlan,
        mail: LinkUpMail,
        now: Timestamp,
        out: &mut Effects,
    ) {
        self.datagrams = mail.datagrams;
        self.patience = mail.patience;
        self.up_at = now;
        // The device may hang, and not the path: until it speaks or its line gives it up it is as
        // it was.
        let silent = self.reason == Reason::Silent;
        self.path = Some((mail.rank, mail.endpoint, mail.switches));
        // A loss of communication ends with a word of the device itself, not with a connection:
        // behind a broker the device may still be dead.
        let must_prove = self.session.begin(plan);
        if !must_prove && silent {
            self.judge_state(plan, now);
        } else if !must_prove {
            self.enter(TwinState::Bound, Reason::AwaitingValues, now);
        } else if self.phase != TwinState::Shadowed {
            // A twin that already shadows its device goes on doing so over the new path.
            self.enter(TwinState::Enrolled, Reason::AwaitingSession, now);
        }
        if must_prove {
            // Nobody proved whose they are, and over the new connection nobody can any more.
            self.release_held(plan, out);
        } else {
            self.take_held(plan, now, out);
        }
        self.dirty = true;
        self.observe_now(plan, now, out);
    }

    pub(super) fn on_link_down(
        &mut self,
        plan: &TwinPlan,
        reason: &str,
        now: Timestamp,
        out: &mut Effects,
    ) {
        let mut changes = Changes::new();
        let text = format!("no connection: {reason}");
        self.alarms.raise(Condition::CommLoss, &text, now, &mut changes);
        self.doubt_safety(plan, now, &mut changes);
        self.on_alarms(plan, &changes, now, out);
        self.path = None;
        self.session.end();
        self.release_held(plan, out);
        for point in &mut self.points {
            if point.value.is_some() {
                point.quality = Quality::Bad(Flaw::CommLost);
            }
        }
        for write in std::mem::take(&mut self.waiting) {
            let reason = "the connection to the device broke before it answered";
            Self::unknown(write.key, reason, out);
        }
        self.enter(TwinState::Down, Reason::Text(reason.to_owned()), now);
        self.observe_now(plan, now, out);
    }

    pub(super) fn on_session(
        &mut self,
        plan: &TwinPlan,
        news: SessionMail,
        now: Timestamp,
        out: &mut Effects,
    ) {
        let mut changes = Changes::new();
        match self.session.on_news(news, now) {
            Ok(()) => {
                self.alarms.clear(Condition::Session, "", now, &mut changes);
                self.alarms.clear(Condition::CommLoss, "", now, &mut changes);
                if self.phase != TwinState::Shadowed {
                    self.enter(TwinState::Bound, Reason::AwaitingValues, now);
                }
                self.on_alarms(plan, &changes, now, out);
                // Before any frame of this session: what comes first must not hide what is missing.
                if plan.native() && plan.durable() {
                    out.push(Effect::TellTaken(self.session.taken()));
                }
                self.take_held(plan, now, out);
            }
            Err(reason) => {
                let text = format!("session refused: {reason}");
                self.alarms.raise(Condition::Session, &text, now, &mut changes);
                self.on_alarms(plan, &changes, now, out);
                // Frames wait on while there is hope: the device would send those it keeps again
                // only over a new connection, and then too late for their order.
                if !self.session.asks_again() {
                    self.release_held(plan, out);
                }
                if !self.session.is_open(now) {
                    for point in &mut self.points {
                        point.quality = Quality::Bad(Flaw::Unauthenticated);
                    }
                    self.enter(TwinState::Enrolled, Reason::Text(text), now);
                }
            }
        }
        self.observe_now(plan, now, out);
    }
}
