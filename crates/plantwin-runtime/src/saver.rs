//! Keeps what twins ask to be saved: a thread of its own, because a disk may take its time.
//!
//! Writes are grouped: everything that waits is written and flushed together.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use plantwin_model::DeviceId;
use plantwin_store::{Store, Write};

use crate::plant::TWINS;

/// Records that may wait for the disk; one more replaces nothing and is counted as late.
const QUEUE: usize = 16_384;
/// Records per flush.
const GROUP: usize = 1024;

/// What a twin wants kept, under its name.
type Record = (DeviceId, Vec<u8>);

/// The way to the disk.
pub(crate) struct Saver {
    queue: Mutex<Option<SyncSender<Record>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<SaverCounts>,
}

/// What the saver did.
#[derive(Debug, Default)]
pub(crate) struct SaverCounts {
    pub(crate) saved: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Saver {
    pub(crate) fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE);
        let counts = Arc::new(SaverCounts::default());
        let mine = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("saver".to_owned())
            .spawn(move || run(&waiting, &*store, &mine))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), counts })
    }

    pub(crate) fn counts(&self) -> &SaverCounts {
        &self.counts
    }

    /// Takes a record; when the disk is hopelessly behind it is counted and left out (the twin
    /// saves again within seconds).
    pub(crate) fn save(&self, device: DeviceId, bytes: Vec<u8>) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = &*queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            queue.try_send((device, bytes))
        {
            self.counts.refused.fetch_add(1, Relaxed);
        }
    }
}

impl Saver {
    /// Writes what still waits, then returns. What comes later is not taken.
    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

fn run(waiting: &Receiver<Record>, store: &dyn Store, counts: &SaverCounts) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            let Ok(next) = waiting.try_recv() else { break };
            group.push(next);
        }
        let entries: Vec<Write<'_>> =
            group.iter().map(|(d, b)| Write::Put(d.as_str(), b.as_slice())).collect();
        let count = entries.len() as u64;
        match store.put_batch(TWINS, &entries).and_then(|()| store.flush()) {
            Ok(()) => counts.saved.fetch_add(count, Relaxed),
            Err(error) => {
                tracing::error!("failed to {error}");
                counts.failed.fetch_add(count, Relaxed)
            }
        };
    }
}
