//! Dialogs on the way to an action: choose, fill in, confirm.
//!
//! No single key acts on the plant: every road to a [`Request`] leads through at least a choice
//! and a second key, and through a typed confirmation wherever the command asks for one.
//! Absent: sending; that is the action the last dialog returns.

use plantwin_model::{DeviceId, PlantView, PointInfo, Request, Role, TwinState, TwinView};

use crate::text;

/// Longest text of a number in characters.
const LONGEST: usize = 24;

/// A request with the words for the message line.
pub(crate) type Labelled = (String, Request);

/// An open dialog.
#[derive(Debug)]
pub(crate) enum Dialog {
    /// Choose what to do with a twin.
    Choose {
        /// The twin.
        twin: DeviceId,
        /// What can be done.
        entries: Vec<Entry>,
        /// Chosen entry.
        selected: usize,
    },
    /// Fill in the values.
    Arguments {
        /// The twin.
        twin: DeviceId,
        /// What is to be done.
        entry: Entry,
        /// Values.
        fields: Vec<Field>,
        /// Field with the cursor.
        focus: usize,
    },
    /// Type `y`.
    Confirm {
        /// What is about to happen, line by line.
        question: Vec<String>,
        /// What is sent.
        requests: Vec<Labelled>,
        /// What was typed.
        typed: String,
    },
}

/// Something that can be done with a twin.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    what: What,
    /// One line for people.
    pub(crate) title: String,
    /// Least role.
    pub(crate) role: Role,
    confirm: bool,
    args: Vec<PointInfo>,
}

#[derive(Clone, PartialEq, Debug)]
enum What {
    Command(String),
    Write(String),
    Restart,
    Retry(u64),
    Drop(u64),
}

/// A value being filled in.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Field {
    /// The point.
    pub(crate) point: PointInfo,
    /// As typed.
    pub(crate) text: String,
    /// Why the text is no value.
    pub(crate) error: Option<String>,
}

impl Entry {
    /// What can be done with `twin`: its type's commands, its writable points, a restart.
    pub(crate) fn all(twin: &TwinView, view: &PlantView) -> Vec<Self> {
        let mut all = Vec::new();
        if twin.state == TwinState::GaveUp {
            all.push(Self {
                what: What::Restart,
                title: "start the twin again".into(),
                role: Role::Operator,
                confirm: true,
                args: Vec::new(),
            });
        }
        let Some(kind) = view.types.get(&twin.kind) else { return all };
        for command in &kind.commands {
            let args =
                kind.points.iter().filter(|p| command.args.contains(&p.name)).cloned().collect();
            all.push(Self {
                what: What::Command(command.name.clone()),
                title: command.title.clone(),
                role: command.role,
                confirm: command.confirm,
                args,
            });
        }
        for point in kind.points.iter().filter(|p| p.writable) {
            all.push(Self {
                what: What::Write(point.name.clone()),
                title: String::new(),
                role: Role::Operator,
                confirm: true,
                args: vec![point.clone()],
            });
        }
        all
    }

    /// What can be done with the letters for `twin` that were set aside, oldest first.
    pub(crate) fn letters(twin: &DeviceId, view: &PlantView) -> Vec<Self> {
        let entry = |what, title| Self {
            what,
            title,
            role: Role::Operator,
            confirm: true,
            args: Vec::new(),
        };
        let of = view.set_aside.iter().filter(|l| l.twin == *twin);
        of.flat_map(|letter| {
            let says = format!("{}: {}", letter.lane, letter.text);
            [entry(What::Retry(letter.id), says.clone()), entry(What::Drop(letter.id), says)]
        })
        .collect()
    }

    /// Short name, as in the question.
    pub(crate) fn name(&self) -> String {
        match &self.what {
            What::Command(name) => name.clone(),
            What::Write(point) => format!("set {point}"),
            What::Restart => "restart".into(),
            What::Retry(letter) => format!("retry letter {letter}"),
            What::Drop(letter) => format!("drop letter {letter}"),
        }
    }

    fn request(&self, device: DeviceId, args: &[(String, f64)]) -> Option<Request> {
        Some(match &self.what {
            What::Command(command) => {
                Request::Command { device, command: command.clone(), args: args.to_vec() }
            }
            What::Write(point) => {
                Request::Write { device, point: point.clone(), value: args.first()?.1 }
            }
            What::Restart => Request::Restart { device },
            What::Retry(letter) => Request::Retry { device, letter: *letter },
            What::Drop(letter) => Request::Drop { device, letter: *letter },
        })
    }

    /// The step after this entry was chosen for `twin`.
    pub(crate) fn chosen(self, twin: DeviceId) -> Next {
        if self.args.is_empty() {
            return self.ready(twin, &[]);
        }
        let fields = self.args.iter().cloned().map(Field::new).collect();
        Next::Open(Dialog::Arguments { twin, entry: self, fields, focus: 0 })
    }

    /// The step once all values are known.
    pub(crate) fn ready(self, twin: DeviceId, args: &[(String, f64)]) -> Next {
        let label = format!("{twin} {}", self.name());
        let Some(request) = self.request(twin.clone(), args) else { return Next::Close };
        if !self.confirm {
            return Next::Send(vec![(label, request)]);
        }
        let mut question = vec![format!("{} on {twin}?", self.name())];
        for ((name, value), point) in args.iter().zip(&self.args) {
            question.push(format!(
                "{name} = {} {}",
                text::number(*value),
                text::unit(&point.unit, true)
            ));
        }
        if !self.title.is_empty() {
            question.push(self.title.clone());
        }
        match self.what {
            What::Retry(_) => question.push("it crashed the twin twice".to_owned()),
            What::Drop(_) => question.push("what it says is lost for good".to_owned()),
            _ => {}
        }
        Next::Open(Dialog::Confirm {
            question,
            requests: vec![(label, request)],
            typed: String::new(),
        })
    }
}

/// What follows a step in a dialog.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another dialog.
    Open(Dialog),
    /// Nothing more.
    Close,
    /// Send and close.
    Send(Vec<Labelled>),
}

impl Field {
    fn new(point: PointInfo) -> Self {
        Self { point, text: String::new(), error: None }
    }

    /// Takes a character if it can be part of a number.
    pub(crate) fn push(&mut self, c: char) {
        if self.text.len() < LONGEST && (c.is_ascii_digit() || "+-.eE".contains(c)) {
            self.text.push(c);
            self.error = None;
        }
    }

    /// Takes the last character away.
    pub(crate) fn pop(&mut self) {
        self.text.pop();
        self.error = None;
    }

    /// The value, or the reason why there is none (also kept for the screen).
    pub(crate) fn value(&mut self) -> Option<f64> {
        let (low, high) = self.point.range;
        let (value, error) = match self.text.parse::<f64>() {
            _ if self.text.is_empty() => (None, Some("a value is needed".to_owned())),
            Ok(v) if v.is_finite() && (low..=high).contains(&v) => (Some(v), None),
            Ok(_) => {
                let range = format!("{} to {}", text::number(low), text::number(high));
                (None, Some(format!("outside {range}")))
            }
            Err(_) => (None, Some("not a number".into())),
        };
        self.error = error;
        value
    }
}
