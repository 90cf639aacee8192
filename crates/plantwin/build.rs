//! Lists the shipped plants and twin types, so that a new file in `plants/` or `twins/` is in
//! the binary without another line anywhere.

use std::{env, fmt::Write as _, fs, path::Path};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let mut code = String::new();
    for folder in ["plants", "twins"] {
        let dir = root.join(folder);
        println!("cargo::rerun-if-changed={}", dir.display());
        let mut files: Vec<_> = fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect();
        files.sort();
        let name = folder.to_uppercase();
        writeln!(code, "pub(crate) const {name}: &[(&str, &str)] = &[").expect("into a string");
        for file in files {
            println!("cargo::rerun-if-changed={}", file.display());
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            writeln!(code, "    ({stem:?}, include_str!({:?})),", file.display().to_string())
                .expect("into a string");
        }
        writeln!(code, "];").expect("into a string");
    }
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("shipped.rs");
    fs::write(out, code).expect("cargo gives a folder that can be written");
}
