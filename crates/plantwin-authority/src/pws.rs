//! PWS/1: how a device and a gateway come to a sealed session, and what both must show for it.
//!
//! Two factors at every session: the device proves that it holds its keys, and shows a token of at
//! most ten minutes that is bound to them and to one gateway. The token's secret, which never
//! travels in the open, is mixed into a Noise handshake, so that a token alone, keys alone and the
//! two of different devices are worth nothing. The gateway proves itself by its certificate and
//! its key. Each way to fail has its own [`crate::AuthError::reason_code`], which is audited.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use plantwin_authority::pws::*;
//! use plantwin_model::{NoAudit, Timestamp};
//! use plantwin_seal::{DhKey, Lane, Secret, SigningKey};
//!
//! // The plant's authority: an offline root, an issuer, and one gateway known to both.
//! let now = Timestamp::from_millis(0);
//! let day = now.plus(Duration::from_hours(24));
//! let (root, issuer) = (SigningKey::generate()?, SigningKey::generate()?);
//! let cert = IssuerCert::sign(&root, issuer.verifying_key(), 1, now, day).to_bytes();
//! let (dh, secret) = (DhKey::generate()?, Secret::random()?);
//! let certificate = GatewayCert { gateway: "hall".into(), dh: dh.public(), not_after: day }
//!     .sign(&issuer, &cert)?;
//! let credential = GatewayCredential { dh, certificate: certificate.clone(), secret: secret.clone() };
//! let gateway =
//!     Gateway::new(root.verifying_key(), credential, Revoked::default(), Arc::new(NoAudit), now)?;
//!
//! // A device, enrolled already.
//! let keys = DeviceKeys::generate()?;
//! let public = keys.public();
//! let mut device = Agent::new(DeviceIdentity {
//!     device: "tank1".into(),
//!     zone: "field".into(),
//!     keys,
//!     root: root.verifying_key(),
//!     voucher: None,
//! });
//!
//! let (mut handshake, mut question) = gateway.begin(&"tank1".into(), &"field".into(), "", now)?;
//! let mut session = loop {
//!     let Answer::Send { bytes, .. } = device.on_exchange(&question, now) else { unreachable!() };
//!     question = match handshake.on_answer(&bytes, now) {
//!         Step::Send(bytes) => bytes,
//!         Step::Ask(AuthorityNeed::Token(request)) => {
//!             request.verify(&public, "hall", now)?;
//!             let token = PwsToken::issue(&issuer, &cert, TokenClaims {
//!                 token_id: [1; 16], // random, in earnest
//!                 device: request.device,
//!                 zone: "field".into(),
//!                 gateway: request.gateway,
//!                 cnf: public.cnf(),
//!                 caps: [0; 32],
//!                 policy_epoch: 1,
//!                 rev_epoch: 0,
//!                 issued: now,
//!                 expires: now.plus(Duration::from_mins(10)),
//!             })?;
//!             handshake.granted(Grant::make(&token, &secret, &public.dh, &certificate)?)?
//!         }
//!         Step::Up(session) => break session,
//!         other => panic!("{other:?}"),
//!     };
//! };
//! let envelope = device.seal_telemetry(Lane::Latest, b"12.4 cm", now)?;
//! assert_eq!(session.open_telemetry(&envelope, now)?.payload, b"12.4 cm");
//! # Ok::<(), plantwin_authority::AuthError>(())
//! ```
//!
//! **What it does not do.** Theft of a device's whole disk takes keys and token at once: only the
//! short life, revocation and detection help. The first Noise message shows its length, so roughly
//! that of the names in the token; who later takes the gateway's key can read the token in a
//! recording of it, but nothing that was said in the session. None of it withstands a quantum
//! computer. Absent: sockets, clocks, storage, the authority's
//! registry.

mod cert;
mod device;
mod gate;
mod gateway;
mod keys;
mod request;
mod revoked;
mod session;
mod token;
mod wire;

#[cfg(test)]
mod tests;

pub use cert::{GATEWAY_NAME_LIMIT, GatewayCert, ISSUER_CERT_BYTES, IssuerCert};
pub use device::{Agent, AgentEvent, Answer, SWITCH_AFTER, Ticket};
pub use gate::{
    COOKIE_BYTES, COOKIE_LIFE, COOKIES_ABOVE, CookieJar, FORGET, Gate, GateCounts, LOCK_AFTER,
    LOCK_FIRST, LOCK_MAX, Permit, RATE, RATE_INTERVAL, Source, check_mac1, mac1,
};
pub use gateway::{
    AuthorityNeed, Gateway, GatewayCredential, HALF_OPEN_LIMIT, HANDSHAKE_LIFE, Handshake,
    SOURCES_LIMIT, Step, TRIES,
};
pub use keys::{DEVICE_KEYS_BYTES, DeviceIdentity, DeviceKeys, DevicePublic, Voucher, fingerprint};
pub use request::{EnrolRequest, REQUEST_SKEW, TokenRequest};
pub use revoked::{RevocationList, Revoked};
pub use session::{
    CHAIN, GRACE, GatewaySession, OVERLAP, Purpose, RENEW_AFTER, SESSION_LIFE, Telemetry,
};
pub use token::{CLOCK_SKEW, Grant, PwsToken, TOKEN_LIFE, TokenClaims, token_psk};
pub use wire::{MESSAGE_LIMIT, Refusal, Withheld};
