//! The one table of keys: what a key does, where, and what the help says of it.
//!
//! Key handling, help screen and footer all read [`TABLE`]; there is no second place that knows
//! a key. Absent: rebinding.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Where the keyboard goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Context {
    /// Everywhere, dialogs included.
    Always,
    /// On every screen while no dialog is open.
    Screens,
    /// Overview by zone.
    Overview,
    /// List of twins.
    Twins,
    /// One twin.
    Twin,
    /// List of alarms.
    Alarms,
    /// Help.
    Help,
    /// Typing a filter.
    Filter,
    /// Choosing a command.
    Choose,
    /// Filling in a command's arguments.
    Arguments,
    /// Typing the confirmation.
    Confirm,
}

impl Context {
    /// All contexts in the order of the help.
    pub(crate) const ALL: [Self; 11] = [
        Self::Always,
        Self::Screens,
        Self::Overview,
        Self::Twins,
        Self::Twin,
        Self::Alarms,
        Self::Help,
        Self::Filter,
        Self::Choose,
        Self::Arguments,
        Self::Confirm,
    ];

    /// Contexts whose bindings also hold here, most specific first.
    pub(crate) const fn inherits(self) -> &'static [Self] {
        match self {
            Self::Always => &[],
            Self::Overview | Self::Twins | Self::Twin | Self::Alarms => {
                &[Self::Screens, Self::Always]
            }
            Self::Screens
            | Self::Help
            | Self::Filter
            | Self::Choose
            | Self::Arguments
            | Self::Confirm => &[Self::Always],
        }
    }

    /// Heading in the help.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::Screens => "Every screen",
            Self::Overview => "Overview",
            Self::Twins => "Twins",
            Self::Twin => "One twin",
            Self::Alarms => "Alarms",
            Self::Help => "Help",
            Self::Filter => "Typing a filter",
            Self::Choose => "Choosing a command",
            Self::Arguments => "Filling in values",
            Self::Confirm => "Confirming",
        }
    }
}

/// What the person at the console may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Look only.
    Look,
    /// Acknowledge and command.
    Operate,
}

/// One key press as the table names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chord {
    /// A key without control or alt (shift is part of the character).
    Key(KeyCode),
    /// A character with control.
    Ctrl(char),
    /// Any printable character that nothing else takes.
    Text,
}

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Quit,
    Redraw,
    Help,
    Back,
    Freeze,
    ShowOverview,
    ShowTwins,
    ShowTwin,
    ShowAlarms,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Filter,
    NextZone,
    PreviousZone,
    NextAbnormal,
    PreviousAbnormal,
    NextPoint,
    PreviousPoint,
    NextTwin,
    PreviousTwin,
    ZoomIn,
    ZoomOut,
    Scale,
    Acknowledge,
    AcknowledgePage,
    Operate,
    Letters,
    Type,
    Erase,
    NextField,
    PreviousField,
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Where.
    pub(crate) context: Context,
    /// Keys, any of which will do.
    pub(crate) chords: &'static [Chord],
    /// What it asks for.
    pub(crate) command: Command,
    /// What the help says.
    pub(crate) help: &'static str,
    /// One word for the footer; empty: not in the footer.
    pub(crate) footer: &'static str,
    /// Least access; without it the binding does not exist.
    pub(crate) access: Access,
}

impl Binding {
    /// The keys as the help writes them.
    pub(crate) fn keys(&self) -> String {
        self.chords.iter().map(|c| chord_name(*c)).collect::<Vec<_>>().join(" ")
    }

    /// The first key as the footer writes it.
    pub(crate) fn first_key(&self) -> String {
        self.chords.first().map_or_else(String::new, |c| chord_name(*c))
    }
}

const fn ch(c: char) -> Chord {
    Chord::Key(KeyCode::Char(c))
}

const fn look(
    context: Context,
    chords: &'static [Chord],
    command: Command,
    footer: &'static str,
    help: &'static str,
) -> Binding {
    Binding { context, chords, command, help, footer, access: Access::Look }
}

const fn operate(
    context: Context,
    chords: &'static [Chord],
    command: Command,
    footer: &'static str,
    help: &'static str,
) -> Binding {
    Binding { context, chords, command, help, footer, access: Access::Operate }
}

const ENTER: Chord = Chord::Key(KeyCode::Enter);
const ESC: Chord = Chord::Key(KeyCode::Esc);
const UP: Chord = Chord::Key(KeyCode::Up);
const DOWN: Chord = Chord::Key(KeyCode::Down);
const LEFT: Chord = Chord::Key(KeyCode::Left);
const RIGHT: Chord = Chord::Key(KeyCode::Right);
const PAGE_UP: Chord = Chord::Key(KeyCode::PageUp);
const PAGE_DOWN: Chord = Chord::Key(KeyCode::PageDown);
const HOME: Chord = Chord::Key(KeyCode::Home);
const END: Chord = Chord::Key(KeyCode::End);
const TAB: Chord = Chord::Key(KeyCode::Tab);
const BACK_TAB: Chord = Chord::Key(KeyCode::BackTab);
const BACKSPACE: Chord = Chord::Key(KeyCode::Backspace);

/// Every key there is.
pub(crate) static TABLE: &[Binding] = &[
    look(
        Context::Always,
        &[Chord::Ctrl('c')],
        Command::Quit,
        "",
        "close the console; the plant runs on",
    ),
    look(Context::Always, &[Chord::Ctrl('l')], Command::Redraw, "", "draw the whole screen again"),
    look(Context::Screens, &[ch('1')], Command::ShowOverview, "", "overview by zone"),
    look(Context::Screens, &[ch('2')], Command::ShowTwins, "", "list of twins"),
    look(Context::Screens, &[ch('3')], Command::ShowTwin, "", "the selected twin"),
    look(Context::Screens, &[ch('4')], Command::ShowAlarms, "", "list of alarms"),
    look(Context::Screens, &[UP, ch('k')], Command::Up, "", "up"),
    look(Context::Screens, &[DOWN, ch('j')], Command::Down, "", "down"),
    look(Context::Screens, &[PAGE_UP], Command::PageUp, "", "a page up"),
    look(Context::Screens, &[PAGE_DOWN], Command::PageDown, "", "a page down"),
    look(Context::Screens, &[ch('g'), HOME], Command::First, "", "to the first"),
    look(Context::Screens, &[ch('G'), END], Command::Last, "", "to the last"),
    look(Context::Overview, &[ENTER], Command::Enter, "twins", "twins of the selected zone"),
    look(Context::Twins, &[ENTER], Command::Enter, "open", "open the selected twin"),
    look(
        Context::Twins,
        &[ch('/')],
        Command::Filter,
        "filter",
        "show twins whose name, zone or type holds a text",
    ),
    look(
        Context::Twins,
        &[ch('z')],
        Command::NextZone,
        "zone",
        "show the next zone, after the last all",
    ),
    look(Context::Twins, &[ch('Z')], Command::PreviousZone, "", "show the previous zone"),
    look(
        Context::Twins,
        &[ch('n')],
        Command::NextAbnormal,
        "next bad",
        "next twin that is not normal",
    ),
    look(
        Context::Twins,
        &[ch('N')],
        Command::PreviousAbnormal,
        "",
        "previous twin that is not normal",
    ),
    operate(Context::Twins, &[ch('c')], Command::Operate, "command", "command the selected twin"),
    look(Context::Twin, &[ch(']'), RIGHT], Command::NextPoint, "point", "trend of the next point"),
    look(
        Context::Twin,
        &[ch('['), LEFT],
        Command::PreviousPoint,
        "",
        "trend of the previous point",
    ),
    look(Context::Twin, &[ch('n')], Command::NextTwin, "next", "next twin of the list"),
    look(Context::Twin, &[ch('N')], Command::PreviousTwin, "", "previous twin of the list"),
    look(Context::Twin, &[ch('=')], Command::ZoomIn, "zoom", "shorter trend"),
    look(Context::Twin, &[ch('-')], Command::ZoomOut, "", "longer trend"),
    look(
        Context::Twin,
        &[ch('y')],
        Command::Scale,
        "scale",
        "scale the trend to its values or to the whole range",
    ),
    operate(Context::Twin, &[ch('c')], Command::Operate, "command", "command this twin"),
    operate(
        Context::Twin,
        &[ch('m')],
        Command::Letters,
        "",
        "retry or drop a letter that was set aside, after a confirmation",
    ),
    look(Context::Alarms, &[ENTER], Command::Enter, "open", "open the alarm's twin"),
    operate(
        Context::Alarms,
        &[ch('a')],
        Command::Acknowledge,
        "ack",
        "acknowledge the selected alarm",
    ),
    operate(
        Context::Alarms,
        &[ch('A')],
        Command::AcknowledgePage,
        "ack page",
        "acknowledge the alarms on the screen, after a confirmation",
    ),
    look(
        Context::Screens,
        &[ch('f')],
        Command::Freeze,
        "freeze",
        "freeze the view, or let it live again; the alarm bar keeps living",
    ),
    look(Context::Screens, &[ESC], Command::Back, "", "back, or clear the filter"),
    look(Context::Screens, &[ch('?')], Command::Help, "help", "this help"),
    look(
        Context::Screens,
        &[ch('q')],
        Command::Quit,
        "quit",
        "close the console; the plant runs on",
    ),
    look(Context::Help, &[UP, ch('k')], Command::Up, "", "up"),
    look(Context::Help, &[DOWN, ch('j')], Command::Down, "", "down"),
    look(Context::Help, &[PAGE_UP], Command::PageUp, "", "a page up"),
    look(Context::Help, &[PAGE_DOWN], Command::PageDown, "page", "a page down"),
    look(Context::Help, &[ESC, ch('?'), ch('q')], Command::Back, "close", "close the help"),
    look(Context::Filter, &[Chord::Text], Command::Type, "", "add to the filter"),
    look(Context::Filter, &[BACKSPACE], Command::Erase, "", "take the last character away"),
    look(Context::Filter, &[ENTER], Command::Enter, "keep", "keep the filter"),
    look(Context::Filter, &[ESC], Command::Back, "clear", "drop the filter"),
    operate(Context::Choose, &[UP, ch('k')], Command::Up, "", "up"),
    operate(Context::Choose, &[DOWN, ch('j')], Command::Down, "", "down"),
    operate(
        Context::Choose,
        &[ENTER],
        Command::Enter,
        "choose",
        "choose; nothing is sent yet if it asks for values or a confirmation",
    ),
    operate(Context::Choose, &[ESC], Command::Back, "cancel", "cancel"),
    operate(Context::Arguments, &[Chord::Text], Command::Type, "", "add to the value"),
    operate(Context::Arguments, &[BACKSPACE], Command::Erase, "", "take the last character away"),
    operate(Context::Arguments, &[TAB, DOWN], Command::NextField, "next", "next value"),
    operate(Context::Arguments, &[BACK_TAB, UP], Command::PreviousField, "", "previous value"),
    operate(Context::Arguments, &[ENTER], Command::Enter, "accept", "accept the values"),
    operate(Context::Arguments, &[ESC], Command::Back, "cancel", "cancel"),
    operate(Context::Confirm, &[Chord::Text], Command::Type, "", "type y to confirm"),
    operate(Context::Confirm, &[BACKSPACE], Command::Erase, "", "take the last character away"),
    operate(Context::Confirm, &[ENTER], Command::Enter, "send", "send, if y was typed"),
    operate(Context::Confirm, &[ESC], Command::Back, "cancel", "cancel"),
];

/// The bindings of exactly `context` (nothing inherited) that exist with `access`.
pub(crate) fn bindings(context: Context, access: Access) -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(move |b| {
        b.context == context && (b.access == Access::Look || access == Access::Operate)
    })
}

/// What `key` asks for in `context`, with the character it types if that is what it does.
pub(crate) fn resolve(context: Context, access: Access, key: &KeyEvent) -> Option<(Command, char)> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let chord = chord(key)?;
    let typed = match chord {
        Chord::Key(KeyCode::Char(c)) => Some(c),
        _ => None,
    };
    let all = std::iter::once(&context).chain(context.inherits());
    for here in all.clone() {
        if let Some(b) = bindings(*here, access).find(|b| b.chords.contains(&chord)) {
            return Some((b.command, typed.unwrap_or_default()));
        }
    }
    let c = typed.filter(|c| !c.is_control())?;
    all.flat_map(|here| bindings(*here, access))
        .find(|b| b.chords.contains(&Chord::Text))
        .map(|b| (b.command, c))
}

/// The chord of a key event; `None` for combinations that the table cannot name.
fn chord(key: &KeyEvent) -> Option<Chord> {
    let odd = KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::HYPER | KeyModifiers::META;
    if key.modifiers.intersects(odd) {
        return None;
    }
    match (key.modifiers.contains(KeyModifiers::CONTROL), key.code) {
        (true, KeyCode::Char(c)) => Some(Chord::Ctrl(c.to_ascii_lowercase())),
        (true, _) => None,
        (false, code) => Some(Chord::Key(code)),
    }
}

/// A chord as the help writes it.
fn chord_name(chord: Chord) -> String {
    match chord {
        Chord::Ctrl(c) => format!("ctrl-{c}"),
        Chord::Text => "any text".into(),
        Chord::Key(KeyCode::Char(c)) => c.into(),
        Chord::Key(KeyCode::Enter) => "enter".into(),
        Chord::Key(KeyCode::Esc) => "esc".into(),
        Chord::Key(KeyCode::Up) => "up".into(),
        Chord::Key(KeyCode::Down) => "down".into(),
        Chord::Key(KeyCode::Left) => "left".into(),
        Chord::Key(KeyCode::Right) => "right".into(),
        Chord::Key(KeyCode::PageUp) => "pgup".into(),
        Chord::Key(KeyCode::PageDown) => "pgdn".into(),
        Chord::Key(KeyCode::Home) => "home".into(),
        Chord::Key(KeyCode::End) => "end".into(),
        Chord::Key(KeyCode::Tab) => "tab".into(),
        Chord::Key(KeyCode::BackTab) => "shift-tab".into(),
        Chord::Key(KeyCode::Backspace) => "backspace".into(),
        Chord::Key(other) => other.to_string(),
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
