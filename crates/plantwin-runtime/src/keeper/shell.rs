//! Where the keeper runs: on a thread of its own, because a disk may take its time, or on the
//! arbiter of a simulation, where the disk's time is simulated.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::AtomicBool,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use plantwin_model::{Clock, DeviceId, SpoolSpec};
use plantwin_store::{LogKind, Spool, Store};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    hung::{self, Look, UnderWay},
    pause::{Next, Pauses},
    queue::{Append, Due, DurableJob, Queue, Then},
    status::KeeperStatus,
    work::Work,
};

/// What a simulated disk takes for one group.
const SIMULATED: Duration = Duration::from_millis(2);
/// Attempts to write what is left when the keeper closes.
const LAST_ATTEMPTS: u32 = 4;
/// Longest wait for the disk when the keeper closes.
const CLOSES_WITHIN: Duration = Duration::from_secs(30);

/// Where a keeper runs.
#[derive(Clone, Debug)]
pub(crate) enum KeeperPlace {
    /// On a thread of its own.
    Thread,
    /// As a task of the current actix arbiter, with a simulated disk that may hang.
    Here(Option<watch::Receiver<bool>>),
}

/// The way to the disk.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    /// And what is told when it ends.
    thread: Mutex<Option<(JoinHandle<()>, Receiver<()>)>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread.
    waiting: Condvar,
    under_way: Mutex<UnderWay>,
    /// Wakes the task, and whoever sends telemetry on.
    notify: Notify,
    stored: Arc<Notify>,
    work: Work,
}

impl Keeper {
    /// Starts a keeper over a store and its spool.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        spool: Spool,
        limits: SpoolSpec,
        clock: Arc<dyn Clock>,
        place: KeeperPlace,
    ) -> std::io::Result<Arc<Self>> {
        let spool = Arc::new(Mutex::new(spool));
        let status = Arc::new(Mutex::new(KeeperStatus::default()));
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            waiting: Condvar::new(),
            under_way: Mutex::default(),
            notify: Notify::new(),
            stored: Arc::new(Notify::new()),
            work: Work {
                store,
                spool,
                limits,
                clock,
                status,
                torn: AtomicBool::new(false),
                before: Mutex::default(),
            },
        });
        let known: Vec<_> = {
            let spool = shared.work.spool.lock().unwrap_or_else(PoisonError::into_inner);
            spool.queues().map(|(device, _)| DeviceId::from(device)).collect()
        };
        shared.work.count(known.iter().cloned());
        shared.work.offer(known.into_iter());
        let mine = Arc::clone(&shared);
        let thread = match place {
            KeeperPlace::Thread => {
                let (ends, ended) = sync_channel(1);
                let run = move || {
                    run_thread(&mine);
                    drop(ends);
                };
                let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(run)?;
                Some((thread, ended))
            }
            KeeperPlace::Here(hangs) => {
                actix::spawn(async move { run_task(&mine, hangs).await });
                None
            }
        };
        Ok(Arc::new(Self { shared, thread: Mutex::new(thread) }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue()
    }

    fn wake(&self) {
        self.shared.waiting.notify_one();
        self.shared.notify.notify_one();
    }

    /// A record for the log. `must`: it is tried again for as long as the disk refuses it.
    pub(crate) fn append(&self, kind: LogKind, payload: Vec<u8>, must: bool, mut then: Then) {
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            then(Err("write to the store: the plant is stopping".to_owned()));
            return;
        }
        queue.urgent.push_back(Append::new(kind, payload, must, then));
        drop(queue);
        self.wake();
    }

    /// Telemetry or a letter.
    pub(crate) fn keep(&self, job: DurableJob) {
        let mut queue = self.queue();
        if !queue.closed {
            queue.push_durable(job);
            drop(queue);
            self.wake();
        }
    }

    /// The state of a twin; a newer one takes the place of one that still waits.
    pub(crate) fn save(&self, device: DeviceId, bytes: Vec<u8>) {
        let mut queue = self.queue();
        if !queue.closed {
            queue.saves.insert(device, bytes);
            drop(queue);
            self.wake();
        }
    }

    /// Lets go of telemetry that grew too old.
    pub(crate) fn expire(&self) {
        self.queue().expire = true;
        self.wake();
    }

    /// Counts, and what the disk says.
    pub(crate) fn status(&self) -> MutexGuard<'_, KeeperStatus> {
        self.shared.work.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spool, for sending on.
    pub(crate) fn spool(&self) -> MutexGuard<'_, Spool> {
        self.shared.work.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Telemetry of these devices was taken out of the spool.
    pub(crate) fn recount(&self, devices: impl Iterator<Item = DeviceId>) {
        self.shared.work.count(devices);
    }

    /// Resolves when something was stored since it was last awaited.
    pub(crate) fn stored(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.stored)
    }

    /// Sees whether the disk answers. If it does not, whoever waits for the log is told as if it
    /// had refused, until it answers. To be called several times a second.
    pub(crate) fn watch(&self) {
        self.shared.watch();
    }

    /// Writes what still waits, then returns. What comes later is not taken.
    ///
    /// # Errors
    /// What was not kept, and why: a fragment fit for "failed to {error}".
    pub(crate) fn close(&self) -> Result<(), String> {
        self.close_within(CLOSES_WITHIN)
    }

    pub(super) fn close_within(&self, limit: Duration) -> Result<(), String> {
        self.queue().closed = true;
        self.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((thread, ended)) = thread else { return Ok(()) };
        match ended.recv_timeout(limit) {
            // A disk that hangs must not keep the plant from ending. The thread goes with the
            // process.
            Err(RecvTimeoutError::Timeout) => Err(format!(
                "write to the store what was to be kept: the disk has not answered for {} s",
                limit.as_secs()
            )),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // A panic there was reported by the panic hook already.
                let _ = thread.join();
                if self.queue().is_empty() {
                    return Ok(());
                }
                let why = self.status().failing.as_ref().map(|(_, why)| why.clone());
                Err(why.unwrap_or_else(|| "write to the store what was to be kept".to_owned()))
            }
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change of the queue is one call that leaves it whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        // Each change of it is one assignment.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk is about to be asked.
    fn begin(&self) {
        let now = self.work.clock.now();
        self.under_way().begin(now);
    }

    /// Writes one group; `false` if the disk refused some of it.
    fn write(&self, due: Due, pauses: &mut Pauses) -> bool {
        let group = self.queue().take(due);
        let waiters = group.urgent.iter().map(|append| Arc::clone(&append.waiter)).collect();
        self.under_way().carry(waiters);
        let trip = self.work.carry_out(group);
        self.end();
        pauses.after(due, &trip, Instant::now());
        let fine = trip.log_refused.is_none() && !trip.trees_refused;
        let fine = fine && trip.left.urgent.is_empty();
        self.queue().put_back(trip.left);
        self.stored.notify_one();
        fine
    }

    /// The disk has answered.
    fn end(&self) {
        let mut under_way = self.under_way();
        if under_way.end() {
            tracing::warn!("the disk answers again");
            // Under the lock: nobody finds it hanging in between.
            self.work.well();
        }
    }

    /// The disk refuses: whoever waits for the log and was not told yet hears it now.
    fn tell(&self, why: &str) {
        let untold = self.queue().untold();
        for waiter in untold {
            waiter.refuse(why);
        }
        self.queue().forget_given_up();
    }

    fn watch(&self) {
        let now = self.work.clock.now();
        let why = hung::why();
        let waiters = {
            let mut under_way = self.under_way();
            let Look::Hangs { new } = under_way.look(now, self.work.clock.speed()) else { return };
            if new {
                self.work.fails(&why);
            }
            under_way.waiters()
        };
        for waiter in waiters {
            waiter.refuse(&why);
        }
        self.tell(&why);
    }
}

fn run_thread(shared: &Shared) {
    let mut pauses = Pauses::default();
    let mut failed = 0;
    let mut queue = shared.queue();
    loop {
        match pauses.next(&queue, Instant::now()) {
            Next::Rest(_) if queue.closed && (queue.is_empty() || failed >= LAST_ATTEMPTS) => {
                return;
            }
            Next::Rest(None) => {
                queue = shared.waiting.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            Next::Rest(Some(time)) => {
                let waited = shared.waiting.wait_timeout(queue, time);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            Next::Tell(why) => {
                drop(queue);
                shared.tell(&why);
                queue = shared.queue();
            }
            Next::Write(due) => {
                drop(queue);
                shared.begin();
                failed = if shared.write(due, &mut pauses) { 0 } else { failed + 1 };
                queue = shared.queue();
            }
        }
    }
}

async fn run_task(shared: &Shared, mut hangs: Option<watch::Receiver<bool>>) {
    let mut pauses = Pauses::default();
    loop {
        let next = {
            let queue = shared.queue();
            if queue.is_empty() && queue.closed {
                return;
            }
            pauses.next(&queue, Instant::now())
        };
        match next {
            Next::Rest(None) => shared.notify.notified().await,
            Next::Rest(Some(time)) => {
                // Either way it looks again.
                let _ = tokio::time::timeout(time, shared.notify.notified()).await;
            }
            Next::Tell(why) => shared.tell(&why),
            Next::Write(due) => {
                shared.begin();
                tokio::time::sleep(SIMULATED).await;
                if let Some(hangs) = &mut hangs {
                    // If nobody can let it hang any more it answers.
                    let _ = hangs.wait_for(|hangs| !hangs).await;
                }
                shared.write(due, &mut pauses);
            }
        }
    }
}
