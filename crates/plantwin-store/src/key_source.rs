//! Where the key comes from that wraps the data key.
//!
//! A passphrase is stretched (Argon2id, 64 MiB, three passes); a key file and a keyring hold at
//! least 32 random bytes. Absent: asking for a passphrase.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use plantwin_seal::{MATERIAL_BYTES, PassphraseCost, random_bytes};
use zeroize::Zeroizing;

use crate::{
    StoreError,
    key::{self, key_path},
};

/// Longest key file, in bytes.
const FILE_LIMIT: u64 = 4096;
/// Shortest new passphrase, in characters.
const PASSPHRASE_LEAST: usize = 8;
/// Longest name of a key in a keyring, in bytes.
const NAME_LIMIT: usize = 64;

/// From where the key of a store's directory is unlocked.
#[derive(Clone, Default)]
pub enum KeySource {
    /// From the directory itself: whoever can read its file `key` can read everything. What that
    /// protects is a copy of the other files alone.
    #[default]
    Plain,
    /// From a file of 32 to 4096 random bytes, of mode 0600, outside the directory. It is made if
    /// a key is to be wrapped with it and it is not there.
    File(PathBuf),
    /// From a passphrase; a new one has at least 8 characters.
    Passphrase(Zeroizing<String>),
    /// From the Linux kernel's keyring of the user or the session: the key `plantwin:NAME`, of
    /// type `user` and at least 32 bytes, which somebody puts there after each boot of the machine,
    /// for example by `keyctl padd user plantwin:NAME @u`. **The kernel forgets it with the next
    /// boot**, so that whoever puts it there must keep it elsewhere; it is never made here. Names
    /// are 1 to 64 letters, digits, `.`, `_` and `-`.
    Keyring(String),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("Plain"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
            Self::Keyring(name) => f.debug_tuple("Keyring").field(name).finish(),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("no key"),
            Self::File(path) => write!(f, "the key file {}", path.display()),
            Self::Passphrase(_) => f.write_str("the passphrase"),
            Self::Keyring(name) => write!(f, "the key {} of the keyring", description(name)),
        }
    }
}

/// How a data key lies in its file. Its `Display` completes "the key is ...".
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrapping {
    /// Readable to whoever can read the file.
    Plain,
    /// Wrapped under the content of a file elsewhere.
    File,
    /// Wrapped under a passphrase, at this cost a guess.
    Passphrase(PassphraseCost),
    /// Wrapped under a key of that name in the kernel's keyring.
    Keyring(String),
}

impl fmt::Display for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("not wrapped"),
            Self::File => f.write_str("wrapped by a key file"),
            Self::Passphrase(PassphraseCost { memory_kib, passes, lanes }) => {
                let mib = memory_kib / 1024;
                write!(
                    f,
                    "wrapped by a passphrase (Argon2id, {mib} MiB, {passes} passes, {lanes} lane"
                )?;
                f.write_str(if *lanes == 1 { ")" } else { "s)" })
            }
            Self::Keyring(name) => {
                write!(f, "wrapped by the key {} of the kernel's keyring", description(name))
            }
        }
    }
}

/// Why `given` does not unlock a key that is wrapped so, and what to do.
pub(crate) fn wrong(wrapping: &Wrapping, given: &KeySource) -> String {
    match (wrapping, given) {
        (Wrapping::Plain, _) => format!(
            "it is not wrapped, and {given} was given; wrap it first (`plantwin keys rewrap`), or \
             give none"
        ),
        (Wrapping::Passphrase(_), KeySource::Passphrase(_)) => {
            "the passphrase is not the one that it is wrapped by; nothing was touched: try again"
                .to_owned()
        }
        (Wrapping::File, KeySource::File(_)) => format!(
            "{given} is not the one that it is wrapped by; nothing was touched: give the right one"
        ),
        (Wrapping::Keyring(name), KeySource::Keyring(other)) if name == other => format!(
            "{given} is not the one that it is wrapped by; nothing was touched: put the right one \
             there, `keyctl padd user {} @u < FILE`",
            description(name)
        ),
        (_, KeySource::Plain) => {
            format!("it is {wrapping}; nothing was touched: give that key")
        }
        _ => format!("it is {wrapping}, and {given} was given; nothing was touched"),
    }
}

/// What must be right before a key is wrapped under `source`; makes a key file that is not there.
pub(crate) fn prepare(dir: &Path, source: &KeySource) -> Result<(), StoreError> {
    match source {
        KeySource::Passphrase(text) if text.chars().count() < PASSPHRASE_LEAST => {
            let reason = format!("a passphrase of less than {PASSPHRASE_LEAST} characters");
            let reason = format!("{reason} is guessed too soon; choose a longer one");
            Err(StoreError::WrongKey { path: key_path(dir), reason })
        }
        KeySource::File(path) if !path.exists() => make_file(dir, path),
        _ => Ok(()),
    }
}

fn make_file(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    check_outside(dir, folder, path)?;
    let random = Zeroizing::new(random_bytes::<MATERIAL_BYTES>()?);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| {
            file.write_all(random.as_slice())?;
            file.sync_all()
        })
        .and_then(|()| key::sync_dir(folder))
        .map_err(|source| StoreError::File {
            action: "make the key file",
            path: path.to_owned(),
            source,
        })
}

/// The content of a key file.
pub(crate) fn read_file(dir: &Path, path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let fail =
        |source| StoreError::File { action: "read the key file", path: path.to_owned(), source };
    let refuse = |reason: String| StoreError::WrongKey { path: key_path(dir), reason };
    check_outside(dir, path, path)?;
    let file = fs::File::open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(refuse(format!("the key file {} is no file", path.display())));
    }
    if is_exposed(path)? {
        let path = path.display();
        return Err(refuse(format!(
            "others than its owner may read or write the key file {path}; run `chmod 600 {path}`, \
             and if it may have been copied, wrap the key by another one"
        )));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LIMIT as usize + 1));
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(fail)?;
    if !(MATERIAL_BYTES as u64..=FILE_LIMIT).contains(&(bytes.len() as u64)) {
        return Err(refuse(format!(
            "the key file {} has not {MATERIAL_BYTES} to {FILE_LIMIT} bytes; make one by \
             `head -c 32 /dev/urandom`",
            path.display()
        )));
    }
    Ok(bytes)
}

/// A key beside what it protects protects nothing.
fn check_outside(dir: &Path, place: &Path, path: &Path) -> Result<(), StoreError> {
    let fail =
        |source| StoreError::File { action: "find the key file", path: path.to_owned(), source };
    let place = fs::canonicalize(place).map_err(fail)?;
    let inside = fs::canonicalize(dir).is_ok_and(|dir| place.starts_with(dir));
    if inside {
        let path = path.display();
        let reason = format!(
            "the key file {path} lies in the directory that it shall protect; keep it elsewhere"
        );
        return Err(StoreError::WrongKey { path: key_path(dir), reason });
    }
    Ok(())
}

/// Whether others than its owner may read or write a file.
#[cfg(unix)]
pub(crate) fn is_exposed(path: &Path) -> Result<bool, StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let about = fs::metadata(path).map_err(|source| StoreError::File {
        action: "read the mode of",
        path: path.to_owned(),
        source,
    })?;
    Ok(about.permissions().mode() & 0o077 != 0)
}

/// Other systems have no modes.
#[cfg(not(unix))]
pub(crate) fn is_exposed(_path: &Path) -> Result<bool, StoreError> {
    Ok(false)
}

/// What a key is called in the keyring.
pub(crate) fn description(name: &str) -> String {
    format!("plantwin:{name}")
}

/// A key of the kernel's keyring.
pub(crate) fn read_keyring(dir: &Path, name: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let refuse = |reason: String| StoreError::WrongKey { path: key_path(dir), reason };
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_LIMIT || !name.chars().all(valid) {
        return Err(refuse(format!(
            "{name:?} is no name for a key: 1 to {NAME_LIMIT} letters, digits, `.`, `_`, `-`"
        )));
    }
    let key = description(name);
    match find(&key) {
        Ok(Some(bytes)) if bytes.len() >= MATERIAL_BYTES => Ok(bytes),
        Ok(Some(_)) => Err(refuse(format!(
            "the key {key} of the keyring is shorter than {MATERIAL_BYTES} bytes"
        ))),
        Ok(None) => Err(refuse(format!(
            "the kernel's keyring has no key {key} (it forgets all at a boot of the machine); put \
             it there: `keyctl padd user {key} @u < FILE`"
        ))),
        Err(error) => Err(refuse(format!(
            "the kernel's keyring does not give the key {key}: {error}; a service of systemd needs \
             `KeyringMode=shared`"
        ))),
    }
}

#[cfg(target_os = "linux")]
fn find(key: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
    let mut trouble = None;
    for ring in [KeyRingIdentifier::Session, KeyRingIdentifier::User] {
        let found = KeyRing::from_special_id(ring, false)
            .and_then(|ring| ring.search(key))
            .and_then(|key| key.read_to_vec());
        match found {
            Ok(bytes) => return Ok(Some(Zeroizing::new(bytes))),
            Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => {}
            Err(error) => trouble = Some(error),
        }
    }
    trouble.map_or(Ok(None), |error| Err(io::Error::other(error.to_string())))
}

#[cfg(not(target_os = "linux"))]
fn find(_key: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    Err(io::Error::other("this system has none"))
}
