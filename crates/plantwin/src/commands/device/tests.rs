//! `plantwin device`: what it takes and refuses, without starting anything.

use std::{fs, path::Path};

use clap::Parser as _;
use plantwin_authority::{
    pws::EnrolRequest,
    registry::{RootFile, VoucherCode, write_new},
};
use plantwin_field::KeyFile;
use plantwin_model::{Mode, PlantSpec};
use plantwin_seal::SigningKey;

use super::{alone::alone, args::DeviceCommand, enrol};
use crate::{
    cli::{Cli, Command, ReadArgs},
    commands::read,
    exit::{Code, Failure},
    protocols,
};

const PLANT: &str = r#"
[plant]
name = "alone"
period = "200ms"
[zone.hall]
[type.lamp.property.power]
unit = "W"
range = [0, 100]
access = "rw"
[device.lamp1]
type = "lamp"
zone = "hall"
mode = "simulated"
identity = "native"
paths = ["mqtt", "coap"]
[device.lamp1.mqtt]
addr = "broker:1883"
[device.lamp1.coap]
addr = "127.0.0.1:5683"
[device.lamp2]
type = "lamp"
zone = "hall"
[device.lamp2.mqtt]
[[scenario]]
at = "1s"
fault = { on = "lamp1", kind = "silent", path = "coap", for = "100ms" }
[[scenario]]
at = "2s"
fault = { on = "lamp1", kind = "silent", path = "mqtt", for = "100ms" }
"#;

fn parse(words: &[&str]) -> DeviceCommand {
    let words = ["plantwin", "device"].into_iter().chain(words.iter().copied());
    match Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).command {
        Command::Device(command) => command,
        other => panic!("{other:?}"),
    }
}

fn run_alone(words: &[&str]) -> Result<PlantSpec, Failure> {
    let all = ["run", "alone.toml", "--dir", "keys"].iter().chain(words).copied();
    let DeviceCommand::Run(args) = parse(&all.collect::<Vec<_>>()) else { panic!("run") };
    let read = read::from_text("alone.toml", PLANT, None, &ReadArgs::default());
    let plant = read.and_then(read::sound).unwrap_or_else(|f| panic!("{:#}", f.error));
    alone(plant, &args, &protocols::registry()).map(|(plant, _)| plant)
}

fn refused(result: Result<impl Sized, Failure>, code: Code, text: &str) {
    let Err(failure) = result else { panic!("it was taken") };
    let told = format!("{:#}", failure.error);
    assert_eq!(failure.code, code, "{told}");
    assert!(told.contains(text), "{told}");
}

#[test]
fn the_one_device_is_played_where_it_is_told_to_and_all_others_are_elsewhere() {
    let plant = run_alone(&["--device", "lamp1", "--hub", "127.0.0.1:1"]).unwrap();
    let modes: Vec<Mode> = plant.devices.iter().map(|d| d.mode).collect();
    assert_eq!(modes, [Mode::Simulated, Mode::Physical]);
    let addresses = plant.devices[0].paths.iter().map(|p| p.text("addr")).collect::<Vec<_>>();
    assert_eq!(addresses, [Some("127.0.0.1:1"), Some("127.0.0.1:5683")]);
}

#[test]
fn one_path_is_chosen_with_what_the_scenario_does_to_it() {
    let words = ["--device", "lamp1", "--path", "coap", "--listen", "127.0.0.1:7"];
    let plant = run_alone(&words).unwrap();
    let [path] = plant.devices[0].paths.as_slice() else { panic!("one path") };
    assert_eq!((path.protocol, path.text("addr")), ("coap", Some("127.0.0.1:7")));
    let at: Vec<u64> = plant.scenario.iter().map(|s| s.at.as_secs()).collect();
    assert_eq!(at, [1], "what happens to the other path is gone");
}

#[test]
fn a_device_that_is_not_there_not_native_or_without_that_path_is_refused() {
    refused(run_alone(&["--device", "lamp3"]), Code::Usage, "it has lamp1, lamp2");
    refused(run_alone(&["--device", "lamp2"]), Code::Config, "identity = \"native\"");
    let opcua = run_alone(&["--device", "lamp1", "--path", "opcua"]);
    refused(opcua, Code::Usage, "it has mqtt, coap");
    let listen = ["--device", "lamp1", "--path", "mqtt", "--listen", "127.0.0.1:7"];
    refused(run_alone(&listen), Code::Usage, "--listen");
    let hub = ["--device", "lamp1", "--path", "coap", "--hub", "127.0.0.1:7"];
    refused(run_alone(&hub), Code::Usage, "broker");
}

/// Enrols lamp1 into `folder` with this voucher and root.
fn enrolled(folder: &Path, voucher: &str, root: &str) -> Result<Code, Failure> {
    let (dir, request) = (folder.join("keys"), folder.join("request.json"));
    let (dir, request) = (dir.to_string_lossy(), request.to_string_lossy());
    let words = ["enrol", "lamp1", "--zone", "hall", "--voucher", voucher, "--root", root];
    let command = parse(&[&words[..], &["--dir", &dir, "--request", &request]].concat());
    let DeviceCommand::Enrol(args) = command else { panic!("enrol") };
    enrol::enrol(&args)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

#[test]
fn keys_are_made_once_and_the_request_shows_the_voucher_without_telling_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = SigningKey::generate().unwrap();
    let code = VoucherCode::generate(&root.verifying_key()).unwrap();
    let text = code.to_string().to_lowercase();
    let key = hex(root.verifying_key().as_bytes());
    assert!(matches!(enrolled(folder.path(), &text, &key), Ok(Code::Ok)));
    let me = KeyFile::read(&folder.path().join("keys")).unwrap().open(None).unwrap();
    assert_eq!((me.device.as_str(), me.zone.as_str()), ("lamp1", "hall"));
    assert_eq!(me.root, root.verifying_key());
    let json = fs::read_to_string(folder.path().join("request.json")).unwrap();
    let request: EnrolRequest = serde_json::from_str(&json).unwrap();
    assert_eq!(request.public, me.keys.public());
    request.verify(&code.voucher().secret).unwrap();
    fs::remove_file(folder.path().join("request.json")).unwrap();
    refused(enrolled(folder.path(), &text, &key), Code::Usage, "there already");
    let same = KeyFile::read(&folder.path().join("keys")).unwrap().open(None).unwrap();
    assert_eq!(same.keys.public(), me.keys.public());
}

#[test]
fn a_voucher_of_another_authority_and_one_that_was_mistyped_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, other] = [(); 2].map(|()| SigningKey::generate().unwrap().verifying_key());
    let text = VoucherCode::generate(&other).unwrap().to_string();
    let ours = hex(ours.as_bytes());
    refused(enrolled(folder.path(), &text, &ours), Code::Auth, "another authority");
    let mistyped = text.replace("PWV1-", "PWV1-0");
    refused(enrolled(folder.path(), &mistyped, &ours), Code::Usage, "voucher");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_root_key_is_taken_from_digits_a_file_of_them_or_the_public_half_of_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let digits = hex(key.verifying_key().as_bytes());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        write_new(&path, text.as_bytes()).unwrap();
        path.to_string_lossy().into_owned()
    };
    let own = RootFile::new(&key, None).unwrap().to_text();
    for text in [digits.clone(), file("digits", &format!("{digits}\n")), file("own", &own)] {
        assert_eq!(enrol::root(&text).ok(), Some(key.verifying_key()), "{text}");
    }
    refused(enrol::root(&file("other", "hello")), Code::Config, "neither");
    refused(enrol::root("not/there"), Code::Unavailable, "not/there");
}
