//! Opening: everything is read and checked once, and what is damaged is set aside.
//!
//! sled 0.34 panics on most damage. A helper thread does the opening and the reading, so that a
//! panic ends that thread and no more. Absent: repair.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{StoreError, record};

/// The data base inside a store's directory.
const STATE: &str = "state";
/// Damaged data bases kept beside each other before opening is refused.
const SET_ASIDE_LIMIT: u32 = 1000;
/// Page cache; sled's own default of 1 GiB is meant for servers of nothing else.
const CACHE_BYTES: u64 = 16 << 20;

/// The tree and key under which each batch leaves its sequence.
pub(crate) const HEAD_TREE: &str = "_head";
pub(crate) const HEAD_KEY: &str = "sequence";

/// What opening found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenReport {
    /// Where the damaged data base lies that was there before; a fresh, empty one is open.
    pub set_aside: Option<PathBuf>,
    /// What was wrong with it.
    pub damage: Option<String>,
    /// Intact records.
    pub records: u64,
    /// Batches that had been acknowledged and are gone without any other trace: what is there is
    /// older than what was promised.
    pub missing_batches: u64,
}

/// An opened and checked data base.
pub(crate) struct Opened {
    pub(crate) db: sled::Db,
    pub(crate) records: u64,
    pub(crate) sequence: u64,
}

/// Opens the data base in `dir`, setting a damaged one aside.
pub(crate) fn open(dir: &Path) -> Result<(Opened, OpenReport), StoreError> {
    let path = dir.join(STATE);
    match open_checked(&path) {
        Ok(opened) => {
            let missing_batches = crate::head::read(dir).saturating_sub(opened.sequence);
            let records = opened.records;
            Ok((opened, OpenReport { records, missing_batches, ..OpenReport::default() }))
        }
        Err(Trouble::Io(source)) => {
            Err(StoreError::File { action: "open the data base", path, source })
        }
        Err(Trouble::Damage(damage)) => {
            let aside = set_aside(dir, &path)?;
            crate::head::remove(dir)?;
            let opened = open_checked(&path).map_err(|trouble| StoreError::Backend {
                action: "open a fresh data base",
                reason: trouble.to_string(),
            })?;
            let report = OpenReport {
                set_aside: Some(aside),
                damage: Some(damage),
                ..OpenReport::default()
            };
            Ok((opened, report))
        }
    }
}

/// Why a data base cannot be used.
enum Trouble {
    /// The operating system refused: the data may well be intact.
    Io(std::io::Error),
    /// What is there is not what was written.
    Damage(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Damage(reason) => f.write_str(reason),
        }
    }
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        match error {
            // `Other` is sled's own word, for garbled segments and for a file that another
            // program holds; only the text tells them apart.
            sled::Error::Io(e) if e.kind() == Other && is_held(&e) => Self::Io(e),
            // A cut or garbled file shows as one of these; everything else is the system's.
            sled::Error::Io(e)
                if !matches!(e.kind(), UnexpectedEof | InvalidData | InvalidInput | Other) =>
            {
                Self::Io(e)
            }
            other => Self::Damage(other.to_string()),
        }
    }
}

/// How often, and how long apart, a data base is tried that sled itself still holds.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Opens and reads everything. Our own lock file has kept other programs out by now, so a data
/// base that is held is held by sled's threads of an earlier opening, which end a moment later.
fn open_checked(path: &Path) -> Result<Opened, Trouble> {
    let mut tries = 1;
    loop {
        match open_once(path) {
            Err(Trouble::Io(e)) if is_held(&e) && tries < LOCK_TRIES => {
                tries += 1;
                thread::sleep(LOCK_WAIT);
            }
            outcome => return outcome,
        }
    }
}

fn is_held(error: &std::io::Error) -> bool {
    error.to_string().contains("acquire lock")
}

fn open_once(path: &Path) -> Result<Opened, Trouble> {
    let path = path.to_owned();
    let helper = thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || check(sled_config(&path).open()?))
        .map_err(Trouble::Io)?;
    helper.join().unwrap_or_else(|panic| Err(Trouble::Damage(panic_text(&*panic))))
}

fn sled_config(path: &Path) -> sled::Config {
    // No timer: what is flushed, and so safe, is decided by the owner alone.
    sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None)
}

/// Reads every record once.
fn check(db: sled::Db) -> Result<Opened, Trouble> {
    let (mut records, mut sequence) = (0, 0);
    for name in db.tree_names() {
        let tree = db.open_tree(&name)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        for entry in &tree {
            let (key, value) = entry?;
            let (found, _) = record::decode(&name, &key, &value).map_err(|reason| {
                let key = String::from_utf8_lossy(&key);
                Trouble::Damage(format!("record {key:?} of {name}: {reason}"))
            })?;
            sequence = sequence.max(found);
            records += u64::from(name != HEAD_TREE);
        }
    }
    Ok(Opened { db, records, sequence })
}

fn set_aside(dir: &Path, path: &Path) -> Result<PathBuf, StoreError> {
    let fail = |source| StoreError::File {
        action: "set aside the damaged data base",
        path: path.to_owned(),
        source,
    };
    let free = (1..=SET_ASIDE_LIMIT)
        .map(|n| dir.join(format!("{STATE}.damaged-{n}")))
        .find(|aside| !aside.exists())
        .ok_or_else(|| fail(std::io::Error::other("too many damaged ones lie there already")))?;
    fs::rename(path, &free).map_err(fail)?;
    Ok(free)
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the data base panicked: {}", text.unwrap_or("without a word"))
}
