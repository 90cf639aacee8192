//! The marks: always one whole slot, and never silent about the other.

use std::{fs, sync::Arc};

use tempfile::TempDir;

use crate::{
    disk::{Disk, OsDisk},
    head::Head,
    key::Keys,
    marks::{Found, Marks, MarksFile, read},
};

fn keys() -> Keys {
    Keys::derive(&[5; 32])
}

fn marks(boot: u64) -> Marks {
    let head = Head { sequence: boot, writes: 2 * boot, count: 3, digest: 1 << 100 };
    let trees = [("twins".to_owned(), head), ("spool".to_owned(), Head::default())].into();
    Marks { boot, log_first: 4, log_last: 9, log_mac: [7; 16], trees }
}

fn begin(dir: &TempDir, found: &Found, boot: u64) -> MarksFile {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    MarksFile::begin(dir.path(), &disk, &keys(), found, marks(boot)).unwrap()
}

fn found(dir: &TempDir) -> Found {
    read(dir.path(), &keys()).unwrap()
}

#[test]
fn what_was_written_last_is_read() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(found(&dir), Found::Nothing));
    let mut file = begin(&dir, &Found::Nothing, 1);
    for boot in 2..7 {
        file.write(&keys(), marks(boot)).unwrap();
        assert_eq!(file.written(), &marks(boot));
        let Found::Marks { marks: read, half: false, .. } = found(&dir) else { panic!() };
        assert_eq!(read, marks(boot));
    }
    begin(&dir, &found(&dir), 9);
    assert!(matches!(found(&dir), Found::Marks { marks: m, .. } if m == marks(9)));
}

#[test]
fn a_damaged_slot_leaves_the_other_and_is_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("marks");
    let mut file = begin(&dir, &Found::Nothing, 1);
    file.write(&keys(), marks(2)).unwrap();
    let good = fs::read(&path).unwrap();
    for (slot, boot) in [(0, 1), (4096, 2)] {
        let mut bad = good.clone();
        bad[slot + 40] ^= 1;
        fs::write(&path, &bad).unwrap();
        let Found::Marks { marks: read, half: true, .. } = found(&dir) else { panic!() };
        assert_eq!(read, marks(boot));
    }
    for len in 0..200 {
        fs::write(&path, &good[..len]).unwrap();
        let whole = matches!(found(&dir), Found::Marks { half: true, .. });
        assert!(whole || matches!(found(&dir), Found::Damaged), "{len} bytes");
    }
}

#[test]
fn marks_of_another_key_are_known_as_such() {
    let dir = TempDir::new().unwrap();
    begin(&dir, &Found::Nothing, 1);
    let other = read(dir.path(), &Keys::derive(&[6; 32])).unwrap();
    assert!(matches!(other, Found::AnotherKey));
}
