//! How a broker proves who it is, and how we do: TLS 1.2 and 1.3 by rustls.
//!
//! A path either names authorities (`ca`: the broker's certificate must be issued by one of them,
//! for the right name, and be within its dates by the system's clock, not the plant's) or the one
//! certificate that the broker must show (`pin`). With `cert` and `key` we show one as well.
//! Absent: the authorities of the operating system (name their bundle as `ca`), revocation lists
//! (short-lived certificates, or a new `pin`, do their work), early data, resumption.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use plantwin_adapter::LinkError;
use plantwin_model::PathSpec;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct,
        RootCertStore, SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use crate::{
    cause::io_cause,
    secret::{read, read_private, unfit},
};

/// The TLS settings of a path.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    trust: Trust,
    /// Our certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
    /// What the certificate of the broker must be for; with a pinned one only what we ask for.
    name: ServerName<'static>,
}

/// What makes a broker's certificate good.
#[derive(Clone, Debug)]
enum Trust {
    /// It was issued by one of these.
    Authorities(PathBuf),
    /// It is this one.
    Pinned(PathBuf),
}

/// Problems with the TLS settings, as `(key, message)`.
pub(crate) fn problems(path: &PathSpec) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let has = |key| path.text(key).is_some();
    for key in ["ca", "pin", "cert", "key", "server_name"] {
        if path.text(key).is_some_and(str::is_empty) {
            found.push((key, "must not be empty".to_owned()));
        }
    }
    if has("ca") && has("pin") {
        found.push(("pin", "stands beside `ca`: keep one of them".to_owned()));
    }
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if has(one) && !has(other) {
            found.push((one, format!("needs `{other}` too")));
        }
    }
    for key in ["cert", "key", "server_name"] {
        if has(key) && !has("ca") && !has("pin") {
            let why = "does nothing without TLS: give `ca` or `pin`, by which the broker is known";
            found.push((key, why.to_owned()));
        }
    }
    if let Some(Err(problem)) = path.text("server_name").map(server_name) {
        found.push(("server_name", problem));
    }
    found
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let wrong = |_| format!("`{name}` is neither a host name nor an IP address");
    ServerName::try_from(bare.to_owned()).map_err(wrong)
}

impl Tls {
    /// The settings of a path that passed [`problems`]; `None` where it wants no TLS.
    pub(crate) fn read(path: &PathSpec, host: &str) -> Result<Option<Self>, LinkError> {
        let file = |key| path.text(key).map(PathBuf::from);
        let trust = match (file("ca"), file("pin")) {
            (Some(ca), _) => Trust::Authorities(ca),
            (None, Some(pin)) => Trust::Pinned(pin),
            (None, None) => return Ok(None),
        };
        let name = server_name(path.text("server_name").unwrap_or(host)).map_err(|problem| {
            LinkError::Settings(format!("`server_name` is missing: in `addr`, {problem}"))
        })?;
        Ok(Some(Self { trust, own: file("cert").zip(file("key")), name }))
    }

    /// What the broker is asked to be.
    pub(crate) fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    /// Reads the files; blocks.
    pub(crate) fn connector(&self) -> Result<TlsConnector, LinkError> {
        // Named here and not installed for the process, which is not ours.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| LinkError::Settings(format!("TLS cannot be used: {e}")))?;
        let verifier: Arc<dyn ServerCertVerifier> = match &self.trust {
            Trust::Authorities(file) => authorities(file, &provider)?,
            Trust::Pinned(file) => {
                let [only] = <[_; 1]>::try_from(certificates("pin", file)?).map_err(|all| {
                    let what = format!("holds {} certificates: keep the broker's own", all.len());
                    unfit("pin", file, &what)
                })?;
                Arc::new(Pinned { only, provider })
            }
        };
        let config = config.dangerous().with_custom_certificate_verifier(verifier);
        let config = match &self.own {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = certificates("cert", cert)?;
                let pem = read_private("key", key)?;
                let secret = PrivateKeyDer::from_pem_slice(&pem)
                    .map_err(|_| unfit("key", key, "holds no private key in PEM form"))?;
                config.with_client_auth_cert(chain, secret).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        let what = format!("is not the key of `cert` ({})", cert.display());
                        unfit("key", key, &what)
                    }
                    other => unfit("key", key, &format!("cannot be used: {}", lower(&other))),
                })?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Why the connection failed, as a lowercase fragment, and how to mend it.
    pub(crate) fn cause(&self, error: &io::Error) -> String {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(flaw)) => self.flaw(flaw),
            Some(rustls::Error::AlertReceived(alert)) => self.alert(*alert),
            Some(rustls::Error::InvalidMessage(_)) => {
                "what answers there does not speak TLS: check the port in `addr`".to_owned()
            }
            Some(other) => format!("TLS failed: {}", lower(other)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "it hung up in the midst of TLS: check that this port of the broker speaks TLS"
                    .to_owned()
            }
            None => io_cause(error),
        }
    }

    /// What we hold against the broker's certificate.
    fn flaw(&self, flaw: &CertificateError) -> String {
        let file = match &self.trust {
            Trust::Authorities(file) | Trust::Pinned(file) => file.display(),
        };
        match flaw {
            CertificateError::UnknownIssuer => {
                format!("the broker's certificate was issued by none of those in `ca` ({file})")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the broker's certificate has expired: it needs a new one".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the broker's certificate is not valid yet: check the clocks".to_owned()
            }
            CertificateError::NotValidForName => {
                format!("the broker's certificate is not for `{}`", self.name.to_str())
            }
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "the broker's certificate is not for `{}` but for [{}]: set `server_name` if \
                 that is the right broker",
                self.name.to_str(),
                presented.join(", "),
            ),
            CertificateError::ApplicationVerificationFailure => {
                format!("the broker showed another certificate than the one in `pin` ({file})")
            }
            other => format!("the broker's certificate does not hold: {}", lower(other)),
        }
    }

    /// What the broker holds against us.
    fn alert(&self, alert: AlertDescription) -> String {
        let own = self.own.as_ref().map(|(cert, _)| cert.display());
        match (alert, own) {
            // TLS 1.2 has no word for a missing certificate (RFC 8446 §6.2 added one).
            (AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure, None) => {
                "the broker wants a client certificate: give `cert` and `key`".to_owned()
            }
            (AlertDescription::CertificateExpired, Some(file)) => {
                format!("the broker says that our certificate `cert` ({file}) has expired")
            }
            (AlertDescription::UnknownCA, Some(file)) => {
                format!("the broker does not know who issued our certificate `cert` ({file})")
            }
            (
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError,
                Some(file),
            ) => format!("the broker refused our certificate `cert` ({file}): {alert:?}"),
            _ => format!("the broker refused TLS with us: {alert:?}"),
        }
    }
}

fn lower(error: &impl ToString) -> String {
    crate::cause::lowercase(&error.to_string())
}

/// The certificates in a file, at least one.
fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let pem = read(key, file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(unfit(key, file, "holds no certificate in PEM form")),
        Err(e) => Err(unfit(key, file, &format!("is no good PEM file: {}", lower(&e)))),
    }
}

fn authorities(
    file: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, LinkError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca", file)? {
        roots.add(certificate).map_err(|e| {
            unfit("ca", file, &format!("holds an unusable certificate: {}", lower(&e)))
        })?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| unfit("ca", file, &format!("cannot be used: {}", lower(&e))))
}

/// Takes one certificate and no other. That the broker holds its key is checked as ever.
#[derive(Debug)]
struct Pinned {
    only: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.only {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
