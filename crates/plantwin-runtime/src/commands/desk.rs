//! The shell around [`Commands`]: journal, lines and those who wait, called from any thread.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures_util::future::BoxFuture;
use plantwin_model::{
    Clock, CommandKey, DeviceIx, DeviceSpec, Outcome, PlantSpec, PointIx, Timestamp,
};
use plantwin_store::LogKind;
use plantwin_twin::{CommandMail, TwinMail};
use tokio::sync::{mpsc, oneshot};

use super::{
    Ask, CommandStep, Commands, Intent, Output, PointSeen,
    recover::{self, LastAsked, tolerance},
    state::{StepKind, TICKET_BIT},
};
use crate::{
    keeper::Keeper,
    line::{LineOrder, SendGate},
    router::Reply,
};

/// The lines' ends, by device.
type Lines = Vec<Option<mpsc::Sender<LineOrder>>>;

/// Accepts commands and sees each of them through to its outcome.
pub(crate) struct CommandDesk {
    core: Mutex<Commands<Reply>>,
    gates: Mutex<HashMap<u64, oneshot::Sender<Result<(), String>>>>,
    /// Set once the lines exist; recovered commands wait for it.
    lines: OnceLock<Lines>,
    keeper: Option<Arc<Keeper>>,
    clock: Arc<dyn Clock>,
}

impl CommandDesk {
    /// A desk that journals through `keeper`; without one commands are not journalled and forgotten
    /// with the process.
    pub(crate) fn new(keeper: Option<Arc<Keeper>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            core: Mutex::new(Commands::new(clock.speed())),
            gates: Mutex::default(),
            lines: OnceLock::new(),
            keeper,
            clock,
        }
    }

    fn core(&self) -> MutexGuard<'_, Commands<Reply>> {
        // The core never panics half way through a change; were it to, each command stands alone.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens for business: takes up what earlier runs left, then posts. Returns how many steps of
    /// the journal had lost their beginning, and the commands for which the run before may not
    /// have accounted.
    pub(crate) fn open(
        self: &Arc<Self>,
        plant: &PlantSpec,
        steps: Vec<CommandStep>,
        lines: Lines,
    ) -> (usize, Vec<LastAsked>) {
        let mut out = Vec::new();
        let last = recover::last_asked(&steps);
        let orphans = recover::recover(&mut self.core(), plant, steps, self.clock.now(), &mut out);
        // Set here and nowhere else.
        let _ = self.lines.set(lines);
        self.carry_out(out);
        (orphans, last)
    }

    /// The audit trail was told of all that [`Self::open`] returned.
    pub(crate) fn accounted(&self) {
        if let Some(keeper) = &self.keeper {
            // If it is not kept they are told once more.
            let then = Box::new(|_| {});
            keeper.append(LogKind::Command, CommandStep::Accounted.to_bytes(), false, then);
        }
    }

    /// A command. The outcome goes to `reply`.
    pub(crate) fn ask(
        self: &Arc<Self>,
        key: CommandKey,
        device: &DeviceSpec,
        writes: Vec<(PointIx, f64)>,
        (asked, expires): (Timestamp, Timestamp),
        reply: Reply,
    ) {
        let actor = reply.actor().to_owned();
        let points = &device.kind.points;
        let named = |&(ix, value): &(PointIx, f64)| (points[ix.index()].name.to_string(), value);
        let intent = Intent {
            key,
            device: device.id.clone(),
            writes: writes.iter().map(named).collect(),
            asked,
            expires,
        };
        let tolerances = writes.iter().map(|(ix, _)| tolerance(&points[ix.index()])).collect();
        let ask = Ask { intent, actor, device: device.ix, writes, tolerances, reply };
        self.run(|core, _, out| core.ask(ask, out));
    }

    /// Whether this very command, not another of the same key, is open or remembered.
    pub(crate) fn knows(
        &self,
        key: CommandKey,
        device: &DeviceSpec,
        writes: &[(PointIx, f64)],
    ) -> bool {
        let points = &device.kind.points;
        let named = |&(ix, value): &(PointIx, f64)| (points[ix.index()].name.to_string(), value);
        let writes: Vec<_> = writes.iter().map(named).collect();
        self.core().knows(key, &device.id, &writes)
    }

    /// A twin's outcome; `false` if it is not that of a command.
    pub(crate) fn outcome(self: &Arc<Self>, ticket: u64, outcome: &Outcome) -> bool {
        if ticket & TICKET_BIT == 0 {
            return false;
        }
        self.run(|core, now, out| core.outcome(ticket, outcome.clone(), now, out));
        true
    }

    /// Whether a device's values matter now, so that nobody prepares them in vain.
    pub(crate) fn watches(&self) -> bool {
        self.core().counts().1 > 0
    }

    /// A device shows its values.
    pub(crate) fn observed(self: &Arc<Self>, device: DeviceIx, points: &[PointSeen]) {
        self.run(|core, now, out| core.observed(device, points, now, out));
    }

    /// To be called about once a second.
    pub(crate) fn on_time(self: &Arc<Self>) {
        self.run(Commands::on_time);
    }

    /// Commands without an outcome, and how many of them are being read back.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.core().counts()
    }

    fn run(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Commands<Reply>, Timestamp, &mut Vec<Output<Reply>>),
    ) {
        let mut out = Vec::new();
        let now = self.clock.now();
        work(&mut self.core(), now, &mut out);
        self.carry_out(out);
    }

    fn carry_out(self: &Arc<Self>, outputs: Vec<Output<Reply>>) {
        for output in outputs {
            match output {
                Output::Append(step) => self.append(step),
                Output::Post { device, ticket, writes, expires } => {
                    self.post(device, ticket, writes, expires);
                }
                Output::MaySend { ticket, allowed } => {
                    let gate = self.gates().remove(&ticket);
                    if let Some(gate) = gate {
                        // A line that is gone meanwhile sends nothing.
                        let _ = gate.send(allowed);
                    }
                }
                Output::Reply(reply, outcome) => reply.tell(outcome),
            }
        }
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<(), String>>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(self: &Arc<Self>, step: CommandStep) {
        let key = step.key();
        let kind = match &step {
            CommandStep::Intent(_) | CommandStep::Asked { .. } => StepKind::Intent,
            CommandStep::Sent { .. } => StepKind::Sent,
            CommandStep::Outcome { .. } | CommandStep::Done { .. } | CommandStep::Accounted => {
                StepKind::Outcome
            }
        };
        let Some(keeper) = &self.keeper else {
            self.run(|core, now, out| core.kept(key, kind, Ok(()), now, out));
            return;
        };
        let desk = Arc::clone(self);
        keeper.append(
            LogKind::Command,
            step.to_bytes(),
            // What became of a command must be on record some day, even if the disk is full now.
            kind == StepKind::Outcome,
            Box::new(move |result| {
                desk.run(|core, now, out| core.kept(key, kind, result, now, out));
            }),
        );
    }

    fn post(
        self: &Arc<Self>,
        device: DeviceIx,
        key: u64,
        writes: Vec<(PointIx, f64)>,
        expires: Timestamp,
    ) {
        let line = self.lines.get().and_then(|lines| lines.get(device.index())?.as_ref());
        let letter = TwinMail::Command(CommandMail { key, writes, expires });
        let posted =
            line.is_some_and(|line| line.try_send(LineOrder::Post(Box::new(letter))).is_ok());
        if !posted {
            let reason = "too many requests for this device are under way; try again".to_owned();
            self.run(|core, now, out| core.outcome(key, Outcome::Refused { reason }, now, out));
        }
    }
}

/// The line's question whether it may send: answered when the step is on the disk.
pub(crate) struct Gate(pub(crate) Arc<CommandDesk>);

impl SendGate for Gate {
    fn sending(&self, key: u64) -> BoxFuture<'static, Result<(), String>> {
        if key & TICKET_BIT == 0 {
            return Box::pin(std::future::ready(Ok(())));
        }
        let (answer, answered) = oneshot::channel();
        // A letter that is handled again asks again: the first one to ask gets the answer, the
        // other finds its own way cut off.
        self.0.gates().entry(key).or_insert(answer);
        self.0.run(|core, now, out| core.sending(key, now, out));
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| Err("not sent: it is being sent already".to_owned()))
        })
    }
}
