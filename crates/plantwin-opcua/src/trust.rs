//! Whether a server is the one that was meant: by its certificate, before a byte is sent to it
//! under that certificate's key.
//!
//! A certificate is trusted if it is the one of `server_cert`, or lies in the folder `trusted` of
//! `pki`, byte for byte; if it is the one that this process made for devices that it plays itself
//! (nobody else has its key), so that a simulated device needs no other path than a real one; and
//! otherwise never. One that nobody trusts is put into the folder `rejected`, from where a person
//! who has compared the thumbprint moves it. Absent: authorities and revocation lists; certificates
//! are trusted one by one.

use std::{fs, path::Path};

use opcua::{
    crypto::{CertificateStore, X509},
    types::DateTime,
};

use crate::{pki::keep_newest, secret::certificate, security::Protection};

/// Largest file that is read as a certificate, bytes.
const LARGEST: u64 = 64 * 1024;

/// Checks a server's certificate (DER). Blocks to read files; the error is a cause in words.
///
/// `own` is the certificate of the devices that this process plays, `host` what the path calls the
/// server, `uri` what the server calls itself.
pub(crate) fn judge(
    protection: &Protection,
    own: Option<&[u8]>,
    der: &[u8],
    (host, uri): (&str, &str),
    now: &DateTime,
) -> Result<(), String> {
    let cert = X509::from_der(der).map_err(|_| "the server sent no certificate".to_owned())?;
    if own == Some(der) {
        return Ok(());
    }
    let seen = cert.thumbprint().as_hex_string();
    if let Some(file) = &protection.server_cert {
        let pinned = certificate(file).map_err(|e| format!("server_cert: {e}"))?;
        if pinned.to_der().ok().as_deref() != Some(der) {
            let (wanted, file) = (pinned.thumbprint().as_hex_string(), file.display());
            return Err(format!(
                "the server's certificate (thumbprint {seen}) is not the one of `server_cert` \
                 ({file}, thumbprint {wanted}): either somebody is in between, or the server has a \
                 new certificate and the file must be replaced"
            ));
        }
    } else if let Some(pki) = &protection.pki {
        if !is_in(&pki.join("trusted"), der) {
            let file = pki.join("rejected").join(CertificateStore::cert_file_name(&cert));
            let kept = keep(&file, der);
            let (trusted, file) = (pki.join("trusted"), file.display());
            return Err(format!(
                "the server's certificate (thumbprint {seen}) is not trusted: compare the \
                 thumbprint, then move {file} to {}{kept}",
                trusted.display()
            ));
        }
        // A list says which servers are trusted, not which one of them this is.
        cert.is_hostname_valid(host).map_err(|_| {
            format!(
                "the server's certificate (thumbprint {seen}) is trusted, but not made for \
                 {host}: name it in `server_cert` to accept exactly this one here"
            )
        })?;
        cert.is_application_uri_valid(uri).map_err(|_| {
            format!("the server calls itself {uri}, which its certificate ({seen}) does not say")
        })?;
    } else {
        return Err(format!(
            "the path does not say whom to trust, and the server's certificate (thumbprint \
             {seen}) is not one of this process's own: name its file in `server_cert`, or a \
             folder in `pki`"
        ));
    }
    cert.is_time_valid(&now.as_chrono()).map_err(|_| {
        let until = cert.not_after().map_or_else(|_| "?".to_owned(), |t| t.to_string());
        format!("the server's certificate (thumbprint {seen}) is not valid now (ends {until})")
    })
}

/// Whether a folder has a certificate with exactly these bytes.
fn is_in(folder: &Path, der: &[u8]) -> bool {
    let Ok(files) = fs::read_dir(folder) else { return false };
    files.flatten().any(|file| {
        let small = file.metadata().is_ok_and(|m| m.is_file() && m.len() <= LARGEST);
        small && certificate(&file.path()).is_ok_and(|c| c.to_der().ok().as_deref() == Some(der))
    })
}

/// Keeps a rejected certificate for a person to look at; says so if that failed.
fn keep(file: &Path, der: &[u8]) -> String {
    let folder = file.parent().unwrap_or(Path::new("."));
    match fs::create_dir_all(folder).and_then(|()| fs::write(file, der)) {
        Ok(()) => {
            keep_newest(folder);
            String::new()
        }
        Err(e) => format!(" (it could not be written there: {e})"),
    }
}
