//! Secrets: passwords and private keys, in files that only their owner can read.
//!
//! A file that others could read is refused, and the message says how to mend it. Absent: keeping
//! what was read; each use reads the file again, so that a new password counts from the next
//! connection on.

use std::{
    fmt,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use opcua::{
    client::IdentityToken,
    crypto::{CertificateStore, PrivateKey, X509},
};
use zeroize::Zeroizing;

use crate::security::User;

/// Longest password in a file, bytes.
const LONGEST: u64 = 1024;

/// A password, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// The password itself.
    Given(Zeroizing<String>),
    /// Its file: one line, mode 0600.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Secret(...)"),
            Self::File(path) => write!(f, "Secret({})", path.display()),
        }
    }
}

impl Secret {
    pub(crate) fn given(text: &str) -> Self {
        Self::Given(Zeroizing::new(text.to_owned()))
    }

    /// The password. Blocks to read a file; the error says what to do about it.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, String> {
        let path = match self {
            Self::Given(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let bad = |what: &str| format!("password_file: {} {what}", path.display());
        let mut text = Zeroizing::new(String::new());
        private(path)
            .map_err(|e| format!("password_file: {e}"))?
            .take(LONGEST + 1)
            .read_to_string(&mut text)
            .map_err(|e| bad(&format!("cannot be read: {e}")))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.contains('\n') || text.len() as u64 > LONGEST {
            return Err(bad(&format!("must hold one line, the password, of 1 to {LONGEST} bytes")));
        }
        Ok(Zeroizing::new(line.to_owned()))
    }
}

/// Opens a file that must be for its owner alone.
fn private(path: &Path) -> Result<File, String> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Of the open file, not of the name, which may be another one by now.
        let about = file.metadata().map_err(|e| format!("{}: {e}", path.display()))?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let file = path.display();
            return Err(format!("{file} is open to others (mode {mode:03o}): chmod 600 {file}"));
        }
    }
    Ok(file)
}

/// Refuses a private key that others could read.
pub(crate) fn check_key(path: &Path) -> Result<(), String> {
    private(path).map(drop)
}

/// Makes a folder for a private key, closed to others before anything is in it.
pub(crate) fn private_folder(path: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Closes a key that was just made to all but its owner.
pub(crate) fn close_key(path: &Path) -> Result<(), String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let only_owner = fs::Permissions::from_mode(0o600);
        fs::set_permissions(path, only_owner).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// Reads a certificate, DER or PEM.
pub(crate) fn certificate(path: &Path) -> Result<X509, String> {
    CertificateStore::read_cert(path).map_err(|e| {
        let e = e.to_lowercase();
        format!("{} is no certificate that can be read (.der or .pem): {e}", path.display())
    })
}

impl User {
    /// What the library needs to open a session. Blocks to read files.
    pub(crate) fn identity(&self) -> Result<IdentityToken, String> {
        match self {
            Self::Anonymous => Ok(IdentityToken::Anonymous),
            Self::Password { name, password } => {
                Ok(IdentityToken::new_user_name(name.as_str(), password.read()?.as_str()))
            }
            Self::Certificate { cert, key } => {
                let cert = certificate(cert).map_err(|e| format!("user_cert: {e}"))?;
                check_key(key).map_err(|e| format!("user_key: {e}"))?;
                let key = PrivateKey::read_pem_file(key)
                    .map_err(|_| format!("user_key: {} is no private key in PEM", key.display()))?;
                Ok(IdentityToken::new_x509(cert, key))
            }
        }
    }
}
