//! A disk that fails once, for tests: SQLite's way of failing every operation in turn.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Disk, DiskFile, OsDisk};

/// A disk whose n-th operation fails; a write that fails has written half.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    calls: Arc<AtomicU64>,
    fails_at: u64,
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    calls: Arc<AtomicU64>,
    fails_at: u64,
}

fn tick(calls: &AtomicU64, fails_at: u64) -> io::Result<()> {
    if calls.fetch_add(1, Ordering::Relaxed) == fails_at {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

impl FaultyDisk {
    pub(crate) fn failing_at(n: u64) -> Arc<Self> {
        Arc::new(Self { calls: Arc::new(AtomicU64::new(0)), fails_at: n })
    }

    /// Operations so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        tick(&self.calls, self.fails_at)?;
        let (file, calls) = (OsDisk.open(path)?, Arc::clone(&self.calls));
        Ok(Box::new(FaultyFile { file, calls, fails_at: self.fails_at }))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        tick(&self.calls, self.fails_at)?;
        OsDisk.sync_dir(path)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let outcome = tick(&self.calls, self.fails_at);
        let part = if outcome.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.file.write_at(part, at)?;
        outcome
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        tick(&self.calls, self.fails_at)?;
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        tick(&self.calls, self.fails_at)?;
        self.file.sync()
    }
}
