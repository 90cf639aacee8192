//! `cargo xtask killloop`, `soak`, `simulate` and `images`: the runs that look for losses.
//!
//! Absent: what they do (see the packages `plantwin-tests`, `plantwin-simulate` and
//! `plantwin-store`).

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::steps::{cargo, program, root};

/// Kills of the short form, which `cargo xtask ci` runs.
pub(crate) const SHORT: u64 = 300;

/// Arguments of `cargo xtask killloop`.
#[derive(Debug, clap::Args)]
pub(crate) struct KillLoop {
    /// How often the plant is killed; the long form is 10000
    #[arg(long, default_value_t = SHORT)]
    loops: u64,
    /// Seed of the load and of the moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Test what is released: quicker, so better for the long form
    #[arg(long)]
    release: bool,
}

/// Arguments of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Soak {
    /// How long; 0.05 for a first try
    #[arg(long)]
    hours: f64,
    /// Simulated devices
    #[arg(long, default_value_t = 10_000)]
    devices: u32,
    /// Seed of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the report goes
    #[arg(long, default_value = "soak.md", value_name = "FILE")]
    out: PathBuf,
}

/// Arguments that are handed on.
#[derive(Debug, clap::Args)]
pub(crate) struct Passed {
    /// Handed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Kills a plant again and again.
pub(crate) fn kill_loop(args: &KillLoop) -> Result<ExitCode> {
    build("killloop", args.release)?;
    run(kill_loop_command(args.release, args.loops, args.seed))
}

/// The command of the kill loops, which must have been built.
pub(crate) fn kill_loop_command(release: bool, loops: u64, seed: u64) -> Command {
    let mut command = Command::new(program("killloop", release));
    command.args(["--loops", &loops.to_string(), "--seed", &seed.to_string()]);
    command.env("PLANTWIN_BINARY", program("plantwin", release)).current_dir(root());
    command
}

/// Runs a large plant under faults for a long time.
pub(crate) fn soak(args: &Soak) -> Result<ExitCode> {
    build("soak", true)?;
    let mut command = Command::new(program("soak", true));
    command.args(["--hours", &args.hours.to_string(), "--devices", &args.devices.to_string()]);
    command.args(["--seed", &args.seed.to_string()]).arg("--out").arg(&args.out);
    command.env("PLANTWIN_BINARY", program("plantwin", true));
    run(command)
}

/// Rehearses a plant and all its disasters in simulated time.
pub(crate) fn simulate(args: &Passed) -> Result<ExitCode> {
    let mut command = cargo(&["run", "--release", "--package", "plantwin-simulate", "--"]);
    command.args(&args.args);
    run(command)
}

/// Opens images of the store as power cuts leave them.
pub(crate) fn images(args: &Passed) -> Result<ExitCode> {
    let damage = ["run", "--release", "--package", "plantwin-store", "--example", "damage", "--"];
    let mut command = cargo(&damage);
    command.args(&args.args);
    run(command)
}

fn build(what: &str, release: bool) -> Result<()> {
    let packages = ["--package", "plantwin", "--package", "plantwin-tests"];
    let mut build = cargo(&["build", "--bin", "plantwin", "--bin", what]);
    build.args(packages);
    if release {
        build.arg("--release");
    }
    if !build.status().context("cannot start cargo")?.success() {
        bail!("{what} does not build");
    }
    Ok(())
}

fn run(mut command: Command) -> Result<ExitCode> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
