//! Counts what becomes of messages.
//!
//! Every message that is accepted is settled exactly once: when the server has confirmed
//! it, or when it is lost. Messages are settled in the order in which they were accepted,
//! so a flush waits until as many are settled as had been accepted when it began.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::user_code::contain;

use super::error::NatsError;

/// See the module documentation.
pub(super) struct Ledger {
    capacity: usize,
    counts: Mutex<Counts>,
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct Counts {
    accepted: u64,
    settled: u64,
    /// How many will never be settled.
    abandoned: u64,
    lost: u64,
    /// How many of the lost ones a flush has reported.
    reported: u64,
    /// Why the last one was lost.
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

    /// Makes room for a message, which must be settled later.
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

    /// Counts a message that was not accepted.
    pub(super) fn refuse(&self, error: &NatsError) {
        let mut counts = self.counts();
        counts.lost += 1;
        counts.reason = error.to_string();
    }

    /// Counts and logs messages that are lost. That alone does not settle them.
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

    /// Settles messages: they are with the server, or lost.
    pub(super) fn settle(&self, messages: usize) {
        let settled = {
            let mut counts = self.counts();
            counts.settled += messages as u64;
            counts.settled
        };
        // Several threads may get here in any order.
        self.settled
            .send_modify(|latest| *latest = settled.max(*latest));
    }

    /// Counts messages that will never be settled, since the task that delivers has been
    /// stopped. `lost` of them have not been confirmed.
    pub(super) fn abandon(&self, messages: usize, lost: usize) {
        self.counts().abandoned += messages as u64;
        self.lose(lost, &NatsError::Stopped);
    }

    /// Accepts nothing from now on.
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

    /// A receiver that is notified when messages are settled.
    pub(super) fn settlements(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Whether everything accepted before the checkpoint is settled.
    pub(super) fn is_settled(&self, since: Checkpoint) -> bool {
        self.counts().settled >= since.accepted
    }

    /// Reports the losses that had not been reported at the checkpoint.
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

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn waiting(&self) -> usize {
        // At most the capacity, which is a usize.
        (self.accepted - self.settled - self.abandoned) as usize
    }
}

/// Logs. A log subscriber that panics must not end the publisher's task.
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
