//! Waiting until the server has everything that was accepted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::courier::Message;
use super::error::NatsError;
use super::ledger::{Checkpoint, Ledger};
use super::refusals::GRACE;

/// What a flush needs.
pub(super) struct Flush {
    pub(super) ledger: Arc<Ledger>,
    pub(super) since: Checkpoint,
    /// Closed when the task that delivers has ended.
    pub(super) queue: mpsc::UnboundedSender<Message>,
    /// How long to wait while no message is settled.
    pub(super) patience: Duration,
    /// Whether refusals are observed.
    pub(super) is_observed: bool,
}

impl Flush {
    /// Waits until everything accepted before is settled. What was lost then is for the
    /// caller to report: one who gives up on a flush is told nothing.
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
