//! Where a running plant's socket is.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::exit::{Code, Failure};

const SOCKET: &str = "control.sock";

/// The folder of one running plant.
pub(crate) struct Place {
    /// Folder of socket and log.
    pub(crate) folder: PathBuf,
    /// Link by which the plant is found by its name, if its folder is elsewhere.
    link: Option<PathBuf>,
    /// Whether socket and link are this plant's own.
    taken: bool,
}

impl Place {
    /// For a plant that is about to run: its data folder, or one for this boot only.
    pub(crate) fn prepare(plant: &str, data: Option<&Path>) -> Result<Self, Failure> {
        let named = runtime_folder().join(plant);
        let (folder, link) = if let Some(data) = data {
            (data.to_path_buf(), Some(named))
        } else {
            if named.is_symlink() {
                let _ = fs::remove_file(&named);
            }
            (named, None)
        };
        make_private(&folder).map_err(|e| cannot("make", &folder, &e))?;
        if alive(&folder.join(SOCKET)) {
            return Err(Code::Retry.failure(format!(
                "plant {plant} runs already in {}; attach to it with `plantwin tui`, or run it \
                 with another --data folder",
                folder.display()
            )));
        }
        Ok(Self { folder, link, taken: false })
    }

    /// The plant runs: makes it known by its name. Only from here on is there anything to remove
    /// in the end; a start that failed must not touch what belongs to the plant that was first.
    pub(crate) fn take(&mut self) {
        self.taken = true;
        let folder = &self.folder;
        self.link.take_if(|link| {
            // Only a link of ours is replaced, never a folder in use.
            let _ = fs::remove_file(&*link);
            let made = link.parent().map(make_private);
            let linked = absolute(folder).is_ok_and(|d| symlink(d, link).is_ok());
            !(matches!(made, Some(Ok(()))) && linked)
        });
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("plantwin.log")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.taken {
            return;
        }
        let _ = fs::remove_file(self.socket());
        if let Some(link) = &self.link {
            let _ = fs::remove_file(link);
        }
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Code::Unavailable.failure(format!("cannot {what} the folder {}: {error}", path.display()))
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// `$XDG_RUNTIME_DIR/plantwin`, or a folder of this user under the temporary one.
fn runtime_folder() -> PathBuf {
    if let Some(dir) = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && dir.is_dir()
    {
        return dir.join("plantwin");
    }
    let user = fs::metadata("/proc/self").map_or(0, |m| m.uid());
    env::temp_dir().join(format!("plantwin-{user}"))
}

/// Makes a folder that only its owner may enter, and refuses one of somebody else.
fn make_private(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let meta = fs::metadata(path)?;
    let me = fs::metadata("/proc/self").map_or(meta.uid(), |m| m.uid());
    if meta.uid() != me && me != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if meta.permissions().mode() & 0o022 != 0 && meta.permissions().mode() & 0o1000 == 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others may write there; chmod go-w it",
        ));
    }
    Ok(())
}

fn alive(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// Finds the socket of a running plant by folder, socket, name, or as the only one.
pub(crate) fn find(attach: Option<&str>, data: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(data) = data {
        return Ok(data.join(SOCKET));
    }
    if let Some(text) = attach {
        let text = text.strip_prefix("unix:").unwrap_or(text);
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(path.join(SOCKET));
        }
        if !text.contains('/') && path.extension().is_none() {
            return Ok(runtime_folder().join(text).join(SOCKET));
        }
        return Ok(path.to_path_buf());
    }
    let folder = runtime_folder();
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join(SOCKET))
        .filter(|socket| alive(socket))
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Code::Unavailable.failure(
            "no running plant found; start one with `plantwin run`, or name it with --attach",
        )),
        many => {
            let names: Vec<_> = many
                .iter()
                .filter_map(|s| Some(s.parent()?.file_name()?.to_string_lossy().into_owned()))
                .collect();
            let names = names.join(", ");
            Err(Code::Usage.failure(format!("several plants run: choose with --attach: {names}")))
        }
    }
}
