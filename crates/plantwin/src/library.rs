//! Plants and twin types: shipped in the binary, or found beside a plant file.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use plantwin_model::file::TypeSource;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The text of a shipped plant.
pub(crate) fn shipped_plant(name: &str) -> Option<&'static str> {
    PLANTS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// Where twin types are looked for: the folders in order, then the binary.
pub(crate) struct Types {
    folders: Vec<PathBuf>,
}

impl Types {
    /// For a plant file: `twins/` beside its folder, `twins/` in its folder, then `extra`.
    pub(crate) fn for_plant(plant: Option<&Path>, extra: Option<&Path>) -> Self {
        let mut folders = Vec::new();
        if let Some(folder) = plant.and_then(Path::parent) {
            folders.push(folder.join("../twins"));
            folders.push(folder.join("twins"));
        }
        folders.extend(extra.map(Path::to_path_buf));
        Self { folders }
    }
}

/// Largest twin file that is read, in bytes.
const TWIN_FILE_LIMIT: u64 = 1 << 20;

impl TypeSource for Types {
    fn load(&self, name: &str) -> Option<(Arc<str>, Arc<str>)> {
        for folder in &self.folders {
            let path = folder.join(format!("{name}.toml"));
            let small = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() < TWIN_FILE_LIMIT);
            if small && let Ok(bytes) = fs::read(&path) {
                let text = String::from_utf8_lossy(&bytes);
                return Some((path.display().to_string().into(), text.as_ref().into()));
            }
        }
        let (_, text) = TWINS.iter().find(|(n, _)| *n == name)?;
        Some((format!("<built-in>/{name}.toml").into(), (*text).into()))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = TWINS.iter().map(|(n, _)| (*n).to_owned()).collect();
        for entry in self.folders.iter().filter_map(|f| fs::read_dir(f).ok()).flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "toml")
                && let Some(stem) = path.file_stem()
            {
                names.push(stem.to_string_lossy().into_owned());
            }
        }
        names.sort();
        names.dedup();
        names
    }
}
