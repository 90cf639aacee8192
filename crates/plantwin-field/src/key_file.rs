//! A device's keys in a file of its own: who it is, what it trusts, how it may still enrol.
//!
//! One line of words: `plantwin-device-1 DEVICE ZONE ROOT plain SIGN DH [VOUCHER SECRET]`, with
//! `argon2id MEMORY PASSES LANES SALT` in place of `plain` if a passphrase seals each of the
//! secrets; bytes and numbers are hexadecimal. The file is whole or not there, never half written,
//! and readable by its owner alone. Absent: asking for the passphrase; tokens and session keys,
//! which are never kept (after a restart there are new ones).

use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use plantwin_authority::{
    pws::{DEVICE_KEYS_BYTES, DeviceIdentity, DeviceKeys, Voucher},
    registry::{read_private, write_new},
};
use plantwin_model::{DeviceId, ZoneId};
use plantwin_seal::{
    KEY_BYTES, Kek, PassphraseCost, SALT_BYTES, SealError, Secret, VerifyingKey, random_bytes,
};
use zeroize::Zeroizing;

use crate::FieldError;

/// Name of the file in a device's folder.
pub const KEY_FILE: &str = "device.key";
/// Longest file, in bytes.
const LIMIT: u64 = 4096;
const FORMAT: &str = "plantwin-device-1";

/// The key file of one device. `Debug` shows no secret.
pub struct KeyFile {
    path: PathBuf,
    device: DeviceId,
    zone: ZoneId,
    root: VerifyingKey,
    lock: Option<Lock>,
    sign: Zeroizing<Vec<u8>>,
    dh: Zeroizing<Vec<u8>>,
    voucher: Option<([u8; 16], Zeroizing<Vec<u8>>)>,
}

/// What seals the secrets.
#[derive(Clone, Copy)]
struct Lock {
    cost: PassphraseCost,
    salt: [u8; SALT_BYTES],
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({}, {} in {}, ..)", self.path.display(), self.device, self.zone)
    }
}

impl KeyFile {
    /// Writes `folder/device.key`, making the folder if it is not there. A passphrase seals the
    /// secrets in it, which takes a quarter of a second.
    ///
    /// # Errors
    /// [`FieldError::KeyFileThere`]: none is ever overwritten. [`FieldError::KeyFile`].
    pub fn create(
        folder: &Path,
        me: &DeviceIdentity,
        passphrase: Option<&str>,
    ) -> Result<Self, FieldError> {
        Self::with_cost(folder, me, passphrase, PassphraseCost::DEFAULT)
    }

    pub(crate) fn with_cost(
        folder: &Path,
        me: &DeviceIdentity,
        passphrase: Option<&str>,
        cost: PassphraseCost,
    ) -> Result<Self, FieldError> {
        let path = folder.join(KEY_FILE);
        let failed = |cause: String| FieldError::KeyFile { path: path.clone(), cause };
        for name in [me.device.as_str(), me.zone.as_str()] {
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(failed("a name of a device or zone has no spaces in it".to_owned()));
            }
        }
        let bytes = me.keys.to_bytes();
        let (sign, dh) = bytes.split_at(KEY_BYTES);
        let plain = |secret: &[u8]| Zeroizing::new(secret.to_vec());
        let voucher = me.voucher.as_ref().map(|v| (v.id, plain(v.secret.expose())));
        let mut file = Self {
            path: path.clone(),
            device: me.device.clone(),
            zone: me.zone.clone(),
            root: me.root,
            lock: None,
            sign: plain(sign),
            dh: plain(dh),
            voucher,
        };
        if let Some(passphrase) = passphrase {
            file.seal(passphrase, cost).map_err(|e| failed(format!("failed to {e}")))?;
        }
        make_folder(folder).map_err(|e| failed(e.to_string()))?;
        match write_whole(&path, file.text().as_bytes(), false) {
            Ok(()) => Ok(file),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(FieldError::KeyFileThere { path })
            }
            Err(e) => Err(failed(e.to_string())),
        }
    }

    /// Reads `folder/device.key`.
    ///
    /// # Errors
    /// [`FieldError::KeyFile`]: it is not there, others than its owner may read it, or it is none.
    pub fn read(folder: &Path) -> Result<Self, FieldError> {
        let path = folder.join(KEY_FILE);
        let failed = |cause: String| FieldError::KeyFile { path: path.clone(), cause };
        let bytes = read_private(&path, LIMIT).map_err(|e| failed(e.to_string()))?;
        let none = || failed("it is no key file of a device, or it was damaged".to_owned());
        let text = std::str::from_utf8(&bytes).map_err(|_| none())?;
        Self::parse(path.clone(), text).ok_or_else(none)
    }

    /// Whether a passphrase is needed.
    pub const fn is_sealed(&self) -> bool {
        self.lock.is_some()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who the device is.
    ///
    /// # Errors
    /// [`FieldError::WrongPassphrase`], also for none where one is needed;
    /// [`FieldError::KeyFile`] if the file was altered.
    pub fn open(&self, passphrase: Option<&str>) -> Result<DeviceIdentity, FieldError> {
        let kek = match (&self.lock, passphrase) {
            (None, _) => None,
            (Some(lock), Some(passphrase)) => {
                Some(Kek::from_passphrase(passphrase, &lock.salt, lock.cost))
            }
            (Some(_), None) => Some(Err(SealError::WrongKey)),
        };
        let open = |secret: &[u8], what: &str| match &kek {
            None => secret.try_into().map(Secret::new).map_err(|_| SealError::Tag),
            Some(Ok(kek)) => kek.unwrap(secret, &self.context(what)),
            Some(Err(error)) => Err(*error),
        };
        let secrets = || {
            let voucher = match &self.voucher {
                None => None,
                Some((id, secret)) => Some(Voucher { id: *id, secret: open(secret, "voucher")? }),
            };
            Ok((open(&self.sign, "sign")?, open(&self.dh, "dh")?, voucher))
        };
        let (sign, dh, voucher) = secrets().map_err(|error: SealError| match error {
            SealError::WrongKey | SealError::Passphrase => {
                FieldError::WrongPassphrase { path: self.path.clone() }
            }
            _ => {
                FieldError::KeyFile { path: self.path.clone(), cause: "it was altered".to_owned() }
            }
        })?;
        let mut both = Zeroizing::new([0; DEVICE_KEYS_BYTES]);
        both[..KEY_BYTES].copy_from_slice(sign.expose());
        both[KEY_BYTES..].copy_from_slice(dh.expose());
        Ok(DeviceIdentity {
            device: self.device.clone(),
            zone: self.zone.clone(),
            keys: DeviceKeys::from_bytes(&both),
            root: self.root,
            voucher,
        })
    }

    /// The device is enrolled: its voucher is used up and goes from the file. Nothing is written
    /// if there is none.
    ///
    /// # Errors
    /// [`FieldError::KeyFile`]; the file is as it was then.
    pub fn forget_voucher(&mut self) -> Result<(), FieldError> {
        let Some(voucher) = self.voucher.take() else { return Ok(()) };
        write_whole(&self.path, self.text().as_bytes(), true).map_err(|e| {
            self.voucher = Some(voucher);
            FieldError::KeyFile { path: self.path.clone(), cause: e.to_string() }
        })
    }

    fn seal(&mut self, passphrase: &str, cost: PassphraseCost) -> Result<(), SealError> {
        let salt = random_bytes()?;
        let kek = Kek::from_passphrase(passphrase, &salt, cost)?;
        let wrap = |secret: &[u8], what: &str| {
            let secret = secret.try_into().map(Secret::new).map_err(|_| SealError::Encode)?;
            Ok::<_, SealError>(Zeroizing::new(kek.wrap(&secret, &self.context(what))?.to_vec()))
        };
        let (sign, dh) = (wrap(&self.sign, "sign")?, wrap(&self.dh, "dh")?);
        let voucher = match &self.voucher {
            None => None,
            Some((id, secret)) => Some((*id, wrap(secret, "voucher")?)),
        };
        (self.sign, self.dh, self.voucher) = (sign, dh, voucher);
        self.lock = Some(Lock { cost, salt });
        Ok(())
    }

    /// Whose secret it is and which: none can stand in the place of another.
    fn context(&self, what: &str) -> Vec<u8> {
        let (device, zone, root) = (&self.device, &self.zone, hex(self.root.as_bytes()));
        format!("{FORMAT} {device} {zone} {} {what}", &*root).into_bytes()
    }

    fn text(&self) -> Zeroizing<String> {
        let mut words = vec![
            Zeroizing::new(FORMAT.to_owned()),
            Zeroizing::new(self.device.to_string()),
            Zeroizing::new(self.zone.to_string()),
            hex(self.root.as_bytes()),
        ];
        words.push(Zeroizing::new(match &self.lock {
            None => "plain".to_owned(),
            Some(Lock { cost: PassphraseCost { memory_kib, passes, lanes }, salt }) => {
                format!("argon2id {memory_kib:x} {passes:x} {lanes:x} {}", &*hex(salt))
            }
        }));
        words.extend([hex(&self.sign), hex(&self.dh)]);
        if let Some((id, secret)) = &self.voucher {
            words.extend([hex(id), hex(secret)]);
        }
        let length = words.iter().map(|w| w.len() + 1).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for word in &words {
            text.push_str(word);
            text.push(' ');
        }
        text.pop();
        text.push('\n');
        text
    }

    fn parse(path: PathBuf, text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [FORMAT, device, zone, root, rest @ ..] = words.as_slice() else { return None };
        let number = |word: &str| u32::from_str_radix(word, 16).ok();
        let (lock, rest) = match rest {
            ["plain", rest @ ..] => (None, rest),
            ["argon2id", memory, passes, lanes, salt, rest @ ..] => {
                let (memory_kib, passes, lanes) =
                    (number(memory)?, number(passes)?, number(lanes)?);
                let cost = PassphraseCost { memory_kib, passes, lanes };
                let salt = unhex(salt)?.as_slice().try_into().ok()?;
                (Some(Lock { cost, salt }), rest)
            }
            _ => return None,
        };
        let (sign, dh, voucher) = match rest {
            [sign, dh] => (sign, dh, None),
            [sign, dh, id, secret] => {
                let id = unhex(id)?.as_slice().try_into().ok()?;
                (sign, dh, Some((id, unhex(secret)?)))
            }
            _ => return None,
        };
        let root = VerifyingKey::from_bytes(unhex(root)?.as_slice().try_into().ok()?).ok()?;
        Some(Self {
            path,
            device: (*device).into(),
            zone: (*zone).into(),
            root,
            lock,
            sign: unhex(sign)?,
            dh: unhex(dh)?,
            voucher,
        })
    }
}

/// Makes a folder that its owner alone may look into; one that is there stays as it is.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes a file beside and then gives it its name, so that it is whole or not there whatever
/// moment the machine dies at.
fn write_whole(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let fresh = path.with_extension("key.new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    write_new(&fresh, bytes)?;
    if replace {
        fs::rename(&fresh, path)?;
    } else {
        // Unlike renaming, linking refuses a name that is taken.
        let linked = fs::hard_link(&fresh, path);
        fs::remove_file(&fresh)?;
        linked?;
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for nibble in bytes.iter().flat_map(|b| [b >> 4, b & 15]) {
        text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
    }
    text
}

fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let mut digits = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()));
    while let Some(high) = digits.next() {
        bytes.push(high? << 4 | digits.next()??);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
