//! When is a flush complete? Once everything that was accepted before it is settled.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::courier::Message;
use super::error::NatsError;
use super::ledger::{Checkpoint, Ledger};
use super::refusals::GRACE;

/// A flush under way, and what it needs.
pub(super) struct Flush {
    pub(super) ledger: Arc<Ledger>,
    /// The state of the ledger when the flush began.
    pub(super) since: Checkpoint,
    /// Closed when the courier has ended.
    pub(super) queue: mpsc::UnboundedSender<Message>,
    /// How long to wait without any message being settled.
    pub(super) patience: Duration,
    /// Whether refusals are observed.
    pub(super) is_observed: bool,
}

impl Flush {
    /// Waits until everything accepted before the checkpoint is settled. Reporting what was
    /// lost is up to the caller: a flush that is dropped reports nothing.
    pub(super) async fn run(self) -> Result<(), NatsError> {
        let mut settlements = self.ledger.settlements();
        loop {
            settlements.mark_unchanged();
            if self.ledger.is_settled(self.since) {
                break;
            }
            tokio::select! {
                _ = settlements.changed() => {}
                () = self.queue.closed() => return Err(NatsError::Stopped),
                () = sleep(self.patience) => {
                    let messages = self.ledger.waiting();
                    return Err(NatsError::Waiting { messages });
                }
            }
        }
        if self.is_observed {
            sleep(GRACE).await;
        }
        Ok(())
    }
}
