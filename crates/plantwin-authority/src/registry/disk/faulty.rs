//! A disk that dies at its n-th step, as a machine does: that step does half or nothing, and
//! nothing happens after it.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{Disk, OsDisk};

/// Dies at a step.
#[derive(Debug)]
pub(crate) struct DyingDisk {
    left: AtomicUsize,
    torn: bool,
}

impl DyingDisk {
    /// Dies at step `at`, counted from 0; `torn` if a write then leaves half of its bytes behind.
    pub(crate) fn at(at: usize, torn: bool) -> Self {
        Self { left: AtomicUsize::new(at), torn }
    }

    fn step(&self) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("the machine died"))
    }
}

impl Disk for DyingDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let alive = self.left.load(Ordering::SeqCst) > 0;
        match self.step() {
            Ok(()) => OsDisk.write(path, bytes),
            // Only the step at which it dies leaves something: later ones find it dead.
            Err(dead) => {
                if self.torn && !alive {
                    let _ = OsDisk.write(path, &bytes[..bytes.len() / 2]);
                }
                Err(dead)
            }
        }
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| OsDisk.sync(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step().and_then(|()| OsDisk.rename(from, to))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step().and_then(|()| OsDisk.sync_dir(path))
    }
}
