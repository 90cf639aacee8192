//! `plantwin authority list`: all that is no secret.

use plantwin_authority::registry::{AuthorityOp, AuthorityReply, ClientKind, DeviceState, Listing};
use serde_json::{Value, json};

use super::{Desk, args::ListArgs, nonsense, printable};
use crate::{
    control::status::time,
    exit::{Code, Failure},
};

pub(super) fn list(args: &ListArgs) -> Result<Code, Failure> {
    let AuthorityReply::List(list) = Desk::reach(&args.place)?.ask(AuthorityOp::List)? else {
        return Err(nonsense());
    };
    if args.json {
        say!("{}", as_json(&list));
    } else {
        for line in lines(&list) {
            say!("{line}");
        }
    }
    Ok(Code::Ok)
}

pub(super) fn lines(list: &Listing) -> Vec<String> {
    let mut lines = vec![format!(
        "root key {} {}",
        list.root,
        if list.root_is_here {
            "lies in the data folder; take it offline: plantwin authority rotate --export-root FILE"
        } else {
            "is kept elsewhere"
        }
    )];
    lines.push(format!("issuer {} until {}", list.issuer_serial, time(list.issuer_expires)));
    for (serial, until) in &list.issuers_before {
        lines.push(format!("issuer {serial} is honoured until {}", time(*until)));
    }
    lines.push(format!("{} revoked, list {}", list.revoked, list.revocation_serial));
    for device in &list.devices {
        let reason = device.reason.as_ref().map_or_else(String::new, |r| format!(": {r}"));
        lines.push(format!(
            "{:<16} {:<12} {:<9} {} since {} by {}{reason}",
            device.device.as_str(),
            device.zone.as_str(),
            device.state,
            device.fingerprint,
            time(device.since),
            device.by
        ));
    }
    for voucher in &list.vouchers {
        lines.push(format!(
            "voucher for {} in {} until {} by {}",
            voucher.device,
            voucher.zone,
            time(voucher.expires),
            voucher.by
        ));
    }
    for client in &list.clients {
        let kind = kind(client.kind);
        let since = time(client.since);
        lines.push(format!("{kind} {} since {since} by {}", client.name, client.by));
    }
    for device in list.pending() {
        lines.push(format!(
            "! {} waits: plantwin authority approve {}",
            device.device, device.device
        ));
    }
    for line in &mut lines {
        *line = printable(line);
    }
    lines
}

fn kind(kind: ClientKind) -> String {
    match kind {
        ClientKind::Gateway => "gateway".to_owned(),
        ClientKind::Person(role) => format!("{role:?}").to_lowercase(),
    }
}

pub(super) fn as_json(list: &Listing) -> Value {
    let devices: Vec<Value> = list
        .devices
        .iter()
        .map(|d| {
            json!({
                "device": d.device, "zone": d.zone, "state": d.state,
                "fingerprint": d.fingerprint, "since": time(d.since), "by": d.by,
                "reason": d.reason,
            })
        })
        .collect();
    let vouchers: Vec<Value> = list
        .vouchers
        .iter()
        .map(|v| {
            json!({
                "device": v.device, "zone": v.zone, "expires": time(v.expires), "by": v.by,
            })
        })
        .collect();
    let clients: Vec<Value> = list
        .clients
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "kind": kind(c.kind), "since": time(c.since), "by": c.by,
            })
        })
        .collect();
    let before: Vec<Value> = list
        .issuers_before
        .iter()
        .map(|(serial, until)| json!({ "serial": serial, "until": time(*until) }))
        .collect();
    let pending = list.devices.iter().filter(|d| d.state == DeviceState::Pending).count();
    json!({
        "root": list.root,
        "root_is_here": list.root_is_here,
        "issuer": { "serial": list.issuer_serial, "expires": time(list.issuer_expires) },
        "issuers_before": before,
        "pending": pending,
        "devices": devices,
        "vouchers": vouchers,
        "clients": clients,
        "revocations": { "serial": list.revocation_serial, "keys": list.revoked },
    })
}
