//! Where certificates live.
//!
//! The library always wants a folder. Paths without security get one that is removed as soon as
//! the library has looked into it; protected paths have their own certificate in the folder of the
//! plant file, or in a private temporary one that lives as long as the protocol value. A link
//! judges certificates itself (see `trust`), so the library keeps what links were shown in the
//! temporary folder; a server leaves the judging to the library, in the folder of the plant file.
//! Private keys are made for their owner's eyes only, and refused otherwise. Absent: judging.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;
use tracing::subscriber::{NoSubscriber, with_default};

use crate::{
    secret::{check_key, close_key, private_folder},
    security::Security,
};

/// The own certificate, below a folder for certificates.
const CERTIFICATE: &str = "own/cert.der";
/// Its private key.
const KEY: &str = "private/private.pem";

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

    /// The certificate (DER) that was made in it, if one was: of the devices that are played
    /// without a folder of their own.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        let folder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fs::read(folder.as_ref()?.path().join(CERTIFICATE)).ok()
    }
}

fn temporary() -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("plantwin-opcua-").tempdir();
    made.map_err(|e| format!("no temporary folder for certificates: {e}"))
}

/// Certificates of strangers that are kept for a person to look at.
pub(crate) const KEPT: usize = 64;

/// Removes all but the newest [`KEPT`] files of a folder into which strangers have their
/// certificates written, so that they do not fill the disk. Blocks.
pub(crate) fn keep_newest(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    let dated = |file: fs::DirEntry| Some((file.metadata().ok()?.modified().ok()?, file.path()));
    let mut files: Vec<_> = files.flatten().filter_map(dated).collect();
    if files.len() > KEPT {
        files.sort_unstable();
        for (_, file) in files.drain(..files.len() - KEPT) {
            // One that cannot be removed is tried again at the next occasion.
            let _ = fs::remove_file(file);
        }
    }
}

/// Whose certificates the library is to judge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Face {
    /// Nobody's: the link has done it.
    Link,
    /// Those of clients.
    Server,
}

/// What the library is told about certificates.
pub(crate) struct Pki {
    /// Its folder for `trusted` and `rejected`.
    pub(crate) folder: PathBuf,
    /// The own certificate.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Whether to make an own certificate if there is none.
    pub(crate) own: bool,
    /// Whether peers are accepted that are not in the folder `trusted`.
    pub(crate) trust_all: bool,
}

/// Runs `make`, which builds a client or a server of the library, with what it needs to know.
///
/// May take a second, because a missing RSA key is made on the way. The error says what to do.
pub(crate) fn with_pki<T>(
    shared: &PkiFolder,
    security: Security,
    given: Option<&Path>,
    face: Face,
    make: impl FnOnce(Pki) -> T,
) -> Result<T, String> {
    let of = |base: &Path, folder: PathBuf, own, trust_all| Pki {
        folder,
        certificate: base.join(CERTIFICATE),
        key: base.join(KEY),
        own,
        trust_all,
    };
    if security == Security::None {
        let folder = temporary()?;
        let pki = of(folder.path(), folder.path().to_owned(), false, true);
        // The library shouts that there is no certificate, which is what was asked for.
        return Ok(with_default(NoSubscriber::default(), || make(pki)));
    }
    let private = shared.path()?;
    // An absolute path, since the library takes a relative one to be below its own folder.
    let base = given.map_or_else(|| Ok(private.clone()), std::path::absolute);
    let base = base.map_err(|e| format!("pki: {e}"))?;
    let pki = match (face, given) {
        (Face::Server, Some(_)) => of(&base, base.clone(), true, false),
        (Face::Server, None) => of(&base, base.clone(), true, true),
        (Face::Link, _) => of(&base, private.join("links"), true, true),
    };
    // Two makers of one key would overwrite each other's half.
    let _one_at_a_time = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (certificate, key) = (pki.certificate.clone(), pki.key.clone());
    let named = |e: String| format!("pki: {e}");
    if given.is_some() {
        // Where a person looks for what was rejected, and puts what is trusted.
        for folder in ["trusted", "rejected"] {
            let folder = base.join(folder);
            let made = fs::create_dir_all(&folder);
            made.map_err(|e| format!("pki: {}: {e}", folder.display()))?;
        }
    }
    let found = key.exists();
    if found {
        check_key(&key).map_err(named)?;
    } else {
        private_folder(&base.join("private")).map_err(named)?;
    }
    let made = make(pki);
    if !found && key.exists() {
        close_key(&key).map_err(named)?;
    }
    if !key.exists() || !certificate.exists() {
        let base = base.display();
        return Err(format!("pki: no own certificate could be made or read in {base}"));
    }
    Ok(made)
}
