//! `cargo xtask screenshot`: pictures of the console for the documentation.
//!
//! A plant really runs, and the console that `plantwin tui --pictures` attaches to it is the
//! real one. Absent: drawing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::steps::{binary, cargo, root};

/// The plant of the pictures in the README, and the twin whose thermometer drifts in it.
const PLANT: &str = "mixed-line";
const TWIN: &str = "probe_mixer";

/// Arguments of `cargo xtask screenshot`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Plant file below `plants/`, without its ending
    #[arg(long, default_value = PLANT)]
    plant: String,
    /// How long the console watches before it is drawn; by default until a thermometer of the
    /// default plant has drifted away from its model and a belt has changed its path
    #[arg(long, default_value = "185s", value_name = "TIME")]
    after: String,
    /// Twin whose own screen is drawn; default: the one that drifts in the default plant, in
    /// others one with an alarm
    #[arg(long)]
    twin: Option<String>,
    /// Where the pictures go, from the root of the workspace
    #[arg(long, default_value = "docs/images", value_name = "DIR")]
    out: PathBuf,
}

/// Runs the plant, draws its console, stops it.
pub(crate) fn take(args: &Args) -> Result<ExitCode> {
    let plant = root().join("plants").join(format!("{}.toml", args.plant));
    if !plant.is_file() {
        bail!("there is no plant {}", plant.display());
    }
    if !cargo(&["build", "--package", "plantwin"]).status()?.success() {
        bail!("plantwin does not build");
    }
    let binary = binary();
    let data = env::temp_dir().join(format!("plantwin-screenshot-{}", std::process::id()));
    let running = Running::start(&binary, &plant, &data)?;
    let mut console = Command::new(&binary);
    console.args(["tui", "--readonly", "--for", &args.after]);
    console.arg("--data").arg(&data).arg("--pictures").arg(root().join(&args.out));
    if let Some(twin) = args.twin.as_deref().or((args.plant == PLANT).then_some(TWIN)) {
        console.args(["--twin", twin]);
    }
    let status = console.status().context("cannot start the console")?;
    drop(running);
    // The plant made it, unless it did not come that far.
    if data.is_dir() {
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A plant that is told to stop, and waited for, when this is dropped.
struct Running(Child);

impl Running {
    fn start(binary: &Path, plant: &Path, data: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("run").arg(plant).args(["--headless", "--data"]).arg(data);
        let child = command.stdout(Stdio::null()).spawn().context("cannot start the plant")?;
        Ok(Self(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM, so that it saves and takes its socket away; std can only kill.
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        if !asked.is_ok_and(|s| s.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}
