//! A pseudo terminal with the console in it, and what its screen shows.

use std::{
    io::{Read as _, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use plantwin_tests::{binary, wait_for};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// The console of a plant in a terminal of our own; killed when dropped.
pub(crate) struct Console {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    terminal: Option<Box<dyn MasterPty + Send>>,
}

impl Console {
    /// Starts plantwin in a terminal of this size with `env` set and `home` for its folders.
    pub(crate) fn start(
        home: &Path,
        args: &[&str],
        (columns, rows): (u16, u16),
        env: &[(&str, &str)],
    ) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo terminal");
        let mut command = CommandBuilder::new(binary());
        command.args(args);
        command.cwd(home);
        command.env("XDG_RUNTIME_DIR", home);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        for (name, value) in env {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("plantwin starts");
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().expect("a terminal can be read");
        let keys = pair.master.take_writer().expect("a terminal can be written");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let painted = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(count) = output.read(&mut bytes) {
                if count == 0 {
                    return;
                }
                if let Ok(mut screen) = painted.lock() {
                    screen.process(&bytes[..count]);
                }
            }
        });
        Self { child, keys, screen, terminal: Some(pair.master) }
    }

    /// What the screen shows now.
    pub(crate) fn text(&self) -> String {
        self.with(vt100::Screen::contents)
    }

    /// Asks something of the screen.
    pub(crate) fn with<T>(&self, ask: impl FnOnce(&vt100::Screen) -> T) -> T {
        ask(self.screen.lock().expect("no reader panicked").screen())
    }

    /// Types.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the console listens");
        self.keys.flush().expect("the console listens");
    }

    /// Waits for a screen that looks as wanted and returns its text.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let last = std::cell::RefCell::new(String::new());
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(what, || {
                let text = self.text();
                last.replace(text.clone());
                wanted(&text).then_some(text)
            })
        }));
        found.unwrap_or_else(|_| panic!("no {what}; the last screen:\n{}", last.borrow()))
    }

    /// Waits for all of these texts on one screen.
    pub(crate) fn wait_texts(&self, texts: &[&str]) -> String {
        self.wait(&format!("screen with {texts:?}"), |screen| {
            texts.iter().all(|t| screen.contains(t))
        })
    }

    /// Sends it a signal by name, e.g. `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.process_id().expect("it runs").to_string();
        let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{name}");
    }

    /// Makes the terminal larger or smaller.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let terminal = self.terminal.as_ref().expect("the terminal is open");
        self.screen.lock().expect("no reader panicked").screen_mut().set_size(rows, columns);
        terminal.resize(size).expect("a terminal can be resized");
    }

    /// Closes the terminal, as when its window is closed or its connection breaks.
    pub(crate) fn hang_up(&mut self) {
        self.terminal = None;
        self.keys = Box::new(std::io::sink());
        // The reader holds the terminal open until its last word was read.
        self.signal("HUP");
    }

    /// Waits for its end and returns its exit code.
    pub(crate) fn wait_end(&mut self) -> u32 {
        wait_for("the console's end", || self.child.try_wait().ok().flatten()).exit_code()
    }

    /// Whether the terminal is as it was before.
    pub(crate) fn is_restored(&self) -> bool {
        self.with(|s| !s.alternate_screen() && !s.hide_cursor())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
