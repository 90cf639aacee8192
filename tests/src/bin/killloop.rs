//! `cargo xtask killloop`: kills a plant again and again, and looks for what was lost.
//!
//! `killloop [--loops 300] [--seed 1]`. Exit 0 if nothing was lost, else 1 with the folder kept.
//! Absent: everything but arguments (see the library).

use std::{env, process::ExitCode};

use plantwin_tests::{args::Args, killloop};

fn main() -> ExitCode {
    let args = Args::read(&["loops", "seed"], env::args().skip(1));
    let kills = args.and_then(|args| {
        Ok(killloop::Kills { loops: args.get("loops", 300)?, seed: args.get("seed", 1)? })
    });
    let kills = match kills {
        Ok(kills) => kills,
        Err(error) => {
            eprintln!("killloop: {error}");
            return ExitCode::from(64);
        }
    };
    if !plantwin_tests::available(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        eprintln!("killloop: failed to find mosquitto and its clients");
        return ExitCode::from(69);
    }
    let folder = tempfile::Builder::new().prefix("plantwin-killloop-").tempdir();
    let folder = folder.expect("a temporary folder");
    if killloop::run(kills, folder.path()) {
        return ExitCode::SUCCESS;
    }
    println!("  kept: {}; again: --seed {}", folder.keep().display(), kills.seed);
    ExitCode::FAILURE
}
