//! `plantwin device enrol`: the device's keys, and what it is told to trust.
//!
//! Absent: asking the authority (the device does so through its gateway, or a person carries its
//! request over).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::Path,
};

use plantwin_authority::{
    pws::{DeviceIdentity, DeviceKeys, EnrolRequest, fingerprint},
    registry::{RootFile, VoucherCode, read_private},
};
use plantwin_field::{KEY_FILE, KeyFile};
use plantwin_seal::{KEY_BYTES, VerifyingKey, hash};
use zeroize::Zeroizing;

use super::{super::keys, args::EnrolArgs, failure};
use crate::exit::{Code, Failure, OrExit as _};

/// Longest file with a voucher, in bytes.
const VOUCHER_LIMIT: u64 = 256;

pub(super) fn enrol(args: &EnrolArgs) -> Result<Code, Failure> {
    for (what, name) in [("device", &args.device), ("zone", &args.zone)] {
        check_name(what, name)?;
    }
    let voucher = voucher(args)?;
    let root = root(&args.root)?;
    if !voucher.is_of(&root) {
        return Err(Code::Auth.failure(
            "the voucher is of another authority than this root key: take both from the same plant",
        ));
    }
    if let Some(path) = args.request.as_deref().filter(|path| path.exists()) {
        return Err(Code::Usage
            .failure(format!("{} is there already; it is not overwritten", path.display())));
    }
    // Before anybody is asked for a passphrase in vain.
    let path = args.dir.join(KEY_FILE);
    if path.exists() {
        return Err(failure(plantwin_field::FieldError::KeyFileThere { path }));
    }
    let passphrase = new_passphrase(args)?;
    let me = DeviceIdentity {
        device: args.device.as_str().into(),
        zone: args.zone.as_str().into(),
        keys: DeviceKeys::generate().or_exit(Code::Unavailable)?,
        root,
        voucher: Some(voucher.voucher()),
    };
    let file = KeyFile::create(&args.dir, &me, passphrase.as_deref().map(String::as_str));
    let file = file.map_err(failure)?;
    if let Some(path) = &args.request {
        let request = EnrolRequest::build(&me, &voucher.voucher());
        write_request(path, &request).map_err(|e| {
            Code::Unavailable.failure(format!(
                "the keys are in {}, but the request {} cannot be written: {e}; remove the keys \
                 and enrol again, or let the device ask by itself",
                file.path().display(),
                path.display()
            ))
        })?;
    }
    tell(args, &me, &file);
    Ok(Code::Ok)
}

fn tell(args: &EnrolArgs, me: &DeviceIdentity, file: &KeyFile) {
    let shown = me.keys.public().fingerprint();
    let trusts = fingerprint(&hash(&[b"plantwin v1 root key", me.root.as_bytes()]));
    let (device, zone, path) = (&me.device, &me.zone, file.path().display());
    if args.json {
        say!(
            "{}",
            serde_json::json!({
                "device": device, "zone": zone, "fingerprint": shown, "root": trusts,
                "file": file.path(), "request": args.request,
            })
        );
        return;
    }
    say!("{shown}");
    eprintln!("that is the key of {device} in {zone}; it is kept in {path}");
    eprintln!("it trusts the root key {trusts}, as `plantwin authority list` shows it");
    if let Some(request) = &args.request {
        eprintln!("at the authority: plantwin authority enrol --request {}", request.display());
    }
    eprintln!("once it has asked: plantwin authority approve {device} --fingerprint {shown}");
}

/// A name that the authority will take, and no path or control character of somebody else's.
fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)) {
        return Ok(());
    }
    Err(Code::Usage.failure(format!(
        "the name of a {what} has letters, digits, dots, dashes and underscores only"
    )))
}

fn voucher(args: &EnrolArgs) -> Result<VoucherCode, Failure> {
    let text = match (&args.voucher, &args.voucher_file) {
        (Some(text), _) => Zeroizing::new(text.clone()),
        (None, Some(path)) => read_short(path, VOUCHER_LIMIT)?,
        (None, None) => return Err(Code::Usage.failure("name a voucher by --voucher")),
    };
    text.trim().parse().map_err(|e| Code::Usage.failure(format!("failed to {e}")))
}

/// From 64 hexadecimal digits, a file with them, or the file of a root key.
pub(super) fn root(text: &str) -> Result<VerifyingKey, Failure> {
    let Some(bytes) = unhex(text.trim()) else { return root_in(Path::new(text)) };
    VerifyingKey::from_bytes(&bytes)
        .map_err(|_| Code::Usage.failure("--root: these 64 digits are no public key"))
}

fn root_in(path: &Path) -> Result<VerifyingKey, Failure> {
    let none = || {
        Code::Config.failure(format!(
            "--root: {} is neither 64 hexadecimal digits nor a file with them or with a root key",
            path.display()
        ))
    };
    let text = read_short(path, RootFile::LIMIT)?;
    if let Some(bytes) = unhex(text.trim()) {
        return VerifyingKey::from_bytes(&bytes).map_err(|_| none());
    }
    let file = RootFile::from_text(&text).map_err(|_| none())?;
    // With a secret in it, it must lie as one.
    read_private(path, RootFile::LIMIT).map_err(|e| {
        Code::Auth.failure(format!("cannot read the root key {}: {e}", path.display()))
    })?;
    Ok(*file.public())
}

fn unhex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn read_short(path: &Path, limit: u64) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(limit as usize + 1));
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_string(&mut text));
    let shown = path.display();
    match read {
        Ok(length) if length as u64 <= limit => Ok(text),
        Ok(_) => Err(Code::Config.failure(format!("{shown} is too long"))),
        Err(e) => Err(Code::Unavailable.failure(format!("cannot read {shown}: {e}"))),
    }
}

fn new_passphrase(args: &EnrolArgs) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Some(path) = &args.passphrase_file {
        return keys::read_passphrase(path).map(Some);
    }
    if !args.passphrase {
        return Ok(None);
    }
    if !io::stdin().is_terminal() {
        return Err(Code::Usage.failure(
            "there is no terminal to ask for the passphrase; give it by --passphrase-file FILE",
        ));
    }
    let passphrase = keys::ask("New passphrase of the device's keys: ")?;
    if keys::ask("The same again: ")? == passphrase {
        Ok(Some(passphrase))
    } else {
        Err(Code::Usage.failure("the two passphrases differ; nothing was written"))
    }
}

/// Nothing in a request is secret, but nobody else should change it on its way.
fn write_request(path: &Path, request: &EnrolRequest) -> io::Result<()> {
    let text = serde_json::to_string(request)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all()).inspect_err(|_| {
        // Half a request is of no use to anybody.
        let _ = fs::remove_file(path);
    })
}
