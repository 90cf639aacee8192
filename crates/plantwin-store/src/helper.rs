//! A thread that may panic or hang without taking the store along.
//!
//! sled 0.34 panics on most damage and may go round for ever on some, so it is opened, read and
//! closed on a thread of its own. A hang is told from long work by progress alone: as long as
//! steps are reported, it may take what it takes. Absent: ending a thread that hangs, which nobody
//! can; it keeps what it has open until the process ends.

use std::{
    any::Any,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

/// The name of the thread.
const HELPER: &str = "store-open";

/// How long a helper may go without a sign of progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Patience {
    /// Until the first one.
    pub(crate) first: Duration,
    /// From one to the next.
    pub(crate) step: Duration,
}

/// Where a helper reports its steps.
#[derive(Clone, Default, Debug)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn steps(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How the helper thread ended.
pub(crate) enum Helped<T> {
    Done(T),
    /// No sign of progress for so long, after so many steps. It may go on for ever.
    Hangs(Hang),
    Panicked(String),
}

/// What is known of a helper that hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hang {
    /// How long no sign came.
    pub(crate) waited: Duration,
    /// Signs before that.
    pub(crate) steps: u64,
    /// What it works on answered meanwhile, and it still made no step.
    pub(crate) alone: bool,
}

/// Does `work` on a helper thread and waits for it as long as it goes on. When it seems to hang,
/// `answers` says whether that is its own fault: then it is given one more wait, since all may have
/// stood still, this process too.
pub(crate) fn help<T: Send + 'static>(
    patience: Patience,
    answers: impl Fn() -> bool,
    work: impl FnOnce(&Progress) -> T + Send + 'static,
) -> std::io::Result<Helped<T>> {
    quiet_helper();
    let progress = Progress::default();
    let mut watch = Watch { patience, seen: 0 };
    let mut alone = false;
    let (tell, told) = sync_channel(1);
    let of_helper = progress.clone();
    let helper = thread::Builder::new().name(HELPER.to_owned()).spawn(move || {
        // Nobody listens any more if this was given up.
        let _ = tell.send(work(&of_helper));
    })?;
    loop {
        let waited = watch.wait();
        match told.recv_timeout(waited) {
            Ok(outcome) => {
                // It has said all; waiting for its end keeps its panics apart from the next opening.
                let _ = helper.join();
                return Ok(Helped::Done(outcome));
            }
            Err(RecvTimeoutError::Timeout) => {
                let steps = progress.steps();
                if !watch.hangs(steps) {
                    alone = false;
                } else if alone || !answers() {
                    return Ok(Helped::Hangs(Hang { waited, steps, alone }));
                } else {
                    alone = true;
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let panic = helper.join().err().unwrap_or_else(|| Box::new("it ended early"));
                return Ok(Helped::Panicked(panic_text(&*panic)));
            }
        }
    }
}

/// What was seen of a helper's progress.
struct Watch {
    patience: Patience,
    seen: u64,
}

impl Watch {
    /// How long to wait before looking again.
    fn wait(&self) -> Duration {
        if self.seen == 0 { self.patience.first } else { self.patience.step }
    }

    /// After that wait it has made so many steps: whether that is no progress.
    fn hangs(&mut self, steps: u64) -> bool {
        std::mem::replace(&mut self.seen, steps) == steps
    }
}

/// A panic of the helper is caught and told in the report; its text on stderr would only alarm.
fn quiet_helper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().name() != Some(HELPER) {
                others(panic);
            }
        }));
    });
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the data base panicked: {}", text.unwrap_or("without a word"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { first: Duration::from_mins(5), step: Duration::from_mins(1) };

    #[test]
    fn a_helper_that_goes_on_is_waited_for_however_long_it_takes() {
        let mut watch = Watch { patience: PATIENCE, seen: 0 };
        assert_eq!(watch.wait(), PATIENCE.first);
        for minute in 1..100_000 {
            assert!(!watch.hangs(minute), "it read one more");
            assert_eq!(watch.wait(), PATIENCE.step);
        }
        assert!(watch.hangs(99_999), "it read nothing more for a whole wait");
    }

    #[test]
    fn a_helper_without_a_first_step_hangs_after_the_first_wait() {
        let mut watch = Watch { patience: PATIENCE, seen: 0 };
        assert!(watch.hangs(0));
    }

    #[test]
    fn a_helper_that_never_answers_is_given_up_and_one_that_panics_is_told() {
        let patience = Patience { first: Duration::from_millis(5), step: Duration::from_millis(5) };
        let (never, asked) = sync_channel::<()>(0);
        let waits = move |progress: &Progress| {
            progress.step();
            let _ = asked.recv();
        };
        let hangs = help(patience, || false, waits);
        assert!(matches!(hangs, Ok(Helped::Hangs(Hang { steps: 1, alone: false, .. }))));
        drop(never);
        let panics = help(PATIENCE, || true, |_| panic!("torn"));
        assert!(matches!(panics, Ok(Helped::<()>::Panicked(why)) if why.ends_with(": torn")));
    }

    #[test]
    fn a_helper_that_goes_on_once_its_disk_answers_again_is_waited_for() {
        let patience = Patience { first: Duration::from_millis(5), step: Duration::from_mins(5) };
        let (go_on, asked) = sync_channel::<()>(1);
        let answers = || {
            go_on.send(()).unwrap();
            true
        };
        let done = help(patience, answers, move |progress| {
            let _ = asked.recv();
            progress.step();
            7
        });
        assert!(matches!(done, Ok(Helped::Done(7))));
    }

    #[test]
    fn a_helper_that_stands_still_though_its_disk_answers_hangs_alone() {
        let patience = Patience { first: Duration::from_millis(5), step: Duration::from_millis(5) };
        let (never, asked) = sync_channel::<()>(0);
        let hangs = help(
            patience,
            || true,
            move |_| {
                let _ = asked.recv();
            },
        );
        assert!(matches!(hangs, Ok(Helped::Hangs(Hang { steps: 0, alone: true, .. }))));
        drop(never);
    }
}
