//! One owner per directory: a locked file that names its process.
//!
//! The operating system drops the lock with the process, however that ends. Absent: network file
//! systems without locks.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use crate::StoreError;

/// Holds a directory until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes `dir`, which exists.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let fail = |action, source| StoreError::File { action, path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| fail("open the lock file", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { dir: dir.to_owned(), pid: owner(file) });
            }
            Err(TryLockError::Error(e)) => return Err(fail("lock", e)),
        }
        // The lock is what counts; who holds it is for people, and a full disk may not take it.
        if sign(&mut file).is_err() {
            // Rather nobody's name than that of an earlier owner.
            let _ = file.set_len(0);
        }
        Ok(Self { _file: file })
    }
}

/// Writes over what is there before it cuts the rest: that needs no new room on the disk.
fn sign(file: &mut File) -> io::Result<()> {
    let name = format!("{}\n", std::process::id());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(name.as_bytes())?;
    file.set_len(name.len() as u64)?;
    file.sync_data()
}

fn owner(file: File) -> String {
    let mut text = String::new();
    // Somebody else's file: take no more of it than a process id has.
    let read = file.take(20).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => pid.to_string(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_named_whoever_held_it_before() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("lock"), "99999999999999\n").unwrap();
        let held = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        DirLock::take(dir.path()).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_without_room_for_the_owners_name_keeps_nobody_from_the_directory() {
        let dir = tempfile::TempDir::new().unwrap();
        // Every write to it finds the disk full.
        std::os::unix::fs::symlink("/dev/full", dir.path().join("lock")).unwrap();
        let held = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with("process unknown"), "{refused}");
        drop(held);
        DirLock::take(dir.path()).unwrap();
    }
}
