//! What has become of the messages that were accepted?
//!
//! Every accepted message is *settled* exactly once: when the server has confirmed it, or when
//! it is lost. Messages are settled in the order of the queue, so those queued before a flush
//! began are settled once as many are as had been accepted by then.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::user_code::contain;

use super::error::NatsError;

/// Counts messages that were accepted, settled and lost. See the module documentation.
pub(super) struct Ledger {
    capacity: usize,
    counts: Mutex<Tally>,
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct Tally {
    accepted: u64,
    settled: u64,
    /// How many will never be settled.
    abandoned: u64,
    lost: u64,
    /// How many of the lost messages a flush has reported.
    reported: u64,
    /// Why the last message was lost.
    reason: String,
    is_closed: bool,
}

/// The state of the ledger when a flush began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checkpoint {
    accepted: u64,
    reported: u64,
}

impl Ledger {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            counts: Mutex::default(),
            settled: watch::Sender::new(0),
        }
    }

    /// Counts a message as accepted, if there is room. It must be settled later.
    pub(super) fn accept(&self) -> Result<(), NatsError> {
        let mut counts = self.counts();
        if counts.is_closed {
            return Err(NatsError::Closed);
        }
        if counts.waiting() >= self.capacity {
            return Err(NatsError::Full {
                capacity: self.capacity,
            });
        }
        counts.accepted += 1;
        Ok(())
    }

    /// Counts a message that was not accepted as lost.
    pub(super) fn refuse(&self, error: &NatsError) {
        let mut counts = self.counts();
        counts.lost += 1;
        counts.reason = error.to_string();
    }

    /// Counts and logs lost messages. This does not settle them.
    pub(super) fn lose(&self, messages: usize, error: &NatsError) {
        if messages == 0 {
            return;
        }
        {
            let mut counts = self.counts();
            counts.lost += messages as u64;
            counts.reason = error.to_string();
        }
        log(|| tracing::error!(messages, %error, "messages were lost"));
    }

    /// Settles messages, which have been confirmed or lost.
    pub(super) fn settle(&self, messages: usize) {
        let settled = {
            let mut counts = self.counts();
            counts.settled += messages as u64;
            counts.settled
        };
        // Threads may get here in any order, and the count must not go back.
        self.settled
            .send_modify(|latest| *latest = settled.max(*latest));
    }

    /// Counts messages that will never be settled, because the delivering task was stopped.
    /// `lost` of them have not been confirmed.
    pub(super) fn abandon(&self, messages: usize, lost: usize) {
        self.counts().abandoned += messages as u64;
        self.lose(lost, &NatsError::Stopped);
    }

    /// Closes the ledger: no further message is accepted.
    pub(super) fn close(&self) {
        self.counts().is_closed = true;
    }

    pub(super) fn waiting(&self) -> usize {
        self.counts().waiting()
    }

    pub(super) fn lost(&self) -> u64 {
        self.counts().lost
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let counts = self.counts();
        Checkpoint {
            accepted: counts.accepted,
            reported: counts.reported,
        }
    }

    /// Returns a receiver that is notified when messages are settled.
    pub(super) fn settlements(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Returns whether everything accepted before the checkpoint is settled.
    pub(super) fn is_settled(&self, since: Checkpoint) -> bool {
        self.counts().settled >= since.accepted
    }

    /// Returns an error if there are losses that had not been reported at the checkpoint.
    pub(super) fn report(&self, since: Checkpoint) -> Result<(), NatsError> {
        let mut counts = self.counts();
        counts.reported = counts.lost;
        match counts.lost - since.reported {
            0 => Ok(()),
            messages => Err(NatsError::Lost {
                messages,
                reason: counts.reason.clone(),
            }),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Tally> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn waiting(&self) -> usize {
        // At most the capacity, so it fits.
        (self.accepted - self.settled - self.abandoned) as usize
    }
}

/// Runs code that logs. A log subscriber that panics must not end the publisher's task.
pub(super) fn log(event: impl FnOnce()) {
    contain("a log subscriber panicked", event);
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;

    fn reported(report: Result<(), NatsError>) -> u64 {
        match report {
            Ok(()) => 0,
            Err(NatsError::Lost { messages, .. }) => messages,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn room_is_made_when_a_message_is_settled() {
        let ledger = Ledger::new(2);
        ledger.accept().unwrap();
        ledger.accept().unwrap();
        let full = ledger.accept().unwrap_err();
        assert!(matches!(full, NatsError::Full { capacity: 2 }), "{full}");
        let since = ledger.checkpoint();
        ledger.settle(1);
        ledger.accept().unwrap();
        assert_eq!((ledger.waiting(), ledger.is_settled(since)), (2, false));
        ledger.settle(1);
        assert_eq!((ledger.waiting(), ledger.is_settled(since)), (1, true));
        ledger.close();
        let closed = ledger.accept().unwrap_err();
        assert!(matches!(closed, NatsError::Closed), "{closed}");
    }

    #[test]
    fn a_loss_is_reported_to_every_flush_that_was_waiting_and_to_no_later_one() {
        let ledger = Ledger::new(9);
        let (one, two) = (ledger.checkpoint(), ledger.checkpoint());
        ledger.lose(3, &NatsError::Unconfirmed);
        ledger.refuse(&NatsError::Closed);
        assert_eq!(reported(ledger.report(one)), 4);
        ledger.lose(1, &NatsError::Unconfirmed);
        assert_eq!(reported(ledger.report(two)), 5);
        assert_eq!(reported(ledger.report(ledger.checkpoint())), 0);
        assert_eq!(ledger.lost(), 5);
    }
}
