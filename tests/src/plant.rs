//! The real binary, running a plant.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{Peer, wait::wait_or, wait_for};

/// The plantwin binary of this build, built on first use so that it is never an old one; or the
/// one that `PLANTWIN_BINARY` names, for testing what was packaged.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(packaged) = std::env::var_os("PLANTWIN_BINARY") {
            return packaged.into();
        }
        let test = std::env::current_exe().expect("a test is a program");
        let folder = test.parent().expect("target/PROFILE/PROGRAM or target/PROFILE/deps/TEST");
        let profile = folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(folder);
        let release = profile.file_name().is_some_and(|n| n == "release");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "-p", "plantwin"]);
        if release {
            build.arg("--release");
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        // What cargo says of the package under test. The build script of ring watches these: with
        // them everything that needs ring would be built again here, and once more outside.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        let status = build.status().expect("cargo builds plantwin");
        assert!(status.success(), "plantwin does not build");
        profile.join("plantwin")
    })
}

/// A running plant; killed when dropped.
pub struct Plant {
    peer: Option<Peer>,
    pid: u32,
    /// Folder of its data and socket.
    pub data: PathBuf,
    own: Option<tempfile::TempDir>,
}

impl Plant {
    /// Runs a plant file headless with `more` arguments, in a data folder of its own.
    pub fn run(file: &Path, more: &[&str]) -> Self {
        let own = tempfile::tempdir().expect("a temporary folder");
        let data = own.path().join("data");
        let mut plant = Self::run_in(file, &data, more);
        plant.own = Some(own);
        plant
    }

    /// Runs a plant in this data folder.
    pub fn run_in(file: &Path, data: &Path, more: &[&str]) -> Self {
        let mut args: Vec<&str> = vec!["run"];
        let (file, folder) = (file.to_string_lossy(), data.to_string_lossy());
        args.extend([&*file, "--headless", "--data", &*folder]);
        args.extend(more);
        let mut command = command(home(data));
        command.args(&args);
        let peer = Peer::spawn(command);
        let pid = peer.id();
        let mut plant = Self { peer: Some(peer), pid, data: data.to_path_buf(), own: None };
        wait_for("the plant's first status", || {
            if let Some(code) = plant.peer.as_mut().and_then(Peer::try_wait) {
                panic!("the plant ended with {code:?} instead of running:\n{}", plant.log());
            }
            plant.try_status()
        });
        plant
    }

    /// Its state, if it answers.
    pub fn try_status(&self) -> Option<Value> {
        let out = self.call(&["status", "--json"]);
        out.status.success().then(|| serde_json::from_slice(&out.stdout).expect("status is JSON"))
    }

    /// Its state.
    pub fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("the plant is gone:\n{}", self.log()))
    }

    /// Runs another command of plantwin against this plant.
    pub fn call(&self, args: &[&str]) -> Output {
        command(home(&self.data))
            .args(args)
            .arg("--data")
            .arg(&self.data)
            .output()
            .expect("plantwin starts")
    }

    /// Follows a twin: `plantwin tap`, whose lines are collected.
    pub fn follow(&self, id: &str) -> Peer {
        let mut command = command(home(&self.data));
        command.args(["tap", id, "--data"]).arg(&self.data);
        Peer::spawn(command)
    }

    /// Waits until the twin looks as wanted and returns it.
    pub fn wait_twin(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = || {
            let status = self.status();
            twin(&status, id).filter(|t| wanted(t)).cloned()
        };
        wait_or(look, || {
            let status = self.status();
            format!("{id}: {what}; it is:\n{:?}\nlog:\n{}", twin(&status, id), self.log())
        })
    }

    /// Waits until the alarm is there in a state that is wanted.
    pub fn wait_alarm(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("alarm {id}"), || {
            let status = self.status();
            let alarms = status["alarms"].as_array()?;
            alarms.iter().find(|a| a["id"] == id && wanted(a)).cloned()
        })
    }

    /// Waits until the alarm is gone.
    pub fn wait_no_alarm(&self, id: &str) {
        crate::wait_until(&format!("alarm {id} to be gone"), || {
            let status = self.status();
            !status["alarms"].as_array().is_some_and(|a| a.iter().any(|a| a["id"] == id))
        });
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.peer.as_ref().map(|p| p.lines().join("\n")).unwrap_or_default()
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it a signal by name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{name}");
    }

    /// Waits for its end and returns its exit code.
    pub fn wait_end(&mut self) -> Option<i32> {
        wait_for("the plant's end", || self.peer.as_mut().and_then(Peer::try_wait))
    }

    /// Kills it at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut peer) = self.peer.take() {
            peer.kill();
        }
    }
}

/// Where a plant with this data folder is looked for by its name: beside the data.
fn home(data: &Path) -> &Path {
    data.parent().unwrap_or(data)
}

/// The binary, with `home` for its working and its runtime folder, and nothing of the tester's
/// own surroundings that could change what it prints.
pub fn command(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(home).env("XDG_RUNTIME_DIR", home);
    for name in ["NO_COLOR", "RUST_LOG", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary in `home` to its end.
pub fn run_to_end(home: &Path, args: &[&str]) -> Output {
    command(home).args(args).output().expect("plantwin starts")
}

/// A plant file that is shipped.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plants").join(format!("{name}.toml"))
}

/// A plant file of the tests.
pub fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.toml"))
}

/// Writes a plant file of the tests into `folder` with words of it changed; each must be there.
pub fn changed(name: &str, folder: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let mut text = std::fs::read_to_string(scenario(name)).expect("a scenario of the tests");
    for (from, to) in changes {
        assert!(text.contains(from), "{name} does not hold {from}");
        text = text.replace(from, to);
    }
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("a temporary folder can be written");
    file
}

/// A twin of a status.
pub fn twin<'a>(status: &'a Value, id: &str) -> Option<&'a Value> {
    status["twins"].as_array()?.iter().find(|t| t["id"] == id)
}
