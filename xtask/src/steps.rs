//! Steps that run one after the other, each timed, with a summary at the end.
//!
//! A failed step does not hide those after it. Absent: what the steps are (see `ci`).

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// The plantwin binary that `cargo build` makes.
pub(crate) fn binary() -> PathBuf {
    program("plantwin", false)
}

/// A program of the workspace, as cargo makes it.
pub(crate) fn program(name: &str, release: bool) -> PathBuf {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(if release { "release" } else { "debug" }).join(name)
}

/// Cargo, as it was called, in the folder of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(args).current_dir(root());
    // What `cargo run` says of this package. The build script of ring watches these, so that
    // with them everything that needs ring would be built again, and once more without them.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What ran so far.
#[derive(Default)]
pub(crate) struct Steps(Vec<Step>);

struct Step {
    name: &'static str,
    took: Duration,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    /// Not done, which is told and does not count.
    Skipped,
}

impl Steps {
    /// Runs a step and keeps how it went.
    pub(crate) fn run(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        println!("\n==> {name}");
        let started = now();
        let status = command.status().with_context(|| format!("cannot start {name}"))?;
        let end = if status.success() { End::Passed } else { End::Failed };
        let step = Step { name, took: started.elapsed(), end };
        println!("<== {}", line(&step));
        self.0.push(step);
        Ok(())
    }

    /// Keeps that a step was not done, and prints why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        println!("\n==> {name}\nWARNING: {why}");
        self.0.push(Step { name, took: Duration::ZERO, end: End::Skipped });
    }

    /// Prints all steps; fails if one of them did.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\nSummary");
        for step in &self.0 {
            println!("  {}", line(step));
        }
        let total: Duration = self.0.iter().map(|s| s.took).sum();
        let failed = self.0.iter().filter(|s| s.end == End::Failed).count();
        println!("  {} steps in {:.1} s, {failed} failed", self.0.len(), total.as_secs_f64());
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn line(step: &Step) -> String {
    let word = match step.end {
        End::Passed => "ok",
        End::Failed => "FAILED",
        End::Skipped => "SKIPPED",
    };
    format!("{:<16} {word:<7} {:>8.1} s", step.name, step.took.as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "durations of a developer's commands, no plant time")]
fn now() -> Instant {
    Instant::now()
}
