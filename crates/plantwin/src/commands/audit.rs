//! `plantwin audit`: checking the trail of a data folder, showing it, handing on its checkpoint.
//!
//! All of it reads files, whether the plant runs or not. Absent: writing the trail.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use plantwin_model::glob;
use plantwin_seal::Secret;
use plantwin_store::{
    KeySource, StoreError, Wrapping,
    audit::{self, AuditReader, Report, Shown, Verdict, VerifyOptions},
    key_info,
};
use serde_json::{Value, json};

use super::{keys, mail::printable};
use crate::{
    cli::{AuditCheckpointArgs, AuditShowArgs, AuditVerifyArgs, KeyArgs},
    control::{self, status::time},
    exit::{Code, Failure},
};

/// How often `show --follow` looks for more.
const FOLLOW: Duration = Duration::from_millis(200);

pub(crate) fn verify(args: &AuditVerifyArgs) -> Result<Code, Failure> {
    let data = data(args.data.as_deref())?;
    let folder = audit::folder(&data);
    let mut kept = Vec::new();
    for path in args.checkpoint.iter().chain(&args.witness) {
        kept.extend(audit::kept(path).map_err(|error| {
            let code = match error {
                StoreError::Damaged { .. } => Code::Config,
                _ => Code::Unavailable,
            };
            code.failure(format!("failed to {error}"))
        })?);
    }
    let to = args.to.unwrap_or(u64::MAX);
    if args.from > to {
        return Err(Code::Usage.failure("--from lies behind --to"));
    }
    // With a checkpoint in hand, a trail that is wholly gone is a finding and no mistake.
    if !folder.is_dir() && kept.is_empty() {
        return Err(no_trail(&data));
    }
    let key = key_at_hand(&args.key, &data)?;
    let options = VerifyOptions { sequences: args.from..=to, kept, key, identity: args.identity };
    let report = audit::verify(&folder, &options).map_err(keys::failure)?;
    if args.json {
        say!("{}", as_json(&report, &options));
    } else {
        for finding in &report.findings {
            say!("{finding}");
        }
        say!("{}", summary(&report, &options));
    }
    Ok(code(report.verdict))
}

/// The exit code that tells a verdict.
fn code(verdict: Verdict) -> Code {
    match verdict {
        Verdict::Intact => Code::Ok,
        Verdict::Gap => Code::Gap,
        Verdict::Altered => Code::Altered,
        Verdict::Truncated => Code::Truncated,
    }
}

fn as_json(report: &Report, options: &VerifyOptions) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|f| {
            json!({
                "verdict": f.verdict.as_str(),
                "segment": (f.segment > 0).then_some(f.segment),
                "from": f.sequences.start(),
                "to": (*f.sequences.end() < u64::MAX).then_some(f.sequences.end()),
                "text": f.text,
            })
        })
        .collect();
    json!({
        "verdict": report.verdict.as_str(),
        "records": report.records,
        "checkpoints": report.checkpoints,
        "boots": report.boots,
        "last": report.last,
        "unsigned": report.unsigned,
        "torn_bytes": report.torn,
        "identity": report.identity_hex(),
        "identity_checked": options.knows_identity(),
        "with_key": options.key.is_some(),
        "findings": findings,
    })
}

fn summary(report: &Report, options: &VerifyOptions) -> String {
    let with_key = options.key.is_some();
    let Report { verdict, records, checkpoints, boots, last, unsigned, torn, .. } = report;
    let mut text = format!(
        "{verdict}: {records} entries in {last} records of {boots} boots, {checkpoints} signed \
         checkpoints"
    );
    if *unsigned > 0 {
        let vouched =
            if with_key { "written by this plant" } else { "not checked without the key" };
        let _ = write!(text, "; {unsigned} records behind the latest of them, {vouched}");
    }
    if *torn > 0 {
        let _ = write!(text, "; {torn} bytes of unfinished records at the end of a boot");
    }
    match report.identity_hex() {
        Some(identity) if with_key => {
            let _ = write!(text, "\npublic key {identity}, this store's");
        }
        Some(identity) if options.knows_identity() => {
            let _ =
                write!(text, "\npublic key {identity}, checked against what was kept elsewhere");
        }
        Some(identity) => {
            let _ = write!(
                text,
                "\npublic key {identity}, not checked against anything: whoever can write to the \
                 folder could have put another trail there, with a key of its own; keep this key \
                 elsewhere and give it with --identity"
            );
        }
        None => {}
    }
    text
}

pub(crate) fn show(args: &AuditShowArgs) -> Result<Code, Failure> {
    let data = data(args.data.as_deref())?;
    let folder = audit::folder(&data);
    if !folder.is_dir() {
        return Err(no_trail(&data));
    }
    let source = keys::source(&args.key, &data)?;
    let key = audit::audit_key(&data, &source).map_err(keys::failure)?.ok_or_else(|| {
        Code::Unavailable.failure(format!(
            "{} has no key; without it the entries cannot be read",
            data.display()
        ))
    })?;
    let mut reader = AuditReader::new(&folder, &key, args.from);
    let mut latest = VecDeque::new();
    let mut waits = args.last.is_some();
    loop {
        reader
            .read(&mut |shown| {
                if past(&shown, args.to) {
                    return ControlFlow::Break(());
                }
                if wanted(&shown, args) {
                    let line = line(&shown, args.json);
                    if waits {
                        latest.push_back(line);
                        if latest.len() > args.last.unwrap_or(usize::MAX) {
                            latest.pop_front();
                        }
                    } else {
                        say!("{line}");
                    }
                }
                ControlFlow::Continue(())
            })
            .map_err(keys::failure)?;
        for line in latest.drain(..) {
            say!("{line}");
        }
        if !args.follow {
            return Ok(Code::Ok);
        }
        waits = false;
        std::thread::sleep(FOLLOW);
    }
}

fn past(shown: &Shown, to: Option<u64>) -> bool {
    let sequence = match shown {
        Shown::Entry { sequence, .. } | Shown::Unreadable { sequence, .. } => *sequence,
        Shown::Gap { from, .. } => *from,
    };
    to.is_some_and(|to| sequence > to)
}

/// What cannot be read is shown whatever is asked for: it might have been that.
fn wanted(shown: &Shown, args: &AuditShowArgs) -> bool {
    let Shown::Entry { entry, .. } = shown else { return true };
    (args.kind.is_empty() || args.kind.contains(&entry.kind))
        && args.actor.as_ref().is_none_or(|pattern| glob(pattern, &entry.actor))
}

fn line(shown: &Shown, as_json: bool) -> String {
    match shown {
        Shown::Entry { sequence, boot, time: at, entry } if as_json => json!({
            "sequence": sequence, "boot": boot, "time": time(*at), "kind": entry.kind,
            "actor": entry.actor, "object": entry.object, "result": entry.result,
            "detail": entry.detail,
        })
        .to_string(),
        Shown::Gap { from, to, time: at } if as_json => {
            json!({ "gap": { "from": from, "to": to }, "time": time(*at) }).to_string()
        }
        Shown::Unreadable { segment, sequence } if as_json => {
            json!({ "unreadable": { "segment": segment, "sequence": sequence } }).to_string()
        }
        Shown::Entry { sequence, time: at, entry, .. } => {
            let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
            format!(
                "{sequence:>8} {} {:<10} {:<7} {} {}: {}",
                time(*at),
                word(json!(entry.kind)),
                word(json!(entry.result)),
                printable(&entry.actor),
                printable(&entry.object),
                printable(&entry.detail)
            )
        }
        Shown::Gap { from, to, time: at } => {
            format!("{from:>8} {} records {from} to {to} are missing", time(*at))
        }
        Shown::Unreadable { segment, sequence } => format!(
            "{sequence:>8} {segment:08}.seg holds what cannot be read; run `plantwin audit verify`"
        ),
    }
}

pub(crate) fn checkpoint(args: &AuditCheckpointArgs) -> Result<Code, Failure> {
    let data = data(args.data.as_deref())?;
    let note = audit::latest(&audit::folder(&data)).map_err(keys::failure)?;
    let note = note.ok_or_else(|| no_trail(&data))?;
    say!("{note}");
    Ok(Code::Ok)
}

fn no_trail(data: &Path) -> Failure {
    Code::Unavailable.failure(format!(
        "there is no audit trail in {}; a plant keeps one in its --data folder",
        audit::folder(data).display()
    ))
}

/// The folder named, or that of the only plant running here.
fn data(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(named.to_path_buf());
    }
    let socket = control::find(None, None)?;
    Ok(socket.parent().unwrap_or(Path::new(".")).to_path_buf())
}

/// The key, if it was named or lies there for whoever can read the folder; nobody is asked for one.
fn key_at_hand(args: &KeyArgs, data: &Path) -> Result<Option<Secret>, Failure> {
    let source = if args.any() {
        keys::source(args, data)?
    } else if key_info(data).is_ok_and(|info| info.wrapping == Wrapping::Plain) {
        KeySource::Plain
    } else {
        return Ok(None);
    };
    match audit::audit_key(data, &source) {
        Ok(key) => Ok(key),
        Err(error) if args.any() => Err(keys::failure(error)),
        // Another user may read the trail and not the key.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
