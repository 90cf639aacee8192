//! `plantwin authority`: who may speak for a device, and the service that says so to gateways.
//!
//! What is asked goes to the plant that runs on the data folder, to the folder itself if none does,
//! or over the network with a credential (see [`desk`]). Absent: the rules, which the registry
//! holds wherever it is asked.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use plantwin_authority::{
    AuthError,
    pws::EnrolRequest,
    registry::{
        AuthorityOp as Op, AuthorityReply as Reply, ClientKind, EnrolStatus, PolicyStamp,
        RekeyRequest, RootFile, read_private, write_new,
    },
    service::Credential,
};
use plantwin_runtime::AuthorityAt;
use plantwin_seal::{DhKey, SigningKey};
use serde::Deserialize;

use self::{
    args::{
        ApproveArgs, AuthorityCommand, EnrolArgs, InitArgs, IssueArgs, RefuseArgs, RevokeArgs,
        RootPass, RotateArgs,
    },
    desk::{Desk, failure},
};
use super::{keys, mail::printable};
use crate::{
    control::status::time,
    exit::{Code, Failure, OrExit as _},
};

pub(crate) mod args;
mod desk;
mod list;
mod origin;
mod serve;

#[cfg(test)]
mod tests;

/// Longest request for enrolment that is read from a file, in bytes.
const REQUEST_LIMIT: u64 = 16 * 1024;

pub(crate) fn run(command: &AuthorityCommand) -> Result<Code, Failure> {
    match command {
        AuthorityCommand::Init(args) => init(args),
        AuthorityCommand::Enrol(args) => enrol(args),
        AuthorityCommand::Approve(args) => approve(args),
        AuthorityCommand::Refuse(args) => refuse(args),
        AuthorityCommand::Issue(args) => issue(args),
        AuthorityCommand::Revoke(args) => revoke(args),
        AuthorityCommand::Rotate(args) => rotate(args),
        AuthorityCommand::List(args) => list::list(args),
        AuthorityCommand::Origin(args) => origin::origin(args),
        AuthorityCommand::Serve(args) => serve::serve(args),
    }
}

/// Where a plant that is about to run has its authority.
pub(crate) fn at(address: Option<&str>, credential: Option<&Path>) -> Result<AuthorityAt, Failure> {
    let (Some(address), Some(path)) = (address, credential) else { return Ok(AuthorityAt::Here) };
    let credential = Box::new(desk::credential(path)?);
    Ok(AuthorityAt::There { address: address.to_owned(), credential })
}

fn init(args: &InitArgs) -> Result<Code, Failure> {
    let mut fresh = desk::fresh(&args.dir, &args.key)?;
    let root = SigningKey::generate().or_exit(Code::Unavailable)?;
    let passphrase = new_passphrase(&args.pass)?;
    let text =
        RootFile::new(&root, passphrase.as_deref().map(String::as_str)).map_err(failure)?.to_text();
    // The root is safe before anything depends on it.
    write_secret(&args.root, text.as_bytes())?;
    fresh.create(&root)?;
    let root = args.root.display();
    say!("the authority of {} is made", args.dir.display());
    say!("its root key is in {root}; take that file to a safe place now");
    say!("bring it back for `plantwin authority rotate --root {root}`, within 30 days");
    Ok(Code::Ok)
}

fn enrol(args: &EnrolArgs) -> Result<Code, Failure> {
    let mut desk = Desk::reach(&args.place)?;
    if let Some(path) = &args.request {
        return offline(&mut desk, path);
    }
    if let Some(name) = args.gateway.as_ref().or(args.person.as_ref()) {
        let kind = match args.role {
            Some(role) => ClientKind::Person(role.into()),
            None => ClientKind::Gateway,
        };
        let out = args
            .out
            .as_deref()
            .ok_or_else(|| Code::Usage.failure("name the file for the credential by --out FILE"))?;
        if out.exists() {
            return Err(Code::Usage
                .failure(format!("{} is there already; it is not overwritten", out.display())));
        }
        // Made here, so that the secret half never travels.
        let dh = DhKey::generate().or_exit(Code::Unavailable)?;
        let op = Op::Admit { name: name.clone(), kind, dh: dh.public() };
        let Reply::Admitted(admission) = desk.ask(op)? else { return Err(nonsense()) };
        let credential = Credential::new(name, dh, &admission).map_err(failure)?;
        write_secret(out, credential.to_text().as_bytes()).map_err(|failure| {
            failure.code.failure(format!(
                "{:#}; {name} is admitted, but nobody has the credential: dismiss it by \
                 `plantwin authority revoke --client {name} --reason lost`",
                failure.error
            ))
        })?;
        say!("{name} is admitted; its credential is in {}", out.display());
        return Ok(Code::Ok);
    }
    let (Some(device), Some(zone)) = (&args.device, &args.zone) else {
        return Err(Code::Usage
            .failure("say DEVICE --zone ZONE, or --request FILE, or --gateway NAME --out FILE"));
    };
    let op = Op::Invite {
        device: device.as_str().into(),
        zone: zone.as_str().into(),
        valid: args.valid,
    };
    let Reply::Voucher(voucher) = desk.ask(op)? else { return Err(nonsense()) };
    if args.json {
        let expires = time(voucher.expires);
        let json = serde_json::json!({
            "voucher": voucher.code, "device": device, "zone": zone, "expires": expires,
            "root": hex(&voucher.root),
        });
        say!("{json}");
    } else {
        say!("{}", voucher.code);
        eprintln!("the plant's root key, for `device enrol --root`: {}", hex(&voucher.root));
        eprintln!(
            "for {device} in {zone}, once, until {}; then `plantwin authority approve {device}`",
            time(voucher.expires)
        );
    }
    Ok(Code::Ok)
}

/// What a device without a connection asks, in a file.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Offline {
    Enrol(EnrolRequest),
    Rekey(RekeyRequest),
}

fn offline(desk: &mut Desk, path: &Path) -> Result<Code, Failure> {
    use io::Read as _;
    let shown = path.display();
    let cannot = |e: io::Error| Code::Unavailable.failure(format!("cannot read {shown}: {e}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(REQUEST_LIMIT).read_to_string(&mut text).map_err(cannot)?;
    let request = serde_json::from_str::<Offline>(&text)
        .or_else(|error| serde_json::from_str(&text).map(Offline::Enrol).map_err(|_| error))
        .map_err(|e| Code::Config.failure(format!("{shown} holds no request of a device: {e}")))?;
    let (device, op) = match request {
        Offline::Enrol(request) => (request.device.clone(), Op::Enrol { request }),
        Offline::Rekey(request) => (request.device.clone(), Op::Rekey { request }),
    };
    let device = printable(device.as_str());
    match desk.ask(op)? {
        Reply::Enrolment(EnrolStatus::Pending { fingerprint }) => {
            say!("{device} waits for approval with the key {fingerprint}");
        }
        Reply::Enrolment(EnrolStatus::Active { fingerprint }) => {
            say!("{device} is enrolled with the key {fingerprint}");
        }
        _ => return Err(nonsense()),
    }
    Ok(Code::Ok)
}

fn approve(args: &ApproveArgs) -> Result<Code, Failure> {
    let mut desk = Desk::reach(&args.place)?;
    let device = &args.device;
    let fingerprint = if let Some(given) = &args.fingerprint {
        given.clone()
    } else {
        let Reply::List(list) = desk.ask(Op::List)? else { return Err(nonsense()) };
        let waits = list.pending().find(|d| d.device.as_str() == device.as_str());
        let waits = waits.ok_or_else(|| {
            Code::Usage.failure(format!(
                "{device} does not wait for approval; `plantwin authority list` says who does"
            ))
        })?;
        if !io::stdin().is_terminal() {
            return Err(Code::Usage.failure(
                "there is no terminal to ask; give the fingerprint that the device shows by \
                 --fingerprint",
            ));
        }
        let question = format!(
            "{device} in {} asked with the key\n  {}\nDoes the device show the same?",
            waits.zone, waits.fingerprint
        );
        if !yes(&question)? {
            say!("nothing was changed");
            return Ok(Code::Auth);
        }
        waits.fingerprint.clone()
    };
    desk.ask(Op::Approve { device: device.as_str().into(), fingerprint })?;
    say!("{device} is enrolled");
    Ok(Code::Ok)
}

fn refuse(args: &RefuseArgs) -> Result<Code, Failure> {
    let (device, reason) = (args.device.as_str().into(), args.reason.clone());
    Desk::reach(&args.place)?.ask(Op::Refuse { device, reason })?;
    say!("{} was sent away; it needs a new voucher to ask again", args.device);
    Ok(Code::Ok)
}

fn issue(args: &IssueArgs) -> Result<Code, Failure> {
    let mut desk = Desk::reach(&args.place)?;
    let device = args.device.as_str().into();
    let (gateway, policy) = (args.gateway.clone(), PolicyStamp::default());
    let Reply::Grant(grant) = desk.ask(Op::Issue { device, gateway, policy })? else {
        return Err(nonsense());
    };
    let json = serde_json::to_string(&grant).or_exit(Code::Unavailable)?;
    if args.json {
        say!("{json}");
    }
    if let Some(out) = &args.out {
        write_secret(out, json.as_bytes())?;
        eprintln!("the grant is in {}; its token ends in ten minutes", out.display());
    }
    Ok(Code::Ok)
}

fn revoke(args: &RevokeArgs) -> Result<Code, Failure> {
    let mut desk = Desk::reach(&args.place)?;
    let reason = args.reason.clone();
    if let Some(name) = &args.client {
        desk.ask(Op::Dismiss { name: name.clone(), reason })?;
        say!("{name} is dismissed; its channel ends within a second");
        return Ok(Code::Ok);
    }
    let Some(device) = &args.device else {
        return Err(Code::Usage.failure("say DEVICE or --client NAME"));
    };
    desk.ask(Op::Revoke { device: device.as_str().into(), reason })?;
    say!("the key of {device} is revoked, for good");
    Ok(Code::Ok)
}

fn rotate(args: &RotateArgs) -> Result<Code, Failure> {
    let mut desk = Desk::reach(&args.place)?;
    if let Some(out) = &args.export_root {
        return export(&mut desk, out, &args.pass);
    }
    let overlap = !args.no_overlap;
    if let Some(path) = &args.root {
        let root = read_root(path, &args.pass)?;
        let Reply::IssuerRequest(request) = desk.ask(Op::RotateBegin)? else {
            return Err(nonsense());
        };
        // Signed here: the root key never reaches the authority.
        let cert = request.sign(&root).map_err(failure)?;
        desk.ask(Op::RotateFinish { cert, overlap })?;
    } else {
        desk.ask(Op::Rotate { overlap })?;
    }
    let before = if overlap { "honoured for 24 hours" } else { "refused from now on" };
    say!("a new issuer key is in use; what the one before signed is {before}");
    Ok(Code::Ok)
}

fn export(desk: &mut Desk, out: &Path, pass: &RootPass) -> Result<Code, Failure> {
    if !desk.is_local() {
        return Err(Code::Auth
            .failure("the root key is told on the machine that it lies on alone; run this there"));
    }
    let Reply::Root(seed) = desk.ask(Op::ExportRoot)? else { return Err(nonsense()) };
    let passphrase = new_passphrase(pass)?;
    let root = SigningKey::from_seed(seed.expose());
    let file = RootFile::new(&root, passphrase.as_deref().map(String::as_str)).map_err(failure)?;
    write_secret(out, file.to_text().as_bytes())?;
    // Only now, when it is on the disk elsewhere.
    desk.ask(Op::ForgetRoot)?;
    say!("the root key is in {} and nowhere else; take that file to a safe place", out.display());
    Ok(Code::Ok)
}

fn read_root(path: &Path, pass: &RootPass) -> Result<SigningKey, Failure> {
    let shown = path.display();
    let text = read_private(path, RootFile::LIMIT)
        .map_err(|e| Code::Unavailable.failure(format!("cannot read the root key {shown}: {e}")))?;
    let file = RootFile::from_text(&String::from_utf8_lossy(&text))
        .map_err(|_| Code::Config.failure(format!("{shown} is no root key of plantwin")))?;
    let passphrase = match &pass.root_passphrase_file {
        _ if !file.is_sealed() => None,
        Some(path) => Some(keys::read_passphrase(path)?),
        None => Some(keys::ask(&format!("Passphrase of {shown}: "))?),
    };
    file.open(passphrase.as_deref().map(String::as_str)).map_err(|error| match error {
        AuthError::Seal(plantwin_seal::SealError::WrongKey) => {
            Code::Auth.failure(format!("wrong passphrase for the root key {shown}"))
        }
        _ => Code::Config.failure(format!("the root key {shown} was altered")),
    })
}

fn new_passphrase(pass: &RootPass) -> Result<Option<zeroize::Zeroizing<String>>, Failure> {
    if let Some(path) = &pass.root_passphrase_file {
        return keys::read_passphrase(path).map(Some);
    }
    if !pass.root_passphrase {
        return Ok(None);
    }
    let passphrase = keys::ask("New passphrase of the root key: ")?;
    if keys::ask("The same again: ")? == passphrase {
        Ok(Some(passphrase))
    } else {
        Err(Code::Usage.failure("the two passphrases differ; nothing was changed"))
    }
}

fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_new(path, bytes).map_err(|e| {
        let hint = match e.kind() {
            io::ErrorKind::AlreadyExists => "; name a file that is not there yet",
            _ => "",
        };
        Code::Unavailable.failure(format!("cannot write {}: {e}{hint}", path.display()))
    })
}

fn yes(question: &str) -> Result<bool, Failure> {
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ").and_then(|()| err.flush()).or_exit(Code::Unavailable)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).or_exit(Code::Unavailable)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn nonsense() -> Failure {
    Code::Unavailable.failure("the authority gave an answer that makes no sense")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
