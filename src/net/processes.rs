//! Which processes send over Unix sockets, for whoever wants to know; nobody does by default.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::ingest::Sender;

/// Processes of one turn that are told of; more do not send within a second.
const MAX_PROCESSES: usize = 4096;

/// The processes that have sent since they were last asked for.
///
/// A process is told of once in each turn, so that one that has the number of another from before
/// is not overlooked.
#[derive(Debug, Default)]
pub struct Processes {
    turn: AtomicU32,
    told: Mutex<HashSet<u32>>,
}

impl Processes {
    /// The numbers of those that have sent since the last call; the next turn begins.
    #[must_use]
    pub fn take(&self) -> HashSet<u32> {
        // Relaxed: a lane that learns of it late tells of a process with its next datagram.
        self.turn.fetch_add(1, Ordering::Relaxed);
        std::mem::take(&mut self.told.lock())
    }

    fn tell(&self, pid: u32) {
        let mut told = self.told.lock();
        if told.len() < MAX_PROCESSES {
            told.insert(pid);
        }
    }
}

/// What one thread has told in this turn.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    processes: Arc<Processes>,
    turn: u32,
    told: HashSet<u32, foldhash::fast::RandomState>,
}

impl Teller {
    /// A thread's way to tell `processes`.
    pub(super) fn new(processes: &Arc<Processes>) -> Self {
        let turn = processes.turn.load(Ordering::Relaxed);
        Self { processes: Arc::clone(processes), turn, told: HashSet::default() }
    }

    /// Tells who has sent, where that is a process that was not told of in this turn.
    pub(super) fn tell(&mut self, senders: impl IntoIterator<Item = Sender>) {
        let turn = self.processes.turn.load(Ordering::Relaxed);
        if turn != self.turn {
            self.turn = turn;
            self.told.clear();
        }
        for sender in senders {
            if let Sender::Process(pid) = sender
                && self.told.len() < MAX_PROCESSES
                && self.told.insert(pid)
            {
                self.processes.tell(pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_of_once_in_each_turn() {
        let processes = Arc::new(Processes::default());
        let mut tellers = [Teller::new(&processes), Teller::new(&processes)];
        for turn in 0..3 {
            for teller in &mut tellers {
                teller.tell([Sender::Process(7), Sender::Unknown, Sender::Process(8 + turn)]);
                teller.tell([Sender::Process(7)]);
                assert_eq!(teller.told.len(), 2);
            }
            assert_eq!(processes.take(), HashSet::from([7, 8 + turn]));
        }
        assert_eq!(processes.take(), HashSet::new());
    }

    #[test]
    fn numbers_without_end_take_no_memory_without_end() {
        let processes = Arc::new(Processes::default());
        let mut teller = Teller::new(&processes);
        teller.tell((1..10_000).map(Sender::Process));
        assert_eq!(teller.told.len(), MAX_PROCESSES);
        assert_eq!(processes.take().len(), MAX_PROCESSES);
    }
}
