//! The file `key`: the data key, and how it is wrapped.
//!
//! `"PWKEY" | layout u8 | length u16 | body | checksum 16 B`; the body is a [`KeyFile`] in postcard,
//! the checksum an unkeyed hash against accidents. Everything that says how the key is wrapped is
//! authenticated by the wrapping. Mode 0600. It is only ever replaced as a whole: written beside
//! itself, synced, renamed, and the directory synced, so that a crash at any moment leaves the old
//! one or the new one. Absent: where wrapping keys come from ([`crate::key_source`]).

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::Path,
};

use plantwin_seal::{Kek, PassphraseCost, SALT_BYTES, SealError, Secret, hash, random_bytes};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    StoreError,
    key::{self, KeyId, key_path, refuse, short},
    key_source::{self, KeySource, Wrapping},
};

const TITLE: &[u8; 6] = b"PWKEY\x02";
const CHECK_BYTES: usize = 16;
/// Where a new key file is written before it takes the old one's place.
const FRESH: &str = "key.new";
/// Longer than any key file.
const LIMIT: usize = 4096;

/// A key file's content.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyFile {
    pub(crate) id: KeyId,
    how: How,
}

/// How the data key lies there. The order is that on disk and never changes.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
enum How {
    Plain { data_key: [u8; 32] },
    File { wrapped: Vec<u8> },
    Passphrase { salt: [u8; SALT_BYTES], cost: [u32; 3], wrapped: Vec<u8> },
    Keyring { name: String, wrapped: Vec<u8> },
}

/// The moments of replacing a key file after which a crash may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Opened,
    Written,
    Synced,
    Renamed,
    DirSynced,
}

impl KeyFile {
    /// Locks a data key for `dir` under a new wrapping key.
    pub(crate) fn lock(
        dir: &Path,
        data_key: &Secret,
        source: &KeySource,
    ) -> Result<Self, StoreError> {
        key_source::prepare(dir, source)?;
        let mut file = Self {
            id: key::id_of(data_key),
            how: match source {
                KeySource::Plain => How::Plain { data_key: *data_key.expose() },
                KeySource::File(_) => How::File { wrapped: Vec::new() },
                KeySource::Passphrase(_) => {
                    let PassphraseCost { memory_kib, passes, lanes } = PassphraseCost::DEFAULT;
                    How::Passphrase {
                        salt: random_bytes()?,
                        cost: [memory_kib, passes, lanes],
                        wrapped: Vec::new(),
                    }
                }
                KeySource::Keyring(name) => {
                    How::Keyring { name: name.clone(), wrapped: Vec::new() }
                }
            },
        };
        let Some(kek) = file.kek(dir, source)? else { return Ok(file) };
        let sealed = kek.wrap(data_key, &file.context()?)?;
        if let Some(wrapped) = file.wrapped() {
            *wrapped = sealed.to_vec();
        }
        Ok(file)
    }

    /// The data key, if `source` is what it is wrapped under.
    pub(crate) fn unlock(&self, dir: &Path, source: &KeySource) -> Result<Secret, StoreError> {
        let path = key_path(dir);
        let data_key = match &self.how {
            How::Plain { data_key } => {
                self.kek(dir, source)?;
                Secret::new(*data_key)
            }
            How::File { wrapped }
            | How::Passphrase { wrapped, .. }
            | How::Keyring { wrapped, .. } => {
                let kek = self.kek(dir, source)?.ok_or_else(|| altered(&path))?;
                match kek.unwrap(wrapped, &self.context()?) {
                    Err(SealError::WrongKey) => return Err(self.wrong(dir, source)),
                    Err(_) => return Err(altered(&path)),
                    Ok(data_key) => data_key,
                }
            }
        };
        if key::id_of(&data_key) == self.id { Ok(data_key) } else { Err(altered(&path)) }
    }

    /// How it is wrapped.
    pub(crate) fn wrapping(&self) -> Wrapping {
        match &self.how {
            How::Plain { .. } => Wrapping::Plain,
            How::File { .. } => Wrapping::File,
            How::Passphrase { cost: [memory_kib, passes, lanes], .. } => {
                let (memory_kib, passes, lanes) = (*memory_kib, *passes, *lanes);
                Wrapping::Passphrase(PassphraseCost { memory_kib, passes, lanes })
            }
            How::Keyring { name, .. } => Wrapping::Keyring(name.clone()),
        }
    }

    /// The wrapping key that `source` gives, if it is of the kind that this file needs.
    fn kek(&self, dir: &Path, source: &KeySource) -> Result<Option<Kek>, StoreError> {
        let material = match (&self.how, source) {
            (How::Plain { .. }, KeySource::Plain) => return Ok(None),
            (How::Passphrase { salt, cost, .. }, KeySource::Passphrase(passphrase)) => {
                let [memory_kib, passes, lanes] = *cost;
                let cost = PassphraseCost { memory_kib, passes, lanes };
                return Ok(Some(Kek::from_passphrase(passphrase, salt, cost)?));
            }
            (How::File { .. }, KeySource::File(path)) => key_source::read_file(dir, path)?,
            (How::Keyring { name, .. }, KeySource::Keyring(given)) if name == given => {
                key_source::read_keyring(dir, name)?
            }
            _ => return Err(self.wrong(dir, source)),
        };
        Ok(Some(Kek::from_material(&material)?))
    }

    fn wrong(&self, dir: &Path, source: &KeySource) -> StoreError {
        let reason = key_source::wrong(&self.wrapping(), source);
        StoreError::WrongKey { path: key_path(dir), reason }
    }

    fn wrapped(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.how {
            How::Plain { .. } => None,
            How::File { wrapped }
            | How::Passphrase { wrapped, .. }
            | How::Keyring { wrapped, .. } => Some(wrapped),
        }
    }

    /// What the wrapping vouches for besides the data key: all that stands beside it.
    fn context(&self) -> Result<Vec<u8>, StoreError> {
        let how = match &self.how {
            How::Plain { .. } => How::Plain { data_key: [0; 32] },
            How::File { .. } => How::File { wrapped: Vec::new() },
            How::Passphrase { salt, cost, .. } => {
                How::Passphrase { salt: *salt, cost: *cost, wrapped: Vec::new() }
            }
            How::Keyring { name, .. } => How::Keyring { name: name.clone(), wrapped: Vec::new() },
        };
        Ok(postcard::to_stdvec(&Self { id: self.id, how }).map_err(|_| SealError::Encode)?)
    }

    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let body = postcard::to_stdvec(self).map(Zeroizing::new).map_err(|_| SealError::Encode)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT));
        bytes.extend(TITLE);
        bytes.extend((body.len() as u16).to_le_bytes());
        bytes.extend(&*body);
        let check = check_of(&bytes);
        bytes.extend(check);
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        let (len, body) = covered.strip_prefix(TITLE)?.split_first_chunk()?;
        if body.len() != usize::from(u16::from_le_bytes(*len)) || *check != check_of(covered) {
            return None;
        }
        postcard::from_bytes(body).ok()
    }
}

fn check_of(covered: &[u8]) -> [u8; CHECK_BYTES] {
    short(&hash(&[b"plantwin store key file", covered]))
}

fn altered(path: &Path) -> StoreError {
    refuse(
        path,
        "it was altered or cut; put it back from a backup, or move the directory away to begin \
         with an empty store",
    )
}

/// Reads the key file at `path`.
pub(crate) fn read(path: &Path) -> Result<KeyFile, StoreError> {
    let bytes = fs::read(path).map(Zeroizing::new).map_err(|source| StoreError::File {
        action: "read the key file",
        path: path.to_owned(),
        source,
    })?;
    if key_source::is_exposed(path)? {
        return Err(refuse(
            path,
            "others than its owner may read or write it; run `chmod 600` on it, and if it may have \
             been copied, move the directory away and begin anew",
        ));
    }
    if let Some((secret, check)) = bytes.split_first_chunk::<32>()
        && *check == short(&hash(&[b"plantwin store key check", secret]))
    {
        return Err(refuse(
            path,
            "it is of an earlier version of plantwin, which did not encrypt the data beside it; \
             this one reads no such data: keep that version for it, or move the directory away to \
             begin with an empty store",
        ));
    }
    KeyFile::decode(&bytes).ok_or_else(|| altered(path))
}

/// Puts `file` in the place of the key file of `dir`; `after` is called after each step and may
/// end it there, as a crash would.
pub(crate) fn put(
    dir: &Path,
    file: &KeyFile,
    after: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<(), StoreError> {
    let (path, fresh) = (key_path(dir), dir.join(FRESH));
    let bytes = file.encode()?;
    let mut write = || {
        // What a crash left there may be open to others: it is not written into.
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&fresh)?;
        after(Step::Opened)?;
        file.write_all(&bytes)?;
        after(Step::Written)?;
        file.sync_all()?;
        after(Step::Synced)?;
        fs::rename(&fresh, &path)?;
        after(Step::Renamed)?;
        key::sync_dir(dir)?;
        after(Step::DirSynced)
    };
    write().map_err(|source| StoreError::File { action: "write the key file", path, source })
}

/// Holds the key file of `dir` against others who would replace it.
pub(crate) fn hold(dir: &Path) -> Result<File, StoreError> {
    let fail =
        |source| StoreError::File { action: "hold the directory", path: dir.to_owned(), source };
    let held = File::open(dir).map_err(fail)?;
    match held.try_lock() {
        Ok(()) => Ok(held),
        Err(TryLockError::WouldBlock) => {
            let busy = "somebody else changes its key just now; try again";
            Err(fail(io::Error::new(io::ErrorKind::WouldBlock, busy)))
        }
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// Removes what a crash left of a replacing: it may hold a key that nobody wanted to lie there.
pub(crate) fn sweep(dir: &Path) {
    // Whoever replaces the key just now removes it.
    if let Ok(_held) = hold(dir) {
        let _ = fs::remove_file(dir.join(FRESH));
    }
}
