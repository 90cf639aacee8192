//! Sizes and docs of source files.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// No source file is longer.
const HARD_LIMIT: usize = 800;
/// Nine of ten are not longer.
const NINTH_DECILE: usize = 450;

pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in ["crates", "tui", "tests", "xtask", "examples", "fuzz"] {
        walk(&root.join(folder), &mut found);
    }
    assert!(found.len() > 50, "only {} source files found", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|n| n != "target" && n != "corpus") {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("source is text");
            found.push((path, text));
        }
    }
}

#[test]
fn no_source_file_is_longer_than_the_limit_and_most_are_short() {
    let mut lengths = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= HARD_LIMIT, "{} has {lines} lines", path.display());
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let decile = lengths[lengths.len() * 9 / 10];
    assert!(decile <= NINTH_DECILE, "one in ten source files is longer than {decile} lines");
}

#[test]
fn every_module_says_its_duty() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| {
            let tests = path.components().any(|c| c.as_os_str() == "tests")
                || path.file_stem().is_some_and(|n| n.to_string_lossy().contains("tests"));
            !tests && !text.trim_start().starts_with("//!")
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "these begin without `//!`:\n{}", silent.join("\n"));
}

#[test]
fn nothing_is_left_half_done() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("un", "implemented!("),
        concat!("to", "do!("),
    ];
    for (path, text) in sources() {
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}

#[test]
fn the_model_does_no_io_and_knows_no_clock() {
    let doors =
        ["std::fs", "std::net", "std::env", "std::process", "std::thread", "SystemTime", "Instant"];
    for (path, text) in sources() {
        let model = path.components().any(|c| c.as_os_str() == "plantwin-model");
        if !model || path.components().any(|c| c.as_os_str() == "tests") {
            continue;
        }
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        for line in code {
            let door = doors.iter().find(|d| line.contains(**d));
            assert!(door.is_none(), "{}: {line}", path.display());
        }
    }
}
