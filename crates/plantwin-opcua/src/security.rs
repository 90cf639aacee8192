//! What a path says of its protection: mode, policies, who is trusted, who the user is.
//!
//! Two policies of the standard are not to be had, whoever asks: `Basic128Rsa15`, whose PKCS#1 v1.5
//! decryption tells an attacker enough to decrypt what was recorded (RUSTSEC-2023-0071; see
//! `docs/decisions/0016-opcua-rsa-exception.md`), and `Basic256`, which rests on SHA-1. Absent:
//! reading files (see `secret`), judging certificates (see `trust`).

use std::path::PathBuf;

use opcua::{crypto::SecurityPolicy, types::MessageSecurityMode};
use plantwin_model::PathSpec;

use crate::secret::Secret;

/// Whether messages are protected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Security {
    /// Neither signed nor encrypted.
    None,
    /// Signed: nobody on the way can change them, everybody can read them.
    Sign,
    /// Signed and encrypted.
    SignEncrypt,
}

impl Security {
    const NAMES: [(&'static str, Self); 3] =
        [("none", Self::None), ("sign", Self::Sign), ("sign-encrypt", Self::SignEncrypt)];

    /// As in a plant file.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("none", |(name, _)| name)
    }

    /// As the standard has it (OPC UA Part 4, 7.20).
    pub(crate) fn mode(self) -> MessageSecurityMode {
        match self {
            Self::None => MessageSecurityMode::None,
            Self::Sign => MessageSecurityMode::Sign,
            Self::SignEncrypt => MessageSecurityMode::SignAndEncrypt,
        }
    }
}

/// Policies that are used, the best first (SecurityPolicy facets of OPC UA Part 7).
pub(crate) const POLICIES: [SecurityPolicy; 3] = [
    SecurityPolicy::Aes256Sha256RsaPss,
    SecurityPolicy::Basic256Sha256,
    SecurityPolicy::Aes128Sha256RsaOaep,
];
/// Policies that are known and refused, with what is wrong with them.
const REFUSED: [(SecurityPolicy, &str); 2] = [
    (
        SecurityPolicy::Basic128Rsa15,
        "its PKCS#1 v1.5 encryption gives recorded messages away (RUSTSEC-2023-0071)",
    ),
    (SecurityPolicy::Basic256, "it rests on SHA-1 and is deprecated since OPC UA 1.04"),
];

/// The standard's name of a policy: the end of its URI.
pub(crate) fn policy_name(policy: SecurityPolicy) -> &'static str {
    let uri = policy.to_uri();
    uri.rsplit_once('#').map_or(uri, |(_, name)| name)
}

/// Whether a text is the URI of a policy, its name in the standard, or that in the library.
fn means(text: &str, policy: SecurityPolicy) -> bool {
    text == policy.to_uri() || text == policy_name(policy) || text == policy.to_str()
}

/// What is wrong with the policy of this URI or name, if it is one of the refused ones.
pub(crate) fn refused(policy: &str) -> Option<(&'static str, &'static str)> {
    REFUSED.into_iter().find(|(p, _)| means(policy, *p)).map(|(p, why)| (policy_name(p), why))
}

/// The policy of this URI or name, if it is used.
pub(crate) fn allowed(policy: &str) -> Option<SecurityPolicy> {
    POLICIES.into_iter().find(|p| means(policy, *p))
}

/// Who opens the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum User {
    /// Nobody in particular.
    Anonymous,
    /// A name and its password.
    Password {
        /// The name.
        name: String,
        /// The password, or where it is.
        password: Secret,
    },
    /// The owner of a certificate (X.509).
    Certificate {
        /// File of the certificate, `.der` or `.pem`.
        cert: PathBuf,
        /// File of its private key, PEM.
        key: PathBuf,
    },
}

/// A path's protection, as checked.
#[derive(Clone, Debug)]
pub(crate) struct Protection {
    pub(crate) security: Security,
    /// Policies that will do, the best first; empty without security.
    pub(crate) policies: Vec<SecurityPolicy>,
    /// Folder of the own certificate and of those that are trusted.
    pub(crate) pki: Option<PathBuf>,
    /// File of the only certificate that is accepted of a server.
    pub(crate) server_cert: Option<PathBuf>,
    pub(crate) user: User,
}

impl Protection {
    /// Reads settings in which [`validate`] found nothing.
    pub(crate) fn read(path: &PathSpec) -> Self {
        let file = |key| path.text(key).map(PathBuf::from);
        let named = path.text("security").unwrap_or("none");
        let security = Security::NAMES.iter().find(|(name, _)| *name == named);
        let security = security.map_or(Security::None, |(_, mode)| *mode);
        let policies = match path.text("policy").and_then(allowed) {
            _ if security == Security::None => Vec::new(),
            Some(only) => vec![only],
            None => POLICIES.to_vec(),
        };
        let password = || match file("password_file") {
            Some(file) => Secret::File(file),
            None => Secret::given(path.text("password").unwrap_or_default()),
        };
        let user = match (path.text("user"), file("user_cert"), file("user_key")) {
            (Some(name), ..) => User::Password { name: name.to_owned(), password: password() },
            (None, Some(cert), Some(key)) => User::Certificate { cert, key },
            _ => User::Anonymous,
        };
        let (pki, server_cert) = (file("pki"), file("server_cert"));
        Self { security, policies, pki, server_cert, user }
    }
}

/// Problems of these settings as `(key, message)`.
pub(crate) fn validate(path: &PathSpec) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut problem = |key: &str, message: String| problems.push((key.to_owned(), message));
    let has = |key: &str| path.text(key).is_some_and(|text| !text.is_empty());
    let keys = ["pki", "server_cert", "user", "password_file", "user_cert", "user_key"];
    for key in keys {
        if path.text(key).is_some_and(str::is_empty) {
            problem(key, "must not be empty".to_owned());
        }
    }
    let mode = path.text("security");
    if let Some(other) = mode.filter(|m| Security::NAMES.iter().all(|(name, _)| name != m)) {
        problem("security", format!("is `none`, `sign` or `sign-encrypt`, not `{other}`"));
    }
    if let Some(policy) = path.text("policy") {
        if let Some((name, why)) = refused(policy) {
            let good = policy_name(POLICIES[0]);
            problem("policy", format!("{name} is switched off: {why}; use {good}"));
        } else if allowed(policy).is_none() {
            let names = POLICIES.map(policy_name).join(", ");
            problem("policy", format!("is one of {names}, not `{policy}`"));
        }
    }
    if mode.is_none_or(|m| m == "none") {
        for key in ["pki", "policy", "server_cert"] {
            if has(key) {
                let needs = "`security = \"sign\"` or `\"sign-encrypt\"`";
                problem(key, format!("has a meaning only with {needs}"));
            }
        }
        if has("user") {
            problem(
                "user",
                "needs `security = \"sign-encrypt\"` (or `\"sign\"`): without it the password \
                 would cross the network in clear"
                    .to_owned(),
            );
        }
        if has("user_cert") {
            let why = "needs `security = \"sign-encrypt\"` (or `\"sign\"`)";
            problem("user_cert", format!("{why}: a signature for a server that anybody can be"));
        }
    }
    for key in ["password", "password_file"] {
        if has(key) && !has("user") {
            problem(key, "needs a `user`".to_owned());
        }
    }
    if has("password") && has("password_file") {
        problem("password", "is given twice: keep `password_file`".to_owned());
    }
    for (key, other) in [("user_cert", "user_key"), ("user_key", "user_cert")] {
        if has(key) && !has(other) {
            problem(key, format!("needs `{other}` as well"));
        }
    }
    if has("user") && has("user_cert") {
        problem("user_cert", "and `user` exclude each other: one session has one user".to_owned());
    }
    problems
}
