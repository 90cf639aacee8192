//! The registry on the disk: one sealed file, replaced as a whole.
//!
//! `state` is `PWAU | version | generation u64 | sealed`; version and generation are authenticated
//! with the content. `high-water` beside it says the generation that was promised last, with a MAC:
//! a `state` that is older was put back by somebody, and with it keys that were revoked since, so
//! it is refused. Who puts both files back is not found here; gateways find it, which refuse a
//! revocation list with a lower serial. Who removes `high-water` causes a finding. One process at
//! a time holds the folder, by `lock`.
//! Absent: what the state means, and the key, which comes from the plant's store.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use plantwin_seal::{Secret, derive_key, mac, open_at_rest, seal_at_rest, verify_mac};
use zeroize::Zeroizing;

use super::{
    Registry,
    disk::{Disk, OsDisk, replace},
    state::{STATE_VERSION, State},
};
use crate::AuthError;

/// What the key for [`AuthorityStore::open`] is derived for (`SledStore::key_for`).
pub const REST_CONTEXT: &str = "plantwin v1 authority at rest";

const STATE: &str = "state";
const HIGH_WATER: &str = "high-water";
const MAGIC: &[u8; 4] = b"PWAU";
const HEADER: usize = MAGIC.len() + 1 + 8;

/// The folder of an authority, held by this process.
#[derive(Debug)]
pub struct AuthorityStore {
    dir: PathBuf,
    key: Secret,
    /// Of what was written last, or tried to be.
    generation: u64,
    disk: Box<dyn Disk>,
    _lock: File,
}

/// An opened folder.
#[derive(Debug)]
pub struct Opened {
    /// Writes the registry.
    pub store: AuthorityStore,
    /// What lay there; `None` if it never held an authority.
    pub registry: Option<Registry>,
    /// What an operator must know of.
    pub findings: Vec<String>,
}

impl AuthorityStore {
    /// Opens `dir`, which is made if it is not there. Blocks on the disk.
    ///
    /// # Errors
    /// [`AuthError::Storage`] if another process holds it, if the key is not the one it was written
    /// with, or if the state was altered, removed or put back; nothing is touched then.
    pub fn open(dir: &Path, key: &Secret) -> Result<Opened, AuthError> {
        Self::open_on(Box::new(OsDisk), dir, key)
    }

    pub(crate) fn open_on(
        disk: Box<dyn Disk>,
        dir: &Path,
        key: &Secret,
    ) -> Result<Opened, AuthError> {
        make_private(dir).map_err(|e| fail("make the folder", dir, e))?;
        let lock = take_lock(dir)?;
        let key = derive_key("plantwin v1 authority state", &[key.expose()]);
        let mut store = Self { dir: dir.to_owned(), key, generation: 0, disk, _lock: lock };
        let mut findings = Vec::new();
        // One that was altered protects as little as one that was removed, and is told like it; the
        // state itself cannot be altered unseen.
        let (promised, altered) = match store.promised() {
            Ok(promised) => (promised, None),
            Err(error) => (None, Some(error)),
        };
        let path = dir.join(STATE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                if let Some(error) = altered {
                    return Err(error);
                }
                return match promised {
                    None => Ok(Opened { store, registry: None, findings }),
                    Some(_) => Err(refuse(
                        &path,
                        "it is gone; put it back from a backup, or remove high-water beside it to \
                         begin anew, which ends all enrolments",
                    )),
                };
            }
            Err(e) => return Err(fail("read", &path, e)),
        };
        let (generation, state) = store.unseal(&path, &bytes)?;
        match promised {
            Some(promised) if generation < promised => {
                return Err(refuse(
                    &path,
                    &format!(
                        "it is of generation {generation} and {promised} was written: an older \
                         state was put back, in which keys that were revoked since are valid; put \
                         the right one back, or remove high-water beside it to accept the loss"
                    ),
                ));
            }
            None => findings.push(format!(
                "{} is missing or was altered: an older state that was put back would not have been noticed",
                dir.join(HIGH_WATER).display()
            )),
            Some(_) => {}
        }
        store.generation = generation;
        if promised != Some(generation) {
            // The end of a write that a crash cut off; and what was missing is there again.
            store.promise().map_err(|e| fail("write", &store.dir.join(HIGH_WATER), e))?;
        }
        Ok(Opened { store, registry: Some(Registry::of(state)), findings })
    }

    /// Returns when the registry is on the disk.
    ///
    /// # Errors
    /// [`AuthError::Storage`]; the former state or this one is there then, whole.
    pub fn write(&mut self, registry: &mut Registry) -> Result<(), AuthError> {
        // A number is used once, even if its write failed half-way.
        self.generation += 1;
        let header = self.header();
        let plain = Zeroizing::new(
            postcard::to_allocvec(&registry.state)
                .map_err(|_| refuse(&self.dir.join(STATE), "it cannot be encoded"))?,
        );
        let sealed = seal_at_rest(&self.key, &header, &plain)?;
        let bytes = [&header[..], &sealed].concat();
        replace(&*self.disk, &self.dir, STATE, &bytes)
            .map_err(|e| fail("write", &self.dir.join(STATE), e))?;
        self.promise().map_err(|e| fail("write", &self.dir.join(HIGH_WATER), e))?;
        registry.changed = false;
        Ok(())
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(MAGIC);
        header[4] = STATE_VERSION;
        header[5..].copy_from_slice(&self.generation.to_le_bytes());
        header
    }

    fn unseal(&self, path: &Path, bytes: &[u8]) -> Result<(u64, State), AuthError> {
        let altered = "it was altered, or written with another key than the one of this data \
                       folder; put it back from a backup";
        let parts = bytes.split_first_chunk::<HEADER>();
        let (header, sealed) = parts.ok_or_else(|| refuse(path, altered))?;
        if !header.starts_with(MAGIC) {
            return Err(refuse(path, "it is no state of an authority"));
        }
        if header[4] != STATE_VERSION {
            return Err(refuse(path, "it is of another version of plantwin"));
        }
        let plain = open_at_rest(&self.key, header, sealed).map_err(|_| refuse(path, altered))?;
        let plain = Zeroizing::new(plain);
        let mut generation = [0; 8];
        generation.copy_from_slice(&header[5..]);
        match postcard::take_from_bytes(&plain) {
            Ok((state, [])) => Ok((u64::from_le_bytes(generation), state)),
            _ => Err(refuse(path, "it is of another version of plantwin")),
        }
    }

    /// The generation that was promised last.
    fn promised(&self) -> Result<Option<u64>, AuthError> {
        let path = self.dir.join(HIGH_WATER);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail("read", &path, e)),
        };
        let parts = bytes.split_first_chunk::<8>();
        let parts = parts.and_then(|(number, tag)| Some((number, tag.try_into().ok()?)));
        match parts {
            Some((number, tag))
                if verify_mac(&self.key, &[HIGH_WATER.as_bytes(), number], tag).is_ok() =>
            {
                Ok(Some(u64::from_le_bytes(*number)))
            }
            _ => Err(refuse(
                &path,
                "it was altered, or written with another key than the one of this data folder; \
                 put it back from a backup",
            )),
        }
    }

    fn promise(&self) -> io::Result<()> {
        let number = self.generation.to_le_bytes();
        let tag = mac(&self.key, &[HIGH_WATER.as_bytes(), &number]);
        replace(&*self.disk, &self.dir, HIGH_WATER, &[&number[..], &tag].concat())
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn take_lock(dir: &Path) -> Result<File, AuthError> {
    let path = dir.join("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(|e| fail("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refuse(
            &path,
            "another process holds this authority: end it, or ask it over its plant",
        )),
        Err(TryLockError::Error(e)) => Err(fail("lock", &path, e)),
    }
}

fn fail(action: &'static str, path: &Path, error: io::Error) -> AuthError {
    AuthError::Storage { action, path: path.display().to_string(), reason: error.to_string() }
}

fn refuse(path: &Path, reason: &str) -> AuthError {
    let path = path.display().to_string();
    AuthError::Storage { action: "use", path, reason: reason.to_owned() }
}
