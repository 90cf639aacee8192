//! Where certificates live.
//!
//! The library always wants a folder. Paths without security get one that is removed as soon as
//! the library has looked into it; protected paths get the folder of the plant file, or a private
//! temporary one that lives as long as the protocol value. Absent: judging certificates.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;
use tracing::subscriber::{NoSubscriber, with_default};

use crate::config::Security;

/// The private temporary folder, made when first needed, and removed on drop.
#[derive(Default)]
pub(crate) struct PkiFolder(Mutex<Option<TempDir>>);

impl PkiFolder {
    fn path(&self) -> Result<PathBuf, String> {
        let mut folder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if folder.is_none() {
            *folder = Some(temporary()?);
        }
        Ok(folder.as_ref().map(|f| f.path().to_owned()).unwrap_or_default())
    }
}

fn temporary() -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("plantwin-opcua-").tempdir();
    made.map_err(|e| format!("no temporary folder for certificates: {e}"))
}

/// What the library is told about certificates.
pub(crate) struct Pki<'a> {
    pub(crate) folder: &'a Path,
    /// Whether to make an own certificate if the folder has none.
    pub(crate) own: bool,
    /// Whether peers are accepted that are not in the folder `trusted`.
    pub(crate) trust_all: bool,
}

/// Runs `make`, which builds a client or a server of the library, with a folder for certificates.
///
/// May take a second, because a missing RSA key is made on the way.
pub(crate) fn with_pki<T>(
    shared: &PkiFolder,
    security: Security,
    given: Option<&Path>,
    make: impl FnOnce(Pki<'_>) -> T,
) -> Result<T, String> {
    match (security, given) {
        (Security::None, _) => {
            let folder = temporary()?;
            let pki = Pki { folder: folder.path(), own: false, trust_all: true };
            // The library shouts that there is no certificate, which is what was asked for.
            Ok(with_default(NoSubscriber::default(), || make(pki)))
        }
        (Security::SignEncrypt, Some(folder)) => {
            Ok(make(Pki { folder, own: true, trust_all: false }))
        }
        (Security::SignEncrypt, None) => {
            let folder = shared.path()?;
            // Two makers of one key would overwrite each other's half.
            let _one_at_a_time = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(make(Pki { folder: &folder, own: true, trust_all: true }))
        }
    }
}
