//! What people and programs read, and the whole way in a folder.

use std::{fs, ops::ControlFlow, path::Path, time::Duration};

use clap::Parser as _;
use plantwin_adapter::SystemClock;
use plantwin_authority::{
    pws::{DeviceIdentity, DeviceKeys, EnrolRequest, Grant},
    registry::{AuthorityOp as Op, AuthorityReply as Reply, VoucherCode},
};
use plantwin_model::{AuditEntry, AuditKind, AuditResult, AuditSink as _, Clock as _};
use plantwin_seal::VerifyingKey;
use plantwin_store::{
    KeySource,
    audit::{self, AuditReader, Shown},
};
use serde_json::Value;

use super::{args::AuthorityCommand, *};
use crate::{
    cli::{Cli, Command},
    commands::device,
};

/// The command that these words are.
fn parsed(words: &[&str]) -> AuthorityCommand {
    let all = ["plantwin", "authority"].into_iter().chain(words.iter().copied());
    match Cli::try_parse_from(all).expect("the words make sense").command {
        Command::Authority(command) => command,
        other => panic!("{other:?}"),
    }
}

fn done(words: &[&str]) {
    assert_eq!(super::run(&parsed(words)).expect("it is done"), Code::Ok, "{words:?}");
}

fn refused(words: &[&str]) -> (Code, String) {
    let failure = super::run(&parsed(words)).expect_err("it is refused");
    (failure.code, format!("{:#}", failure.error))
}

fn with_desk<T>(data: &str, work: impl FnOnce(&mut Desk) -> T) -> T {
    let AuthorityCommand::List(args) = parsed(&["list", "--data", data]) else { panic!("list") };
    work(&mut Desk::reach(&args.place).expect("the folder opens"))
}

fn listed(data: &str) -> Value {
    with_desk(data, |desk| match desk.ask(Op::List).expect("it lists") {
        Reply::List(list) => list::as_json(&list),
        other => panic!("{other:?}"),
    })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn an_authority_is_made_and_a_device_goes_all_the_way_in_its_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| folder.path().join(name);
    let (data, root, out) = (place("data"), place("root"), place("tank1.grant"));
    let data = text(&data);
    done(&["init", data, "--root", text(&root)]);
    let (code, told) = refused(&["init", data, "--root", text(&place("other"))]);
    assert!(code == Code::Usage && told.contains("has an authority already"), "{told}");
    let now = listed(data);
    assert_eq!((&now["root_is_here"], &now["issuer"]["serial"]), (&false.into(), &1.into()));
    // A device without a connection: its voucher goes there on paper, its request comes in a file.
    let (code, root_key) = with_desk(data, |desk| {
        let op = Op::Invite { device: "tank1".into(), zone: "field".into(), valid: None };
        let Reply::Voucher(voucher) = desk.ask(op).expect("a voucher") else { panic!("a voucher") };
        let code: VoucherCode = voucher.code.parse().expect("it reads");
        let key = RootFile::from_text(&fs::read_to_string(&root).expect("the root"));
        (code, *key.expect("a root").public())
    });
    assert!(code.is_of(&root_key));
    let me = identity(root_key);
    let request = place("tank1.request.json");
    let json = serde_json::to_string(&EnrolRequest::build(&me, &code.voucher()));
    fs::write(&request, json.expect("JSON")).expect("a file");
    done(&["enrol", "--request", text(&request), "--data", data]);
    assert_eq!(listed(data)["devices"][0]["state"], "pending");
    let fingerprint = me.keys.public().fingerprint();
    let wrong = "0000-0000";
    let (_, told) = refused(&["approve", "tank1", "--fingerprint", wrong, "--data", data]);
    assert!(told.contains("another fingerprint"), "{told}");
    done(&["approve", "tank1", "--fingerprint", &fingerprint, "--data", data]);
    let gateway = place("hall1.credential");
    done(&["enrol", "--gateway", "hall1", "--out", text(&gateway), "--data", data]);
    desk::credential(&gateway).map_err(|f| f.error).expect("a credential");
    done(&["issue", "tank1", "--gateway", "hall1", "--out", text(&out), "--data", data]);
    let grant: Grant = serde_json::from_slice(&fs::read(&out).expect("a grant")).expect("JSON");
    assert!(!grant.token.is_empty());
    let now = SystemClock::new(1.0).now();
    assert_eq!(device::grant(&out, &me, now).map_err(|f| f.error).expect("a grant"), grant);
    // Not by the same device with other keys, not later, and nothing else is a grant.
    for (path, me, now, says) in [
        (&out, &identity(root_key), now, "other keys"),
        (&out, &me, now.plus(Duration::from_hours(1)), "expire"),
        (&request, &me, now, "no grant"),
    ] {
        let failure = device::grant(path, me, now).expect_err(says);
        assert_eq!(failure.code, Code::Config);
        let told = format!("{:#}", failure.error);
        assert!(told.contains("plantwin authority issue"), "{says}: {told}");
    }
    done(&["rotate", "--root", text(&root), "--data", data]);
    done(&["revoke", "tank1", "--reason", "stolen", "--data", data]);
    let now = listed(data);
    assert_eq!(now["issuer"]["serial"], 2);
    assert_eq!(now["devices"][0]["state"], "revoked");
    assert_eq!(now["devices"][0]["reason"], "stolen");
    let (code, told) = refused(&["issue", "tank1", "--gateway", "hall1", "--json", "--data", data]);
    assert!(code == Code::Usage && told.contains("revoked"), "{told}");
}

fn identity(root: VerifyingKey) -> DeviceIdentity {
    DeviceIdentity {
        device: "tank1".into(),
        zone: "field".into(),
        keys: DeviceKeys::generate().expect("keys"),
        root,
        voucher: None,
    }
}

#[test]
fn a_root_key_that_lies_in_the_folder_is_taken_out_and_then_signs_from_elsewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, root) = (folder.path().join("data"), folder.path().join("root"));
    fs::create_dir(&data).expect("a folder");
    let data = text(&data);
    // Never made: it makes itself.
    let now = listed(data);
    assert_eq!(now["root_is_here"], true);
    done(&["rotate", "--data", data]);
    done(&["rotate", "--export-root", text(&root), "--data", data]);
    assert_eq!(listed(data)["root_is_here"], false);
    let (_, told) = refused(&["rotate", "--data", data]);
    assert!(told.contains("--root"), "{told}");
    done(&["rotate", "--root", text(&root), "--no-overlap", "--data", data]);
    let now = listed(data);
    assert_eq!((&now["issuer"]["serial"], &now["revocations"]["keys"]), (&3.into(), &2.into()));
    let (_, told) = refused(&["rotate", "--export-root", text(&root), "--data", data]);
    assert!(told.contains("does not lie here"), "{told}");
}

#[test]
fn what_was_done_in_a_folder_is_on_record_before_anything_is_said_of_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let root = folder.path().join("root.key");
    done(&["init", text(&data), "--root", text(&root)]);
    let key = audit::audit_key(&data, &KeySource::Plain).expect("it reads").expect("a key");
    with_desk(text(&data), |desk| {
        let Desk::Folder(folder) = &*desk else { panic!("the folder") };
        // So much is before it that it could not be on the disk by chance.
        for place in 0..10_000 {
            folder.trail.record(AuditEntry {
                kind: AuditKind::System,
                actor: "plantwin".to_owned(),
                object: place.to_string(),
                result: AuditResult::Done,
                detail: String::new(),
            });
        }
        let op = Op::Invite { device: "tank1".into(), zone: "field".into(), valid: None };
        desk.ask(op).expect("a voucher");
        // The desk is open, as it is when whoever reads the answer hangs up.
        let mut told = false;
        AuditReader::new(&audit::folder(&data), &key, 0)
            .read(&mut |shown| {
                told |= matches!(shown, Shown::Entry { entry, .. } if entry.object == "tank1");
                ControlFlow::Continue(())
            })
            .expect("it reads");
        assert!(told);
    });
}

#[test]
fn a_folder_that_is_not_there_is_not_made_by_looking() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("nothing");
    let (code, told) = refused(&["list", "--data", text(&data)]);
    assert!(code == Code::Unavailable && told.contains("authority init"), "{told}");
    assert!(!data.exists());
}
