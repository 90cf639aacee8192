//! An operation in words: for the record, and for whoever must ask for the same as a second person.
//!
//! Absent: what came of it.

use plantwin_model::AuditKind;

use super::{
    devices::bare,
    op::{AuthorityOp, ClientKind},
};

impl AuthorityOp {
    /// Whether it changes nothing and hands nothing out, so that doing it need not be on record.
    pub const fn only_looks(&self) -> bool {
        matches!(self, Self::GatewayKeys { .. } | Self::List | Self::CheckOrigins { .. })
    }

    /// As it stands in the audit trail: the kind of record, what it is done to, and what is done.
    /// Names in it are whatever a stranger wrote.
    pub fn account(&self) -> (AuditKind, String, String) {
        let issuer = |what: &str| (AuditKind::Key, "issuer".to_owned(), what.to_owned());
        let root = |what: &str| (AuditKind::Key, "root".to_owned(), what.to_owned());
        let look = |what: &str| (AuditKind::Request, "authority".to_owned(), what.to_owned());
        match self {
            Self::Token { request, gateway, .. } => {
                (AuditKind::Token, request.device.to_string(), format!("token for {gateway}"))
            }
            Self::Issue { device, gateway, .. } => {
                (AuditKind::Token, device.to_string(), format!("token by hand for {gateway}"))
            }
            Self::Enrol { request } => {
                let what = format!("asked with key {}", request.public.fingerprint());
                (AuditKind::Enrolment, request.device.to_string(), what)
            }
            Self::Rekey { request } => {
                let what = format!("new key {}", request.public.fingerprint());
                (AuditKind::Key, request.device.to_string(), what)
            }
            Self::Invite { device, zone, .. } => {
                (AuditKind::Enrolment, device.to_string(), format!("invited into {zone}"))
            }
            Self::Approve { device, fingerprint } => {
                (AuditKind::Enrolment, device.to_string(), format!("approved key {fingerprint}"))
            }
            Self::Refuse { device, reason } => {
                (AuditKind::Enrolment, device.to_string(), format!("sent away: {reason}"))
            }
            Self::Revoke { device, reason } => {
                (AuditKind::Revocation, device.to_string(), format!("revoked: {reason}"))
            }
            Self::Admit { name, .. } => {
                (AuditKind::Enrolment, format!("client:{name}"), "admitted".to_owned())
            }
            Self::Dismiss { name, reason } => {
                (AuditKind::Revocation, format!("client:{name}"), format!("dismissed: {reason}"))
            }
            Self::Rotate { .. } => issuer("rotated"),
            Self::RotateBegin => issuer("made, not signed yet"),
            Self::RotateFinish { .. } => issuer("rotated by the offline root"),
            Self::ExportRoot => root("told for export"),
            Self::ForgetRoot => root("taken offline"),
            Self::Upkeep => issuer("upkeep"),
            Self::GatewayKeys { gateway } => {
                (AuditKind::Key, format!("client:{gateway}"), "keys".to_owned())
            }
            Self::List => look("list"),
            Self::CheckOrigins { .. } => look("check of origins"),
        }
    }

    /// What a second person must ask for, too: the same text for operations that come to the same,
    /// and another one for any other. Names are quoted, since a name could hold words of ours. Not
    /// in it: a reason, which changes nothing; and keys that are made anew each time that somebody
    /// asks, a client's, which whoever completes the admission gets, and an issuer's, which the
    /// authority makes and knows again.
    pub fn errand(&self) -> String {
        // Every field is named: a new one must be thought of here.
        match self {
            Self::Token { request, gateway, policy: _ } => {
                format!("fetch a token of {:?} for {gateway:?}", request.device.as_str())
            }
            Self::Enrol { request } => {
                let key = request.public.fingerprint();
                let (device, zone) = (request.device.as_str(), request.zone.as_str());
                format!("enrol {device:?} in {zone:?} with the key {key}")
            }
            Self::Rekey { request } => {
                let key = request.public.fingerprint();
                format!("change the key of {:?} to {key}", request.device.as_str())
            }
            Self::GatewayKeys { gateway } => format!("fetch the keys of {gateway:?}"),
            Self::Invite { device, zone, valid } => {
                let valid = valid.map_or_else(String::new, |v| format!(" for {v:?}"));
                format!("invite {:?} into {:?}{valid}", device.as_str(), zone.as_str())
            }
            Self::Admit { name, kind, dh: _ } => match kind {
                ClientKind::Gateway => format!("admit the gateway {name:?}"),
                ClientKind::Person(role) => format!("admit the person {name:?} as {role}"),
            },
            Self::Dismiss { name, reason: _ } => format!("dismiss {name:?}"),
            Self::Approve { device, fingerprint } => {
                // As it is compared, so that two persons may write it differently.
                let key = bare(fingerprint);
                format!("approve the key {key} of {:?}", device.as_str())
            }
            Self::Refuse { device, reason: _ } => format!("send {:?} away", device.as_str()),
            Self::Issue { device, gateway, policy: _ } => {
                format!("issue a token of {:?} for {gateway:?}", device.as_str())
            }
            Self::Revoke { device, reason: _ } => {
                format!("revoke the key of {:?}", device.as_str())
            }
            Self::Rotate { overlap } => format!("rotate the issuer's key{}", honoured(*overlap)),
            Self::RotateBegin => "begin to rotate the issuer's key".to_owned(),
            Self::RotateFinish { cert: _, overlap } => {
                format!("rotate the issuer's key by the offline root{}", honoured(*overlap))
            }
            Self::ExportRoot => "export the root key".to_owned(),
            Self::ForgetRoot => "forget the root key".to_owned(),
            Self::CheckOrigins { claims: _ } => "check origins".to_owned(),
            Self::List => "list what the authority knows".to_owned(),
            Self::Upkeep => "upkeep".to_owned(),
        }
    }
}

const fn honoured(overlap: bool) -> &'static str {
    if overlap { "" } else { " and refuse the old one at once" }
}
