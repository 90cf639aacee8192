//! The console on a real pseudo-terminal, in a process of its own.
//!
//! The child is this test binary again: it runs [`console_child`] alone, on the terminal that
//! the test reads through a terminal emulator.

use std::{
    io::Read,
    sync::mpsc::{RecvTimeoutError, sync_channel},
};

use plantwin_model::{AlarmState, CommandKey, Request};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use super::*;
use crate::fixture::{Fixed, NOW, troubled};

/// Tells the child what to do when an alarm is acknowledged.
const MODE: &str = "PLANTWIN_TUI_TEST_MODE";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime of one: acknowledges alarms, or fails as the test wants.
struct Runtime {
    view: watch::Sender<Arc<PlantView>>,
    mode: String,
    stop: Arc<AtomicBool>,
}

impl CommandSender for Runtime {
    fn send_keyed(&self, _: Option<CommandKey>, request: Request) -> Receiver<Outcome> {
        match self.mode.as_str() {
            "panic" => panic!("the console fell over"),
            "stop" => self.stop.store(true, Ordering::Relaxed),
            "other" => {
                let other = std::thread::spawn(|| panic!("an actor fell over"));
                assert!(other.join().is_err());
            }
            _ => {}
        }
        let Request::Acknowledge { alarm } = request else { panic!("unexpected {request:?}") };
        self.view.send_modify(|view| {
            let view = Arc::make_mut(view);
            let mut alarms = view.alarms.to_vec();
            for a in alarms.iter_mut().filter(|a| a.id == alarm) {
                a.state = AlarmState::Acknowledged;
            }
            view.alarms = alarms.into();
        });
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        sender.send(Outcome::Done).expect("room for one");
        receiver
    }
}

#[test]
#[ignore = "only run as the child of the tests below, on their terminal"]
fn console_child() {
    let Ok(mode) = std::env::var(MODE) else { return };
    let (sender, receiver) = watch::channel(Arc::new(troubled()));
    let options = Options::new(Arc::new(Fixed(NOW)));
    let runtime = Arc::new(Runtime { view: sender, mode, stop: options.stop.clone() });
    let console = || run(receiver, runtime, options);
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(console));
    let end = match end {
        Ok(Ok(exit)) => format!("{exit:?}"),
        Ok(Err(error)) => format!("{error}"),
        Err(_) => "Panicked".into(),
    };
    let raw = crossterm::terminal::is_raw_mode_enabled().expect("a terminal");
    println!("\r\nended {end}, raw mode {raw}");
}

/// Runs the console, presses `keys` one after the other, each as soon as the screen shows the
/// text before it; returns the emulator as it stood at the end, and the screen at every key.
fn drive(mode: &str, keys: &[(&str, &str)], last: &str) -> (vt100::Parser, Vec<String>) {
    let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
    let pty = native_pty_system().openpty(size).expect("a pseudo-terminal");
    let mut command = CommandBuilder::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "run::tests::console_child", "--ignored", "--nocapture"]);
    command.env(MODE, mode);
    command.env("TERM", "xterm-256color");
    command.env("RUST_BACKTRACE", "0");
    let mut child = pty.slave.spawn_command(command).expect("the child starts");
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().expect("a reader");
    let mut writer = pty.master.take_writer().expect("a writer");
    let (bytes, incoming) = sync_channel(64);
    let pump = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = reader.read(&mut chunk) {
            if bytes.send(chunk[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut screen = vt100::Parser::new(24, 80, 0);
    let wait_for = |screen: &mut vt100::Parser, text: &str| {
        while !screen.screen().contents().contains(text) {
            match incoming.recv_timeout(PATIENCE) {
                Ok(chunk) => screen.process(&chunk),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{text:?} never came:\n{}", screen.screen().contents())
                }
            }
        }
    };
    let mut seen = Vec::new();
    for (text, key) in keys {
        wait_for(&mut screen, text);
        seen.push(screen.screen().contents());
        writer.write_all(key.as_bytes()).expect("typed");
        writer.flush().expect("typed");
    }
    wait_for(&mut screen, last);
    child.wait().expect("the child ends");
    drop((writer, pty.master));
    while let Ok(chunk) = incoming.recv_timeout(PATIENCE) {
        screen.process(&chunk);
    }
    pump.join().expect("the reader ends");
    (screen, seen)
}

fn restored(terminal: &vt100::Parser) {
    let screen = terminal.screen();
    assert!(!screen.alternate_screen(), "the alternate screen was left");
    assert!(!screen.hide_cursor(), "the cursor is back");
    assert!(screen.contents().contains("raw mode false"), "{}", screen.contents());
}

#[test]
fn an_alarm_is_seen_acknowledged_and_the_console_closed() {
    let keys = [("LATEST ALARMS", "4"), ("UNACK 14:01:58", "a"), ("level_high: done", "q")];
    let (end, _) = drive("plain", &keys, "ended Quit");
    restored(&end);
}

#[test]
fn a_stop_from_outside_restores_the_terminal() {
    let keys = [("LATEST ALARMS", "4"), ("UNACK 14:01:58", "a")];
    let (end, _) = drive("stop", &keys, "ended Stopped");
    restored(&end);
}

#[test]
fn a_panic_of_the_console_restores_the_terminal_before_it_is_reported() {
    let keys = [("LATEST ALARMS", "4"), ("UNACK 14:01:58", "a")];
    let (end, _) = drive("panic", &keys, "ended Panicked");
    restored(&end);
    let contents = end.screen().contents();
    assert!(contents.contains("the console fell over"), "the report is readable: {contents}");
}

#[test]
fn a_panic_elsewhere_leaves_the_console_running_and_its_screen_whole() {
    let keys = [
        ("LATEST ALARMS", "4"),
        ("UNACK 14:01:58", "a"),
        ("level_high: done", "1"),
        ("SERVERS AND COUNTERS", "q"),
    ];
    let (end, seen) = drive("other", &keys, "ended Quit");
    let last = seen.last().expect("a screen at every key");
    assert!(!last.contains("fell over") && last.contains("plantwin quadruple-tank"), "{last}");
    restored(&end);
}
