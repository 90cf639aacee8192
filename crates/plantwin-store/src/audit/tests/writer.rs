//! The thread: nothing lost, group commits, a full disk.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use plantwin_model::{AuditSink, Clock};

use super::*;
use crate::disk::{Disk, DiskFile, OsDisk};

#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(SeqCst))
    }
}

/// A disk that can be full or hang, and counts its syncs.
#[derive(Debug, Default)]
struct FillableDisk {
    full: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
    /// While somebody holds it, syncs do not return.
    hold: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct FillableFile(Box<dyn DiskFile>, Arc<AtomicBool>, Arc<AtomicU64>, Arc<Mutex<()>>);

impl Disk for FillableDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (full, syncs) = (Arc::clone(&self.full), Arc::clone(&self.syncs));
        let hold = Arc::clone(&self.hold);
        Ok(Box::new(FillableFile(OsDisk.open(path)?, full, syncs, hold)))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_dir(path)
    }
}

impl DiskFile for FillableFile {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.1.load(SeqCst) {
            self.0.write_at(&bytes[..bytes.len() / 2], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_at(bytes, at)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.2.fetch_add(1, SeqCst);
        drop(self.3.lock());
        self.0.sync()
    }
}

struct Bench {
    dir: TempDir,
    full: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
    hold: Arc<Mutex<()>>,
    clock: Arc<TestClock>,
    writer: AuditWriter,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let disk = FillableDisk::default();
    let (full, syncs) = (Arc::clone(&disk.full), Arc::clone(&disk.syncs));
    let hold = Arc::clone(&disk.hold);
    let (trail, findings) = AuditTrail::open_on(Arc::new(disk), dir.path(), &key(), at(0)).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let clock = Arc::new(TestClock::default());
    let writer = AuditWriter::start(trail, Arc::clone(&clock) as _).unwrap();
    Bench { dir, full, syncs, hold, clock, writer }
}

/// Waits for the writer to stand as wanted.
fn until(writer: &AuditWriter, what: &str, wanted: impl Fn(&AuditStatus) -> bool) -> AuditStatus {
    for _ in 0..12_000 {
        let status = writer.status();
        if wanted(&status) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: {:?}", writer.status());
}

#[test]
fn what_many_threads_record_is_all_there_and_syncs_are_shared() {
    let Bench { dir, syncs, hold, writer, .. } = bench();
    // The disk is busy with the first: all others gather.
    let held = hold.lock().unwrap();
    std::thread::scope(|scope| {
        for t in 0..8_u64 {
            let writer = &writer;
            scope.spawn(move || {
                for n in 0..500 {
                    writer.record(entry(t * 500 + n));
                }
            });
        }
    });
    drop(held);
    writer.flush().unwrap();
    let status = writer.status();
    assert_eq!((status.records, status.waiting, status.lost), (4_000, 0, 0));
    assert!(!status.blocked && status.error.is_none(), "{status:?}");
    assert!(syncs.load(SeqCst) < 100, "{} syncs", syncs.load(SeqCst));
    writer.close().unwrap();
    let mut said: Vec<String> = entries(dir.path())
        .into_iter()
        .map(|shown| match shown {
            Shown::Entry { entry, .. } => entry.detail,
            other => panic!("{other:?}"),
        })
        .collect();
    said.sort_unstable();
    let mut wanted: Vec<String> = (0..4_000).map(|n| entry(n).detail).collect();
    wanted.sort_unstable();
    assert_eq!(said, wanted);
    let report = judge_with_key(dir.path());
    assert_eq!((report.verdict, report.unsigned), (Verdict::Intact, 0));
}

#[test]
fn a_lone_entry_is_on_the_disk_without_anybody_asking() {
    let Bench { dir, writer, .. } = bench();
    writer.record(entry(3));
    until(&writer, "the entry is safe", |s| s.records == 1);
    assert_eq!(judge(dir.path()).records, 1);
    drop(writer);
    assert_eq!(judge(dir.path()).unsigned, 0, "dropping closes the trail");
}

#[test]
fn a_full_disk_blocks_and_loses_nothing_until_the_backlog_is_full_too() {
    let Bench { dir, full, writer, .. } = bench();
    full.store(true, SeqCst);
    for n in 0..3_000 {
        writer.record(entry(n));
    }
    let status = until(&writer, "it is blocked", |s| s.blocked && s.waiting == 3_000);
    assert!(writer.is_blocked());
    assert!(status.error.as_ref().is_some_and(|e| e.starts_with("write ")), "{status:?}");
    assert!(writer.flush().is_err());
    full.store(false, SeqCst);
    until(&writer, "it goes on by itself", |s| !s.blocked && s.records == 3_000);
    writer.close().unwrap();
    let report = judge_with_key(dir.path());
    assert_eq!((report.verdict, report.records), (Verdict::Intact, 3_000), "{:?}", report.findings);
}

#[test]
fn what_is_lost_beyond_the_backlog_is_counted_and_leaves_a_gap() {
    let Bench { dir, full, writer, .. } = bench();
    full.store(true, SeqCst);
    // Long enough that the writer tries again in the middle of it, at times.
    let flood = 400_000;
    for n in 0..flood {
        writer.record(entry(n));
    }
    let status = until(&writer, "all have arrived", |s| s.waiting + s.lost >= flood);
    assert!(status.lost > 0 && status.waiting <= BACKLOG_ENTRIES as u64 + 10_000, "{status:?}");
    full.store(false, SeqCst);
    let kept = flood - status.lost;
    until(&writer, "it goes on by itself", |s| !s.blocked && s.records == kept);
    writer.record(entry(1));
    writer.close().unwrap();
    let report = check_verdict(dir.path(), Verdict::Gap, "lost: the disk could not be written");
    assert_eq!(report.records, kept + 1);
    check_gaps(dir.path(), &report, status.lost);
}

/// Each loss has its gap, and they come to so many entries. The trail is asked, since a report names
/// but the first gaps: there is one wherever the writer took an entry in the middle of a flood.
#[track_caller]
fn check_gaps(dir: &Path, report: &Report, lost: u64) {
    let told = entries(dir);
    let gaps: Vec<u64> = told
        .iter()
        .filter_map(|shown| match shown {
            Shown::Gap { from, to, .. } => Some(to - from + 1),
            _ => None,
        })
        .collect();
    assert_eq!(gaps.iter().sum::<u64>(), lost);
    assert_eq!(told.len() as u64, report.records + gaps.len() as u64);
    assert_eq!(report.findings.len(), gaps.len().min(100));
}

#[test]
fn a_disk_that_hangs_blocks_nobody_and_is_told_after_five_seconds() {
    let Bench { dir, hold, clock, writer, .. } = bench();
    writer.record(entry(0));
    writer.flush().unwrap();
    let held = hold.lock().unwrap();
    let recorded = 5_000;
    for n in 1..recorded {
        writer.record(entry(n));
    }
    clock.0.store(at(4).0, SeqCst);
    assert_eq!(writer.status().waiting, recorded - 1);
    assert!(!writer.is_blocked(), "it may be slow");
    clock.0.store(at(5).0, SeqCst);
    let status = writer.status();
    assert!(writer.is_blocked() && status.blocked && status.lost == 0, "{status:?}");
    assert!(status.error.is_some_and(|e| e.contains("has not answered")));
    drop(held);
    until(&writer, "it goes on by itself", |s| !s.blocked && s.records == recorded);
    assert!(!writer.is_blocked());
    writer.close().unwrap();
    let report = judge_with_key(dir.path());
    assert_eq!((report.verdict, report.records), (Verdict::Intact, recorded));
    let said = entries(dir.path()).into_iter().map(|shown| match shown {
        Shown::Entry { entry, .. } => entry.detail,
        other => panic!("{other:?}"),
    });
    assert!(said.eq((0..recorded).map(|n| entry(n).detail)), "in their order");
}

#[test]
fn what_a_hanging_disk_makes_too_much_is_counted_and_leaves_a_gap() {
    let Bench { dir, hold, writer, .. } = bench();
    let held = hold.lock().unwrap();
    let flood = BACKLOG_ENTRIES as u64 + 20_000;
    for n in 0..flood {
        writer.record(entry(n));
    }
    let status = writer.status();
    assert!(status.lost > 0 && status.waiting <= BACKLOG_ENTRIES as u64 + 10_000, "{status:?}");
    drop(held);
    let kept = flood - status.lost;
    until(&writer, "it goes on by itself", |s| s.records == kept);
    writer.close().unwrap();
    let report = check_verdict(dir.path(), Verdict::Gap, "lost: the disk could not be written");
    assert_eq!(report.records, kept);
    check_gaps(dir.path(), &report, status.lost);
}

#[test]
fn closing_on_a_full_disk_says_so_and_the_next_boot_finds_an_intact_trail() {
    let Bench { dir, full, writer, .. } = bench();
    writer.record(entry(1));
    writer.flush().unwrap();
    full.store(true, SeqCst);
    writer.record(entry(2));
    let error = writer.close().unwrap_err().to_string();
    assert!(error.contains("write"), "{error}");
    writer.record(entry(3));
    assert_eq!(writer.status().lost, 1);
    drop(writer);
    // Half of what was written last may lie at the end.
    let (trail, _) = open(dir.path());
    trail.close(at(1)).unwrap();
    let report = judge_with_key(dir.path());
    assert_eq!(report.verdict, Verdict::Intact, "{:?}", report.findings);
    assert!(report.records >= 1);
}
