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
fn a_trail_that_was_replaced_as_a_whole_is_found_by_the_identity_that_was_kept() {
    let (dir, other) = (data(), data());
    let (path, theirs) = (dir.path().to_str().unwrap(), other.path().to_str().unwrap());
    // Without the key, which would tell as well.
    for data in [&dir, &other] {
        fs::remove_file(data.path().join("key")).unwrap();
    }
    let identity = fs::read_to_string(dir.path().join("audit/identity.pub")).unwrap();
    check_code(&["verify", path, "--identity", &identity], Code::Ok);
    check_code(&["verify", theirs], Code::Ok);
    check_code(&["verify", theirs, "--identity", &identity], Code::Altered);
    let words = ["plantwin", "audit", "verify", path, "--identity", "5ad0"];
    let error = Cli::try_parse_from(words).unwrap_err().to_string();
    assert!(error.contains("no public key"), "{error}");
}

#[test]
fn verify_says_when_the_identity_was_checked_against_nothing() {
    let dir = data();
    let folder = audit::folder(dir.path());
    let none = VerifyOptions::default();
    let identity = audit::verify(&folder, &none).unwrap().identity;
    for (options, checked) in [(none.clone(), false), (VerifyOptions { identity, ..none }, true)] {
        let report = audit::verify(&folder, &options).unwrap();
        assert_eq!(report.verdict, Verdict::Intact);
        let text = summary(&report, &options);
        assert_eq!(text.contains("not checked against anything"), !checked, "{text}");
        assert_eq!(as_json(&report, &options)["identity_checked"], json!(checked));
    }
}

#[test]
fn an_acknowledged_record_that_was_cut_is_truncated() {
    let dir = data();
    let key = audit::audit_key(dir.path(), &KeySource::Plain).unwrap().unwrap();
    let folder = audit::folder(dir.path());
    let (mut trail, _) = AuditTrail::open(&folder, &key, Timestamp(0)).unwrap();
    trail.append(Timestamp(1), &entry(1)).unwrap();
    trail.flush().unwrap();
    drop(trail);
    let path = dir.path().to_str().unwrap();
    check_code(&["verify", path], Code::Ok);
    let segment = folder.join("00000002.seg");
    let whole = fs::read(&segment).unwrap();
    for end in [whole.len() - 1, *records(&whole).last().unwrap()] {
        fs::write(&segment, &whole[..end]).unwrap();
        check_code(&["verify", path], Code::Truncated);
    }
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
