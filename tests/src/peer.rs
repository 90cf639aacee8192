//! Programs of others, played as devices or clients.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write as _},
    net::{TcpListener, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// A foreign program; ended when dropped.
pub struct Peer {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// Whether all of these programs can be started. Where they are required (`CI=true`) a missing
/// one fails the test; elsewhere the test says loudly that it is left out.
pub fn available(programs: &[&str]) -> bool {
    let missing: Vec<&&str> = programs
        .iter()
        .filter(|p| {
            let found = match p.split_once(':') {
                Some(("python", module)) => Command::new("python3")
                    .args(["-c", &format!("import {module}")])
                    .stderr(Stdio::null())
                    .status(),
                _ => {
                    Command::new("sh").args(["-c", &format!("command -v {p} >/dev/null")]).status()
                }
            };
            !found.is_ok_and(|s| s.success())
        })
        .collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs these installed: {missing:?}");
    eprintln!("LEFT OUT: this test needs {missing:?}, which cannot be started here");
    false
}

/// A port of 127.0.0.1 that was free a moment ago, for TCP and for UDP.
pub fn free_port() -> u16 {
    // Below those that the system hands out itself (from 32768 on), so that nobody who asks for any
    // port takes it meanwhile; where to begin differs from one process of the tests to the next.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(61);
    loop {
        let n = NEXT.fetch_add(1, Relaxed);
        assert!(n < 12_000, "no port is free");
        let port = 20_000 + (first.wrapping_add(n) % 12_000) as u16;
        let at = ("127.0.0.1", port);
        // Many ports of the one kind may be taken by a soak beside the tests.
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
}

impl Peer {
    /// Starts a program and collects what it prints.
    pub fn start<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Self {
        let mut command = Command::new(program);
        command.args(args);
        Self::spawn(command)
    }

    /// Starts a prepared command and collects what it prints.
    pub fn spawn(mut command: Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let out = child.stdout.take().map(BufReader::new);
        let err = child.stderr.take().map(BufReader::new);
        if let Some(out) = out {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || collect(out, &lines));
        }
        if let Some(err) = err {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || collect(err, &lines));
        }
        Self { child, lines }
    }

    /// Runs a program to its end and returns what it printed on stdout.
    pub fn output<S: AsRef<OsStr>>(program: &str, args: &[S]) -> String {
        let out =
            Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Says a line to the program.
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is a pipe");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the peer listens");
    }

    /// What the program printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().map(|l| l.clone()).unwrap_or_default()
    }

    /// Whether any printed line contains `text`.
    pub fn printed(&self, text: &str) -> bool {
        self.lines().iter().any(|l| l.contains(text))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code (minus one if a signal ended it), once it has ended.
    pub fn try_wait(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().ok().flatten().map(|s| s.code())
    }

    /// Ends the program at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(reader: impl BufRead, lines: &Mutex<Vec<String>>) {
    for line in reader.lines().map_while(Result::ok) {
        if let Ok(mut lines) = lines.lock() {
            lines.push(line);
        }
    }
}
