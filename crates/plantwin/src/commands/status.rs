//! `plantwin status`: the state of a running plant, once.

use serde_json::Value;

use crate::{
    cli::StatusArgs,
    control::{self, wire::Ask},
    exit::{Code, Failure, OrExit},
};

pub(crate) fn status(args: &StatusArgs) -> Result<Code, Failure> {
    let socket = control::find(args.which.attach.as_deref(), args.which.data.as_deref())?;
    let mut lines = control::ask(&socket, &Ask::Status)?;
    let line = lines
        .next()
        .ok_or_else(|| Code::Unavailable.failure("the plant closed the connection"))?
        .map_err(|e| Code::Unavailable.failure(format!("the plant did not answer: {e}")))?;
    if args.json {
        println!("{line}");
        return Ok(Code::Ok);
    }
    let status: Value = serde_json::from_str(&line).or_exit(Code::Unavailable)?;
    let text = |v: &Value| v.as_str().unwrap_or("-").to_owned();
    println!("{}, up {:.0} s", text(&status["plant"]), status["uptime_s"].as_f64().unwrap_or(0.0));
    for twin in status["twins"].as_array().into_iter().flatten() {
        let points: Vec<String> = twin["points"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, p)| match p["value"].as_f64() {
                Some(v) => format!("{name} {} {}{}", round(v), text(&p["unit"]), mark(p)),
                None => format!("{name} ?"),
            })
            .collect();
        println!(
            "{:<16} {:<12} {:<12} {}",
            text(&twin["id"]),
            text(&twin["zone"]),
            text(&twin["state"]),
            points.join(", ")
        );
    }
    for alarm in status["alarms"].as_array().into_iter().flatten() {
        println!(
            "! {} {} {}: {}",
            text(&alarm["priority"]),
            text(&alarm["state"]),
            text(&alarm["id"]),
            text(&alarm["text"])
        );
    }
    Ok(Code::Ok)
}

fn mark(point: &Value) -> String {
    match point["quality"].as_str() {
        Some("good") | None => String::new(),
        Some(_) => format!(" ({})", point["flaw"].as_str().unwrap_or("bad")),
    }
}

/// Four significant digits, as people read them.
fn round(v: f64) -> String {
    let digits = if v == 0.0 { 0.0 } else { v.abs().log10().floor() };
    let decimals = (3.0 - digits).clamp(0.0, 6.0) as usize;
    format!("{v:.decimals$}")
}
