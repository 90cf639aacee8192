//! Mosquitto, and its two clients as a source and a sink: programs that we did not write.
//!
//! Absent: what is said through them.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread::JoinHandle,
};

use crate::{free_port, wait_until};

/// A broker on loopback; ended when dropped.
pub struct Mosquitto {
    child: Child,
    config: PathBuf,
    log: PathBuf,
    /// TCP port.
    pub port: u16,
}

impl Mosquitto {
    /// Starts one that queues without a bound and forgets everything when it ends, with its files
    /// in `folder`.
    pub fn start(folder: &Path) -> Self {
        let (port, log) = (free_port(), folder.join("mosquitto.log"));
        let config = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
             max_queued_messages 0\nset_tcp_nodelay true\n\
             log_dest file {}\nlog_type subscribe\nlog_type error\n",
            log.display(),
        );
        fs::write(&config, text).expect("the folder can be written");
        // It gives up root's rights before it opens its log.
        fs::write(&log, "").expect("the folder can be written");
        let open = |path: &Path, mode| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        open(&log, 0o666);
        open(folder, 0o755);
        Self { child: launch(&config, port), config, log, port }
    }

    /// Starts it again after [`Self::kill`], at the same port.
    pub fn restart(&mut self) {
        self.child = launch(&self.config, self.port);
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a client with this name has subscribed.
    pub fn wait_subscribed(&self, client: &str) {
        wait_until(&format!("{client} to subscribe"), || {
            fs::read_to_string(&self.log).is_ok_and(|log| log.contains(&format!(": {client} ")))
        });
    }

    /// A client that publishes each line said to it, with quality of service 1.
    pub fn source(&self, topic: &str) -> Source {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-l", "-q", "1", "-t", topic, "-h", "127.0.0.1", "-p"]);
        command.arg(self.port.to_string()).stdin(Stdio::piped());
        let mut child = command.spawn().expect("mosquitto_pub starts");
        let pipe = child.stdin.take().expect("stdin is a pipe");
        Source { child, pipe }
    }

    /// A client with a session that stays, that hands each message on as topic and payload.
    pub fn sink(
        &self,
        client: &str,
        topic: &str,
        mut take: impl FnMut(&str, &str) + Send + 'static,
    ) -> Sink {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-c", "-i", client, "-q", "1", "-t", topic, "-F", "%t %p"]);
        command.args(["-h", "127.0.0.1", "-p"]).arg(self.port.to_string()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("mosquitto_sub starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        let thread = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((topic, payload)) = line.split_once(' ') {
                    take(topic, payload);
                }
            }
        });
        self.wait_subscribed(client);
        Sink { child, thread: Some(thread) }
    }
}

fn launch(config: &Path, port: u16) -> Child {
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("mosquitto starts");
    wait_until("mosquitto to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running `mosquitto_pub`; ended when dropped.
pub struct Source {
    child: Child,
    pipe: ChildStdin,
}

impl Source {
    /// Publishes one line.
    pub fn say(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.pipe, "{line}")
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `mosquitto_sub`; ended when dropped.
pub struct Sink {
    child: Child,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(thread) = self.thread.take() {
            // Were it to have panicked, that was printed.
            let _ = thread.join();
        }
    }
}
