//! The life of each command, pure: input to outputs.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use plantwin_model::{CommandKey, DeviceIx, Outcome, PointIx, Timestamp};

use super::{CommandStep, Intent};

/// Commands that may be without an outcome at the same time.
pub(crate) const OPEN_LIMIT: usize = 4096;
/// Outcomes that are remembered for whoever asks again under the same key; older ones go first.
pub(crate) const REMEMBERED: usize = 100_000;
/// A command that was sent and not answered within this wall time is read back.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long a device that is heard again may take to show what was written.
pub(crate) const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// The same of one that tells changes only, and so shows nothing anew of what did not change.
pub(crate) const SILENT_WITHIN: Duration = Duration::from_mins(2);
/// Numbers of commands towards twins and lines have this bit, other requests have not.
pub(crate) const TICKET_BIT: u64 = 1 << 63;
/// Said to the line of a command that came to it too late.
const EXPIRED: &str = "not sent: the command expired";

/// A command that is asked for; `R` is who hears of its outcome.
#[derive(Debug)]
pub(crate) struct Ask<R> {
    pub(crate) intent: Intent,
    /// Who asks, as the audit trail names them.
    pub(crate) actor: String,
    pub(crate) device: DeviceIx,
    pub(crate) writes: Vec<(PointIx, f64)>,
    /// By how much the device may show each point differently from what was written.
    pub(crate) tolerances: Vec<f64>,
    pub(crate) reply: R,
}

/// What a command of an earlier run may have written.
pub(crate) struct Written<'w> {
    pub(crate) device: DeviceIx,
    pub(crate) writes: &'w [(PointIx, f64)],
    /// Until when its bytes may have been on their way.
    pub(crate) until: Timestamp,
}

/// A point as its device shows it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct PointSeen {
    pub(crate) point: PointIx,
    pub(crate) value: f64,
    /// When plantwin received it.
    pub(crate) received: Timestamp,
}

/// Device, points and tolerances of a command in the plant as it is now.
pub(crate) type Target = (DeviceIx, Vec<(PointIx, f64)>, Vec<f64>);

/// What the shell must do, in this order.
#[derive(Debug)]
pub(crate) enum Output<R> {
    /// Write this to the journal; call [`Commands::kept`] when it is safe, or is known to have
    /// failed.
    Append(CommandStep),
    /// Post to the twin.
    Post { device: DeviceIx, ticket: u64, writes: Vec<(PointIx, f64)>, expires: Timestamp },
    /// Answer the line that asked whether it may send.
    MaySend { ticket: u64, allowed: Result<(), String> },
    /// Tell whoever asked.
    Reply(R, Outcome),
}

/// Which step was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StepKind {
    Intent,
    Sent,
    Outcome,
}

#[derive(Clone, PartialEq, Debug)]
enum Stage {
    /// The intent is on its way to the disk.
    Intending,
    /// Accepted; the twin has it, or will.
    Posted,
    /// The line wants to send; the step is on its way to the disk.
    Sending,
    /// Bytes may have left at this time.
    Sent(Timestamp),
    /// Nothing tells whether the device acted; it is watched since it was heard again.
    Watched { sent: Timestamp, heard: Option<Timestamp> },
    /// The outcome is on its way to the disk.
    Concluding(Outcome),
    /// Over.
    Final(Outcome),
}

#[derive(Debug)]
struct Command<R> {
    ticket: u64,
    intent: Intent,
    device: DeviceIx,
    writes: Vec<(PointIx, f64)>,
    tolerances: Vec<f64>,
    stage: Stage,
    /// Times a line asked to send again what was sent; each is answered once with a failure that
    /// means nothing.
    again: u32,
    replies: Vec<R>,
}

/// A command, and until when its bytes may have been on their way.
type Touch = Option<(u64, Timestamp)>;

/// All commands that are open or remembered.
#[derive(Debug)]
pub(crate) struct Commands<R> {
    by_key: HashMap<CommandKey, Command<R>>,
    /// Open ones in the order of their acceptance.
    open: BTreeMap<u64, CommandKey>,
    /// Finished ones, oldest first.
    finished: std::collections::VecDeque<CommandKey>,
    /// Open ones being watched, by device.
    watched: BTreeMap<DeviceIx, Vec<u64>>,
    /// The newest command that may have written each point.
    written: BTreeMap<(DeviceIx, PointIx), u64>,
    /// Until when the bytes of the last two commands may have been on their way to each point.
    touched: BTreeMap<(DeviceIx, PointIx), [Touch; 2]>,
    next: u64,
    /// Plant time in a second of wall time, at least 1: networks do not run faster.
    pace: f64,
}

impl<R> Commands<R> {
    pub(crate) fn new(pace: f64) -> Self {
        Self {
            by_key: HashMap::new(),
            open: BTreeMap::new(),
            finished: std::collections::VecDeque::new(),
            watched: BTreeMap::new(),
            written: BTreeMap::new(),
            touched: BTreeMap::new(),
            next: 1,
            pace: pace.max(1.0),
        }
    }

    /// Commands without an outcome, and how many of them are watched.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.open.len(), self.watched.values().map(Vec::len).sum())
    }

    /// Whether this very command is open or remembered.
    pub(crate) fn knows(
        &self,
        key: CommandKey,
        device: &plantwin_model::DeviceId,
        writes: &[(String, f64)],
    ) -> bool {
        let known = self.by_key.get(&key).map(|command| &command.intent);
        known.is_some_and(|intent| intent.device == *device && intent.writes == writes)
    }

    /// Somebody asks.
    pub(crate) fn ask(&mut self, ask: Ask<R>, out: &mut Vec<Output<R>>) {
        if let Some(known) = self.by_key.get_mut(&ask.intent.key) {
            if known.intent.device != ask.intent.device || known.intent.writes != ask.intent.writes
            {
                let reason = "another command has this key already: choose a new one".to_owned();
                out.push(Output::Reply(ask.reply, Outcome::Refused { reason }));
                return;
            }
            match &known.stage {
                Stage::Final(outcome) => out.push(Output::Reply(ask.reply, outcome.clone())),
                Stage::Watched { .. } => {
                    let reason = "it was sent, and the device is watched for it".to_owned();
                    out.push(Output::Reply(ask.reply, Outcome::Unknown { reason }));
                }
                _ => known.replies.push(ask.reply),
            }
            return;
        }
        if self.open.len() >= OPEN_LIMIT {
            let reason = "too many commands are under way; try again".to_owned();
            out.push(Output::Reply(ask.reply, Outcome::Refused { reason }));
            return;
        }
        let (intent, actor) = (ask.intent.clone(), ask.actor);
        out.push(Output::Append(CommandStep::Asked { intent, actor }));
        let key = ask.intent.key;
        self.insert(ask.intent, ask.device, ask.writes, ask.tolerances, Stage::Intending);
        if let Some(command) = self.by_key.get_mut(&key) {
            command.replies.push(ask.reply);
        }
    }

    fn insert(
        &mut self,
        intent: Intent,
        device: DeviceIx,
        writes: Vec<(PointIx, f64)>,
        tolerances: Vec<f64>,
        stage: Stage,
    ) -> u64 {
        let ticket = TICKET_BIT | self.next;
        self.next += 1;
        let key = intent.key;
        self.open.insert(ticket, key);
        if matches!(stage, Stage::Watched { .. }) {
            self.watched.entry(device).or_default().push(ticket);
        }
        let (replies, again) = (Vec::new(), 0);
        let command = Command { ticket, intent, device, writes, tolerances, stage, again, replies };
        self.by_key.insert(key, command);
        ticket
    }

    /// A step is safe on the disk, or could not be put there.
    pub(crate) fn kept(
        &mut self,
        key: CommandKey,
        step: StepKind,
        result: Result<(), String>,
        now: Timestamp,
        out: &mut Vec<Output<R>>,
    ) {
        let Some(command) = self.by_key.get_mut(&key) else { return };
        match (step, &command.stage, result) {
            (StepKind::Intent, Stage::Intending, Ok(())) => {
                command.stage = Stage::Posted;
                let expires = command.intent.expires;
                let (device, ticket) = (command.device, command.ticket);
                out.push(Output::Post { device, ticket, writes: command.writes.clone(), expires });
            }
            (StepKind::Intent, Stage::Intending, Err(why)) => {
                // Nobody was told that it was accepted, and the disk may or may not have it:
                // it never left, so the next run would let it expire.
                let outcome = Outcome::Refused { reason: format!("the journal failed to {why}") };
                self.forget(key, &outcome, out);
            }
            (StepKind::Sent, Stage::Sending, Ok(())) if now >= command.intent.expires => {
                // The disk took its time. Nothing left, and it is not sent late.
                command.stage = Stage::Posted;
                let ticket = command.ticket;
                let allowed = Err(EXPIRED.to_owned());
                out.push(Output::MaySend { ticket, allowed });
                self.decide(ticket, Outcome::Expired, now, out);
            }
            (StepKind::Sent, Stage::Sending, Ok(())) => {
                command.stage = Stage::Sent(now);
                let (device, ticket) = (command.device, command.ticket);
                out.push(Output::MaySend { ticket, allowed: Ok(()) });
                for (point, _) in &command.writes {
                    self.written.insert((device, *point), ticket);
                }
            }
            (StepKind::Sent, Stage::Sending, Err(why)) => {
                command.stage = Stage::Posted;
                let reason = format!("not sent: the journal failed to {why}");
                out.push(Output::MaySend { ticket: command.ticket, allowed: Err(reason) });
            }
            // One that cannot be written yet is tried again, and told only then: what was told
            // must be told again the same way, whatever happens to the process.
            (StepKind::Outcome, Stage::Concluding(_), Ok(())) => self.conclude(key, out),
            (StepKind::Sent, _, _) => {
                let allowed = Err("not sent: the command is over".to_owned());
                out.push(Output::MaySend { ticket: command.ticket, allowed });
            }
            _ => {}
        }
    }

    /// A line is about to send.
    pub(crate) fn sending(&mut self, ticket: u64, now: Timestamp, out: &mut Vec<Output<R>>) {
        let refuse = |reason: &str| Output::MaySend { ticket, allowed: Err(reason.to_owned()) };
        let Some(command) = self.command(ticket) else {
            out.push(refuse("not sent: the command is over"));
            return;
        };
        match command.stage {
            Stage::Posted if now >= command.intent.expires => {
                out.push(refuse(EXPIRED));
            }
            Stage::Posted => {
                command.stage = Stage::Sending;
                let key = command.intent.key;
                out.push(Output::Append(CommandStep::Sent { key, at: now }));
            }
            // The one that asked first is still waiting for its answer.
            Stage::Sending => command.again += 1,
            _ => {
                command.again += 1;
                out.push(refuse("not sent again: the command was sent already"));
            }
        }
    }

    /// The twin says what became of a command.
    pub(crate) fn outcome(
        &mut self,
        ticket: u64,
        outcome: Outcome,
        now: Timestamp,
        out: &mut Vec<Output<R>>,
    ) {
        let Some(command) = self.command(ticket) else { return };
        match (&command.stage, outcome) {
            (Stage::Sending | Stage::Sent(_), Outcome::Failed { .. }) if command.again > 0 => {
                command.again -= 1;
            }
            (Stage::Sent(sent), Outcome::Unknown { reason }) => {
                let sent = *sent;
                self.watch(ticket, sent, &reason, out);
            }
            // The gate has not opened, and will not any more.
            (Stage::Sending, Outcome::Unknown { .. }) => {
                let reason = "not sent: the journal did not answer in time".to_owned();
                self.decide(ticket, Outcome::Failed { reason }, now, out);
            }
            (Stage::Watched { .. }, Outcome::Unknown { .. })
            | (Stage::Concluding(_) | Stage::Final(_), _) => {}
            (_, outcome) => self.decide(ticket, outcome, now, out),
        }
    }

    /// A device shows itself. Only points received after the command was sent count.
    pub(crate) fn observed(
        &mut self,
        device: DeviceIx,
        points: &[PointSeen],
        now: Timestamp,
        out: &mut Vec<Output<R>>,
    ) {
        let Some(tickets) = self.watched.get(&device) else { return };
        for ticket in tickets.clone() {
            let verdict = self.judge(ticket, points, now);
            if let Some(outcome) = verdict {
                self.decide(ticket, outcome, now, out);
            }
        }
    }

    fn judge(&mut self, ticket: u64, points: &[PointSeen], now: Timestamp) -> Option<Outcome> {
        let patience = SHOWN_WITHIN.mul_f64(self.pace);
        let key = *self.open.get(&ticket)?;
        let command = self.by_key.get_mut(&key)?;
        let device = command.device;
        let newest = |p: PointIx| self.written.get(&(device, p)).copied().unwrap_or(ticket);
        // A later command wrote the same point: what is shown says nothing about this one.
        if command.writes.iter().any(|&(point, _)| newest(point) > ticket) {
            let reason = "it was sent and not answered, and a later command wrote the same point";
            return Some(Outcome::Unknown { reason: reason.to_owned() });
        }
        let Stage::Watched { sent, heard } = &mut command.stage else { return None };
        let seen = |point: PointIx| points.iter().find(|s| s.point == point && s.received > *sent);
        let (mut all_shown, mut shown_at) = (true, now);
        for (&(point, value), &tolerance) in command.writes.iter().zip(&command.tolerances) {
            match seen(point) {
                None => return None,
                Some(shown) => {
                    all_shown &= (shown.value - value).abs() <= tolerance;
                    shown_at = shown_at.min(shown.received);
                }
            }
        }
        if all_shown {
            return Some(Outcome::Done);
        }
        let (since, sent) = (*heard.get_or_insert(now), *sent);
        // What came first may have been measured before: it takes a newer look, or, of a device
        // that tells changes only, a long time without any.
        let looked = shown_at.since(since) >= patience;
        if !looked && now.since(since) < SILENT_WITHIN.mul_f64(self.pace) {
            return None;
        }
        let points: Vec<PointIx> = command.writes.iter().map(|(point, _)| *point).collect();
        Some(if self.others_touched(ticket, device, &points, sent) {
            let reason = "it was sent and not answered, and another command may have undone it";
            Outcome::Unknown { reason: reason.to_owned() }
        } else {
            let reason = "it was sent and not answered, and the device does not show it";
            Outcome::Failed { reason: reason.to_owned() }
        })
    }

    /// Whether bytes of another command may have reached one of the points since `sent`: networks
    /// deliver late and out of order.
    fn others_touched(
        &self,
        ticket: u64,
        device: DeviceIx,
        points: &[PointIx],
        sent: Timestamp,
    ) -> bool {
        let under_way = self.open.iter().any(|(&other, key)| {
            other != ticket
                && self.by_key.get(key).is_some_and(|c| {
                    c.device == device
                        && matches!(c.stage, Stage::Sent(_) | Stage::Watched { .. })
                        && c.writes.iter().any(|(p, _)| points.contains(p))
                })
        });
        under_way
            || points.iter().filter_map(|&p| self.touched.get(&(device, p))).any(|touched| {
                touched.iter().flatten().any(|&(other, until)| other != ticket && until > sent)
            })
    }

    fn touch(&mut self, device: DeviceIx, points: &[PointIx], ticket: u64, now: Timestamp) {
        for &point in points {
            let touched = self.touched.entry((device, point)).or_default();
            let mine = touched.iter().position(|t| t.is_some_and(|(of, _)| of == ticket));
            // In place of its own last touch, or of the older one.
            let oldest = usize::from(touched[1].map(|(_, at)| at) < touched[0].map(|(_, at)| at));
            let place = &mut touched[mine.unwrap_or(oldest)];
            if place.is_none_or(|(_, at)| at < now) {
                *place = Some((ticket, now));
            }
        }
    }

    /// Time passes: what was not sent expires, what was not answered is watched.
    pub(crate) fn on_time(&mut self, now: Timestamp, out: &mut Vec<Output<R>>) {
        let patience = ANSWER_WITHIN.mul_f64(self.pace);
        let mut late = Vec::new();
        for (&ticket, key) in &self.open {
            let Some(command) = self.by_key.get(key) else { continue };
            match command.stage {
                Stage::Posted if now.since(command.intent.expires) >= patience => {
                    late.push((ticket, None));
                }
                Stage::Sent(sent) if now.since(sent) >= patience => {
                    late.push((ticket, Some(sent)));
                }
                _ => {}
            }
        }
        for (ticket, sent) in late {
            match sent {
                // The gate no longer lets it through, so it has no effect.
                None => self.decide(ticket, Outcome::Expired, now, out),
                Some(sent) => self.watch(ticket, sent, "the device did not answer", out),
            }
        }
    }

    /// Nothing tells whether the device acted: say so, and wait for it to show.
    fn watch(&mut self, ticket: u64, sent: Timestamp, why: &str, out: &mut Vec<Output<R>>) {
        let Some(command) = self.command(ticket) else { return };
        command.stage = Stage::Watched { sent, heard: None };
        let device = command.device;
        for reply in command.replies.drain(..) {
            let reason = format!("{why}; the device is watched for the effect");
            out.push(Output::Reply(reply, Outcome::Unknown { reason }));
        }
        self.watched.entry(device).or_default().push(ticket);
    }

    fn decide(&mut self, ticket: u64, outcome: Outcome, at: Timestamp, out: &mut Vec<Output<R>>) {
        let Some(command) = self.command(ticket) else { return };
        let (key, device) = (command.intent.key, command.device);
        let sent = matches!(command.stage, Stage::Sent(_) | Stage::Watched { .. });
        command.stage = Stage::Concluding(outcome.clone());
        if sent {
            let points: Vec<PointIx> = command.writes.iter().map(|(point, _)| *point).collect();
            self.touch(device, &points, ticket, at);
        }
        if let Some(tickets) = self.watched.get_mut(&device) {
            tickets.retain(|&t| t != ticket);
            if tickets.is_empty() {
                self.watched.remove(&device);
            }
        }
        out.push(Output::Append(CommandStep::Outcome { key, outcome, at }));
    }

    fn conclude(&mut self, key: CommandKey, out: &mut Vec<Output<R>>) {
        let Some(command) = self.by_key.get_mut(&key) else { return };
        let Stage::Concluding(outcome) = command.stage.clone() else { return };
        for reply in command.replies.drain(..) {
            out.push(Output::Reply(reply, outcome.clone()));
        }
        command.stage = Stage::Final(outcome);
        self.open.remove(&command.ticket);
        self.remember(key);
    }

    fn remember(&mut self, key: CommandKey) {
        self.finished.push_back(key);
        if self.finished.len() > REMEMBERED
            && let Some(oldest) = self.finished.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }

    fn forget(&mut self, key: CommandKey, outcome: &Outcome, out: &mut Vec<Output<R>>) {
        let Some(command) = self.by_key.remove(&key) else { return };
        self.open.remove(&command.ticket);
        let replies = command.replies.into_iter();
        out.extend(replies.map(|reply| Output::Reply(reply, outcome.clone())));
    }

    fn command(&mut self, ticket: u64) -> Option<&mut Command<R>> {
        self.by_key.get_mut(self.open.get(&ticket)?)
    }

    /// Takes up a command of an earlier run that had no outcome. `sent` is when its bytes may
    /// have left.
    pub(crate) fn resume(
        &mut self,
        intent: Intent,
        target: Option<Target>,
        sent: Option<Timestamp>,
        now: Timestamp,
        out: &mut Vec<Output<R>>,
    ) {
        let known = target.is_some();
        let (device, writes, tolerances) = target.unwrap_or((DeviceIx(u32::MAX), vec![], vec![]));
        let stage = match sent {
            Some(sent) => Stage::Watched { sent, heard: None },
            None => Stage::Posted,
        };
        let written = writes.clone();
        let ticket = self.insert(intent, device, writes, tolerances, stage);
        if sent.is_some() {
            self.note_written(device, &written, ticket);
        }
        if !known {
            let outcome = if sent.is_some() {
                let reason = "it was sent and not answered, and the plant no longer has the point";
                Outcome::Unknown { reason: reason.to_owned() }
            } else {
                Outcome::Expired
            };
            self.decide(ticket, outcome, now, out);
        } else if sent.is_none() {
            // Whoever asked is gone, or was told that the journal failed: it is not sent late.
            self.decide(ticket, Outcome::Expired, now, out);
        }
    }

    fn note_written(&mut self, device: DeviceIx, writes: &[(PointIx, f64)], ticket: u64) {
        for (point, _) in writes {
            self.written.insert((device, *point), ticket);
        }
    }

    /// Remembers a command of an earlier run that had its outcome.
    pub(crate) fn recall(&mut self, intent: Intent, outcome: Outcome, sent: Option<Written<'_>>) {
        let key = intent.key;
        let (ticket, stage) = (TICKET_BIT | self.next, Stage::Final(outcome));
        self.next += 1;
        if let Some(Written { device, writes, until }) = sent {
            self.note_written(device, writes, ticket);
            let points: Vec<PointIx> = writes.iter().map(|(point, _)| *point).collect();
            self.touch(device, &points, ticket, until);
        }
        let command = Command {
            ticket,
            intent,
            device: DeviceIx(u32::MAX),
            writes: vec![],
            tolerances: vec![],
            stage,
            again: 0,
            replies: vec![],
        };
        self.by_key.insert(key, command);
        self.remember(key);
    }
}
