//! What must pass before a change is taken.
//!
//! One profile and one set of features throughout, so that nothing is built twice that need not
//! be. Absent: installing tools (see `.ci/run`), running fuzz targets,
//! benchmarks, long runs (see `long`).

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::Result;

use crate::{
    long::{SHORT, kill_loop_command},
    steps::{Steps, binary, cargo},
    supply,
};

/// Format, lints, fuzz targets, supply chain, tests, kill loops and documentation.
pub(crate) fn everything() -> Result<ExitCode> {
    let mut steps = Steps::default();
    steps.run("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.run("lints", &mut cargo(&clippy))?;
    let fuzz =
        ["check", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"];
    // Only that they fit what they call: without a linker's work there is nothing to link.
    let mut fuzz = cargo(&fuzz);
    steps.run("fuzz targets", fuzz.env("CUSTOM_LIBFUZZER_PATH", "/libnone.a"))?;
    supply::check(&mut steps)?;
    run_tests(&mut steps)?;
    // With the programs of the tests: nothing is built for it.
    steps.run("kill loops", &mut kill_loop_command(false, SHORT, 1))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    steps.run("documentation", docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(steps.finish())
}

/// The tests alone.
pub(crate) fn tests() -> Result<ExitCode> {
    let mut steps = Steps::default();
    run_tests(&mut steps)?;
    Ok(steps.finish())
}

fn run_tests(steps: &mut Steps) -> Result<()> {
    // The binary of the end-to-end tests together with all tests: with the same features, so that
    // no dependency is built twice, and before them, so that none waits for it within its limit.
    steps.run("build", &mut cargo(&["build", "--workspace", "--bins", "--tests"]))?;
    if has_nextest() {
        let mut tests = cargo(&["nextest", "run", "--workspace"]);
        if std::env::var_os("CI").is_some() {
            tests.args(["--profile", "ci"]);
        }
        steps.run("tests", tests.envs(environment()))?;
    } else {
        println!("\ncargo-nextest is not installed: the tests run under `cargo test`");
        let args =
            ["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"];
        steps.run("tests", cargo(&args).envs(environment()))?;
    }
    steps.run("doc tests", &mut cargo(&["test", "--workspace", "--doc"]))
}

/// What the tests are told. Properties are tried with the same values each time: whether a change is
/// taken must not hang on a draw. Under `cargo test` alone each run draws anew.
fn environment() -> [(&'static str, PathBuf); 2] {
    [("PLANTWIN_BINARY", binary()), ("PROPTEST_RNG_SEED", "1".into())]
}

fn has_nextest() -> bool {
    let mut command: Command = cargo(&["nextest", "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}
