//! One small file, replaced as a whole: written beside, synced, renamed, the directory synced.
//!
//! Whatever moment the process or the machine dies at, the old content or the new is there and
//! never half of either. The steps lie behind a trait, so that tests can let each of them fail.
//! Absent: appending, which nobody here needs.

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

#[cfg(test)]
pub(crate) mod faulty;

/// The steps of replacing a file.
pub(crate) trait Disk: Send + Debug {
    /// Makes or empties a file that only its owner may read, and writes it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Returns when its content is on the disk.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Puts it in the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Returns when the renaming is on the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // One that lay there with another mode would keep it.
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)?.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Replaces the file `name` in `dir`.
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (fresh, path) = (dir.join(format!("{name}.new")), dir.join(name));
    disk.write(&fresh, bytes)?;
    disk.sync(&fresh)?;
    disk.rename(&fresh, &path)?;
    disk.sync_dir(dir)
}

/// Writes a file of secrets that must not be there yet: mode 0600, on the disk when it returns.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Reads a file of secrets of at most `limit` bytes; one that others may read is refused.
pub fn read_private(path: &Path, limit: u64) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    use std::io::Read;
    let file = File::open(path)?;
    let about = file.metadata()?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others than its owner may read or write it; run `chmod 600` on it",
        ));
    }
    if about.len() > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long to be one"));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(about.len() as usize + 1));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
