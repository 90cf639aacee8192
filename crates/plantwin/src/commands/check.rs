//! `plantwin check`: every problem at once.

use std::io::{self, Write as _};

use serde_json::json;

use super::read;
use crate::{
    cli::{CheckArgs, Format},
    exit::{Code, Failure, OrExit},
};

pub(crate) fn check(args: &CheckArgs) -> Result<Code, Failure> {
    let read = read::from_file(&args.plant, &args.read)?;
    let mut out = io::stdout().lock();
    let (errors, total) = (read.errors(), read.diagnostics.len());
    match args.format {
        Format::Json => {
            let report = json!({
                "file": args.plant.display().to_string(),
                "errors": errors,
                "warnings": total - errors,
                "problems": read.diagnostics,
            });
            serde_json::to_writer_pretty(&mut out, &report).or_exit(Code::Unavailable)?;
            writeln!(out).or_exit(Code::Unavailable)?;
        }
        Format::Text => {
            read::print(&read, &mut out).or_exit(Code::Unavailable)?;
            let name = args.plant.display();
            match (&read.plant, errors) {
                (Some(plant), _) => writeln!(
                    out,
                    "{name}: ok, {} devices in {} zones, {} flows, {} warnings",
                    plant.devices.len(),
                    plant.zones.len(),
                    plant.flows.len(),
                    total
                ),
                (None, n) => writeln!(out, "{name}: {n} errors, {} warnings", total - n),
            }
            .or_exit(Code::Unavailable)?;
        }
    }
    Ok(if errors == 0 { Code::Ok } else { Code::Config })
}
