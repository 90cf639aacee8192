//! Every way in which enrolment, issuing or a session start can fail, as one enum.

use plantwin_model::DeviceId;
use plantwin_seal::SealError;
use thiserror::Error;

use crate::pws::Refusal;

/// Why a device was not enrolled, got no token or no session.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The bytes are no message of this protocol.
    #[error("read a session message: {0}")]
    Malformed(&'static str),
    /// The message is of a version that is not spoken here.
    #[error("read a session message: unknown version {0}")]
    Version(u8),
    /// The token was not signed by this plant's authority, or was altered.
    #[error("accept the token: it was not signed by this plant's authority")]
    Forged,
    /// The token's life is over.
    #[error("accept the token: it expired")]
    Expired,
    /// The token was issued further in the future than clocks may differ.
    #[error("accept the token: it is not valid yet")]
    NotYetValid,
    /// The token is for another device.
    #[error("accept the token: it belongs to device {0}")]
    WrongDevice(DeviceId),
    /// The token is for another zone.
    #[error("accept the token: it is for another zone")]
    WrongZone,
    /// The token is bound to another key than the one shown.
    #[error("accept the token: it is bound to another key")]
    WrongKey,
    /// The key that the token is bound to was revoked.
    #[error("accept the token: the device's key was revoked")]
    Revoked,
    /// The answer does not prove that the device holds its key.
    #[error("accept the answer: it does not prove possession of the key")]
    NoPossession,
    /// The answer belongs to another handshake.
    #[error("accept the answer: it answers another handshake")]
    Replayed,
    /// The authority knows no such device.
    #[error("find device {0}: it is not enrolled")]
    UnknownDevice(DeviceId),
    /// The device has a key already; revoke it first.
    #[error("enrol device {0}: it has an active key already")]
    AlreadyEnrolled(DeviceId),
    /// The key belongs to another device, or was revoked.
    #[error("enrol device {0}: its key is known already")]
    KeyInUse(DeviceId),
    /// There is no token that is still valid.
    #[error("begin a session: there is no token that is still valid")]
    NoToken,
    /// The token claims a longer life than a token may have.
    #[error("accept the token: it claims to live longer than ten minutes")]
    LifeTooLong,
    /// The token, or the request for one, is for another gateway.
    #[error("accept the token: it is for another gateway")]
    WrongAudience,
    /// The issuer's certificate was not signed by the plant's root key, or is of another key.
    #[error("trust the issuer: its certificate was not signed by the plant's root key")]
    IssuerForged,
    /// The issuer's certificate does not hold now.
    #[error("trust the issuer: its certificate expired or is not valid yet")]
    IssuerExpired,
    /// The gateway's certificate was not signed by an issuer of this plant.
    #[error("trust the gateway: its certificate was not signed by this plant's authority")]
    GatewayForged,
    /// The gateway's certificate does not hold any more.
    #[error("trust the gateway: its certificate expired")]
    GatewayExpired,
    /// The revocation list was not signed by an issuer of this plant.
    #[error("accept the revocation list: it was not signed by this plant's authority")]
    RevocationsForged,
    /// The revocation list is older than the one that is known.
    #[error("accept the revocation list: number {got} does not follow number {known}")]
    RevocationsOld {
        /// Its serial.
        got: u64,
        /// The serial of the known one.
        known: u64,
    },
    /// The request to enrol does not prove that its sender holds the voucher.
    #[error("accept the voucher: the request does not prove it")]
    VoucherRefused,
    /// A request was not signed by the device's key, or was altered.
    #[error("accept the request: it was not signed by the device's key")]
    RequestForged,
    /// A request was made at another time than now.
    #[error("accept the request: its time is more than five minutes off")]
    RequestStale,
    /// The other side has not the secret that belongs to the token, or its message was altered.
    #[error("accept the session: the other side does not hold the token's secret")]
    PskMismatch,
    /// The device saw another offer than was made, or there is nothing that both sides speak.
    #[error(
        "agree on a session: the device saw another offer of versions and suites than was made"
    )]
    Downgraded,
    /// A handshake message was made for other keys or another handshake, or altered on its way.
    #[error("accept the session: the message does not belong to this handshake or was altered")]
    Altered,
    /// A message of our own came back to us.
    #[error("accept the session: the message is one of our own, sent back")]
    Reflected,
    /// A message that is not expected at this point.
    #[error("accept the session: the message is out of order")]
    Unexpected,
    /// The handshake took too long, or failed too often.
    #[error("accept the session: the handshake is over, begin a new one")]
    HandshakeOver,
    /// The device refused, for the reason that it gave.
    #[error("begin a session: the device refused: {0}")]
    RefusedByDevice(Refusal),
    /// Too many failures of late from this device by this way.
    #[error("begin a session: locked out after repeated failures, try again in {} s", .0.as_secs().max(1))]
    LockedOut(std::time::Duration),
    /// Nobody could account for it.
    #[error(
        "do it now: the audit trail cannot be written; see that the disk has room, and ask again"
    )]
    Unaccountable,
    /// More attempts a second than allowed from this source.
    #[error("begin a session: too many attempts a second from this source")]
    RateLimited,
    /// As many handshakes as allowed are under way.
    #[error("begin a session: too many handshakes are under way")]
    Busy,
    /// The cookie is missing, of another source or too old.
    #[error("begin a session: no valid cookie came with it")]
    Cookie,
    /// The session reached its end.
    #[error("use the session: it is over, begin a new one")]
    SessionOver,
    /// The token expired while the authority cannot be reached: reading goes on, commands do not.
    #[error("send a command: the device's token expired and the authority cannot be reached")]
    GraceOnly,
    /// There is no session.
    #[error("use the session: there is none")]
    NoSession,
    /// No such voucher, or it ended long ago.
    #[error("accept the voucher: it is not known here; ask for a new one")]
    VoucherUnknown,
    /// Another key used the voucher.
    #[error("accept the voucher: it was used already; ask for a new one")]
    VoucherUsed,
    /// The voucher came too late.
    #[error("accept the voucher: it expired; ask for a new one")]
    VoucherExpired,
    /// The voucher is for another device or zone.
    #[error("accept the voucher: it is for another device or zone")]
    VoucherBound,
    /// A voucher's life must be a span of at most 24 hours.
    #[error("make a voucher: it lives at most 24 hours")]
    VoucherLife,
    /// A person sent the device away, or it was invited anew.
    #[error("enrol the device: its request was refused or replaced")]
    EnrolmentRefused,
    /// Nobody approved the device's key yet.
    #[error("serve device {0}: its key was not approved yet")]
    NotApproved(DeviceId),
    /// The device does not wait for approval.
    #[error("decide on device {0}: it does not wait for approval")]
    NotPending(DeviceId),
    /// The key that waits is not the one that was compared.
    #[error("approve device {0}: its key has another fingerprint than the one given")]
    FingerprintDiffers(DeviceId),
    /// The authority knows no such gateway.
    #[error("find gateway {0}: it is not admitted")]
    UnknownGateway(String),
    /// A gateway or person of that name or key is admitted already.
    #[error("admit a client: one {0} is known already; dismiss it first")]
    ClientKnown(String),
    /// The actor's role does not allow it.
    #[error("do this: {}", match .0 {
        Some(role) => format!("it needs the role {role:?} or more").to_lowercase(),
        None => "it is for gateways alone".to_owned(),
    })]
    NotAllowed(Option<plantwin_model::Role>),
    /// A name with other than letters, digits, dots, dashes and underscores, or too long.
    #[error("take the name: 1 to 128 letters, digits, dots, dashes and underscores are allowed")]
    BadName,
    /// A reason that is too long or drives terminals.
    #[error("take the reason: at most 128 bytes without control characters are allowed")]
    BadText,
    /// The root key was taken offline.
    #[error("use the root key: it does not lie here; name its file with --root")]
    RootElsewhere,
    /// The root key is of another plant.
    #[error("use the root key: it is not the one of this authority")]
    WrongRoot,
    /// No new issuer waits for a signature.
    #[error("rotate the issuer: no new one waits for the root's signature; begin again")]
    NoIssuerRequest,
    /// The files of the authority cannot be read or written.
    #[error("{action} {path}: {reason}")]
    Storage {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: String,
        /// Why it failed, and how to mend it.
        reason: String,
    },
    /// The authority cannot be reached now.
    #[error("reach the authority: {0}")]
    Unavailable(String),
    /// What an authority far away answered.
    #[error("{text}")]
    Told {
        /// Its [`AuthError::reason_code`].
        code: &'static str,
        /// Its words.
        text: String,
    },
    /// A name is too long for a message.
    #[error("make a session message: {0} bytes are too long")]
    TooLong(usize),
    /// The operating system's randomness or a key failed.
    #[error("use a key: {0}")]
    Seal(#[from] SealError),
}

impl AuthError {
    /// A short name for audit records and statistics. It never changes.
    pub const fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Version(_) => "version",
            Self::Forged => "token_forged",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::LifeTooLong => "token_life",
            Self::WrongDevice(_) => "wrong_device",
            Self::WrongZone => "wrong_zone",
            Self::WrongKey => "wrong_key",
            Self::WrongAudience => "wrong_gateway",
            Self::Revoked => "revoked",
            Self::NoPossession => "no_possession",
            Self::Replayed => "replayed",
            Self::UnknownDevice(_) => "unknown_device",
            Self::AlreadyEnrolled(_) => "already_enrolled",
            Self::KeyInUse(_) => "key_in_use",
            Self::NoToken => "no_token",
            Self::IssuerForged => "issuer_forged",
            Self::IssuerExpired => "issuer_expired",
            Self::GatewayForged => "gateway_forged",
            Self::GatewayExpired => "gateway_expired",
            Self::RevocationsForged => "revocations_forged",
            Self::RevocationsOld { .. } => "revocations_old",
            Self::VoucherRefused => "voucher_refused",
            Self::RequestForged => "request_forged",
            Self::RequestStale => "request_stale",
            Self::PskMismatch => "psk_mismatch",
            Self::Downgraded => "downgraded",
            Self::Altered => "altered",
            Self::Reflected => "reflected",
            Self::Unexpected => "unexpected",
            Self::HandshakeOver => "handshake_over",
            Self::RefusedByDevice(_) => "refused_by_device",
            Self::LockedOut(_) => "locked_out",
            Self::Unaccountable => "unaccountable",
            Self::RateLimited => "rate_limited",
            Self::Busy => "busy",
            Self::Cookie => "cookie",
            Self::SessionOver => "session_over",
            Self::GraceOnly => "grace_only",
            Self::NoSession => "no_session",
            Self::VoucherUnknown => "voucher_unknown",
            Self::VoucherUsed => "voucher_used",
            Self::VoucherExpired => "voucher_expired",
            Self::VoucherBound => "voucher_bound",
            Self::VoucherLife => "voucher_life",
            Self::EnrolmentRefused => "enrolment_refused",
            Self::NotApproved(_) => "not_approved",
            Self::NotPending(_) => "not_pending",
            Self::FingerprintDiffers(_) => "fingerprint_differs",
            Self::UnknownGateway(_) => "unknown_gateway",
            Self::ClientKnown(_) => "client_known",
            Self::NotAllowed(_) => "not_allowed",
            Self::BadName => "bad_name",
            Self::BadText => "bad_text",
            Self::RootElsewhere => "root_elsewhere",
            Self::WrongRoot => "wrong_root",
            Self::NoIssuerRequest => "no_issuer_request",
            Self::Storage { .. } => "storage",
            Self::Unavailable(_) => "unavailable",
            Self::Told { code, .. } => code,
            Self::TooLong(_) => "too_long",
            Self::Seal(_) => "seal",
        }
    }
}
