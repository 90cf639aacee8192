//! What acts on the plant: acknowledgements, commands, and the dialogs on the way to them.
//!
//! Absent: sending, which the surroundings do; the right to act, which the runtime checks again.

use plantwin_model::{
    AlarmState, DeviceId,
    Priority::{Critical, High, Low, Medium},
    Request, Role,
};

use super::{
    Action, App, Dialog, SLID_GUARD,
    dialog::{Entry, Field, Labelled, Next},
};
use crate::{keys::Command, layout::offset, theme::priority_name};

impl App {
    pub(super) fn acknowledge_one(&mut self) -> Vec<Action> {
        let Some(alarm) = self.shown.alarms.get(self.alarm) else { return Vec::new() };
        // The key may have been meant for the alarm that stood here a moment ago.
        if self.alarm_slid.is_some_and(|at| self.wall.since(at) < SLID_GUARD) {
            self.say("the selected alarm went away: look, then press a again", true);
            return Vec::new();
        }
        if alarm.state == AlarmState::Acknowledged {
            let text = format!("{} is acknowledged already", alarm.id);
            self.say(text, false);
            return Vec::new();
        }
        let label = format!("acknowledge {}", alarm.id);
        let request = Request::Acknowledge { alarm: alarm.id.clone() };
        self.acknowledged = Some(alarm.id.clone());
        self.send(vec![(label, request)])
    }

    pub(super) fn ask_acknowledge_page(&mut self) {
        let Some(layout) = self.layout() else { return };
        let rows = layout.alarm_rows();
        let first = offset(self.alarm, self.shown.alarms.len(), rows);
        let open: Vec<_> = self
            .shown
            .alarms
            .iter()
            .skip(first)
            .take(rows)
            .filter(|a| a.state != AlarmState::Acknowledged)
            .collect();
        if open.is_empty() {
            self.say("every alarm on the screen is acknowledged already", false);
            return;
        }
        let mut by_priority = [0_usize; 4];
        for alarm in &open {
            by_priority[alarm.priority as usize] += 1;
        }
        let parts: Vec<_> = [Critical, High, Medium, Low]
            .into_iter()
            .filter(|p| by_priority[*p as usize] > 0)
            .map(|p| format!("{} {}", by_priority[p as usize], priority_name(p)))
            .collect();
        let question =
            vec![format!("acknowledge {} alarms on the screen?", open.len()), parts.join(", ")];
        let requests = open
            .iter()
            .map(|a| {
                let request = Request::Acknowledge { alarm: a.id.clone() };
                (format!("acknowledge {}", a.id), request)
            })
            .collect();
        self.dialog = Some(Dialog::Confirm { question, requests, typed: String::new() });
    }

    /// Whoever acts must see what is, not what was.
    fn sees_what_is(&mut self) -> bool {
        if self.is_lost() {
            self.say("the link is lost: a command would act on what nobody sees", true);
            return false;
        }
        if self.frozen_since.is_some() {
            self.say("the view is frozen: press f before a command", true);
            return false;
        }
        true
    }

    /// Offers what can be done with the letters of the selected twin that were set aside.
    pub(super) fn ask_letters(&mut self) {
        if !self.sees_what_is() {
            return;
        }
        let Some(twin) = self.selected_twin().map(|t| t.id.clone()) else { return };
        let entries = Entry::letters(&twin, &self.shown);
        if entries.is_empty() {
            self.say(format!("{twin} has no letter set aside"), false);
        } else {
            self.dialog = Some(Dialog::Choose { twin, entries, selected: 0 });
        }
    }

    pub(super) fn ask_command(&mut self) {
        if !self.sees_what_is() {
            return;
        }
        let Some(twin) = self.selected_twin() else { return };
        let entries = Entry::all(twin, &self.shown);
        let twin = twin.id.clone();
        if entries.is_empty() {
            self.say(format!("{twin} has no commands"), false);
        } else {
            self.dialog = Some(Dialog::Choose { twin, entries, selected: 0 });
        }
    }

    pub(super) fn in_dialog(
        &mut self,
        dialog: Dialog,
        command: Command,
        typed: char,
    ) -> Vec<Action> {
        let next = match (dialog, command) {
            (_, Command::Back) => Next::Close,
            (Dialog::Choose { twin, entries, selected }, _) => {
                self.in_choice(twin, entries, selected, command)
            }
            (Dialog::Arguments { twin, entry, mut fields, mut focus }, _) => {
                let last = fields.len().saturating_sub(1);
                match command {
                    Command::NextField => focus = if focus >= last { 0 } else { focus + 1 },
                    Command::PreviousField => focus = focus.checked_sub(1).unwrap_or(last),
                    Command::Type => fields[focus].push(typed),
                    Command::Erase => fields[focus].pop(),
                    _ => {
                        let values: Vec<_> = fields.iter_mut().map(Field::value).collect();
                        let bad = values.iter().position(Option::is_none);
                        if bad.is_none() {
                            let args: Vec<_> = fields
                                .iter()
                                .zip(values.into_iter().flatten())
                                .map(|(f, v)| (f.point.name.clone(), v))
                                .collect();
                            return self.follow(entry.ready(twin, &args));
                        }
                        // A value that was not reached yet is no mistake.
                        if fields[focus].error.is_none() {
                            for field in fields.iter_mut().filter(|f| f.text.is_empty()) {
                                field.error = None;
                            }
                        }
                        focus = bad.unwrap_or(focus);
                    }
                }
                Next::Open(Dialog::Arguments { twin, entry, fields, focus })
            }
            (Dialog::Confirm { question, requests, typed: mut word }, _) => match command {
                Command::Enter if word == "y" => Next::Send(requests),
                Command::Type | Command::Erase | Command::Enter => {
                    match command {
                        Command::Type if word.is_empty() => word.push(typed.to_ascii_lowercase()),
                        Command::Erase => drop(word.pop()),
                        _ => {}
                    }
                    Next::Open(Dialog::Confirm { question, requests, typed: word })
                }
                _ => Next::Close,
            },
        };
        self.follow(next)
    }

    fn in_choice(
        &mut self,
        twin: DeviceId,
        entries: Vec<Entry>,
        selected: usize,
        command: Command,
    ) -> Next {
        let selected = match command {
            Command::Up => selected.saturating_sub(1),
            Command::Down => (selected + 1).min(entries.len().saturating_sub(1)),
            _ => match entries.get(selected).cloned() {
                Some(entry) if entry.role <= self.role => return entry.chosen(twin),
                Some(entry) => {
                    let need = role_name(entry.role);
                    self.say(format!("{} needs the role {need}", entry.name()), true);
                    selected
                }
                None => return Next::Close,
            },
        };
        Next::Open(Dialog::Choose { twin, entries, selected })
    }

    fn follow(&mut self, next: Next) -> Vec<Action> {
        match next {
            Next::Open(dialog) => self.dialog = Some(dialog),
            Next::Close => {}
            Next::Send(requests) => return self.send(requests),
        }
        Vec::new()
    }

    fn send(&mut self, requests: Vec<Labelled>) -> Vec<Action> {
        if self.is_lost() {
            self.say("not sent: the link is lost", true);
            return Vec::new();
        }
        match requests.as_slice() {
            [(label, _)] => self.say(format!("{label}: sent"), false),
            many => self.say(format!("{} requests sent", many.len()), false),
        }
        requests.into_iter().map(|(label, request)| Action::Send(label, request)).collect()
    }
}

/// The word for a role.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Engineer => "engineer",
        Role::Security => "security",
    }
}
