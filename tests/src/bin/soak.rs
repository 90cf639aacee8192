//! `cargo xtask soak`: a large plant for hours under troubles.
//!
//! `soak [--hours 1] [--devices 10000] [--seed 1] [--out soak.md]`. Exit 0 if all limits are kept,
//! else 1 with the folder kept. Absent: everything but arguments (see the library).

use std::{env, path::PathBuf, process::ExitCode};

use plantwin_tests::{args::Args, soak};

fn read() -> Result<soak::Soak, String> {
    let args = Args::read(&["hours", "devices", "seed", "out"], env::args().skip(1))?;
    Ok(soak::Soak {
        hours: args.get("hours", 1.0)?,
        devices: args.get("devices", 10_000)?,
        seed: args.get("seed", 1)?,
        out: args.get("out", PathBuf::from("soak.md"))?,
    })
}

fn main() -> ExitCode {
    let soak = match read() {
        Ok(soak) => soak,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(64);
        }
    };
    if !plantwin_tests::available(&["mosquitto", "mosquitto_sub"]) {
        eprintln!("soak: failed to find mosquitto and its clients");
        return ExitCode::from(69);
    }
    let folder = tempfile::Builder::new().prefix("plantwin-soak-").tempdir();
    let folder = folder.expect("a temporary folder");
    if soak::run(&soak, folder.path()) {
        return ExitCode::SUCCESS;
    }
    println!("kept: {}", folder.keep().display());
    ExitCode::FAILURE
}
