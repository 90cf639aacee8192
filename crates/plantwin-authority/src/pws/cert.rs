//! Who may issue and who may ask: certificates of issuers and gateways, and how the rest is signed.
//!
//! The root key signs an issuer's certificate and can be offline after that. An issuer signs
//! everything else in one form: `certificate of the issuer 120 B | body (postcard) | signature
//! 64 B`, the signature over a domain of its own and all that stands before it, so that nothing
//! signed for one purpose serves another. Signatures are checked before bodies are parsed.
//!
//! Why not COSE and CWT (RFC 9052, RFC 8392): both ends are this program, one algorithm is allowed,
//! and a CBOR header that names algorithms and keys would be one more thing that an attacker can
//! vary and a parser can get wrong. What is said is the same; a translation can be added where a
//! foreign verifier needs it. Absent: chains longer than one issuer, revocation of issuers (they
//! live 30 days; the root signs a new one), X.509.

use plantwin_model::Timestamp;
use plantwin_seal::{DhPublic, SIGNATURE_BYTES, Signature, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{AuthError, CLOCK_SKEW};

/// Length of an issuer's certificate, in bytes.
pub const ISSUER_CERT_BYTES: usize = 120;
/// Longest name of a gateway, in bytes.
pub const GATEWAY_NAME_LIMIT: usize = 128;

const ISSUER: &[u8] = b"plantwin v1 issuer certificate";
const GATEWAY: &[u8] = b"plantwin v1 gateway certificate";
const BODY: usize = ISSUER_CERT_BYTES - SIGNATURE_BYTES;

/// What the root says of an issuer. Made by [`Self::sign`] and [`Self::verify`] alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerCert {
    /// The issuer's key.
    pub issuer: VerifyingKey,
    /// Rises with every issuer.
    pub serial: u64,
    /// From when on it may issue.
    pub not_before: Timestamp,
    /// From when on nothing that it signed is believed.
    pub not_after: Timestamp,
    bytes: [u8; ISSUER_CERT_BYTES],
}

impl IssuerCert {
    /// The certificate of `issuer`.
    pub fn sign(
        root: &SigningKey,
        issuer: VerifyingKey,
        serial: u64,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Self {
        let mut bytes = [0; ISSUER_CERT_BYTES];
        bytes[..32].copy_from_slice(issuer.as_bytes());
        bytes[32..40].copy_from_slice(&serial.to_le_bytes());
        bytes[40..48].copy_from_slice(&not_before.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&not_after.0.to_le_bytes());
        let signature = root.sign(&[ISSUER, &bytes[..BODY]].concat());
        bytes[BODY..].copy_from_slice(&signature.to_bytes());
        Self { issuer, serial, not_before, not_after, bytes }
    }

    /// What [`Self::verify`] reads.
    pub const fn to_bytes(&self) -> [u8; ISSUER_CERT_BYTES] {
        self.bytes
    }

    /// Believes `bytes` if `root` signed them and they hold at `now`.
    ///
    /// # Errors
    /// [`AuthError::IssuerForged`], [`AuthError::IssuerExpired`] (also before its beginning, give
    /// or take [`CLOCK_SKEW`]).
    pub fn verify(root: &VerifyingKey, bytes: &[u8], now: Timestamp) -> Result<Self, AuthError> {
        let bytes: [u8; ISSUER_CERT_BYTES] =
            bytes.try_into().map_err(|_| AuthError::IssuerForged)?;
        let (body, signature) = bytes.split_last_chunk().ok_or(AuthError::IssuerForged)?;
        root.verify_strict(&[ISSUER, body].concat(), &Signature::from_bytes(signature))
            .map_err(|_| AuthError::IssuerForged)?;
        let issuer =
            VerifyingKey::from_bytes(&piece(body, 0)).map_err(|_| AuthError::IssuerForged)?;
        let word = |at| i64::from_le_bytes(piece(body, at));
        let (not_before, not_after) = (Timestamp(word(40)), Timestamp(word(48)));
        if now.plus(CLOCK_SKEW) < not_before || now >= not_after {
            return Err(AuthError::IssuerExpired);
        }
        let serial = u64::from_le_bytes(piece(body, 32));
        Ok(Self { issuer, serial, not_before, not_after, bytes })
    }
}

/// What an issuer says of a gateway: its name and the key that devices shake hands with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayCert {
    /// Its name, the audience of tokens.
    pub gateway: String,
    /// Its key.
    pub dh: DhPublic,
    /// From when on it is worth nothing.
    pub not_after: Timestamp,
}

impl GatewayCert {
    /// The signed bytes; `cert` is the issuer's own.
    ///
    /// # Errors
    /// [`AuthError::TooLong`] for a name of more than [`GATEWAY_NAME_LIMIT`] bytes.
    pub fn sign(&self, issuer: &SigningKey, cert: &[u8]) -> Result<Vec<u8>, AuthError> {
        if self.gateway.len() > GATEWAY_NAME_LIMIT {
            return Err(AuthError::TooLong(self.gateway.len()));
        }
        sign(GATEWAY, issuer, cert, self)
    }

    /// Believes `bytes` if an issuer of `root` signed them and both hold at `now`.
    ///
    /// # Errors
    /// [`AuthError::GatewayForged`], [`AuthError::GatewayExpired`], [`AuthError::IssuerExpired`].
    pub fn verify(root: &VerifyingKey, bytes: &[u8], now: Timestamp) -> Result<Self, AuthError> {
        let cert: Self = verify(GATEWAY, &AuthError::GatewayForged, root, bytes, now)?;
        if cert.gateway.len() > GATEWAY_NAME_LIMIT {
            return Err(AuthError::GatewayForged);
        }
        if now >= cert.not_after {
            return Err(AuthError::GatewayExpired);
        }
        Ok(cert)
    }
}

/// Signs `body` for the purpose that `domain` names.
pub(crate) fn sign<T: Serialize>(
    domain: &[u8],
    issuer: &SigningKey,
    cert: &[u8],
    body: &T,
) -> Result<Vec<u8>, AuthError> {
    let cert: &[u8; ISSUER_CERT_BYTES] = cert.try_into().map_err(|_| AuthError::IssuerForged)?;
    if cert[..32] != *issuer.verifying_key().as_bytes() {
        // Nobody would believe it.
        return Err(AuthError::IssuerForged);
    }
    let bytes = postcard::to_extend(body, cert.to_vec());
    let mut bytes = bytes.map_err(|_| AuthError::Malformed("the content cannot be encoded"))?;
    let signature = issuer.sign(&[domain, &bytes].concat());
    bytes.extend(signature.to_bytes());
    Ok(bytes)
}

/// Believes what [`sign`] made; whatever does not hold is `forged`.
pub(crate) fn verify<T: DeserializeOwned>(
    domain: &[u8],
    forged: &AuthError,
    root: &VerifyingKey,
    bytes: &[u8],
    now: Timestamp,
) -> Result<T, AuthError> {
    let Some((signed, signature)) = bytes.split_last_chunk() else { return Err(forged.clone()) };
    let Some((cert, body)) = signed.split_at_checked(ISSUER_CERT_BYTES) else {
        return Err(forged.clone());
    };
    let cert = IssuerCert::verify(root, cert, now).map_err(|error| match error {
        AuthError::IssuerForged => forged.clone(),
        other => other,
    })?;
    cert.issuer
        .verify_strict(&[domain, signed].concat(), &Signature::from_bytes(signature))
        .map_err(|_| forged.clone())?;
    match postcard::take_from_bytes(body) {
        Ok((body, [])) => Ok(body),
        // Signed by an issuer of ours, and still of another layout: a version that we do not know.
        _ => Err(forged.clone()),
    }
}

/// `N` bytes of a certificate's body; all callers name constant places within it.
fn piece<const N: usize>(body: &[u8], at: usize) -> [u8; N] {
    let mut piece = [0; N];
    piece.copy_from_slice(&body[at..at + N]);
    piece
}
