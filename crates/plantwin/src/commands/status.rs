//! `plantwin status`: the state of a running plant, once.

use serde_json::Value;

use super::{keys, mail};
use crate::{
    cli::{StatusArgs, Which},
    control::{
        self,
        wire::{Ask, Question},
    },
    exit::{Code, Failure, OrExit},
};

/// The state of a running plant, as JSON text.
pub(super) fn fetch(which: &Which) -> Result<String, Failure> {
    let socket = control::find(which.attach.as_deref(), which.data.as_deref())?;
    let question = Question { ask: Ask::Status, proof: keys::proof(which)? };
    control::answer(&socket, &question)
}

pub(crate) fn status(args: &StatusArgs) -> Result<Code, Failure> {
    let line = fetch(&args.which)?;
    if args.json {
        say!("{line}");
        return Ok(Code::Ok);
    }
    let status: Value = serde_json::from_str(&line).or_exit(Code::Unavailable)?;
    let text = |v: &Value| v.as_str().unwrap_or("-").to_owned();
    say!("{}, up {:.0} s", text(&status["plant"]), status["uptime_s"].as_f64().unwrap_or(0.0));
    if let Some(line) = waiting(&status) {
        say!("{line}");
    }
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
        say!(
            "{:<16} {:<12} {:<12} {}",
            text(&twin["id"]),
            text(&twin["zone"]),
            text(&twin["state"]),
            points.join(", ")
        );
    }
    for alarm in status["alarms"].as_array().into_iter().flatten() {
        say!(
            "! {} {} {}: {}",
            text(&alarm["priority"]),
            text(&alarm["state"]),
            text(&alarm["id"]),
            text(&alarm["text"])
        );
    }
    for letter in status["set_aside"].as_array().into_iter().flatten() {
        say!("! set aside: {}", mail::summary(letter));
    }
    Ok(Code::Ok)
}

/// Durable telemetry that waits, and the way out for it, on one line.
fn waiting(status: &Value) -> Option<String> {
    let (spool, out) = (&status["spool"], &status["northbound"]);
    let mut parts = Vec::new();
    if spool.is_object() {
        let n = |key: &str| spool[key].as_u64().unwrap_or(0);
        parts.push(format!(
            "{} records wait in {} of {} bytes, {} dropped",
            n("records"),
            n("bytes"),
            n("capacity"),
            n("dropped")
        ));
        parts.extend(spool["hours_left"].as_f64().map(|h| format!("{h:.1} h left")));
    }
    if out.is_object() {
        let up = if out["up"] == true { "up" } else { "DOWN" };
        let said = |key: &str| out[key].as_str().filter(|t| !t.is_empty()).map(mail::printable);
        let words = [Some(format!("northbound {up}")), said("endpoint"), said("reason")];
        parts.push(words.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
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
