//! A crash between any two steps of a command, all of them, for a hundred thousand commands.

use std::{collections::VecDeque, ops::ControlFlow, time::Duration};

use plantwin_model::{
    CommandKey, DeviceIx, Outcome, PlantSpec, PointIx, Timestamp,
    file::{Catalog, ReadOptions, read_plant},
};
use plantwin_store::{LogKind, Store as _, testing::MemoryStore};

use super::{
    Ask, CommandStep, Commands, Intent, Output, PointSeen, REMEMBERED,
    recover::{last_asked, recover},
    state::{OPEN_LIMIT, SHOWN_WITHIN, StepKind},
};

/// How the device and the network behave towards the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// It acts and answers.
    Fine,
    /// It acts, and its answer is lost.
    AnswerLost,
    /// The bytes never arrive.
    BytesLost,
    /// The bytes arrive late, after a crash even.
    BytesLate,
    /// It refuses.
    Refuses,
    /// The twin's letter is handled again after it had gone to the line.
    Again,
    /// The command is asked for twice under its key.
    Twice,
}

const COURSES: [Course; 7] = [
    Course::Fine,
    Course::AnswerLost,
    Course::BytesLost,
    Course::BytesLate,
    Course::Refuses,
    Course::Again,
    Course::Twice,
];

/// Something that happens by itself, in this order.
#[derive(Debug)]
enum Next {
    Write(CommandStep),
    Flush(CommandKey, StepKind),
    TwinGets(u64),
    LineAsks(u64),
    BytesLeave(u64),
    Arrive,
    Answer(u64, Outcome),
    Tell(Outcome),
}

const KEY: CommandKey = CommandKey(0xabc);
const OLD: f64 = 1.0;
const SECOND: Duration = Duration::from_secs(1);

struct World<'p> {
    plant: &'p PlantSpec,
    disk: MemoryStore,
    core: Commands<()>,
    todo: VecDeque<Next>,
    now: Timestamp,
    course: Course,
    value: f64,
    wanted: f64,
    effects: u32,
    told: Vec<Outcome>,
}

impl<'p> World<'p> {
    fn new(plant: &'p PlantSpec, course: Course, wanted: f64) -> Self {
        Self {
            plant,
            disk: MemoryStore::new(),
            core: Commands::new(1.0),
            todo: VecDeque::new(),
            now: Timestamp::from_millis(1_000),
            course,
            value: OLD,
            wanted,
            effects: 0,
            told: vec![],
        }
    }

    fn ask(&mut self) {
        let intent = Intent {
            key: KEY,
            device: "pump".into(),
            writes: vec![("voltage".to_owned(), self.wanted)],
            asked: self.now,
            expires: self.now.plus(Duration::from_secs(2)),
        };
        let ask = Ask {
            intent,
            actor: "user:alice".to_owned(),
            device: DeviceIx(0),
            writes: vec![(PointIx(0), self.wanted)],
            tolerances: vec![1e-3],
            reply: (),
        };
        let mut out = vec![];
        self.core.ask(ask, &mut out);
        self.take(out);
    }

    fn take(&mut self, outputs: Vec<Output<()>>) {
        for output in outputs {
            match output {
                Output::Append(step) => self.todo.push_back(Next::Write(step)),
                Output::Post { ticket, .. } => self.todo.push_back(Next::TwinGets(ticket)),
                Output::MaySend { ticket, allowed: Ok(()) } => {
                    self.todo.push_back(Next::BytesLeave(ticket));
                }
                Output::MaySend { ticket, allowed: Err(reason) } => {
                    self.todo.push_back(Next::Answer(ticket, Outcome::Failed { reason }));
                }
                Output::Reply((), outcome) => self.todo.push_back(Next::Tell(outcome)),
            }
        }
    }

    /// One thing happens; `false` if nothing is left to happen.
    fn step(&mut self) -> bool {
        let Some(next) = self.todo.pop_front() else { return false };
        let mut out = vec![];
        match next {
            Next::Write(step) => {
                self.disk.append(LogKind::Command, self.now, &step.to_bytes()).unwrap();
                let kind = match step {
                    CommandStep::Intent(_) | CommandStep::Asked { .. } => StepKind::Intent,
                    CommandStep::Sent { .. } => StepKind::Sent,
                    CommandStep::Outcome { .. }
                    | CommandStep::Done { .. }
                    | CommandStep::Accounted => StepKind::Outcome,
                };
                self.todo.push_front(Next::Flush(step.key(), kind));
            }
            Next::Flush(key, kind) => {
                self.disk.flush_log().unwrap();
                self.core.kept(key, kind, Ok(()), self.now, &mut out);
            }
            Next::TwinGets(ticket) => {
                self.todo.push_back(Next::LineAsks(ticket));
                if self.course == Course::Again {
                    self.todo.push_back(Next::LineAsks(ticket));
                }
            }
            Next::LineAsks(ticket) => self.core.sending(ticket, self.now, &mut out),
            Next::BytesLeave(ticket) => match self.course {
                Course::Refuses => {
                    let reason = "the device refused".to_owned();
                    self.todo.push_back(Next::Answer(ticket, Outcome::Failed { reason }));
                }
                Course::BytesLost => self.lost(ticket),
                Course::AnswerLost => {
                    self.arrive();
                    self.lost(ticket);
                }
                Course::BytesLate => {
                    self.lost(ticket);
                    self.todo.push_back(Next::Arrive);
                }
                Course::Fine | Course::Again | Course::Twice => {
                    self.arrive();
                    self.todo.push_back(Next::Answer(ticket, Outcome::Done));
                }
            },
            Next::Arrive => self.arrive(),
            Next::Answer(ticket, outcome) => {
                self.core.outcome(ticket, outcome, self.now, &mut out);
            }
            Next::Tell(outcome) => self.told.push(outcome),
        }
        self.take(out);
        true
    }

    fn arrive(&mut self) {
        self.value = self.wanted;
        self.effects += 1;
    }

    fn lost(&mut self, ticket: u64) {
        let reason = "the device did not answer".to_owned();
        self.todo.push_back(Next::Answer(ticket, Outcome::Unknown { reason }));
    }

    /// The process ends here and begins again: what was not flushed is gone, and so is
    /// everything under way but bytes that have left.
    fn crash(&mut self) {
        self.disk.crash();
        self.todo.retain(|next| matches!(next, Next::Arrive));
        self.core = Commands::new(1.0);
        self.now = self.now.plus(Duration::from_millis(300));
        let mut out = vec![];
        let journal = self.journal();
        assert_eq!(recover(&mut self.core, self.plant, journal, self.now, &mut out), 0);
        self.take(out);
    }

    fn journal(&self) -> Vec<CommandStep> {
        let mut steps = vec![];
        self.disk
            .read_log(1, &mut |record| {
                steps.push(CommandStep::from_bytes(record.payload).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        steps
    }

    /// Lets everything come to its end, the device shown once a second.
    fn settle(&mut self) {
        for _ in 0..60 {
            while self.step() {}
            self.now = self.now.plus(Duration::from_secs(1));
            let seen = PointSeen { point: PointIx(0), value: self.value, received: self.now };
            let mut out = vec![];
            self.core.observed(DeviceIx(0), &[seen], self.now, &mut out);
            self.core.on_time(self.now, &mut out);
            self.take(out);
        }
        assert_eq!(self.core.counts(), (0, 0), "nothing stays open");
    }

    fn check(&self) {
        let steps = self.journal();
        let count = |f: fn(&CommandStep) -> bool| steps.iter().filter(|s| f(s)).count();
        let accepted = count(|s| matches!(s, CommandStep::Intent(_) | CommandStep::Asked { .. }));
        let outcomes: Vec<_> = steps
            .iter()
            .filter_map(|s| match s {
                CommandStep::Outcome { outcome, .. } => Some(outcome),
                _ => None,
            })
            .collect();
        assert!(self.effects <= 1, "{} effects", self.effects);
        assert_eq!(accepted, outcomes.len(), "one outcome for each that was accepted: {steps:?}");
        if accepted == 0 {
            assert_eq!((self.effects, self.told.len()), (0, 0), "nobody was told, nothing done");
        }
        for outcome in outcomes.into_iter().chain(&self.told) {
            let effects = match outcome {
                Outcome::Done => 1,
                Outcome::Failed { .. } | Outcome::Refused { .. } | Outcome::Expired => 0,
                Outcome::Unknown { .. } => self.effects,
            };
            assert_eq!(self.effects, effects, "{outcome:?} is not what happened: {self:?}");
        }
    }
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("course", &self.course)
            .field("effects", &self.effects)
            .field("told", &self.told)
            .field("journal", &self.journal())
            .finish_non_exhaustive()
    }
}

fn plant() -> PlantSpec {
    static WIRE: plantwin_model::ProtocolSchema = plantwin_model::ProtocolSchema::bare("wire");
    let text = r#"
        [plant]
        name = "bench"
        [zone.field]
        [type.pump.twin]
        type = "pump"
        [type.pump.property.voltage]
        unit = "V"
        range = [0, 10]
        access = "rw"
        [device.pump]
        type = "pump"
        zone = "field"
        mode = "physical"
        [device.pump.wire]
    "#;
    let schemas = [&WIRE];
    let catalog = Catalog { protocols: &schemas, ..Catalog::default() };
    read_plant("bench.toml", text, &catalog, &ReadOptions::default()).into_plant().unwrap()
}

/// Runs a command along `course`, with crashes before the given numbers of steps; `true` if the
/// last of them was reached.
fn run(plant: &PlantSpec, course: Course, wanted: f64, crashes: &[usize]) -> bool {
    let mut world = World::new(plant, course, wanted);
    world.ask();
    if course == Course::Twice {
        world.ask();
    }
    let mut all = true;
    for &steps in crashes {
        for _ in 0..steps {
            all &= world.step();
        }
        world.crash();
    }
    world.settle();
    world.check();
    // Whoever asks again hears the same, and nothing is done again.
    let (before, outcomes) = (world.effects, world.told.len());
    if !world.journal().is_empty() {
        world.ask();
        world.settle();
        assert_eq!(world.effects, before);
        assert_eq!(world.told.len(), outcomes + 1, "{world:?}");
        world.check();
    }
    all
}

#[test]
fn a_crash_at_every_step_of_a_hundred_thousand_commands_doubles_and_loses_none() {
    let plant = plant();
    let mut commands = 0_u32;
    let mut run = |course: Course, crashes: &[usize]| {
        commands += 1;
        let wanted = 2.0 + f64::from(commands % 7_000) / 1_000.0;
        (run(&plant, course, wanted, crashes), commands)
    };
    // Every step of every course, and every pair of steps.
    let mut places = 0;
    for course in COURSES {
        run(course, &[]);
        for first in 0.. {
            let (mut reached, _) = run(course, &[first]);
            places += u32::from(reached);
            for second in 0..20 {
                reached |= run(course, &[first, second]).0;
            }
            if !reached {
                break;
            }
        }
    }
    assert!(places >= 7 * 8, "{places} places to crash at are too few to be all of them");
    // Then crashes by chance, up to three of them, until there were as many commands as promised.
    let mut chance = 7_u64;
    let mut draw = |below: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(chance >> 33).unwrap_or(0) % below
    };
    loop {
        let course = COURSES[draw(COURSES.len())];
        let crashes: Vec<_> = (0..draw(4)).map(|_| draw(14)).collect();
        if run(course, &crashes).1 >= 100_000 {
            break;
        }
    }
}

#[test]
fn a_key_that_is_taken_by_another_command_is_refused() {
    let plant = plant();
    let mut world = World::new(&plant, Course::Fine, 5.0);
    world.ask();
    world.wanted = 6.0;
    world.ask();
    world.wanted = 5.0;
    world.settle();
    assert!(matches!(world.told[0], Outcome::Refused { .. }), "{world:?}");
    assert_eq!(world.told[1], Outcome::Done);
    assert_eq!(world.effects, 1);
}

#[test]
fn a_journal_that_cannot_be_written_refuses_the_command_and_sends_nothing() {
    let plant = plant();
    let mut world = World::new(&plant, Course::Fine, 5.0);
    world.ask();
    let Some(Next::Write(step)) = world.todo.pop_front() else { panic!("no intent") };
    let mut out = vec![];
    let full = Err("write the log: no space left on device".to_owned());
    world.core.kept(step.key(), StepKind::Intent, full, world.now, &mut out);
    world.take(out);
    world.settle();
    assert!(matches!(world.told[..], [Outcome::Refused { .. }]), "{world:?}");
    assert_eq!(world.effects, 0);
}

#[test]
fn a_device_that_stays_away_keeps_the_command_unknown_until_it_shows_itself() {
    let plant = plant();
    let mut world = World::new(&plant, Course::AnswerLost, 5.0);
    world.ask();
    while world.step() {}
    assert!(matches!(world.told[..], [Outcome::Unknown { .. }]), "{world:?}");
    for _ in 0..600 {
        world.now = world.now.plus(Duration::from_secs(1));
        let mut out = vec![];
        world.core.on_time(world.now, &mut out);
        world.take(out);
        while world.step() {}
    }
    assert_eq!(world.core.counts(), (1, 1));
    world.settle();
    world.ask();
    world.settle();
    assert_eq!(world.told.last(), Some(&Outcome::Done));
}

/// A command to set the pump's voltage.
fn asked(key: u128, value: f64, now: Timestamp) -> Ask<u8> {
    Ask {
        intent: Intent {
            key: CommandKey(key),
            device: "pump".into(),
            writes: vec![("voltage".to_owned(), value)],
            asked: now,
            expires: now.plus(Duration::from_secs(2)),
        },
        actor: "user:alice".to_owned(),
        device: DeviceIx(0),
        writes: vec![(PointIx(0), value)],
        tolerances: vec![1e-3],
        reply: key as u8,
    }
}

/// A command whose line asks whether it may send.
fn sending(now: Timestamp) -> (Commands<u8>, u64, Vec<Output<u8>>) {
    let (mut core, mut out) = (Commands::new(1.0), vec![]);
    core.ask(asked(1, 3.0, now), &mut out);
    core.kept(CommandKey(1), StepKind::Intent, Ok(()), now, &mut out);
    let Some(Output::Post { ticket, .. }) = out.last() else { panic!("it is not sent") };
    let ticket = *ticket;
    core.sending(ticket, now, &mut out);
    out.clear();
    (core, ticket, out)
}

#[test]
fn a_command_that_expired_while_the_disk_took_its_step_is_not_sent_and_the_journal_says_so() {
    let now = Timestamp::from_millis(1_000);
    for (late, leaves) in [(Duration::from_millis(1_999), true), (Duration::from_secs(2), false)] {
        let (mut core, _, mut out) = sending(now);
        core.kept(CommandKey(1), StepKind::Sent, Ok(()), now.plus(late), &mut out);
        let Some(Output::MaySend { allowed, .. }) = out.first() else { panic!("{out:?}") };
        assert_eq!(allowed.is_ok(), leaves);
        let Some(Output::Append(CommandStep::Outcome { outcome, .. })) = out.get(1) else {
            assert!(leaves, "{out:?}");
            continue;
        };
        assert_eq!((leaves, outcome), (false, &Outcome::Expired));
    }
}

#[test]
fn a_command_whose_step_the_disk_never_took_is_known_not_to_have_been_sent() {
    let now = Timestamp::from_millis(1_000);
    let (mut core, ticket, mut out) = sending(now);
    let reason = "the line did not answer".to_owned();
    core.outcome(ticket, Outcome::Unknown { reason }, now, &mut out);
    let [Output::Append(CommandStep::Outcome { outcome, .. })] = &out[..] else {
        panic!("{out:?}")
    };
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    out.clear();
    core.kept(CommandKey(1), StepKind::Sent, Ok(()), now, &mut out);
    assert!(matches!(&out[..], [Output::MaySend { allowed: Err(_), .. }]), "{out:?}");
}

#[test]
fn a_key_is_remembered_until_a_hundred_thousand_later_commands_are_over() {
    let mut core: Commands<u8> = Commands::new(1.0);
    let (now, mut out) = (Timestamp::from_millis(1_000), vec![]);
    for key in 0..=REMEMBERED as u128 {
        out.clear();
        core.ask(asked(key, 3.0, now), &mut out);
        core.kept(CommandKey(key), StepKind::Intent, Ok(()), now, &mut out);
        let Some(Output::Post { ticket, .. }) = out.last() else { panic!("{key} is not sent") };
        let ticket = *ticket;
        core.sending(ticket, now, &mut out);
        core.kept(CommandKey(key), StepKind::Sent, Ok(()), now, &mut out);
        core.outcome(ticket, Outcome::Done, now, &mut out);
        core.kept(CommandKey(key), StepKind::Outcome, Ok(()), now, &mut out);
        assert!(matches!(out.last(), Some(Output::Reply(_, Outcome::Done))), "key {key}");
    }
    let mut again = |key| {
        out.clear();
        core.ask(asked(key, 3.0, now), &mut out);
        matches!(out[..], [Output::Reply(_, Outcome::Done)])
    };
    assert!(again(REMEMBERED as u128));
    assert!(again(1), "the oldest of a hundred thousand");
    assert!(!again(0), "one more: it is acted on as a new command, as the documents say");
}

#[test]
fn a_later_command_to_the_same_point_leaves_the_earlier_one_unknown_for_good() {
    let mut core: Commands<u8> = Commands::new(1.0);
    let (now, mut out) = (Timestamp::from_millis(1_000), vec![]);
    for (key, value) in [(1, 3.0), (2, 4.0)] {
        core.ask(asked(key, value, now), &mut out);
        core.kept(CommandKey(key), StepKind::Intent, Ok(()), now, &mut out);
        let ticket = out
            .iter()
            .rev()
            .find_map(|o| if let Output::Post { ticket, .. } = o { Some(*ticket) } else { None })
            .unwrap();
        core.sending(ticket, now, &mut out);
        core.kept(CommandKey(key), StepKind::Sent, Ok(()), now, &mut out);
        let reason = "no answer".to_owned();
        core.outcome(ticket, Outcome::Unknown { reason }, now, &mut out);
    }
    out.clear();
    let later = now.plus(Duration::from_secs(3));
    let seen = PointSeen { point: PointIx(0), value: 4.0, received: later };
    core.observed(DeviceIx(0), &[seen], later, &mut out);
    let outcomes: Vec<_> = out
        .iter()
        .filter_map(|o| match o {
            Output::Append(CommandStep::Outcome { key, outcome, .. }) => Some((key.0, outcome)),
            _ => None,
        })
        .collect();
    assert!(matches!(outcomes[..], [(1, Outcome::Unknown { .. }), (2, Outcome::Done)]));
}

#[test]
fn after_a_crash_a_command_that_another_may_have_undone_is_unknown() {
    let plant = plant();
    let sent = |ms| Timestamp::from_millis(ms);
    let intent = |key, value| asked(key, value, sent(1_000)).intent;
    // The first was sent before the second and answered after it, as networks do.
    let outcome =
        CommandStep::Outcome { key: CommandKey(1), outcome: Outcome::Done, at: sent(1_030) };
    let journal = vec![
        CommandStep::Intent(intent(1, 3.0)),
        CommandStep::Sent { key: CommandKey(1), at: sent(1_010) },
        CommandStep::Intent(intent(2, 4.0)),
        CommandStep::Sent { key: CommandKey(2), at: sent(1_020) },
        outcome,
    ];
    let mut core: Commands<u8> = Commands::new(1.0);
    let mut out = vec![];
    let mut now = sent(2_000);
    assert_eq!(recover(&mut core, &plant, journal, now, &mut out), 0);
    while out.is_empty() {
        now = now.plus(Duration::from_secs(1));
        assert!(now < sent(60_000), "it stays open");
        let seen = PointSeen { point: PointIx(0), value: 3.0, received: now };
        core.observed(DeviceIx(0), &[seen], now, &mut out);
    }
    assert!(
        matches!(
            &out[..],
            [Output::Append(CommandStep::Outcome { outcome: Outcome::Unknown { .. }, .. })]
        ),
        "{out:?}"
    );
}

#[test]
fn a_command_in_doubt_is_read_back_after_a_restart_with_an_earlier_clock() {
    let plant = plant();
    let at = |ms| Timestamp::from_millis(ms);
    let journal = |undone: bool| {
        let mut steps = vec![
            CommandStep::Intent(asked(1, 3.0, at(5_000_000)).intent),
            CommandStep::Sent { key: CommandKey(1), at: at(5_000_010) },
            CommandStep::Intent(asked(2, 4.0, at(5_000_000)).intent),
            CommandStep::Sent { key: CommandKey(2), at: at(5_000_020) },
            CommandStep::Outcome { key: CommandKey(1), outcome: Outcome::Done, at: at(5_000_030) },
        ];
        if !undone {
            steps.drain(..2);
            steps.pop();
        }
        steps
    };
    for (undone, shown) in [(false, 4.0), (false, 3.0), (true, 4.0), (true, 3.0)] {
        let mut core: Commands<u8> = Commands::new(1.0);
        let (mut now, mut out) = (at(2_000), vec![]);
        recover(&mut core, &plant, journal(undone), now, &mut out);
        while out.is_empty() {
            now = now.plus(SECOND);
            assert!(now < at(60_000), "it stays open");
            let seen = PointSeen { point: PointIx(0), value: shown, received: now };
            core.observed(DeviceIx(0), &[seen], now, &mut out);
        }
        let [Output::Append(CommandStep::Outcome { outcome, .. })] = &out[..] else {
            panic!("{out:?}")
        };
        let right = match (undone, shown) {
            (_, 4.0) => matches!(outcome, Outcome::Done),
            (false, _) => matches!(outcome, Outcome::Failed { .. }),
            (true, _) => matches!(outcome, Outcome::Unknown { .. }),
        };
        assert!(right, "{undone} {shown}: {outcome:?}");
    }
}

#[test]
fn what_the_run_before_may_not_have_accounted_for_is_known_with_who_asked() {
    let at = |ms| Timestamp::from_millis(ms);
    let asked = |key: u128, ms| CommandStep::Asked {
        intent: asked(key, 3.0, at(ms)).intent,
        actor: format!("user:{key}"),
    };
    let done =
        |key, ms| CommandStep::Outcome { key: CommandKey(key), outcome: Outcome::Done, at: at(ms) };
    let journal = [asked(1, 0), done(1, 100), asked(2, 50_000), asked(3, 60_000), done(3, 60_100)];
    let last: Vec<_> =
        last_asked(&journal).into_iter().map(|asked| (asked.actor, asked.outcome)).collect();
    assert_eq!(last, [("user:2".to_owned(), None), ("user:3".to_owned(), Some(Outcome::Done))]);
    // Told once, whatever becomes of them later.
    let mut journal = journal.to_vec();
    journal.push(CommandStep::Accounted);
    assert_eq!(last_asked(&journal), []);
    journal.push(done(2, 70_000));
    assert_eq!(last_asked(&journal), []);
    let mut core: Commands<u8> = Commands::new(1.0);
    assert_eq!(recover(&mut core, &plant(), journal, at(80_000), &mut vec![]), 0);
    // What ended last is so by its place, not by a clock that was set back before it.
    let set_back = [asked(1, 900_000), done(1, 900_100), asked(2, 0), done(2, 100)];
    let last: Vec<_> = last_asked(&set_back).into_iter().map(|asked| asked.actor).collect();
    assert_eq!(last, ["user:1", "user:2"]);
}

#[test]
fn one_old_look_at_a_device_does_not_say_that_it_did_not_act() {
    let plant = plant();
    let mut world = World::new(&plant, Course::AnswerLost, 5.0);
    world.ask();
    while world.step() {}
    // What it showed before it acted is still on its way; what it shows then comes once a minute.
    let old = PointSeen { point: PointIx(0), value: OLD, received: world.now.plus(SECOND) };
    for second in 1..60 {
        world.now = world.now.plus(SECOND);
        let seen = PointSeen { received: world.now.min(old.received), ..old };
        let mut out = vec![];
        world.core.observed(DeviceIx(0), &[seen], world.now, &mut out);
        world.take(out);
        while world.step() {}
        assert_eq!(world.core.counts(), (1, 1), "after {second} s");
    }
    world.settle();
    world.ask();
    world.settle();
    assert_eq!(world.told.last(), Some(&Outcome::Done));
}

#[test]
fn more_open_commands_than_fit_are_refused_at_the_door() {
    let plant = plant();
    let mut world = World::new(&plant, Course::Fine, 5.0);
    for key in 0..=OPEN_LIMIT as u128 {
        let intent = Intent {
            key: CommandKey(key),
            device: "pump".into(),
            writes: vec![],
            asked: world.now,
            expires: world.now.plus(SHOWN_WITHIN),
        };
        let ask = Ask {
            intent,
            actor: "user:alice".to_owned(),
            device: DeviceIx(0),
            writes: vec![],
            tolerances: vec![],
            reply: (),
        };
        let mut out = vec![];
        world.core.ask(ask, &mut out);
        let refused = matches!(out[..], [Output::Reply((), Outcome::Refused { .. })]);
        assert_eq!(refused, key == OPEN_LIMIT as u128);
    }
}
