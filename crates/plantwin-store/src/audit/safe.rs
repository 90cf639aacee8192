//! How far the trail is safe: the small file `safe`, written over in place after each sync.
//!
//! With it a crash, which ends the trail behind what was acknowledged, is told from damage, which
//! ends it before. It is written when the sync has returned and is not synced itself, so it may say
//! less than is true and never more. It is made whole, with a sync, and is shorter than a sector:
//! neither a kill nor a loss of power leaves half of it. The MAC is for whoever has the store's
//! key, the CRC for whoever has not. It is no protection against an attacker: he can put back an
//! older one together with the segment of its time. Absent: what follows from it.
//!
//! `"PWSAFE\0\x01" | segment u64 | length u64 | sequence u64 | MAC 32 B | crc u32`, little-endian.

use std::{fs, io, io::Read, path::Path, thread, time::Duration};

use plantwin_seal::{DIGEST_BYTES, Secret, derive_key, mac, verify_mac};

use super::{
    fail,
    files::{self, Small},
};
use crate::{
    StoreError,
    disk::{Disk, DiskFile},
};

pub(super) const SAFE: &str = "safe";
const MAGIC: &[u8; 8] = b"PWSAFE\0\x01";
/// Bytes that the MAC covers.
const SAID: usize = 32;
const BYTES: usize = SAID + DIGEST_BYTES + 4;
/// A reader can come upon a write: it looks so many times before it calls the file damaged.
const LOOKS: u32 = 5;

/// The end of what a sync made safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SafeEnd {
    /// Segment that was written last.
    pub(super) segment: u64,
    /// Its length.
    pub(super) length: u64,
    /// Its last record.
    pub(super) sequence: u64,
}

impl SafeEnd {
    /// Bytes that are gone from a segment which now has so many.
    pub(super) fn missing(&self, segment: u64, bytes: usize) -> u64 {
        if self.segment == segment { self.length.saturating_sub(bytes as u64) } else { 0 }
    }

    fn to_bytes(self, key: &Secret) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        for (place, number) in
            bytes[8..SAID].chunks_exact_mut(8).zip([self.segment, self.length, self.sequence])
        {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let tag = mac(key, &[&bytes[..SAID]]);
        bytes[SAID..BYTES - 4].copy_from_slice(&tag);
        let crc = crc32fast::hash(&bytes[..BYTES - 4]);
        bytes[BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// What the file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) end: SafeEnd,
    bytes: [u8; SAID],
    tag: [u8; DIGEST_BYTES],
}

impl Said {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk()?;
        let (said, tag) = covered.split_first_chunk::<SAID>()?;
        let sound = crc32fast::hash(covered) == u32::from_le_bytes(*crc) && said.starts_with(MAGIC);
        let number =
            |at: usize| Some(u64::from_le_bytes(*said.get(at..)?.first_chunk()?)).filter(|_| sound);
        let end = SafeEnd { segment: number(8)?, length: number(16)?, sequence: number(24)? };
        Some(Self { end, bytes: *said, tag: tag.try_into().ok()? })
    }

    /// Whether it was written with this key of entries.
    pub(super) fn is_of(&self, entries: &Secret) -> bool {
        verify_mac(&key(entries), &[&self.bytes], &self.tag).is_ok()
    }
}

fn key(entries: &Secret) -> Secret {
    derive_key("plantwin v1 audit safe end", &[entries.expose()])
}

/// Reads the file; a plant may be writing it.
pub(super) fn read(dir: &Path) -> Result<Small<Said>, StoreError> {
    let path = dir.join(SAFE);
    for look in 0..LOOKS {
        let mut bytes = Vec::with_capacity(BYTES + 1);
        let mut load =
            || fs::File::open(&path)?.take(BYTES as u64 + 1).read_to_end(&mut bytes).map(drop);
        match load() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Small::Missing),
            other => other.map_err(|e| fail("read", &path, e))?,
        }
        if let Some(said) = Said::parse(&bytes) {
            return Ok(Small::Is(said));
        }
        thread::sleep(Duration::from_millis(u64::from(look)));
    }
    Ok(Small::Damaged)
}

/// The file, for writing.
pub(super) struct SafeFile {
    key: Secret,
    file: Option<Box<dyn DiskFile>>,
    /// It is there and whole, so that it can be written in place.
    sound: bool,
    /// What it does not say yet.
    waits: Option<SafeEnd>,
}

impl SafeFile {
    /// `sound`: [`read`] found it whole.
    pub(super) fn new(entries: &Secret, sound: bool) -> Self {
        Self { key: key(entries), file: None, sound, waits: None }
    }

    /// Notes what a sync made safe.
    pub(super) fn note(&mut self, end: SafeEnd) {
        self.waits = Some(end);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waits.is_some()
    }

    /// Writes what was noted.
    pub(super) fn write(&mut self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let Some(end) = self.waits else { return Ok(()) };
        let bytes = end.to_bytes(&self.key);
        if self.sound {
            // After an error half of it may be there: then it is made anew.
            self.sound = false;
            self.overwrite(disk, &dir.join(SAFE), &bytes)?;
        } else {
            self.file = None;
            files::replace(disk, dir, SAFE, &bytes)?;
        }
        (self.sound, self.waits) = (true, None);
        Ok(())
    }

    fn overwrite(&mut self, disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(disk.open(path)?),
            };
            file.write_at(bytes, 0)
        };
        write().map_err(|e| fail("write", path, e))
    }
}
