//! The marks: always one whole slot, and never silent about the other.

use std::{fs, sync::Arc};

use plantwin_seal::Secret;
use tempfile::TempDir;

use crate::{
    disk::{Disk, OsDisk, faulty::FaultyDisk},
    head::Head,
    key::Keys,
    marks::{Found, Marks, MarksFile, read},
};

fn keys() -> Keys {
    Keys::derive(&Secret::new([5; 32]))
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
    let other = read(dir.path(), &Keys::derive(&Secret::new([6; 32]))).unwrap();
    assert!(matches!(other, Found::AnotherKey));
}

#[test]
fn whichever_operation_of_the_disk_fails_one_slot_stays_whole_and_the_next_writing_mends_the_other()
{
    let mut failures = 0;
    for fails_at in 0..14 {
        let dir = TempDir::new().unwrap();
        let disk: Arc<dyn Disk> = FaultyDisk::failing_at(fails_at);
        let begun = MarksFile::begin(dir.path(), &disk, &keys(), &Found::Nothing, marks(1));
        let Ok(mut file) = begun else {
            failures += 1;
            continue;
        };
        let mut last = 1;
        for boot in 2..6 {
            if file.write(&keys(), marks(boot)).is_ok() {
                last = boot;
            } else {
                failures += 1;
            }
            // What was written may be there although its sync failed; what was promised must be.
            let Found::Marks { marks: read, .. } = found(&dir) else { panic!("{fails_at}") };
            assert!(read == marks(last) || read == marks(boot), "operation {fails_at}: {read:?}");
        }
        assert_eq!(file.written(), &marks(last));
        file.write(&keys(), marks(7)).unwrap();
        file.write(&keys(), marks(8)).unwrap();
        assert!(matches!(found(&dir), Found::Marks { half: false, marks: m, .. } if m == marks(8)));
    }
    assert!(failures > 10, "{failures}");
}
