//! Where connections wait that have shown nothing yet.
//!
//! Whoever opens a connection and says nothing, or garbage, takes a seat here and no place of those
//! who shake hands. The seats are bounded, of each address and in all: a new one turns out the
//! oldest of its address, or the oldest of all. So silence keeps out nobody who speaks at once.
//! Absent: how long one may wait, and what must be shown ([`super::server`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::pws::Source;

/// The seats.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    each: usize,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    /// Oldest first.
    taken: VecDeque<(u64, Source, oneshot::Sender<()>)>,
}

/// A seat. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.seats().taken.retain(|(number, ..)| *number != self.number);
    }
}

impl Room {
    /// So many seats, and so many of them for one source.
    pub(super) fn new(limit: usize, each: usize) -> Arc<Self> {
        let (limit, each) = (limit.max(1), each.max(1));
        Arc::new(Self { limit, each, seats: Mutex::default() })
    }

    /// A seat, and where it is told if another one needs it. There nothing comes after the seat is
    /// given back.
    pub(super) fn enter(self: &Arc<Self>, source: Source) -> (Seat, oneshot::Receiver<()>) {
        let mut seats = self.seats();
        let own = seats.taken.iter().filter(|(_, of, _)| *of == source).count();
        let oldest = if own >= self.each {
            seats.taken.iter().position(|(_, of, _)| *of == source)
        } else {
            (seats.taken.len() >= self.limit).then_some(0)
        };
        if let Some((.., leave)) = oldest.and_then(|ix| seats.taken.remove(ix)) {
            // Whoever sat there may have gone.
            let _ = leave.send(());
        }
        let number = seats.next;
        seats.next += 1;
        let (leave, told) = oneshot::channel();
        seats.taken.push_back((number, source, leave));
        drop(seats);
        (Seat { room: Arc::clone(self), number }, told)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.seats().taken.len()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // Nothing that runs under the lock leaves the seats half changed.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn source(name: u8) -> Source {
        Source::new(&[&[name]])
    }

    #[test]
    fn a_new_one_turns_out_the_oldest_of_its_own_and_then_the_oldest_of_all() {
        let room = Room::new(3, 2);
        let (_a, mut first) = room.enter(source(1));
        let (_b, mut second) = room.enter(source(2));
        let (_c, mut third) = room.enter(source(2));
        let (_d, mut fourth) = room.enter(source(2));
        assert_eq!(second.try_recv(), Ok(()));
        let (_e, mut fifth) = room.enter(source(3));
        assert_eq!(first.try_recv(), Ok(()));
        for told in [&mut third, &mut fourth, &mut fifth] {
            assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
        }
        assert_eq!(room.waiting(), 3);
    }

    #[test]
    fn a_seat_that_was_given_back_is_free_and_its_holder_is_turned_out_no_more() {
        let room = Room::new(1, 1);
        let (seat, mut told) = room.enter(source(1));
        drop(seat);
        assert_eq!(room.waiting(), 0);
        let (_next, mut other) = room.enter(source(1));
        assert_eq!(told.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
    }
}
