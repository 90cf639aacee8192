//! Exit codes, one by one, on trails on a disk.

use std::fs;

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};
use plantwin_store::{SledStore, audit::AuditTrail};
use tempfile::TempDir;

use super::*;
use crate::cli::{Cli, Command};
use clap::Parser as _;

fn entry(n: u8) -> AuditEntry {
    AuditEntry {
        kind: if n.is_multiple_of(2) { AuditKind::Command } else { AuditKind::Session },
        actor: "user:alice".to_owned(),
        object: "tank1.valve".to_owned(),
        result: AuditResult::Refused,
        detail: format!("try {n}\u{1b}[2J"),
    }
}

/// A data folder with a store's key and a closed trail of 20 entries.
fn data() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let key = SledStore::open(dir.path()).unwrap().0.key_for(audit::AUDIT_KEY);
    let folder = audit::folder(dir.path());
    let (mut trail, findings) = AuditTrail::open(&folder, &key, Timestamp(0)).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    for n in 0..20 {
        trail.append(Timestamp::from_millis(i64::from(n)), &entry(n)).unwrap();
    }
    trail.close(Timestamp::from_millis(99)).unwrap();
    dir
}

fn audit_args(words: &[&str]) -> crate::cli::AuditCommand {
    let words = ["plantwin", "audit"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Audit(command) => command,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_code(words: &[&str], code: Code) {
    let crate::cli::AuditCommand::Verify(args) = audit_args(words) else { panic!("{words:?}") };
    let got = verify(&args).unwrap_or_else(|failure| failure.code);
    assert_eq!(got, code, "{words:?}");
}

/// Where the records of a segment begin; its title begins as they do.
fn records(bytes: &[u8]) -> Vec<usize> {
    let places = bytes.windows(4).enumerate().filter(|(_, w)| w == b"PWAU");
    places.map(|(at, _)| at).skip(1).collect()
}

#[test]
fn verify_tells_each_verdict_by_its_exit_code() {
    assert_eq!(Code::Gap as u8, 2);
    assert_eq!(Code::Altered as u8, 3);
    assert_eq!(Code::Truncated as u8, 4);
    let dir = data();
    let path = dir.path().to_str().unwrap();
    let segment = dir.path().join("audit/00000001.seg");
    let good = fs::read(&segment).unwrap();
    let at = records(&good);
    check_code(&["verify", path], Code::Ok);
    check_code(&["verify", path, "--json"], Code::Ok);
    fs::write(&segment, [&good[..at[5]], &good[at[6]..]].concat()).unwrap();
    check_code(&["verify", path], Code::Gap);
    check_code(&["verify", path, "--from", "7"], Code::Ok);
    check_code(&["verify", path, "--to", "5"], Code::Ok);
    let mut altered = good.clone();
    altered[at[6] - 1] ^= 1;
    fs::write(&segment, altered).unwrap();
    check_code(&["verify", path], Code::Altered);
    fs::write(&segment, &good[..at[9]]).unwrap();
    check_code(&["verify", path], Code::Truncated);
}

#[test]
fn verify_takes_checkpoints_that_were_kept_elsewhere() {
    let dir = data();
    let path = dir.path().to_str().unwrap();
    let kept = dir.path().join("kept");
    let note = audit::latest(&audit::folder(dir.path())).unwrap().unwrap();
    fs::write(&kept, &note).unwrap();
    let file = kept.to_str().unwrap();
    check_code(&["verify", path, "--checkpoint", file], Code::Ok);
    check_code(&["verify", path, "--witness", file], Code::Ok);
    fs::remove_dir_all(audit::folder(dir.path())).unwrap();
    check_code(&["verify", path], Code::Unavailable);
    // Altered as well as truncated: without identity.pub there is nothing to judge by.
    check_code(&["verify", path, "--checkpoint", file], Code::Altered);
    fs::write(&kept, "nothing").unwrap();
    check_code(&["verify", path, "--checkpoint", file], Code::Config);
    check_code(&["verify", path, "--checkpoint", "/nowhere/at/all"], Code::Unavailable);
    check_code(&["verify", path, "--from", "3", "--to", "2"], Code::Usage);
}

#[test]
fn show_filters_and_prints_nothing_that_drives_a_terminal() {
    let dir = data();
    let path = dir.path().to_str().unwrap();
    for words in [&["show", path][..], &["show", path, "--last", "3", "--json"]] {
        let crate::cli::AuditCommand::Show(args) = audit_args(words) else { panic!() };
        assert_eq!(show(&args).unwrap(), Code::Ok);
    }
    let of = |n| Shown::Entry { sequence: 3, boot: 1, time: Timestamp(0), entry: entry(n) };
    let words = ["show", path, "--kind", "session,token", "--actor", "user:*"];
    let crate::cli::AuditCommand::Show(args) = audit_args(&words) else { panic!() };
    assert!(wanted(&of(1), &args) && !wanted(&of(2), &args));
    let crate::cli::AuditCommand::Show(args) = audit_args(&["show", path, "--actor", "device:*"])
    else {
        panic!()
    };
    assert!(!wanted(&of(1), &args));
    assert_eq!(
        line(&of(1), false),
        "       3 1970-01-01T00:00:00.000Z session    refused user:alice tank1.valve: try 1 [2J"
    );
    let parsed: Value = serde_json::from_str(&line(&of(1), true)).unwrap();
    assert_eq!((&parsed["kind"], &parsed["result"]), (&json!("session"), &json!("refused")));
    assert!(past(&of(1), Some(2)) && !past(&of(1), Some(3)) && !past(&of(1), None));
}

#[test]
fn a_kind_that_does_not_exist_is_refused() {
    let words = ["plantwin", "audit", "show", "x", "--kind", "gossip"];
    let error = Cli::try_parse_from(words).unwrap_err().to_string();
    assert!(error.contains("no such kind"), "{error}");
}
